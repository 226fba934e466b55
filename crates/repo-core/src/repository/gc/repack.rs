//! Copying what is needed out of packs that are to go.
//!
//! A segment of which every chunk is needed is opened and sealed again as it is, without
//! compressing it; of others the needed chunks are stored in new segments. Deltas whose base stands
//! by itself and is needed by nothing else are stored anew: the first of them in full, the others
//! against it. None of them gets deeper by that, so what stands on them stays as it is. A base that
//! is a delta is short, and is copied.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use repo_format::pack::{self, DirectorySegment, NewSegment, SEGMENT_PREFIX_LEN};
use repo_format::segment::SegmentBody;
use repo_format::{Base, BlobId, BlobKind, Decompressor, PackId, Texture};

use super::bases::{Orphaned, lies_in};
use super::live::{Live, Place};
use super::plan::Usage;
use crate::error::{Error, Result};
use crate::limits::{REPACK_GAP, REPACK_SPAN};
use crate::progress::Progress;
use crate::repository::index::IndexSet;
use crate::repository::{Blob, Encoder, Repository, SegmentWriter, Session};

/// What all threads of one repacking share.
pub(super) struct Repack<'a> {
    pub(super) repository: &'a Repository,
    pub(super) index: &'a Arc<IndexSet>,
    pub(super) live: &'a Live,
    pub(super) session: &'a Session,
    pub(super) level: i32,
    pub(super) progress: &'a dyn Progress,
}

/// One segment with the places of those of its chunks that are needed.
struct Wanted {
    segment: DirectorySegment,
    needed: Vec<Option<Place>>,
}

impl Wanted {
    fn range(&self) -> Range<u64> {
        let start = u64::from(self.segment.place.offset);
        start..start + u64::from(self.segment.place.stored)
    }

    fn whole(&self) -> bool {
        self.needed.iter().all(Option::is_some)
    }
}

