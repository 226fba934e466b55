//! Writes a table in its own layout into a place where nothing may be overwritten or deleted.
//!
//! Run after each snapshot it adds the files of each version, and the place holds the table as a reader
//! of its format wants it, without this program. Beside the tables, `manifests/<snapshot>/<table>.json`
//! says what the snapshot holds.

use std::io::Cursor;
use std::sync::Arc;

use repo_core::{Progress, SnapshotView};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::location::Location;
use crate::manifest::manifest;
use crate::record::{FileRecord, TableRecord};
use crate::restore::{Identity, Mode, Moving, on_thread};
use crate::saved::{SavedReader, read_files};
use crate::table::Format;

/// What an export of one table did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedTable {
    /// Where the table is.
    pub target: Location,
    /// The manifest beside it.
    pub manifest: Location,
    /// Files that were missing.
    pub files_added: u64,
    /// Files that were there.
    pub files_there: u64,
    /// Bytes of the files that were missing.
    pub bytes_added: u64,
}

/// Adds the files of a table that are missing at its path below `to`. A file that is there with another
/// size is a conflict, and nothing leads readers to what was added before then.
pub async fn export_table(
    view: &SnapshotView,
    lake: &Lake,
    table: &TableRecord,
    to: &Location,
    progress: Arc<dyn Progress>,
) -> Result<ExportedTable> {
    let mut files = read_files(view, &table.name).await?;
    let refuse = |reason: String| Error::Unsupported {
        table: table.name.clone(),
        reason,
    };
    let target = to.join(&table.path)?;
    let moved = match table.format {
        Format::Delta => (0, 0, 0),
        // Its files hold locations, so they are rewritten on the way.
        Format::Iceberg => {
            let files = std::mem::take(&mut files);
            moved(view, lake, table, &target, files, Arc::clone(&progress)).await?
        }
    };
    if let Some(file) = files.iter().find(|file| !file.path.starts_with("table/")) {
        return Err(refuse(format!("it refers to {} outside of it", file.url)));
    }
    // What leads to others comes after them.
    files.sort_unstable_by(|one, other| {
        let key = |file: &FileRecord| (file.kind.is_metadata(), file.kind);
        (key(one), &one.path).cmp(&(key(other), &other.path))
    });
    let described = manifest(view, std::slice::from_ref(&table.name), false).await?;
    let described = serde_json::to_vec(&described)
        .map_err(|error| Error::undecodable(&table.name, "it cannot be described", error))?;
    let beside = to.join(&format!(
        "manifests/{}/{}.json",
        view.id().to_hex(),
        table.name
    ))?;
    let job = Job {
        view: view.clone(),
        lake: lake.clone(),
        runtime: Handle::current(),
        name: table.name.clone(),
        target: target.clone(),
        manifest: beside,
        described,
        moved,
    };
    let done = tokio::task::spawn_blocking(move || job.run(&files, progress.as_ref())).await;
    done.map_err(|error| Error::Object {
        operation: "write",
        url: target.to_string(),
        source: error.into(),
    })?
}

/// Adds the files of an Iceberg table that are missing; files and bytes added, files that were there.
async fn moved(
    view: &SnapshotView,
    lake: &Lake,
    table: &TableRecord,
    target: &Location,
    files: Vec<FileRecord>,
    progress: Arc<dyn Progress>,
) -> Result<(u64, u64, u64)> {
    let (view, lake, table, target) = (view.clone(), lake.clone(), table.clone(), target.clone());
    let (runtime, place) = (Handle::current(), target.clone());
    let work = move || {
        let (identity, mode) = (Identity::Keep, Mode::Create);
        let moving = Moving::open(
            lake, runtime, view, table, target, files, identity, mode, progress,
        )?;
        let written = moving.run()?;
        let (added, there) = moving.files_done();
        Ok((added, written.bytes_written, there))
    };
    on_thread(place, work).await
}

struct Job {
    view: SnapshotView,
    lake: Lake,
    runtime: Handle,
    name: String,
    target: Location,
    manifest: Location,
    described: Vec<u8>,
    /// What was done already: files and bytes added, files that were there.
    moved: (u64, u64, u64),
}

impl Job {
    fn run(&self, files: &[FileRecord], progress: &dyn Progress) -> Result<ExportedTable> {
        let mut exported = ExportedTable {
            target: self.target.clone(),
            manifest: self.manifest.clone(),
            files_added: self.moved.0,
            bytes_added: self.moved.1,
            files_there: self.moved.2,
        };
        progress.start("export", None, Some(files.len() as u64));
        for file in files {
            if progress.cancelled() {
                return Err(Error::cancelled());
            }
            let below = file.path.strip_prefix("table/").unwrap_or_default();
            let place = self.target.join(below)?;
            let created = match self.is_there(&place, file.size)? {
                true => false,
                false => {
                    let mut saved = self.open(file)?;
                    self.lake.create(&place, &mut saved, file.size)?
                }
            };
            match created {
                true => {
                    exported.files_added += 1;
                    exported.bytes_added += file.size;
                }
                false => exported.files_there += 1,
            }
            progress.advance(file.size, 1);
        }
        if !self.is_there(&self.manifest, self.described.len() as u64)? {
            let mut source = Cursor::new(&self.described);
            let size = self.described.len() as u64;
            self.lake.create(&self.manifest, &mut source, size)?;
        }
        progress.finish();
        Ok(exported)
    }

    fn open(&self, file: &FileRecord) -> Result<SavedReader> {
        SavedReader::open(&self.view, &self.runtime, &self.name, &file.path)
    }

    /// Whether an object of this size is there; one of another size is in the way.
    fn is_there(&self, place: &Location, size: u64) -> Result<bool> {
        match self.lake.head(place) {
            Ok(there) if there.size == size => Ok(true),
            Ok(_) => Err(Error::Occupied {
                url: place.to_string(),
                what: "is there with other content, and nothing is overwritten",
            }),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
