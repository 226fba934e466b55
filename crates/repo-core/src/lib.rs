//! A deduplicating, compressed, encrypted backup repository for data platforms.
//!
//! `repository` keeps blobs in packs, an index to find them, and a log whose commits are the
//! database; `archive` puts files and directories on top. Everything an embedder needs is
//! re-exported here.

mod archive;
mod clock;
mod error;
mod limits;
mod progress;
mod repository;

pub use archive::*;
pub use error::{Error, Result};
pub use progress::{Finding, Progress, Quiet, Severity};
pub use repo_format::commit::SnapshotRef;
pub use repo_format::tree::{Entry, EntryType, FileKey, Timestamp, Totals, Xattr};
pub use repo_format::{
    BlobId, Cipher, Content, ErrorKind, Extent, IndexId, KeyId, PackId, PathBytes, RepositoryId,
    Snapshot, SnapshotId, SnapshotStats,
};
pub use repo_store::Store;
pub use repository::{
    Access, CheckOptions, CheckReport, CreateOptions, KeyInfo, LogEntry, OpenOptions, ReadData,
    Repository, RepositoryStats,
};
