//! Random access to trees and files, for programs that serve many small requests: mounts, servers,
//! viewers.
//!
//! What was decoded is kept within named budgets and shared by all who read. The index follows the
//! newest state: when a blob is not where it was, a collector may have moved it, and the log is read
//! on. All of it blocks; call it from threads that may.

mod cache;
mod file;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use repo_format::tree::{Entry, EntryType, Node};
use repo_format::{BlobId, BlobKind, Content, limits};

use crate::archive::tree::{Trees, too_deep};
use crate::error::{Error, Result};
use crate::limits::{READER_NODE_BYTES, READER_SEGMENT_BYTES};
use crate::repository::{ReadBuffers, Repository, SegmentAddress};
use tokio::time::Instant;

use cache::{Held, Segments, Weighted};
pub use file::FileReader;

/// When something is missing, the log is read on at most so often: what is lost for good must not
/// turn each read into requests.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// Reads directories and files of one repository. Cheap to clone; clones share caches.
///
/// ```
/// # use std::sync::Arc;
/// # use repo_core::{Access, CreateOptions, Quiet, Repository, SnapshotOptions, Store};
/// # #[tokio::main(flavor = "multi_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let scratch = tempfile::tempdir()?;
/// # std::fs::write(scratch.path().join("numbers.txt"), "one two three")?;
/// # let store = Store::open("memory://", &[])?;
/// # let options = CreateOptions::default();
/// # let repo = Repository::create(store, &Access::Plain, &options).await?;
/// # let paths = [scratch.path().to_path_buf()];
/// # let options = SnapshotOptions::default();
/// # let report = repo.snapshot_paths(&paths, &options, Arc::new(Quiet)).await?;
/// # let id = report.id.ok_or("a dry run saves nothing")?;
/// let root = repo.view(&id)?.snapshot().root.clone();
/// let reader = repo.reader();
/// let text = tokio::task::spawn_blocking(move || {
///     let entry = reader.resolve(&root, b"numbers.txt")?.expect("it was saved");
///     reader.file(&entry)?.read(4, 3)
/// });
/// assert_eq!(text.await??, "two");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

struct Shared {
    repository: Repository,
    /// Trees through the index of the state of that number.
    trees: Mutex<Option<(u64, Trees)>>,
    renewed: Mutex<Option<Instant>>,
    nodes: Mutex<Weighted<BlobId, Node>>,
    lists: Mutex<Weighted<BlobId, Content>>,
    segments: Segments,
    ahead: file::Tasks,
}

/// Some entries of a directory, next to each other in name order, as they are stored.
#[derive(Clone)]
pub struct Leaf {
    id: BlobId,
    node: Arc<Node>,
}

impl Leaf {
    /// Name of the stored node.
    #[must_use]
    pub fn id(&self) -> BlobId {
        self.id
    }

    /// The entries, by name.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &*self.node {
            Node::Leaf(entries) => entries,
            Node::Interior(_) => &[],
        }
    }

    /// Where in the leaf the entry `name` is.
    #[must_use]
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        let entries = self.entries();
        let found = entries.binary_search_by(|entry| entry.name.as_slice().cmp(name));
        found.ok()
    }
}

impl Repository {
    /// Random access to its trees and files, with caches of its own. No request.
    #[must_use]
    pub fn reader(&self) -> Reader {
        let shared = Shared {
            repository: self.clone(),
            trees: Mutex::new(None),
            renewed: Mutex::new(None),
            nodes: Mutex::new(Weighted::new(READER_NODE_BYTES)),
            lists: Mutex::new(Weighted::new(READER_NODE_BYTES)),
            segments: Segments::new(READER_SEGMENT_BYTES),
            ahead: file::Tasks::default(),
        };
        Reader {
            shared: Arc::new(shared),
        }
    }
}

