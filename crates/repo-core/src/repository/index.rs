//! Look-up of blobs in the live index objects.
//!
//! Each object is opened by its tail (filter, fences, tables). Small objects are kept decoded;
//! of large ones one block is read and opened per look-up, so memory does not grow with the
//! repository: about 1.3 bytes a blob.

mod builder;
mod verify;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use repo_format::commit::IndexRef;
use repo_format::index::{self, Block, Entry, Tail};
use repo_format::pack::TRAILER_LEN;
use repo_format::{BlobKey, HEADER_LEN, IndexId, KeyRing, ObjectKind, Opener, PackId, limits};

use crate::error::{Error, Result};
use crate::limits::{INDEX_RESIDENT_ALL, INDEX_RESIDENT_EACH};
use crate::repository::object::ObjectSource;
use crate::repository::state::Gone;
use crate::repository::storage::Storage;

pub(crate) use builder::IndexBuilder;
pub(crate) use verify::{Described, Examiner};

/// Where a segment lies, and its length when decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SegmentAddress {
    pub(crate) pack: PackId,
    pub(crate) offset: u32,
    pub(crate) stored: u32,
    pub(crate) raw: u32,
}

/// Where a blob lies: its segment, and its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: SegmentAddress,
    pub(crate) ordinal: u16,
}

pub(crate) struct IndexObject {
    id: IndexId,
    key: String,
    opener: Opener,
    tail: Tail,
    source: ObjectSource,
    /// All entries, opened, when the object is small.
    resident: Option<Vec<u8>>,
}

impl IndexObject {
    fn open(
        storage: &Storage,
        ring: &KeyRing,
        reference: &IndexRef,
        budget: &mut u64,
    ) -> Result<Self> {
        let key = index::path(&reference.id);
        let bad = |source| Error::object(key.clone(), source);
        let size = reference.size;
        if size > limits::INDEX_MAX || size < (HEADER_LEN + TRAILER_LEN) as u64 {
            return Err(bad(repo_format::Error::OutOfRange {
                what: "index object size",
                value: size,
                allowed: "between a header and 256 MiB",
            }));
        }
        let source = ObjectSource::open(storage, &key, size, INDEX_RESIDENT_EACH)?;
        let (opener, tail) = match Self::open_tail(ring, reference, &key, &source) {
            Err(_) if source.renewable() => {
                source.renew()?;
                Self::open_tail(ring, reference, &key, &source)?
            }
            opened => opened?,
        };
        let mut object = Self {
            id: reference.id,
            key,
            opener,
            tail,
            source,
            resident: None,
        };
        if size <= INDEX_RESIDENT_EACH && size <= *budget {
            *budget -= size;
            object.resident = Some(object.load()?);
        }
        Ok(object)
    }

    fn open_tail(
        ring: &KeyRing,
        reference: &IndexRef,
        key: &str,
        source: &ObjectSource,
    ) -> Result<(Opener, Tail)> {
        let bad = |source| Error::object(key, source);
        let size = reference.size;
        let mut buffer = Vec::new();
        source.read(0, HEADER_LEN, &mut buffer)?;
        let header = buffer
            .first_chunk::<HEADER_LEN>()
            .ok_or(Error::Internal { what: "header" })?;
        let opener =
            Opener::new(ring, ObjectKind::Index, key, Some(reference.id.0), header).map_err(bad)?;
        let end = size - TRAILER_LEN as u64;
        source.read(end, TRAILER_LEN, &mut buffer)?;
        let tail_len = Tail::sealed_len(&buffer, size).map_err(bad)?;
        source.read(end - u64::from(tail_len), tail_len as usize, &mut buffer)?;
        let tail = Tail::open(&opener, size, &mut buffer).map_err(bad)?;
        Ok((opener, tail))
    }

    fn load(&self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        self.each_block(|block| all.extend_from_slice(block))?;
        Ok(all)
    }

    fn each_block(&self, mut visit: impl FnMut(&[u8])) -> Result<()> {
        let mut buffer = Vec::new();
        for number in 0..self.tail.blocks() {
            visit(self.open_block(number, &mut buffer)?);
        }
        Ok(())
    }

