//! Reading packs with all cores: one task opens directories and asks for spans of segments ahead,
//! the threads of the pool decode and compare.
//!
//! A local store is read by the threads themselves into buffers they keep; a remote one is asked
//! for a few spans ahead. Memory is bounded by the spans in the queue, the directories of the packs
//! in work, and a decoded segment a thread.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, stream};
use repo_format::pack::{self, DirectorySegment, SEGMENT_MAGIC, SEGMENT_PREFIX_LEN, TRAILER_LEN};
use repo_format::{BlobId, BlobKind, HEADER_LEN, KeyRing, ObjectKind, Opener, PackId, limits};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::packs::PackFacts;
use super::{Damage, Findings, finding_or_fail};
use crate::error::{Error, Result};
use crate::limits::{CHECK_DIRECTORIES, CHECK_QUEUE, CHECK_SPAN, DIRECTORY_GUESS};
use crate::repository::index::{IndexSet, SegmentAddress};
use crate::repository::segments::{DecodedSegment, ReadBuffers, SegmentReader};
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
    storage: Storage,
    ring: Arc<KeyRing>,
    index: Arc<IndexSet>,
    pub(super) reader: Arc<SegmentReader>,
    findings: Arc<Findings>,
    damage: Mutex<Damage>,
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
            bytes_read: AtomicU64::new(0),
        }
    }

    pub(super) fn damage(&self) -> MutexGuard<'_, Damage> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One segment to look at.
struct Part {
    address: SegmentAddress,
    /// What the directory says; absent when the directory is lost and the index told the place.
    listed: Option<DirectorySegment>,
}

/// A pack whose parts are being looked at.
struct OpenPack {
    id: PackId,
    key: String,
    parts: Vec<Part>,
    /// Entries of the index that must be met; absent when that is not known.
    expected: Option<u64>,
    met: AtomicU64,
    left: AtomicUsize,
}

/// Work for one thread: some parts, and the bytes they lie in when they are read.
struct Job {
    pack: Arc<OpenPack>,
    parts: Range<usize>,
    span: Range<u64>,
    bytes: Option<JoinHandle<Result<Bytes>>>,
}

