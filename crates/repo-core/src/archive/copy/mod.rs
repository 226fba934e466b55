//! Copying snapshots into another repository, with other keys and so other ids.
//!
//! Chunks are kept as the source cut them; each is read, verified, named by the target's key and
//! stored if the target lacks it. Trees are rewritten node by node, children first, with the same
//! split. So a snapshot and its copy have the same shape, and walking the two side by side tells
//! the target's ids of what an earlier copy brought over already: a copy reads what changed since
//! the last one, and needs no map between runs.

mod chunks;
mod known;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use repo_format::commit::SnapshotRef;
use repo_format::{BlobId, SessionId, Snapshot, SnapshotId};

use crate::archive::publish::Publication;
use crate::archive::snapshot::publish;
use crate::archive::tree::Trees;
use crate::error::{Error, Result};
use crate::limits::SNAPSHOT_ATTEMPTS;
use crate::progress::{Finding, Progress};
use crate::repository::{IndexSet, Repository, Session, State, finding_or_fail, new_session};

pub(super) use chunks::Chunks;
pub(super) use known::Known;
use known::Reference;
pub(super) use tree::Rewriter;

/// Choices of a copy.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// zstd level, 1 to 22.
    pub level: i32,
    /// Do everything but write.
    pub dry_run: bool,
    /// What to say in the target's log.
    pub action: String,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            level: 3,
            dry_run: false,
            action: "copy".to_owned(),
        }
    }
}

/// A snapshot of the source and its copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedSnapshot {
    /// The snapshot of the source.
    pub source: SnapshotId,
    /// Its copy in the target; `None` after a dry run.
    pub target: Option<SnapshotId>,
}

/// What came of a copy.
#[derive(Debug, Clone, Default)]
pub struct CopyReport {
    /// Snapshots that were copied, in order.
    pub copied: Vec<CopiedSnapshot>,
    /// Snapshots that the target had already, with their copies.
    pub present: Vec<CopiedSnapshot>,
    /// Snapshots that were not copied, because something of them cannot be read.
    pub failed: Vec<SnapshotId>,
    /// Raw bytes of the chunks that were read.
    pub bytes_read: u64,
    /// Raw bytes of the chunks that were new to the target.
    pub bytes_new: u64,
    /// Bytes of packs and index objects written to the target.
    pub bytes_stored: u64,
    /// What could not be read.
    pub findings: Vec<Finding>,
}

/// Why a snapshot is not copied.
pub(super) enum Failed {
    /// Something of it cannot be read, the chunk where it is one; others may be whole.
    Source(Option<BlobId>, Error),
    /// The copy cannot go on.
    Fatal(Error),
}

