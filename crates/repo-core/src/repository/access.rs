//! How a repository is created and opened.

use std::path::PathBuf;

use repo_chunker::{Params, Sizes};
use repo_format::config::{ChunkSizes, Config};
use repo_format::{Cipher, KeyId};
use repo_store::LockMode;

use crate::limits::{PACK_SIZE, SEGMENT_SIZE};

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
    /// Retention locks on all that is stored; none by default.
    pub lock: Option<LockFor>,
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
