//! From the paths a caller names to the walk that makes one tree of them.
//!
//! One directory becomes the root of the tree itself. One file becomes the only entry of the
//! root. Several paths keep their absolute places: the root is `/`, and the directories on the
//! way to each path hold nothing else.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use repo_format::tree::{Entry, EntryType};
use rustix::fs::{Mode, OFlags};

use crate::archive::batch::Batch;
use crate::archive::meta::Directory;
use crate::archive::walk::Walker;
use crate::error::{Error, Result};

/// The paths of one snapshot: absolute, free of `.` and `..`, sorted, none inside another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roots {
    paths: Vec<PathBuf>,
}

impl Roots {
    pub(crate) fn new(paths: &[PathBuf]) -> Result<Self> {
        if paths.is_empty() {
            return Err(Error::Invalid {
                what: "no path to snapshot was given".to_owned(),
            });
        }
        let mut absolute = Vec::with_capacity(paths.len());
        for path in paths {
            let full = std::path::absolute(path)
                .map_err(|error| Error::io("resolve", path.clone(), error))?;
            let full = without_dots(&full);
            std::fs::symlink_metadata(&full)
                .map_err(|error| Error::io("read", full.clone(), error))?;
            absolute.push(full);
        }
        absolute.sort();
        let mut kept: Vec<PathBuf> = Vec::new();
        for path in absolute {
            if !kept.iter().any(|outer| path.starts_with(outer)) {
                kept.push(path);
            }
        }
        Ok(Self { paths: kept })
    }

    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Walks all of them. `parent` is the root entry of the parent snapshot of the same paths.
    pub(crate) fn walk<F: FnMut(Batch) -> bool>(
        &self,
        walker: &mut Walker<'_, F>,
        parent: Option<&Entry>,
    ) -> Result<()> {
        let tree = parent.and_then(|parent| parent.subtree);
        if let [path] = self.paths.as_slice() {
            let (directory, is_directory) = open_root(path)?;
            if is_directory {
                let bytes = path.as_os_str().as_bytes().to_vec();
                let (directory, entry, device) = walker
                    .describe(directory, bytes, b"")
                    .map_err(|error| Error::io("read", path.clone(), error))?;
                walker.enter(entry);
                walker.below(Arc::new(directory), device, tree);
                walker.leave();
                return Ok(());
            }
        }
        let mut places = Places::default();
        for path in &self.paths {
            let components: Vec<&[u8]> = path
                .components()
                .filter_map(|component| match component {
                    Component::Normal(name) => Some(name.as_bytes()),
                    _ => None,
                })
                .collect();
            // A single file stands in the root by its own name.
            let components = match self.paths.as_slice() {
                [_] => components
                    .last()
                    .map(std::slice::from_ref)
                    .unwrap_or_default(),
                _ => components.as_slice(),
            };
            places.insert(components, path);
        }
        walker.enter(synthetic(b""));
        places.walk(walker, parent.cloned())?;
        walker.leave();
        Ok(())
    }
}

/// Named paths by their components.
#[derive(Default)]
struct Places<'p> {
    below: BTreeMap<&'p [u8], Self>,
    here: Option<&'p Path>,
}

impl<'p> Places<'p> {
    fn insert(&mut self, components: &[&'p [u8]], path: &'p Path) {
        match components.split_first() {
            None => self.here = Some(path),
            Some((first, rest)) => self.below.entry(first).or_default().insert(rest, path),
        }
    }

    fn walk<F: FnMut(Batch) -> bool>(
        &self,
        walker: &mut Walker<'_, F>,
        parent: Option<Entry>,
    ) -> Result<()> {
        let tree = parent.and_then(|parent| parent.subtree);
        for (name, place) in &self.below {
            let before = walker.parent_entry(tree, name);
            let Some(path) = place.here else {
                walker.enter(synthetic(name));
                place.walk(walker, before)?;
                walker.leave();
                continue;
            };
            let failed = |error| Error::io("read", path.to_path_buf(), error);
            let (fd, is_directory) = open_root(path)?;
            let bytes = path.as_os_str().as_bytes().to_vec();
            if is_directory {
                let (directory, entry, device) =
                    walker.describe(fd, bytes, name).map_err(failed)?;
                walker.enter(entry);
                let tree = before.and_then(|before| before.subtree);
                walker.below(Arc::new(directory), device, tree);
                walker.leave();
            } else {
                let parent_path = path
                    .parent()
                    .unwrap_or(path)
                    .as_os_str()
                    .as_bytes()
                    .to_vec();
                let directory = Directory {
                    fd,
                    path: parent_path,
                };
                walker.source(&Arc::new(directory), name, before);
            }
        }
        Ok(())
    }
}

/// Opens a named path if it is a directory, else the directory that holds it.
fn open_root(path: &Path) -> Result<(std::os::fd::OwnedFd, bool)> {
    let failed = |error: rustix::io::Errno| Error::io("open", path.to_path_buf(), error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags | OFlags::NOFOLLOW, Mode::empty()) {
        Ok(fd) => Ok((fd, true)),
        Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            let holder = path.parent().unwrap_or(path);
            rustix::fs::open(holder, flags, Mode::empty())
                .map(|fd| (fd, false))
                .map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// A directory that stands for the place of another path and was not read itself.
pub(crate) fn synthetic(name: &[u8]) -> Entry {
    Entry {
        mode: 0o755,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        ..Entry::new(name, EntryType::Directory)
    }
}

/// Removes `.` and `..` by name alone, as shells show paths.
fn without_dots(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}
