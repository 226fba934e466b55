//! The same table at another place: files that hold locations are rewritten, all others keep their bytes.
//!
//! Deletes come before the manifests that tell their length, manifests before their lists, lists before the
//! metadata: whoever sees the new metadata sees a whole table.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::access::Moved;
use super::files::{Seen, fetch, lists};
use super::gate::{Gate, each};
use super::limits::DELETES_MAX;
use super::location::Prefixes;
use super::manifest::{Entry, ManifestRef, read_list};
use super::metadata::{Metadata, StatisticsFile};
use super::rewriting::{self, NewDeletes};
use super::{Error, Fetch, Kind, Result, Sink, deletes, json, puffin};

/// Which identity the moved table gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableUuid {
    /// That of the table, which it replaces.
    Keep,
    /// Another: it will live beside the table.
    New(String),
}

impl TableUuid {
    /// A new random identity.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|_| Error::Random)?;
        Ok(Self::New(uuid_text(bytes, 4)))
    }

    /// The identity that a copy of a table has at a place: the same whenever it is made there.
    #[must_use]
    pub fn of_copy(metadata: &Metadata, place: &str) -> Self {
        let uuid = metadata.table_uuid().unwrap_or_default();
        Self::New(super::engine::uuid_of(&["copy", uuid, place]))
    }
}

/// Bytes as a UUID of a version: 4 says that they are random, 8 that they are of our own making.
pub(super) fn uuid_text(mut bytes: [u8; 16], version: u8) -> String {
    bytes[6] = bytes[6] & 0x0f | version << 4;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (place, byte) in bytes.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text
}

/// How a table moves.
#[derive(Debug, Clone)]
pub struct Relocation {
    /// Which prefixes become which. Every location of the table must be below one.
    pub prefixes: Prefixes,
    /// Its identity afterwards.
    pub uuid: TableUuid,
}

/// What a move did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Relocated {
    /// The metadata of the moved table.
    pub metadata: String,
    /// Files with new bytes.
    pub rewritten: u64,
    /// Their length in bytes.
    pub rewritten_bytes: u64,
    /// Files that kept their bytes.
    pub copied: u64,
    /// Files of earlier versions that were gone already.
    pub old_metadata_gone: u64,
}

/// Moves a table: gives `sink` every file that its retained snapshots need, each once, with the bytes it has
/// at the new place. Requests: one a file that may hold locations, of metadata, manifest lists, manifests,
/// position deletes and deletion vectors; other files are not read here.
pub fn relocate(
    metadata: &Metadata,
    relocation: &Relocation,
    source: &dyn Fetch,
    sink: &dyn Sink,
) -> Result<Relocated> {
    let table = Move {
        relocation,
        source,
        sink,
        place: metadata.place(),
        seen: Seen::default(),
        large_manifest: Gate::default(),
        large_deletes: Gate::default(),
        deletes: Mutex::default(),
        manifests: Mutex::default(),
        rewritten: AtomicU64::new(0),
        rewritten_bytes: AtomicU64::new(0),
        copied: AtomicU64::new(0),
    };
    table.seen.first(metadata.place(), Kind::Metadata)?;
    let (list_paths, inline) = lists(metadata.snapshots(), metadata.place(), &table.seen)?;
    let manifests = table.manifests_of(&list_paths, inline)?;
    each(&manifests, |manifest| table.manifest(manifest))?;
    drop(manifests);
    each(&list_paths, |list| table.list(list))?;
    table.statistics(Kind::Statistics, metadata.statistics())?;
    table.statistics(Kind::PartitionStatistics, metadata.partition_statistics())?;
    let mut old_metadata_gone = 0;
    for old in metadata
        .metadata_log()
        .filter(|old| *old != metadata.place())
    {
        old_metadata_gone += u64::from(!table.old_metadata(old)?);
    }
    let new_place = table.metadata(metadata, Kind::Metadata)?;
    Ok(Relocated {
        metadata: new_place,
        rewritten: table.rewritten.into_inner(),
        rewritten_bytes: table.rewritten_bytes.into_inner(),
        copied: table.copied.into_inner(),
        old_metadata_gone,
    })
}

/// A file of deletes that some worker rewrites, or has: how it is then, if it changed.
type Deletes = Arc<Mutex<Option<Option<NewDeletes>>>>;

struct Move<'a> {
    relocation: &'a Relocation,
    source: &'a dyn Fetch,
    sink: &'a dyn Sink,
    place: &'a str,
    seen: Seen,
    // Two gates: one worker waits for deletes that another rewrites, and must not hold what that one needs.
    large_manifest: Gate,
    large_deletes: Gate,
    deletes: Mutex<HashMap<String, Deletes>>,
    /// New lengths of manifests that were rewritten.
    manifests: Mutex<HashMap<String, u64>>,
    rewritten: AtomicU64,
    rewritten_bytes: AtomicU64,
    copied: AtomicU64,
}

