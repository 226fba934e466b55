//! The config object: what a program must know before it can open anything else.
//!
//! ```text
//! magic "REPOconf" | CBOR map | BLAKE3 of all before [32]
//! ```
//! It is in clear and written once. Key slots bind its hash, so a changed config opens no slot.

use minicbor::{Decode, Encode};

use crate::codec::{decode_cbor, encode_cbor};
use crate::error::{Error, malformed};
use crate::id::RepositoryId;
use crate::limits::{CHUNK_MAX, CONFIG_MAX, PACK_MAX, SEGMENT_RAW_MAX};
use crate::secrets::{Cipher, Secrets};

/// Store key of the config.
pub const PATH: &str = "config";
/// Locks that whoever has a permission of its own may lift.
pub const LOCK_GOVERNANCE: u8 = 1;
/// Locks that nobody may lift.
pub const LOCK_COMPLIANCE: u8 = 2;
/// Longest time of a lock, in milliseconds: a hundred years.
pub const LOCK_FOR_MAX: u64 = 100 * 366 * 86_400_000;
/// The format version this crate reads and writes.
pub const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"REPOconf";
const HASH_LEN: usize = 32;
const WHAT: &str = "config";

/// Features by the operation that must know them; empty in version 1 as published.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Features {
    /// Needed to read snapshots.
    #[n(0)]
    pub read: Vec<u32>,
    /// Needed to add to the log.
    #[n(1)]
    pub write: Vec<u32>,
    /// Needed to verify.
    #[n(2)]
    pub check: Vec<u32>,
    /// Needed to delete objects.
    #[n(3)]
    pub delete: Vec<u32>,
}

/// What a caller is about to do with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read snapshots.
    Read,
    /// Add to the log.
    Write,
    /// Verify.
    Check,
    /// Delete objects.
    Delete,
}

/// Chunk sizes in bytes: least, average, most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct ChunkSizes {
    /// Least.
    #[n(0)]
    pub min: u32,
    /// Average.
    #[n(1)]
    pub avg: u32,
    /// Most.
    #[n(2)]
    pub max: u32,
}

/// Parameters of a repository, fixed at creation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Config {
    /// Format version.
    #[n(0)]
    pub version: u32,
    /// Identity.
    #[n(1)]
    pub repository: RepositoryId,
    /// Cipher code.
    #[n(2)]
    pub cipher: u8,
    /// Creation, in milliseconds since 1970, UTC.
    #[n(3)]
    pub created_ms: i64,
    /// Sizes for generic content.
    #[n(4)]
    pub generic: ChunkSizes,
    /// Sizes inside columnar files.
    #[n(5)]
    pub columnar: ChunkSizes,
    /// Grid of page files, in bytes.
    #[n(6)]
    pub page_chunk: u32,
    /// A segment is closed when its raw length reaches this, in bytes.
    #[n(7)]
    pub segment_size: u32,
    /// A pack is closed when its length reaches this, in bytes.
    #[n(8)]
    pub pack_size: u32,
    /// Features a program must know.
    #[n(9)]
    pub features: Features,
    /// Keys of a repository that is not encrypted, in clear; absent when it is.
    #[n(10)]
    pub public: Option<PublicKeys>,
    /// Retention locks that writers put on what snapshots need; absent when they put none.
    #[n(11)]
    pub lock: Option<Lock>,
}

/// Retention locks of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Lock {
    /// [`LOCK_GOVERNANCE`] or [`LOCK_COMPLIANCE`].
    #[n(0)]
    pub mode: u8,
    /// Each snapshot is locked for so long from its commit, in milliseconds.
    #[n(1)]
    pub for_ms: u64,
}

/// The one field that every version keeps, read before the others are expected.
#[derive(Decode)]
#[cbor(map)]
struct VersionOnly {
    #[n(0)]
    version: u32,
}

/// Keys of an unencrypted repository.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PublicKeys {
    /// CBOR of [`Secrets`].
    #[cbor(n(0), with = "minicbor::bytes")]
    secrets: Vec<u8>,
}

impl PublicKeys {
    /// Holds `secrets` in clear.
    #[must_use]
    pub fn new(secrets: &Secrets) -> Self {
        Self {
            secrets: encode_cbor(secrets),
        }
    }

