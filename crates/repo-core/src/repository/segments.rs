//! Reading blobs back: locate, read, open, decode, verify.

mod chain;
mod near;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use repo_format::pack::{self, SEGMENT_PREFIX_LEN};
use repo_format::segment::SegmentBody;
use repo_format::{
    Base, BlobId, BlobKind, Decompressor, HEADER_LEN, KeyRing, ObjectKind, Opener, PackId, TAG_LEN,
    limits,
};

use crate::error::{Error, Result};
use crate::limits::{DELTA_DEPTH, OPENERS_MAX, SEGMENT_CACHE_BYTES};
use crate::repository::index::{IndexSet, Location, SegmentAddress};
use crate::repository::segments::chain::ChainBuffers;
use crate::repository::segments::near::Spans;
use crate::repository::storage::Storage;

/// A decoded segment: its raw bytes and where each chunk ends in them.
#[derive(Debug, Default)]
pub(crate) struct DecodedSegment {
    pub(crate) raw: Vec<u8>,
    pub(crate) ends: Vec<u32>,
    pub(crate) kind: Option<BlobKind>,
}

impl DecodedSegment {
    /// Byte range of chunk `ordinal` in the raw bytes.
    pub(crate) fn range(&self, ordinal: u16) -> Option<Range<usize>> {
        let ordinal = usize::from(ordinal);
        let end = *self.ends.get(ordinal)? as usize;
        let start = ordinal
            .checked_sub(1)
            .map_or(0, |before| self.ends[before] as usize);
        Some(start..end)
    }
}

/// One blob inside a shared decoded segment. Verified against its id.
#[derive(Clone)]
pub(crate) struct Blob {
    segment: Arc<DecodedSegment>,
    range: Range<usize>,
}

impl std::ops::Deref for Blob {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.segment.raw[self.range.clone()]
    }
}

/// Buffers one thread reuses while it reads segments.
pub(crate) struct ReadBuffers {
    decompressor: Decompressor,
    sealed: Vec<u8>,
    chain: ChainBuffers,
}

impl Default for ReadBuffers {
    fn default() -> Self {
        Self {
            decompressor: Decompressor::new(),
            sealed: Vec::new(),
            chain: ChainBuffers::default(),
        }
    }
}

/// Reads segments and blobs of one repository.
pub(crate) struct SegmentReader {
    storage: Storage,
    ring: Arc<KeyRing>,
    openers: Mutex<LruCache<PackId, Arc<Opener>>>,
    cache: Mutex<ByteLru>,
    spans: Spans,
    buffers: Mutex<Vec<ReadBuffers>>,
}

impl SegmentReader {
    pub(crate) fn new(storage: Storage, ring: Arc<KeyRing>) -> Self {
        let openers = NonZeroUsize::new(OPENERS_MAX).unwrap_or(NonZeroUsize::MIN);
        Self {
            storage,
            ring,
            openers: Mutex::new(LruCache::new(openers)),
            cache: Mutex::new(ByteLru::new(SEGMENT_CACHE_BYTES)),
            spans: Spans::default(),
            buffers: Mutex::new(Vec::new()),
        }
    }

    /// The blob `id`, through the cache of decoded segments.
    pub(crate) fn blob(&self, index: &IndexSet, kind: BlobKind, id: &BlobId) -> Result<Blob> {
        let at = index
            .find(&id.key())?
            .ok_or(Error::MissingBlob { id: *id })?;
        let (segment, _) = self.cached(index, &at.segment)?;
        self.verified(segment, &at, kind, id)
    }

    /// The chunk `id`, and the base it is stored against.
    pub(crate) fn chunk_and_base(
        &self,
        index: &IndexSet,
        id: &BlobId,
    ) -> Result<(Blob, Option<Base>)> {
        let at = index
            .find(&id.key())?
            .ok_or(Error::MissingBlob { id: *id })?;
        let (segment, base) = self.cached(index, &at.segment)?;
        Ok((self.verified(segment, &at, BlobKind::Data, id)?, base))
    }

    /// What a new version of chunk `id` may be stored against: the chunk itself, or at the greatest
    /// depth that is written the chunk that all this chain of versions stands on.
    pub(crate) fn delta_base(&self, index: &IndexSet, id: &BlobId) -> Result<(Base, Blob)> {
        let (blob, base) = self.chunk_and_base(index, id)?;
        match base {
            Some(base) if base.depth >= DELTA_DEPTH => {
                let id = self.root(index, &base)?;
                let blob = self.blob(index, BlobKind::Data, &id)?;
                Ok((Base { id, depth: 1 }, blob))
            }
            base => {
                let depth = base.map_or(0, |base| base.depth) + 1;
                Ok((Base { id: *id, depth }, blob))
            }
        }
    }

    fn verified(
        &self,
        segment: Arc<DecodedSegment>,
        at: &Location,
        kind: BlobKind,
        id: &BlobId,
    ) -> Result<Blob> {
        let range = segment
            .range(at.ordinal)
            .filter(|range| self.ring.blob_id(kind, &segment.raw[range.clone()]) == *id)
            .ok_or(Error::DamagedBlob {
                id: *id,
                pack: at.segment.pack,
            })?;
        Ok(Blob { segment, range })
    }

