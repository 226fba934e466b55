//! What can go wrong with the archive of WAL.

use std::path::PathBuf;

use crate::wal::name::WalFile;

/// Shorthand for results of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// A file that was not archived, or not fetched. Messages name it; causes are in `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository refused or failed.
    #[error(transparent)]
    Repository(#[from] repo_core::Error),
    /// The server could not be asked.
    #[error(transparent)]
    Server(#[from] crate::stream::Error),
    /// Archiving does not work.
    #[error("archiving does not work: {why}")]
    Archiving {
        /// What the server says about it.
        why: String,
    },
    /// A local file could not be used.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No file of an archive has such a name.
    #[error("{name} is not the name of a file that Postgres archives")]
    Name {
        /// The name, escaped.
        name: String,
    },
    /// The content is not what the name says.
    #[error("{file} is not the WAL it should be: {why}")]
    NotWal {
        /// The file.
        file: WalFile,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A segment of another cluster.
    #[error("{file} is of the cluster {found}, not of {expected}")]
    OtherSystem {
        /// The file.
        file: WalFile,
        /// System identifier in its header.
        found: u64,
        /// System identifier of the cluster.
        expected: u64,
    },
    /// The archive holds other bytes under this name.
    #[error("{file} is in the archive of cluster {system} with other content")]
    Differs {
        /// The file.
        file: WalFile,
        /// The cluster.
        system: u64,
    },
    /// A file in the spool or the archive that is longer than any that Postgres archives.
    #[error("{file} is too large: {size} bytes")]
    TooLarge {
        /// The file.
        file: WalFile,
        /// Its length, in bytes.
        size: u64,
    },
    /// A snapshot of a cluster that does not say which WAL it needs.
    #[error("snapshot {id} does not say which WAL it needs")]
    Description {
        /// The snapshot.
        id: String,
    },
    /// The archive changed again and again while it was read.
    #[error("other writers were first {attempts} times")]
    Overtaken {
        /// How often it was tried.
        attempts: u32,
    },
}

impl Error {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: std::io::Error,
    ) -> Self {
        let path = path.into();
        Self::Io {
            operation,
            path,
            source,
        }
    }
}
