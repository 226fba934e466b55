//! One writing run: decides which blobs are new, packs their segments, uploads packs, and writes
//! the index objects a commit then names.
//!
//! Order matters for crashes: packs are durable before the index object that locates their blobs,
//! and index objects before the commit that names them. Until that commit nothing written here is
//! visible to anyone.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use repo_format::commit::IndexRef;
use repo_format::index::{self, Entry, PackRow, SegmentRow};
use repo_format::pack::{self, NewSegment, PackBuilder};
use repo_format::{Base, BlobId, BlobKey, BlobKind, KeyRing, PackId, SessionId, Texture};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::limits::{PACK_BLOBS_MAX, SESSION_ENTRIES_MAX, UPLOADS_MAX};
use crate::repository::index::IndexSet;
use crate::repository::storage::Storage;

const SHARDS: usize = 16;

/// A running session. Shared by all threads of one snapshot.
pub(crate) struct Session {
    id: SessionId,
    ring: Arc<KeyRing>,
    storage: Storage,
    index: Arc<IndexSet>,
    pack_size: usize,
    /// Written for show only: nothing reaches the store.
    dry_run: bool,
    seen: [Mutex<KeySet>; SHARDS],
    lanes: [Mutex<Option<PackBuilder>>; 2],
    placed: Mutex<Placed>,
    uploads: Arc<Semaphore>,
    running: Mutex<Vec<JoinHandle<Result<()>>>>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// What was placed in packs and is not in an index object yet.
#[derive(Default)]
struct Placed {
    packs: Vec<PackRow>,
    open: Vec<(PackId, u32)>,
    segments: Vec<SegmentRow>,
    entries: Vec<Entry>,
    indexes: Vec<IndexRef>,
    bytes: u64,
}

/// What a finished session wrote.
pub(crate) struct Written {
    pub(crate) indexes: Vec<IndexRef>,
    /// Bytes of packs and index objects.
    pub(crate) bytes: u64,
}

impl Session {
    pub(crate) fn new(
        id: SessionId,
        ring: Arc<KeyRing>,
        storage: Storage,
        index: Arc<IndexSet>,
        pack_size: u32,
        dry_run: bool,
    ) -> Self {
        Self {
            id,
            ring,
            storage,
            index,
            pack_size: pack_size as usize,
            dry_run,
            seen: std::array::from_fn(|_| Mutex::default()),
            lanes: [Mutex::new(None), Mutex::new(None)],
            placed: Mutex::default(),
            uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
            running: Mutex::default(),
            spare: Arc::default(),
        }
    }

    /// Names the run in the headers of what it writes.
    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    pub(crate) fn ring(&self) -> &KeyRing {
        &self.ring
    }

    pub(crate) fn index(&self) -> &IndexSet {
        &self.index
    }

    /// Whether the caller must store the blob: true once for each blob the repository lacks. Who
    /// is told so has promised to add it.
    pub(crate) fn claim(&self, id: &BlobId) -> Result<bool> {
        let key = id.key();
        let shard = &self.seen[usize::from(key.0[15]) % SHARDS];
        if lock(shard).contains(&key) || self.index.find(&key)?.is_some() {
            return Ok(false);
        }
        Ok(lock(shard).insert(key))
    }

    /// Seals a segment into the open pack of its kind; hands the pack over when it is full.
    pub(crate) fn add(&self, segment: &NewSegment<'_>, raw_len: usize) -> Result<()> {
        let lane = match segment.kind {
            BlobKind::Data => &self.lanes[0],
            BlobKind::Tree => &self.lanes[1],
        };
        let mut open = lock(lane);
        let mut builder = match open.take() {
            Some(builder) => builder,
            None => self.new_pack(segment.kind)?,
        };
        let place = builder.push(segment).map_err(Error::encode)?;
        self.place(builder.id(), place, segment.ids, raw_len)?;
        if builder.len() < self.pack_size && builder.blobs() < PACK_BLOBS_MAX {
            *open = Some(builder);
            return Ok(());
        }
        // The lane stays locked while too many packs are on their way: nobody starts another one,
        // so no more than `UPLOADS_MAX` and the open ones are ever in memory.
        let permit = self.upload_permit()?;
        drop(open);
        self.finish_pack(builder, permit)
    }

