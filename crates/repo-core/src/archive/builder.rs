//! Snapshots of what is not a directory tree on this machine: an adapter names each entry, keeps
//! those of the parent that did not change, and gives the bytes of the others.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use repo_format::tree::{Entry, EntryType, Totals};
use repo_format::{PathBytes, Snapshot};

use crate::archive::assemble::Assembled;
use crate::archive::content::{self, FileSource, ReadAt, StreamSource};
use crate::archive::lists::DirectoryWriter;
use crate::archive::meta::Names;
use crate::archive::options::{SnapshotOptions, SnapshotReport};
use crate::archive::roots::synthetic;
use crate::archive::run::Run;
use crate::archive::snapshot::{Job, Subject, overtaken, take};
use crate::archive::view;
use crate::archive::worker::{Worker, Workers};
use crate::error::{Error, Result};
use crate::limits::{BUILD_DEPTH_MAX, SNAPSHOT_ATTEMPTS};
use crate::progress::Progress;
use crate::repository::Repository;

/// What an adapter takes a snapshot of.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Kind of source to record, such as `postgres`.
    pub kind: &'static str,
    /// Places to record. With host and kind they decide which earlier snapshot is the parent.
    pub paths: Vec<PathBytes>,
    /// The work may be done again from its start when a collection overtook it.
    pub restart: bool,
}

/// A snapshot that an adapter is filling. Paths are relative to the root of the snapshot,
/// components separated by `/`; directories on the way to an entry are made unless they are put.
/// All methods may be called from many threads at once.
///
/// Entries are held until the end, about 500 bytes each.
pub struct Builder<'b> {
    run: &'b Run<'b>,
    workers: &'b Workers,
    parent: Option<&'b Snapshot>,
    root: Mutex<Node>,
    /// Something the parent relies on was collected meanwhile.
    lost: AtomicBool,
}

/// An entry with what is below it.
#[derive(Default)]
struct Node {
    entry: Option<Entry>,
    below: BTreeMap<Vec<u8>, Self>,
}

