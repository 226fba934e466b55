//! The walk: directories in name order, depth first, beside the parent snapshot's tree.
//!
//! Reads directories and their own metadata only. Everything else is left to workers, which get
//! it in batches together with what the parent has under the same path. Every open is relative to
//! a directory descriptor and follows no link, so paths may be longer than the system's limit.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use repo_format::BlobId;
use repo_format::tree::{Entry, EntryType};
use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::archive::batch::{Batch, Item, Source};
use crate::archive::meta::{self, Directory};
use crate::archive::run::Run;
use crate::archive::tree::{Entries, Trees};
use crate::limits::{BATCH_DIRECTORIES, BATCH_ITEMS};

/// Content of a valid cache tag begins so (Cache Directory Tagging Specification).
const CACHE_TAG: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// Walks and hands out batches.
pub(crate) struct Walker<'a, F> {
    run: &'a Run<'a>,
    /// Takes a batch; false when work is to end.
    send: F,
    batch: Vec<Item>,
    directories: usize,
    number: u64,
}

/// Entries of a parent directory, asked for in ascending name order.
struct Beside {
    entries: Option<Entries>,
    next: Option<Entry>,
}

impl Beside {
    fn new(trees: &Trees, directory: Option<BlobId>) -> Self {
        Self {
            entries: directory.map(|id| trees.entries(Some(id))),
            next: None,
        }
    }

    /// The parent's entry `name`. A parent that cannot be read is as good as none.
    fn take(&mut self, name: &[u8]) -> Option<Entry> {
        loop {
            if self.next.is_none() {
                match self.entries.as_mut()?.next() {
                    Some(Ok(entry)) => self.next = Some(entry),
                    Some(Err(error)) => {
                        tracing::warn!(%error, "reading files again: the parent is unreadable");
                        self.entries = None;
                    }
                    None => self.entries = None,
                }
            }
            match self.next.as_ref()?.name.as_slice().cmp(name) {
                std::cmp::Ordering::Less => self.next = None,
                std::cmp::Ordering::Equal => return self.next.take(),
                std::cmp::Ordering::Greater => return None,
            }
        }
    }
}

/// A directory being walked.
struct Level {
    directory: Arc<Directory>,
    names: Listing,
    beside: Beside,
    device: u64,
}

impl<'a, F: FnMut(Batch) -> bool> Walker<'a, F> {
    pub(crate) fn new(run: &'a Run<'a>, send: F) -> Self {
        Self {
            run,
            send,
            batch: Vec::new(),
            directories: 0,
            number: 0,
        }
    }

    /// Emits an entry made elsewhere: the start of a directory.
    pub(crate) fn enter(&mut self, entry: Entry) {
        self.batch.push(Item::Enter(Box::new(entry)));
    }

    /// Emits the end of a directory.
    pub(crate) fn leave(&mut self) {
        self.batch.push(Item::Leave);
    }

    /// Emits one thing that is not a directory.
    pub(crate) fn source(
        &mut self,
        directory: &Arc<Directory>,
        name: &[u8],
        parent: Option<Entry>,
    ) -> bool {
        self.batch.push(Item::Source(Source {
            directory: Arc::clone(directory),
            name: name.to_vec(),
            parent: parent.map(Box::new),
        }));
        self.batch.len() < BATCH_ITEMS || self.flush()
    }

    /// Hands out what has gathered. False when work is to end.
    pub(crate) fn flush(&mut self) -> bool {
        self.directories = 0;
        if self.batch.is_empty() {
            return true;
        }
        let batch = Batch {
            number: self.number,
            items: std::mem::take(&mut self.batch),
        };
        self.number += 1;
        (self.send)(batch) && !self.run.stopped()
    }

    /// Walks everything below `directory`, which was entered already. False when work is to end.
    pub(crate) fn below(
        &mut self,
        directory: Arc<Directory>,
        device: u64,
        parent: Option<BlobId>,
    ) -> bool {
        let mut stack = Vec::new();
        stack.extend(self.open_level(directory, device, parent));
        while let Some(level) = stack.last_mut() {
            let Some((name, kind)) = level.names.next().map(|(name, kind)| (name.to_vec(), kind))
            else {
                stack.pop();
                if !stack.is_empty() {
                    self.leave();
                }
                continue;
            };
            let parent = level.beside.take(&name);
            let directory = Arc::clone(&level.directory);
            let device = level.device;
            match self.step(&directory, &name, kind, device, parent) {
                Step::Stop => return false,
                Step::On => {}
                Step::Into(child, device, tree) => match self.open_level(child, device, tree) {
                    Some(level) => stack.push(level),
                    None => self.leave(),
                },
            }
        }
        true
    }