impl Repack<'_> {
    /// Copies what is needed of `packs`. Returns the packs done: all, or those before the caller
    /// asked to stop.
    pub(super) fn run(
        &self,
        packs: &[(PackId, Usage)],
        orphaned: &Orphaned,
    ) -> Result<BTreeSet<PackId>> {
        let going: BTreeSet<PackId> = packs.iter().map(|(id, _)| *id).collect();
        let groups = self.groups(orphaned, &going)?;
        self.each(groups.len(), |copier, at| {
            let (base, place, deltas) = &groups[at];
            copier.rebase(base, place, deltas)
        })?;
        let done = Mutex::new(BTreeSet::new());
        self.each(packs.len(), |copier, at| {
            let (id, usage) = &packs[at];
            copier.pack(id, usage.size)?;
            self.progress.advance(usage.needed, 1);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.insert(*id);
            Ok(())
        })?;
        Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Deltas whose base lies in a pack that goes.
    fn groups<'o>(
        &self,
        orphaned: &'o Orphaned,
        going: &BTreeSet<PackId>,
    ) -> Result<Vec<(BlobId, Place, &'o [BlobId])>> {
        let mut groups = Vec::new();
        for (base, deltas) in orphaned {
            let place = self.live.locate(base)?;
            if going.contains(&place.location.segment.pack) {
                groups.push((*base, place, deltas.as_slice()));
            }
        }
        Ok(groups)
    }

    /// Runs `work` for 0 to `count` on all cores, until it is done or the caller wants to stop.
    fn each(
        &self,
        count: usize,
        work: impl Fn(&mut Copier<'_>, usize) -> Result<()> + Sync,
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let failed = Mutex::new(None);
        let run = || {
            let done = Copier::new(self).and_then(|mut copier| {
                while !self.progress.cancelled() {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= count {
                        break;
                    }
                    work(&mut copier, at)?;
                }
                copier.finish()
            });
            if let Err(error) = done {
                next.store(count, Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.get_or_insert(error);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 1..threads.min(count) {
                scope.spawn(run);
            }
            run();
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// One thread of a repacking.
struct Copier<'a> {
    repack: &'a Repack<'a>,
    encoder: Encoder,
    data: SegmentWriter,
    tree: SegmentWriter,
    decompressor: Decompressor,
    sealed: Vec<u8>,
    raw: Vec<u8>,
}

impl<'a> Copier<'a> {
    fn new(repack: &'a Repack<'a>) -> Result<Self> {
        let size = repack.repository.inner.config.segment_size;
        Ok(Self {
            repack,
            encoder: Encoder::new(repack.level)?,
            data: SegmentWriter::new(BlobKind::Data, Texture::Mixed, size),
            tree: SegmentWriter::new(BlobKind::Tree, Texture::Mixed, size),
            decompressor: Decompressor::new(),
            sealed: Vec::new(),
            raw: Vec::new(),
        })
    }

    fn finish(mut self) -> Result<()> {
        let session = self.repack.session;
        self.data.flush(session, &mut self.encoder)?;
        self.tree.flush(session, &mut self.encoder)
    }

    /// Stores deltas anew whose base goes, and lets go of the base.
    fn rebase(&mut self, base: &BlobId, place: &Place, deltas: &[BlobId]) -> Result<()> {
        let Repack {
            repository,
            index,
            live,
            session,
            ..
        } = *self.repack;
        let segments = &repository.inner.segments;
        let alone = Base {
            id: *base,
            depth: 1,
        };
        if !segments.holds(index, &alone)? {
            return Ok(());
        }
        let mut first: Option<(Base, Blob)> = None;
        for id in deltas {
            let before = live.locate(id)?;
            let chunk = segments.blob(index, BlobKind::Data, id)?;
            let stored = match &first {
                None => false,
                Some((against, first)) => {
                    self.encoder.delta(session, *id, &chunk, *against, first)?
                }
            };
            if !stored {
                self.data.push(session, &mut self.encoder, *id, &chunk)?;
                let against = Base { id: *id, depth: 1 };
                first = Some((against, chunk));
            }
            live.set_moved(&before);
        }
        live.release(place);
        Ok(())
    }

    fn pack(&mut self, id: &PackId, size: u64) -> Result<()> {
        let segments = &self.repack.repository.inner.segments;
        let mut wanted = Vec::new();
        for segment in segments.directory(id, size)? {
            let needed = self.needed(id, &segment)?;
            if needed.iter().any(Option::is_some) {
                wanted.push(Wanted { segment, needed });
            }
        }
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let (span, after) = rest.split_at(span_len(rest));
            self.span(id, span)?;
            rest = after;
        }
        Ok(())
    }

    /// For each chunk of a segment: its place, when a look-up leads there and it is needed.
    fn needed(&self, pack: &PackId, segment: &DirectorySegment) -> Result<Vec<Option<Place>>> {
        let live = self.repack.live;
        let mut needed = Vec::with_capacity(segment.chunks.len());
        for (ordinal, (id, _)) in segment.chunks.iter().enumerate() {
            let place = live.place(&id.key())?;
            needed.push(place.filter(|place| {
                lies_in(place, pack, segment)
                    && usize::from(place.location.ordinal) == ordinal
                    && live.is_needed(place)
            }));
        }
        Ok(needed)
    }

    /// Reads neighbouring segments at once and copies them.
    fn span(&mut self, id: &PackId, span: &[Wanted]) -> Result<()> {
        let (Some(first), Some(last)) = (span.first(), span.last()) else {
            return Ok(());
        };
        let inner = &self.repack.repository.inner;
        let key = pack::path(id);
        let start = first.range().start - SEGMENT_PREFIX_LEN as u64;
        let mut sealed = std::mem::take(&mut self.sealed);
        inner
            .storage
            .read(&key, start..last.range().end, &mut sealed)?;
        let opener = inner.segments.opener(id)?;
        for wanted in span {
            let range = wanted.range();
            let outside = || Error::Internal { what: "span" };
            let from = usize::try_from(range.start - start).map_err(|_| outside())?;
            let to = usize::try_from(range.end - start).map_err(|_| outside())?;
            let body = sealed.get_mut(from..to).ok_or_else(outside)?;
            let body = opener
                .open(range.start, body)
                .map_err(|source| Error::object(&key, source))?;
            self.segment(&key, wanted, body)?;
        }
        self.sealed = sealed;
        Ok(())
    }

    fn segment(&mut self, key: &str, wanted: &Wanted, body: &[u8]) -> Result<()> {
        let session = self.repack.session;
        let segment = &wanted.segment;
        let parsed = SegmentBody::parse(body).map_err(|source| Error::object(key, source))?;
        let lens = segment.chunks.iter().map(|(_, len)| *len);
        let same = parsed.codec == segment.codec
            && parsed.kind == segment.kind
            && parsed.base == segment.base
            && lens.clone().eq(parsed.lens.iter().copied());
        if !same {
            let (what, why) = ("segment", "its directory describes another one");
            return Err(Error::object(
                key,
                repo_format::Error::Malformed { what, why },
            ));
        }
        if wanted.whole() {
            let ids: Vec<BlobId> = segment.chunks.iter().map(|(id, _)| *id).collect();
            let copy = NewSegment {
                body,
                codec: parsed.codec,
                kind: parsed.kind,
                ids: &ids,
                lens: &parsed.lens,
                base: parsed.base,
            };
            session.add(&copy, parsed.raw_len)?;
        } else {
            // Only a segment of several chunks is needed in part, and such a one has no base.
            parsed
                .decode(&mut self.decompressor, None, &mut self.raw)
                .map_err(|source| Error::object(key, source))?;
            let mut start = 0;
            for ((id, len), place) in segment.chunks.iter().zip(&wanted.needed) {
                let end = start + *len as usize;
                if place.is_some() {
                    let chunk = self.raw.get(start..end).unwrap_or_default();
                    let writer = match segment.kind {
                        BlobKind::Data => &mut self.data,
                        BlobKind::Tree => &mut self.tree,
                    };
                    writer.push(session, &mut self.encoder, *id, chunk)?;
                }
                start = end;
            }
        }
        for place in wanted.needed.iter().flatten() {
            self.repack.live.set_moved(place);
        }
        Ok(())
    }
}

/// How many of the first segments are read at once: near each other, and not too much together.
fn span_len(wanted: &[Wanted]) -> usize {
    let Some(first) = wanted.first() else {
        return 0;
    };
    let start = first.range().start;
    let mut end = first.range().end;
    let mut count = 1;
    for next in &wanted[1..] {
        let range = next.range();
        if range.start > end + REPACK_GAP || range.end - start > REPACK_SPAN {
            break;
        }
        end = range.end;
        count += 1;
    }
    count
}
