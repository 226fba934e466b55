//! Reading trees: entries of directories and extents of files, in order, one node at a time.
//!
//! Iterators hold one node per level, so a directory of a million entries or a file of a million
//! chunks is walked in constant memory. Blocks on the store; for worker threads.

use std::sync::Arc;

use repo_format::tree::{Child, Entry, Node};
use repo_format::{BlobId, BlobKind, Content, Extent, decode_extents, limits};

use crate::error::{Error, Result};
use crate::repository::{Blob, IndexSet, Repository};

/// Reads the trees of one repository through the index of one state.
#[derive(Clone)]
pub(crate) struct Trees {
    repository: Repository,
    index: Arc<IndexSet>,
}

impl Trees {
    pub(crate) fn open(repository: &Repository) -> Result<Self> {
        Ok(Self {
            repository: repository.clone(),
            index: repository.index()?,
        })
    }

    /// Reads through an index of its own.
    pub(crate) fn with_index(repository: &Repository, index: &Arc<IndexSet>) -> Self {
        Self {
            repository: repository.clone(),
            index: Arc::clone(index),
        }
    }

    pub(crate) fn index(&self) -> &Arc<IndexSet> {
        &self.index
    }

    pub(crate) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// A chunk of file content.
    pub(crate) fn chunk(&self, id: &BlobId) -> Result<Blob> {
        self.repository
            .inner
            .segments
            .blob(&self.index, BlobKind::Data, id)
    }

    fn blob(&self, id: &BlobId) -> Result<Blob> {
        self.repository
            .inner
            .segments
            .blob(&self.index, BlobKind::Tree, id)
    }

    pub(crate) fn node(&self, id: &BlobId) -> Result<Node> {
        let blob = self.blob(id)?;
        Node::decode(&blob).map_err(|source| Error::object(format!("tree node {id}"), source))
    }

    pub(crate) fn list(&self, id: &BlobId, level: u8, len: u64) -> Result<Content> {
        let blob = self.blob(id)?;
        let bad = |source| Error::object(format!("chunk list {id}"), source);
        let content = decode_extents(&blob).map_err(bad)?;
        if content.level != level || content.len() != len {
            return Err(bad(repo_format::Error::Malformed {
                what: "chunk list",
                why: "it does not span what its parent says",
            }));
        }
        Ok(content)
    }

    /// Entries of the directory whose tree is `root`, in name order.
    pub(crate) fn entries(&self, root: Option<BlobId>) -> Entries {
        Entries {
            trees: self.clone(),
            stack: Vec::new(),
            leaf: Vec::new().into_iter(),
            next: root,
            failed: false,
        }
    }

    /// The entry `name` of the directory whose tree is `root`.
    pub(crate) fn find(&self, root: Option<BlobId>, name: &[u8]) -> Result<Option<Entry>> {
        let mut next = root;
        let mut depth = 0;
        while let Some(id) = next {
            depth += 1;
            if depth > limits::DEPTH_MAX {
                return Err(too_deep(&id));
            }
            match self.node(&id)? {
                Node::Leaf(entries) => {
                    return Ok(entries.into_iter().find(|entry| entry.name == name));
                }
                Node::Interior(children) => {
                    let at = children.partition_point(|child| child.last.as_slice() < name);
                    next = children.get(at).map(|child| child.node);
                }
            }
        }
        Ok(None)
    }

    /// Chunks and holes of `content` from file offset `from` on: each with its own offset. The
    /// first one spans `from`.
    pub(crate) fn extents(&self, content: &Content, from: u64) -> Extents {
        let mut extents = Extents {
            trees: self.clone(),
            stack: Vec::new(),
            offset: 0,
            from,
            failed: false,
        };
        extents.push(content.clone());
        extents
    }
}

pub(crate) fn too_deep(id: &BlobId) -> Error {
    Error::object(
        format!("tree node {id}"),
        repo_format::Error::Malformed {
            what: "tree",
            why: "it is nested too deep",
        },
    )
}

/// Iterator over the entries of one directory.
pub(crate) struct Entries {
    trees: Trees,
    stack: Vec<std::vec::IntoIter<Child>>,
    leaf: std::vec::IntoIter<Entry>,
    next: Option<BlobId>,
    failed: bool,
}

impl Entries {
    fn load(&mut self, id: &BlobId) -> Result<()> {
        if self.stack.len() > usize::from(limits::DEPTH_MAX) {
            return Err(too_deep(id));
        }
        match self.trees.node(id)? {
            Node::Leaf(entries) => self.leaf = entries.into_iter(),
            Node::Interior(children) => self.stack.push(children.into_iter()),
        }
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.failed {
                return None;
            }
            if let Some(entry) = self.leaf.next() {
                return Some(Ok(entry));
            }
            let id = match self.next.take() {
                Some(id) => id,
                None => match self.stack.last_mut()?.next() {
                    Some(child) => child.node,
                    None => {
                        self.stack.pop();
                        continue;
                    }
                },
            };
            if let Err(error) = self.load(&id) {
                self.failed = true;
                return Some(Err(error));
            }
        }
    }
}

/// Iterator over the chunks and holes of one file, with their offsets.
pub(crate) struct Extents {
    trees: Trees,
    stack: Vec<(u8, std::vec::IntoIter<Extent>)>,
    offset: u64,
    from: u64,
    failed: bool,
}

impl Extents {
    fn push(&mut self, content: Content) {
        self.stack
            .push((content.level, content.extents.into_iter()));
    }
}

impl Iterator for Extents {
    type Item = Result<(u64, Extent)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.failed {
                return None;
            }
            let (level, list) = self.stack.last_mut()?;
            let level = *level;
            let Some(extent) = list.next() else {
                self.stack.pop();
                continue;
            };
            if self.offset + extent.len <= self.from {
                self.offset += extent.len;
                continue;
            }
            match (level, extent.id) {
                (0, _) | (_, None) => {
                    let offset = self.offset;
                    self.offset += extent.len;
                    return Some(Ok((offset, extent)));
                }
                (level, Some(id)) => match self.trees.list(&id, level - 1, extent.len) {
                    Ok(content) => self.push(content),
                    Err(error) => {
                        self.failed = true;
                        return Some(Err(error));
                    }
                },
            }
        }
    }
}
