//! Verification of what lies in the store: config, keys, log, index objects and packs.
//!
//! Damage is not an error here: it is told as a finding and the rest is verified. The walk over
//! the snapshots' trees, which names the files that damage costs, is in `archive`.

mod ledger;
mod log;
mod packs;
mod pipeline;
mod worker;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use repo_format::config::Operation;
use repo_format::{BlobId, BlobKey, ErrorKind, PackId};

use crate::error::{Error, Result};
use crate::limits::FINDINGS_MAX;
use crate::progress::{Finding, Progress};
use crate::repository::index::{Described, Examiner, IndexSet, Location};
use crate::repository::segments::SegmentReader;
use crate::repository::{Repository, State, parity};

use packs::PackFacts;

/// How a repository is checked.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckOptions {
    /// How much of the stored data is read.
    pub read_data: ReadData,
}

/// How much of the stored data a check reads.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum ReadData {
    /// None but trees: that everything is where it should be, not that each byte is right.
    #[default]
    No,
    /// Every byte of every pack, and every commit.
    All,
    /// This percentage of the packs, above 0 and up to 100: evenly spread over their names, and
    /// other ones each time.
    Percent(f64),
    /// The packs not verified for a time, those verified longest ago first. What was verified when
    /// is kept in the cache of this machine, by every check that reads data.
    Due {
        /// Only packs not verified within so many milliseconds; all when absent.
        older_than_ms: Option<u64>,
        /// Begin no pack after so many milliseconds of reading.
        max_duration_ms: Option<u64>,
    },
}

/// How much of the stored data is known to have been verified within the time asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Bytes of packs in the store.
    pub bytes: u64,
    /// Of these, bytes of packs verified within the time, by this check or before.
    pub bytes_verified: u64,
    /// Packs that are still due.
    pub packs_due: u64,
}

/// What a check looked at and what it found.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Snapshots whose trees were walked.
    pub snapshots: u64,
    /// Index objects of the newest state.
    pub indexes: u64,
    /// Packs they describe.
    pub packs: u64,
    /// Entries of the index that could be read.
    pub blobs: u64,
    /// Bytes of index objects and packs read.
    pub bytes_read: u64,
    /// What is verified, when packs were read by their age.
    pub coverage: Option<Coverage>,
    /// What was found. Damage makes a repository unsound; notes do not.
    pub findings: Vec<Finding>,
}

/// Gathers findings and passes them on. Shared by the threads of one check.
pub(crate) struct Findings {
    progress: Arc<dyn Progress>,
    found: Mutex<(Vec<Finding>, u64)>,
}

impl Findings {
    fn new(progress: Arc<dyn Progress>) -> Self {
        Self {
            progress,
            found: Mutex::default(),
        }
    }

    pub(crate) fn progress(&self) -> &dyn Progress {
        &*self.progress
    }

    /// Ends the work when the caller has cancelled it.
    pub(crate) fn proceed(&self) -> Result<()> {
        if self.progress.cancelled() {
            return Err(Error::Cancelled);
        }
        Ok(())
    }

    pub(crate) fn add(&self, finding: Finding) {
        self.progress.finding(&finding);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.0.len() < FINDINGS_MAX {
            found.0.push(finding);
        } else {
            found.1 += 1;
        }
    }

    pub(crate) fn damage(&self, message: impl Into<String>) {
        self.add(Finding::damage(None, message));
    }

    pub(crate) fn note(&self, message: impl Into<String>) {
        self.add(Finding {
            severity: crate::progress::Severity::Note,
            path: None,
            message: message.into(),
        });
    }

    /// Tells of an object that cannot be read; an error that says nothing about the object, such
    /// as a store that is gone, is handed back.
    pub(crate) fn unreadable(&self, key: &str, error: Error) -> Result<()> {
        let why = finding_or_fail(error)?;
        self.damage(if why.contains(key) {
            why
        } else {
            format!("{key}: {why}")
        });
        Ok(())
    }