impl Failed {
    fn source(error: Error) -> Self {
        Self::Source(None, error)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// The first snapshot in a chain of copies.
pub(super) fn origin(known: &SnapshotRef) -> SnapshotId {
    known.snapshot.original.unwrap_or(known.snapshot.id())
}

impl Repository {
    /// Copies snapshots of this repository to `target`: those named, or all when none is.
    ///
    /// They are copied in the order they were committed, each with a commit of its own, so a copy
    /// that was stopped carries on behind the last whole snapshot. A snapshot whose copy the target
    /// has, by the recorded original, is passed over. One that cannot be read is a finding, and the
    /// others go on. An unchanged subtree of an earlier copy is not read again.
    pub async fn copy_to(
        &self,
        target: &Self,
        snapshots: &[SnapshotId],
        options: &CopyOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<CopyReport> {
        if self.id() == target.id() {
            return Err(Error::Invalid {
                what: "a repository cannot be copied to itself".to_owned(),
            });
        }
        target.writable()?;
        self.refresh().await?;
        target.refresh().await?;
        let state = self.state();
        for id in snapshots {
            if state.snapshot(id).is_none() {
                return Err(Error::UnknownSnapshot { id: id.to_hex() });
            }
        }
        let mut wanted = state.snapshots.clone();
        wanted.retain(|known| snapshots.is_empty() || snapshots.contains(&known.snapshot.id()));
        let (target, options) = (target.clone(), options.clone());
        self.blocking(move |source| {
            let mut copy = Copy::new(source, &target, &options, &*progress)?;
            progress.start("copy", None, Some(wanted.len() as u64));
            for known in &wanted {
                copy.until_done(known)?;
                progress.advance(0, 1);
            }
            let report = copy.finish()?;
            progress.finish();
            Ok(report)
        })
        .await
    }
}

/// One running copy.
struct Copy<'a> {
    source: Trees,
    sources: Arc<State>,
    target: &'a Repository,
    options: &'a CopyOptions,
    progress: &'a dyn Progress,
    /// The target's copies by their origin: id and root.
    copies: HashMap<SnapshotId, (SnapshotId, Option<BlobId>)>,
    known: Known,
    chunks: Chunks<'a>,
    writing: Option<Writing>,
    report: CopyReport,
}

/// A session of the target, and the state it began with.
struct Writing {
    id: SessionId,
    state: Arc<State>,
    trees: Trees,
    /// The index of that state, and what the session adds to it.
    index: Arc<IndexSet>,
    session: Session,
}

impl Writing {
    fn begin(target: &Repository, dry_run: bool) -> Result<Self> {
        let (state, index) = target.state_and_index()?;
        let trees = Trees::with(target, Arc::clone(&index));
        let index = Arc::new(index.fork());
        let (id, inner) = (new_session()?, &target.inner);
        let session = Session::new(
            id,
            Arc::clone(&inner.ring),
            inner.storage.clone(),
            Arc::clone(&index),
            inner.config.pack_size,
            dry_run,
        );
        Ok(Self {
            id,
            state,
            trees,
            index,
            session,
        })
    }
}

impl<'a> Copy<'a> {
    fn new(
        source: &Repository,
        target: &'a Repository,
        options: &'a CopyOptions,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let trees = Trees::open(source)?;
        let copy = |known: &SnapshotRef| {
            let place = (known.snapshot.id(), known.snapshot.root.subtree);
            (origin(known), place)
        };
        Ok(Self {
            chunks: Chunks::new(trees.clone(), target, options.level, progress),
            source: trees,
            sources: source.state(),
            target,
            options,
            progress,
            copies: target.state().snapshots.iter().map(copy).collect(),
            known: Known::default(),
            writing: None,
            report: CopyReport::default(),
        })
    }

    /// Copies a snapshot, again when what the copy relied on was collected meanwhile.
    fn until_done(&mut self, known: &SnapshotRef) -> Result<()> {
        for _ in 1..SNAPSHOT_ATTEMPTS {
            match self.snapshot(known) {
                Err(Error::Overtaken { .. }) => {
                    self.known = Known::default();
                    self.writing = None;
                }
                done => return done,
            }
        }
        self.snapshot(known)
    }

    fn snapshot(&mut self, known: &SnapshotRef) -> Result<()> {
        let id = known.snapshot.id();
        if let Some((copy, _)) = self.copies.get(&origin(known)) {
            self.report.present.push(CopiedSnapshot {
                source: id,
                target: Some(*copy),
            });
            return Ok(());
        }
        // What a snapshot that failed left in the session is claimed and will be written, so the
        // next one goes on in it.
        let writing = match self.writing.take() {
            Some(writing) => writing,
            None => Writing::begin(self.target, self.options.dry_run)?,
        };
        let reference = self.reference(known, &writing);
        let mut rewriter = Rewriter {
            source: &self.source,
            session: &writing.session,
            known: &mut self.known,
            chunks: &self.chunks,
            reference,
            progress: self.progress,
            path: Vec::new(),
        };
        let root = match rewriter.root(known.snapshot.root.subtree) {
            Ok(root) => root,
            Err(Failed::Fatal(error)) => return Err(error),
            Err(Failed::Source(_, error)) => {
                let path = rewriter.path;
                let why = finding_or_fail(error)?;
                self.fail(id, &path, &why);
                self.writing = Some(writing);
                return Ok(());
            }
        };
        let target = if self.options.dry_run {
            self.writing = Some(writing);
            None
        } else {
            Some(self.publish(known, root, &writing)?)
        };
        self.report
            .copied
            .push(CopiedSnapshot { source: id, target });
        Ok(())
    }

    /// An earlier snapshot that the target has, to walk beside this one: its parent, or else the
    /// newest of the same host and paths, or else the newest.
    fn reference(&self, wanted: &SnapshotRef, writing: &Writing) -> Option<Reference> {
        let snapshot = &wanted.snapshot;
        let rank = |known: &SnapshotRef| {
            let of = &known.snapshot;
            (
                snapshot.parent == Some(of.id()),
                of.host == snapshot.host && of.paths == snapshot.paths,
            )
        };
        let known = self
            .sources
            .snapshots
            .iter()
            .filter(|known| self.copies.contains_key(&origin(known)))
            .max_by_key(|known| rank(known))?;
        let (_, root) = self.copies.get(&origin(known))?;
        Some(Reference::new(
            (self.source.clone(), known.snapshot.root.subtree?),
            (writing.trees.clone(), (*root)?),
        ))
    }

    fn fail(&mut self, id: SnapshotId, path: &[u8], why: &str) {
        let path = if path.is_empty() { b"/" } else { path };
        let message = format!("{why}; snapshot {id} is not copied");
        let finding = Finding::damage(Some(path), message);
        self.progress.finding(&finding);
        self.report.findings.push(finding);
        self.report.failed.push(id);
    }

    fn publish(
        &mut self,
        known: &SnapshotRef,
        root: Option<BlobId>,
        writing: &Writing,
    ) -> Result<SnapshotId> {
        self.chunks.flush(&writing.session)?;
        let written = writing.session.finish()?;
        let bytes_new = self.chunks.bytes_new.swap(0, Ordering::Relaxed);
        self.report.bytes_new += bytes_new;
        self.report.bytes_stored += written.bytes;
        let mut snapshot: Snapshot = (*known.snapshot).clone();
        snapshot.root.subtree = root;
        snapshot.parent = snapshot
            .parent
            .and_then(|id| self.sources.snapshot(&id))
            .and_then(|parent| self.copies.get(&origin(parent)))
            .map(|(copy, _)| *copy);
        snapshot.original = Some(origin(known));
        snapshot.stats.bytes_new = bytes_new;
        snapshot.stats.bytes_stored = written.bytes;
        let publication = Publication {
            repository: self.target,
            session: writing.id,
            action: &self.options.action,
            progress: self.progress,
            roots: root.into_iter().collect(),
            parent: None,
            indexes: written.indexes,
            source: Arc::clone(&writing.index),
            valid: Some(writing.state.number),
            level: self.options.level,
        };
        let id = publish(snapshot, known.tags.clone(), known.protected, publication)?;
        self.copies.insert(origin(known), (id, root));
        Ok(id)
    }

    fn finish(mut self) -> Result<CopyReport> {
        if self.options.dry_run
            && let Some(writing) = self.writing.take()
        {
            self.chunks.flush(&writing.session)?;
            self.report.bytes_stored = writing.session.finish()?.bytes;
            self.report.bytes_new = self.chunks.bytes_new.load(Ordering::Relaxed);
        }
        self.report.bytes_read = self.chunks.bytes_read.load(Ordering::Relaxed);
        Ok(self.report)
    }
}
