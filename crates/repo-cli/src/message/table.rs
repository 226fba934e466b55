//! Messages about lakehouse tables.

use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::time::Duration;

use repo_tables::{
    Archived, Drilled, ExportedTable, Manifest, RestoredTable, TableDiff, TableManifest,
    TableRecord,
};
use serde::Serialize;

use crate::exit::Failure;
use crate::show;

/// A table that was saved.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "table_saved")]
pub(crate) struct SavedTableMessage<'t> {
    name: &'t str,
    format: repo_tables::Format,
    location: &'t str,
    version: i64,
    files: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_version: Option<i64>,
    new_files: u64,
    deleted_files: u64,
}

impl<'t> SavedTableMessage<'t> {
    pub(crate) fn new(table: &'t TableRecord) -> Self {
        Self {
            name: &table.name,
            format: table.format,
            location: &table.location,
            version: table.version,
            files: table.files,
            bytes: table.bytes,
            rows: table.rows,
            base_version: table.base_version,
            new_files: match table.base_version {
                Some(_) => table.new_files.len() as u64,
                None => table.files,
            },
            deleted_files: table.deleted_files.len() as u64,
        }
    }
}

impl Display for SavedTableMessage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} at version {}: {}, {}",
            self.name,
            self.version,
            show::count(self.files, "file"),
            show::bytes(self.bytes),
        )?;
        if let Some(rows) = self.rows {
            write!(f, ", {}", show::count(rows, "row"))?;
        }
        if self.base_version.is_some() {
            let (new, deleted) = (
                show::grouped(self.new_files),
                show::grouped(self.deleted_files),
            );
            write!(f, "; {new} new, {deleted} gone since the last snapshot")?;
        }
        Ok(())
    }
}

/// A table that was restored.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "table_restored")]
pub(crate) struct TableRestoredMessage<'t> {
    name: &'t str,
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_location: Option<String>,
    version: i64,
    files: u64,
    bytes_written: u64,
    bytes_kept: u64,
    duration_ms: u64,
}

impl<'t> TableRestoredMessage<'t> {
    pub(crate) fn new(table: &'t TableRecord, restored: &RestoredTable, duration_ms: u64) -> Self {
        Self {
            name: &table.name,
            target: restored.target.to_string(),
            metadata_location: restored.metadata_location.as_ref().map(ToString::to_string),
            version: table.version,
            files: restored.files,
            bytes_written: restored.bytes_written,
            bytes_kept: restored.bytes_kept,
            duration_ms,
        }
    }
}

impl Display for TableRestoredMessage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "restored {} at version {} to {}: {}, {} written, {} already there in {}",
            self.name,
            self.version,
            self.target,
            show::count(self.files, "file"),
            show::bytes(self.bytes_written),
            show::bytes(self.bytes_kept),
            show::duration(Duration::from_millis(self.duration_ms)),
        )
    }
}

/// A table that a catalog knows now, or the script that makes it known.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "table_registered")]
pub(crate) struct RegisteredMessage {
    pub(crate) name: String,
    pub(crate) catalog: String,
    pub(crate) metadata_location: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) script: Option<String>,
}

impl Display for RegisteredMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some(script) = &self.script {
            return f.write_str(script);
        }
        write!(
            f,
            "registered {} in {}: read back at version {}, {}, {} in data files",
            self.name,
            self.catalog,
            self.version.unwrap_or(-1),
            show::count(self.files.unwrap_or(0), "file"),
            show::count(self.data_rows.unwrap_or(0), "row"),
        )
    }
}

/// All that a snapshot of tables holds.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "table_manifest")]
pub(crate) struct ManifestMessage {
    backup_id: String,
    #[serde(rename = "type")]
    kind: repo_tables::BackupType,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    time: String,
    tables: Vec<TableManifest>,
    totals: repo_tables::ManifestTotals,
}

impl From<Manifest> for ManifestMessage {
    fn from(manifest: Manifest) -> Self {
        Self {
            backup_id: manifest.backup_id,
            kind: manifest.kind,
            base: manifest.base,
            time: show::utc_time(manifest.time_ms),
            tables: manifest.tables,
            totals: manifest.totals,
        }
    }
}