    fn upload_permit(&self) -> Result<OwnedSemaphorePermit> {
        self.storage
            .wait(Arc::clone(&self.uploads).acquire_owned())
            .map_err(|_| Error::Internal { what: "uploads" })
    }

    fn new_pack(&self, kind: BlobKind) -> Result<PackBuilder> {
        let mut buffer = lock(&self.spare).pop().unwrap_or_default();
        if kind == BlobKind::Data {
            // One allocation for the life of the session instead of doubling up to it.
            buffer.reserve(self.pack_size + self.pack_size / 8);
        }
        let builder = PackBuilder::new(&self.ring, self.id, buffer).map_err(Error::encode)?;
        let mut placed = lock(&self.placed);
        let row = u32::try_from(placed.packs.len())
            .map_err(|_| Error::Internal { what: "pack table" })?;
        placed.open.push((builder.id(), row));
        placed.packs.push(PackRow {
            id: builder.id(),
            size: 0,
        });
        Ok(builder)
    }

    fn place(
        &self,
        pack: PackId,
        place: pack::SegmentPlace,
        ids: &[BlobId],
        raw_len: usize,
    ) -> Result<()> {
        let internal = |_| Error::Internal {
            what: "segment table",
        };
        let mut placed = lock(&self.placed);
        let row = placed
            .open
            .iter()
            .find(|(id, _)| *id == pack)
            .map(|(_, row)| *row)
            .ok_or(Error::Internal { what: "open pack" })?;
        let segment = u32::try_from(placed.segments.len()).map_err(internal)?;
        placed.segments.push(SegmentRow {
            pack: row,
            offset: place.offset,
            stored: place.stored,
            raw: u32::try_from(raw_len).map_err(internal)?,
        });
        for (ordinal, id) in ids.iter().enumerate() {
            placed.entries.push(Entry {
                key: id.key(),
                segment,
                ordinal: u16::try_from(ordinal).map_err(internal)?,
            });
        }
        Ok(())
    }

    /// Uploads a finished pack in the background.
    fn finish_pack(&self, builder: PackBuilder, permit: OwnedSemaphorePermit) -> Result<()> {
        let (id, bytes, _) = builder.finish().map_err(Error::encode)?;
        {
            let mut placed = lock(&self.placed);
            placed.bytes += bytes.len() as u64;
            if let Some(row) = placed.packs.iter_mut().find(|row| row.id == id) {
                row.size = bytes.len() as u64;
            }
            placed.open.retain(|(open, _)| *open != id);
        }
        if self.dry_run {
            lock(&self.spare).push(bytes);
            return Ok(());
        }
        self.reap(false)?;
        let store = self.storage.store().clone();
        let spare = Arc::clone(&self.spare);
        let upload = self.storage.runtime().spawn(async move {
            let payload = Bytes::from(bytes);
            let put = store.put_new(&pack::path(&id), payload.clone()).await;
            if let Ok(buffer) = payload.try_into_mut() {
                lock(&spare).push(Vec::from(buffer));
            }
            drop(permit);
            put.map(drop).map_err(Error::Store)
        });
        lock(&self.running).push(upload);
        if lock(&self.placed).entries.len() >= SESSION_ENTRIES_MAX {
            self.write_index()?;
        }
        Ok(())
    }

    /// Collects uploads that have ended, or all when `wait`; the first failure is returned.
    fn reap(&self, wait: bool) -> Result<()> {
        let ended: Vec<_> = {
            let mut running = lock(&self.running);
            let (ended, rest) = std::mem::take(&mut *running)
                .into_iter()
                .partition(|upload| wait || upload.is_finished());
            *running = rest;
            ended
        };
        for upload in ended {
            self.storage
                .wait(upload)
                .map_err(|_| Error::Internal { what: "upload" })??;
        }
        Ok(())
    }

