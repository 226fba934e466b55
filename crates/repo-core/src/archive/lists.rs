//! Writing trees: directories as nodes, long contents as chunk lists, both split by content.
//!
//! A boundary depends on what stands there and not on how much came before, so a change rewrites
//! the node around it and the path to the root, and nothing else.

use repo_format::tree::{Child, Entry, NodeBuilder};
use repo_format::{BlobId, BlobKind, Content, Extent, encode_extents};

use crate::error::Result;
use crate::repository::{Encoder, SegmentWriter, Session};

/// No node or list is closed with fewer items, unless it is the last.
const ITEMS_MIN: usize = 16;
/// A chunk list is closed at this length at the latest.
const LIST_MAX: usize = 256;
/// A tree node is closed at this encoded length at the latest, in bytes.
const NODE_BYTES: usize = 128 << 10;
/// A content of so many extents stands in the entry itself.
const INLINE_MAX: usize = 64;
/// Extents gathered before complete lists are written.
const PENDING_MAX: usize = 1024;

/// Where tree blobs go: claims them and appends new ones to a segment.
pub(crate) struct TreeSink<'a> {
    pub(crate) session: &'a Session,
    pub(crate) encoder: &'a mut Encoder,
    pub(crate) writer: &'a mut SegmentWriter,
}

impl TreeSink<'_> {
    /// Stores a tree blob the repository lacks; its id either way.
    pub(crate) fn store(&mut self, blob: &[u8]) -> Result<BlobId> {
        let id = self.session.ring().blob_id(BlobKind::Tree, blob);
        if self.session.claim(&id)? {
            self.writer.push(self.session, self.encoder, id, blob)?;
        }
        Ok(id)
    }
}

/// Gathers the entries of one directory, in name order.
#[derive(Default)]
pub(crate) struct DirectoryWriter {
    leaf: NodeBuilder,
    last: Vec<u8>,
    interiors: Vec<Interior>,
}

#[derive(Default)]
struct Interior {
    builder: NodeBuilder,
    last: Vec<u8>,
    entries: u64,
}

impl DirectoryWriter {
    pub(crate) fn push(&mut self, entry: &Entry, sink: &mut TreeSink<'_>) -> Result<()> {
        self.leaf.push_entry(entry);
        self.last.clone_from(&entry.name);
        let enough = self.leaf.count() >= ITEMS_MIN as u64;
        if (enough && repo_format::tree::ends_leaf(&entry.name)) || self.leaf.len() >= NODE_BYTES {
            self.close_leaf(sink)?;
        }
        Ok(())
    }

    fn close_leaf(&mut self, sink: &mut TreeSink<'_>) -> Result<()> {
        let entries = self.leaf.count();
        let node = sink.store(&self.leaf.take_leaf())?;
        let child = Child {
            last: std::mem::take(&mut self.last),
            node,
            entries,
        };
        self.push_child(0, child, sink)
    }

    fn push_child(&mut self, level: usize, child: Child, sink: &mut TreeSink<'_>) -> Result<()> {
        if self.interiors.len() == level {
            self.interiors.push(Interior::default());
        }
        let interior = &mut self.interiors[level];
        interior.builder.push_child(&child);
        interior.entries += child.entries;
        let enough = interior.builder.count() >= ITEMS_MIN as u64;
        let ends = enough && repo_format::tree::ends_list(&child.node);
        interior.last = child.last;
        if ends || interior.builder.len() >= NODE_BYTES {
            let child = interior.close(sink)?;
            self.push_child(level + 1, child, sink)?;
        }
        Ok(())
    }

    /// Closes all nodes. `None` for an empty directory.
    pub(crate) fn finish(mut self, sink: &mut TreeSink<'_>) -> Result<Option<BlobId>> {
        if self.interiors.is_empty() {
            if self.leaf.is_empty() {
                return Ok(None);
            }
            return sink.store(&self.leaf.take_leaf()).map(Some);
        }
        if !self.leaf.is_empty() {
            self.close_leaf(sink)?;
        }
        let mut level = 0;
        loop {
            let top = level + 1 == self.interiors.len();
            let interior = &mut self.interiors[level];
            if top {
                return interior.close(sink).map(|child| Some(child.node));
            }
            if !interior.builder.is_empty() {
                let child = interior.close(sink)?;
                self.push_child(level + 1, child, sink)?;
            }
            level += 1;
        }
    }
}

impl Interior {
    fn close(&mut self, sink: &mut TreeSink<'_>) -> Result<Child> {
        Ok(Child {
            node: sink.store(&self.builder.take_interior())?,
            last: std::mem::take(&mut self.last),
            entries: std::mem::take(&mut self.entries),
        })
    }
}

/// Gathers the extents of one file, in order.
#[derive(Default)]
pub(crate) struct ContentWriter {
    levels: Vec<Vec<Extent>>,
}

impl ContentWriter {
    pub(crate) fn push(&mut self, extent: Extent, sink: &mut TreeSink<'_>) -> Result<()> {
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
        }
        self.levels[0].push(extent);
        if self.levels[0].len() >= PENDING_MAX {
            self.close_lists(0, false, sink)?;
        }
        Ok(())
    }

    /// Writes the complete lists among the pending extents of a level; the rest stays, unless
    /// `all`.
    fn close_lists(&mut self, level: usize, all: bool, sink: &mut TreeSink<'_>) -> Result<()> {
        let mut rest = std::mem::take(&mut self.levels[level]);
        if self.levels.len() == level + 1 {
            self.levels.push(Vec::new());
        }
        let mut start = 0;
        for at in 0..rest.len() {
            let len = at + 1 - start;
            let ends = rest[at]
                .id
                .is_some_and(|id| repo_format::tree::ends_list(&id));
            let last = all && at + 1 == rest.len();
            if (len >= ITEMS_MIN && ends) || len >= LIST_MAX || last {
                let list = Content {
                    level: u8::try_from(level).unwrap_or(u8::MAX),
                    extents: rest[start..=at].to_vec(),
                };
                let id = sink.store(&encode_extents(&list))?;
                self.levels[level + 1].push(Extent {
                    len: list.len(),
                    id: Some(id),
                });
                start = at + 1;
            }
        }
        rest.drain(..start);
        self.levels[level] = rest;
        Ok(())
    }

    /// The content to put into the entry; `None` when the file is empty.
    pub(crate) fn finish(mut self, sink: &mut TreeSink<'_>) -> Result<Option<Content>> {
        let mut level = 0;
        while level < self.levels.len() {
            let top = level + 1 == self.levels.len();
            if top && self.levels[level].len() <= INLINE_MAX {
                return Ok(Some(Content {
                    level: u8::try_from(level).unwrap_or(u8::MAX),
                    extents: std::mem::take(&mut self.levels[level]),
                }));
            }
            self.close_lists(level, true, sink)?;
            level += 1;
        }
        Ok(None)
    }
}