impl Reader {
    /// The repository that is read.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.shared.repository
    }

    /// The leaf `id`, as [`Leaf::id`] named it.
    pub fn leaf(&self, id: &BlobId) -> Result<Leaf> {
        let node = self.node(id)?;
        Ok(Leaf { id: *id, node })
    }

    /// The leaf of the directory `directory` in which the entry `name` is, if there is one.
    pub fn leaf_of(&self, directory: &Entry, name: &[u8]) -> Result<Option<Leaf>> {
        let leaf = self.descend(directory, |children| {
            children.partition_point(|child| child.last.as_slice() < name)
        })?;
        Ok(leaf.filter(|leaf| leaf.position(name).is_some()))
    }

    /// The leaf that holds entry number `ordinal` of a directory, from 0, and the number of its first
    /// entry. None after the last one.
    pub fn leaf_at(&self, directory: &Entry, ordinal: u64) -> Result<Option<(u64, Leaf)>> {
        let mut first = 0_u64;
        let mut expected = None;
        let leaf = self.descend(directory, |children| {
            let at = children.iter().position(|child| {
                let end = first.saturating_add(child.entries);
                if ordinal < end {
                    expected = Some(child.entries);
                    return true;
                }
                first = end;
                false
            });
            at.unwrap_or(children.len())
        })?;
        let Some(leaf) = leaf else { return Ok(None) };
        let entries = leaf.entries().len() as u64;
        if expected.is_some_and(|expected| expected != entries) {
            let why = "it does not hold as many entries as its parent says";
            return Err(malformed(&leaf.id, why));
        }
        Ok((ordinal - first < entries).then_some((first, leaf)))
    }

    /// Goes down from the root of a directory to a leaf, by the child that `choose` picks.
    fn descend(
        &self,
        directory: &Entry,
        mut choose: impl FnMut(&[repo_format::tree::Child]) -> usize,
    ) -> Result<Option<Leaf>> {
        let mut next = directory.subtree;
        for _ in 0..=limits::DEPTH_MAX {
            let Some(id) = next else { return Ok(None) };
            let node = self.node(&id)?;
            match &*node {
                Node::Leaf(_) => return Ok(Some(Leaf { id, node })),
                Node::Interior(children) => {
                    next = children.get(choose(children)).map(|child| child.node);
                }
            }
        }
        Err(too_deep(&next.unwrap_or(BlobId([0; 32]))))
    }

    /// The entry at `path` below `root`; components are separated by `/`, and no component is `root`
    /// itself.
    pub fn resolve(&self, root: &Entry, path: &[u8]) -> Result<Option<Entry>> {
        let mut entry = root.clone();
        for name in path.split(|byte| *byte == b'/') {
            if name.is_empty() {
                continue;
            }
            if entry.kind != EntryType::Directory {
                return Ok(None);
            }
            let leaf = self.leaf_of(&entry, name)?;
            let found = leaf.and_then(|leaf| {
                let at = leaf.position(name)?;
                leaf.entries().get(at).cloned()
            });
            match found {
                Some(found) => entry = found,
                None => return Ok(None),
            }
        }
        Ok(Some(entry))
    }

    /// The content of the file `entry`.
    pub fn file(&self, entry: &Entry) -> Result<FileReader> {
        if entry.kind != EntryType::File {
            return Err(Error::WrongType {
                path: String::from_utf8_lossy(&entry.name).into_owned(),
                wanted: "file",
            });
        }
        Ok(FileReader::new(self.clone(), entry))
    }

    fn node(&self, id: &BlobId) -> Result<Arc<Node>> {
        let lock = || {
            let nodes = self.shared.nodes.lock();
            nodes.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(node) = lock().get(id) {
            return Ok(node);
        }
        let (bytes, node) = self.with(|trees| {
            let blob = trees.read(BlobKind::Tree, id)?;
            let node = Node::decode(&blob);
            let node = node.map_err(|source| Error::object(format!("tree node {id}"), source))?;
            Ok((blob.len(), node))
        })?;
        let items = match &node {
            Node::Leaf(entries) => entries.len() * size_of::<Entry>(),
            Node::Interior(_) => 0,
        };
        let node = Arc::new(node);
        // What is on the heap beside the entries is about as long as it is encoded.
        lock().put(*id, items + 2 * bytes, Arc::clone(&node));
        Ok(node)
    }

    fn list(&self, id: &BlobId, level: u8, len: u64) -> Result<Arc<Content>> {
        let lock = || {
            let lists = self.shared.lists.lock();
            lists.unwrap_or_else(PoisonError::into_inner)
        };
        let known = lock().get(id);
        if let Some(list) = known.filter(|list| list.level == level && list.len() == len) {
            return Ok(list);
        }
        let list = self
            .with(|trees| trees.list(id, level, len))
            .map(Arc::new)?;
        let weight = list.extents.len() * size_of::<repo_format::Extent>();
        lock().put(*id, weight, Arc::clone(&list));
        Ok(list)
    }

    /// Where the chunk `id` lies.
    fn locate(&self, id: &BlobId) -> Result<(SegmentAddress, u16)> {
        self.with(|trees| {
            let at = trees.index().find(&id.key())?;
            let at = at.ok_or(Error::MissingBlob { id: *id })?;
            Ok((at.segment, at.ordinal))
        })
    }

    /// The decoded segment at `address`, read once for all who want it.
    fn segment(&self, address: &SegmentAddress) -> Result<Arc<Held>> {
        self.shared.segments.get(address, |mut segment| {
            let (_, trees) = self.trees()?;
            let mut buffers: ReadBuffers = self.shared.ahead.buffers();
            let segments = &self.shared.repository.inner.segments;
            let read = segments.read(trees.index(), address, &mut buffers, &mut segment);
            self.shared.ahead.give(buffers);
            read.map(|_| segment)
        })
    }

    /// A chunk: the segment it lies in, and where in its raw bytes.
    fn chunk(&self, id: &BlobId) -> Result<(Arc<Held>, std::ops::Range<usize>)> {
        let ring = &self.shared.repository.inner.ring;
        self.with(|_| {
            let (address, ordinal) = self.locate(id)?;
            let held = self.segment(&address)?;
            match held.chunk(ring, ordinal, id) {
                Some(range) => Ok((held, range)),
                None => Err(Error::DamagedBlob {
                    id: *id,
                    pack: address.pack,
                }),
            }
        })
    }

    /// The same, when its segment is decoded already and the chunk is what it should be.
    fn chunk_at_hand(&self, id: &BlobId) -> Result<Option<(Arc<Held>, std::ops::Range<usize>)>> {
        let (address, ordinal) = self.locate(id)?;
        let held = self.shared.segments.at_hand(&address);
        let ring = &self.shared.repository.inner.ring;
        Ok(held.and_then(|held| {
            let range = held.chunk(ring, ordinal, id)?;
            Some((held, range))
        }))
    }

    /// Trees through the index of the newest state known.
    fn trees(&self) -> Result<(u64, Trees)> {
        let lock = self.shared.trees.lock();
        let mut known = lock.unwrap_or_else(PoisonError::into_inner);
        let repository = &self.shared.repository;
        if let Some((number, trees)) = &*known
            && *number == repository.head()
        {
            return Ok((*number, trees.clone()));
        }
        let (state, index) = repository.state_and_index()?;
        let trees = Trees::with(repository, index);
        *known = Some((state.number, trees.clone()));
        Ok((state.number, trees))
    }

    /// Runs `work`, and once more through the index of a newer state when something was not there.
    fn with<T>(&self, work: impl Fn(&Trees) -> Result<T>) -> Result<T> {
        let (number, trees) = self.trees()?;
        let error = match work(&trees) {
            Err(error) if error.is_lost() => error,
            done => return done,
        };
        if self.shared.repository.head() == number {
            self.renew()?;
        }
        let (newer, trees) = self.trees()?;
        if newer == number {
            return Err(error);
        }
        work(&trees)
    }

    /// Reads the log on, unless that was done just now.
    fn renew(&self) -> Result<()> {
        let lock = self.shared.renewed.lock();
        let mut renewed = lock.unwrap_or_else(PoisonError::into_inner);
        if renewed.is_some_and(|at| at.elapsed() < RENEW_EVERY) {
            return Ok(());
        }
        let read = self.shared.repository.renewed();
        *renewed = Some(Instant::now());
        read.map(drop)
    }
}

fn malformed(id: &BlobId, why: &'static str) -> Error {
    let what = "tree node";
    Error::object(
        format!("{what} {id}"),
        repo_format::Error::Malformed { what, why },
    )
}
