//! Packs: immutable objects of sealed segments with a sealed directory at the end.
//!
//! ```text
//! header [96] | segment* | directory | trailer
//! segment    magic "sgmt" | sealed length u32 | sealed body (nonce: offset of the body)
//! directory  sealed (nonce: its offset): codec u8 | raw length u32 | payload; the raw bytes are
//!            segment count u32
//!            count x { body offset u32 | sealed length u32 | chunks u32 | codec u8 | kind u8 }
//!            per chunk: length u32
//!            per chunk: blob id [32]
//!            per segment of codec 2: base blob id [32]; of codec 3: base blob id [32] | depth u8
//! trailer    sealed length of the directory u32 | magic "rdir"
//! ```
//! The directory lets an index be rebuilt from the tail alone; the magic and length before each
//! segment let a reader find the segments of a pack whose directory is lost.

use crate::codec::{Base, Codec};
use crate::compress::{Compressor, Decompressor};
use crate::cursor::Cursor;
use crate::error::{Error, malformed};
use crate::id::{BlobId, PackId, SessionId};
use crate::limits::{CHUNK_MAX, DIRECTORY_RAW_MAX, PACK_MAX, SEGMENT_CHUNKS_MAX, SEGMENT_RAW_MAX};
use crate::seal::{HEADER_LEN, ObjectKind, Opener, Sealer, TAG_LEN};
use crate::secrets::{BlobKind, KeyRing};
use crate::segment::{push_base, take_base};

/// Magic before each segment.
pub const SEGMENT_MAGIC: &[u8; 4] = b"sgmt";
/// Length of the clear bytes before each segment body.
pub const SEGMENT_PREFIX_LEN: usize = 8;
/// Length of the trailer at the end of a pack or index object.
pub const TRAILER_LEN: usize = 8;
/// Magic at the end of a pack.
pub const TRAILER_MAGIC: &[u8; 4] = b"rdir";

const WHAT: &str = "pack directory";

/// The store key of a pack.
#[must_use]
pub fn path(id: &PackId) -> String {
    let hex = id.to_hex();
    format!("packs/{}/{hex}", &hex[..2])
}

/// Where a segment lies in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentPlace {
    /// Offset of the sealed body in the pack, in bytes.
    pub offset: u32,
    /// Length of the sealed body, in bytes.
    pub stored: u32,
}

/// One segment as the directory lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectorySegment {
    /// Where it lies.
    pub place: SegmentPlace,
    /// How its payload is stored.
    pub codec: Codec,
    /// What its chunks are.
    pub kind: BlobKind,
    /// Its chunks in order: id and raw length in bytes.
    pub chunks: Vec<(BlobId, u32)>,
    /// The chunk it is compressed against.
    pub base: Option<Base>,
}

/// One encoded segment about to enter a pack.
#[derive(Debug, Clone, Copy)]
pub struct NewSegment<'a> {
    /// The body as [`crate::segment::SegmentEncoder`] made it.
    pub body: &'a [u8],
    /// How its payload is stored.
    pub codec: Codec,
    /// What its chunks are.
    pub kind: BlobKind,
    /// Ids of its chunks.
    pub ids: &'a [BlobId],
    /// Raw lengths of its chunks, in bytes.
    pub lens: &'a [u32],
    /// The chunk it is compressed against.
    pub base: Option<Base>,
}

/// Builds one pack in memory.
pub struct PackBuilder {
    sealer: Sealer,
    bytes: Vec<u8>,
    segments: Vec<DirectorySegment>,
    check: Vec<u8>,
}

impl PackBuilder {
    /// Starts a pack in `buffer`, whose capacity is reused.
    pub fn new(ring: &KeyRing, session: SessionId, mut buffer: Vec<u8>) -> Result<Self, Error> {
        let sealer = Sealer::create(ring, ObjectKind::Pack, session, |id| path(&PackId(id)))?;
        buffer.clear();
        buffer.extend_from_slice(sealer.header());
        Ok(Self {
            sealer,
            bytes: buffer,
            segments: Vec::new(),
            check: Vec::new(),
        })
    }

    /// The pack's name.
    #[must_use]
    pub fn id(&self) -> PackId {
        PackId(self.sealer.object_id())
    }

    /// Bytes so far, without the directory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Blobs so far.
    #[must_use]
    pub fn blobs(&self) -> usize {
        self.segments
            .iter()
            .map(|segment| segment.chunks.len())
            .sum()
    }

