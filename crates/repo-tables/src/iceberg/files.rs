//! Every file that a table needs, by what its retained snapshots hold alive.

use std::collections::HashMap;
use std::collections::hash_map::{Entry as Slot, RandomState};
use std::fmt;
use std::hash::BuildHasher;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bytes::Bytes;

use super::gate::{Gate, each};
use super::limits::{BATCH, BATCHES_WAITING, MANIFEST_MAX};
use super::location::check;
use super::manifest::{ManifestRef, read_list, read_manifest};
use super::metadata::{Metadata, Selection, Snapshot};
use super::{Error, Fetch, Result};

/// What a file of a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The metadata of this version.
    Metadata,
    /// The metadata of an earlier version: history, which may be gone.
    OldMetadata,
    /// The manifests of one snapshot.
    ManifestList,
    /// Files and what is known about them.
    Manifest,
    /// Rows.
    Data,
    /// Rows that are deleted, by file and position.
    PositionDeletes,
    /// Rows that are deleted, by value.
    EqualityDeletes,
    /// Rows that are deleted, as bitmaps.
    DeletionVectors,
    /// Statistics of a table.
    Statistics,
    /// Statistics of partitions.
    PartitionStatistics,
}

impl Kind {
    /// Whether a table is whole without such a file, if it is gone.
    pub fn may_be_gone(self) -> bool {
        self == Self::OldMetadata
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "metadata",
            Self::OldMetadata => "old metadata",
            Self::ManifestList => "manifest list",
            Self::Manifest => "manifest",
            Self::Data => "data",
            Self::PositionDeletes => "position deletes",
            Self::EqualityDeletes => "equality deletes",
            Self::DeletionVectors => "deletion vectors",
            Self::Statistics => "statistics",
            Self::PartitionStatistics => "partition statistics",
        })
    }
}

/// A file that a table needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRef {
    /// What it is.
    pub kind: Kind,
    /// Where, as the table spells it.
    pub location: String,
    /// Its length in bytes: read if the file was read, else as the table tells, which may be wrong for
    /// deletes that another program moved.
    pub size: Option<u64>,
    /// Rows in it, for data and deletes. Of deletion vectors, which share files, nothing is told.
    pub records: Option<u64>,
}

/// What a table consists of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// All files.
    pub files: u64,
    /// All files whose length is known, in bytes.
    pub bytes: u64,
    /// Files of rows.
    pub data_files: u64,
    /// Rows in them, deleted ones included.
    pub records: u64,
    /// Files of deletes of any kind.
    pub delete_files: u64,
}

impl Totals {
    fn add(&mut self, file: &FileRef) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(file.size.unwrap_or(0));
        match file.kind {
            Kind::Data => {
                self.data_files += 1;
                self.records = self.records.saturating_add(file.records.unwrap_or(0));
            }
            Kind::PositionDeletes | Kind::EqualityDeletes | Kind::DeletionVectors => {
                self.delete_files += 1;
            }
            _ => {}
        }
    }
}

/// Tells `sink` every file that the selected snapshots need, each once: an entry counts when its manifest
/// does not call it deleted, whichever snapshot added it. Requests: one a manifest list, one a manifest.
/// Memory: some bytes a file to tell each once, and the manifests being read.
pub fn files_of(
    metadata: &Metadata,
    selection: &Selection,
    source: &dyn Fetch,
    sink: &mut dyn FnMut(FileRef) -> Result<()>,
) -> Result<Totals> {
    let snapshots = metadata.select(selection)?;
    thread::scope(|scope| {
        let (send, receive) = sync_channel::<Vec<FileRef>>(BATCHES_WAITING);
        let walk = scope.spawn(move || {
            let walk = Walk {
                source,
                seen: Seen::default(),
                gate: Gate::default(),
                send,
            };
            walk.all(metadata, *selection == Selection::Retained, &snapshots)
        });
        let mut totals = Totals::default();
        let mut taken = Ok(());
        'batches: for batch in &receive {
            for file in batch {
                totals.add(&file);
                taken = sink(file);
                if taken.is_err() {
                    break 'batches;
                }
            }
        }
        // The walk ends when nobody listens.
        drop(receive);
        let walked = match walk.join() {
            Ok(walked) => walked,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        taken?;
        walked?;
        Ok(totals)
    })
}

/// Locations met before, as hashes under a key nobody knows, and what each is.
#[derive(Debug, Default)]
pub(super) struct Seen {
    keys: [RandomState; 2],
    known: Mutex<HashMap<[u64; 2], Kind>>,
}

impl Seen {
    /// Whether this is the first time; an error if it was another kind of file before.
    pub(super) fn first(&self, location: &str, kind: Kind) -> Result<bool> {
        let hash = [0, 1].map(|key: usize| self.keys[key].hash_one(location));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.entry(hash) {
            Slot::Vacant(slot) => {
                slot.insert(kind);
                Ok(true)
            }
            Slot::Occupied(slot) if *slot.get() == kind => Ok(false),
            Slot::Occupied(slot) => Err(Error::TwoKinds {
                location: location.to_owned(),
                first: *slot.get(),
                second: kind,
            }),
        }
    }
}

