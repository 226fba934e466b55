//! What can go wrong with tables. Messages name the table, object or path; causes are sources.

use repo_core::ErrorKind;

use crate::iceberg::{self, AccessError};

/// A cause from below, kept for the chain.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Outcome of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on tables.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] repo_core::Error),

    /// An Iceberg table cannot be read or moved.
    #[error(transparent)]
    Iceberg(iceberg::Error),

    /// No object there.
    #[error("{url} not found")]
    NotFound {
        /// The missing object.
        url: String,
    },

    /// A request failed.
    #[error("cannot {operation} {url}")]
    Object {
        /// What was asked: read, write, list, delete.
        operation: &'static str,
        /// Of which object or prefix.
        url: String,
        /// Why.
        source: BoxError,
    },

    /// An object became shorter while it was read, or is longer than its kind may be.
    #[error("{url} {what}")]
    Size {
        /// The object.
        url: String,
        /// What is wrong with its size.
        what: String,
    },

    /// Not a location, or one that leads out of its table.
    #[error("{location:?} is not a usable location: {reason}")]
    Location {
        /// What was given.
        location: String,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// No table is at, or below, a place.
    #[error("no table at {url}")]
    NoTable {
        /// The place.
        url: String,
    },

    /// A table has no such version.
    #[error("{table} has no version {version}")]
    NoVersion {
        /// The table.
        table: String,
        /// What was asked for.
        version: String,
    },

    /// Metadata of a table does not say what it must.
    #[error("{url} is not valid: {reason}")]
    Malformed {
        /// The object.
        url: String,
        /// What is wrong with it.
        reason: String,
        /// The cause, where there is one.
        source: Option<BoxError>,
    },

    /// A table uses something this program must not pass over.
    #[error("{table} cannot be saved: {reason}")]
    Unsupported {
        /// The table.
        table: String,
        /// Why.
        reason: String,
    },

    /// A file that a table refers to is gone, and so was that of each newer version.
    #[error("{table} refers to {url}, which is not there")]
    Vanished {
        /// The table.
        table: String,
        /// The missing file.
        url: String,
    },

    /// Two tables of one snapshot would have one name.
    #[error("two tables are called {name}: {first} and {second}")]
    SameName {
        /// The name.
        name: String,
        /// One place.
        first: String,
        /// The other.
        second: String,
    },

    /// A snapshot holds no tables, or not this one.
    #[error("snapshot {snapshot} holds no table {table:?}")]
    UnknownTable {
        /// The snapshot.
        snapshot: String,
        /// The name; `*` for any.
        table: String,
    },

    /// A place where a table is to be restored holds something else.
    #[error("{url} {what}")]
    Occupied {
        /// The object in the way.
        url: String,
        /// What it is.
        what: &'static str,
    },
}

impl Error {
    /// Says what a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Repository(error) => error.kind(),
            Self::Iceberg(error) => iceberg_kind(error),
            Self::NotFound { .. }
            | Self::NoTable { .. }
            | Self::NoVersion { .. }
            | Self::Vanished { .. }
            | Self::UnknownTable { .. } => ErrorKind::NotFound,
            Self::Object { .. } => ErrorKind::Unavailable,
            Self::Location { .. } | Self::SameName { .. } => ErrorKind::Invalid,
            // What is damaged is the table, not the repository.
            Self::Size { .. } | Self::Malformed { .. } => ErrorKind::Invalid,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Occupied { .. } => ErrorKind::Conflict,
        }
    }

    /// The caller wants this to end.
    pub(crate) fn cancelled() -> Self {
        Self::Repository(repo_core::Error::Cancelled)
    }

    /// Metadata at `url` that does not say what it must.
    pub(crate) fn malformed(url: impl ToString, reason: impl Into<String>) -> Self {
        Self::Malformed {
            url: url.to_string(),
            reason: reason.into(),
            source: None,
        }
    }

    /// Metadata at `url` that cannot be decoded.
    pub(crate) fn undecodable(
        url: impl ToString,
        reason: impl Into<String>,
        source: impl Into<BoxError>,
    ) -> Self {
        Self::Malformed {
            url: url.to_string(),
            reason: reason.into(),
            source: Some(source.into()),
        }
    }
}

impl From<iceberg::Error> for Error {
    fn from(error: iceberg::Error) -> Self {
        // What this crate's own objects said is told as it was said.
        match error {
            iceberg::Error::Read {
                location,
                source: AccessError::NotFound,
            } => Self::NotFound { url: location },
            iceberg::Error::Read {
                location,
                source: AccessError::Failed(source),
            } => own(source).unwrap_or_else(|source| {
                Self::Iceberg(iceberg::Error::Read {
                    location,
                    source: AccessError::Failed(source),
                })
            }),
            iceberg::Error::Write {
                location,
                source: AccessError::Failed(source),
            } => own(source).unwrap_or_else(|source| {
                Self::Iceberg(iceberg::Error::Write {
                    location,
                    source: AccessError::Failed(source),
                })
            }),
            error => Self::Iceberg(error),
        }
    }
}

fn own(source: BoxError) -> Result<Error, BoxError> {
    source.downcast::<Error>().map(|error| *error)
}

fn iceberg_kind(error: &iceberg::Error) -> ErrorKind {
    match error {
        iceberg::Error::Version { .. }
        | iceberg::Error::Encrypted { .. }
        | iceberg::Error::DeletesFormat { .. } => ErrorKind::Unsupported,
        iceberg::Error::NoSnapshot { .. } | iceberg::Error::NoMetadata { .. } => {
            ErrorKind::NotFound
        }
        iceberg::Error::Read { .. } | iceberg::Error::Write { .. } => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}
