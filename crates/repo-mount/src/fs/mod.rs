//! Snapshots as a file system: what a number or a name stands for.
//!
//! Everything in a snapshot is immutable, so the kernel may keep what it was told for long. Only the
//! lists above the snapshots change. Requests are in `requests`.

mod attr;
mod inodes;
mod layout;
mod requests;
mod spill;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::{Errno, FileAttr};
use lru::LruCache;
use repo_core::{Entry, EntryType, FileReader, Leaf, Reader, Repository, SnapshotRef};
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::limits::{LAYOUTS_KEPT, OPEN_FILES, REFRESH_EVERY, REFRESH_TIMEOUT};
use inodes::{Inodes, Kind, LeafOf, ROOT};
use layout::Layout;
pub(crate) use spill::{Spill, Spilling};

/// Which snapshots are shown.
pub type SnapshotFilter = Box<dyn Fn(&SnapshotRef) -> bool + Send + Sync>;

/// What the file system shows at its root.
pub(crate) enum Shown {
    /// Lists of the snapshots that the filter lets through.
    Lists(SnapshotFilter),
    /// What is in one snapshot.
    Snapshot(Box<SnapshotRef>),
}

/// The file system.
pub(crate) struct Fs {
    repository: Repository,
    reader: Reader,
    runtime: Handle,
    shown: Shown,
    owner: (u32, u32),
    inodes: Mutex<Inodes>,
    lists: Mutex<Lists>,
    /// Root entries of the snapshots shown, by number.
    roots: Mutex<HashMap<u64, Arc<Entry>>>,
    files: Mutex<LruCache<u64, Arc<FileReader>>>,
    spill: Spill,
}

struct Lists {
    layout: Arc<Layout>,
    /// Those before it, for listings that began with one of them.
    before: VecDeque<Arc<Layout>>,
    checked: Instant,
}

/// What a number stands for.
enum Node {
    List,
    Link(Arc<Layout>),
    Entry(Found),
}

/// An entry of a snapshot.
struct Found {
    /// Number of the snapshot's root.
    root: u64,
    at: At,
}

enum At {
    Root(Arc<Entry>),
    Leaf(Leaf, usize),
}

impl Found {
    fn entry(&self) -> Result<&Entry, Errno> {
        match &self.at {
            At::Root(entry) => Ok(entry),
            At::Leaf(leaf, index) => leaf.entries().get(*index).ok_or(Errno::EIO),
        }
    }