    /// Whether no segment was pushed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Seals a segment into the pack, then opens the sealed copy and compares it with the input.
    /// After an error the builder is of no more use: `finish` fails too.
    pub fn push(&mut self, segment: &NewSegment<'_>) -> Result<SegmentPlace, Error> {
        if segment.ids.len() != segment.lens.len() {
            return Err(malformed("pack", "a segment's ids and lengths disagree"));
        }
        let too_long = |_| malformed("pack", "it is too long");
        let stored = u32::try_from(segment.body.len() + TAG_LEN).map_err(too_long)?;
        let start = self.bytes.len() + SEGMENT_PREFIX_LEN;
        let place = SegmentPlace {
            offset: u32::try_from(start).map_err(too_long)?,
            stored,
        };
        self.bytes.extend_from_slice(SEGMENT_MAGIC);
        self.bytes.extend_from_slice(&stored.to_le_bytes());
        self.bytes.extend_from_slice(segment.body);
        self.sealer.seal_tail(&mut self.bytes, start)?;
        self.check.clear();
        self.check.extend_from_slice(&self.bytes[start..]);
        if self.sealer.open_own(start as u64, &mut self.check)? != segment.body {
            return Err(Error::VerifyFailed);
        }
        self.segments.push(DirectorySegment {
            place,
            codec: segment.codec,
            kind: segment.kind,
            chunks: segment
                .ids
                .iter()
                .copied()
                .zip(segment.lens.iter().copied())
                .collect(),
            base: segment.base,
        });
        Ok(place)
    }

    /// Appends directory and trailer. Returns the whole object and what it holds. The sealed
    /// directory is opened, decoded and compared first, so no pack leaves here that cannot be read.
    pub fn finish(mut self) -> Result<(PackId, Vec<u8>, Vec<DirectorySegment>), Error> {
        let raw = encode_directory(&self.segments)?;
        let start = self.bytes.len();
        push_envelope(&raw, &mut self.bytes)?;
        self.sealer.seal_tail(&mut self.bytes, start)?;
        self.check.clear();
        self.check.extend_from_slice(&self.bytes[start..]);
        push_trailer(&mut self.bytes, start, TRAILER_MAGIC)?;
        if self.bytes.len() as u64 > PACK_MAX {
            return Err(malformed("pack", "it is too long"));
        }
        let opened = self.sealer.open_own(start as u64, &mut self.check)?;
        let opened = open_envelope(WHAT, opened, DIRECTORY_RAW_MAX)?;
        if decode_directory(&opened, start as u64)? != self.segments {
            return Err(Error::VerifyFailed);
        }
        let id = self.id();
        Ok((id, self.bytes, self.segments))
    }
}

/// Appends an envelope of `raw`, compressed when that is smaller:
/// `codec u8 | raw length u32 | payload to the end`.
pub(crate) fn push_envelope(raw: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let mut payload = Vec::new();
    Compressor::new(3)?.compress(raw, &mut payload)?;
    let len = u32::try_from(raw.len()).map_err(|_| malformed(WHAT, "it is too long"))?;
    let (codec, payload) = if payload.len() < raw.len() {
        (Codec::Zstd, payload.as_slice())
    } else {
        (Codec::Raw, raw)
    };
    out.push(codec.code());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(payload);
    Ok(())
}

/// Reads what [`push_envelope`] wrote, refusing a raw length above `raw_max`.
pub(crate) fn open_envelope(
    what: &'static str,
    bytes: &[u8],
    raw_max: usize,
) -> Result<Vec<u8>, Error> {
    let mut cursor = Cursor::new(what, bytes);
    let codec = cursor.u8()?;
    let raw_len = cursor.u32()? as usize;
    let payload = cursor.take(cursor.remaining())?;
    if raw_len > raw_max {
        return Err(malformed(what, "its raw length is out of range"));
    }
    match Codec::from_code(codec) {
        Some(Codec::Raw) if payload.len() == raw_len => Ok(payload.to_vec()),
        Some(Codec::Zstd) => {
            let mut raw = Vec::new();
            Decompressor::new()
                .decompress(payload, raw_len, None, &mut raw)
                .map_err(|_| malformed(what, "its zstd frame does not decode"))?;
            Ok(raw)
        }
        _ => Err(malformed(
            what,
            "its envelope has an unknown codec or length",
        )),
    }
}

pub(crate) fn push_trailer(
    out: &mut Vec<u8>,
    part_start: usize,
    magic: &[u8; 4],
) -> Result<(), Error> {
    let len =
        u32::try_from(out.len() - part_start).map_err(|_| malformed(WHAT, "it is too long"))?;
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(magic);
    Ok(())
}

/// Reads a trailer: the length of the sealed part before it. `size` is the length of the object.
pub fn trailer(what: &'static str, bytes: &[u8], magic: &[u8; 4], size: u64) -> Result<u32, Error> {
    let mut cursor = Cursor::new(what, bytes);
    let len = cursor.u32()?;
    if &cursor.array::<4>()? != magic {
        return Err(malformed(what, "it does not end with its magic"));
    }
    cursor.finish()?;
    let fits = size
        .checked_sub((HEADER_LEN + TRAILER_LEN) as u64)
        .is_some_and(|room| u64::from(len) <= room && len as usize >= TAG_LEN);
    if !fits {
        return Err(malformed(what, "its trailer points outside of it"));
    }
    Ok(len)
}

