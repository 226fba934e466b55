//! An Iceberg table of a snapshot on its way to a place. Files that hold no locations are written as they are,
//! many at once; then those that do, rewritten unless the place is the table's own, the current metadata last.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use repo_core::{Progress, SnapshotView, Timestamp};
use tokio::runtime::Handle;

use super::{Identity, RestoredTable, same_bytes};
use crate::error::{Error, Result};
use crate::iceberg::{
    AccessError, Fetch, Metadata, Moved, Prefixes, Relocation, Sink, TableUuid, each, engine,
    relocate, version_of,
};
use crate::lake::Lake;
use crate::location::Location;
use crate::record::{FileRecord, TableRecord};
use crate::saved::SavedReader;
use crate::table::FileKind;

/// What may be done to objects that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are kept when they are right, and replaced otherwise.
    Write {
        /// Metadata of another table goes.
        force: bool,
    },
    /// Nothing: they are the files of an earlier run, or in the way.
    Create,
}

/// A table on its way.
pub(crate) struct Moving {
    pub(super) lake: Lake,
    runtime: Handle,
    view: SnapshotView,
    pub(super) table: TableRecord,
    /// By where they were.
    pub(super) files: HashMap<Location, FileRecord>,
    metadata: Metadata,
    relocation: Option<Relocation>,
    pub(super) target: Location,
    /// A directory that becomes the target when it is whole.
    pub(super) written: Option<Location>,
    pub(super) mode: Mode,
    progress: Arc<dyn Progress>,
    counts: Counts,
}

/// What was done so far.
#[derive(Debug, Default)]
struct Counts {
    files_written: AtomicU64,
    files_kept: AtomicU64,
    bytes_written: AtomicU64,
    bytes_kept: AtomicU64,
}

/// Files that hold no locations.
fn is_plain(kind: FileKind) -> bool {
    matches!(kind, FileKind::Data | FileKind::Statistics)
}

/// A place as the table's own engine spells it.
fn spelled(target: &Location, like: &str) -> String {
    let scheme = like.split_once(':').map_or("", |(scheme, _)| scheme);
    let text = target.to_string();
    match target.scheme() {
        "file" => format!("file://{text}"),
        "s3" if matches!(scheme, "s3a" | "s3n") => text.replacen("s3", scheme, 1),
        _ => text,
    }
}

impl Moving {
    /// Reads the metadata of a saved table.
    #[expect(clippy::too_many_arguments, reason = "they are its fields")]
    pub(crate) fn open(
        lake: Lake,
        runtime: Handle,
        view: SnapshotView,
        table: TableRecord,
        target: Location,
        files: Vec<FileRecord>,
        identity: Identity,
        mode: Mode,
        progress: Arc<dyn Progress>,
    ) -> Result<Self> {
        let mut by_place = HashMap::with_capacity(files.len());
        for file in files {
            by_place.insert(Location::parse(&file.url)?, file);
        }
        let saved = SavedFetch {
            runtime: &runtime,
            view: &view,
            table: &table.name,
            files: &by_place,
        };
        let place = table.metadata_location.as_deref().unwrap_or_default();
        let metadata = Metadata::fetch(place, &saved)?;
        let relocation = match Location::parse(&table.location)? == target {
            true => None,
            false => Some(relocation(&metadata, &table, &target, identity)?),
        };
        Ok(Self {
            lake,
            runtime,
            view,
            table,
            files: by_place,
            metadata,
            relocation,
            target,
            written: None,
            mode,
            progress,
            counts: Counts::default(),
        })
    }

    /// Whether all files are below the target afterwards.
    pub(super) fn is_below(&self) -> bool {
        let mut files = self.files.values();
        self.relocation.is_some() || files.all(|file| file.path.starts_with("table/"))
    }

    /// The identity that the table has there.
    pub(super) fn new_uuid(&self) -> Option<&str> {
        match self.relocation.as_ref().map(|moved| &moved.uuid) {
            Some(TableUuid::New(uuid)) => Some(uuid),
            _ => self.metadata.table_uuid(),
        }
    }

    /// Where its current metadata is there.
    pub(super) fn new_metadata(&self) -> Result<Location> {
        let place = Location::parse(self.metadata.place())?;
        match self.files.get(&place) {
            Some(file) => self.place(file),
            None => Ok(place),
        }
    }

    /// Where a file is there.
    pub(super) fn place(&self, file: &FileRecord) -> Result<Location> {
        match self.relocation {
            None => Location::parse(&file.url),
            Some(_) => moved_place(&self.target, file),
        }
    }

