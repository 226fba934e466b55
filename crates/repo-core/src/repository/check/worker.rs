//! What one thread of a check does with the parts of a pack: decode, compare, look up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use repo_format::pack::{self, SEGMENT_MAGIC, SEGMENT_PREFIX_LEN};
use repo_format::{Base, BlobId, BlobKind, limits};

use super::finding_or_fail;
use super::pipeline::{Depth, Examination, Job, OpenPack, Part};
use crate::error::{Error, Result};
use crate::repository::segments::{DecodedSegment, ReadBuffers};

/// One thread's buffers.
#[derive(Default)]
pub(super) struct Worker {
    span: Vec<u8>,
    buffers: ReadBuffers,
    decoded: DecodedSegment,
    ids: Vec<BlobId>,
}

impl Worker {
    pub(super) fn look_at(
        &mut self,
        examination: &Examination,
        job: Job,
        depth: Depth,
    ) -> Result<()> {
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
    ) -> Result<Option<Base>> {
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
        read: Result<Option<Base>>,
    ) -> Result<bool> {
        let place = part.address.offset;
        let lost = |why: &str| {
            let told = format!("{}: segment at {place} cannot be read: {why}", pack.key);
            examination.findings.damage(told);
            pack.harmed.store(true, Ordering::Relaxed);
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
                pack.harmed.store(true, Ordering::Relaxed);
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
    let at = examination.index.find(&base.id.key());
    let found = matches!(at, Ok(Some(_)));
    if depth == Depth::Directory && !found {
        examination.findings.damage(format!(
            "{}: segment at {} needs chunk {}, which is missing",
            pack.key, part.address.offset, base.id
        ));
    }
    let mut damage = examination.damage();
    let hit = matches!(at, Ok(Some(at)) if damage.hits(&base.id.key(), &at));
    if !found || (depth == Depth::Bases && hit) {
        damage.segments.insert((pack.id, part.address.offset));
    }
}
