//! Secret keys of a repository and everything derived from them.

use std::sync::{PoisonError, RwLock};

use minicbor::{Decode, Encode};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::{Error, malformed};
use crate::id::{BlobId, RepositoryId};

/// How object bodies are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// Not encrypted: a keyed BLAKE3 tag under a public key guards integrity only.
    None,
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl Cipher {
    /// The stored byte.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    /// Reads the stored byte.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }
}

/// What a blob holds. Ids of different kinds never collide, so a file whose bytes look like a tree
/// node cannot stand in for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlobKind {
    /// A chunk of file content.
    Data,
    /// A tree node or a chunk list.
    Tree,
}

impl BlobKind {
    /// The stored byte.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Tree => 1,
        }
    }

    /// Reads the stored byte.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Data),
            1 => Some(Self::Tree),
            _ => None,
        }
    }
}

/// One generation of the key that seals objects.
#[derive(Clone, Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(map)]
pub struct Epoch {
    /// Number, from 1, in each object's header.
    #[n(0)]
    pub number: u32,
    /// 32 random bytes.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// Number of the first commit sealed under it; absent for the first epoch, and while a rotation
    /// is under way that has not committed yet, or died then.
    #[n(2)]
    pub first: Option<u64>,
}

/// What a key slot wraps: every secret of a repository.
#[derive(Clone, Encode, Decode, Zeroize, ZeroizeOnDrop)]
#[cbor(map)]
pub struct Secrets {
    /// Keys blob ids; never rotated, because ids outlive epochs.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub id_key: [u8; 32],
    /// Seeds the chunker's gear table.
    #[n(1)]
    pub gear_seed: u64,
    /// Sealing keys, oldest first. The last one that has begun seals new objects.
    #[n(2)]
    pub epochs: Vec<Epoch>,
}

impl Secrets {
    /// Fresh random secrets with one epoch.
    pub fn generate() -> Result<Self, Error> {
        Ok(Self {
            id_key: random_array()?,
            gear_seed: u64::from_le_bytes(random_array()?),
            epochs: vec![Epoch {
                number: 1,
                key: random_array()?,
                first: None,
            }],
        })
    }

