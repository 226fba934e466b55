//! Secret keys of a repository and everything derived from them.

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
    /// Sealing keys, oldest first; the last one seals new objects.
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
            }],
        })
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
    secrets: Secrets,
    data_key: [u8; 32],
    tree_key: [u8; 32],
}

impl KeyRing {
    /// Keys of `repository`. Refuses secrets without an epoch.
    pub fn new(repository: RepositoryId, cipher: Cipher, secrets: Secrets) -> Result<Self, Error> {
        if secrets.epochs.is_empty() {
            return Err(malformed("key slot", "it holds no epoch"));
        }
        Ok(Self {
            data_key: blake3::derive_key("repo format 1 data blob id", &secrets.id_key),
            tree_key: blake3::derive_key("repo format 1 tree blob id", &secrets.id_key),
            repository,
            cipher,
            secrets,
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
        self.secrets.gear_seed
    }

    /// The secrets, to wrap them in another key slot.
    #[must_use]
    pub fn secrets(&self) -> &Secrets {
        &self.secrets
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

    pub(crate) fn newest_epoch(&self) -> u32 {
        self.secrets.epochs.last().map_or(1, |epoch| epoch.number)
    }

    /// Sealing key of one object: bound to the repository and to every header field before the
    /// commitment, so none of them can be changed without the object failing to open.
    pub(crate) fn subkey(&self, epoch: u32, header_prefix: &[u8]) -> Option<[u8; 32]> {
        let epoch = self.secrets.epochs.iter().find(|e| e.number == epoch)?;
        let mut hasher = blake3::Hasher::new_derive_key("repo format 1 object subkey");
        hasher.update(&epoch.key);
        hasher.update(&self.repository.0);
        hasher.update(header_prefix);
        Some(*hasher.finalize().as_bytes())
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