/// Looks at all `packs`. Blocks no async thread.
pub(super) async fn run(
    repository: &Repository,
    examination: &Arc<Examination>,
    packs: Vec<PackFacts>,
    depth: Depth,
) -> Result<()> {
    if packs.is_empty() {
        return Ok(());
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
) -> Result<()> {
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
    while let Some(opened) = opened.next().await {
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
            let Ok(permit) = permit else { return Ok(()) };
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
    Ok(())
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
    fn finish(&self, pack: &OpenPack, depth: Depth) {
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
        }
    }
}

/// One thread's buffers.
#[derive(Default)]
struct Worker {
    span: Vec<u8>,
    buffers: ReadBuffers,
    decoded: DecodedSegment,
    ids: Vec<BlobId>,
}

impl Worker {
    fn look_at(&mut self, examination: &Examination, job: Job, depth: Depth) -> Result<()> {
        let pack = Arc::clone(&job.pack);
        let parts = job.parts.clone();
        if depth == Depth::Data {
            let span = job.span.clone();
            let whole = self.fetch(examination, job);
            let whole = match whole {
                Ok(()) => true,
                // Its segments are read one by one below, to find those that can be.
                Err(error) => finding_or_fail(error).map(|_| false)?,
            };
            for part in &pack.parts[parts.clone()] {
                let start = whole.then_some(span.start);
                let read = self.read(examination, part, start);
                if matches!(read, Err(Error::MissingBlob { .. }))
                    && is_dead_delta(examination, part)
                {
                    continue;
                }
                let told = self.compare(examination, &pack, part, read)?;
                if told {
                    self.meet(examination, &pack, part);
                }
            }
            examination
                .findings
                .progress()
                .advance(span.end - span.start, 0);
        } else {
            for part in &pack.parts[parts.clone()] {
                self.ids.clear();
                let listed = part.listed.iter().flat_map(|listed| &listed.chunks);
                self.ids.extend(listed.map(|(id, _)| *id));
                if depth == Depth::Directory {
                    self.meet(examination, &pack, part);
                }
                check_base(examination, &pack, part, depth);
            }
        }
        let count = parts.len();
        if pack.left.fetch_sub(count, Ordering::AcqRel) == count {
            examination.finish(&pack, depth);
        }
        Ok(())
    }

    fn fetch(&mut self, examination: &Examination, job: Job) -> Result<()> {
        let len = job.span.end - job.span.start;
        match job.bytes {
            None => {
                let (key, span) = (&job.pack.key, job.span);
                examination.storage.read(key, span, &mut self.span)?;
            }
            Some(bytes) => {
                let bytes = examination
                    .storage
                    .wait(bytes)
                    .map_err(|_| Error::Internal { what: "read" })??;
                self.span.clear();
                self.span.extend_from_slice(&bytes);
            }
        }
        examination.bytes_read.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    /// Decodes a part out of the span that starts at `start`, or by itself.
    fn read(
        &mut self,
        examination: &Examination,
        part: &Part,
        start: Option<u64>,
    ) -> Result<Option<BlobId>> {
        let (reader, index) = (&examination.reader, &examination.index);
        let Some(start) = start else {
            return reader.read(index, &part.address, &mut self.buffers, &mut self.decoded);
        };
        let malformed = |why| {
            let what = "segment";
            Error::object(
                pack::path(&part.address.pack),
                repo_format::Error::Malformed { what, why },
            )
        };
        let stored = part.address.stored as usize;
        let at = usize::try_from(u64::from(part.address.offset) - start)
            .map_err(|_| Error::Internal { what: "span" })?;
        if stored > limits::SEGMENT_RAW_MAX * 2 {
            return Err(malformed("its stored length is out of range"));
        }
        let bytes = self
            .span
            .get_mut(at.saturating_sub(SEGMENT_PREFIX_LEN)..at + stored)
            .ok_or(Error::Internal { what: "span" })?;
        let (prefix, sealed) = bytes.split_at_mut(SEGMENT_PREFIX_LEN.min(at));
        let says = prefix
            .strip_prefix(SEGMENT_MAGIC.as_slice())
            .and_then(|len| len.first_chunk::<4>())
            .map(|len| u32::from_le_bytes(*len));
        if says != Some(part.address.stored) {
            return Err(malformed("the magic or length before it is wrong"));
        }
        reader.decode_sealed(
            index,
            &part.address,
            sealed,
            &mut self.buffers,
            &mut self.decoded,
        )
    }

    /// Compares what was decoded with the directory. Leaves the true ids in `self.ids`; false when
    /// there are none.
    fn compare(
        &mut self,
        examination: &Examination,
        pack: &OpenPack,
        part: &Part,
        read: Result<Option<BlobId>>,
    ) -> Result<bool> {
        let place = part.address.offset;
        let lost = |why: &str| {
            let told = format!("{}: segment at {place} cannot be read: {why}", pack.key);
            examination.findings.damage(told);
            let mut damage = examination.damage();
            damage.segments.insert((pack.id, place));
        };
        let base = match read {
            Ok(base) => base,
            Err(error) => {
                lost(&finding_or_fail(error)?);
                return Ok(false);
            }
        };
        let kind = self.decoded.kind.unwrap_or(BlobKind::Data);
        self.ids.clear();
        for ordinal in 0..self.decoded.ends.len() {
            let range = u16::try_from(ordinal)
                .ok()
                .and_then(|ordinal| self.decoded.range(ordinal));
            let bytes = range.and_then(|range| self.decoded.raw.get(range));
            let bytes = bytes.ok_or(Error::Internal { what: "segment" })?;
            self.ids.push(examination.ring.blob_id(kind, bytes));
        }
        let Some(listed) = &part.listed else {
            return Ok(true);
        };
        let mut before = 0;
        let lens = self.decoded.ends.iter().map(|end| {
            let len = end - before;
            before = *end;
            len
        });
        let lens_agree = lens.eq(listed.chunks.iter().map(|(_, len)| *len));
        if kind != listed.kind || base != listed.base || !lens_agree {
            lost("it is not what the directory says");
            return Ok(false);
        }
        for (true_id, (id, _)) in self.ids.iter().zip(&listed.chunks) {
            if true_id != id {
                examination.findings.damage(format!(
                    "{}: chunk {id} in the segment at {place} holds other bytes",
                    pack.key
                ));
                examination.damage().blobs.insert(id.key());
            }
        }
        Ok(true)
    }

    /// Counts the entries of the index that lead to `self.ids`. Chunks that it does not name are
    /// waste: a collector has left them in a pack that holds others.
    fn meet(&self, examination: &Examination, pack: &OpenPack, part: &Part) {
        let mut met = 0;
        for (ordinal, id) in self.ids.iter().enumerate() {
            examination.index.find_all(&id.key(), |at| {
                met += u64::from(at.segment == part.address && usize::from(at.ordinal) == ordinal);
            });
        }
        pack.met.fetch_add(met, Ordering::Relaxed);
    }
}

/// Whether the part is a delta that no entry of the index leads to: waste, whose base may be gone.
fn is_dead_delta(examination: &Examination, part: &Part) -> bool {
    let Some(listed) = part.listed.as_ref().filter(|listed| listed.base.is_some()) else {
        return false;
    };
    let mut named = false;
    for (id, _) in &listed.chunks {
        examination
            .index
            .find_all(&id.key(), |at| named = named || at.segment == part.address);
    }
    !named
}

/// Marks a delta whose base is lost.
fn check_base(examination: &Examination, pack: &OpenPack, part: &Part, depth: Depth) {
    let Some(base) = part.listed.as_ref().and_then(|listed| listed.base) else {
        return;
    };
    if is_dead_delta(examination, part) {
        return;
    }
    let at = examination.index.find(&base.key());
    let found = matches!(at, Ok(Some(_)));
    if depth == Depth::Directory && !found {
        examination.findings.damage(format!(
            "{}: segment at {} needs chunk {base}, which is missing",
            pack.key, part.address.offset
        ));
    }
    let mut damage = examination.damage();
    let hit = matches!(at, Ok(Some(at)) if damage.hits(&base.key(), &at));
    if !found || (depth == Depth::Bases && hit) {
        damage.segments.insert((pack.id, part.address.offset));
    }
}
