//! The record of one snapshot, as commits and checkpoints carry it.

use minicbor::{Decode, Encode};

use crate::codec::encode_cbor;
use crate::id::SnapshotId;
use crate::tree::Entry;

/// What a snapshot cost and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct SnapshotStats {
    /// Entries that are not directories.
    #[n(0)]
    pub files: u64,
    /// Directories.
    #[n(1)]
    pub directories: u64,
    /// Sum of file sizes, in bytes.
    #[n(2)]
    pub bytes: u64,
    /// Files that were not in the parent, or had changed.
    #[n(3)]
    pub files_changed: u64,
    /// Raw bytes of chunks that were new to the repository.
    #[n(4)]
    pub bytes_new: u64,
    /// Bytes of packs and index objects written.
    #[n(5)]
    pub bytes_stored: u64,
    /// Sources that could not be read, or changed while read.
    #[n(6)]
    pub unread: u64,
}

/// One point in time of a set of paths.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Snapshot {
    /// Start, in milliseconds since 1970, UTC.
    #[n(0)]
    pub time_ms: i64,
    /// Host that was read.
    #[n(1)]
    pub host: String,
    /// User that ran the program.
    #[n(2)]
    pub user: String,
    /// The absolute paths that were asked for, as bytes.
    #[n(3)]
    pub paths: Vec<PathBytes>,
    /// Root of the tree, a directory with an empty name.
    #[n(4)]
    pub root: Entry,
    /// The snapshot that unchanged files were taken from.
    #[n(5)]
    pub parent: Option<SnapshotId>,
    /// Counts.
    #[n(6)]
    pub stats: SnapshotStats,
    /// Program and version that wrote it.
    #[n(7)]
    pub program: String,
    /// Free text.
    #[n(8)]
    pub description: Option<String>,
    /// Kind of source; absent for files.
    #[n(9)]
    pub source: Option<String>,
    /// Duration in milliseconds.
    #[n(10)]
    pub duration_ms: u64,
}

/// A path as bytes, because a path need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct PathBytes(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

impl Snapshot {
    /// The snapshot's name: BLAKE3 of its encoded record. Tags are kept outside, so they can
    /// change without the name changing.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        SnapshotId(*blake3::hash(&encode_cbor(self)).as_bytes())
    }
}
