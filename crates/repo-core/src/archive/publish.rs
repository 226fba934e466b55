//! The commit that makes snapshots visible, and what must hold at that moment: everything they
//! reach is stored where no collector has condemned it.
//!
//! A snapshot relies on chunks it found in the index. When a collector committed after that, each
//! blob is looked up again in the newest index; what is not there any more is stored anew from the
//! condemned packs, which may still exist. If they do not, the snapshot is overtaken and has to be
//! taken again.
//!
//! The base of a delta lies at a smaller depth, and stays so for all who look it up: the first to
//! commit a chunk decides how deep it is found, and only a collector makes that less. A run that lost
//! the race for its number takes out of its index objects those of its deltas that are in the
//! repository by now, and stores bases anew that are found too deep.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use repo_format::commit::{Commit, IndexRef};
use repo_format::{BlobId, BlobKind, SessionId, Texture};

use crate::archive::locks;
use crate::archive::reach::reach;
use crate::archive::tree::Trees;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::{
    Encoder, Gone, IndexBuilder, IndexObject, IndexSet, Live, LockLedger, Repository,
    SegmentWriter, Session, State,
};

/// What a run is about to commit.
pub(crate) struct Publication<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) session: SessionId,
    pub(crate) action: &'a str,
    pub(crate) progress: &'a dyn Progress,
    /// Roots of the trees that become visible.
    pub(crate) roots: Vec<BlobId>,
    /// Root of the tree that the one root was compared with.
    pub(crate) parent: Option<BlobId>,
    /// Index objects this run has written.
    pub(crate) indexes: Vec<IndexRef>,
    /// Locates everything the trees reach, perhaps in condemned packs.
    pub(crate) source: Arc<IndexSet>,
    /// The commit at which `source` was right; none when it must be looked at in any case.
    pub(crate) valid: Option<u64>,
    /// zstd level of what is stored anew.
    pub(crate) level: i32,
}

