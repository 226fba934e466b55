//! Any range of one file, with the next segments decoded ahead of who reads it in order.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use repo_format::tree::Entry;
use repo_format::{BlobId, Content, Extent};

use super::Reader;
use super::cache::Held;
use crate::error::{Error, Result};
use crate::limits::{
    READ_AHEAD_BYTES, READ_AHEAD_SLACK, READ_AHEAD_START, READ_AHEAD_TASKS, READER_READ_MAX,
};
use crate::repository::{ReadBuffers, SegmentAddress};

/// The content of one file. Threads may read it at once.
pub struct FileReader {
    reader: Reader,
    file: Arc<File>,
    place: Mutex<Place>,
}

/// What is known of the file: its length and the top of its chunk list.
struct File {
    name: Vec<u8>,
    size: u64,
    content: Option<Content>,
}

/// How far it was read, and how far ahead of that segments were asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    end: u64,
    asked: u64,
    in_order: u64,
}

impl Place {
    /// Takes note of a read, and tells what to read ahead. Who reads in order may have several
    /// requests out, which then arrive in any order.
    fn advance(&mut self, offset: u64, end: u64) -> Option<Range<u64>> {
        let near = offset.abs_diff(self.end) <= READ_AHEAD_SLACK;
        if !near {
            *self = Self {
                end,
                asked: end,
                in_order: 0,
            };
            return None;
        }
        self.in_order = self.in_order.saturating_add(end - offset);
        self.end = self.end.max(end);
        self.asked = self.asked.max(self.end);
        if self.in_order < READ_AHEAD_START {
            return None;
        }
        let window = (2 * self.in_order).min(READ_AHEAD_BYTES);
        let left = self.asked - self.end;
        if left > window / 2 {
            return None;
        }
        let from = self.asked;
        self.asked = self.end + window;
        Some(from..self.asked)
    }
}

impl FileReader {
    pub(super) fn new(reader: Reader, entry: &Entry) -> Self {
        let file = File {
            name: entry.name.clone(),
            size: entry.content.as_ref().map_or(0, |_| entry.size),
            content: entry.content.clone(),
        };
        Self {
            reader,
            file: Arc::new(file),
            place: Mutex::default(),
        }
    }