    /// Of a directory of the snapshot, the files that are written otherwise, by their paths below it; none
    /// when it has no files at all.
    pub(super) fn rewritten_below(&self, part: &str) -> Option<HashSet<Vec<u8>>> {
        let below = |file: &FileRecord| {
            let path = file.path.strip_prefix(part)?.strip_prefix('/')?;
            Some((path.as_bytes().to_vec(), file.kind.is_metadata()))
        };
        let files: Vec<_> = self.files.values().filter_map(below).collect();
        if files.is_empty() {
            return None;
        }
        let moves = self.relocation.is_some();
        let rewritten = files.into_iter().filter(|(_, metadata)| moves && *metadata);
        Some(rewritten.map(|(path, _)| path).collect())
    }

    /// Writes the whole table.
    pub(crate) fn run(&self) -> Result<RestoredTable> {
        let files = self.files.len() as u64;
        self.progress
            .start("restore", Some(self.table.bytes), Some(files));
        let plain: Vec<_> = self
            .files
            .values()
            .filter(|file| is_plain(file.kind))
            .collect();
        each(&plain, |file| self.saved(file))?;
        if self.relocation.is_none() {
            self.unmoved()?;
        }
        let restored = self.finish()?;
        if self.mode == (Mode::Write { force: true }) {
            self.remove_stale()?;
        }
        self.progress.finish();
        Ok(restored)
    }

    /// Writes what leads to files as it is, the current metadata last.
    fn unmoved(&self) -> Result<()> {
        let current = Location::parse(self.metadata.place())?;
        for last in [false, true] {
            let files = self.files.iter().filter(|(place, file)| {
                let metadata = file.kind == FileKind::Metadata;
                !is_plain(file.kind) && **place != current && metadata == last
            });
            let files: Vec<_> = files.map(|(_, file)| file).collect();
            each(&files, |file| self.saved(file))?;
        }
        match self.files.get(&current) {
            Some(file) => self.saved(file),
            None => Ok(()),
        }
    }

    /// Rewrites what holds locations, and leads path-based readers to the table.
    pub(super) fn finish(&self) -> Result<RestoredTable> {
        let files = match &self.relocation {
            None => self.files.len() as u64,
            Some(relocation) => {
                let moved = relocate(&self.metadata, relocation, self, self)?;
                moved.rewritten + moved.copied
            }
        };
        let metadata = self.new_metadata()?;
        self.hint(&metadata)?;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(RestoredTable {
            target: self.target.clone(),
            metadata_location: Some(metadata),
            files,
            bytes_written: count(&self.counts.bytes_written),
            bytes_kept: count(&self.counts.bytes_kept),
        })
    }

    /// Files written and files that were there.
    pub(crate) fn files_done(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (
            count(&self.counts.files_written),
            count(&self.counts.files_kept),
        )
    }

    /// Hadoop tables are found by a hint, which is no part of a version.
    fn hint(&self, metadata: &Location) -> Result<()> {
        let version = metadata.name().strip_prefix('v');
        let version = version.and_then(|_| version_of(metadata.name()));
        let (Some(version), Mode::Write { .. }) = (version, self.mode) else {
            return Ok(());
        };
        let hint = engine::directory_of(metadata)?.join(engine::HINT)?;
        let text = version.to_string();
        self.lake
            .write(&self.meanwhile(&hint)?, &mut text.as_bytes(), None)?;
        Ok(())
    }

    /// Where a file of the target is until the target is whole.
    fn meanwhile(&self, place: &Location) -> Result<Location> {
        match (&self.written, self.target.relative(place)) {
            (Some(written), Some(below)) => written.join(below),
            _ => Ok(place.clone()),
        }
    }

    /// Writes a file as it was saved.
    fn saved(&self, file: &FileRecord) -> Result<()> {
        let place = self.meanwhile(&self.place(file)?)?;
        self.put(&place, file.size, Some(file), &|| {
            let name = &self.table.name;
            let saved = SavedReader::open(&self.view, &self.runtime, name, &file.path)?;
            Ok(Box::new(saved))
        })
    }

