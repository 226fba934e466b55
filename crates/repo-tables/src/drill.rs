//! A drill: opens a restored table as a reader would, and compares it with the snapshot.

mod iceberg;

use std::collections::BTreeMap;

use parquet::file::reader::FileReader;
use repo_core::SnapshotView;
use tokio::runtime::Handle;

use crate::delta::{self, DeltaOptions};
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::location::Location;
use crate::record::{FileRecord, TableRecord};
use crate::restore::same_bytes;
use crate::saved::{SavedReader, read_files};
use crate::table::{At, FileKind, Format, Table};
use crate::windows;

/// What was found out about a restored table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drilled {
    /// Files compared, byte by byte.
    pub files: u64,
    /// Bytes compared.
    pub bytes: u64,
    /// Rows counted in the data files, without those deleted.
    pub rows: u64,
    /// What is not as it was, a line each.
    pub differences: Vec<String>,
}

/// Opens the table that was restored at `target`, counts its rows, and compares every file.
pub async fn drill_table(
    view: &SnapshotView,
    lake: &Lake,
    table: &TableRecord,
    target: &Location,
) -> Result<Drilled> {
    let files = read_files(view, &table.name).await?;
    let drill = Drill {
        view: view.clone(),
        lake: lake.clone(),
        runtime: Handle::current(),
        table: table.clone(),
        target: target.clone(),
    };
    let done = tokio::task::spawn_blocking(move || drill.run(&files)).await;
    done.map_err(|error| Error::Object {
        operation: "compare",
        url: target.to_string(),
        source: error.into(),
    })?
}

struct Drill {
    view: SnapshotView,
    lake: Lake,
    runtime: Handle,
    table: TableRecord,
    target: Location,
}

impl Drill {
    fn run(&self, files: &[FileRecord]) -> Result<Drilled> {
        if self.table.format == Format::Iceberg {
            return self.iceberg(files);
        }
        let mut drilled = Drilled::default();
        match self.open() {
            Ok(opened) => self.compare(&opened, files, &mut drilled),
            Err(error @ Error::Repository(_)) => return Err(error),
            Err(error) => drilled
                .differences
                .push(format!("cannot be opened: {error}")),
        }
        for file in files {
            drilled.rows += self.file(file, &mut drilled)?;
        }
        if self.table.rows.is_some_and(|rows| rows != drilled.rows) {
            let said = self.table.rows.unwrap_or(0);
            let found = drilled.rows;
            drilled
                .differences
                .push(format!("has {found} rows instead of {said}"));
        }
        Ok(drilled)
    }

    fn open(&self) -> Result<Table> {
        let options = DeltaOptions::default();
        delta::pin(&self.lake, &self.target, &At::Newest, options)
    }

    /// Compares what a reader sees with what was recorded.
    fn compare(&self, opened: &Table, files: &[FileRecord], drilled: &mut Drilled) {
        let mut differs = |what: &str, found: String, said: String| {
            if found != said {
                drilled
                    .differences
                    .push(format!("{what} is {found} instead of {said}"));
            }
        };
        differs(
            "version",
            opened.version.to_string(),
            self.table.version.to_string(),
        );
        let text = |id: &Option<String>| id.clone().unwrap_or_default();
        differs("id", text(&opened.id), text(&self.table.id));
        let columns = opened
            .columns
            .iter()
            .map(|(name, kind)| format!("{name} {kind}"));
        let said = self
            .table
            .columns
            .iter()
            .map(|column| format!("{} {}", column.name, column.kind));
        let join = |columns: Vec<String>| columns.join(", ");
        differs("schema", join(columns.collect()), join(said.collect()));
        let said: BTreeMap<&str, ()> = files.iter().map(|file| (file.path.as_str(), ())).collect();
        for file in opened.files.iter().filter(|file| !file.optional) {
            let below = self.target.relative(&file.location);
            let path = below.map(|below| format!("table/{below}"));
            if path.is_some_and(|path| !said.contains_key(path.as_str())) {
                drilled
                    .differences
                    .push(format!("{} was not saved", file.location));
            }
        }
    }

    /// Compares a file; gives the rows in it that are not deleted.
    fn file(&self, file: &FileRecord, drilled: &mut Drilled) -> Result<u64> {
        let place = match self.table.format {
            Format::Delta => match file.path.strip_prefix("table/") {
                Some(below) => self.target.join(below)?,
                None => Location::parse(&file.url)?,
            },
            Format::Iceberg => self.place(file)?,
        };
        let there = match self.lake.head(&place) {
            Ok(there) => there,
            Err(Error::NotFound { .. }) => {
                drilled.differences.push(format!("{place} is missing"));
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        let mut saved = SavedReader::open(&self.view, &self.runtime, &self.table.name, &file.path)?;
        let mut reader = self.lake.reader(&place, there.size);
        if there.size != file.size || !same_bytes(&mut reader, &mut saved, &place)? {
            drilled.differences.push(format!("{place} has other bytes"));
        }
        drilled.files += 1;
        drilled.bytes += there.size;
        let mut counted = 0;
        if file.kind == FileKind::Data {
            let rows = match place.path().ends_with(".parquet") {
                true => self.rows(&place, there.size).unwrap_or_else(|error| {
                    drilled
                        .differences
                        .push(format!("{place} cannot be opened: {error}"));
                    0
                }),
                false => file.rows.unwrap_or(0),
            };
            if file.rows.is_some_and(|said| said != rows) {
                drilled.differences.push(format!("{place} has {rows} rows"));
            }
            counted = rows.saturating_sub(file.deleted_rows);
        }
        Ok(counted)
    }

    /// Rows of a Parquet file, by its own account.
    fn rows(&self, place: &Location, size: u64) -> Result<u64> {
        let opened = windows::open(&self.lake, place, size)?;
        let rows = opened.metadata().file_metadata().num_rows();
        Ok(u64::try_from(rows).unwrap_or(0))
    }
}