    fn lookup(&self, address: &SegmentAddress) -> Option<Arc<DecodedSegment>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.get(address)
    }

    /// A decoded segment and its base. Only segments that stand by themselves are kept.
    fn cached(
        &self,
        index: &IndexSet,
        address: &SegmentAddress,
    ) -> Result<(Arc<DecodedSegment>, Option<Base>)> {
        if let Some(segment) = self.lookup(address) {
            return Ok((segment, None));
        }
        let mut buffers = self.take();
        let mut segment = DecodedSegment::default();
        let base = self.read(index, address, &mut buffers, &mut segment);
        self.give(buffers);
        let base = base?;
        if base.is_some() {
            return Ok((Arc::new(segment), base));
        }
        Ok((self.keep(address, segment), None))
    }

    /// Remembers a segment that stands by itself.
    fn keep(&self, address: &SegmentAddress, segment: DecodedSegment) -> Arc<DecodedSegment> {
        let segment = Arc::new(segment);
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(*address, Arc::clone(&segment));
        segment
    }

    /// Reads and decodes one segment into `out`. Returns the base it is stored against.
    pub(crate) fn read(
        &self,
        index: &IndexSet,
        address: &SegmentAddress,
        buffers: &mut ReadBuffers,
        out: &mut DecodedSegment,
    ) -> Result<Option<Base>> {
        let mut sealed = std::mem::take(&mut buffers.sealed);
        let done = self.fetch(index, address, &mut sealed).and_then(|()| {
            let sealed = &mut sealed[SEGMENT_PREFIX_LEN..];
            self.decode_sealed(index, address, sealed, buffers, out)
        });
        buffers.sealed = sealed;
        done
    }

    /// Decodes a segment whose sealed body was read already, for example as part of a longer
    /// range. `sealed` is opened in place.
    pub(crate) fn decode_sealed(
        &self,
        index: &IndexSet,
        address: &SegmentAddress,
        sealed: &mut [u8],
        buffers: &mut ReadBuffers,
        out: &mut DecodedSegment,
    ) -> Result<Option<Base>> {
        let body = self.open(address, sealed)?;
        match &body.base {
            None => self.decode(address, &body, None, &mut buffers.decompressor, out)?,
            Some(base) => {
                let content = self.content(index, base, buffers)?;
                let decompressor = &mut buffers.decompressor;
                let done = self.decode(address, &body, Some(&content), decompressor, out);
                buffers.chain.give(content);
                done?;
            }
        }
        Ok(body.base)
    }

    /// Decodes an opened segment into `out`, given the bytes of its base if it has one.
    fn decode(
        &self,
        address: &SegmentAddress,
        body: &SegmentBody<'_>,
        base: Option<&[u8]>,
        decompressor: &mut Decompressor,
        out: &mut DecodedSegment,
    ) -> Result<()> {
        body.decode(decompressor, base, &mut out.raw)
            .map_err(|source| self.bad(address, source))?;
        out.ends.clear();
        let mut end = 0;
        out.ends.extend(body.lens.iter().map(|len| {
            end += len;
            end
        }));
        out.kind = Some(body.kind);
        Ok(())
    }

    /// Where the clear prefix and the sealed body lie. Their length is capped.
    fn range(&self, address: &SegmentAddress) -> Result<Range<u64>> {
        let stored = address.stored as usize;
        if !(TAG_LEN..=limits::SEGMENT_RAW_MAX * 2).contains(&stored) {
            return Err(self.bad(
                address,
                repo_format::Error::Malformed {
                    what: "segment",
                    why: "its stored length is out of range",
                },
            ));
        }
        let start = u64::from(address.offset).saturating_sub(SEGMENT_PREFIX_LEN as u64);
        Ok(start..u64::from(address.offset) + u64::from(address.stored))
    }

    fn open<'b>(&self, address: &SegmentAddress, sealed: &'b mut [u8]) -> Result<SegmentBody<'b>> {
        let opener = self.opener(&address.pack)?;
        let bad = |source| self.bad(address, source);
        let body = opener
            .open(u64::from(address.offset), sealed)
            .map_err(bad)?;
        SegmentBody::parse(body).map_err(bad)
    }

    fn bad(&self, address: &SegmentAddress, source: repo_format::Error) -> Error {
        Error::object(pack::path(&address.pack), source)
    }

    /// The opened header of a pack; one small read the first time.
    pub(crate) fn opener(&self, id: &PackId) -> Result<Arc<Opener>> {
        let lock = || self.openers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opener) = lock().get(id) {
            return Ok(Arc::clone(opener));
        }
        let key = pack::path(id);
        let mut header = Vec::new();
        self.storage.read(&key, 0..HEADER_LEN as u64, &mut header)?;
        let header = header
            .first_chunk::<HEADER_LEN>()
            .ok_or(Error::Internal { what: "header" })?;
        let opener = Opener::new(&self.ring, ObjectKind::Pack, &key, Some(id.0), header)
            .map_err(|source| Error::object(key, source))?;
        let opener = Arc::new(opener);
        lock().put(*id, Arc::clone(&opener));
        Ok(opener)
    }

    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    fn take(&self) -> ReadBuffers {
        self.buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default()
    }

    fn give(&self, buffers: ReadBuffers) {
        self.buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(buffers);
    }
}

/// Decoded segments by address, dropping the least recently used above a budget of raw bytes.
struct ByteLru {
    map: LruCache<SegmentAddress, Arc<DecodedSegment>>,
    bytes: usize,
    max: usize,
}

impl ByteLru {
    fn new(max: usize) -> Self {
        Self {
            map: LruCache::unbounded(),
            bytes: 0,
            max,
        }
    }

    fn get(&mut self, address: &SegmentAddress) -> Option<Arc<DecodedSegment>> {
        self.map.get(address).map(Arc::clone)
    }

    fn put(&mut self, address: SegmentAddress, segment: Arc<DecodedSegment>) {
        self.bytes += segment.raw.len();
        if let Some(before) = self.map.put(address, segment) {
            self.bytes -= before.raw.len();
        }
        while self.bytes > self.max {
            let Some((_, dropped)) = self.map.pop_lru() else {
                return;
            };
            self.bytes -= dropped.raw.len();
        }
    }
}
