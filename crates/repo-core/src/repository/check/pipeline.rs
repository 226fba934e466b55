//! Reading packs with all cores: one task opens directories and asks for spans of segments ahead,
//! the threads of the pool decode and compare.
//!
//! A local store is read by the threads themselves into buffers they keep; a remote one is asked
//! for a few spans ahead. Memory is bounded by the spans in the queue, the directories of the packs
//! in work, and a decoded segment a thread.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, stream};
use repo_format::pack::{self, DirectorySegment, SEGMENT_PREFIX_LEN, TRAILER_LEN};
use repo_format::{HEADER_LEN, KeyRing, ObjectKind, Opener, PackId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::ledger::Ledger;
use super::packs::PackFacts;
use super::worker::Worker;
use super::{Damage, Findings, finding_or_fail};
use crate::clock::Stopwatch;
use crate::error::{Error, Result};
use crate::limits::{CHECK_DIRECTORIES, CHECK_QUEUE, CHECK_SPAN, DIRECTORY_GUESS};
use crate::repository::index::{IndexSet, SegmentAddress};
use crate::repository::segments::SegmentReader;
use crate::repository::{Repository, Storage};

/// What is done with a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Its directory is compared with the index.
    Directory,
    /// The same, and all its data is read.
    Data,
    /// Its deltas are marked whose bases are lost.
    Bases,
}

/// Shared by the threads of one check.
pub(super) struct Examination {
    pub(super) storage: Storage,
    pub(super) ring: Arc<KeyRing>,
    pub(super) index: Arc<IndexSet>,
    pub(super) reader: Arc<SegmentReader>,
    pub(super) findings: Arc<Findings>,
    pub(super) damage: Mutex<Damage>,
    /// Where packs whose data was read are noted.
    pub(super) ledger: Option<Ledger>,
    /// When no more packs are begun.
    pub(super) deadline: Option<(Stopwatch, u64)>,
    pub(super) bytes_read: AtomicU64,
}

impl Examination {
    pub(super) fn new(
        storage: Storage,
        ring: Arc<KeyRing>,
        index: Arc<IndexSet>,
        reader: Arc<SegmentReader>,
        findings: Arc<Findings>,
        damage: Damage,
    ) -> Self {
        Self {
            storage,
            ring,
            index,
            reader,
            findings,
            damage: Mutex::new(damage),
            ledger: None,
            deadline: None,
            bytes_read: AtomicU64::new(0),
        }
    }

    fn expired(&self) -> bool {
        let deadline = self.deadline.as_ref();
        deadline.is_some_and(|(watch, ms)| watch.elapsed_ms() >= *ms)
    }

    /// Bytes of the packs to read that were not begun or are not sound.
    pub(super) fn unverified(&self, packs: &[PackFacts], begun: usize) -> u64 {
        let damage = self.damage();
        let harmed: HashSet<&PackId> = damage
            .packs
            .keys()
            .chain(damage.segments.iter().map(|(id, _)| id))
            .collect();
        let unverified = |(at, facts): (usize, &PackFacts)| {
            (at >= begun || harmed.contains(&facts.id)).then_some(facts.size)
        };
        packs.iter().enumerate().filter_map(unverified).sum()
    }