    fn directory(&self) -> Result<&Entry, Errno> {
        let entry = self.entry()?;
        match entry.kind {
            EntryType::Directory => Ok(entry),
            _ => Err(Errno::ENOTDIR),
        }
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the store or damage denied is an I/O error for who reads; the log tells the cause.
fn failed(error: repo_core::Error) -> Errno {
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    tracing::warn!(%error, cause, "a read of the mount failed");
    Errno::EIO
}

impl Fs {
    pub(crate) fn new(repository: Repository, shown: Shown, runtime: Handle) -> Self {
        let owner = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let inodes = Inodes::default();
        let reader = repository.reader();
        let layout = Arc::new(Layout::new(&inodes, 0, &[]));
        let files = NonZeroUsize::new(OPEN_FILES).unwrap_or(NonZeroUsize::MIN);
        let fs = Self {
            repository,
            reader,
            runtime,
            owner,
            inodes: Mutex::new(inodes),
            lists: Mutex::new(Lists {
                layout,
                before: VecDeque::new(),
                checked: Instant::now(),
            }),
            roots: Mutex::default(),
            files: Mutex::new(LruCache::new(files)),
            spill: Spill::default(),
            shown,
        };
        match &fs.shown {
            Shown::Snapshot(known) => {
                let root = Arc::new(known.snapshot.root.clone());
                lock(&fs.roots).insert(ROOT, root);
            }
            Shown::Lists(_) => fs.relist(&mut lock(&fs.lists)),
        }
        fs
    }

    /// Makes the lists anew when the repository has changed.
    fn relist(&self, lists: &mut Lists) {
        let Shown::Lists(filter) = &self.shown else {
            return;
        };
        let head = self.repository.head();
        if lists.layout.head == head && head != 0 {
            return;
        }
        let mut snapshots = self.repository.snapshots();
        snapshots.retain(|known| filter(known));
        let inodes = lock(&self.inodes);
        let layout = Arc::new(Layout::new(&inodes, head, &snapshots));
        lists
            .before
            .push_front(std::mem::replace(&mut lists.layout, layout));
        lists.before.truncate(LAYOUTS_KEPT);
        let mut roots = lock(&self.roots);
        for known in snapshots {
            let number = inodes.snapshot(&known.snapshot.id().0);
            roots
                .entry(number)
                .or_insert_with(|| Arc::new(known.snapshot.root.clone()));
        }
    }

    /// The lists as they are known.
    fn layout(&self) -> Arc<Layout> {
        Arc::clone(&lock(&self.lists).layout)
    }

    /// The lists of the state that `mark` names, if they are known yet.
    fn marked_layout(&self, mark: u64) -> Arc<Layout> {
        let lists = lock(&self.lists);
        let mut all = std::iter::once(&lists.layout).chain(&lists.before);
        let marked = all.find(|layout| layout.mark() == mark);
        Arc::clone(marked.unwrap_or(&lists.layout))
    }

    /// The lists, after a look at the log when the last is some time ago. Only one thread looks; a
    /// store that does not answer in time leaves them as they are.
    fn current_layout(&self) -> Arc<Layout> {
        {
            let mut lists = lock(&self.lists);
            if lists.checked.elapsed() < REFRESH_EVERY {
                return Arc::clone(&lists.layout);
            }
            lists.checked = Instant::now();
        }
        let refresh = self.repository.refresh();
        let refresh = async { tokio::time::timeout(REFRESH_TIMEOUT, refresh).await };
        match self.runtime.block_on(refresh) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "the list of snapshots may be old");
            }
            Err(_) => tracing::warn!("the list of snapshots may be old: the store is silent"),
        }
        let mut lists = lock(&self.lists);
        self.relist(&mut lists);
        Arc::clone(&lists.layout)
    }

    /// What is handed to the kernel unasked, closed at first.
    pub(crate) fn spill(&self) -> Spill {
        self.spill.clone()
    }

    fn node(&self, ino: u64) -> Result<Node, Errno> {
        if let Some(root) = lock(&self.roots).get(&ino) {
            return Ok(Node::Entry(Found {
                root: ino,
                at: At::Root(Arc::clone(root)),
            }));
        }
        match inodes::kind(ino) {
            Kind::Snapshot => Err(Errno::ESTALE),
            Kind::List => {
                let layout = self.layout();
                if layout.get(ino).is_some() {
                    return Ok(Node::List);
                }
                match layout.target(ino) {
                    Some(_) => Ok(Node::Link(layout)),
                    // A list or link that is gone.
                    None => Err(Errno::ESTALE),
                }
            }
            Kind::Entry => {
                let place = lock(&self.inodes).place(ino).ok_or(Errno::ESTALE)?;
                let leaf = self.reader.leaf(&place.leaf).map_err(failed)?;
                Ok(Node::Entry(Found {
                    root: place.root,
                    at: At::Leaf(leaf, place.index),
                }))
            }
        }
    }

    fn found(&self, ino: u64) -> Result<Found, Errno> {
        match self.node(ino)? {
            Node::Entry(found) => Ok(found),
            Node::List => Err(Errno::EISDIR),
            Node::Link(_) => Err(Errno::EINVAL),
        }
    }

    fn attr(&self, ino: u64) -> Result<(FileAttr, bool), Errno> {
        Ok(match self.node(ino)? {
            Node::Entry(found) => (attr::of_entry(ino, found.entry()?), true),
            Node::List => {
                let time = self.current_layout().time;
                (attr::of_list(ino, None, time, self.owner), false)
            }
            Node::Link(layout) => {
                let target = layout.target(ino);
                (attr::of_list(ino, target, layout.time, self.owner), false)
            }
        })
    }

    /// Attributes of what a list names, and whether they may be kept for long.
    fn item(&self, layout: &Layout, ino: u64, item: &layout::Item) -> Option<FileAttr> {
        match item {
            layout::Item::List => Some(attr::of_list(ino, None, layout.time, self.owner)),
            layout::Item::Link(target) => {
                Some(attr::of_list(ino, Some(target), layout.time, self.owner))
            }
            layout::Item::Snapshot => {
                let root = lock(&self.roots).get(&ino).map(Arc::clone)?;
                Some(attr::of_entry(ino, &root))
            }
        }
    }

    /// The child `name` of the directory `found`, which the kernel is told of.
    fn child(&self, parent: u64, found: &Found, name: &[u8]) -> Result<Option<FileAttr>, Errno> {
        let directory = found.directory()?;
        let leaf = self.reader.leaf_of(directory, name).map_err(failed)?;
        let Some(leaf) = leaf else { return Ok(None) };
        let Some(index) = leaf.position(name) else {
            return Ok(None);
        };
        let entry = leaf.entries().get(index).ok_or(Errno::EIO)?;
        let at = LeafOf {
            root: found.root,
            directory: parent,
            leaf: leaf.id(),
        };
        let ino = lock(&self.inodes).entry(at, index, entry, true);
        Ok(Some(attr::of_entry(ino, entry)))
    }

    /// The open file `ino`. Who reads several files in turn finds each where it was.
    fn file(&self, ino: u64) -> Result<Arc<FileReader>, Errno> {
        if let Some(file) = lock(&self.files).get(&ino) {
            return Ok(Arc::clone(file));
        }
        let found = self.found(ino)?;
        let file = self.reader.file(found.entry()?).map_err(failed)?;
        let file = Arc::new(file);
        let mut files = lock(&self.files);
        let file = files.get_or_insert(ino, || file);
        Ok(Arc::clone(file))
    }
}
