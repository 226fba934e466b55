//! Index objects: sorted blob keys with the segment that holds each, readable in place.
//!
//! ```text
//! header [96] | block* | tail | trailer
//! block    sealed (nonce: its offset): up to 186 entries { key [16] | segment u32 | ordinal u16 },
//!          sorted by key over all blocks; every block but the last is full
//! tail     sealed (nonce: its offset): entries u64 | packs u32 | segments u32 | filter length u32
//!          packs    x { pack id [32] | size u64 }
//!          segments x { pack row u32 | body offset u32 | sealed length u32 | raw length u32 }
//!          blocks   x first key [16]
//!          filter (see `filter.rs`)
//! trailer  sealed length of the tail u32 | magic "ridx"
//! ```
//! A look-up costs one filter probe and, if that says "maybe", one positioned read of 4 KiB.

use crate::cursor::Cursor;
use crate::error::{Error, malformed};
use crate::filter::KeyFilter;
use crate::id::{BlobKey, IndexId, PackId, SessionId};
use crate::limits::{INDEX_ENTRIES_MAX, INDEX_MAX, PACK_MAX, SEGMENT_RAW_MAX};
use crate::pack::{TRAILER_LEN, push_trailer, trailer};
use crate::seal::{HEADER_LEN, ObjectKind, Opener, Sealer, TAG_LEN};
use crate::secrets::KeyRing;

/// Entries in a full block.
pub const BLOCK_ENTRIES: usize = 186;
/// Magic at the end of an index object.
pub const TRAILER_MAGIC: &[u8; 4] = b"ridx";

const ENTRY_LEN: usize = 22;
const SEALED_BLOCK_LEN: usize = BLOCK_ENTRIES * ENTRY_LEN + TAG_LEN;
const WHAT: &str = "index object";

/// The store key of an index object.
#[must_use]
pub fn path(id: &IndexId) -> String {
    format!("index/{id}")
}

/// One blob: which segment row of the same index object holds it, and at which place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// First 16 bytes of the blob's id.
    pub key: BlobKey,
    /// Row in the segment table.
    pub segment: u32,
    /// Place of the chunk in the segment, from 0.
    pub ordinal: u16,
}

/// A pack the index object describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackRow {
    /// Name of the pack.
    pub id: PackId,
    /// Length of the pack, in bytes.
    pub size: u64,
}

/// A segment the entries point at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRow {
    /// Row in the pack table.
    pub pack: u32,
    /// Offset of the sealed body in the pack, in bytes.
    pub offset: u32,
    /// Length of the sealed body, in bytes.
    pub stored: u32,
    /// Length when decoded, in bytes.
    pub raw: u32,
}

/// Encodes an index object. Sorts `entries` and drops repeated keys.
pub fn encode(
    ring: &KeyRing,
    session: SessionId,
    packs: &[PackRow],
    segments: &[SegmentRow],
    entries: &mut Vec<Entry>,
) -> Result<(IndexId, Vec<u8>), Error> {
    entries.sort_unstable_by_key(|entry| (entry.key, entry.segment, entry.ordinal));
    entries.dedup_by_key(|entry| entry.key);
    if entries.len() > INDEX_ENTRIES_MAX {
        return Err(Error::OutOfRange {
            what: "index entries",
            value: entries.len() as u64,
            allowed: "at most 4 Mi in one object",
        });
    }
    let mut sealer = Sealer::create(ring, ObjectKind::Index, session, |id| path(&IndexId(id)))?;
    let mut bytes =
        Vec::with_capacity(HEADER_LEN + entries.len() * 25 + segments.len() * 16 + 4096);
    bytes.extend_from_slice(sealer.header());
    for block in entries.chunks(BLOCK_ENTRIES) {
        let start = bytes.len();
        for entry in block {
            bytes.extend_from_slice(&entry.key.0);
            bytes.extend_from_slice(&entry.segment.to_le_bytes());
            bytes.extend_from_slice(&entry.ordinal.to_le_bytes());
        }
        sealer.seal_tail(&mut bytes, start)?;
    }
    let start = bytes.len();
    push_tail(packs, segments, entries, &mut bytes)?;
    sealer.seal_tail(&mut bytes, start)?;
    push_trailer(&mut bytes, start, TRAILER_MAGIC)?;
    if bytes.len() as u64 > INDEX_MAX {
        return Err(malformed(WHAT, "it is too long"));
    }
    Ok((IndexId(sealer.object_id()), bytes))
}