impl Move<'_> {
    fn prefixes(&self) -> &Prefixes {
        &self.relocation.prefixes
    }

    fn manifests_of(&self, lists: &[&str], inline: Vec<ManifestRef>) -> Result<Vec<ManifestRef>> {
        let manifests = Mutex::new(inline);
        each(lists, |list| {
            read_list(&fetch(self.source, list)?, list, |manifest| {
                if self.seen.first(&manifest.path, Kind::Manifest)? {
                    let mut all = manifests.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(manifest);
                }
                Ok(())
            })
        })?;
        Ok(manifests
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands a file over, with its new bytes if it has any.
    fn put(&self, kind: Kind, from: &str, size: Option<u64>, bytes: Option<Vec<u8>>) -> Result<()> {
        let to = self.prefixes().map(from, self.place)?.into_owned();
        let file = Moved {
            kind,
            from: from.to_owned(),
            to,
            size,
        };
        let put = if let Some(bytes) = bytes {
            self.rewritten.fetch_add(1, Ordering::Relaxed);
            let length = bytes.len() as u64;
            self.rewritten_bytes.fetch_add(length, Ordering::Relaxed);
            self.sink.write(&file, bytes)
        } else {
            self.copied.fetch_add(1, Ordering::Relaxed);
            self.sink.copy(&file)
        };
        put.map_err(|source| Error::Write {
            location: file.to,
            source,
        })
    }

    fn manifest(&self, manifest: &ManifestRef) -> Result<()> {
        let location = manifest.path.as_str();
        let _entered = self.large_manifest.enter(manifest.length);
        let file = fetch(self.source, location)?;
        let bytes = rewriting::manifest(&file, location, self.prefixes(), |entry, _| {
            if matches!(entry.kind, Kind::PositionDeletes | Kind::DeletionVectors) {
                return self.deletes(entry);
            }
            if self.seen.first(entry.path, entry.kind)? {
                self.put(entry.kind, entry.path, entry.size, None)?;
            }
            Ok(None)
        })?;
        if let Some(bytes) = &bytes {
            let mut lengths = self
                .manifests
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            lengths.insert(location.to_owned(), bytes.len() as u64);
        }
        self.put(Kind::Manifest, location, Some(file.len() as u64), bytes)
    }

    /// Rewrites a file of deletes the first time it is met; whoever meets it meanwhile waits.
    fn deletes(&self, entry: &Entry<'_>) -> Result<Option<NewDeletes>> {
        let slot = {
            let mut all = self.deletes.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(entry.path.to_owned()).or_default())
        };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = slot.as_ref() {
            return Ok(known.clone());
        }
        self.seen.first(entry.path, entry.kind)?;
        let new = self.rewrite_deletes(entry)?;
        *slot = Some(new.clone());
        Ok(new)
    }

    fn rewrite_deletes(&self, entry: &Entry<'_>) -> Result<Option<NewDeletes>> {
        let location = entry.path;
        if self.prefixes().is_identity() {
            self.put(entry.kind, location, entry.size, None)?;
            return Ok(None);
        }
        let _entered = self.large_deletes.enter(entry.size);
        let file = self.source.fetch(location, DELETES_MAX);
        let file = file.map_err(|source| Error::Read {
            location: location.to_owned(),
            source,
        })?;
        let (bytes, layout) = if entry.kind == Kind::DeletionVectors {
            (puffin::rewrite(&file, location, self.prefixes())?, None)
        } else {
            match deletes::rewrite(&file, entry.format, location, self.prefixes())? {
                Some(rewritten) => (Some(rewritten.bytes), rewritten.layout),
                None => (None, None),
            }
        };
        let new = bytes.as_ref().map(|bytes| NewDeletes {
            size: bytes.len() as u64,
            layout,
        });
        self.put(entry.kind, location, Some(file.len() as u64), bytes)?;
        Ok(new)
    }

    fn list(&self, location: &str) -> Result<()> {
        let file = fetch(self.source, location)?;
        let bytes = rewriting::list(&file, location, self.prefixes(), |manifest| {
            let lengths = self
                .manifests
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            lengths.get(manifest).copied()
        })?;
        self.put(Kind::ManifestList, location, Some(file.len() as u64), bytes)
    }

    fn statistics(&self, kind: Kind, files: &[StatisticsFile]) -> Result<()> {
        for file in files {
            if self.seen.first(&file.path, kind)? {
                self.put(kind, &file.path, file.size, None)?;
            }
        }
        Ok(())
    }

    /// Moves the metadata of an earlier version; false: it is gone.
    fn old_metadata(&self, location: &str) -> Result<bool> {
        if !self.seen.first(location, Kind::OldMetadata)? {
            return Ok(true);
        }
        match Metadata::fetch(location, self.source) {
            Ok(old) => self.metadata(&old, Kind::OldMetadata).map(|_| true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn metadata(&self, metadata: &Metadata, kind: Kind) -> Result<String> {
        let location = metadata.place();
        let bytes = edit_metadata(metadata, self.relocation)?;
        let bytes = match bytes {
            Some(text) if metadata.is_compressed() => Some(compress(location, &text)?),
            other => other,
        };
        self.put(kind, location, Some(metadata.stored().len() as u64), bytes)?;
        Ok(self.prefixes().map(location, location)?.into_owned())
    }
}

/// Where metadata holds a location.
const LOCATIONS: [&[&str]; 10] = [
    &["location"],
    &["snapshots", "*", "manifest-list"],
    &["snapshots", "*", "manifests", "*"],
    &["metadata-log", "*", "metadata-file"],
    &["statistics", "*", "statistics-path"],
    &["partition-statistics", "*", "statistics-path"],
    &["properties", "write.data.path"],
    &["properties", "write.metadata.path"],
    &["properties", "write.object-storage.path"],
    &["properties", "write.folder-storage.path"],
];

fn edit_metadata(metadata: &Metadata, relocation: &Relocation) -> Result<Option<Vec<u8>>> {
    let place = metadata.place();
    json::edit(metadata.text(), place, |path, value| {
        if LOCATIONS.iter().any(|members| json::is(path, members)) {
            return Ok(Some(relocation.prefixes.map(value, place)?.into_owned()));
        }
        match &relocation.uuid {
            TableUuid::New(uuid) if json::is(path, &["table-uuid"]) => Ok(Some(uuid.clone())),
            _ => Ok(None),
        }
    })
}

fn compress(location: &str, text: &[u8]) -> Result<Vec<u8>> {
    let failed = |_| Error::malformed(location, "metadata that does not compress");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).map_err(failed)?;
    encoder.finish().map_err(failed)
}
