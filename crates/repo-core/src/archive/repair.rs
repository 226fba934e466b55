//! Taking lost chunks and tree nodes from a second repository.
//!
//! The other repository may have other keys and may have cut the same files otherwise. A lost chunk
//! is known by the files it is a part of, so the same bytes of the same file are asked for there; a
//! lost node or list is made anew by rewriting the directory it describes. Only what has the lost
//! id is of use, so the other repository need not be trusted.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

use repo_format::commit::SnapshotRef;
use repo_format::tree::Node;
use repo_format::{BlobId, BlobKey, BlobKind, Content, SessionId};

use crate::archive::copy::{Chunks, Failed, Known, Rewriter, origin};
use crate::archive::tree::Trees;
use crate::archive::view::copy_range;
use crate::error::{Error, Result};
use crate::limits::{LOSSES_MAX, SOUND_NODES_MAX};
use crate::progress::Progress;
use crate::repository::{
    CheckOptions, IndexSet, ReadData, Recovered, RepairOptions, RepairReport, Repository, Session,
    finding_or_fail,
};

/// Snapshots of the other repository that are asked for one lost blob.
const ASKED_MAX: usize = 16;
/// A node that was found may show that what it names is lost too; so many times.
const ROUNDS: usize = 4;

impl Repository {
    /// Reads all data, stores anew what damaged packs still hold, and takes what they do not from
    /// `other`, where the same files are looked for in its snapshots: in copies of the same
    /// original, then in those of the same host and paths, nearest in time first. Repairs the index
    /// as [`Self::repair_index`] does, in the same commit.
    pub async fn repair_from(
        &self,
        other: &Self,
        options: &RepairOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<RepairReport> {
        if self.id() == other.id() {
            return Err(Error::Invalid {
                what: "a repository cannot be repaired from itself".to_owned(),
            });
        }
        self.writable()?;
        other.refresh().await?;
        let all = CheckOptions {
            read_data: ReadData::All,
        };
        let examined = self.examine(&all, Arc::clone(&progress)).await?;
        let harmed = examined.harmed_packs();
        drop(examined);
        let stored = self.stored_packs().await?;
        let (other, options) = (other.clone(), options.clone());
        self.blocking(move |repository| {
            let mut recover = |index: &Arc<IndexSet>, session: SessionId| {
                let search = Search {
                    repository,
                    other: &other,
                    source: Trees::open(&other)?,
                    index,
                    session,
                    options: &options,
                    progress: &*progress,
                };
                search.run()
            };
            let recover = Some(&mut recover as _);
            repository.repair(&options, &*progress, (&stored, &harmed), None, recover)
        })
        .await
    }
}

/// One search for lost blobs.
struct Search<'a> {
    repository: &'a Repository,
    other: &'a Repository,
    source: Trees,
    /// Locates what is not lost.
    index: &'a Arc<IndexSet>,
    session: SessionId,
    options: &'a RepairOptions,
    progress: &'a dyn Progress,
}

/// Where what is found goes.
struct Taking<'a> {
    session: &'a Session,
    chunks: &'a Chunks<'a>,
    found: &'a mut HashSet<BlobKey>,
}

/// A lost blob, and one place where it is used.
struct Loss {
    id: BlobId,
    snapshot: usize,
    /// Of the file for a chunk, of the directory for a node or list.
    path: Vec<u8>,
    /// Place and length of a chunk.
    range: Option<(u64, u64)>,
}