fn push_tail(
    packs: &[PackRow],
    segments: &[SegmentRow],
    entries: &[Entry],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let count = |len: usize| u32::try_from(len).map_err(|_| malformed(WHAT, "it is too long"));
    let mut filter = Vec::new();
    KeyFilter::build(entries.iter().map(|entry| entry.key)).encode(&mut filter);
    out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    out.extend_from_slice(&count(packs.len())?.to_le_bytes());
    out.extend_from_slice(&count(segments.len())?.to_le_bytes());
    out.extend_from_slice(&count(filter.len())?.to_le_bytes());
    for pack in packs {
        out.extend_from_slice(&pack.id.0);
        out.extend_from_slice(&pack.size.to_le_bytes());
    }
    for row in segments {
        for field in [row.pack, row.offset, row.stored, row.raw] {
            out.extend_from_slice(&field.to_le_bytes());
        }
    }
    for block in entries.chunks(BLOCK_ENTRIES) {
        out.extend_from_slice(&block[0].key.0);
    }
    out.extend_from_slice(&filter);
    Ok(())
}

/// The tail of an index object: everything but the entries. About 1.3 bytes of memory an entry,
/// plus 16 a segment.
pub struct Tail {
    /// Number of entries.
    pub entries: u64,
    /// Packs described.
    pub packs: Vec<PackRow>,
    /// Segments pointed at.
    pub segments: Vec<SegmentRow>,
    fences: Vec<BlobKey>,
    filter: KeyFilter,
}

impl Tail {
    /// Length of the sealed tail, from the last [`TRAILER_LEN`] bytes of an object of `size` bytes.
    pub fn sealed_len(last: &[u8], size: u64) -> Result<u32, Error> {
        trailer(WHAT, last, TRAILER_MAGIC, size)
    }

    /// Decodes the sealed tail of an index object of `size` bytes.
    pub fn open(opener: &Opener, size: u64, sealed: &mut [u8]) -> Result<Self, Error> {
        let start = size
            .checked_sub((sealed.len() + TRAILER_LEN) as u64)
            .filter(|_| size <= INDEX_MAX)
            .ok_or_else(|| malformed(WHAT, "its size is out of range"))?;
        let tail = Self::decode(opener.open(start, sealed)?)?;
        let blocks = tail.entries.div_ceil(BLOCK_ENTRIES as u64);
        let blocks_len = tail.entries * ENTRY_LEN as u64 + blocks * TAG_LEN as u64;
        if start != HEADER_LEN as u64 + blocks_len {
            return Err(malformed(WHAT, "its blocks do not fill it"));
        }
        Ok(tail)
    }

