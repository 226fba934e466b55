//! Stores the files of one pinned table, and the records that describe them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};

use repo_core::{Entry, EntryType, Timestamp};

use super::Taking;
use crate::content::Content;
use crate::discover::Found;
use crate::error::{Error, Result};
use crate::lake::ObjectInfo;
use crate::limits::{
    BATCH_BYTES, BATCH_FILES, HEADS_MAX, MANIFEST_MAX, RECORD_MAX, REQUESTS_MAX, SMALL_OBJECT,
};
use crate::location::Location;
use crate::record::{
    FileRecord, LIST_FILE, TABLE_FILE, TABLES, TableRecord, describe, nanos, parse_files,
    parse_table, tree_path,
};
use crate::table::{Table, TableFile};

/// What the base has of a table.
pub(super) struct Base {
    pub(super) record: TableRecord,
    /// By URL.
    pub(super) files: HashMap<String, FileRecord>,
}

/// A file to store.
struct Item<'t> {
    path: String,
    file: &'t TableFile,
    object: ObjectInfo,
}

impl Taking<'_> {
    /// Stores a table; [`Error::Vanished`] when a file of it is gone.
    pub(super) fn store(&self, found: &Found, table: &Table) -> Result<TableRecord> {
        let root = format!("{TABLES}/{}", found.name);
        let base = self.base(&found.name, &root)?;
        let items = self.items(&root, table)?;
        let mut records = Vec::with_capacity(items.len());
        let mut changed = Vec::new();
        for item in items {
            records.push(record(&root, &item));
            if !self.keep(base.as_ref(), &item)? {
                changed.push(item);
            }
        }
        let gone = self.read(table, changed)?;
        records.retain(|record| !gone.contains(&format!("{root}/{}", record.path)));
        records.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        let old = base.as_ref().map(|base| (&base.record, &base.files));
        let mut described = describe(&found.name, &found.path, table, &records, old);
        described.parts = self.parts();
        let time = version_time(table);
        let mut lines = Vec::new();
        for record in &records {
            serde_json::to_writer(&mut lines, record).map_err(|error| encoding(&root, error))?;
            lines.push(b'\n');
        }
        self.describe(&format!("{root}/{LIST_FILE}"), &lines, time)?;
        let mut line = serde_json::to_vec(&described).map_err(|error| encoding(&root, error))?;
        line.push(b'\n');
        self.describe(&format!("{root}/{TABLE_FILE}"), &line, time)?;
        Ok(described)
    }

    /// What the base says of the table of this name.
    pub(super) fn base(&self, name: &str, root: &str) -> Result<Option<Base>> {
        let read = |file: &str, max: u64| -> Result<Option<Vec<u8>>> {
            let path = format!("{root}/{file}");
            let Some(entry) = self.builder.before(path.as_bytes())? else {
                return Ok(None);
            };
            if entry.size > max {
                return Err(Error::malformed(path, "it is too long"));
            }
            Ok(Some(self.builder.read_before(&entry, 0..entry.size)?))
        };
        let (Some(record), Some(lines)) = (
            read(TABLE_FILE, RECORD_MAX)?,
            read(LIST_FILE, MANIFEST_MAX)?,
        ) else {
            return Ok(None);
        };
        let files = parse_files(name, &lines)?.into_iter();
        Ok(Some(Base {
            record: parse_table(name, &record)?,
            files: files.map(|file| (file.url.clone(), file)).collect(),
        }))
    }

    /// Where each file goes, and what its store says of it.
    fn items<'f>(&self, root: &str, table: &'f Table) -> Result<Vec<Item<'f>>> {
        let (mut known, all) = self.objects(table)?;
        let mut items = Vec::with_capacity(table.files.len());
        let mut unknown = Vec::new();
        for file in &table.files {
            let object = file.object.clone().or_else(|| generated(table, file));
            match object.or_else(|| known.remove(&file.location)) {
                Some(object) => items.push(item(root, table, file, object)),
                // A listing to the end shows all there is of what may be gone.
                None if all && file.optional && inside(table, file) => {}
                None => unknown.push(file),
            }
        }
        for files in unknown.chunks(REQUESTS_MAX * 8) {
            if self.builder.cancelled() {
                return Err(Error::cancelled());
            }
            let places: Vec<_> = files.iter().map(|file| file.location.clone()).collect();
            for (file, object) in files.iter().zip(self.lake.heads(&places)) {
                match object {
                    Ok(object) => items.push(item(root, table, file, object)),
                    Err(Error::NotFound { .. }) if file.optional => {}
                    Err(Error::NotFound { .. }) => return Err(vanished(table, &file.location)),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(items)
    }

    /// What listings say of a table's files, of its own directory and of each other place that many are
    /// in, and whether that of its own went to the end; nothing when they are few. What those do not show
    /// is asked for by name.
    fn objects(&self, table: &Table) -> Result<(HashMap<Location, ObjectInfo>, bool)> {
        let mut places: BTreeMap<(&str, &str), Vec<&Location>> = BTreeMap::new();
        let mut own = Vec::new();
        for file in &table.files {
            let place = &file.location;
            if file.object.is_some() || file.content.is_some() {
                continue;
            }
            if inside(table, file) {
                own.push(place);
            } else {
                let of_store = places.entry((place.scheme(), place.authority()));
                of_store.or_default().push(place);
            }
        }
        let mut found = HashMap::new();
        let all = self.listed(&table.location, own, &mut found)?;
        for outside in places.into_values() {
            // The whole of a disk is not listed; asking there costs little.
            let directory = Location::common(&outside);
            let directory = directory.filter(|it| it.local().is_none() || !it.path().is_empty());
            if let Some(directory) = directory {
                self.listed(&directory, outside, &mut found)?;
            }
        }
        Ok((found, all))
    }

    /// Looks for files in a listing, which is given up when it shows very much that nobody refers to.
    /// Whether it went to the end.
    fn listed(
        &self,
        directory: &Location,
        wanted: Vec<&Location>,
        found: &mut HashMap<Location, ObjectInfo>,
    ) -> Result<bool> {
        let mut wanted: HashSet<&Location> = wanted.into_iter().collect();
        if wanted.len() <= HEADS_MAX {
            return Ok(false);
        }
        // A request for one object costs what a request for the names of a thousand does.
        let mut left = wanted.len().saturating_mul(1000);
        let mut all = true;
        self.lake.list(directory, None, |object| {
            if wanted.remove(&object.location) {
                found.insert(object.location.clone(), object);
            }
            left -= 1;
            match wanted.is_empty() || left == 0 || self.builder.cancelled() {
                true => {
                    all = false;
                    ControlFlow::Break(())
                }
                false => ControlFlow::Continue(()),
            }
        })?;
        Ok(all)
    }

    /// Takes a file from the base, when it is known to be the same.
    fn keep(&self, base: Option<&Base>, item: &Item<'_>) -> Result<bool> {
        let known = base.and_then(|base| base.files.get(&item.object.location.to_string()));
        if self.force
            || item.file.content.is_some()
            || !known.is_some_and(|known| known.is_same(&item.object))
        {
            return Ok(false);
        }
        match self.builder.before(item.path.as_bytes())? {
            Some(entry) if entry.kind == EntryType::File && entry.size == item.object.size => {
                self.builder.put(item.path.as_bytes(), entry)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Reads what is new: small objects of a distant store many at once, others one by one. Gives the
    /// paths of those that were gone and may be.
    fn read(&self, table: &Table, items: Vec<Item<'_>>) -> Result<HashSet<String>> {
        let mut batches: Vec<Vec<Item<'_>>> = Vec::new();
        let mut room = (0, 0);
        for item in items {
            let size = item.object.size;
            let asked = item.file.content.is_none();
            let small =
                asked && size <= SMALL_OBJECT && self.lake.file(&item.object.location).is_none();
            match batches.last_mut() {
                Some(batch) if small && room.0 > 0 && size <= room.1 => {
                    room = (room.0 - 1, room.1 - size);
                    batch.push(item);
                }
                _ => {
                    room = match small {
                        true => (BATCH_FILES - 1, BATCH_BYTES.saturating_sub(size)),
                        false => (0, 0),
                    };
                    batches.push(vec![item]);
                }
            }
        }
        let gone = Mutex::new(HashSet::new());
        let missing = |item: &Item<'_>| {
            let mut gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
            gone.insert(item.path.clone());
        };
        self.builder
            .each(batches, |batch| self.batch(table, &batch, &missing))?;
        Ok(gone.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn batch(
        &self,
        table: &Table,
        batch: &[Item<'_>],
        missing: &(dyn Fn(&Item<'_>) + Sync),
    ) -> Result<()> {
        let one = |item: &Item<'_>, content| match self.one(table, item, content) {
            Err(Error::Vanished { .. }) if item.file.optional => {
                missing(item);
                Ok(())
            }
            stored => stored,
        };
        if self.builder.cancelled() {
            return Err(Error::cancelled());
        }
        if let [item] = batch {
            let place = &item.object.location;
            let content = match &item.file.content {
                Some(bytes) => Ok(Content::held(place, bytes.clone())),
                None => Content::open(self.lake, place, item.object.size),
            };
            return one(item, content);
        }
        let places: Vec<_> = batch
            .iter()
            .map(|item| item.object.location.clone())
            .collect();
        let read = self.lake.read_many(&places, SMALL_OBJECT);
        for (item, bytes) in batch.iter().zip(read) {
            let content = bytes.map(|bytes| Content::held(&item.object.location, bytes));
            one(item, content)?;
        }
        Ok(())
    }

    fn one(&self, table: &Table, item: &Item<'_>, content: Result<Content<'_>>) -> Result<()> {
        let place = &item.object.location;
        let content = match content {
            Err(Error::NotFound { .. }) => return Err(vanished(table, place)),
            content => content?,
        };
        let mut entry = Entry::new("", EntryType::File);
        entry.mode = 0o644;
        entry.mtime = item.object.modified;
        entry.size = item.object.size;
        let path = item.path.as_bytes();
        let before = self.builder.before(path)?;
        let size = item.object.size;
        let stored = self
            .builder
            .store_at(path, entry, size, &content, before.as_ref());
        let stored = match stored {
            Err(_) if content.vanished() => return Err(vanished(table, place)),
            stored => stored?,
        };
        if stored.size != item.object.size {
            return Err(Error::Size {
                url: place.to_string(),
                what: format!("ends after {} of {} bytes", stored.size, item.object.size),
            });
        }
        if let Some(said) = item.file.size.filter(|said| *said != size) {
            self.builder
                .note(path, format!("has {size} bytes, and the table says {said}"));
        }
        Ok(())
    }

    /// Stores a record beside the files.
    fn describe(&self, path: &str, bytes: &[u8], time: Timestamp) -> Result<()> {
        let before = self.builder.before(path.as_bytes())?;
        let mut entry = Entry::new("", EntryType::File);
        entry.mode = 0o644;
        entry.mtime = time;
        entry.size = bytes.len() as u64;
        let mut source = bytes;
        self.builder
            .store(path.as_bytes(), entry, &mut source, before.as_ref())?;
        Ok(())
    }
}

fn inside(table: &Table, file: &TableFile) -> bool {
    table.location.relative(&file.location).is_some()
}

fn item<'f>(root: &str, table: &Table, file: &'f TableFile, object: ObjectInfo) -> Item<'f> {
    Item {
        path: format!("{root}/{}", tree_path(&table.location, &file.location)),
        file,
        object,
    }
}

/// What a store would say of bytes that none has.
fn generated(table: &Table, file: &TableFile) -> Option<ObjectInfo> {
    let content = file.content.as_ref()?;
    Some(ObjectInfo {
        location: file.location.clone(),
        size: content.len() as u64,
        etag: None,
        modified: version_time(table),
    })
}

/// The time of the version, so that what is the same has the same bytes and entry.
fn version_time(table: &Table) -> Timestamp {
    Timestamp {
        seconds: table.time_ms.unwrap_or(0).div_euclid(1000),
        nanos: 0,
    }
}

fn record(root: &str, item: &Item<'_>) -> FileRecord {
    let path = item.path.strip_prefix(root).unwrap_or(&item.path);
    FileRecord {
        path: path.trim_start_matches('/').to_owned(),
        url: item.object.location.to_string(),
        kind: item.file.kind,
        size: item.object.size,
        etag: item.object.etag.clone(),
        modified_ns: nanos(item.object.modified),
        rows: item.file.rows,
        deleted_rows: item.file.deleted_rows,
    }
}

fn vanished(table: &Table, place: &Location) -> Error {
    Error::Vanished {
        table: table.location.to_string(),
        url: place.to_string(),
    }
}

fn encoding(root: &str, error: serde_json::Error) -> Error {
    Error::undecodable(root, "it cannot be described", error)
}
