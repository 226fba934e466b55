//! Repair of what leads to data: damaged index objects and pack directories.
//!
//! Works as every writer does: it reads, writes new objects beside the old ones, and switches by one
//! commit. Nothing is deleted; what a commit no longer names is left to collection. A run that is
//! stopped before its commit changed nothing.

mod rows;
mod salvage;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use futures::TryStreamExt;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use repo_format::commit::{Commit, IndexRef};
use repo_format::pack::{self, DirectorySegment};
use repo_format::{Base, BlobId, BlobKey, IndexId, PackId, SessionId, limits};

use crate::error::{Error, Result};
use crate::limits::REPAIR_DIRECTORIES;
use crate::progress::{Finding, Progress};
use crate::repository::check::finding_or_fail;
use crate::repository::index::{Described, Examiner, IndexSet};
use crate::repository::parity::Healer;
use crate::repository::segments::SegmentReader;
use crate::repository::{Gone, Repository, State, new_session};

use rows::Rows;
use salvage::Salvage;

/// Choices of a repair.
#[derive(Debug, Clone)]
pub struct RepairOptions {
    /// zstd level of what is stored anew, 1 to 22.
    pub level: i32,
    /// Do everything but write. Chunks stored against a base are taken for readable then.
    pub dry_run: bool,
    /// What to say in the log.
    pub action: String,
}

impl Default for RepairOptions {
    fn default() -> Self {
        Self {
            level: 3,
            dry_run: false,
            action: "repair index".to_owned(),
        }
    }
}

/// What a repair did, or would do.
#[derive(Debug, Clone, Default)]
pub struct RepairReport {
    /// Index objects looked at.
    pub indexes: u64,
    /// Index objects that the log no longer names.
    pub indexes_removed: u64,
    /// Index objects written.
    pub indexes_added: u64,
    /// Packs looked at.
    pub packs: u64,
    /// Packs whose chunks were entered into the index by their directories.
    pub packs_indexed: u64,
    /// Packs whose header or directory cannot be read, or that hold damaged segments.
    pub packs_harmed: u64,
    /// Of these, packs that nothing needs any more, because all that the index knew of them was
    /// stored anew.
    pub packs_replaced: u64,
    /// Chunks and tree nodes found in harmed packs and stored anew.
    pub blobs_salvaged: u64,
    /// Chunks and tree nodes found in a second repository and stored.
    pub blobs_recovered: u64,
    /// Bytes of packs and index objects written.
    pub bytes_stored: u64,
    /// What remains wrong.
    pub findings: Vec<Finding>,
}

impl Repository {
    /// Rebuilds what is damaged of the index from the directories of packs, and takes what can be
    /// read out of packs whose directories are damaged.
    ///
    /// Requests: a list of `packs`, a get for each index object, two reads a pack; harmed packs are
    /// read whole. Memory: the names of all packs (40 bytes each), and the budgets of a session.
    pub async fn repair_index(
        &self,
        options: &RepairOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<RepairReport> {
        self.writable()?;
        self.refresh().await?;
        let stored = self.stored_packs().await?;
        let options = options.clone();
        self.blocking(move |repository| {
            repository.repair(&options, &*progress, (&stored, &[]), None, None)
        })
        .await
    }

    /// Every pack in the store, in order of name.
    pub(crate) async fn stored_packs(&self) -> Result<Vec<Stored>> {
        let mut stored = Vec::new();
        let mut listed = self.inner.storage.store().list("packs/", None).await;
        while let Some(info) = listed.try_next().await.map_err(Error::Store)? {
            let id = info.key.rsplit('/').next().and_then(PackId::from_hex);
            stored.extend(id.map(|id| (id, info.size)));
        }
        Ok(stored)
    }

    /// Repairs the index, and packs that are known to be harmed. They are read through `healer`, and
    /// `recover` is asked for what they no longer hold. Blocks.
    pub(crate) fn repair(
        &self,
        options: &RepairOptions,
        progress: &dyn Progress,
        (stored, harmed): (&[Stored], &[PackId]),
        healer: Option<Arc<Healer>>,
        recover: Option<Recover<'_>>,
    ) -> Result<RepairReport> {
        let storage = match &healer {
            Some(healer) => self.inner.storage.healing(Arc::clone(healer)),
            None => self.inner.storage.clone(),
        };
        let repair = Repair {
            repository: self,
            state: self.state(),
            session: new_session()?,
            reader: SegmentReader::new(storage, Arc::clone(&self.inner.ring)),
            healer,
            options,
            progress,
            sound: Vec::new(),
            removed: Vec::new(),
            report: RepairReport::default(),
        };
        repair.run(stored, harmed, recover)
    }
}

/// Finds lost blobs elsewhere and stores them in the session. The index locates what is not lost.
pub(crate) type Recover<'a> = &'a mut dyn FnMut(&Arc<IndexSet>, SessionId) -> Result<Recovered>;

/// What was found elsewhere.
#[derive(Default)]
pub(crate) struct Recovered {
    pub(crate) keys: HashSet<BlobKey>,
    pub(crate) indexes: Vec<IndexRef>,
    pub(crate) bytes: u64,
}

/// One running repair.
struct Repair<'a> {
    repository: &'a Repository,
    state: Arc<State>,
    session: SessionId,
    /// Reads harmed packs as they were, as far as that is known.
    reader: SegmentReader,
    healer: Option<Arc<Healer>>,
    options: &'a RepairOptions,
    progress: &'a dyn Progress,
    /// Index objects without damage, and the packs they name.
    sound: Vec<(IndexRef, Vec<PackId>)>,
    removed: Vec<IndexId>,
    report: RepairReport,
}

