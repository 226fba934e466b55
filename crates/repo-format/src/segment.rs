//! Segments: consecutive chunks compressed as one, the unit a reader decodes.
//!
//! ```text
//! body before sealing:
//!   codec u8 | blob kind u8 | chunk count varint | count x chunk length varint
//!   | base blob id [32], codecs 2 and 3 only | depth u8, codec 3 only | payload to the end
//! ```
//! The raw length is the sum of the chunk lengths. The chunk lengths stand here and not only in
//! the pack directory so that a segment of a damaged pack can be cut into chunks by itself.

use crate::codec::{Base, Codec};
use crate::compress::{Compressor, Decompressor, Texture, compress_with_base};
use crate::cursor::{Cursor, push_varint};
use crate::error::{Error, malformed};
use crate::id::BlobId;
use crate::limits::{CHUNK_MAX, DELTA_DEPTH_MAX, SEGMENT_CHUNKS_MAX, SEGMENT_RAW_MAX};
use crate::secrets::BlobKind;

const WHAT: &str = "segment";

/// Prefixes of a chunk that are compressed to bound the size of the whole from below, in bytes.
const PROBES: [usize; 2] = [32 << 10, 256 << 10];

/// Encodes segments with reused buffers, and decodes each result to compare it with its input.
pub struct SegmentEncoder {
    compressor: Compressor,
    decompressor: Decompressor,
    payload: Vec<u8>,
    fresh: Vec<u8>,
    check: Vec<u8>,
}

impl SegmentEncoder {
    /// An encoder at zstd `level`.
    pub fn new(level: i32) -> Result<Self, Error> {
        Ok(Self {
            compressor: Compressor::new(level)?,
            decompressor: Decompressor::new(),
            payload: Vec::new(),
            fresh: Vec::new(),
            check: Vec::new(),
        })
    }

    /// Replaces `body` with the body of a segment of chunks of `lens`, concatenated in `raw`.
    /// The payload is raw when zstd does not make it smaller.
    pub fn encode(
        &mut self,
        kind: BlobKind,
        texture: Texture,
        lens: &[u32],
        raw: &[u8],
        body: &mut Vec<u8>,
    ) -> Result<Codec, Error> {
        debug_assert_eq!(
            lens.iter().map(|len| *len as usize).sum::<usize>(),
            raw.len()
        );
        self.compressor.set_texture(texture)?;
        self.compressor.compress(raw, &mut self.payload)?;
        let codec = if self.payload.len() < raw.len() {
            self.verify(raw, None)?;
            Codec::Zstd
        } else {
            Codec::Raw
        };
        head(codec, kind, lens, body);
        body.extend_from_slice(if codec == Codec::Zstd {
            &self.payload
        } else {
            raw
        });
        Ok(codec)
    }

    /// Replaces `body` with the body of a one-chunk data segment that holds `raw` against the bytes
    /// `content` of `base`, or returns `false` when that is not at most half the size of storing the
    /// chunk afresh.
    ///
    /// The fresh size is estimated from below by compressing growing prefixes, so that a small
    /// delta is accepted without compressing the whole chunk twice. Up to the first probe the
    /// bound is exact; beyond, zstd may compress a prefix a little worse than the whole.
    pub fn encode_delta(
        &mut self,
        raw: &[u8],
        base: Base,
        content: &[u8],
        body: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        if !compress_with_base(raw, content, &mut self.payload)? {
            return Ok(false);
        }
        self.compressor.set_texture(Texture::Mixed)?;
        let wanted = 2 * (self.payload.len() + BlobId::LEN);
        let prefixes = PROBES.into_iter().filter(|len| *len < raw.len());
        let mut accepted = false;
        for len in prefixes.chain([raw.len()]) {
            self.compressor.compress(&raw[..len], &mut self.fresh)?;
            if self.fresh.len().min(len) >= wanted {
                accepted = true;
                break;
            }
        }
        if !accepted {
            return Ok(false);
        }
        self.verify(raw, Some(content))?;
        let len = u32::try_from(raw.len()).map_err(|_| malformed(WHAT, "it is too long"))?;
        head(base.codec(), BlobKind::Data, &[len], body);
        push_base(base, body);
        body.extend_from_slice(&self.payload);
        Ok(true)
    }

    fn verify(&mut self, raw: &[u8], base: Option<&[u8]>) -> Result<(), Error> {
        self.decompressor
            .decompress(&self.payload, raw.len(), base, &mut self.check)
            .map_err(|_| Error::VerifyFailed)?;
        if self.check == raw {
            return Ok(());
        }
        Err(Error::VerifyFailed)
    }
}