fn encode_directory(segments: &[DirectorySegment]) -> Result<Vec<u8>, Error> {
    let count = |len: usize| u32::try_from(len).map_err(|_| malformed(WHAT, "it is too long"));
    let mut raw = count(segments.len())?.to_le_bytes().to_vec();
    for segment in segments {
        raw.extend_from_slice(&segment.place.offset.to_le_bytes());
        raw.extend_from_slice(&segment.place.stored.to_le_bytes());
        raw.extend_from_slice(&count(segment.chunks.len())?.to_le_bytes());
        raw.push(segment.codec.code());
        raw.push(segment.kind.code());
    }
    let chunks = || segments.iter().flat_map(|segment| &segment.chunks);
    chunks().for_each(|(_, len)| raw.extend_from_slice(&len.to_le_bytes()));
    chunks().for_each(|(id, _)| raw.extend_from_slice(&id.0));
    for base in segments.iter().filter_map(|segment| segment.base) {
        push_base(base, &mut raw);
    }
    Ok(raw)
}

/// Decodes the directory of the pack of `size` bytes, given the sealed part before the trailer.
pub fn open_directory(
    opener: &Opener,
    size: u64,
    sealed: &mut [u8],
) -> Result<Vec<DirectorySegment>, Error> {
    let part = (sealed.len() + TRAILER_LEN) as u64;
    let start = size
        .checked_sub(part)
        .filter(|_| size <= PACK_MAX)
        .ok_or_else(|| malformed(WHAT, "the pack's size is out of range"))?;
    let raw = open_envelope(WHAT, opener.open(start, sealed)?, DIRECTORY_RAW_MAX)?;
    decode_directory(&raw, start)
}

/// Decodes the raw directory of a pack whose segments end at offset `end`.
pub fn decode_directory(raw: &[u8], end: u64) -> Result<Vec<DirectorySegment>, Error> {
    const ROW: usize = 14;
    let mut cursor = Cursor::new(WHAT, raw);
    let count = cursor.u32()? as usize;
    if count > cursor.remaining() / ROW {
        return Err(malformed(WHAT, "its segment count is out of range"));
    }
    let mut rows = Vec::with_capacity(count);
    let (mut total, mut at) = (0usize, HEADER_LEN as u64);
    for _ in 0..count {
        let place = SegmentPlace {
            offset: cursor.u32()?,
            stored: cursor.u32()?,
        };
        let chunks = cursor.u32()? as usize;
        let codec =
            Codec::from_code(cursor.u8()?).ok_or_else(|| malformed(WHAT, "unknown codec"))?;
        let kind = BlobKind::from_code(cursor.u8()?)
            .ok_or_else(|| malformed(WHAT, "unknown blob kind"))?;
        let expected = at + SEGMENT_PREFIX_LEN as u64;
        at = u64::from(place.offset) + u64::from(place.stored);
        if u64::from(place.offset) != expected || at > end || place.stored as usize <= TAG_LEN {
            return Err(malformed(WHAT, "a segment lies outside of the pack"));
        }
        if chunks == 0 || chunks > SEGMENT_CHUNKS_MAX {
            return Err(malformed(WHAT, "a segment's chunk count is out of range"));
        }
        if codec.is_delta() && (chunks != 1 || kind != BlobKind::Data) {
            return Err(malformed(WHAT, "a delta is not one data chunk"));
        }
        total += chunks;
        rows.push((place, chunks, codec, kind));
    }
    if at != end {
        return Err(malformed(WHAT, "its segments do not fill the pack"));
    }
    if total > cursor.remaining() / (4 + BlobId::LEN) {
        return Err(malformed(WHAT, "its chunk count is out of range"));
    }
    let mut lens = Cursor::new(WHAT, cursor.take(total * 4)?);
    let mut ids = Cursor::new(WHAT, cursor.take(total * BlobId::LEN)?);
    let mut segments = Vec::with_capacity(count);
    for (place, chunks, codec, kind) in rows {
        let mut list = Vec::with_capacity(chunks);
        let mut raw_len = 0usize;
        for _ in 0..chunks {
            let len = lens.u32()?;
            if !(1..=CHUNK_MAX).contains(&(len as usize)) {
                return Err(malformed(WHAT, "a chunk length is out of range"));
            }
            raw_len = raw_len.saturating_add(len as usize);
            list.push((BlobId(ids.array()?), len));
        }
        if raw_len > SEGMENT_RAW_MAX {
            return Err(malformed(WHAT, "a segment's raw length is out of range"));
        }
        let base = take_base(codec, &mut cursor)?;
        segments.push(DirectorySegment {
            place,
            codec,
            kind,
            chunks: list,
            base,
        });
    }
    cursor.finish()?;
    Ok(segments)
}

#[cfg(test)]
mod tests;
