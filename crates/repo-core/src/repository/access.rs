//! How a repository is created and opened.

use std::path::PathBuf;

use repo_chunker::{Params, Sizes};
use repo_format::config::{self, ChunkSizes, Config, Operation};
use repo_format::{Cipher, ErrorKind, KeyId, KeyRing, Secrets, limits};
use repo_store::{LockMode, Store};

use crate::error::{Error, Result};
use crate::limits::{PACK_SIZE, SEGMENT_SIZE};
use crate::repository::Repository;

/// What unlocks a repository.
#[derive(Clone)]
pub enum Access {
    /// A password of one of its key slots.
    Password(Vec<u8>),
    /// Nothing: the repository is not encrypted.
    Plain,
}

impl Access {
    /// A password.
    #[must_use]
    pub fn password(password: impl Into<Vec<u8>>) -> Self {
        Self::Password(password.into())
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password(_) => "Password(..)",
            Self::Plain => "Plain",
        })
    }
}

/// Choices made once, when a repository is created.
#[derive(Debug, Clone, Default)]
pub struct CreateOptions {
    /// Cipher of an encrypted repository; AES-256-GCM by default.
    pub cipher: Option<Cipher>,
    /// Label of the first key slot, for people.
    pub label: String,
    /// Raw length at which a segment is closed, in bytes; 2 MiB by default.
    pub segment_size: Option<u32>,
    /// Length at which a pack is closed, in bytes; 16 MiB by default.
    pub pack_size: Option<u32>,
    /// Cut files like another repository, so that copies from there and snapshots taken here share
    /// chunks.
    pub cutting: Option<Cutting>,
    /// Retention locks on all that is stored; none by default.
    pub lock: Option<LockFor>,
}

/// How a repository cuts files: lengths, and the secret seed of the places.
///
/// Who knows the seed and sees lengths of chunks can guess at content; a seed that two repositories
/// share is as secret as in the one that is guarded worse.
#[derive(Clone)]
pub struct Cutting {
    params: Params,
    seed: u64,
}

impl Cutting {
    pub(crate) fn of(config: &Config, ring: &KeyRing) -> Self {
        Self {
            params: chunker_params(config),
            seed: ring.gear_seed(),
        }
    }
}

impl std::fmt::Debug for Cutting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cutting")
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}

/// How long each snapshot is locked: the store itself refuses to delete what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockFor {
    /// Who may lift a lock.
    pub mode: LockMode,
    /// Time from the commit of a snapshot, in milliseconds; up to a hundred years.
    pub for_ms: u64,
}

impl CreateOptions {
    pub(crate) fn segment_size(&self) -> u32 {
        self.segment_size.unwrap_or(SEGMENT_SIZE)
    }

    pub(crate) fn pack_size(&self) -> u32 {
        self.pack_size.unwrap_or(PACK_SIZE)
    }

    pub(crate) fn chunker_params(&self) -> Params {
        let cutting = self.cutting.as_ref();
        cutting
            .map(|cutting| cutting.params.clone())
            .unwrap_or_default()
    }

    /// Fresh secrets of the new repository.
    pub(crate) fn secrets(&self) -> Result<Secrets> {
        let mut secrets = Secrets::generate().map_err(Error::encode)?;
        if let Some(cutting) = &self.cutting {
            secrets.gear_seed = cutting.seed;
        }
        Ok(secrets)
    }
}

/// Choices made each time a repository is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Directory for cached index objects and the newest commit seen. Without it every open of a
    /// remote repository reads its index again, and a rolled-back log is not noticed.
    pub cache_dir: Option<PathBuf>,
    /// Open the state at this commit, read-only.
    pub at: Option<u64>,
}

/// A key slot, as shown to people.
#[derive(Debug, Clone)]
pub struct KeyInfo {
    /// Name of the slot.
    pub id: KeyId,
    /// Creation, in milliseconds since 1970, UTC.
    pub created_ms: i64,
    /// Who made it.
    pub label: String,
    /// Argon2id memory, in KiB.
    pub memory_kib: u32,
    /// Argon2id passes.
    pub passes: u32,
    /// Argon2id lanes.
    pub lanes: u32,
    /// Whether this slot opened the repository.
    pub current: bool,
}

impl Repository {
    /// Opens this repository once more with the keys at hand, which spares a key derivation: an
    /// earlier state, or another way to the same objects. What lies in `store` must have this
    /// repository's config.
    ///
    /// Requests: config, and the log since its newest checkpoint.
    pub async fn reopen(&self, store: Store, options: &OpenOptions) -> Result<Self> {
        let (config, config_hash) = read_config(&store).await?;
        if config_hash != self.inner.config_hash {
            let what = "config";
            return Err(Error::object(
                config::PATH,
                repo_format::Error::Forged { what },
            ));
        }
        let secrets = self.inner.ring.secrets();
        let known = (self.unlocked(), self.inner.create_only);
        Self::assemble(store, config, config_hash, secrets, known, options).await
    }
}

/// The config, of a version and with features that can be read, and the hash of its bytes.
pub(crate) async fn read_config(store: &Store) -> Result<(Config, [u8; 32])> {
    let location = || store.location().to_owned();
    let stored = match store.get(config::PATH, limits::CONFIG_MAX).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::NoRepository {
                location: location(),
            });
        }
        Err(error) => return Err(Error::Store(error)),
    };
    let config = Config::decode(&stored).map_err(|source| Error::object(config::PATH, source))?;
    config
        .allows(Operation::Read)
        .map_err(|source| Error::Unsupported {
            location: location(),
            source,
        })?;
    Ok((config, Config::hash(&stored)))
}

pub(crate) fn stored_sizes(sizes: Sizes) -> ChunkSizes {
    ChunkSizes {
        min: sizes.min,
        avg: sizes.avg,
        max: sizes.max,
    }
}

pub(crate) fn chunker_params(config: &Config) -> Params {
    let sizes = |stored: ChunkSizes| Sizes {
        min: stored.min,
        avg: stored.avg,
        max: stored.max,
    };
    Params {
        generic: sizes(config.generic),
        columnar: sizes(config.columnar),
        page_chunk: config.page_chunk,
    }
}