impl Repository {
    /// Takes a snapshot of what `work` puts into the builder, on a thread that may block.
    ///
    /// Nothing is visible before the commit at the end; an error of `work` leaves no snapshot.
    pub async fn build_snapshot<E, F>(
        &self,
        what: BuildOptions,
        options: &SnapshotOptions,
        progress: Arc<dyn Progress>,
        mut work: F,
    ) -> Result<SnapshotReport, E>
    where
        E: From<Error> + Send + 'static,
        F: FnMut(&Builder<'_>) -> Result<(), E> + Send + 'static,
    {
        self.writable()?;
        let (repository, options) = (self.clone(), options.clone());
        let built = tokio::task::spawn_blocking(move || {
            let attempts = if what.restart { SNAPSHOT_ATTEMPTS } else { 1 };
            let mut attempt = 1;
            loop {
                let (taken, lost) = build(&repository, &what, &options, &progress, &mut work);
                let again = attempt < attempts
                    && match &taken {
                        Err(Failed::Own(error)) => overtaken(&repository, error)?,
                        Err(Failed::Work(_)) => lost && repository.renewed()?.is_some(),
                        Ok(_) => false,
                    };
                if !again {
                    return taken.map_err(|failed| match failed {
                        Failed::Own(error) => E::from(error),
                        Failed::Work(error) => error,
                    });
                }
                attempt += 1;
            }
        });
        built
            .await
            .map_err(|_| Error::Internal { what: "adapter" })?
    }
}

/// Why a snapshot was not built.
enum Failed<E> {
    Own(Error),
    Work(E),
}

/// Builds it once. Also says whether the work met something that was collected meanwhile.
fn build<E>(
    repository: &Repository,
    what: &BuildOptions,
    options: &SnapshotOptions,
    progress: &Arc<dyn Progress>,
    work: &mut impl FnMut(&Builder<'_>) -> Result<(), E>,
) -> (Result<SnapshotReport, Failed<E>>, bool) {
    let subject = Subject {
        kind: Some(what.kind),
        paths: &what.paths,
    };
    let (mut failed, mut lost) = (None, false);
    let taken = take(repository, options, &subject, progress, |job| {
        let builder = Builder::new(job);
        let worked = work(&builder);
        lost = builder.lost.load(Ordering::Relaxed);
        match worked {
            Ok(()) => builder.assemble().map(Some),
            Err(error) => {
                failed = Some(error);
                Err(Error::Cancelled)
            }
        }
    });
    let taken = match failed {
        Some(error) => Err(Failed::Work(error)),
        None => taken.map_err(Failed::Own),
    };
    (taken, lost)
}

impl<'b> Builder<'b> {
    fn new(job: &Job<'b>) -> Self {
        Self {
            run: job.run,
            workers: job.workers,
            parent: job.parent,
            root: Mutex::default(),
            lost: AtomicBool::new(false),
        }
    }

    /// The parent: the snapshot that unchanged entries are taken from.
    #[must_use]
    pub fn parent(&self) -> Option<&Snapshot> {
        self.parent
    }

    /// The entry at `path` in the parent.
    pub fn before(&self, path: &[u8]) -> Result<Option<Entry>> {
        let Some(parent) = self.parent else {
            return Ok(None);
        };
        let mut entry = parent.root.clone();
        for name in components(path)? {
            let found = match entry.kind {
                EntryType::Directory => self.watched(self.run.trees.find(entry.subtree, name))?,
                _ => None,
            };
            let Some(found) = found else {
                return Ok(None);
            };
            entry = found;
        }
        Ok(Some(entry))
    }

    /// The entries of the directory at `path` in the parent, in name order.
    pub fn list_before(&self, path: &[u8]) -> Result<Vec<Entry>> {
        let before = self.before(path)?;
        let Some(tree) = before.and_then(|entry| entry.subtree) else {
            return Ok(Vec::new());
        };
        self.watched(self.run.trees.entries(Some(tree)).collect())
    }

    /// The bytes `range` of a file of the parent, clipped to its end.
    pub fn read_before(&self, entry: &Entry, range: Range<u64>) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.watched(view::copy_range(self.run.trees, entry, range, &mut bytes))?;
        Ok(bytes)
    }

    /// Puts an entry that needs no bytes: a directory, a link, or a file with the content that
    /// [`Self::before`] says it had. An entry put before at the same path is replaced.
    pub fn put(&self, path: &[u8], entry: Entry) -> Result<()> {
        if entry.kind != EntryType::Directory {
            self.run.advance(entry.size, 1);
        }
        self.insert(path, entry)
    }

    /// Takes back what was put at `path` and below it. What was stored for it stays stored, so that
    /// storing the same bytes again costs little.
    pub fn remove(&self, path: &[u8]) -> Result<()> {
        let names = components(path)?;
        let Some((last, above)) = names.split_last() else {
            return Err(invalid(path, "is the root"));
        };
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        let mut node = &mut *root;
        for name in above {
            match node.below.get_mut(*name) {
                Some(below) => node = below,
                None => return Ok(()),
            }
        }
        node.below.remove(*last);
        Ok(())
    }

    /// Stores a file from a stream, on this thread. `entry.size` says how many bytes are expected,
    /// 0 when that is not known. `before` is what its chunks are compared with, the parent's
    /// version as a rule. Returns the entry as it was put, with size and content.
    pub fn store(
        &self,
        path: &[u8],
        mut entry: Entry,
        source: &mut dyn Read,
        before: Option<&Entry>,
    ) -> Result<Entry> {
        let stream = StreamSource {
            bytes: source,
            path,
            size: entry.size,
            parent: before,
        };
        let stored = self.changed(|worker| content::read_stream(self.run, worker, stream))?;
        stored.describe(&mut entry);
        self.insert(path, entry.clone())?;
        Ok(entry)
    }

    /// Stores a file of `size` bytes, a large one on all threads. Otherwise as [`Self::store`].
    pub fn store_at(
        &self,
        path: &[u8],
        mut entry: Entry,
        size: u64,
        source: &dyn ReadAt,
        before: Option<&Entry>,
    ) -> Result<Entry> {
        let file = FileSource {
            bytes: source,
            path,
            size,
            holes: None,
            parent: before.filter(|before| before.kind == EntryType::File),
        };
        let (run, workers) = (self.run, self.workers);
        let stored = run
            .repository
            .pool()?
            .install(|| self.changed(|worker| content::read(run, workers, worker, &file)))?;
        stored.describe(&mut entry);
        self.insert(path, entry.clone())?;
        Ok(entry)
    }

    /// Calls `work` with each item, on all threads of the pool. The first error ends it.
    pub fn each<T, E>(
        &self,
        items: Vec<T>,
        work: impl Fn(T) -> Result<(), E> + Sync,
    ) -> Result<(), E>
    where
        T: Send,
        E: From<Error> + Send,
    {
        let pool = self.run.repository.pool()?;
        let work = &work;
        pool.install(|| items.into_par_iter().try_for_each(work))
    }

    /// Says something about `path` that does not make the snapshot incomplete.
    pub fn note(&self, path: &[u8], message: impl Into<String>) {
        self.run.note(path, message);
    }

    /// Says that `path` was not read as it should have been: the snapshot stands, and is recorded
    /// as incomplete.
    pub fn unread(&self, path: &[u8], message: impl Into<String>) {
        self.run.unread(path, message);
    }

    /// Whether the caller wants this to end.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.run.stopped()
    }