    /// Decodes an opened tail.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(WHAT, bytes);
        let entries = cursor.u64()?;
        if entries > INDEX_ENTRIES_MAX as u64 {
            return Err(malformed(WHAT, "its entry count is out of range"));
        }
        let pack_count = cursor.u32()? as usize;
        let segment_count = cursor.u32()? as usize;
        let filter_len = cursor.u32()? as usize;
        if pack_count > cursor.remaining() / 40 || segment_count > cursor.remaining() / 16 {
            return Err(malformed(WHAT, "a table is longer than the tail"));
        }
        let mut packs = Vec::with_capacity(pack_count);
        for _ in 0..pack_count {
            let row = PackRow {
                id: PackId(cursor.array()?),
                size: cursor.u64()?,
            };
            if row.size > PACK_MAX {
                return Err(malformed(WHAT, "a pack's size is out of range"));
            }
            packs.push(row);
        }
        let mut segments = Vec::with_capacity(segment_count);
        for _ in 0..segment_count {
            let row = SegmentRow {
                pack: cursor.u32()?,
                offset: cursor.u32()?,
                stored: cursor.u32()?,
                raw: cursor.u32()?,
            };
            let inside = packs
                .get(row.pack as usize)
                .is_some_and(|pack| u64::from(row.offset) + u64::from(row.stored) <= pack.size);
            if !inside || row.raw as usize > SEGMENT_RAW_MAX {
                return Err(malformed(WHAT, "a segment lies outside of its pack"));
            }
            segments.push(row);
        }
        let blocks = usize::try_from(entries.div_ceil(BLOCK_ENTRIES as u64))
            .map_err(|_| malformed(WHAT, "its entry count is out of range"))?;
        let mut fences = Vec::with_capacity(blocks.min(cursor.remaining() / BlobKey::LEN));
        for _ in 0..blocks {
            fences.push(BlobKey(cursor.array()?));
        }
        let filter = KeyFilter::decode(cursor.take(filter_len)?)?;
        cursor.finish()?;
        Ok(Self {
            entries,
            packs,
            segments,
            fences,
            filter,
        })
    }

    /// Number of blocks.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.fences.len()
    }

    /// The block that holds `key` if any does; `None` when the filter or the fences exclude it.
    #[must_use]
    pub fn block_of(&self, key: &BlobKey) -> Option<usize> {
        if !self.filter.may_contain(key) {
            return None;
        }
        self.fences
            .partition_point(|first| first <= key)
            .checked_sub(1)
    }

    /// The pack and the segment that hold the blob of `entry`; `None` when it names a row that the
    /// tables do not have.
    #[must_use]
    pub fn locate(&self, entry: &Entry) -> Option<(&PackRow, &SegmentRow)> {
        let segment = self.segments.get(entry.segment as usize)?;
        Some((self.packs.get(segment.pack as usize)?, segment))
    }

    /// Where block `number` lies: offset and sealed length, in bytes.
    #[must_use]
    pub fn block_range(&self, number: usize) -> (u64, usize) {
        let offset = HEADER_LEN as u64 + number as u64 * SEALED_BLOCK_LEN as u64;
        let before = number as u64 * BLOCK_ENTRIES as u64;
        let entries = self
            .entries
            .saturating_sub(before)
            .min(BLOCK_ENTRIES as u64);
        let len = usize::try_from(entries).unwrap_or(0) * ENTRY_LEN + TAG_LEN;
        (offset, len)
    }

    /// The byte range of block `number` when all opened blocks are laid end to end.
    #[must_use]
    pub fn plain_range(&self, number: usize) -> (usize, usize) {
        let start = number * BLOCK_ENTRIES * ENTRY_LEN;
        (start, start + self.block_range(number).1 - TAG_LEN)
    }
}

/// Entries of one opened block.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a>(&'a [u8]);

impl<'a> Block<'a> {
    /// Takes an opened block.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Error> {
        if !bytes.len().is_multiple_of(ENTRY_LEN) {
            return Err(malformed(WHAT, "a block is not made of entries"));
        }
        Ok(Self(bytes))
    }

    /// All entries, in order.
    pub fn iter(self) -> impl Iterator<Item = Entry> + 'a {
        self.0.chunks_exact(ENTRY_LEN).map(decode_entry)
    }

    /// Finds `key` by binary search.
    #[must_use]
    pub fn find(self, key: &BlobKey) -> Option<Entry> {
        self.position(key).map(|(_, entry)| entry)
    }

    /// Finds `key` by binary search, with its place in the block, from 0.
    #[must_use]
    pub fn position(self, key: &BlobKey) -> Option<(usize, Entry)> {
        let count = self.0.len() / ENTRY_LEN;
        let entry = |at: usize| &self.0[at * ENTRY_LEN..(at + 1) * ENTRY_LEN];
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if entry(middle)[..BlobKey::LEN] < key.0[..] {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (low < count && entry(low)[..BlobKey::LEN] == key.0[..])
            .then(|| (low, decode_entry(entry(low))))
    }
}

fn decode_entry(bytes: &[u8]) -> Entry {
    let (mut key, mut segment, mut ordinal) = ([0; 16], [0; 4], [0; 2]);
    key.copy_from_slice(&bytes[..16]);
    segment.copy_from_slice(&bytes[16..20]);
    ordinal.copy_from_slice(&bytes[20..22]);
    Entry {
        key: BlobKey(key),
        segment: u32::from_le_bytes(segment),
        ordinal: u16::from_le_bytes(ordinal),
    }
}

#[cfg(test)]
mod tests;
