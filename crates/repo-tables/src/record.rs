//! What a snapshot says about its tables, as JSON in its tree.
//!
//! ```text
//! tables/<name>/table.json     one object: the version, its schema, counts, what changed
//! tables/<name>/files.jsonl    one object a line, a file each, sorted by path
//! tables/<name>/table/...      files below the table's location, at their path below it
//! tables/<name>/outside/<scheme>/<bucket or ->/...   files elsewhere
//! ```

use std::collections::HashMap;

use repo_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lake::ObjectInfo;
use crate::location::Location;
use crate::table::{FileKind, Format, Table};

/// Version of the records below. A reader refuses a greater one.
pub const RECORD_VERSION: u32 = 1;

/// Directory of all tables in a snapshot.
pub const TABLES: &str = "tables";
pub(crate) const TABLE_FILE: &str = "table.json";
pub(crate) const LIST_FILE: &str = "files.jsonl";

/// A table in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRecord {
    /// Version of this record.
    pub record: u32,
    /// Name in the snapshot.
    pub name: String,
    /// Path below a place to restore to; below the warehouse it was found in.
    pub path: String,
    /// Format.
    pub format: Format,
    /// Where it was.
    pub location: String,
    /// Version of a Delta log, or id of an Iceberg snapshot.
    pub version: i64,
    /// When that version was made, in milliseconds since 1970, UTC.
    pub time_ms: Option<i64>,
    /// The table's own identity.
    pub id: Option<String>,
    /// The table's own name.
    pub title: Option<String>,
    /// Number of the schema, in formats that number them.
    pub schema_id: Option<i64>,
    /// Columns.
    pub columns: Vec<ColumnRecord>,
    /// What a catalog would point to.
    pub metadata_location: Option<String>,
    /// Optional parts that were asked for: `change-data`, `history`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Number of files.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Rows that a reader sees, when the table says.
    pub rows: Option<u64>,
    /// Version of the table in the snapshot this one was based on.
    pub base_version: Option<i64>,
    /// Paths of files that the base did not have as files of its version; empty without a base.
    pub new_files: Vec<String>,
    /// Paths of files that the base had as such; older versions may still need them.
    pub deleted_files: Vec<String>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnRecord {
    /// Its name.
    pub name: String,
    /// Its type, as the format writes it.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A file of a table in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Path below the table's directory in the snapshot.
    pub path: String,
    /// Where it was.
    pub url: String,
    /// What it is.
    pub kind: FileKind,
    /// Its length in bytes.
    pub size: u64,
    /// The store's tag of its content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When it was written, in nanoseconds since 1970, UTC.
    pub modified_ns: i64,
    /// Rows in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Rows of it that are deleted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deleted_rows: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl FileRecord {
    /// Whether the object is as it was when this was recorded.
    pub(crate) fn is_same(&self, object: &ObjectInfo) -> bool {
        let same = match (&self.etag, &object.etag) {
            (Some(old), Some(new)) => old == new,
            _ => self.modified_ns == nanos(object.modified),
        };
        self.size == object.size && same
    }
}

/// Nanoseconds since 1970.
pub(crate) fn nanos(time: Timestamp) -> i64 {
    let seconds = time.seconds.saturating_mul(1_000_000_000);
    seconds.saturating_add(i64::from(time.nanos))
}

/// Where a file of a table lies below the table's directory in a snapshot.
pub(crate) fn tree_path(table: &Location, file: &Location) -> String {
    match table.relative(file) {
        Some(relative) => format!("table/{relative}"),
        None => outside_path(file),
    }
}

/// Where a file that is elsewhere lies.
pub(crate) fn outside_path(file: &Location) -> String {
    let authority = match file.authority() {
        "" => "-",
        authority => authority,
    };
    format!("outside/{}/{authority}/{}", file.scheme(), file.path())
}

/// The records of a table's files, from their lines.
pub(crate) fn parse_files(name: &str, lines: &[u8]) -> Result<Vec<FileRecord>> {
    let lines = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let records = lines.map(|line| {
        serde_json::from_slice(line).map_err(|error| {
            Error::undecodable(
                format!("{TABLES}/{name}/{LIST_FILE}"),
                "a line is no file",
                error,
            )
        })
    });
    records.collect()
}

/// The record of a table.
pub(crate) fn parse_table(name: &str, bytes: &[u8]) -> Result<TableRecord> {
    let place = format!("{TABLES}/{name}/{TABLE_FILE}");
    let record: TableRecord = serde_json::from_slice(bytes)
        .map_err(|error| Error::undecodable(&place, "it is no table", error))?;
    if record.record > RECORD_VERSION {
        return Err(Error::malformed(place, "it was written by a newer program"));
    }
    Ok(record)
}

/// Describes `table` with its stored `files`, against what the base had.
pub(crate) fn describe(
    name: &str,
    path: &str,
    table: &Table,
    files: &[FileRecord],
    base: Option<(&TableRecord, &HashMap<String, FileRecord>)>,
) -> TableRecord {
    let columns = table.columns.iter().map(|(name, kind)| ColumnRecord {
        name: name.clone(),
        kind: kind.clone(),
    });
    let (mut new_files, mut deleted_files) = (Vec::new(), Vec::new());
    if let Some((_, old)) = base {
        let live = |file: &&FileRecord| file.kind != FileKind::History;
        let now: std::collections::HashSet<&str> = files
            .iter()
            .filter(live)
            .map(|file| file.url.as_str())
            .collect();
        let had = |url: &str| old.get(url).as_ref().is_some_and(live);
        let new = files.iter().filter(live).filter(|file| !had(&file.url));
        new_files.extend(new.map(|file| file.path.clone()));
        let gone = old.values().filter(live);
        let gone = gone.filter(|file| !now.contains(file.url.as_str()));
        deleted_files.extend(gone.map(|file| file.path.clone()));
        deleted_files.sort_unstable();
    }
    TableRecord {
        record: RECORD_VERSION,
        name: name.to_owned(),
        path: path.to_owned(),
        format: table.format,
        location: table.location.to_string(),
        version: table.version,
        time_ms: table.time_ms,
        id: table.id.clone(),
        title: table.title.clone(),
        schema_id: table.schema_id,
        columns: columns.collect(),
        metadata_location: table.metadata_location.as_ref().map(Location::to_string),
        parts: Vec::new(),
        files: files.len() as u64,
        bytes: files.iter().map(|file| file.size).sum(),
        rows: table.rows,
        base_version: base.map(|(record, _)| record.version),
        new_files,
        deleted_files,
    }
}