    pub(super) fn names(&self) -> &Names {
        &self.run.names
    }

    /// Runs `store` with a worker, for a file that the parent does not have as it is now.
    fn changed<T>(&self, store: impl FnOnce(&mut Worker) -> Result<T>) -> Result<T> {
        if self.run.stopped() {
            return Err(Error::Cancelled);
        }
        self.run.files_changed.fetch_add(1, Ordering::Relaxed);
        self.watched(self.workers.with(self.run, store))
    }

    fn watched<T>(&self, result: Result<T>) -> Result<T> {
        if result.as_ref().is_err_and(Error::is_lost) {
            self.lost.store(true, Ordering::Relaxed);
        }
        result
    }

    fn insert(&self, path: &[u8], mut entry: Entry) -> Result<()> {
        let names = components(path)?;
        entry.name = names.last().map_or(Vec::new(), |name| name.to_vec());
        let mut root = self.root.lock().unwrap_or_else(PoisonError::into_inner);
        let mut node = &mut *root;
        for name in names {
            let leaf = node.entry.as_ref().map(|entry| entry.kind);
            if leaf.is_some_and(|kind| kind != EntryType::Directory) {
                return Err(invalid(path, "is below something that is not a directory"));
            }
            node = node.below.entry(name.to_vec()).or_default();
        }
        if entry.kind != EntryType::Directory && !node.below.is_empty() {
            return Err(invalid(path, "is a directory already"));
        }
        node.entry = Some(entry);
        Ok(())
    }

    fn assemble(self) -> Result<Assembled> {
        let root = self
            .root
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let (run, mut directories) = (self.run, 0);
        let (root, totals) = self.workers.with(run, |worker| {
            close(run, worker, b"", root, &mut directories)
        })?;
        if root.kind != EntryType::Directory {
            return Err(invalid(b"", "is not a directory, as a root must be"));
        }
        Ok(Assembled {
            root,
            totals,
            directories,
        })
    }
}

/// Stores what is below a node, and returns its entry with the totals. The depth is that of a path
/// that was checked.
fn close(
    run: &Run<'_>,
    worker: &mut Worker,
    name: &[u8],
    node: Node,
    directories: &mut u64,
) -> Result<(Entry, Totals)> {
    let mut entry = node.entry.unwrap_or_else(|| synthetic(name));
    if entry.kind != EntryType::Directory {
        let totals = Totals {
            files: 1,
            bytes: entry.size,
        };
        return Ok((entry, totals));
    }
    *directories += 1;
    let (mut writer, mut totals) = (DirectoryWriter::default(), Totals::default());
    for (name, below) in node.below {
        let (below, more) = close(run, worker, &name, below, directories)?;
        totals.add(more);
        writer.push(&below, &mut worker.sink(run))?;
    }
    entry.subtree = writer.finish(&mut worker.sink(run))?;
    entry.totals = Some(totals);
    Ok((entry, totals))
}

/// The names of a path; none for the root.
fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let bad = |name: &&[u8]| matches!(*name, b"" | b"." | b"..") || name.contains(&0);
    if names.iter().any(bad) {
        return Err(invalid(path, "is not a path inside a snapshot"));
    }
    if names.len() > BUILD_DEPTH_MAX {
        return Err(invalid(path, "is too deep"));
    }
    Ok(names)
}

fn invalid(path: &[u8], why: &str) -> Error {
    Error::Invalid {
        what: format!("{} {why}", path.escape_ascii()),
    }
}