    fn step(
        &mut self,
        directory: &Arc<Directory>,
        name: &[u8],
        kind: FileType,
        device: u64,
        parent: Option<Entry>,
    ) -> Step {
        let kind = if kind == FileType::Unknown {
            match directory.stat(name) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                // The worker will meet the same error and report it.
                Err(_) => FileType::RegularFile,
            }
        } else {
            kind
        };
        let is_directory = kind == FileType::Directory;
        if self.excluded(directory, name, is_directory) {
            return Step::On;
        }
        if !is_directory {
            return if self.source(directory, name, parent) {
                Step::On
            } else {
                Step::Stop
            };
        }
        match self.directory(directory, name) {
            Err(error) => {
                let what = format!("cannot read directory: {error}");
                self.run.unread(&directory.path_of(name), what);
                Step::On
            }
            Ok((child, entry, child_device)) => {
                self.enter(entry);
                if self.run.options.one_file_system && child_device != device {
                    self.leave();
                    return Step::On;
                }
                let tree = parent.and_then(|parent| match parent.kind {
                    EntryType::Directory => parent.subtree,
                    _ => None,
                });
                Step::Into(Arc::new(child), child_device, tree)
            }
        }
    }

    fn excluded(&self, directory: &Directory, name: &[u8], is_directory: bool) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let Some(exclude) = &self.run.options.exclude else {
            return false;
        };
        let path = directory.path_of(name);
        exclude(Path::new(std::ffi::OsStr::from_bytes(&path)), is_directory)
    }

    /// Opens the directory `name` and describes it.
    fn directory(
        &self,
        directory: &Directory,
        name: &[u8],
    ) -> rustix::io::Result<(Directory, Entry, u64)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&directory.fd, name, flags, Mode::empty())?;
        self.describe(fd, directory.path_of(name), name)
    }

    /// Describes an open directory under `name`.
    pub(crate) fn describe(
        &self,
        fd: OwnedFd,
        path: Vec<u8>,
        name: &[u8],
    ) -> rustix::io::Result<(Directory, Entry, u64)> {
        let stat = rustix::fs::fstat(&fd)?;
        let mut entry = meta::entry(name, EntryType::Directory, &stat, &self.run.names);
        let directory = Directory { fd, path };
        entry.xattrs = meta::xattrs_of_directory(&directory)?;
        Ok((directory, entry, stat.st_dev))
    }

    /// Lists a directory. `None` when it is left out or cannot be listed.
    fn open_level(
        &mut self,
        directory: Arc<Directory>,
        device: u64,
        parent: Option<BlobId>,
    ) -> Option<Level> {
        if self.run.options.exclude_caches && is_cache(&directory) {
            return None;
        }
        self.directories += 1;
        if self.directories > BATCH_DIRECTORIES && !self.flush() {
            return None;
        }
        match list(&directory) {
            Ok(names) => Some(Level {
                directory,
                names,
                beside: Beside::new(self.run.trees, parent),
                device,
            }),
            Err(error) => {
                let what = format!("cannot list directory: {error}");
                self.run.unread(&directory.path, what);
                None
            }
        }
    }

    /// What the parent has as `name` in the directory whose tree is `directory`.
    pub(crate) fn parent_entry(&self, directory: Option<BlobId>, name: &[u8]) -> Option<Entry> {
        self.run.trees.find(directory, name).ok().flatten()
    }

    /// Ends the walk.
    pub(crate) fn finish(mut self) {
        self.flush();
    }
}

enum Step {
    On,
    Stop,
    Into(Arc<Directory>, u64, Option<BlobId>),
}

/// The names of one directory in order. They stand end to end, because a directory may hold a
/// million of them and an allocation for each would cost more than the name.
struct Listing {
    bytes: Vec<u8>,
    spans: std::vec::IntoIter<(usize, u16, FileType)>,
}

impl Listing {
    fn next(&mut self) -> Option<(&[u8], FileType)> {
        let (start, len, kind) = self.spans.next()?;
        Some((&self.bytes[start..start + usize::from(len)], kind))
    }
}

fn list(directory: &Directory) -> rustix::io::Result<Listing> {
    let (mut bytes, mut spans) = (Vec::new(), Vec::new());
    for entry in Dir::read_from(&directory.fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let len = u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
            spans.push((bytes.len(), len, entry.file_type()));
            bytes.extend_from_slice(name);
        }
    }
    let name = |span: &(usize, u16, FileType)| &bytes[span.0..span.0 + usize::from(span.1)];
    spans.sort_unstable_by(|a, b| name(a).cmp(name(b)));
    Ok(Listing {
        bytes,
        spans: spans.into_iter(),
    })
}

fn is_cache(directory: &Directory) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let read = || -> Result<bool, Errno> {
        let fd = rustix::fs::openat(&directory.fd, "CACHEDIR.TAG", flags, Mode::empty())?;
        let mut head = [0; CACHE_TAG.len()];
        let len = rustix::io::read(&fd, &mut head)?;
        Ok(&head[..len] == CACHE_TAG)
    };
    read().unwrap_or(false)
}