    /// Writes an index object of everything that lies in finished packs.
    fn write_index(&self) -> Result<()> {
        self.reap(true)?;
        let mut placed = lock(&self.placed);
        let mut part = placed.split_finished();
        if part.entries.is_empty() {
            return Ok(());
        }
        let (id, bytes) = index::encode(
            &self.ring,
            self.id,
            &part.packs,
            &part.segments,
            &mut part.entries,
        )
        .map_err(Error::encode)?;
        let reference = IndexRef {
            id,
            size: bytes.len() as u64,
            entries: part.entries.len() as u64,
        };
        placed.bytes += reference.size;
        placed.indexes.push(reference);
        drop(placed);
        if self.dry_run {
            return Ok(());
        }
        let key = index::path(&id);
        let put = self.storage.store().put_new(&key, Bytes::from(bytes));
        self.storage.wait(put).map_err(Error::Store)?;
        self.index.add(&self.storage, &self.ring, &reference)?;
        // From here on the index object answers for these blobs.
        for entry in &part.entries {
            lock(&self.seen[usize::from(entry.key.0[15]) % SHARDS]).remove(&entry.key);
        }
        Ok(())
    }

    /// Closes both packs, waits for all uploads and writes the last index object.
    pub(crate) fn finish(&self) -> Result<Written> {
        for lane in &self.lanes {
            let builder = lock(lane).take();
            if let Some(builder) = builder {
                let permit = self.upload_permit()?;
                self.finish_pack(builder, permit)?;
            }
        }
        self.write_index()?;
        let placed = lock(&self.placed);
        Ok(Written {
            indexes: placed.indexes.clone(),
            bytes: placed.bytes,
        })
    }
}

impl Placed {
    /// Takes out what lies in finished packs; what lies in open ones stays.
    fn split_finished(&mut self) -> Self {
        let open: HashSet<u32> = self.open.iter().map(|(_, row)| *row).collect();
        let mut part = Self::default();
        let mut rest = Self {
            indexes: std::mem::take(&mut self.indexes),
            bytes: self.bytes,
            ..Self::default()
        };
        let mut pack_rows = Vec::with_capacity(self.packs.len());
        for (row, pack) in self.packs.iter().enumerate() {
            let is_open = u32::try_from(row).is_ok_and(|row| open.contains(&row));
            let side = if is_open { &mut rest } else { &mut part };
            let at = u32::try_from(side.packs.len()).unwrap_or(u32::MAX);
            side.packs.push(*pack);
            if is_open {
                side.open.push((pack.id, at));
            }
            pack_rows.push((is_open, at));
        }
        let mut segment_rows = Vec::with_capacity(self.segments.len());
        for segment in &self.segments {
            let (is_open, pack) = pack_rows[segment.pack as usize];
            let side = if is_open { &mut rest } else { &mut part };
            segment_rows.push((
                is_open,
                u32::try_from(side.segments.len()).unwrap_or(u32::MAX),
            ));
            side.segments.push(SegmentRow { pack, ..*segment });
        }
        for entry in &self.entries {
            let (is_open, segment) = segment_rows[entry.segment as usize];
            let side = if is_open { &mut rest } else { &mut part };
            side.entries.push(Entry { segment, ..*entry });
        }
        *self = rest;
        part
    }
}

/// A segment being filled by one thread, and the buffers to encode it.
pub(crate) struct SegmentWriter {
    kind: BlobKind,
    texture: Texture,
    size: usize,
    raw: Vec<u8>,
    ids: Vec<BlobId>,
    lens: Vec<u32>,
}

/// Encodes segments; one per thread, shared by its writers.
pub(crate) struct Encoder {
    encoder: repo_format::segment::SegmentEncoder,
    body: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(level: i32) -> Result<Self> {
        Ok(Self {
            encoder: repo_format::segment::SegmentEncoder::new(level).map_err(Error::encode)?,
            body: Vec::new(),
        })
    }