/// Reads a manifest or a list of them.
pub(super) fn fetch(source: &dyn Fetch, location: &str) -> Result<Bytes> {
    let fetched = source.fetch(location, MANIFEST_MAX);
    fetched.map_err(|source| Error::Read {
        location: location.to_owned(),
        source,
    })
}

/// The manifest lists of snapshots, each once, and the manifests that some name without a list.
pub(super) fn lists<'a>(
    snapshots: impl IntoIterator<Item = &'a Snapshot>,
    place: &str,
    seen: &Seen,
) -> Result<(Vec<&'a str>, Vec<ManifestRef>)> {
    let mut lists = Vec::new();
    let mut manifests = Vec::new();
    for snapshot in snapshots {
        // Writers of format 1 may give both; the list is what readers then use.
        if let Some(list) = &snapshot.manifest_list {
            check(list, place)?;
            if seen.first(list, Kind::ManifestList)? {
                lists.push(list.as_str());
            }
            continue;
        }
        for path in &snapshot.manifests {
            check(path, place)?;
            if seen.first(path, Kind::Manifest)? {
                manifests.push(ManifestRef {
                    path: path.clone(),
                    length: None,
                });
            }
        }
    }
    Ok((lists, manifests))
}

struct Walk<'a> {
    source: &'a dyn Fetch,
    seen: Seen,
    gate: Gate,
    send: SyncSender<Vec<FileRef>>,
}

impl Walk<'_> {
    fn all(&self, metadata: &Metadata, retained: bool, snapshots: &[&Snapshot]) -> Result<()> {
        self.beside_snapshots(metadata, retained, snapshots)?;
        let (lists, inline) = lists(snapshots.iter().copied(), metadata.place(), &self.seen)?;
        let manifests = Mutex::new(inline);
        each(&lists, |list| {
            let file = fetch(self.source, list)?;
            self.tell(vec![of(Kind::ManifestList, list, Some(file.len() as u64))])?;
            read_list(&file, list, |manifest| {
                if self.seen.first(&manifest.path, Kind::Manifest)? {
                    let mut all = manifests.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(manifest);
                }
                Ok(())
            })
        })?;
        let manifests = manifests
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        each(&manifests, |manifest| self.manifest(manifest))
    }

    /// What the metadata names itself.
    fn beside_snapshots(
        &self,
        metadata: &Metadata,
        retained: bool,
        snapshots: &[&Snapshot],
    ) -> Result<()> {
        let place = metadata.place();
        let size = metadata.stored().len() as u64;
        self.seen.first(place, Kind::Metadata)?;
        self.tell(vec![of(Kind::Metadata, place, Some(size))])?;
        let of_selected = |id: i64| retained || snapshots.iter().any(|one| one.snapshot_id == id);
        let log = metadata.metadata_log().filter(|old| *old != place);
        let log = log.map(|old| of(Kind::OldMetadata, old, None));
        let statistics = [
            (Kind::Statistics, metadata.statistics()),
            (Kind::PartitionStatistics, metadata.partition_statistics()),
        ];
        let statistics = statistics.into_iter().flat_map(|(kind, files)| {
            let files = files.iter().filter(|file| of_selected(file.snapshot_id));
            files.map(move |file| of(kind, &file.path, file.size))
        });
        for file in log.chain(statistics) {
            check(&file.location, place)?;
            if self.seen.first(&file.location, file.kind)? {
                self.tell(vec![file])?;
            }
        }
        Ok(())
    }

    fn manifest(&self, manifest: &ManifestRef) -> Result<()> {
        let location = manifest.path.as_str();
        let _entered = self.gate.enter(manifest.length);
        let file = fetch(self.source, location)?;
        let size = Some(file.len() as u64);
        let mut batch = vec![of(Kind::Manifest, location, size)];
        read_manifest(&file, location, |entry| {
            if entry.live && self.seen.first(entry.path, entry.kind)? {
                let mut found = of(entry.kind, entry.path, entry.size);
                found.records = entry
                    .records
                    .filter(|_| entry.kind != Kind::DeletionVectors);
                batch.push(found);
                if batch.len() >= BATCH {
                    self.tell(std::mem::take(&mut batch))?;
                }
            }
            Ok(())
        })?;
        self.tell(batch)
    }

    fn tell(&self, files: Vec<FileRef>) -> Result<()> {
        self.send.send(files).map_err(|_| Error::Stopped)
    }
}

fn of(kind: Kind, location: &str, size: Option<u64>) -> FileRef {
    FileRef {
        kind,
        location: location.to_owned(),
        size,
        records: None,
    }
}
