//! What can go wrong with a repository, by the thing it goes wrong with.

use std::path::PathBuf;
use std::sync::Arc;

use repo_format::{BlobId, ErrorKind, PackId};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation. Messages name the object; causes are in `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A request to the store failed.
    #[error(transparent)]
    Store(repo_store::Error),
    /// A stored object cannot be decoded.
    #[error("{key} cannot be read")]
    Object {
        /// The object's key in the store.
        key: String,
        /// What is wrong with it.
        source: repo_format::Error,
    },
    /// An object that the log or an index names is not in the store.
    #[error("an object of the repository is lost")]
    LostObject {
        /// Which one.
        source: repo_store::Error,
    },
    /// Bytes could not be encoded or verified before upload.
    #[error("data could not be prepared for the repository")]
    Encode {
        /// What is wrong.
        source: repo_format::Error,
    },
    /// No repository lies there.
    #[error("no repository at {location}")]
    NoRepository {
        /// The place that was asked for.
        location: String,
    },
    /// A repository lies there already.
    #[error("a repository already exists at {location}")]
    AlreadyExists {
        /// The place that was asked for.
        location: String,
    },
    /// The repository is encrypted and no password was given.
    #[error("the repository at {location} is encrypted and needs a password")]
    PasswordNeeded {
        /// The repository.
        location: String,
    },
    /// A password was given for a repository that claims not to be encrypted: data must not be
    /// written in clear where the caller expects secrecy.
    #[error("the repository at {location} is not encrypted, but a password was given")]
    NotEncrypted {
        /// The repository.
        location: String,
    },
    /// No key slot opens with the password.
    #[error("the password opens no key of the repository at {location}")]
    WrongPassword {
        /// The repository.
        location: String,
    },
    /// The repository does not support an operation in this program.
    #[error("the repository at {location} cannot be used")]
    Unsupported {
        /// The repository.
        location: String,
        /// The missing feature.
        source: repo_format::Error,
    },
    /// The store has no retention locks, and the repository has or asks for them.
    #[error("{location} cannot lock objects: it needs S3 with a bucket made with Object Lock")]
    CannotLock {
        /// The store.
        location: String,
    },
    /// The log is shorter than, or differs from, what this client has seen before.
    #[error("the log of {location} was rolled back: commit {seen} was seen before and is {state}")]
    RolledBack {
        /// The repository.
        location: String,
        /// The newest commit seen.
        seen: u64,
        /// `missing` or `another one now`.
        state: &'static str,
    },
    /// The keys were rotated, and those at hand do not open what was written since.
    #[error(
        "the keys of the repository at {location} were rotated: commit {number} needs a later one, \
         open it again"
    )]
    KeysRotated {
        /// The repository.
        location: String,
        /// The commit that they do not open.
        number: u64,
    },
    /// A commit is sealed under a key that another one had replaced before. Whoever has kept the old
    /// key must not be able to add to the log.
    #[error("commit {number} is sealed under a key that was rotated out")]
    OldKey {
        /// The commit.
        number: u64,
    },
    /// Keys were retired since this program opened the repository: what it has stored and not
    /// committed is sealed under one of them, or the log no longer holds what it has read last.
    #[error("keys of the repository at {location} were retired by commit {number}: open it again")]
    KeysRetired {
        /// The repository.
        location: String,
        /// The commit that retired them.
        number: u64,
    },
    /// Keys cannot be retired while they are needed.
    #[error(
        "the older keys are still needed: they seal {needed} packs and index objects in use, \
         {condemned} condemned packs and {unnamed} objects that no commit names"
    )]
    KeysNeeded {
        /// Packs and index objects that the log names.
        needed: u64,
        /// Packs that are condemned and not deleted yet.
        condemned: u64,
        /// Packs and index objects that no commit names: replaced, left behind, or being written.
        unnamed: u64,
    },
    /// A commit was removed from the log when keys were retired.
    #[error("commit {number} is gone from the log, which begins with commit {oldest}")]
    BeforeLog {
        /// The commit.
        number: u64,
        /// The oldest one there is.
        oldest: u64,
    },
    /// Keys cannot be rotated without leaving others behind.
    #[error("no password is given for the keys {}", keys.join(", "))]
    KeysLeft {
        /// Ids of the key slots that no given password opens.
        keys: Vec<String>,
    },
    /// A commit does not continue the one before it.
    #[error("commit {number} does not continue the log")]
    BrokenChain {
        /// The commit.
        number: u64,
    },
    /// The log has a gap.
    #[error("commit {number} is missing from the log")]
    MissingCommit {
        /// The commit.
        number: u64,
    },
    /// Other writers won the race for the next commit too often.
    #[error("could not commit: other writers were first {attempts} times")]
    LostRace {
        /// Attempts made.
        attempts: u32,
    },
    /// The state of the repository changed in a way that forbids the commit.
    #[error("the repository changed meanwhile: {why}")]
    Overtaken {
        /// What changed.
        why: String,
    },
    /// The state opened with `at` is read-only.
    #[error("the repository was opened at commit {at} and is read-only")]
    ReadOnly {
        /// The commit asked for.
        at: u64,
    },
    /// No snapshot has this id.
    #[error("no snapshot {id}")]
    UnknownSnapshot {
        /// What was asked for.
        id: String,
    },
    /// A snapshot that was to be forgotten is protected.
    #[error("snapshot {id} is protected")]
    Protected {
        /// The snapshot.
        id: String,
    },
    /// All snapshots of a group would be forgotten, and that was not allowed.
    #[error("no snapshot would be left of {group}")]
    EmptiesGroup {
        /// What its snapshots have in common.
        group: String,
    },
    /// A snapshot does not hold this path.
    #[error("no path {path} in snapshot {snapshot}")]
    UnknownPath {
        /// The path, lossily decoded.
        path: String,
        /// The snapshot.
        snapshot: String,
    },
    /// The entry is not of the kind the operation needs.
    #[error("{path} is not a {wanted}")]
    WrongType {
        /// The path, lossily decoded.
        path: String,
        /// For example `file`.
        wanted: &'static str,
    },
    /// A blob that a snapshot refers to is in no live index.
    #[error("chunk {id} is missing from the repository")]
    MissingBlob {
        /// The blob.
        id: BlobId,
    },
    /// A blob's bytes are not what its id says.
    #[error("chunk {id} in pack {pack} is damaged")]
    DamagedBlob {
        /// The blob.
        id: BlobId,
        /// Where it lies.
        pack: PackId,
    },
    /// No key slot has this id, or it is the last one.
    #[error("key {id} cannot be removed: {why}")]
    Key {
        /// The slot.
        id: String,
        /// Why not.
        why: &'static str,
    },
    /// A local file or directory could not be used.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried, for example `open`.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The source of a snapshot failed or was refused.
    #[error("{what}")]
    Source {
        /// One line.
        what: String,
    },
    /// What several readers wanted, and one of them tried, failed for all.
    #[error(transparent)]
    Shared {
        /// How it failed.
        source: Arc<Self>,
    },
    /// The operation was cancelled by the caller.
    #[error("cancelled")]
    Cancelled,
    /// An option is not usable.
    #[error("{what}")]
    Invalid {
        /// One line.
        what: String,
    },
    /// A part of this program ended unexpectedly.
    #[error("internal error: {what}")]
    Internal {
        /// The part.
        what: &'static str,
    },
}

impl Error {
    /// Whether something that was named is not there: lost, or moved or deleted by a collector.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::MissingBlob { .. } | Self::LostObject { .. })
            || matches!(self, Self::Shared { source } if source.is_lost())
            || matches!(self, Self::Store(source) if source.kind() == ErrorKind::NotFound)
    }

    /// Whether other slots of the same password may hold the key that was missing.
    pub(crate) fn may_be_rotated(&self) -> bool {
        let other =
            |source: &repo_format::Error| matches!(source, repo_format::Error::OtherKey { .. });
        matches!(self, Self::KeysRotated { .. })
            || matches!(self, Self::Object { source, .. } if other(source))
    }

    /// Whether a log looks like this from which commits are being removed.
    pub(crate) fn may_be_cut(&self) -> bool {
        matches!(
            self,
            Self::MissingCommit { .. } | Self::BrokenChain { .. } | Self::KeysRetired { .. }
        ) || matches!(self, Self::Store(source) if source.kind() == ErrorKind::NotFound)
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(source) => source.kind(),
            Self::Shared { source } => source.kind(),
            Self::Object { source, .. } | Self::Encode { source } => source.kind(),
            Self::NoRepository { .. }
            | Self::UnknownSnapshot { .. }
            | Self::UnknownPath { .. }
            | Self::BeforeLog { .. } => ErrorKind::NotFound,
            Self::AlreadyExists { .. }
            | Self::LostRace { .. }
            | Self::Overtaken { .. }
            | Self::KeysRotated { .. }
            | Self::KeysRetired { .. } => ErrorKind::Conflict,
            Self::PasswordNeeded { .. }
            | Self::NotEncrypted { .. }
            | Self::WrongPassword { .. }
            | Self::Protected { .. }
            | Self::EmptiesGroup { .. }
            | Self::KeysLeft { .. }
            | Self::KeysNeeded { .. }
            | Self::Key { .. } => ErrorKind::Denied,
            Self::Unsupported { .. } | Self::CannotLock { .. } => ErrorKind::Unsupported,
            Self::LostObject { .. }
            | Self::RolledBack { .. }
            | Self::OldKey { .. }
            | Self::BrokenChain { .. }
            | Self::MissingCommit { .. }
            | Self::MissingBlob { .. }
            | Self::DamagedBlob { .. } => ErrorKind::Corrupt,
            Self::ReadOnly { .. }
            | Self::WrongType { .. }
            | Self::Source { .. }
            | Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Io { .. } | Self::Cancelled | Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    pub(crate) fn object(key: impl Into<String>, source: repo_format::Error) -> Self {
        Self::Object {
            key: key.into(),
            source,
        }
    }

    pub(crate) fn encode(source: repo_format::Error) -> Self {
        Self::Encode { source }
    }

    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self::Io {
            operation,
            path: path.into(),
            source: source.into(),
        }
    }
}
