//! Parity objects: what makes up for packs that are damaged or lost, by Reed-Solomon code.
//!
//! ```text
//! header [96] | block* | table | trailer
//! block    sealed (nonce: its offset): parity of the blocks at the same place of all packs
//! table    sealed (nonce: its offset):
//!          group id [16] | width u32 | packs u32 | shards u32 | shard u32
//!          packs  x { pack id [32] | size u64 }
//!          blocks of the packs x hash [32], pack by pack
//! trailer  sealed length of the table u32 | magic "rpar"
//! ```
//! A group is some packs and as many parity objects, its shards, as blocks at one place may be lost.
//! Each shard repeats the table, so any of them tells what belongs together and which bytes are
//! sound. No commit names a parity object: it is redundant, and whoever does not know it loses
//! nothing. The code itself is in `coder`.

mod coder;

use std::ops::Range;

use crate::cursor::Cursor;
use crate::error::{Error, malformed};
use crate::id::{PackId, ParityId, SessionId};
use crate::limits::{PACK_MAX, PARITY_PACKS_MAX, PARITY_SHARDS_MAX};
use crate::pack::{TRAILER_LEN, push_trailer};
use crate::seal::{HEADER_LEN, ObjectKind, Opener, Sealer, TAG_LEN};
use crate::secrets::KeyRing;

pub use coder::{Coder, rebuild};

/// Length of a block of a pack or shard, in bytes: what is lost and rebuilt as one.
pub const BLOCK: usize = 64 << 10;
/// Magic at the end of a parity object.
pub const TRAILER_MAGIC: &[u8; 4] = b"rpar";
/// Longest sealed table: all hashes of the most and longest packs.
pub const TABLE_MAX: u64 = 16 << 20;
/// The folder of parity objects.
pub const PREFIX: &str = "parity/";

const WHAT: &str = "parity table";
/// A shard is a multiple of this, in bytes, because the code works on so many at once.
const GRAIN: u64 = 64;
const HASH: usize = 32;

/// The store key of a parity object.
#[must_use]
pub fn path(id: &ParityId) -> String {
    let hex = id.to_hex();
    format!("{PREFIX}{}/{hex}", &hex[..2])
}

/// The parity object that lies under `key`.
#[must_use]
pub fn parse_path(key: &str) -> Option<ParityId> {
    let id = key.rsplit('/').next().and_then(ParityId::from_hex)?;
    (path(&id) == key).then_some(id)
}

/// The hash by which a table knows a block of a pack.
#[must_use]
pub fn block_hash(block: &[u8]) -> [u8; HASH] {
    *blake3::hash(block).as_bytes()
}

/// How many blocks a pack of `size` bytes has.
#[must_use]
pub const fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK as u64)
}

/// The bytes of block `block` of a pack of `size` bytes; empty behind its end.
#[must_use]
pub fn block_range(size: u64, block: u64) -> Range<u64> {
    let start = (block * BLOCK as u64).min(size);
    start..size.min(start + BLOCK as u64)
}

/// Random name of a group.
pub type GroupId = [u8; 16];

/// One pack of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub id: PackId,
    /// Its length, in bytes.
    pub size: u64,
    /// The hash of each of its blocks, as it was when parity was made.
    pub hashes: Vec<[u8; HASH]>,
}

/// What a parity object says about its group and itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The group it belongs to.
    pub group: GroupId,
    /// Packs its writer puts into a group when there are enough.
    pub width: u32,
    /// Parity objects of the group.
    pub shards: u32,
    /// Which of them this is, from 0.
    pub shard: u32,
    /// The packs, in the order they were coded.
    pub members: Vec<Member>,
}

impl Table {
    /// Length of the parity in each shard, in bytes: that of the longest pack, rounded up to 64.
    #[must_use]
    pub fn shard_len(&self) -> u64 {
        let longest = self.members.iter().map(|member| member.size).max();
        longest.unwrap_or(0).next_multiple_of(GRAIN)
    }

    /// Whether `other` describes the same group in the same words.
    #[must_use]
    pub fn same_group(&self, other: &Self) -> bool {
        self.group == other.group
            && self.shards == other.shards
            && self.width == other.width
            && self.members == other.members
    }