impl Search<'_> {
    fn run(&self) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        for _ in 0..ROUNDS {
            let losses = self.losses()?;
            let inner = &self.repository.inner;
            let session = Session::new(
                self.session,
                Arc::clone(&inner.ring),
                inner.storage.clone(),
                Arc::new(self.index.fork()),
                inner.config.pack_size,
                self.options.dry_run,
            );
            let (source, level) = (self.source.clone(), self.options.level);
            let chunks = Chunks::new(source, self.repository, level, self.progress);
            let before = recovered.keys.len();
            for loss in losses {
                if self.progress.cancelled() {
                    return Err(Error::Cancelled);
                }
                if recovered.keys.contains(&loss.id.key()) {
                    continue;
                }
                let mut taking = Taking {
                    session: &session,
                    chunks: &chunks,
                    found: &mut recovered.keys,
                };
                self.find(&loss, &mut taking)?;
            }
            chunks.flush(&session)?;
            let written = session.finish()?;
            recovered.bytes += written.bytes;
            recovered.indexes.extend(written.indexes);
            if recovered.keys.len() == before || self.options.dry_run {
                break;
            }
        }
        Ok(recovered)
    }

    /// Looks for a lost blob in one snapshot of the other repository after the other.
    fn find(&self, loss: &Loss, taking: &mut Taking<'_>) -> Result<()> {
        let state = self.repository.state();
        let Some(wanted) = state.snapshots.get(loss.snapshot) else {
            return Ok(());
        };
        for known in self.candidates(wanted) {
            let taken = match loss.range {
                Some(range) => self.chunk(loss, range, &known, taking),
                None => self.directory(loss, &known, taking),
            };
            match taken {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Failed::Fatal(error)) => return Err(error),
                Err(Failed::Source(_, error)) => {
                    let why = finding_or_fail(error)?;
                    tracing::debug!(why, "the other repository cannot help");
                }
            }
        }
        Ok(())
    }

    /// Snapshots of the other repository that may hold the same files, the likeliest first.
    fn candidates(&self, wanted: &SnapshotRef) -> Vec<SnapshotRef> {
        let mut others = self.other.snapshots();
        let like = |known: &SnapshotRef| {
            let (a, b) = (&known.snapshot, &wanted.snapshot);
            (
                origin(known) == origin(wanted),
                a.paths == b.paths && a.host == b.host,
                a.paths == b.paths,
                Reverse(a.time_ms.abs_diff(b.time_ms)),
            )
        };
        others.sort_by_key(|known| Reverse(like(known)));
        others.truncate(ASKED_MAX);
        others
    }

    fn chunk(
        &self,
        loss: &Loss,
        (offset, len): (u64, u64),
        known: &SnapshotRef,
        taking: &mut Taking<'_>,
    ) -> std::result::Result<bool, Failed> {
        let view = self.other.view(&known.snapshot.id())?;
        let read = || {
            let entry = view.resolve(&self.source, &loss.path)?;
            let mut bytes = Vec::new();
            let end = offset.saturating_add(len);
            copy_range(&self.source, &entry, offset..end, &mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(|error| Failed::Source(None, error))?;
        let same = taking.session.ring().blob_id(BlobKind::Data, &bytes) == loss.id;
        if same {
            let chunks = taking.chunks;
            chunks.store_chunk(taking.session, loss.id, &bytes)?;
            taking.found.insert(loss.id.key());
        }
        Ok(same)
    }

    fn directory(
        &self,
        loss: &Loss,
        known: &SnapshotRef,
        taking: &mut Taking<'_>,
    ) -> std::result::Result<bool, Failed> {
        let view = self.other.view(&known.snapshot.id())?;
        let entry = view.resolve(&self.source, &loss.path);
        let entry = entry.map_err(|error| Failed::Source(None, error))?;
        let mut pairs = Known::default();
        let mut rewriter = Rewriter {
            source: &self.source,
            session: taking.session,
            known: &mut pairs,
            chunks: taking.chunks,
            reference: None,
            progress: self.progress,
            path: Vec::new(),
        };
        rewriter.root(entry.subtree)?;
        let lost = |key: &BlobKey| matches!(self.index.find(key), Ok(None));
        let keys = pairs.targets().map(BlobId::key);
        taking.found.extend(keys.filter(lost));
        Ok(taking.found.contains(&loss.id.key()))
    }

    /// Blobs that snapshots need and the index does not locate, each with its first use.
    fn losses(&self) -> Result<Vec<Loss>> {
        let mut walk = Walk {
            trees: Trees::with(self.repository, Arc::clone(self.index)),
            index: self.index,
            seen: HashSet::new(),
            losses: Vec::new(),
            snapshot: 0,
        };
        let state = self.repository.state();
        for (snapshot, known) in state.snapshots.iter().enumerate().rev() {
            walk.snapshot = snapshot;
            walk.tree(known.snapshot.root.subtree, self.progress)?;
        }
        Ok(walk.losses)
    }
}

/// Looks for lost blobs.
struct Walk<'a> {
    trees: Trees,
    index: &'a IndexSet,
    /// Nodes and lists that were looked into.
    seen: HashSet<BlobKey>,
    losses: Vec<Loss>,
    snapshot: usize,
}

impl Walk<'_> {
    fn tree(&mut self, root: Option<BlobId>, progress: &dyn Progress) -> Result<()> {
        let mut stack: Vec<(Vec<u8>, BlobId)> =
            root.map(|id| (Vec::new(), id)).into_iter().collect();
        while let Some((path, id)) = stack.pop() {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            if !self.enter(&id) {
                continue;
            }
            match self.trees.node(&id) {
                Err(error) => self.lose(error, id, &path)?,
                Ok(Node::Interior(children)) => {
                    let nodes = children.into_iter().map(|child| child.node);
                    stack.extend(nodes.map(|node| (path.clone(), node)));
                }
                Ok(Node::Leaf(entries)) => {
                    for entry in entries {
                        let mut below = path.clone();
                        if !below.is_empty() {
                            below.push(b'/');
                        }
                        below.extend_from_slice(&entry.name);
                        if let Some(content) = &entry.content {
                            self.content(content, 0, &path, &below)?;
                        }
                        stack.extend(entry.subtree.map(|id| (below, id)));
                    }
                }
            }
        }
        Ok(())
    }

    /// `within` is the directory, `path` the file. Contents are nested to a limited depth.
    fn content(
        &mut self,
        content: &Content,
        mut offset: u64,
        within: &[u8],
        path: &[u8],
    ) -> Result<()> {
        for extent in &content.extents {
            if let Some(id) = extent.id {
                if content.level == 0 {
                    if self.index.find(&id.key())?.is_none() {
                        self.push(id, path, Some((offset, extent.len)));
                    }
                } else if self.enter(&id) {
                    match self.trees.list(&id, content.level - 1, extent.len) {
                        Ok(list) => self.content(&list, offset, within, path)?,
                        Err(error) => self.lose(error, id, within)?,
                    }
                }
            }
            offset = offset.saturating_add(extent.len);
        }
        Ok(())
    }

    fn enter(&mut self, id: &BlobId) -> bool {
        !self.seen.contains(&id.key())
            && (self.seen.len() >= SOUND_NODES_MAX || self.seen.insert(id.key()))
    }

    fn lose(&mut self, error: Error, id: BlobId, path: &[u8]) -> Result<()> {
        finding_or_fail(error)?;
        self.push(id, path, None);
        Ok(())
    }

    fn push(&mut self, id: BlobId, path: &[u8], range: Option<(u64, u64)>) {
        if self.losses.len() < LOSSES_MAX {
            self.losses.push(Loss {
                id,
                snapshot: self.snapshot,
                path: path.to_vec(),
                range,
            });
        }
    }
}