    fn put<'s>(
        &self,
        place: &Location,
        size: u64,
        record: Option<&FileRecord>,
        open: &dyn Fn() -> Result<Box<dyn Read + 's>>,
    ) -> Result<()> {
        if self.progress.cancelled() {
            return Err(Error::cancelled());
        }
        let there = match self.lake.head(place) {
            Ok(there) => Some(there),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let kept = match (self.mode, there) {
            (Mode::Create, Some(there)) if there.size == size => true,
            (Mode::Create, Some(_)) => {
                return Err(Error::Occupied {
                    url: place.to_string(),
                    what: "is there with other content, and nothing is overwritten",
                });
            }
            (Mode::Create, None) => !self.lake.create(place, &mut *open()?, size)?,
            (Mode::Write { .. }, Some(there)) if there.size == size => {
                // The store's word that it is still the same object.
                let known = record.filter(|record| record.url == place.to_string());
                known.is_some_and(|record| there.etag.is_some() && record.is_same(&there))
                    || same_bytes(&mut self.lake.reader(place, size), &mut *open()?, place)?
            }
            (Mode::Write { .. }, _) => false,
        };
        if !kept && matches!(self.mode, Mode::Write { .. }) {
            let modified = record.map(|record| Timestamp {
                seconds: record.modified_ns.div_euclid(1_000_000_000),
                nanos: u32::try_from(record.modified_ns.rem_euclid(1_000_000_000)).unwrap_or(0),
            });
            self.lake.write(place, &mut *open()?, modified)?;
        }
        let (files, bytes) = match kept {
            true => (&self.counts.files_kept, &self.counts.bytes_kept),
            false => (&self.counts.files_written, &self.counts.bytes_written),
        };
        files.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(size, Ordering::Relaxed);
        self.progress.advance(size, 1);
        Ok(())
    }

    fn record(&self, location: &str) -> Result<Option<&FileRecord>> {
        Ok(self.files.get(&Location::parse(location)?))
    }

    fn write_moved(&self, file: &Moved, bytes: &[u8]) -> Result<()> {
        let place = self.meanwhile(&Location::parse(&file.to)?)?;
        let record = self.record(&file.from)?;
        self.put(&place, bytes.len() as u64, record, &|| Ok(Box::new(bytes)))
    }

    fn copy_moved(&self, file: &Moved) -> Result<()> {
        let Some(record) = self.record(&file.from)? else {
            return Err(Error::NotFound {
                url: file.from.clone(),
            });
        };
        // Those were written before.
        let before = self.written.is_some() && !record.kind.is_metadata();
        match is_plain(record.kind) || before {
            true => Ok(()),
            false => self.saved(record),
        }
    }
}

/// Where a file of a table is that was moved to `target`.
pub(crate) fn moved_place(target: &Location, file: &FileRecord) -> Result<Location> {
    target.join(file.path.strip_prefix("table/").unwrap_or(&file.path))
}

fn relocation(
    metadata: &Metadata,
    table: &TableRecord,
    target: &Location,
    identity: Identity,
) -> Result<Relocation> {
    let from = metadata.location().unwrap_or(&table.location);
    let to = spelled(target, from);
    let prefixes = Prefixes::new([(from, to.as_str())])?;
    Ok(Relocation {
        uuid: match identity {
            Identity::Keep => TableUuid::Keep,
            Identity::New => TableUuid::of_copy(metadata, &target.to_string()),
        },
        prefixes: prefixes.with_rest(&to),
    })
}

/// Reads files of a saved table by where they were.
struct SavedFetch<'a> {
    runtime: &'a Handle,
    view: &'a SnapshotView,
    table: &'a str,
    files: &'a HashMap<Location, FileRecord>,
}

impl Fetch for SavedFetch<'_> {
    fn fetch(&self, location: &str, max: u64) -> Result<Bytes, AccessError> {
        let place = Location::parse(location).map_err(AccessError::failed)?;
        let file = self.files.get(&place).ok_or(AccessError::NotFound)?;
        if file.size > max {
            return Err(AccessError::TooLarge { max });
        }
        let saved = SavedReader::open(self.view, self.runtime, self.table, &file.path);
        let mut bytes = Vec::new();
        let read = saved.map_err(AccessError::failed)?.read_to_end(&mut bytes);
        read.map_err(AccessError::failed)?;
        Ok(bytes.into())
    }
}

impl Fetch for Moving {
    fn fetch(&self, location: &str, max: u64) -> Result<Bytes, AccessError> {
        let saved = SavedFetch {
            runtime: &self.runtime,
            view: &self.view,
            table: &self.table.name,
            files: &self.files,
        };
        saved.fetch(location, max)
    }
}

impl Sink for Moving {
    fn write(&self, file: &Moved, bytes: Vec<u8>) -> Result<(), AccessError> {
        self.write_moved(file, &bytes).map_err(AccessError::failed)
    }

    fn copy(&self, file: &Moved) -> Result<(), AccessError> {
        self.copy_moved(file).map_err(AccessError::failed)
    }
}