    /// The raw table.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = self.group.to_vec();
        let packs = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        for number in [self.width, packs, self.shards, self.shard] {
            raw.extend_from_slice(&number.to_le_bytes());
        }
        for member in &self.members {
            raw.extend_from_slice(&member.id.0);
            raw.extend_from_slice(&member.size.to_le_bytes());
        }
        for hash in self.members.iter().flat_map(|member| &member.hashes) {
            raw.extend_from_slice(hash);
        }
        raw
    }

    /// Decodes a raw table.
    pub fn decode(raw: &[u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(WHAT, raw);
        let group = cursor.array()?;
        let [width, packs, shards, shard] =
            [cursor.u32()?, cursor.u32()?, cursor.u32()?, cursor.u32()?];
        if packs == 0 || packs > width || width > PARITY_PACKS_MAX {
            return Err(malformed(WHAT, "its number of packs is out of range"));
        }
        if shard >= shards || shards > PARITY_SHARDS_MAX {
            return Err(malformed(WHAT, "its number of shards is out of range"));
        }
        let mut rows = Vec::with_capacity(packs as usize);
        for _ in 0..packs {
            let id = PackId(cursor.array()?);
            let size = cursor.u64()?;
            if size == 0 || size > PACK_MAX || rows.iter().any(|(known, _)| *known == id) {
                return Err(malformed(WHAT, "a pack is out of range or comes twice"));
            }
            rows.push((id, size));
        }
        let mut members = Vec::with_capacity(rows.len());
        for (id, size) in rows {
            let count = usize::try_from(blocks(size)).unwrap_or(usize::MAX);
            let hashes = cursor.take(count.saturating_mul(HASH))?;
            let (hashes, _) = hashes.as_chunks();
            members.push(Member {
                id,
                size,
                hashes: hashes.to_vec(),
            });
        }
        cursor.finish()?;
        Ok(Self {
            group,
            width,
            shards,
            shard,
            members,
        })
    }
}

/// Where block `block` of a shard with `len` bytes of parity lies in its object, tag included;
/// empty behind its end.
#[must_use]
pub fn block_place(len: u64, block: u64) -> Range<u64> {
    let body = block_range(len, block);
    let start = HEADER_LEN as u64 + block * (BLOCK + TAG_LEN) as u64;
    if body.is_empty() {
        return start..start;
    }
    start..start + (body.end - body.start) + TAG_LEN as u64
}

/// Builds one parity object in memory.
pub struct ShardBuilder {
    sealer: Sealer,
    bytes: Vec<u8>,
    check: Vec<u8>,
}

impl ShardBuilder {
    /// Starts a shard that will hold `len` bytes of parity.
    pub fn new(ring: &KeyRing, session: SessionId, len: u64) -> Result<Self, Error> {
        let sealer = Sealer::create(ring, ObjectKind::Parity, session, |id| path(&ParityId(id)))?;
        let whole = block_place(len, blocks(len).saturating_sub(1)).end;
        let mut bytes = Vec::with_capacity(usize::try_from(whole).unwrap_or(0));
        bytes.extend_from_slice(sealer.header());
        Ok(Self {
            sealer,
            bytes,
            check: Vec::new(),
        })
    }

    /// Appends parity: whole blocks, but for the end of the last.
    pub fn push(&mut self, parity: &[u8]) -> Result<(), Error> {
        for block in parity.chunks(BLOCK) {
            self.seal(block)?;
        }
        Ok(())
    }

    /// Seals a part, then opens the sealed copy and compares it.
    fn seal(&mut self, part: &[u8]) -> Result<(), Error> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(part);
        self.sealer.seal_tail(&mut self.bytes, start)?;
        self.check.clear();
        self.check.extend_from_slice(&self.bytes[start..]);
        if self.sealer.open_own(start as u64, &mut self.check)? != part {
            return Err(Error::VerifyFailed);
        }
        Ok(())
    }

    /// Appends table and trailer. Returns the whole object.
    pub fn finish(mut self, table: &Table) -> Result<(ParityId, Vec<u8>), Error> {
        let raw = table.encode();
        let start = self.bytes.len();
        let place = block_place(table.shard_len(), blocks(table.shard_len()) - 1);
        if start as u64 != place.end || Table::decode(&raw)? != *table {
            return Err(malformed(WHAT, "it does not fit its blocks"));
        }
        self.seal(&raw)?;
        push_trailer(&mut self.bytes, start, TRAILER_MAGIC)?;
        Ok((ParityId(self.sealer.object_id()), self.bytes))
    }
}

/// Opens the table of a parity object of `size` bytes, given the sealed part before the trailer, and
/// compares it with that length.
pub fn open_table(opener: &Opener, size: u64, sealed: &mut [u8]) -> Result<Table, Error> {
    let part = (sealed.len() + TRAILER_LEN) as u64;
    let start = size
        .checked_sub(part)
        .ok_or_else(|| malformed(WHAT, "the object is too short"))?;
    let table = Table::decode(opener.open(start, sealed)?)?;
    let len = table.shard_len();
    if block_place(len, blocks(len) - 1).end != start {
        return Err(malformed(WHAT, "it does not fit its blocks"));
    }
    Ok(table)
}

#[cfg(test)]
mod tests;
