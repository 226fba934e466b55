//! Tree nodes: the sorted entries of one directory, split by content into leaves.
//!
//! ```text
//! node  type u8 | CBOR array
//!   type 0, leaf:     entries, each a CBOR map with the integer keys below, sorted by name
//!   type 1, interior: children, each a map { 0: last name below, 1: node id, 2: entries below }
//! ```
//! A directory is the node its entry names in field 10. Unknown map keys are skipped; a field that
//! an old reader must not ignore comes with a feature flag in the config.

use minicbor::{Decode, Encode};

use crate::codec::{decode_cbor, encode_cbor};
use crate::content::{Content, decode_extents, encode_extents};
use crate::error::{Error, malformed};
use crate::id::BlobId;
use crate::limits::NODE_MAX;

const WHAT: &str = "tree node";
const LEAF: u8 = 0;
const INTERIOR: u8 = 1;

/// Seconds and nanoseconds since 1970, UTC. Negative before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Encode, Decode)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    #[n(0)]
    pub seconds: i64,
    /// 0 to 999,999,999.
    #[n(1)]
    pub nanos: u32,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum EntryType {
    /// Regular file.
    #[n(0)]
    File,
    /// Directory.
    #[n(1)]
    Directory,
    /// Symbolic link.
    #[n(2)]
    Symlink,
    /// Named pipe.
    #[n(3)]
    Fifo,
    /// Character device.
    #[n(4)]
    CharDevice,
    /// Block device.
    #[n(5)]
    BlockDevice,
}

/// An extended attribute; POSIX ACLs are attributes too.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Xattr {
    /// Name with its namespace, for example `user.comment`.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Value.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub value: Vec<u8>,
}

/// Device and inode number: files with the same pair and several links are one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub struct FileKey {
    /// Device number of the file system.
    #[n(0)]
    pub device: u64,
    /// Inode number.
    #[n(1)]
    pub inode: u64,
}

/// One name in a directory and all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// Name, any bytes but `/` and NUL; empty only for the root of a snapshot.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// What it is.
    #[n(1)]
    pub kind: EntryType,
    /// Permission bits, including set-uid, set-gid and sticky.
    #[n(2)]
    pub mode: u32,
    /// Numeric owner.
    #[n(3)]
    pub uid: u32,
    /// Numeric group.
    #[n(4)]
    pub gid: u32,
    /// Time of last content change.
    #[n(5)]
    pub mtime: Timestamp,
    /// Time of last metadata change; to detect change, never restored.
    #[n(6)]
    pub ctime: Option<Timestamp>,
    /// Inode number; to detect change.
    #[n(7)]
    pub inode: Option<u64>,
    /// Length of a file, in bytes.
    #[n(8)]
    pub size: u64,
    /// Content of a file; absent when it is empty.
    #[cbor(n(9), with = "content_bytes", has_nil)]
    pub content: Option<Content>,
    /// Tree node of a directory; absent when it is empty.
    #[n(10)]
    pub subtree: Option<BlobId>,
    /// Target of a symbolic link.
    #[cbor(n(11), with = "minicbor::bytes")]
    pub target: Option<Vec<u8>>,
    /// Extended attributes, sorted by name.
    #[n(12)]
    pub xattrs: Option<Vec<Xattr>>,
    /// Device number of a device node.
    #[n(13)]
    pub device: Option<u64>,
    /// Set when the file had several links.
    #[n(14)]
    pub link: Option<FileKey>,
    /// Chunking policy of the content (the chunker's code).
    #[n(15)]
    pub policy: Option<u8>,
    /// Owner's name where known.
    #[n(16)]
    pub user: Option<String>,
    /// Group's name where known.
    #[n(17)]
    pub group: Option<String>,
    /// Files and bytes below a directory.
    #[n(18)]
    pub totals: Option<Totals>,
    /// True when the file changed while it was read, so that its content may mix two states.
    #[n(19)]
    pub torn: Option<bool>,
}

impl Entry {
    /// An entry of which nothing but name and kind is known: no rights, owner 0, no content.
    #[must_use]
    pub fn new(name: impl Into<Vec<u8>>, kind: EntryType) -> Self {
        Self {
            name: name.into(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: Timestamp::default(),
            ctime: None,
            inode: None,
            size: 0,
            content: None,
            subtree: None,
            target: None,
            xattrs: None,
            device: None,
            link: None,
            policy: None,
            user: None,
            group: None,
            totals: None,
            torn: None,
        }
    }
}

/// Sums over everything below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Totals {
    /// Entries that are not directories.
    #[n(0)]
    pub files: u64,
    /// Sum of their sizes, in bytes.
    #[n(1)]
    pub bytes: u64,
}