/// Appends what a delta of codec `base.codec()` says of its base: `id [32]`, and in a chain `depth u8`.
pub(crate) fn push_base(base: Base, out: &mut Vec<u8>) {
    out.extend_from_slice(&base.id.0);
    if base.codec() == Codec::ZstdChain {
        out.push(base.depth);
    }
}

/// Reads what [`push_base`] wrote; nothing where the codec has no base.
pub(crate) fn take_base(codec: Codec, cursor: &mut Cursor<'_>) -> Result<Option<Base>, Error> {
    if !codec.is_delta() {
        return Ok(None);
    }
    let id = BlobId(cursor.array()?);
    if codec == Codec::ZstdBase {
        return Ok(Some(Base { id, depth: 1 }));
    }
    let depth = cursor.u8()?;
    if !(2..=DELTA_DEPTH_MAX).contains(&depth) {
        return Err(malformed("delta", "its depth is out of range"));
    }
    Ok(Some(Base { id, depth }))
}

fn head(codec: Codec, kind: BlobKind, lens: &[u32], body: &mut Vec<u8>) {
    body.clear();
    body.push(codec.code());
    body.push(kind.code());
    push_varint(body, lens.len() as u64);
    for len in lens {
        push_varint(body, u64::from(*len));
    }
}

/// A parsed segment body whose payload is still compressed.
#[derive(Debug)]
pub struct SegmentBody<'a> {
    /// How the payload is stored.
    pub codec: Codec,
    /// What the chunks are.
    pub kind: BlobKind,
    /// Lengths of the chunks, in order, in bytes.
    pub lens: Vec<u32>,
    /// Sum of `lens`.
    pub raw_len: usize,
    /// The chunk the payload is compressed against.
    pub base: Option<Base>,
    payload: &'a [u8],
}

impl<'a> SegmentBody<'a> {
    /// Parses an opened body. Counts and lengths are capped before anything is allocated.
    pub fn parse(body: &'a [u8]) -> Result<Self, Error> {
        let mut cursor = Cursor::new(WHAT, body);
        let codec =
            Codec::from_code(cursor.u8()?).ok_or_else(|| malformed(WHAT, "unknown codec"))?;
        let kind = BlobKind::from_code(cursor.u8()?)
            .ok_or_else(|| malformed(WHAT, "unknown blob kind"))?;
        let count = usize::try_from(cursor.varint()?)
            .ok()
            .filter(|count| (1..=SEGMENT_CHUNKS_MAX).contains(count))
            .ok_or_else(|| malformed(WHAT, "its chunk count is out of range"))?;
        let mut lens = Vec::with_capacity(count);
        let mut raw_len = 0usize;
        for _ in 0..count {
            let len = u32::try_from(cursor.varint()?)
                .ok()
                .filter(|len| (1..=CHUNK_MAX).contains(&(*len as usize)))
                .ok_or_else(|| malformed(WHAT, "a chunk length is out of range"))?;
            raw_len += len as usize;
            if raw_len > SEGMENT_RAW_MAX {
                return Err(malformed(WHAT, "its raw length is out of range"));
            }
            lens.push(len);
        }
        if codec.is_delta() && (count != 1 || kind != BlobKind::Data) {
            return Err(malformed(WHAT, "a delta is not one data chunk"));
        }
        let base = take_base(codec, &mut cursor)?;
        let payload = cursor.take(cursor.remaining())?;
        if codec == Codec::Raw && payload.len() != raw_len {
            return Err(malformed(WHAT, "its raw payload has another length"));
        }
        Ok(Self {
            codec,
            kind,
            lens,
            raw_len,
            base,
            payload,
        })
    }

    /// Replaces `out` with the raw bytes. `base` must hold the chunk named by `self.base`.
    pub fn decode(
        &self,
        decompressor: &mut Decompressor,
        base: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        match self.codec {
            Codec::Raw => {
                out.clear();
                out.extend_from_slice(self.payload);
                Ok(())
            }
            Codec::Zstd => decompressor.decompress(self.payload, self.raw_len, None, out),
            Codec::ZstdBase | Codec::ZstdChain => {
                let base = base.ok_or_else(|| malformed(WHAT, "its base is not given"))?;
                decompressor.decompress(self.payload, self.raw_len, Some(base), out)
            }
        }
    }

    /// The byte range of chunk `ordinal` in the raw bytes.
    #[must_use]
    pub fn range(&self, ordinal: usize) -> Option<std::ops::Range<usize>> {
        let len = *self.lens.get(ordinal)? as usize;
        let start: usize = self.lens[..ordinal].iter().map(|len| *len as usize).sum();
        Some(start..start + len)
    }
}

#[cfg(test)]
mod tests;