    pub(super) fn damage(&self) -> MutexGuard<'_, Damage> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One segment to look at.
pub(super) struct Part {
    pub(super) address: SegmentAddress,
    /// What the directory says; absent when the directory is lost and the index told the place.
    pub(super) listed: Option<DirectorySegment>,
}

/// A pack whose parts are being looked at.
pub(super) struct OpenPack {
    pub(super) id: PackId,
    pub(super) key: String,
    pub(super) parts: Vec<Part>,
    /// Entries of the index that must be met; absent when that is not known.
    pub(super) expected: Option<u64>,
    pub(super) met: AtomicU64,
    pub(super) harmed: AtomicBool,
    pub(super) left: AtomicUsize,
}

/// Work for one thread: some parts, and the bytes they lie in when they are read.
pub(super) struct Job {
    pub(super) pack: Arc<OpenPack>,
    pub(super) parts: Range<usize>,
    pub(super) span: Range<u64>,
    pub(super) bytes: Option<JoinHandle<Result<Bytes>>>,
}

/// Looks at `packs`, and tells how many were begun: all, unless time ran out. Blocks no async
/// thread.
pub(super) async fn run(
    repository: &Repository,
    examination: &Arc<Examination>,
    packs: Vec<PackFacts>,
    depth: Depth,
) -> Result<usize> {
    if packs.is_empty() {
        return Ok(0);
    }
    let (sender, receiver) = mpsc::channel(CHECK_QUEUE);
    let producer = tokio::spawn(produce(Arc::clone(examination), packs, depth, sender));
    let work = Arc::clone(examination);
    let worked = repository
        .blocking(move |repository| consume(repository, &work, receiver, depth))
        .await;
    // With the receiver gone the producer ends at its next job.
    let produced = producer
        .await
        .map_err(|_| Error::Internal { what: "check" })?;
    worked.and(produced)
}

fn consume(
    repository: &Repository,
    examination: &Examination,
    receiver: mpsc::Receiver<Job>,
    depth: Depth,
) -> Result<()> {
    let pool = repository.pool()?;
    let jobs = Mutex::new(Some(receiver));
    let failed = Mutex::new(None);
    pool.scope(|scope| {
        for _ in 0..pool.current_num_threads() {
            scope.spawn(|_| {
                let mut worker = Worker::default();
                loop {
                    let job = {
                        let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
                        jobs.as_mut().and_then(mpsc::Receiver::blocking_recv)
                    };
                    let Some(job) = job else { return };
                    let done = examination
                        .findings
                        .proceed()
                        .and_then(|()| worker.look_at(examination, job, depth));
                    if let Err(error) = done {
                        jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.get_or_insert(error);
                        return;
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

async fn produce(
    examination: Arc<Examination>,
    packs: Vec<PackFacts>,
    depth: Depth,
    jobs: mpsc::Sender<Job>,
) -> Result<usize> {
    let mut begun = 0;
    let local = examination
        .storage
        .store()
        .local_path(&pack::path(&packs[0].id))
        .is_some();
    let mut opened = stream::iter(packs)
        .map(|facts| {
            let examination = Arc::clone(&examination);
            async move { examination.open(&facts, depth).await }
        })
        .buffered(CHECK_DIRECTORIES);
    while !(depth == Depth::Data && examination.expired())
        && let Some(opened) = opened.next().await
    {
        begun += 1;
        let Some(pack) = opened? else { continue };
        let pack = Arc::new(pack);
        if pack.parts.is_empty() {
            examination.finish(&pack, depth);
            continue;
        }
        for parts in spans(&pack.parts, depth) {
            let first = &pack.parts[parts.start].address;
            let last = &pack.parts[parts.end - 1].address;
            let start = u64::from(first.offset).saturating_sub(SEGMENT_PREFIX_LEN as u64);
            let span = start..u64::from(last.offset) + u64::from(last.stored);
            let permit = jobs.reserve().await;
            let Ok(permit) = permit else { return Ok(begun) };
            let bytes = (depth == Depth::Data && !local).then(|| {
                let store = examination.storage.store().clone();
                let (key, span) = (pack.key.clone(), span.clone());
                tokio::spawn(async move { store.get_range(&key, span).await.map_err(Error::Store) })
            });
            permit.send(Job {
                pack: Arc::clone(&pack),
                parts,
                span,
                bytes,
            });
        }
    }
    Ok(begun)
}

/// Cuts parts that lie one after the other into runs of about [`CHECK_SPAN`] bytes.
fn spans(parts: &[Part], depth: Depth) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut start = 0;
    let mut bytes = 0;
    for (at, part) in parts.iter().enumerate() {
        let gap = at > start && {
            let before = &parts[at - 1].address;
            let end = u64::from(before.offset) + u64::from(before.stored);
            u64::from(part.address.offset) != end + SEGMENT_PREFIX_LEN as u64
        };
        let full = bytes + u64::from(part.address.stored) > CHECK_SPAN;
        if depth == Depth::Data && at > start && (gap || full) {
            spans.push(start..at);
            start = at;
            bytes = 0;
        }
        bytes += u64::from(part.address.stored) + SEGMENT_PREFIX_LEN as u64;
    }
    spans.push(start..parts.len());
    spans
}

impl Examination {
    /// Opens header and directory of a pack. `None` when nothing of it can be looked at.
    async fn open(&self, facts: &PackFacts, depth: Depth) -> Result<Option<OpenPack>> {
        let key = pack::path(&facts.id);
        let quiet = depth == Depth::Bases;
        let opener = match self.header(facts, &key).await {
            Ok(opener) => opener,
            Err(error) => {
                let why = finding_or_fail(error)?;
                if !quiet {
                    self.findings.damage(format!("{key}: {why}"));
                    self.damage().packs.insert(facts.id, 0);
                    self.findings.progress().advance(facts.size, 1);
                }
                return Ok(None);
            }
        };
        let parts = match self.directory(facts, &key, &opener).await {
            Ok(segments) => segments,
            Err(error) => {
                let why = finding_or_fail(error)?;
                // The directory of a pack of another length is not where it was looked for.
                if !quiet && facts.stored == Some(facts.size) {
                    self.findings
                        .damage(format!("{key}: its directory cannot be read: {why}"));
                }
                self.parts_by_index(facts, depth)
            }
        };
        let directory = parts.iter().all(|part| part.listed.is_some());
        let exact = facts.countable && (directory || depth == Depth::Data);
        Ok(Some(OpenPack {
            id: facts.id,
            left: AtomicUsize::new(parts.len()),
            key,
            parts,
            expected: exact.then_some(facts.entries),
            met: AtomicU64::new(0),
            harmed: AtomicBool::new(!directory || facts.stored != Some(facts.size)),
        }))
    }

    async fn header(&self, facts: &PackFacts, key: &str) -> Result<Opener> {
        let header = self
            .storage
            .store()
            .get_range(key, 0..HEADER_LEN as u64)
            .await
            .map_err(Error::Store)?;
        let header = header
            .first_chunk::<HEADER_LEN>()
            .ok_or(Error::Internal { what: "header" })?;
        Opener::new(&self.ring, ObjectKind::Pack, key, Some(facts.id.0), header)
            .map_err(|source| Error::object(key, source))
    }

    async fn directory(&self, facts: &PackFacts, key: &str, opener: &Opener) -> Result<Vec<Part>> {
        let bad = |source| Error::object(key, source);
        let size = facts.size;
        let store = self.storage.store();
        let from = size.saturating_sub(DIRECTORY_GUESS).max(HEADER_LEN as u64);
        let tail = store
            .get_range(key, from..size)
            .await
            .map_err(Error::Store)?;
        let last = tail.len().saturating_sub(TRAILER_LEN);
        let sealed_len =
            pack::trailer("pack", &tail[last..], pack::TRAILER_MAGIC, size).map_err(bad)?;
        let mut sealed = match last.checked_sub(sealed_len as usize) {
            Some(start) => tail[start..last].to_vec(),
            None => {
                let end = size - TRAILER_LEN as u64;
                store
                    .get_range(key, end - u64::from(sealed_len)..end)
                    .await
                    .map_err(Error::Store)?
                    .to_vec()
            }
        };
        self.bytes_read.fetch_add(
            (HEADER_LEN + TRAILER_LEN + sealed.len()) as u64,
            Ordering::Relaxed,
        );
        let segments = pack::open_directory(opener, size, &mut sealed).map_err(bad)?;
        let part = |segment: DirectorySegment| Part {
            address: SegmentAddress {
                pack: facts.id,
                offset: segment.place.offset,
                stored: segment.place.stored,
                raw: segment.chunks.iter().map(|(_, len)| len).sum(),
            },
            listed: Some(segment),
        };
        Ok(segments.into_iter().map(part).collect())
    }

    /// The readable segments of a pack without a directory, as far as its data is to be read.
    fn parts_by_index(&self, facts: &PackFacts, depth: Depth) -> Vec<Part> {
        if depth != Depth::Data {
            return Vec::new();
        }
        let readable = facts.stored.unwrap_or(0).min(facts.size);
        let mut parts = self.index.segments_of(&facts.id);
        parts.retain(|at| u64::from(at.offset) + u64::from(at.stored) <= readable);
        let part = |address| Part {
            address,
            listed: None,
        };
        parts.into_iter().map(part).collect()
    }

    /// Called once, when all parts of a pack were looked at.
    pub(super) fn finish(&self, pack: &OpenPack, depth: Depth) {
        if depth == Depth::Bases {
            return;
        }
        self.findings.progress().advance(0, 1);
        let met = pack.met.load(Ordering::Relaxed);
        // Lost segments have been told of, and their entries cannot be met.
        let lost = {
            let damage = self.damage();
            damage.packs.contains_key(&pack.id)
                || pack.parts.iter().any(|part| {
                    let place = (pack.id, part.address.offset);
                    part.listed.is_none() && damage.segments.contains(&place)
                })
        };
        if let Some(expected) = pack.expected.filter(|expected| *expected != met && !lost) {
            self.findings.damage(format!(
                "{}: it holds {met} of the {expected} chunks that the index looks for in it",
                pack.key
            ));
            pack.harmed.store(true, Ordering::Relaxed);
        }
        if let Some(ledger) = self.ledger.as_ref().filter(|_| depth == Depth::Data) {
            ledger.note(&pack.id, !pack.harmed.load(Ordering::Relaxed));
        }
    }
}
