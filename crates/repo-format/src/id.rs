//! Names of stored things: 32-byte ids as distinct types, and the 16-byte key an index sorts by.

use std::fmt;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Lower-case hexadecimal form.
            #[must_use]
            pub fn to_hex(&self) -> String {
                to_hex(&self.0)
            }

            /// Reads the full lower-case hexadecimal form.
            #[must_use]
            pub fn from_hex(text: &str) -> Option<Self> {
                let mut id = [0; $len];
                from_hex(text, &mut id).then_some(Self(id))
            }

            /// Takes an id from exactly `LEN` bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.to_hex())
            }
        }

        impl<C> Encode<C> for $name {
            fn encode<W: encode::Write>(
                &self,
                e: &mut Encoder<W>,
                _: &mut C,
            ) -> Result<(), encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
                let bytes = d.bytes()?;
                Self::from_slice(bytes)
                    .ok_or_else(|| decode::Error::message("an id has the wrong length"))
            }
        }
    };
}

id!(
    /// Identity of a chunk, tree node or chunk list: keyed BLAKE3 of its bytes and kind.
    BlobId,
    32
);
id!(
    /// Name of a pack: BLAKE3 of its header, which holds a random salt.
    PackId,
    32
);
id!(
    /// Name of a parity object: BLAKE3 of its header, which holds a random salt.
    ParityId,
    32
);
id!(
    /// Name of an index object: BLAKE3 of its header, which holds a random salt.
    IndexId,
    32
);
id!(
    /// Name of a snapshot: BLAKE3 of its record as stored, without tags.
    SnapshotId,
    32
);
id!(
    /// Random identity of a repository.
    RepositoryId,
    32
);
id!(
    /// Name of a key slot: BLAKE3 of its salt.
    KeyId,
    32
);
id!(
    /// Random name of one writing run, in clear in each pack it wrote.
    SessionId,
    16
);
id!(
    /// The first 16 bytes of a [`BlobId`]: what an index sorts and finds by.
    BlobKey,
    16
);

impl BlobId {
    /// The key the index knows this blob by.
    #[must_use]
    pub fn key(&self) -> BlobKey {
        let mut key = [0; 16];
        key.copy_from_slice(&self.0[..16]);
        BlobKey(key)
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

fn from_hex(text: &str, out: &mut [u8]) -> bool {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != out.len() * 2 {
        return false;
    }
    for (pair, byte) in text.chunks_exact(2).zip(out) {
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
            return false;
        };
        *byte = high << 4 | low;
    }
    true
}

#[cfg(test)]
mod tests;