/// A pack of the store, and its length there.
pub(crate) type Stored = (PackId, u64);

/// What is wrong with packs.
struct Found {
    /// Not all of their chunks are in the index.
    unindexed: Vec<Stored>,
    /// Their directories cannot be read, or they are known to be harmed.
    harmed: Vec<Stored>,
    /// The index names them, and the store has them not.
    missing: Vec<PackId>,
}

/// Gathers what one index object says.
#[derive(Default)]
struct Examined {
    bad: bool,
    packs: Vec<PackId>,
}

impl Examiner for Examined {
    fn bad(&mut self, error: Error) -> Result<()> {
        let why = finding_or_fail(error)?;
        tracing::debug!(why, "an index object is damaged");
        self.bad = true;
        Ok(())
    }

    fn object(&mut self, _: u64, _: u64, packs: Vec<Described>) -> Result<()> {
        self.packs = packs.into_iter().map(|known| known.pack.id).collect();
        Ok(())
    }
}

impl Repair<'_> {
    fn run(
        mut self,
        stored: &[Stored],
        known: &[PackId],
        recover: Option<Recover<'_>>,
    ) -> Result<RepairReport> {
        self.examine_indexes()?;
        let index = self.index(&[], &[])?;
        let found = self.compare(&index, stored, known)?;
        let mut rows = Rows::new(self.repository, self.session, self.options.dry_run);
        self.enter(&found.unindexed, &mut rows)?;
        self.report.packs_indexed = found.unindexed.len() as u64;
        let there = found.harmed.iter().map(|(id, _)| *id);
        let harmed: Vec<PackId> = there.chain(found.missing.iter().copied()).collect();
        if !harmed.is_empty() || (recover.is_some() && !self.removed.is_empty()) {
            let index = Arc::new(self.index(rows.written(), &harmed)?);
            let salvage = self.salvage(&index, &found.harmed)?;
            let recovered = match recover {
                Some(recover) => recover(&index, self.session)?,
                None => Recovered::default(),
            };
            self.report.blobs_recovered = recovered.keys.len() as u64;
            self.replace(&salvage, &recovered, &index, &harmed, &mut rows)?;
            self.report.bytes_stored += salvage.bytes + recovered.bytes;
            rows.adopt(salvage.indexes);
            rows.adopt(recovered.indexes);
        }
        rows.flush()?;
        self.report.bytes_stored += rows.bytes();
        let added = rows.into_written();
        self.report.indexes_added = added.len() as u64;
        self.report.indexes_removed = self.removed.len() as u64;
        let nothing = added.is_empty() && self.removed.is_empty();
        if !self.options.dry_run && !nothing {
            self.commit(&added)?;
        }
        Ok(self.report)
    }

    fn examine_indexes(&mut self) -> Result<()> {
        let state = Arc::clone(&self.state);
        let (inner, count) = (&self.repository.inner, state.indexes.len() as u64);
        self.progress.start("index", None, Some(count));
        for reference in &state.indexes {
            self.proceed()?;
            let mut examined = Examined::default();
            let one = std::slice::from_ref(reference);
            let gone = Gone::default();
            IndexSet::examine(&inner.storage, &inner.ring, one, gone, &mut examined)?;
            if examined.bad {
                self.removed.push(reference.id);
            } else {
                self.sound.push((*reference, examined.packs));
            }
            self.progress.advance(0, 1);
        }
        self.report.indexes = count;
        self.progress.finish();
        Ok(())
    }

    /// The sound index objects and `more`, with the packs of `without` left out.
    fn index(&self, more: &[IndexRef], without: &[PackId]) -> Result<IndexSet> {
        let inner = &self.repository.inner;
        let sound = self.sound.iter().map(|(reference, _)| *reference);
        let references: Vec<IndexRef> = sound.chain(more.iter().copied()).collect();
        let without = self.state.gone().and(without);
        IndexSet::open(&inner.storage, &inner.ring, &references, without, None)
    }

    /// The packs whose chunks the index lacks, and those whose directories cannot be read.
    ///
    /// A pack that no index object names was left by a writer that never finished, unless an index
    /// object is lost: then it may have been that one's.
    fn compare(&mut self, index: &IndexSet, stored: &[Stored], known: &[PackId]) -> Result<Found> {
        let condemned: HashSet<PackId> = self.state.condemned.keys().copied().collect();
        let named: HashSet<PackId> = self
            .sound
            .iter()
            .flat_map(|(_, packs)| packs.iter().copied())
            .collect();
        let there: HashSet<PackId> = stored.iter().map(|(id, _)| *id).collect();
        let missing = named.difference(&there).copied();
        let missing: Vec<PackId> = missing.filter(|id| !condemned.contains(id)).collect();
        let healer = self.healer.clone();
        let healed = |id: &PackId| healer.as_ref()?.size_of(id).map(|size| (*id, size));
        let rebuilt: Vec<Stored> = missing.iter().filter_map(healed).collect();
        let missing = missing.into_iter().filter(|id| healed(id).is_none());
        let missing = missing.collect();
        let all = !self.removed.is_empty();
        let looked_at: Vec<Stored> = stored
            .iter()
            .filter(|(id, _)| !condemned.contains(id) && (all || named.contains(id)))
            // One that was cut off is read as long as it was.
            .map(|(id, size)| healed(id).unwrap_or((*id, *size)))
            .collect();
        let count = looked_at.len() as u64;
        self.report.packs = count;
        self.progress.start("packs", None, Some(count));
        let (mut unindexed, mut harmed) = (Vec::new(), Vec::new());
        let pool = self.repository.pool()?;
        for batch in looked_at.chunks(REPAIR_DIRECTORIES) {
            self.proceed()?;
            let this = &self;
            let read: Vec<Result<bool>> = pool.install(|| {
                batch
                    .par_iter()
                    .map(|(id, size)| Ok(located(index, *id, &this.reader.directory(id, *size)?)))
                    .collect()
            });
            for (pack, read) in batch.iter().zip(read) {
                match read {
                    Ok(_) if known.binary_search(&pack.0).is_ok() => harmed.push(*pack),
                    // Chunks of a named pack that the index lacks were dropped by a collector.
                    Ok(whole) if whole || named.contains(&pack.0) => {}
                    Ok(_) => unindexed.push(*pack),
                    Err(error) => {
                        let why = finding_or_fail(error)?;
                        tracing::debug!(why, pack = %pack.0, "a pack is harmed");
                        harmed.push(*pack);
                    }
                }
            }
            self.progress.advance(0, batch.len() as u64);
        }
        harmed.extend(rebuilt);
        self.report.packs_harmed = harmed.len() as u64;
        self.progress.finish();
        Ok(Found {
            unindexed,
            harmed,
            missing,
        })
    }

    /// Whether a look-up finds the chunk at a depth smaller than `depth`.
    fn stands(&self, index: &IndexSet, id: BlobId, depth: u8) -> bool {
        let base = Base { id, depth };
        self.reader.holds(index, &base).unwrap_or(false)
    }

    /// Enters packs into the index. Deltas come after what they stand on, and only those whose base
    /// is there: a dead one may have lost its own, and a writer must not find it. Nor may it be found
    /// before a copy of its chunk that does not lie as deep, on which others stand.
    fn enter(&self, packs: &[Stored], rows: &mut Rows<'_>) -> Result<()> {
        let mut depths: BTreeMap<u8, BTreeSet<&Stored>> = BTreeMap::new();
        for pack @ (id, size) in packs {
            let mut segments = self.reader.directory(id, *size)?;
            for base in segments.iter().filter_map(|segment| segment.base) {
                depths.entry(base.depth).or_default().insert(pack);
            }
            segments.retain(|segment| segment.base.is_none());
            rows.push(*id, *size, &segments)?;
        }
        rows.flush()?;
        for (depth, packs) in depths {
            let index = self.index(rows.written(), &[])?;
            for (id, size) in packs {
                let mut deltas = Vec::new();
                for segment in self.reader.directory(id, *size)? {
                    let Some(base) = segment.base.filter(|base| base.depth == depth) else {
                        continue;
                    };
                    let found = segment.chunks.iter().any(|(id, _)| {
                        let deeper = depth.saturating_add(1);
                        self.stands(&index, *id, deeper)
                    });
                    let readable = self.stands(&index, base.id, depth) && !found;
                    if self.options.dry_run || readable {
                        deltas.push(segment);
                    }
                }
                rows.push(*id, *size, &deltas)?;
            }
            rows.flush()?;
        }
        Ok(())
    }

    fn salvage(&mut self, index: &Arc<IndexSet>, harmed: &[Stored]) -> Result<Salvage> {
        let bytes = harmed.iter().map(|(_, size)| size).sum();
        let count = harmed.len() as u64;
        self.progress
            .start("harmed packs", Some(bytes), Some(count));
        let mut salvage = Salvage::default();
        let first = salvage.pass(self, index, harmed, false)?;
        self.report.blobs_salvaged += first;
        // Each further pass decodes what stands on chunks of the one before it.
        for _ in 0..limits::DELTA_DEPTH_MAX {
            let done = salvage.pass(self, index, harmed, true)?;
            self.report.blobs_salvaged += done;
            if done == 0 || self.options.dry_run {
                break;
            }
        }
        self.progress.finish();
        Ok(salvage)
    }

    /// Takes harmed packs out of the index whose every known segment was stored anew.
    fn replace(
        &mut self,
        salvage: &Salvage,
        recovered: &Recovered,
        elsewhere: &IndexSet,
        harmed: &[PackId],
        rows: &mut Rows<'_>,
    ) -> Result<()> {
        let index = self.index(&[], &[])?;
        let mut replaced = HashSet::new();
        for id in harmed {
            let (mut lost, mut all) = (0u64, 0u64);
            index.keys_of(id, |offset, key| {
                let known = salvage.segments.contains(&(*id, offset))
                    || recovered.keys.contains(&key)
                    || matches!(elsewhere.find(&key), Ok(Some(_)));
                lost += u64::from(!known);
                all += 1;
            })?;
            if lost == 0 {
                replaced.insert(*id);
            } else {
                let key = pack::path(id);
                let message = format!("{key}: {lost} of its {all} chunks are lost");
                self.find(Finding::damage(None, message));
            }
        }
        self.report.packs_replaced = replaced.len() as u64;
        for (reference, packs) in std::mem::take(&mut self.sound) {
            if packs.iter().any(|id| replaced.contains(id)) {
                // What is lost stays named by the object that knows of it.
                rows.without(&reference, &replaced)?;
                self.removed.push(reference.id);
            }
        }
        Ok(())
    }

    fn commit(&self, added: &[IndexRef]) -> Result<()> {
        let looked_at = self.state.number;
        let commit = self
            .repository
            .commit(Some(self.session), &self.options.action, |newest| {
                // A pack that was entered into the index may be going away, and a delta that was
                // entered may come before a chunk that others stored in full.
                if newest.collected_after(looked_at) || newest.indexed_after(looked_at) {
                    return Err(Error::Overtaken {
                        why: "others stored or collected while the repair ran".to_owned(),
                    });
                }
                Ok(Commit {
                    add_indexes: added.to_vec(),
                    remove_indexes: self.removed.clone(),
                    ..Commit::default()
                })
            });
        self.repository.inner.storage.wait(commit)
    }

    fn find(&mut self, finding: Finding) {
        self.progress.finding(&finding);
        self.report.findings.push(finding);
    }

    fn proceed(&self) -> Result<()> {
        if self.progress.cancelled() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }
}

/// Whether the index has every chunk of the pack where its directory says.
fn located(index: &IndexSet, id: PackId, segments: &[DirectorySegment]) -> bool {
    segments.iter().all(|segment| {
        segment.chunks.iter().all(|(blob, _)| {
            let mut found = false;
            index.find_all(&blob.key(), |at| {
                found |= at.segment.pack == id && at.segment.offset == segment.place.offset;
            });
            // A blob that came twice into one object is named there once.
            found || matches!(index.find(&blob.key()), Ok(Some(_)))
        })
    })
}