impl Display for ManifestMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for TableManifest { table, .. } in &self.tables {
            writeln!(f, "{}", SavedTableMessage::new(table))?;
        }
        write!(
            f,
            "{}: {}, {}, {}",
            &self.backup_id[..8],
            show::count(self.totals.tables, "table"),
            show::count(self.totals.files, "file"),
            show::bytes(self.totals.bytes),
        )
    }
}

/// How a table differs between two snapshots.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "table_diff")]
pub(crate) struct TableDiffMessage {
    #[serde(flatten)]
    pub(crate) diff: TableDiff,
}

impl Display for TableDiffMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let diff = &self.diff;
        let sign = match (diff.version_before, diff.version_after) {
            (None, _) => '+',
            (_, None) => '-',
            _ => 'M',
        };
        let number = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        write!(
            f,
            "{sign} {}: version {} to {}, rows {} to {}, {} added, {} removed, {} rewritten",
            diff.name,
            number(diff.version_before.map(|version| version.to_string())),
            number(diff.version_after.map(|version| version.to_string())),
            number(diff.rows_before.map(show::grouped)),
            number(diff.rows_after.map(show::grouped)),
            show::count(diff.added.len() as u64, "file"),
            show::grouped(diff.removed.len() as u64),
            show::grouped(diff.rewritten.len() as u64),
        )?;
        for (sign, columns) in [
            ('+', &diff.columns_added),
            ('-', &diff.columns_removed),
            ('M', &diff.columns_changed),
        ] {
            for column in columns {
                write!(f, "\n  {sign} column {} {}", column.name, column.kind)?;
            }
        }
        Ok(())
    }
}

/// A table that was restored on trial.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "table_drill")]
pub(crate) struct DrillMessage<'t> {
    name: &'t str,
    restore_ms: u64,
    files: u64,
    bytes: u64,
    rows: u64,
    differences: Vec<String>,
}

impl<'t> DrillMessage<'t> {
    pub(crate) fn new(name: &'t str, restore_ms: u64, outcome: Result<Drilled, Failure>) -> Self {
        let drilled = outcome.unwrap_or_else(|failure| Drilled {
            differences: vec![failure.message],
            ..Drilled::default()
        });
        Self {
            name,
            restore_ms,
            files: drilled.files,
            bytes: drilled.bytes,
            rows: drilled.rows,
            differences: drilled.differences,
        }
    }

    /// Whether anything is not as it was saved.
    pub(crate) fn differs(&self) -> bool {
        !self.differences.is_empty()
    }
}

impl Display for DrillMessage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: restored in {}, {} and {} compared, {}",
            self.name,
            show::duration(Duration::from_millis(self.restore_ms)),
            show::count(self.files, "file"),
            show::bytes(self.bytes),
            show::count(self.rows, "row"),
        )?;
        self.differences
            .iter()
            .try_for_each(|difference| write!(f, "\n  {difference}"))
    }
}

/// A table that was written in its own layout.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "table_exported")]
pub(crate) struct ExportedMessage<'t> {
    name: &'t str,
    target: String,
    manifest: String,
    version: i64,
    files_added: u64,
    files_there: u64,
    bytes_added: u64,
}

impl<'t> ExportedMessage<'t> {
    pub(crate) fn new(table: &'t TableRecord, exported: &ExportedTable) -> Self {
        Self {
            name: &table.name,
            target: exported.target.to_string(),
            manifest: exported.manifest.to_string(),
            version: table.version,
            files_added: exported.files_added,
            files_there: exported.files_there,
            bytes_added: exported.bytes_added,
        }
    }
}

impl Display for ExportedMessage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exported {} at version {} to {}: {} added, {}, {} already there",
            self.name,
            self.version,
            self.target,
            show::count(self.files_added, "file"),
            show::bytes(self.bytes_added),
            show::grouped(self.files_there),
        )
    }
}

/// Tables that were written into one file.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "tables_archived")]
pub(crate) struct ArchivedMessage {
    file: String,
    tables: u64,
    files: u64,
    bytes: u64,
}

impl ArchivedMessage {
    pub(crate) fn new(path: &Path, archived: &Archived) -> Self {
        Self {
            file: show::local_path(path),
            tables: archived.tables,
            files: archived.files,
            bytes: archived.bytes,
        }
    }
}

impl Display for ArchivedMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, {}, {}",
            self.file,
            show::count(self.tables, "table"),
            show::count(self.files, "file"),
            show::bytes(self.bytes),
        )
    }
}
