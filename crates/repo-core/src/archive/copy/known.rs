//! What a copy knows of ids: pairs of an id in the source and the id of the same bytes in the
//! target, and where to find more of them.
//!
//! An earlier snapshot and its copy have the same shape, so their nodes, lists and chunks are
//! pairs. They are read side by side only below what differs from the snapshot being copied, and
//! the pairs are remembered in a bounded map. A pair that is not known costs the reading of a
//! chunk, never a wrong copy.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::rc::Rc;

use lru::LruCache;
use repo_format::tree::{Entry, Node};
use repo_format::{BlobId, Content, limits};

use crate::archive::tree::Trees;
use crate::error::Result;
use crate::limits::COPY_PAIRS_MAX;

/// Bytes of the earlier version looked at around a place, because content may have moved.
const AROUND: u64 = 1 << 20;

/// Pairs of ids; the least recently used ones are dropped.
pub(in crate::archive) struct Known(LruCache<BlobId, BlobId>);

impl Default for Known {
    fn default() -> Self {
        Self(LruCache::new(
            NonZeroUsize::new(COPY_PAIRS_MAX).unwrap_or(NonZeroUsize::MIN),
        ))
    }
}

impl Known {
    pub(in crate::archive) fn get(&mut self, id: &BlobId) -> Option<BlobId> {
        self.0.get(id).copied()
    }

    /// Ids in the target.
    pub(in crate::archive) fn targets(&self) -> impl Iterator<Item = &BlobId> {
        self.0.iter().map(|(_, target)| target)
    }

    pub(in crate::archive) fn put(&mut self, id: BlobId, target: BlobId) {
        self.0.put(id, target);
    }
}

/// An earlier snapshot of the source, and its copy.
pub(in crate::archive) struct Reference {
    source: Trees,
    target: Trees,
    roots: (BlobId, BlobId),
}

/// A directory of the earlier snapshot, and its copy.
pub(in crate::archive) struct Directory {
    nodes: (BlobId, BlobId),
    /// The leaves looked at last.
    leaves: RefCell<(Vec<Entry>, Vec<Entry>)>,
}

/// The content of a file of the earlier snapshot, and its copy.
pub(in crate::archive) type Contents = Rc<(Content, Content)>;

impl Reference {
    pub(in crate::archive) fn new(source: (Trees, BlobId), target: (Trees, BlobId)) -> Self {
        Self {
            roots: (source.1, target.1),
            source: source.0,
            target: target.0,
        }
    }

    pub(in crate::archive) fn roots(&self) -> (BlobId, BlobId) {
        self.roots
    }

    /// Opens a directory whose present version differs. Its nodes become known, as far as that
    /// takes no reading of leaves.
    pub(in crate::archive) fn directory(
        &self,
        nodes: (BlobId, BlobId),
        known: &mut Known,
    ) -> Rc<Directory> {
        if let Err(error) = self.nodes(nodes, known, 0) {
            tracing::debug!(%error, "an earlier copy cannot be read");
        }
        Rc::new(Directory {
            nodes,
            leaves: RefCell::default(),
        })
    }

    fn nodes(&self, (a, b): (BlobId, BlobId), known: &mut Known, depth: u8) -> Result<bool> {
        known.put(a, b);
        if depth > limits::DEPTH_MAX {
            return Ok(false);
        }
        let (Node::Interior(a), Node::Interior(b)) = (self.source.node(&a)?, self.target.node(&b)?)
        else {
            return Ok(false);
        };
        if !a
            .iter()
            .map(|child| &child.last)
            .eq(b.iter().map(|child| &child.last))
        {
            return Ok(true);
        }
        let pairs = a.iter().zip(&b).map(|(a, b)| (a.node, b.node));
        let mut deeper = true;
        for pair in pairs {
            known.put(pair.0, pair.1);
            // All children of a node are leaves, or none is.
            if deeper {
                deeper = self.nodes(pair, known, depth + 1)?;
            }
        }
        Ok(true)
    }

    /// The entry `name` of the earlier directory, and its copy.
    pub(in crate::archive) fn entry(
        &self,
        directory: &Directory,
        name: &[u8],
    ) -> Option<(Entry, Entry)> {
        let mut leaves = directory.leaves.borrow_mut();
        let (first, last) = (leaves.0.first(), leaves.0.last());
        let inside = first.is_some_and(|entry| entry.name.as_slice() <= name)
            && last.is_some_and(|entry| name <= entry.name.as_slice());
        if !inside {
            match self.leaves(directory.nodes, name) {
                Ok(Some(found)) => *leaves = found,
                Ok(None) => return None,
                Err(error) => {
                    tracing::debug!(%error, "an earlier copy cannot be read");
                    return None;
                }
            }
        }
        let find = |entries: &[Entry]| {
            let at = entries.binary_search_by(|entry| entry.name.as_slice().cmp(name));
            at.ok().map(|at| entries[at].clone())
        };
        let (a, b) = (find(&leaves.0)?, find(&leaves.1)?);
        (a.kind == b.kind && a.size == b.size).then_some((a, b))
    }

    /// The leaves that would hold `name`.
    fn leaves(
        &self,
        (mut a, mut b): (BlobId, BlobId),
        name: &[u8],
    ) -> Result<Option<(Vec<Entry>, Vec<Entry>)>> {
        for _ in 0..=limits::DEPTH_MAX {
            match (self.source.node(&a)?, self.target.node(&b)?) {
                (Node::Leaf(a), Node::Leaf(b)) => return Ok(Some((a, b))),
                (Node::Interior(above), Node::Interior(copy)) => {
                    let at = above.partition_point(|child| child.last.as_slice() < name);
                    let (Some(child), Some(other)) = (above.get(at), copy.get(at)) else {
                        return Ok(None);
                    };
                    if child.last != other.last {
                        return Ok(None);
                    }
                    (a, b) = (child.node, other.node);
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Makes known what the earlier version of a file has in and near `range`: its chunks for
    /// `level` 0, its lists of level `level - 1` above.
    pub(in crate::archive) fn contents(
        &self,
        contents: &Contents,
        range: &Range<u64>,
        level: u8,
        known: &mut Known,
    ) {
        let near = range.start.saturating_sub(AROUND)..range.end.saturating_add(AROUND);
        if let Err(error) = self.extents((&contents.0, &contents.1), 0, &near, level, known) {
            tracing::debug!(%error, "an earlier copy cannot be read");
        }
    }

    fn extents(
        &self,
        (a, b): (&Content, &Content),
        mut offset: u64,
        near: &Range<u64>,
        level: u8,
        known: &mut Known,
    ) -> Result<()> {
        if a.level != b.level {
            return Ok(());
        }
        for (extent, copy) in a.extents.iter().zip(&b.extents) {
            let end = offset.saturating_add(extent.len);
            if extent.len != copy.len || offset >= near.end {
                return Ok(());
            }
            if let (Some(id), Some(target)) = (extent.id, copy.id)
                && end > near.start
            {
                known.put(id, target);
                if a.level > level {
                    let below = a.level - 1;
                    let lists = (
                        self.source.list(&id, below, extent.len)?,
                        self.target.list(&target, below, copy.len)?,
                    );
                    self.extents((&lists.0, &lists.1), offset, near, level, known)?;
                }
            }
            offset = end;
        }
        Ok(())
    }
}
