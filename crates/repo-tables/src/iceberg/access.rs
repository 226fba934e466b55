//! What reading and moving a table asks of its surroundings.

use bytes::Bytes;

use super::Kind;

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// It does not exist.
    #[error("it does not exist")]
    NotFound,
    /// It is longer than what was asked for allows.
    #[error("it is larger than {max} bytes")]
    TooLarge {
        /// The limit in bytes.
        max: u64,
    },
    /// Anything else.
    #[error("{0}")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl AccessError {
    /// Wraps what a store said.
    pub fn failed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed(source.into())
    }
}

/// Reads whole files by the locations that a table names. It is called from several threads at once.
pub trait Fetch: Sync {
    /// The bytes at a location as its writer spelled it; more than `max` are an error before they are read.
    fn fetch(&self, location: &str, max: u64) -> Result<Bytes, AccessError>;
}

/// A file of a moved table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// What it is.
    pub kind: Kind,
    /// Where the table had it.
    pub from: String,
    /// Where the moved table has it.
    pub to: String,
    /// Its length at the source in bytes, when the table tells.
    pub size: Option<u64>,
}

/// Takes the files of a moved table, each once, and any file before those that refer to it. It is called from
/// several threads at once.
pub trait Sink: Sync {
    /// A file that was rewritten: its new bytes.
    fn write(&self, file: &Moved, bytes: Vec<u8>) -> Result<(), AccessError>;
    /// A file that keeps its bytes.
    fn copy(&self, file: &Moved) -> Result<(), AccessError>;
}