impl Publication<'_> {
    /// Commits what `build` makes of the newest state, with the index objects of this run, once all
    /// that the trees reach is safe in that state. Blocks.
    pub(crate) fn commit(mut self, mut build: impl FnMut(&State) -> Result<Commit>) -> Result<()> {
        // Locates what the trees reach where it is safe.
        let mut index = Arc::clone(&self.source);
        let mut stale = self.valid.is_none();
        loop {
            if stale {
                index = self.catch_up()?;
            }
            let locked = self.lock(&index)?;
            stale = false;
            let commit = self
                .repository
                .commit(Some(self.session), self.action, |newest| {
                    stale = self.valid.is_none_or(|number| {
                        newest.collected_after(number)
                            || (newest.indexed_after(number) && !self.indexes.is_empty())
                    });
                    if stale {
                        return Err(taken("others committed first"));
                    }
                    let mut commit = build(newest)?;
                    commit.add_indexes.extend_from_slice(&self.indexes);
                    Ok(commit)
                });
            match self.repository.inner.storage.wait(commit) {
                Err(_) if stale => {}
                done => {
                    // With the lock of the commit itself.
                    locks::remember(self.repository, locked);
                    return done;
                }
            }
        }
    }

    /// Renews the locks of what the trees reach, where the repository locks at all.
    fn lock(&self, index: &Arc<IndexSet>) -> Result<Option<LockLedger>> {
        let repository = self.repository;
        let mut ledger = None;
        if repository.lock_for().is_none() {
            return Ok(ledger);
        }
        let state = repository.state();
        let trees = Trees::with(repository, Arc::clone(index));
        for root in &self.roots {
            locks::remember(repository, ledger.take());
            let subtrees = (Some(*root), self.parent);
            ledger = locks::renew(repository, &trees, &state, &self.indexes, subtrees)?;
        }
        Ok(ledger)
    }

    /// Makes the run fit the newest state, and returns an index that locates all it relies on there.
    fn catch_up(&mut self) -> Result<Arc<IndexSet>> {
        let (state, index) = self.repository.state_and_index()?;
        let collected = self
            .valid
            .is_none_or(|number| state.collected_after(number));
        let newest = self.validate(&state, &index, collected)?;
        self.valid = Some(state.number);
        Ok(newest)
    }

    /// `index` with the index objects of this run.
    fn with_own(&self, index: &IndexSet) -> Result<Arc<IndexSet>> {
        let inner = &self.repository.inner;
        let own = index.fork();
        for reference in &self.indexes {
            own.add(&inner.storage, &inner.ring, reference)?;
        }
        Ok(Arc::new(own))
    }

    /// Makes all that the trees reach safe in the newest state, which is one that a collector made, or
    /// one to which others added.
    fn validate(
        &mut self,
        state: &State,
        index: &IndexSet,
        collected: bool,
    ) -> Result<Arc<IndexSet>> {
        let repository = self.repository;
        let inner = &repository.inner;
        if collected && self.indexes.iter().any(|own| state.was_removed(&own.id)) {
            return Err(taken("its index objects were collected"));
        }
        let shed = self.shed(index)?;
        let newest = self.with_own(index)?;
        if !collected && !shed {
            return Ok(newest);
        }
        let session = Session::new(
            self.session,
            Arc::clone(&inner.ring),
            inner.storage.clone(),
            Arc::new(newest.fork()),
            inner.config.pack_size,
            false,
        );
        let rescue = Rescue::new(repository, &self.source, &session, self.level)?;
        if collected {
            self.visit(&newest, &rescue)?;
        }
        self.bases(&newest, &rescue)?;
        rescue.finish()?;
        for own in session.finish()?.indexes {
            self.source.add(&inner.storage, &inner.ring, &own)?;
            newest.add(&inner.storage, &inner.ring, &own)?;
            self.indexes.push(own);
        }
        Ok(newest)
    }

    /// Looks up every blob that the trees reach.
    fn visit(&self, newest: &Arc<IndexSet>, rescue: &Rescue<'_>) -> Result<()> {
        let repository = self.repository;
        let live = Live::new(newest);
        let trees =
            Trees::with(repository, Arc::clone(newest)).with_fallback(Arc::clone(&self.source));
        self.progress.start("revalidate", None, None);
        reach(
            &trees,
            self.roots.iter().copied(),
            self.progress,
            &|kind, id| match live.place(&id.key())? {
                Some(place) => Ok(live.mark(&place)),
                None => rescue.store(kind, id),
            },
        )
        .map_err(deleted)?;
        self.progress.finish();
        Ok(())
    }

    /// Looks up every base of this run's own deltas. Others may have stored one anew that was
    /// collected, at a greater depth.
    fn bases(&self, newest: &IndexSet, rescue: &Rescue<'_>) -> Result<()> {
        let inner = &self.repository.inner;
        let gone = newest.gone().clone();
        let own = IndexSet::open(&inner.storage, &inner.ring, &self.indexes, gone, None)?;
        for (pack, size) in own.packs() {
            for segment in inner.segments.directory(&pack, size)? {
                if let Some(base) = &segment.base
                    && !inner.segments.holds(newest, base).map_err(deleted)?
                {
                    let stored = rescue.store(BlobKind::Data, &base.id);
                    stored.map_err(deleted)?;
                }
            }
        }
        Ok(())
    }

    /// Writes again, without what may not be committed, the index objects of this run that have such
    /// entries: those of condemned packs, and deltas of chunks that `newest` locates. Whether there
    /// were any.
    fn shed(&mut self, newest: &IndexSet) -> Result<bool> {
        let inner = &self.repository.inner;
        let mut kept = Vec::new();
        let mut any = false;
        for own in &self.indexes {
            let opened = IndexSet::open(
                &inner.storage,
                &inner.ring,
                std::slice::from_ref(own),
                Gone::default(),
                None,
            )
            .map_err(deleted)?;
            let mut builder = IndexBuilder::default();
            let mut whole = true;
            for object in opened.objects() {
                let shed = self.unwanted(&object, newest)?;
                whole = whole && shed.is_empty();
                builder.take(&object, |at, _| !shed.contains(&at))?;
            }
            any = any || !whole;
            if whole {
                kept.push(*own);
            } else if !builder.entries.is_empty() {
                kept.push(builder.store(&inner.storage, &inner.ring, self.session, false)?);
            }
        }
        self.indexes = kept;
        Ok(any)
    }

    /// Places of the entries that may not be committed.
    fn unwanted(&self, object: &IndexObject, newest: &IndexSet) -> Result<HashSet<u64>> {
        let tail = object.tail();
        let mut shed = HashSet::new();
        // Entries of chunks that others have, by pack and offset.
        let mut doubled = BTreeMap::new();
        let mut failed = None;
        object.each_entry(|at, entry| {
            let Some((pack, segment)) = tail.locate(&entry) else {
                return;
            };
            if newest.gone().contains(&pack.id) {
                shed.insert(at);
                return;
            }
            match newest.find(&entry.key) {
                Ok(None) => {}
                Ok(Some(_)) => {
                    let pack: &mut Vec<(u32, u64)> =
                        doubled.entry((pack.id, pack.size)).or_default();
                    pack.push((segment.offset, at));
                }
                Err(error) => failed = Some(error),
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        for ((pack, size), entries) in doubled {
            let directory = self.repository.inner.segments.directory(&pack, size);
            let directory = directory.map_err(deleted)?;
            let deltas = directory.iter().filter(|segment| segment.base.is_some());
            let deltas: HashSet<u32> = deltas.map(|segment| segment.place.offset).collect();
            let entries = entries.into_iter();
            shed.extend(entries.filter_map(|(offset, at)| deltas.contains(&offset).then_some(at)));
        }
        Ok(shed)
    }
}

fn taken(why: &str) -> Error {
    Error::Overtaken {
        why: why.to_owned(),
    }
}

/// What was condemned and is deleted by now cannot be stored anew.
fn deleted(error: Error) -> Error {
    if error.is_lost() {
        return taken("what it relies on was collected and deleted");
    }
    error
}

/// Stores blobs anew that the newest index does not locate.
struct Rescue<'a> {
    repository: &'a Repository,
    source: &'a IndexSet,
    session: &'a Session,
    work: Mutex<Work>,
}

struct Work {
    encoder: Encoder,
    data: SegmentWriter,
    tree: SegmentWriter,
    /// Stored already.
    done: HashSet<BlobId>,
}

impl<'a> Rescue<'a> {
    fn new(
        repository: &'a Repository,
        source: &'a IndexSet,
        session: &'a Session,
        level: i32,
    ) -> Result<Self> {
        let size = repository.inner.config.segment_size;
        Ok(Self {
            repository,
            source,
            session,
            work: Mutex::new(Work {
                encoder: Encoder::new(level)?,
                data: SegmentWriter::new(BlobKind::Data, Texture::Mixed, size),
                tree: SegmentWriter::new(BlobKind::Tree, Texture::Mixed, size),
                done: HashSet::new(),
            }),
        })
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores the blob. False when it was stored before.
    fn store(&self, kind: BlobKind, id: &BlobId) -> Result<bool> {
        if !self.work().done.insert(*id) {
            return Ok(false);
        }
        let segments = &self.repository.inner.segments;
        let blob = segments.blob(self.source, kind, id)?;
        let work = &mut *self.work();
        let writer = match kind {
            BlobKind::Data => &mut work.data,
            BlobKind::Tree => &mut work.tree,
        };
        writer.push(self.session, &mut work.encoder, *id, &blob)?;
        Ok(true)
    }

    fn finish(self) -> Result<()> {
        let mut work = self
            .work
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        work.data.flush(self.session, &mut work.encoder)?;
        work.tree.flush(self.session, &mut work.encoder)
    }
}