    /// Length of the file, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.file.size
    }

    /// Up to `len` bytes from `offset` on: fewer only at the end of the file, or past 8 MiB.
    /// Bytes that lie next to each other in one segment are not copied, so they keep that segment
    /// in memory.
    pub fn read(&self, offset: u64, len: usize) -> Result<Bytes> {
        let len = len.min(READER_READ_MAX);
        let end = offset.saturating_add(len as u64).min(self.file.size);
        if offset >= end {
            return Ok(Bytes::new());
        }
        let ahead = {
            let place = self.place.lock();
            let mut place = place.unwrap_or_else(PoisonError::into_inner);
            place.advance(offset, end)
        };
        if let Some(ahead) = ahead.filter(|ahead| ahead.start < self.file.size) {
            self.read_ahead(ahead);
        }
        let mut parts = Parts::default();
        let mut at = offset;
        while at < end {
            let (start, extent) = self.file.extent_at(&self.reader, at)?;
            let to = (start + extent.len).min(end);
            match &extent.id {
                None => parts.zeros(within(at, to)?),
                Some(id) => {
                    let (held, chunk) = self.reader.chunk(id)?;
                    let part = chunk.start + within(start, at)?..chunk.start + within(start, to)?;
                    if part.end > chunk.end {
                        return Err(short(id));
                    }
                    parts.push(held, part);
                }
            }
            at = to;
        }
        Ok(parts.finish())
    }

    /// Whether the last read was away from the one before: no reading ahead serves such reads.
    #[must_use]
    pub fn has_jumped(&self) -> bool {
        let place = self.place.lock();
        place.unwrap_or_else(PoisonError::into_inner).in_order == 0
    }

    /// Bytes of the file around `offset` that were decoded together with the one there and are still
    /// at hand, and where in the file they start: the longest run that lies in one segment as it does
    /// in the file. Nothing is read or decoded for it, and each of its chunks is verified.
    pub fn at_hand(&self, offset: u64) -> Result<Option<(u64, Bytes)>> {
        if offset >= self.file.size {
            return Ok(None);
        }
        let Some((mut first, mut run)) = self.held_at(offset)? else {
            return Ok(None);
        };
        while let Some(before) = first.checked_sub(1)
            && let Some((start, chunk)) = self.held_at(before)?
            && chunk.is_followed_by(&run)
        {
            (first, run.range.start) = (start, chunk.range.start);
        }
        loop {
            let next = first + run.range.len() as u64;
            if next >= self.file.size {
                break;
            }
            match self.held_at(next)? {
                Some((_, chunk)) if run.is_followed_by(&chunk) => run.range.end = chunk.range.end,
                _ => break,
            }
        }
        Ok(Some((first, Bytes::from_owner(run))))
    }

    /// The chunk that spans `offset`, when its segment is at hand, and where in the file it starts.
    fn held_at(&self, offset: u64) -> Result<Option<(u64, Piece)>> {
        let (start, extent) = self.file.extent_at(&self.reader, offset)?;
        let Some(id) = extent.id else { return Ok(None) };
        let found = self.reader.chunk_at_hand(&id)?;
        let whole = found.filter(|(_, range)| range.len() as u64 == extent.len);
        Ok(whole.map(|(held, range)| (start, Piece { held, range })))
    }

    /// Has the segments of `range` decoded on other threads. What is not done because there is much
    /// to do is read when it is wanted.
    fn read_ahead(&self, range: Range<u64>) {
        let (reader, file) = (self.reader.clone(), Arc::clone(&self.file));
        let runtime = reader.repository().inner.storage.runtime().clone();
        let spawner = runtime.clone();
        let Some(turn) = Turn::take(&reader) else {
            return;
        };
        drop(runtime.spawn_blocking(move || {
            // Failures are told to who reads there.
            let wanted = file.segments(&reader, range).unwrap_or_default();
            let mut wanted = wanted.into_iter();
            let first = wanted.next();
            for address in wanted {
                let Some(turn) = Turn::take(&reader) else {
                    break;
                };
                let reader = reader.clone();
                drop(spawner.spawn_blocking(move || {
                    drop(reader.segment(&address));
                    drop(turn);
                }));
            }
            if let Some(address) = first {
                drop(reader.segment(&address));
            }
            drop(turn);
        }));
    }
}

impl File {
    /// The chunk or hole that spans `offset`, and where it starts.
    fn extent_at(&self, reader: &Reader, offset: u64) -> Result<(u64, Extent)> {
        let mut start = 0;
        let mut below: Option<Arc<Content>> = None;
        loop {
            let top = self.content.as_ref();
            let list = below.as_deref().or(top).ok_or_else(|| self.cut())?;
            let spans = |extent: &&Extent| {
                let inside = offset - start < extent.len;
                if !inside {
                    start += extent.len;
                }
                inside
            };
            let extent = list.extents.iter().find(spans).ok_or_else(|| self.cut())?;
            match (list.level, extent.id) {
                (0, _) | (_, None) => return Ok((start, *extent)),
                (level, Some(id)) => below = Some(reader.list(&id, level - 1, extent.len)?),
            }
        }
    }

    /// Segments in which chunks of `range` lie and that nobody has or reads yet.
    fn segments(&self, reader: &Reader, range: Range<u64>) -> Result<Vec<SegmentAddress>> {
        let mut found: Vec<SegmentAddress> = Vec::new();
        let mut at = range.start;
        while at < range.end.min(self.size) {
            let (start, extent) = self.extent_at(reader, at)?;
            at = start + extent.len;
            let Some(id) = extent.id else { continue };
            let (address, _) = reader.locate(&id)?;
            if found.last() != Some(&address) && !reader.shared.segments.knows(&address) {
                found.push(address);
            }
        }
        Ok(found)
    }

    fn cut(&self) -> Error {
        let what = "content";
        Error::object(
            format!("{what} of {}", String::from_utf8_lossy(&self.name)),
            repo_format::Error::Malformed {
                what,
                why: "it is shorter than the file",
            },
        )
    }
}