    pub(crate) fn take(&self) -> Vec<Finding> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut list, more) = std::mem::take(&mut *found);
        if more > 0 {
            list.push(Finding::damage(None, format!("{more} more findings")));
        }
        list
    }
}

/// The chain of causes in one line, or the error itself when it ends the check.
pub(crate) fn finding_or_fail(error: Error) -> Result<String> {
    let ends = match &error {
        Error::Cancelled | Error::Internal { .. } => true,
        Error::Store(repo_store::Error::BucketNotFound { .. }) => true,
        other => other.kind() == ErrorKind::Unavailable,
    };
    if ends { Err(error) } else { Ok(chain(&error)) }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}

/// What is known to be unreadable.
#[derive(Debug, Default)]
pub(crate) struct Damage {
    /// Packs of which only the bytes before an offset can be read.
    packs: HashMap<PackId, u64>,
    /// Segments, by pack and offset.
    segments: HashSet<(PackId, u32)>,
    /// Single blobs.
    blobs: HashSet<BlobKey>,
}

impl Damage {
    pub(crate) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Things known to be damaged.
    pub(crate) fn count(&self) -> usize {
        self.packs.len() + self.segments.len() + self.blobs.len()
    }

    /// Whether the blob, which lies at `at`, is lost.
    pub(crate) fn hits(&self, key: &BlobKey, at: &Location) -> bool {
        let segment = &at.segment;
        let end = u64::from(segment.offset) + u64::from(segment.stored);
        !self.is_empty()
            && (self
                .packs
                .get(&segment.pack)
                .is_some_and(|readable| end > *readable)
                || self.segments.contains(&(segment.pack, segment.offset))
                || self.blobs.contains(key))
    }
}

/// What the check of the repository leaves to the walk over its snapshots.
pub(crate) struct Examined {
    pub(crate) state: Arc<State>,
    pub(crate) index: Arc<IndexSet>,
    /// Reads with nothing cached from before the check.
    pub(crate) reader: Arc<SegmentReader>,
    pub(crate) damage: Damage,
    pub(crate) findings: Arc<Findings>,
    /// Without findings and snapshots so far.
    pub(crate) report: CheckReport,
}

impl Examined {
    /// Packs that are lost in whole or in part.
    pub(crate) fn harmed_packs(&self) -> Vec<PackId> {
        let damage = &self.damage;
        let packs = damage.packs.keys().copied();
        let of_segments = damage.segments.iter().map(|(pack, _)| *pack);
        let of_blobs = damage.blobs.iter().filter_map(|key| {
            let found = self.index.find(key).ok().flatten();
            found.map(|at| at.segment.pack)
        });
        let mut harmed: Vec<PackId> = packs.chain(of_segments).chain(of_blobs).collect();
        harmed.sort_unstable();
        harmed.dedup();
        harmed
    }

    /// Whether the blob can be found and is not known to be lost; the pack it lies in, or nothing
    /// when no index names it.
    pub(crate) fn locate(
        &self,
        id: &BlobId,
    ) -> Result<std::result::Result<PackId, Option<PackId>>> {
        let key = id.key();
        match self.index.find(&key) {
            Ok(Some(at)) if self.damage.hits(&key, &at) => Ok(Err(Some(at.segment.pack))),
            Ok(Some(at)) => Ok(Ok(at.segment.pack)),
            Ok(None) => Ok(Err(None)),
            // The index object is in the findings already.
            Err(error) => finding_or_fail(error).map(|_| Err(None)),
        }
    }
}

