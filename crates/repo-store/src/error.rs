//! What can go wrong between this program and its objects.
//!
//! A message names the key and the store and says what happened, once; the cause is the source,
//! for whoever prints the chain. Sorting foreign errors into these variants is in `classify`.

use std::sync::Arc;

use repo_format::ErrorKind;

/// A cause from below, kept for the chain.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A failed store operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No object has this key.
    #[error("{key} not found in {location}")]
    NotFound {
        /// The missing object.
        key: String,
        /// The store.
        location: Arc<str>,
    },

    /// The bucket or container itself does not exist.
    #[error("bucket or container of {location} not found")]
    BucketNotFound {
        /// The store.
        location: Arc<str>,
        /// What the server said.
        source: BoxError,
    },

    /// An object with this key and other content was there first.
    #[error("{key} exists in {location} with other content")]
    Conflict {
        /// The contested key.
        key: String,
        /// The store.
        location: Arc<str>,
    },

    /// The store did not answer, or said it is busy or broken.
    #[error("cannot {operation} {key}: {location} is unavailable")]
    Unavailable {
        /// What was asked: read, write, list, delete.
        operation: &'static str,
        /// Of which object or prefix.
        key: String,
        /// The store.
        location: Arc<str>,
        /// Why.
        source: BoxError,
    },

    /// Missing permission or credentials, or a request the store refuses.
    #[error("{location} refused to {operation} {key}")]
    Denied {
        /// What was asked: read, write, list, delete.
        operation: &'static str,
        /// Of which object or prefix.
        key: String,
        /// The store.
        location: Arc<str>,
        /// Why.
        source: BoxError,
    },

    /// The object is under a retention lock.
    #[error("{key} in {location} is locked until {until}")]
    Locked {
        /// The object.
        key: String,
        /// The store.
        location: Arc<str>,
        /// Until when, in UTC.
        until: String,
    },

    /// The file system under a local store is mounted read-only.
    #[error("cannot {operation} {key}: the file system of {location} is read-only")]
    ReadOnly {
        /// What was asked: write or delete.
        operation: &'static str,
        /// Of which object.
        key: String,
        /// The store.
        location: Arc<str>,
        /// What the system said.
        source: BoxError,
    },

    /// No space or quota is left.
    #[error("cannot {operation} {key}: no space left in {location}")]
    Full {
        /// What was asked.
        operation: &'static str,
        /// Of which object.
        key: String,
        /// The store.
        location: Arc<str>,
        /// What the system said.
        source: BoxError,
    },

    /// The object is longer than any object of its kind may be.
    #[error("{key} in {location} has {size} bytes, more than the {max} allowed")]
    TooLarge {
        /// The object.
        key: String,
        /// The store.
        location: Arc<str>,
        /// Its size.
        size: u64,
        /// The caller's limit.
        max: u64,
    },

    /// The object, or the answer, does not have as many bytes as it should.
    #[error("{key} in {location} gave {got} of {wanted} bytes at offset {offset}")]
    Short {
        /// The object.
        key: String,
        /// The store.
        location: Arc<str>,
        /// Where the read began.
        offset: u64,
        /// Bytes asked for.
        wanted: u64,
        /// Bytes that came.
        got: u64,
    },

    /// A range whose end is before its start.
    #[error("range {start}..{end} of {key} is not a range")]
    Range {
        /// The object.
        key: String,
        /// The start.
        start: u64,
        /// The end.
        end: u64,
    },

    /// Not a location of a store, or its options do not make a client.
    #[error("cannot use {location} as a store: {reason}")]
    Location {
        /// What was given, without secrets.
        location: Arc<str>,
        /// What is wrong with it.
        reason: String,
        /// The cause, where there is one.
        source: Option<BoxError>,
    },

    /// Not a key: one or more segments of letters, digits, `.`, `_`, `-`, joined by `/`.
    #[error("{key:?} is not a valid key")]
    Key {
        /// What was given.
        key: String,
    },

    /// The store lacks an operation this program needs.
    #[error("{location} cannot {operation} {key}: the store does not support it")]
    Unsupported {
        /// What was asked.
        operation: &'static str,
        /// Of which object or prefix.
        key: String,
        /// The store.
        location: Arc<str>,
        /// What it said.
        source: BoxError,
    },

    /// The store lists keys out of order, so listing could miss some.
    #[error("{location} lists {key} out of order")]
    Unordered {
        /// The first key that came too late.
        key: String,
        /// The store.
        location: Arc<str>,
    },

    /// The system failed in a way no other variant names.
    #[error("cannot {operation} {key} in {location}")]
    Io {
        /// What was asked.
        operation: &'static str,
        /// Of which object or prefix.
        key: String,
        /// The store.
        location: Arc<str>,
        /// What the system said.
        source: BoxError,
    },
}

impl Error {
    /// Says what a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::BucketNotFound { .. } => ErrorKind::NotFound,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Denied { .. }
            | Self::Locked { .. }
            | Self::ReadOnly { .. }
            | Self::Full { .. } => ErrorKind::Denied,
            Self::TooLarge { .. } | Self::Short { .. } => ErrorKind::Corrupt,
            Self::Range { .. } | Self::Location { .. } | Self::Key { .. } => ErrorKind::Invalid,
            Self::Unsupported { .. } | Self::Unordered { .. } => ErrorKind::Unsupported,
            Self::Io { .. } => ErrorKind::Internal,
        }
    }
}