    /// The keys.
    pub fn secrets(&self) -> Result<Secrets, Error> {
        decode_cbor(WHAT, &self.secrets)
    }
}

impl Config {
    /// The stored bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        debug_assert!(self.validate().is_ok(), "no reader would accept it");
        let mut bytes = MAGIC.to_vec();
        bytes.append(&mut encode_cbor(self));
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        bytes
    }

    /// Decodes and checks stored bytes. A newer version is refused; unknown features are not, so
    /// that an operation which does not need them can go on (see [`Config::allows`]).
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let body = checked(bytes)?;
        let VersionOnly { version } = decode_cbor(WHAT, body)?;
        if version != VERSION {
            return Err(Error::Unsupported {
                what: WHAT,
                needs: format!("format version {version}"),
            });
        }
        let config: Self = decode_cbor(WHAT, body)?;
        config.validate()?;
        Ok(config)
    }

    /// Hash that binds the config into each key slot.
    #[must_use]
    pub fn hash(bytes: &[u8]) -> [u8; 32] {
        *blake3::hash(bytes).as_bytes()
    }

    /// The cipher.
    pub fn cipher(&self) -> Result<Cipher, Error> {
        Cipher::from_code(self.cipher).ok_or_else(|| Error::Unsupported {
            what: WHAT,
            needs: format!("cipher {}", self.cipher),
        })
    }

    /// Refuses an operation that needs a feature this program does not know.
    pub fn allows(&self, operation: Operation) -> Result<(), Error> {
        let (needs, name) = match operation {
            Operation::Read => (&self.features.read, "reading"),
            Operation::Write => (&self.features.write, "writing"),
            Operation::Check => (&self.features.check, "checking"),
            Operation::Delete => (&self.features.delete, "deleting"),
        };
        match needs.first() {
            None => Ok(()),
            Some(feature) => Err(Error::Unsupported {
                what: name,
                needs: format!("repository feature {feature}"),
            }),
        }
    }

    fn validate(&self) -> Result<(), Error> {
        let sizes = |sizes: &ChunkSizes| {
            sizes.min >= 64
                && sizes.min <= sizes.avg
                && sizes.avg <= sizes.max
                && sizes.max as usize <= CHUNK_MAX
        };
        if !sizes(&self.generic) || !sizes(&self.columnar) {
            return Err(malformed(WHAT, "chunk sizes are out of range"));
        }
        if self.page_chunk == 0 || self.page_chunk as usize > CHUNK_MAX {
            return Err(malformed(WHAT, "the page grid is out of range"));
        }
        let segment = self.segment_size as usize;
        if !(1..=SEGMENT_RAW_MAX - CHUNK_MAX).contains(&segment) {
            return Err(malformed(WHAT, "the segment size is out of range"));
        }
        if u64::from(self.pack_size) > PACK_MAX / 2 || self.pack_size == 0 {
            return Err(malformed(WHAT, "the pack size is out of range"));
        }
        if (self.cipher()? == Cipher::None) != self.public.is_some() {
            return Err(malformed(WHAT, "its cipher and its keys disagree"));
        }
        if let Some(lock) = &self.lock {
            if !matches!(lock.mode, LOCK_GOVERNANCE | LOCK_COMPLIANCE) {
                return Err(Error::Unsupported {
                    what: WHAT,
                    needs: format!("lock mode {}", lock.mode),
                });
            }
            if !(1..=LOCK_FOR_MAX).contains(&lock.for_ms) {
                return Err(malformed(WHAT, "the time of its locks is out of range"));
            }
        }
        Ok(())
    }
}

fn checked(bytes: &[u8]) -> Result<&[u8], Error> {
    if bytes.len() as u64 > CONFIG_MAX {
        return Err(malformed(WHAT, "it is too long"));
    }
    let body = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| malformed(WHAT, "it does not start with its magic"))?;
    let at = body
        .len()
        .checked_sub(HASH_LEN)
        .ok_or_else(|| malformed(WHAT, "it ends early"))?;
    let hash = blake3::hash(&bytes[..MAGIC.len() + at]);
    if body[at..] != *hash.as_bytes() {
        return Err(Error::Forged { what: WHAT });
    }
    Ok(&body[..at])
}

#[cfg(test)]
mod tests;