impl Repository {
    /// Verifies everything below the trees. Reads the log anew.
    ///
    /// Requests: one list each of `log`, `keys`, `index`, `packs` and `parity`; one get per key slot, commit
    /// since the newest checkpoint and index object; two reads per pack, and one more per 2 MiB of
    /// each pack whose data is read. Memory: 13 bytes an index entry at most, 72 a pack, the
    /// directories of six packs, and 45 MiB.
    pub(crate) async fn examine(
        &self,
        options: &CheckOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<Examined> {
        self.inner
            .config
            .allows(Operation::Check)
            .map_err(|source| Error::Unsupported {
                location: self.location().to_owned(),
                source,
            })?;
        if let ReadData::Percent(percent) = options.read_data
            && !(percent > 0.0 && percent <= 100.0)
        {
            return Err(Error::Invalid {
                what: format!("{percent} is not a percentage above 0 and up to 100"),
            });
        }
        let findings = Arc::new(Findings::new(progress));
        if let Err(error) = self.refresh().await {
            findings.unreadable("log", error)?;
        }
        let state = self.state();
        log::check_config_and_keys(self, &findings).await?;
        log::check_log(self, &findings, options.read_data == ReadData::All).await?;
        log::note_loose_indexes(self, &state, &findings).await?;
        let (told, read) = (Arc::clone(&findings), Arc::clone(&state));
        let (index, facts, mut report) = self
            .blocking(move |repository| examine_index(repository, &read, &told))
            .await?;
        report.packs = facts.len() as u64;
        let done = packs::check(self, options, &findings, index, facts, report).await?;
        let (told, index) = (Arc::clone(&findings), Arc::clone(&done.index));
        let (gone, all) = (state.gone(), options.read_data == ReadData::All);
        let verified = self.blocking(move |repository| {
            let packs = index.packs().into_iter().map(|(id, _)| id);
            let live = packs.filter(|id| !gone.contains(id)).collect();
            parity::verify(repository, &told, &live, all)
        });
        let mut report = done.report;
        report.bytes_read += verified.await?;
        Ok(Examined {
            state,
            index: done.index,
            reader: done.reader,
            damage: done.damage,
            findings,
            report,
        })
    }
}

/// Collects what index objects say about packs.
struct Gather<'a> {
    findings: &'a Findings,
    packs: BTreeMap<PackId, PackFacts>,
    report: CheckReport,
}

impl Examiner for Gather<'_> {
    fn bad(&mut self, error: Error) -> Result<()> {
        self.findings.unreadable("index", error)
    }

    fn object(&mut self, size: u64, entries: u64, packs: Vec<Described>) -> Result<()> {
        self.findings.proceed()?;
        self.report.blobs += entries;
        self.report.bytes_read += size;
        for described in packs {
            let facts = self.packs.entry(described.pack.id).or_insert(PackFacts {
                id: described.pack.id,
                size: described.pack.size,
                stored: None,
                entries: 0,
                countable: true,
            });
            facts.entries += described.entries;
            facts.countable &= described.sound;
            if facts.size != described.pack.size {
                let key = repo_format::pack::path(&facts.id);
                self.findings
                    .damage(format!("{key}: index objects disagree about its size"));
            }
        }
        self.findings.progress().advance(size, 1);
        Ok(())
    }
}

fn examine_index(
    repository: &Repository,
    state: &State,
    findings: &Findings,
) -> Result<(Arc<IndexSet>, Vec<PackFacts>, CheckReport)> {
    let count = state.indexes.len() as u64;
    let bytes = state.indexes.iter().map(|index| index.size).sum();
    findings.progress().start("index", Some(bytes), Some(count));
    let mut gather = Gather {
        findings,
        packs: BTreeMap::new(),
        report: CheckReport {
            indexes: count,
            ..CheckReport::default()
        },
    };
    let inner = &repository.inner;
    let index = IndexSet::examine(
        &inner.storage,
        &inner.ring,
        &state.indexes,
        state.gone(),
        &mut gather,
    )?;
    findings.progress().finish();
    let packs = gather.packs.into_values().collect();
    Ok((Arc::new(index), packs, gather.report))
}

#[cfg(test)]
mod tests;
