//! Small shared codes: how a segment's payload is stored, and CBOR with all bytes consumed.

use minicbor::{Decode, Encode};

use crate::error::{Error, malformed};

/// How the payload of a segment is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As it is.
    Raw,
    /// One zstd frame.
    Zstd,
    /// One zstd frame with another stored chunk as raw-content dictionary.
    ZstdBase,
}

impl Codec {
    /// The stored byte.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
            Self::ZstdBase => 2,
        }
    }

    /// Reads the stored byte.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            2 => Some(Self::ZstdBase),
            _ => None,
        }
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
