//! The record of one snapshot, as commits and checkpoints carry it.

use std::ops::Deref;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

use crate::codec::{decode_cbor, encode_cbor};
use crate::id::SnapshotId;
use crate::tree::{Entry, EntryType};

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
    /// The snapshot of another repository that this one is a copy of: the first one, when copies
    /// were copied.
    #[n(11)]
    pub original: Option<SnapshotId>,
}

/// A path as bytes, because a path need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct PathBytes(#[cbor(n(0), with = "minicbor::bytes")] pub Vec<u8>);

impl Snapshot {
    /// A reader joins names to paths, so the root must not bring one of its own.
    fn has_valid_root(&self) -> bool {
        self.root.name.is_empty() && self.root.kind == EntryType::Directory
    }
}

/// A snapshot as it is stored: the exact bytes and what they say. The name is BLAKE3 of the bytes,
/// and they are kept, so that a program which does not know all fields neither loses them nor
/// computes another name. Tags are kept outside, so they can change without the name changing.
#[derive(Clone)]
pub struct SnapshotRecord {
    id: SnapshotId,
    bytes: Vec<u8>,
    snapshot: Snapshot,
}

impl SnapshotRecord {
    /// The snapshot's name.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    fn new(bytes: Vec<u8>, snapshot: Snapshot) -> Self {
        Self {
            id: SnapshotId(*blake3::hash(&bytes).as_bytes()),
            bytes,
            snapshot,
        }
    }
}

impl From<Snapshot> for SnapshotRecord {
    fn from(snapshot: Snapshot) -> Self {
        debug_assert!(snapshot.has_valid_root(), "no reader would accept it");
        Self::new(encode_cbor(&snapshot), snapshot)
    }
}

impl Deref for SnapshotRecord {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl PartialEq for SnapshotRecord {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for SnapshotRecord {}

impl std::fmt::Debug for SnapshotRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {:?}", self.id, self.snapshot)
    }
}

impl<C> Encode<C> for SnapshotRecord {
    fn encode<W: encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(&self.bytes)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for SnapshotRecord {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let bytes = d.bytes()?;
        let snapshot: Snapshot = decode_cbor("snapshot", bytes)
            .map_err(|_| decode::Error::message("a snapshot is malformed"))?;
        if !snapshot.has_valid_root() {
            return Err(decode::Error::message(
                "the root of a snapshot is not a nameless directory",
            ));
        }
        Ok(Self::new(bytes.to_vec(), snapshot))
    }
}

#[cfg(test)]
mod tests;
