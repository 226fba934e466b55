//! Iceberg tables: which files one consists of, and the same table at another place.
//!
//! [`Metadata`] is one version of a table, [`files_of`] tells every file it needs, [`relocate`] rewrites the
//! files that hold locations, [`choose`] finds the current version without a catalog and [`pin`] makes a
//! version of one snapshot. Files are read through [`Fetch`], so that a table may lie in a store, in a
//! directory or in a snapshot of this program. Formats 1, 2 and 3 are known; encrypted tables are refused.

mod access;
mod current;
mod deletes;
pub(crate) mod engine;
mod files;
mod gate;
mod json;
mod limits;
mod location;
mod manifest;
mod metadata;
mod pin;
mod puffin;
mod relocate;
mod rewriting;
mod schema;

pub use access::{AccessError, Fetch, Moved, Sink};
pub use current::{Candidate, Choice, Why, choose, version_of};
pub use deletes::rewrite_position_deletes;
pub use files::{FileRef, Kind, Totals, files_of};
pub(crate) use gate::each;
pub use limits::{DELETES_MAX, MANIFEST_MAX, METADATA_MAX};
pub use location::Prefixes;
pub use metadata::{Metadata, Selection, Snapshot, StatisticsFile};
pub use pin::pin;
pub use puffin::Footer;
pub use relocate::{Relocated, Relocation, TableUuid, relocate};

use crate::avro;

/// Why a table cannot be read or moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {location}")]
    Read {
        /// Which.
        location: String,
        /// What the store said.
        source: AccessError,
    },
    /// A file of the moved table cannot be written.
    #[error("cannot write {location}")]
    Write {
        /// Which.
        location: String,
        /// What the store said.
        source: AccessError,
    },
    /// An Avro file is not what the format says.
    #[error("{location}: {source}")]
    Avro {
        /// Which.
        location: String,
        /// What is wrong.
        source: avro::Error,
    },
    /// A file is not what the format says.
    #[error("{location}: {what}")]
    Malformed {
        /// Which.
        location: String,
        /// What is wrong.
        what: String,
    },
    /// A table of a format that is not known here.
    #[error("{location}: iceberg format version {version} is not supported, only 1, 2 and 3 are")]
    Version {
        /// Its metadata.
        location: String,
        /// The version it names.
        version: u64,
    },
    /// A table whose files are encrypted.
    #[error(
        "{location}: the table is encrypted ({what}): which files it has, and where, can be read and \
         rewritten only with its keys, which this program has no access to"
    )]
    Encrypted {
        /// What tells so.
        location: String,
        /// By what.
        what: &'static str,
    },
    /// A location that leaves the place it names.
    #[error("{path}, named by {within}, leads out of its place with ..")]
    Escape {
        /// The location.
        path: String,
        /// The file that names it.
        within: String,
    },
    /// A location that no prefix of a move covers.
    #[error("{path}, named by {within}, is below none of the prefixes that move")]
    Outside {
        /// The location.
        path: String,
        /// The file that names it.
        within: String,
    },
    /// A prefix that cannot be moved.
    #[error("{prefix:?} names no place below the root of a store")]
    Prefix {
        /// Which.
        prefix: String,
    },
    /// Two different prefixes, or the same one twice, with contradicting targets.
    #[error("{first} and {second} are the same prefix")]
    PrefixTwice {
        /// One spelling.
        first: String,
        /// The other.
        second: String,
    },
    /// One location stands for two kinds of file, which no table does and a loop might.
    #[error("{location} is named as a {first} and as a {second}")]
    TwoKinds {
        /// Which.
        location: String,
        /// One kind.
        first: Kind,
        /// Another.
        second: Kind,
    },
    /// A snapshot, branch or tag that the table does not have.
    #[error("{location}: the table has no {what}")]
    NoSnapshot {
        /// Its metadata.
        location: String,
        /// What was asked for.
        what: String,
    },
    /// No metadata was found at a place.
    #[error("{place} holds no table metadata")]
    NoMetadata {
        /// Where.
        place: String,
    },
    /// Position deletes of a format that cannot be rewritten.
    #[error(
        "{location}: position deletes in {format} hold paths that cannot be rewritten, only those in \
         parquet and avro can; compact the deletes of the table first"
    )]
    DeletesFormat {
        /// Which file.
        location: String,
        /// Its format.
        format: String,
    },
    /// Work that ended because other work of the same move failed.
    #[error("stopped")]
    Stopped,
    /// There is no randomness for a new identity.
    #[error("no randomness for a new table uuid")]
    Random,
}

impl Error {
    /// Whether a file is gone, which after an expiry means to begin again from the newest metadata.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Read {
                source: AccessError::NotFound,
                ..
            }
        )
    }

    fn malformed(location: &str, what: impl Into<String>) -> Self {
        Self::Malformed {
            location: location.to_owned(),
            what: what.into(),
        }
    }
}

type Result<T, E = Error> = std::result::Result<T, E>;