impl Totals {
    /// Adds `other`.
    pub fn add(&mut self, other: Self) {
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

mod content_bytes {
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    use super::{Content, decode_extents, encode_extents};

    pub(super) fn encode<Ctx, W: Write>(
        content: &Option<Content>,
        e: &mut Encoder<W>,
        _: &mut Ctx,
    ) -> Result<(), EncodeError<W::Error>> {
        match content {
            None => e.null()?.ok(),
            Some(content) => e.bytes(&encode_extents(content))?.ok(),
        }
    }

    pub(super) fn decode<Ctx>(
        d: &mut Decoder<'_>,
        _: &mut Ctx,
    ) -> Result<Option<Content>, DecodeError> {
        if d.datatype()? == minicbor::data::Type::Null {
            d.null()?;
            return Ok(None);
        }
        decode_extents(d.bytes()?)
            .map(Some)
            .map_err(|_| DecodeError::message("a content is malformed"))
    }

    pub(super) fn is_nil(content: &Option<Content>) -> bool {
        content.is_none()
    }

    #[expect(clippy::unnecessary_wraps, reason = "the shape the derive macro calls")]
    pub(super) fn nil() -> Option<Option<Content>> {
        Some(None)
    }
}

/// One child of an interior node.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Child {
    /// The last (greatest) name below.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub last: Vec<u8>,
    /// The node.
    #[n(1)]
    pub node: BlobId,
    /// Entries below.
    #[n(2)]
    pub entries: u64,
}

/// A decoded node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Entries of the directory, sorted by name.
    Leaf(Vec<Entry>),
    /// Nodes of the same directory, sorted by name.
    Interior(Vec<Child>),
}

impl Node {
    /// Decodes a node and checks that names are valid and strictly ascending.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > NODE_MAX {
            return Err(malformed(WHAT, "it is too long"));
        }
        match bytes.split_first() {
            Some((&LEAF, rest)) => {
                let entries: Vec<Entry> = decode_cbor(WHAT, rest)?;
                ascending(entries.iter().map(|entry| &entry.name))?;
                let times = entries
                    .iter()
                    .flat_map(|entry| [Some(entry.mtime), entry.ctime]);
                if times.flatten().any(|time| time.nanos > 999_999_999) {
                    return Err(malformed(WHAT, "a time is out of range"));
                }
                Ok(Self::Leaf(entries))
            }
            Some((&INTERIOR, rest)) => {
                let children: Vec<Child> = decode_cbor(WHAT, rest)?;
                ascending(children.iter().map(|child| &child.last))?;
                Ok(Self::Interior(children))
            }
            _ => Err(malformed(WHAT, "unknown node type")),
        }
    }
}

/// Names come from storage and end up in paths: nothing that could leave a directory is let in.
fn ascending<'a>(names: impl Iterator<Item = &'a Vec<u8>>) -> Result<(), Error> {
    let mut before: Option<&Vec<u8>> = None;
    for name in names {
        let bad = name.is_empty()
            || name == b"."
            || name == b".."
            || name.iter().any(|byte| matches!(byte, 0 | b'/'));
        if bad {
            return Err(malformed(WHAT, "a name is not allowed"));
        }
        if before.is_some_and(|before| before >= name) {
            return Err(malformed(WHAT, "names are not in ascending order"));
        }
        before = Some(name);
    }
    Ok(())
}

/// Whether a writer closes a leaf after the entry `name`: one name in 128. Any split reads the
/// same; equal splits deduplicate.
#[must_use]
pub fn ends_leaf(name: &[u8]) -> bool {
    blake3::hash(name).as_bytes()[0] & 0x7f == 0
}

/// Whether a writer closes an interior node or chunk list after the item `id`: one in 64.
#[must_use]
pub fn ends_list(id: &BlobId) -> bool {
    id.0[0] & 0x3f == 0
}

/// Collects encoded items of one node.
#[derive(Debug, Default)]
pub struct NodeBuilder {
    items: Vec<u8>,
    count: u64,
}

impl NodeBuilder {
    /// Appends an entry of a leaf. The caller keeps the order.
    pub fn push_entry(&mut self, entry: &Entry) {
        self.items.append(&mut encode_cbor(entry));
        self.count += 1;
    }

    /// Appends a child of an interior node. The caller keeps the order.
    pub fn push_child(&mut self, child: &Child) {
        self.items.append(&mut encode_cbor(child));
        self.count += 1;
    }

    /// Items so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is no item yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The bytes of a leaf; the builder is empty afterwards.
    pub fn take_leaf(&mut self) -> Vec<u8> {
        self.take(LEAF)
    }

    /// The bytes of an interior node; the builder is empty afterwards.
    pub fn take_interior(&mut self) -> Vec<u8> {
        self.take(INTERIOR)
    }

    fn take(&mut self, kind: u8) -> Vec<u8> {
        let mut node = Vec::with_capacity(self.items.len() + 10);
        node.push(kind);
        let mut encoder = minicbor::Encoder::new(&mut node);
        let done = encoder.array(self.count);
        debug_assert!(done.is_ok(), "writing to memory cannot fail");
        node.append(&mut self.items);
        self.count = 0;
        node
    }
}

#[cfg(test)]
mod tests;