    fn open_block<'b>(&self, number: usize, buffer: &'b mut Vec<u8>) -> Result<&'b [u8]> {
        let renewable = self.source.renewable();
        let len = match self.read_block(number, buffer) {
            Err(_) if renewable => {
                self.source.renew()?;
                self.read_block(number, buffer)?
            }
            read => read?,
        };
        buffer.get(..len).ok_or(Error::Internal {
            what: "index block",
        })
    }

    /// Opens a block to the start of `buffer` and returns its length.
    fn read_block(&self, number: usize, buffer: &mut Vec<u8>) -> Result<usize> {
        let (offset, len) = self.tail.block_range(number);
        self.source.read(offset, len, buffer)?;
        match self.opener.open(offset, buffer) {
            Ok(block) => Ok(block.len()),
            Err(source) => Err(Error::object(self.key.clone(), source)),
        }
    }

    fn find(&self, key: &BlobKey, buffer: &mut Vec<u8>) -> Result<Option<Location>> {
        let found = self.position(key, buffer)?;
        found.map(|(_, entry)| self.locate(&entry)).transpose()
    }

    /// The entry of `key` and its place among all entries of the object, from 0.
    pub(crate) fn position(
        &self,
        key: &BlobKey,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<(u64, Entry)>> {
        let Some(number) = self.tail.block_of(key) else {
            return Ok(None);
        };
        let bad = |source| Error::object(self.key.clone(), source);
        let block = if let Some(all) = &self.resident {
            let (start, end) = self.tail.plain_range(number);
            all.get(start..end).unwrap_or_default()
        } else {
            self.open_block(number, buffer)?
        };
        let found = Block::new(block).map_err(bad)?.position(key);
        let before = number as u64 * index::BLOCK_ENTRIES as u64;
        Ok(found.map(|(at, entry)| (before + at as u64, entry)))
    }

    /// Name of the object.
    pub(crate) fn id(&self) -> IndexId {
        self.id
    }

    /// The key epoch it is sealed under.
    pub(crate) fn epoch(&self) -> u32 {
        self.opener.header().epoch
    }

    /// Everything but the entries.
    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Visits all entries in order, each with its place.
    pub(crate) fn each_entry(&self, mut visit: impl FnMut(u64, Entry)) -> Result<()> {
        let mut buffer = Vec::new();
        let mut at = 0;
        for number in 0..self.tail.blocks() {
            let block = Block::new(self.open_block(number, &mut buffer)?)
                .map_err(|source| Error::object(self.key.clone(), source))?;
            for entry in block.iter() {
                visit(at, entry);
                at += 1;
            }
        }
        Ok(())
    }

    pub(crate) fn locate(&self, entry: &Entry) -> Result<Location> {
        let bad = || {
            Error::object(
                self.key.clone(),
                repo_format::Error::Malformed {
                    what: "index object",
                    why: "an entry points outside of its tables",
                },
            )
        };
        let row = self
            .tail
            .segments
            .get(entry.segment as usize)
            .ok_or_else(bad)?;
        let pack = self.tail.packs.get(row.pack as usize).ok_or_else(bad)?;
        Ok(Location {
            segment: SegmentAddress {
                pack: pack.id,
                offset: row.offset,
                stored: row.stored,
                raw: row.raw,
            },
            ordinal: entry.ordinal,
        })
    }
}