    /// Stores one chunk against the bytes `content` of `base`. False when that would not pay.
    pub(crate) fn delta(
        &mut self,
        session: &Session,
        id: BlobId,
        chunk: &[u8],
        base: Base,
        content: &[u8],
    ) -> Result<bool> {
        let worth = self
            .encoder
            .encode_delta(chunk, base, content, &mut self.body)
            .map_err(Error::encode)?;
        if worth {
            let len = u32::try_from(chunk.len()).map_err(|_| Error::Internal { what: "chunk" })?;
            let segment = NewSegment {
                body: &self.body,
                codec: base.codec(),
                kind: BlobKind::Data,
                ids: &[id],
                lens: &[len],
                base: Some(base),
            };
            session.add(&segment, chunk.len())?;
        }
        Ok(worth)
    }
}

impl SegmentWriter {
    /// A writer of segments of about `size` raw bytes.
    pub(crate) fn new(kind: BlobKind, texture: Texture, size: u32) -> Self {
        Self {
            kind,
            texture,
            size: size as usize,
            raw: Vec::new(),
            ids: Vec::new(),
            lens: Vec::new(),
        }
    }

    /// Appends a claimed blob, flushing before it when the segment would grow past its size.
    pub(crate) fn push(
        &mut self,
        session: &Session,
        encoder: &mut Encoder,
        id: BlobId,
        blob: &[u8],
    ) -> Result<()> {
        let full = self.raw.len() + blob.len() > self.size
            || self.ids.len() >= repo_format::limits::SEGMENT_CHUNKS_MAX;
        if full {
            self.flush(session, encoder)?;
        }
        let len = u32::try_from(blob.len()).map_err(|_| Error::Internal { what: "blob" })?;
        if self.ids.is_empty() && blob.len() >= self.size {
            // Nothing comes with it, so it need not be copied.
            return self.store(session, encoder, blob, &[id], &[len]);
        }
        if self.raw.capacity() == 0 {
            // One allocation for the life of the writer instead of doubling past the size.
            self.raw.reserve_exact(self.size);
        }
        self.raw.extend_from_slice(blob);
        self.ids.push(id);
        self.lens.push(len);
        Ok(())
    }

    /// Ends the segment early if it is long enough to stand by itself: what follows is of another
    /// nature and compresses better apart.
    pub(crate) fn part(&mut self, session: &Session, encoder: &mut Encoder) -> Result<()> {
        /// Shorter segments cost more in tables than a clean start saves.
        const PART_MIN: usize = 256 << 10;
        if self.raw.len() >= PART_MIN {
            return self.flush(session, encoder);
        }
        Ok(())
    }

    /// Encodes and stores what has gathered.
    pub(crate) fn flush(&mut self, session: &Session, encoder: &mut Encoder) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        self.store(session, encoder, &self.raw, &self.ids, &self.lens)?;
        self.raw.clear();
        self.ids.clear();
        self.lens.clear();
        Ok(())
    }

    /// Encodes chunks of `lens`, concatenated in `raw`, and stores them.
    fn store(
        &self,
        session: &Session,
        encoder: &mut Encoder,
        raw: &[u8],
        ids: &[BlobId],
        lens: &[u32],
    ) -> Result<()> {
        let Encoder { encoder, body } = encoder;
        let codec = encoder
            .encode(self.kind, self.texture, lens, raw, body)
            .map_err(Error::encode)?;
        let segment = NewSegment {
            body,
            codec,
            kind: self.kind,
            ids,
            lens,
            base: None,
        };
        session.add(&segment, raw.len())
    }
}

/// Blob keys are uniform: their first bytes are their hash.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        if let Some(head) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*head);
        }
    }
    fn write_usize(&mut self, _: usize) {}
}

type KeySet = HashSet<BlobKey, BuildHasherDefault<KeyHasher>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