    /// The number of the newest epoch, begun or not.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.epochs.last().map_or(1, |epoch| epoch.number)
    }

    /// The newest epoch that these secrets say has begun; the oldest when they say so of none.
    #[must_use]
    pub fn begun(&self) -> u32 {
        let begun = self.epochs.iter().rev().find(|e| e.first.is_some());
        let begun = begun.or(self.epochs.first());
        begun.map_or(1, |epoch| epoch.number)
    }

    /// Whether these hold every epoch that `other` holds.
    #[must_use]
    pub fn holds_all(&self, other: &Self) -> bool {
        other.epochs.iter().all(|epoch| self.holds(epoch))
    }

    fn holds(&self, epoch: &Epoch) -> bool {
        let same = |e: &Epoch| e.number == epoch.number && e.key == epoch.key;
        self.epochs.iter().any(same)
    }

    /// Adds an epoch with a random key and a number greater than `above`. It seals nothing until a
    /// commit begins it.
    pub fn add_epoch(&mut self, above: u32) -> Result<u32, Error> {
        let number = self
            .newest()
            .max(above)
            .checked_add(1)
            .ok_or(Error::OutOfRange {
                what: "number of a key epoch",
                value: u64::from(u32::MAX),
                allowed: "at most 4294967295",
            })?;
        self.epochs.push(Epoch {
            number,
            key: random_array()?,
            first: None,
        });
        Ok(number)
    }

    fn check(&self) -> Result<(), Error> {
        if self.epochs.is_empty() {
            return Err(malformed("key slot", "it holds no epoch"));
        }
        let ascending = self.epochs.is_sorted_by(|a, b| {
            let begins = a.first.unwrap_or(0) < b.first.unwrap_or(u64::MAX);
            a.number < b.number && begins
        });
        if !ascending || self.epochs.iter().any(|epoch| epoch.first == Some(0)) {
            return Err(malformed("key slot", "its epochs are not in order"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// `N` bytes from the operating system's random source.
pub fn random_array<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}

/// An open repository's keys: makes blob ids and per-object sealing keys.
pub struct KeyRing {
    repository: RepositoryId,
    cipher: Cipher,
    gear_seed: u64,
    epochs: RwLock<Epochs>,
    data_key: [u8; 32],
    tree_key: [u8; 32],
}

struct Epochs {
    secrets: Secrets,
    /// Seals new objects.
    sealing: u32,
    /// The oldest epoch that may have sealed an object with this key ring.
    since: u32,
}

impl KeyRing {
    /// Keys of `repository`. Refuses secrets without an epoch, or with epochs out of order.
    pub fn new(repository: RepositoryId, cipher: Cipher, secrets: Secrets) -> Result<Self, Error> {
        secrets.check()?;
        Ok(Self {
            data_key: blake3::derive_key("repo format 1 data blob id", &secrets.id_key),
            tree_key: blake3::derive_key("repo format 1 tree blob id", &secrets.id_key),
            repository,
            cipher,
            gear_seed: secrets.gear_seed,
            epochs: RwLock::new(Epochs {
                sealing: secrets.begun(),
                since: secrets.begun(),
                secrets,
            }),
        })
    }

    /// The repository these keys belong to.
    #[must_use]
    pub fn repository(&self) -> RepositoryId {
        self.repository
    }

    /// The cipher of new objects.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Seed of the chunker's gear table.
    #[must_use]
    pub fn gear_seed(&self) -> u64 {
        self.gear_seed
    }

    /// The secrets, to wrap them in another key slot.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        self.read().secrets.clone()
    }

    /// Takes over the epochs of a later version of the same secrets; those that are older than all of
    /// them stay, until [`Self::retire`]. Refuses secrets of another repository, and those that lack
    /// an epoch in between that may have sealed something.
    pub fn learn(&self, mut newer: Secrets) -> Result<(), Error> {
        newer.check()?;
        let mut epochs = self.write();
        let oldest = newer.epochs.first().map_or(1, |epoch| epoch.number);
        let known = epochs.secrets.epochs.iter();
        let sealed = known.filter(|known| known.number <= epochs.sealing);
        let (older, mut same): (Vec<_>, Vec<_>) =
            sealed.cloned().partition(|known| known.number < oldest);
        same.retain(|known| !newer.holds(known));
        if newer.id_key != epochs.secrets.id_key || !same.is_empty() {
            return Err(Error::OtherKey { what: "key slot" });
        }
        newer.epochs.splice(0..0, older);
        newer.check()?;
        epochs.sealing = epochs.sealing.max(newer.begun());
        epochs.secrets = newer;
        Ok(())
    }

    /// Says that nothing has been sealed with this key ring yet that is not in the log.
    pub fn settle(&self) {
        let mut epochs = self.write();
        epochs.since = epochs.sealing;
    }

    /// The oldest epoch that may have sealed an object with this key ring since it was settled.
    #[must_use]
    pub fn since(&self) -> u32 {
        self.read().since
    }

    /// Forgets the epochs before `oldest`; never the one that seals.
    pub fn retire(&self, oldest: u32) {
        let mut epochs = self.write();
        let oldest = oldest.min(epochs.sealing);
        let known = &mut epochs.secrets.epochs;
        known.retain(|epoch| epoch.number >= oldest);
    }

    /// Seals new objects under `epoch` from now on: a commit of the log is. Never goes back.
    pub fn begin(&self, epoch: u32) {
        let mut epochs = self.write();
        if epochs.secrets.epochs.iter().any(|e| e.number == epoch) {
            epochs.sealing = epochs.sealing.max(epoch);
        }
    }

    /// The epoch that seals new objects.
    #[must_use]
    pub fn sealing(&self) -> u32 {
        self.read().sealing
    }

    /// The newest epoch there is a key of.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.read().secrets.newest()
    }

    /// The newest epoch that the secrets say has begun, and its first commit; none before the first
    /// rotation.
    #[must_use]
    pub fn begun(&self) -> Option<(u32, u64)> {
        let epochs = self.read();
        let mut newest_first = epochs.secrets.epochs.iter().rev();
        newest_first.find_map(|epoch| Some((epoch.number, epoch.first?)))
    }

    /// Whether commit `number` may be sealed under `epoch`: not once a later epoch has begun.
    #[must_use]
    pub fn allows(&self, number: u64, epoch: u32) -> bool {
        let epochs = self.read();
        let mut later = epochs.secrets.epochs.iter().filter(|e| e.number > epoch);
        later.all(|later| later.first.is_none_or(|first| number < first))
    }

    /// Identity of a blob.
    #[must_use]
    pub fn blob_id(&self, kind: BlobKind, bytes: &[u8]) -> BlobId {
        let key = match kind {
            BlobKind::Data => &self.data_key,
            BlobKind::Tree => &self.tree_key,
        };
        BlobId(*blake3::keyed_hash(key, bytes).as_bytes())
    }

    /// Sealing key of one object: bound to the repository and to every header field before the
    /// commitment, so none of them can be changed without the object failing to open.
    pub(crate) fn subkey(&self, epoch: u32, header_prefix: &[u8]) -> Option<[u8; 32]> {
        let epochs = self.read();
        let epoch = epochs.secrets.epochs.iter().find(|e| e.number == epoch)?;
        let mut hasher = blake3::Hasher::new_derive_key("repo format 1 object subkey");
        hasher.update(&epoch.key);
        hasher.update(&self.repository.0);
        hasher.update(header_prefix);
        Some(*hasher.finalize().as_bytes())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Epochs> {
        self.epochs.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Epochs> {
        self.epochs.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyRing {
    fn drop(&mut self) {
        self.data_key.zeroize();
        self.tree_key.zeroize();
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRing({}, {:?})", self.repository, self.cipher)
    }
}

#[cfg(test)]
mod tests;