/// All live index objects of one state, plus those a running session has added.
pub(crate) struct IndexSet {
    objects: RwLock<Vec<Arc<IndexObject>>>,
    gone: Gone,
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl IndexSet {
    /// Opens `references`. Objects already open in `reuse` are taken over.
    pub(crate) fn open(
        storage: &Storage,
        ring: &KeyRing,
        references: &[IndexRef],
        gone: Gone,
        reuse: Option<&Self>,
    ) -> Result<Self> {
        let open: Vec<Arc<IndexObject>> = reuse.map(Self::objects).unwrap_or_default();
        let mut budget = INDEX_RESIDENT_ALL;
        let mut objects = Vec::with_capacity(references.len());
        for reference in references {
            if let Some(object) = open.iter().find(|object| object.id == reference.id) {
                if object.resident.is_some() {
                    budget = budget.saturating_sub(reference.size);
                }
                objects.push(Arc::clone(object));
            } else {
                let object = IndexObject::open(storage, ring, reference, &mut budget)?;
                objects.push(Arc::new(object));
            }
        }
        // Newest first: what was written last is asked for most.
        objects.reverse();
        Ok(Self {
            objects: RwLock::new(objects),
            gone,
            buffers: Mutex::new(Vec::new()),
        })
    }

    /// Adds an index object a running session has written.
    pub(crate) fn add(
        &self,
        storage: &Storage,
        ring: &KeyRing,
        reference: &IndexRef,
    ) -> Result<()> {
        let object = Arc::new(IndexObject::open(storage, ring, reference, &mut 0)?);
        self.objects
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(0, object);
        Ok(())
    }

    /// A set of its own with the same objects: what a session adds to it stays unknown to others
    /// until a commit names it.
    pub(crate) fn fork(&self) -> Self {
        Self {
            objects: RwLock::new(self.objects()),
            gone: self.gone.clone(),
            buffers: Mutex::new(Vec::new()),
        }
    }

    /// The same objects, leading to condemned packs too: they may still be there.
    pub(crate) fn without_regard(self) -> Self {
        Self {
            gone: Gone::default(),
            ..self
        }
    }

    /// Packs that no look-up leads to.
    pub(crate) fn gone(&self) -> &Gone {
        &self.gone
    }

    /// The objects in the order they are asked.
    pub(crate) fn objects(&self) -> Vec<Arc<IndexObject>> {
        self.objects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Where the blob lies. Copies in condemned or deleted packs do not count. A damaged index object is an
    /// error only when no other one locates the blob.
    pub(crate) fn find(&self, key: &BlobKey) -> Result<Option<Location>> {
        let mut buffer = self.take_buffer();
        let mut found = Ok(None);
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        for object in objects.iter() {
            match object.find(key, &mut buffer) {
                Ok(Some(at)) if !self.gone.contains(&at.segment.pack) => {
                    found = Ok(Some(at));
                    break;
                }
                Ok(_) => {}
                Err(error) => found = Err(error),
            }
        }
        drop(objects);
        self.buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(buffer);
        found
    }

    fn take_buffer(&self) -> Vec<u8> {
        self.buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default()
    }

    /// The size of a pack by the first object that describes it.
    pub(crate) fn pack_size(&self, id: &PackId) -> Option<u64> {
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        let mut rows = objects.iter().flat_map(|object| &object.tail.packs);
        rows.find(|row| row.id == *id).map(|row| row.size)
    }

    /// The packs described, each once, with their sizes.
    pub(crate) fn packs(&self) -> Vec<(PackId, u64)> {
        let mut packs: Vec<(PackId, u64)> = self
            .objects()
            .iter()
            .flat_map(|object| object.tail.packs.iter().map(|pack| (pack.id, pack.size)))
            .collect();
        packs.sort_unstable();
        packs.dedup();
        packs
    }

    /// The packs described, each once, those of one index object side by side.
    pub(crate) fn packs_by_object(&self) -> Vec<(PackId, u64)> {
        let mut seen = HashSet::new();
        let objects = self.objects();
        let packs = objects.iter().flat_map(|object| &object.tail.packs);
        let fresh = packs.filter(|pack| seen.insert(pack.id));
        fresh.map(|pack| (pack.id, pack.size)).collect()
    }

    /// Sum over live index objects: blobs, and raw bytes of their segments.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let mut totals = (0, 0);
        for object in self.objects() {
            totals.0 += object.tail.entries;
            totals.1 += object
                .tail
                .segments
                .iter()
                .map(|row| u64::from(row.raw))
                .sum::<u64>();
        }
        totals
    }
}

#[cfg(test)]
mod tests;