/// Distance of two offsets that at most a read apart are.
fn within(from: u64, to: u64) -> Result<usize> {
    usize::try_from(to - from).map_err(|_| Error::Internal { what: "range" })
}

fn short(id: &BlobId) -> Error {
    let what = "chunk";
    Error::object(
        format!("{what} {id}"),
        repo_format::Error::Malformed {
            what,
            why: "it is shorter than its extent",
        },
    )
}

/// Bytes of a read: a piece of one segment as long as that suffices, else a copy.
#[derive(Default)]
struct Parts {
    piece: Option<Piece>,
    copied: Vec<u8>,
}

struct Piece {
    held: Arc<Held>,
    range: Range<usize>,
}

impl Piece {
    fn is_followed_by(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.held, &other.held) && self.range.end == other.range.start
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.held.raw().get(self.range.clone()).unwrap_or_default()
    }
}

impl Parts {
    fn push(&mut self, held: Arc<Held>, range: Range<usize>) {
        let next = Piece { held, range };
        if let Some(piece) = &mut self.piece
            && piece.is_followed_by(&next)
        {
            piece.range.end = next.range.end;
            return;
        }
        if self.piece.is_none() && self.copied.is_empty() {
            self.piece = Some(next);
            return;
        }
        self.settle();
        self.piece = Some(next);
    }

    fn zeros(&mut self, len: usize) {
        self.settle();
        self.copied.resize(self.copied.len() + len, 0);
    }

    fn settle(&mut self) {
        if let Some(piece) = self.piece.take() {
            self.copied.extend_from_slice(piece.as_ref());
        }
    }

    fn finish(mut self) -> Bytes {
        match self.piece.take() {
            Some(piece) if self.copied.is_empty() => Bytes::from_owner(piece),
            piece => {
                self.piece = piece;
                self.settle();
                Bytes::from(self.copied)
            }
        }
    }
}

/// Threads that read ahead, and buffers that all who read segments use again.
#[derive(Default)]
pub(super) struct Tasks {
    running: AtomicUsize,
    buffers: Mutex<Vec<ReadBuffers>>,
}

impl Tasks {
    pub(super) fn buffers(&self) -> ReadBuffers {
        let mut free = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        free.pop().unwrap_or_default()
    }

    pub(super) fn give(&self, buffers: ReadBuffers) {
        let mut free = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < READ_AHEAD_TASKS {
            free.push(buffers);
        }
    }
}

/// The right to read ahead on one thread.
struct Turn(Reader);

impl Turn {
    fn take(reader: &Reader) -> Option<Self> {
        let running = &reader.shared.ahead.running;
        let more = |now| (now < READ_AHEAD_TASKS).then_some(now + 1);
        let taken = running.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Self(reader.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.shared.ahead.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: u64 = 128 << 10;

    #[test]
    fn reads_in_order_are_followed_and_others_not() {
        let mut place = Place::default();
        let mut ahead = 0..0;
        for at in 0..64 {
            let (offset, end) = (at * STEP, (at + 1) * STEP);
            if let Some(range) = place.advance(offset, end) {
                assert!(range.start >= ahead.end, "nothing twice");
                assert!(
                    range.end - end <= READ_AHEAD_BYTES,
                    "no further than allowed"
                );
                ahead = range;
            }
        }
        assert!(ahead.end > 64 * STEP, "the next read is ready");
        let mut place = Place::default();
        for at in 1..64_u64 {
            let offset = (at * 7919 % 64) << 30;
            assert_eq!(place.advance(offset, offset + 8192), None);
        }
    }

    #[test]
    fn requests_that_overtake_each_other_are_in_order() {
        let mut place = Place::default();
        let mut asked = 0;
        for pair in 0..64 {
            for at in [2 * pair + 1, 2 * pair] {
                if let Some(range) = place.advance(at * STEP, (at + 1) * STEP) {
                    asked += range.end - range.start;
                }
            }
        }
        assert!(asked >= 128 * STEP, "{asked}");
    }
}
