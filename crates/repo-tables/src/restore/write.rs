//! Writes the files of a table into a store, metadata last, and keeps those that are right.

use std::io::Read;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use repo_core::{Progress, SnapshotView};
use tokio::runtime::Handle;

use super::RestoredTable;
use crate::error::{Error, Result};
use crate::lake::{Lake, ObjectInfo};
use crate::limits::WRITERS;
use crate::location::Location;
use crate::record::{FileRecord, TableRecord};
use crate::saved::SavedReader;

/// What was found at the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// No table.
    Fresh,
    /// The same table, or one that may be replaced.
    Occupied,
}

/// A table to write.
pub(super) struct Job {
    pub(super) lake: Lake,
    pub(super) runtime: Handle,
    pub(super) view: SnapshotView,
    pub(super) table: TableRecord,
    pub(super) target: Location,
    pub(super) force: bool,
    /// Files of the table, with the place of each.
    pub(super) inside: Vec<(Location, FileRecord)>,
    /// Files elsewhere that it refers to.
    pub(super) outside: Vec<(Location, FileRecord)>,
}

/// Counts of writers at work.
#[derive(Default)]
struct Done {
    next: AtomicUsize,
    written: AtomicU64,
    kept: AtomicU64,
    failed: Mutex<Option<Error>>,
}

impl Job {
    /// Writes what is not there: first what is read, then what leads to it, the last commit at the end.
    pub(super) fn write(&self, progress: &dyn Progress) -> Result<RestoredTable> {
        let all = self.inside.iter().chain(&self.outside);
        let (mut last, first): (Vec<_>, Vec<_>) =
            all.partition(|(_, file)| file.kind.is_metadata());
        last.sort_unstable_by(|(_, one), (_, other)| {
            (one.kind, &one.path).cmp(&(other.kind, &other.path))
        });
        let (files, bytes) = (first.len() + last.len(), self.table.bytes);
        progress.start("restore", Some(bytes), Some(files as u64));
        let done = Done::default();
        std::thread::scope(|scope| {
            for _ in 0..WRITERS.min(first.len()) {
                scope.spawn(|| self.work(&first, &done, progress));
            }
        });
        let failed = done.failed.into_inner();
        if let Some(error) = failed.unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        for (place, file) in last {
            self.one(place, file, &done.written, &done.kept, progress)?;
        }
        progress.finish();
        Ok(RestoredTable {
            target: self.target.clone(),
            metadata_location: None,
            files: files as u64,
            bytes_written: done.written.into_inner(),
            bytes_kept: done.kept.into_inner(),
        })
    }

    fn work(&self, files: &[&(Location, FileRecord)], done: &Done, progress: &dyn Progress) {
        let failed = || done.failed.lock().unwrap_or_else(PoisonError::into_inner);
        while failed().is_none() {
            let Some((place, file)) = files.get(done.next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            if let Err(error) = self.one(place, file, &done.written, &done.kept, progress) {
                failed().get_or_insert(error);
            }
        }
    }

    fn one(
        &self,
        place: &Location,
        file: &FileRecord,
        written: &AtomicU64,
        kept: &AtomicU64,
        progress: &dyn Progress,
    ) -> Result<()> {
        if progress.cancelled() {
            return Err(Error::cancelled());
        }
        let mut saved = SavedReader::open(&self.view, &self.runtime, &self.table.name, &file.path)?;
        let there = match self.lake.head(place) {
            Ok(there) => Some(there),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        if let Some(there) = there
            && self.is_right(&there, file, &mut saved)?
        {
            kept.fetch_add(file.size, Ordering::Relaxed);
        } else {
            let mut saved =
                SavedReader::open(&self.view, &self.runtime, &self.table.name, &file.path)?;
            let modified = saved.entry().mtime;
            let size = self.lake.write(place, &mut saved, Some(modified))?;
            written.fetch_add(size, Ordering::Relaxed);
        }
        progress.advance(file.size, 1);
        Ok(())
    }

    /// Whether an object is there that is not what `file` was.
    pub(super) fn differs(&self, place: &Location, file: &FileRecord) -> Result<bool> {
        let there = match self.lake.head(place) {
            Ok(there) => there,
            Err(Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut saved = SavedReader::open(&self.view, &self.runtime, &self.table.name, &file.path)?;
        Ok(!self.is_right(&there, file, &mut saved)?)
    }

    /// Whether an object has the bytes of `file`: its store says that it is still the same one, or they
    /// are compared.
    fn is_right(
        &self,
        there: &ObjectInfo,
        file: &FileRecord,
        saved: &mut SavedReader,
    ) -> Result<bool> {
        if there.size != file.size {
            return Ok(false);
        }
        let own = there.location.to_string() == file.url;
        if own && there.etag.is_some() && file.is_same(there) {
            return Ok(true);
        }
        same_bytes(
            &mut self.lake.reader(&there.location, there.size),
            saved,
            &there.location,
        )
    }
}

/// Whether two streams of one length have the same bytes.
pub(crate) fn same_bytes(
    one: &mut dyn Read,
    other: &mut dyn Read,
    place: &Location,
) -> Result<bool> {
    let failed = |error: std::io::Error| Error::Object {
        operation: "compare",
        url: place.to_string(),
        source: error.into(),
    };
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let length = one.read(&mut left).map_err(failed)?;
        if length == 0 {
            return other.read(&mut right).map(|more| more == 0).map_err(failed);
        }
        match other.read_exact(&mut right[..length]) {
            Ok(()) if left[..length] == right[..length] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
    }
}
