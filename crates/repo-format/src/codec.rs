//! Small shared codes: how a segment's payload is stored, and CBOR with all bytes consumed.

use minicbor::{Decode, Encode};

use crate::error::{Error, malformed};
use crate::id::BlobId;

/// How the payload of a segment is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As it is.
    Raw,
    /// One zstd frame.
    Zstd,
    /// One zstd frame with another stored chunk as raw-content dictionary, one that stands by itself.
    ZstdBase,
    /// The same with a chunk that may itself be stored against another one.
    ZstdChain,
}

/// What a delta is stored against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Base {
    /// The chunk that serves as dictionary.
    pub id: BlobId,
    /// More than the depth of the base; a chunk that stands by itself has depth 0. So whoever follows
    /// bases goes down at each step and comes to an end.
    pub depth: u8,
}

impl Base {
    /// The codec of a delta against it.
    #[must_use]
    pub const fn codec(self) -> Codec {
        match self.depth {
            0 | 1 => Codec::ZstdBase,
            _ => Codec::ZstdChain,
        }
    }
}

impl Codec {
    /// The stored byte.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
            Self::ZstdBase => 2,
            Self::ZstdChain => 3,
        }
    }

    /// Reads the stored byte.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            2 => Some(Self::ZstdBase),
            3 => Some(Self::ZstdChain),
            _ => None,
        }
    }

    /// Whether the payload needs another chunk to be decoded.
    #[must_use]
    pub const fn is_delta(self) -> bool {
        matches!(self, Self::ZstdBase | Self::ZstdChain)
    }
}

/// Encodes a CBOR record.
#[must_use]
pub fn encode_cbor<T: Encode<()>>(record: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    let done = minicbor::encode(record, &mut bytes);
    debug_assert!(done.is_ok(), "writing to memory cannot fail");
    bytes
}

/// Decodes a CBOR record that fills `bytes` exactly. Unknown integer keys are skipped.
pub fn decode_cbor<'b, T: Decode<'b, ()>>(what: &'static str, bytes: &'b [u8]) -> Result<T, Error> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let record = decoder
        .decode()
        .map_err(|_| malformed(what, "its CBOR does not decode"))?;
    if decoder.position() != bytes.len() {
        return Err(malformed(what, "bytes follow its end"));
    }
    Ok(record)
}
