//! Key slots: the repository's secrets wrapped under one password.
//!
//! ```text
//! magic "REPOkeys" | CBOR map { 0: slot, 1: commitment [32], 2: wrapped secrets and tag }
//! slot     CBOR map in a byte string: KDF parameters, salt, config hash, labels
//! KEK      Argon2id v1.3 (password, salt, memory, passes, lanes) -> 32 bytes
//! wrap     ChaCha20-Poly1305 under derive_key("repo format 1 key slot wrap", KEK), nonce 0,
//!          associated data: the slot's bytes
//! commitment  derive_key("repo format 1 key slot commitment", KEK)
//! ```
//! Argon2id follows RFC 9106, its second recommended option (t=3, p=4, 64 MiB), which is also
//! the floor: a slot with weaker parameters is refused, so storage cannot ask for a cheap guess.
//! There is a ceiling as well, so that storage cannot ask for all memory or for hours of work.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use minicbor::{Decode, Encode};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::codec::{decode_cbor, encode_cbor};
use crate::error::{Error, malformed};
use crate::id::KeyId;
use crate::limits::{CONFIG_MAX, KDF_LANES_MAX, KDF_MEMORY_KIB_MAX, KDF_PASSES_MAX};
use crate::secrets::{Secrets, random_array};

const MAGIC: &[u8; 8] = b"REPOkeys";
const WHAT: &str = "key slot";

/// Prefix of key slots in the store.
pub const PREFIX: &str = "keys/";

/// The store key of a slot.
#[must_use]
pub fn path(id: &KeyId) -> String {
    format!("{PREFIX}{id}")
}

/// Cost of guessing a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Kdf {
    /// Memory in KiB.
    #[n(0)]
    pub memory_kib: u32,
    /// Passes over the memory.
    #[n(1)]
    pub passes: u32,
    /// Lanes computed in parallel.
    #[n(2)]
    pub lanes: u32,
}

impl Default for Kdf {
    fn default() -> Self {
        Self {
            memory_kib: 64 << 10,
            passes: 3,
            lanes: 4,
        }
    }
}

impl Kdf {
    fn params(self) -> Result<Params, Error> {
        let floor = Self::default();
        let allowed = self.memory_kib >= floor.memory_kib
            && self.memory_kib <= KDF_MEMORY_KIB_MAX
            && (floor.passes..=KDF_PASSES_MAX).contains(&self.passes)
            && (1..=KDF_LANES_MAX).contains(&self.lanes);
        if !allowed {
            return Err(malformed(WHAT, "its Argon2id parameters are out of range"));
        }
        Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|_| malformed(WHAT, "its Argon2id parameters are out of range"))
    }

    fn derive(self, password: &[u8], salt: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, Error> {
        let params = self.params()?;
        let mut kek = Zeroizing::new([0; 32]);
        // To get so much memory from the system takes a good part of the time of Argon2id itself,
        // and unlike that it would be done by one thread.
        let blocks = (0..params.block_count()).into_par_iter();
        let mut memory: Vec<Block> = blocks.map(|_| Block::new()).collect();
        let done = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(password, salt, kek.as_mut_slice(), &mut memory);
        done.map_err(|_| malformed(WHAT, "Argon2id refused its input"))?;
        Ok(kek)
    }
}

/// The clear part of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Slot {
    /// Cost parameters.
    #[n(0)]
    pub kdf: Kdf,
    /// Random salt; its BLAKE3 is the slot's name.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub salt: [u8; 32],
    /// BLAKE3 of the config's stored bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub config: [u8; 32],
    /// Creation, in milliseconds since 1970, UTC.
    #[n(3)]
    pub created_ms: i64,
    /// Who made it, for people: `user@host` or a label.
    #[n(4)]
    pub label: String,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Stored {
    #[cbor(n(0), with = "minicbor::bytes")]
    slot: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    commitment: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    wrapped: Vec<u8>,
}

/// Wraps `secrets` under `password`. Returns the slot's name and stored bytes.
pub fn wrap(
    secrets: &Secrets,
    password: &[u8],
    config_hash: [u8; 32],
    created_ms: i64,
    label: &str,
) -> Result<(KeyId, Vec<u8>), Error> {
    let slot = Slot {
        kdf: Kdf::default(),
        salt: random_array()?,
        config: config_hash,
        created_ms,
        label: label.to_owned(),
    };
    let kek = slot.kdf.derive(password, &slot.salt)?;
    let slot_bytes = encode_cbor(&slot);
    let mut wrapped = encode_cbor(secrets);
    wrap_key(&kek)?
        .seal_in_place_append_tag(nonce(), Aad::from(&slot_bytes), &mut wrapped)
        .map_err(|_| Error::Random)?;
    let stored = Stored {
        slot: slot_bytes,
        commitment: commitment(&kek),
        wrapped,
    };
    let mut bytes = MAGIC.to_vec();
    bytes.append(&mut encode_cbor(&stored));
    if bytes.len() as u64 > CONFIG_MAX {
        return Err(Error::OutOfRange {
            what: "length of a key slot",
            value: bytes.len() as u64,
            allowed: "at most 64 KiB",
        });
    }
    Ok((slot.id(), bytes))
}

impl Slot {
    /// The slot's name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(*blake3::hash(&self.salt).as_bytes())
    }

    /// Reads the clear part of a stored slot; says nothing about authenticity.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        decode_cbor(WHAT, &stored(bytes)?.slot)
    }
}

/// Unwraps the secrets of the slot `id` with `password`.
///
/// `WrongPassword` says that the password is not this slot's; `Forged`, that the password is right
/// and the slot or the config is not what was written.
pub fn unwrap(
    bytes: &[u8],
    id: &KeyId,
    password: &[u8],
    config_hash: [u8; 32],
) -> Result<Secrets, Error> {
    let stored = stored(bytes)?;
    let slot: Slot = decode_cbor(WHAT, &stored.slot)?;
    if slot.id() != *id {
        return Err(Error::Forged { what: WHAT });
    }
    let kek = slot.kdf.derive(password, &slot.salt)?;
    if commitment(&kek) != stored.commitment {
        return Err(Error::WrongPassword);
    }
    let mut wrapped = Zeroizing::new(stored.wrapped);
    let secrets = wrap_key(&kek)?
        .open_in_place(nonce(), Aad::from(&stored.slot), wrapped.as_mut_slice())
        .map_err(|_| Error::Forged { what: WHAT })?;
    if slot.config != config_hash {
        return Err(Error::Forged { what: "config" });
    }
    decode_cbor(WHAT, secrets)
}

fn stored(bytes: &[u8]) -> Result<Stored, Error> {
    if bytes.len() as u64 > CONFIG_MAX {
        return Err(malformed(WHAT, "it is too long"));
    }
    let body = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| malformed(WHAT, "it does not start with its magic"))?;
    decode_cbor(WHAT, body)
}

fn wrap_key(kek: &[u8; 32]) -> Result<LessSafeKey, Error> {
    let key = Zeroizing::new(blake3::derive_key("repo format 1 key slot wrap", kek));
    UnboundKey::new(&CHACHA20_POLY1305, key.as_slice())
        .map(LessSafeKey::new)
        .map_err(|_| Error::Random)
}

fn commitment(kek: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key("repo format 1 key slot commitment", kek)
}

/// Each slot has its own salt and so its own key, which seals once: a fixed nonce is unique.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests;
