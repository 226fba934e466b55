//! The data directory and its tablespaces, read while the server works on them.
//!
//! What vanishes or shrinks meanwhile is left out or short: the log of the backup repeats that. What
//! cannot be read fails the snapshot, because a cluster without a file of it is no cluster.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use repo_core::Builder;

use super::CONTROL;
use super::pages::{Check, PagedFile, Suspect};
use crate::error::{Error, Result};
use crate::files::{self, Fate, RelationFile, Unlogged};
use crate::limits::{BATCH, DEPTH_MAX};
use crate::server::Session;

/// Directories in the server's directory of the log that it expects.
const WAL_DIRECTORIES: [&str; 2] = ["archive_status", "summaries"];

/// The walk of one attempt.
pub(super) struct Walk<'b> {
    pub(super) builder: &'b Builder<'b>,
    pub(super) session: &'b Session,
    /// The only directory of a tablespace that belongs to this cluster.
    pub(super) version_directory: Vec<u8>,
    pub(super) check: Option<Check>,
    /// Read files that look unchanged, too.
    pub(super) force: bool,
    /// Files to read though they look unchanged.
    pub(super) doubted: HashSet<Vec<u8>>,
    pub(super) suspects: Mutex<Vec<Suspect>>,
}

/// A directory to be read: its path in the snapshot, and where it lies.
struct Place {
    path: Vec<u8>,
    source: PathBuf,
    depth: usize,
}

impl Place {
    fn of(&self, name: &OsStr) -> Self {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        Self {
            path,
            source: self.source.join(name),
            depth: self.depth + 1,
        }
    }
}

impl Walk<'_> {
    /// Stores all that belongs to the cluster but `pg_control` and the log.
    pub(super) fn run(&self, pgdata: &Path) -> Result<()> {
        let mut waiting = vec![Place {
            path: Vec::new(),
            source: pgdata.to_owned(),
            depth: 0,
        }];
        while let Some(place) = waiting.pop() {
            if place.depth > DEPTH_MAX {
                let error = io::Error::other("it is too deep");
                return Err(Error::io("enter", place.source, error));
            }
            self.directory(&place, &mut waiting)?;
        }
        Ok(())
    }

    fn directory(&self, place: &Place, waiting: &mut Vec<Place>) -> Result<()> {
        if !self.put(place)? {
            return Ok(());
        }
        let relations = files::holds_relations(&place.path);
        let mut unlogged = Unlogged::default();
        if relations {
            list(&place.source, |found| {
                unlogged.look(found.file_name().as_bytes());
                Ok(())
            })?;
        }
        let mut batch = Vec::new();
        list(&place.source, |found| {
            let name = found.file_name();
            if relations && unlogged.leaves(name.as_bytes()) {
                return Ok(());
            }
            if let Some(file) = self.entry(place, &found, waiting)? {
                batch.push(file);
            }
            if batch.len() == BATCH {
                self.files(std::mem::take(&mut batch))?;
            }
            Ok(())
        })?;
        self.files(batch)
    }

    /// Looks at one name of a directory. Gives a file that is to be stored.
    fn entry(
        &self,
        place: &Place,
        found: &DirEntry,
        waiting: &mut Vec<Place>,
    ) -> Result<Option<Place>> {
        let name = found.file_name();
        let mut below = place.of(&name);
        let fate = files::fate(&place.path, name.as_bytes());
        if fate == Fate::Leave || below.path == CONTROL.as_bytes() {
            return Ok(None);
        }
        let kind = match found.file_type() {
            Ok(kind) => kind,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("look at", below.source, error)),
        };
        let in_tablespaces = place.path == b"pg_tblspc";
        if kind.is_symlink() {
            let followed =
                fate == Fate::Empty || (in_tablespaces && files::number(name.as_bytes()).is_some());
            if !followed {
                self.builder
                    .note(&below.path, "is a link that leads out of the data directory; what it leads to is not stored");
                self.put(&below)?;
                return Ok(None);
            }
            below.source = match fs::canonicalize(&below.source) {
                Ok(source) => source,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::io("follow", below.source, error)),
            };
        } else if kind.is_file() {
            return Ok(Some(below));
        } else if !kind.is_dir() {
            return Ok(None);
        }
        // Other clusters may share the place of a tablespace, each with a directory of its own.
        let is_tablespace = place.path.starts_with(b"pg_tblspc/") && place.depth == 2;
        if is_tablespace && name.as_bytes() != self.version_directory {
            return Ok(None);
        }
        match fate {
            Fate::Empty => self.empty(&below)?,
            _ => waiting.push(below),
        }
        Ok(None)
    }

    /// Puts a directory without its content.
    fn empty(&self, place: &Place) -> Result<()> {
        self.put(place)?;
        if place.path == b"pg_wal" {
            for name in WAL_DIRECTORIES {
                self.put(&place.of(OsStr::new(name)))?;
            }
        }
        Ok(())
    }

    /// Puts what needs no bytes; says whether it is still there.
    fn put(&self, place: &Place) -> Result<bool> {
        match self.builder.describe_local(&place.source) {
            Ok(Some(entry)) => {
                self.builder.put(&place.path, entry)?;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("look at", &place.source, error)),
        }
    }

    fn files(&self, batch: Vec<Place>) -> Result<()> {
        if self.session.is_lost() {
            return Err(Error::SessionLost);
        }
        if self.builder.cancelled() {
            return Err(repo_core::Error::Cancelled.into());
        }
        self.builder.each(batch, |place| self.file(&place))
    }

    fn file(&self, place: &Place) -> Result<()> {
        if self.session.is_lost() {
            return Err(Error::SessionLost);
        }
        let file = match self.builder.open_local(&place.source) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("open", &place.source, error)),
        };
        let before = self.builder.before(&place.path)?;
        if let Some(before) = &before
            && !self.force
            && file.is(before)
            && !self.doubted.contains(&place.path)
        {
            self.builder.put(&place.path, before.clone())?;
            return Ok(());
        }
        let source = PagedFile {
            file: &file,
            path: &place.path,
            first_block: self.first_block(&place.path),
            suspects: &self.suspects,
        };
        let entry = file.entry().clone();
        self.builder
            .store_at(&place.path, entry, file.size(), &source, before.as_ref())?;
        Ok(())
    }

    /// Number of the first page in a file of a relation, when its pages are to be verified.
    fn first_block(&self, path: &[u8]) -> Option<u32> {
        let check = self.check?;
        let slash = path.iter().rposition(|byte| *byte == b'/')?;
        let (directory, name) = (&path[..slash], &path[slash + 1..]);
        let file = RelationFile::parse(name).filter(|_| files::holds_relations(directory))?;
        file.segment.checked_mul(check.segment_blocks)
    }
}

/// Calls `each` with every entry of a directory. One that is gone has none.
fn list(directory: &Path, mut each: impl FnMut(DirEntry) -> Result<()>) -> Result<()> {
    let failed = |error| Error::io("list", directory, error);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        each(entry.map_err(failed)?)?;
    }
    Ok(())
}
