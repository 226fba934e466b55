//! What a table is to this crate, whatever its format: one version, and the files it refers to.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::lake::ObjectInfo;
use crate::location::Location;

/// A format of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Delta Lake.
    Delta,
    /// Apache Iceberg.
    Iceberg,
}

/// Which version of a table is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum At {
    /// The newest.
    #[default]
    Newest,
    /// This version, or this Iceberg snapshot.
    Version(i64),
    /// The one that was current at a time, in milliseconds since 1970, UTC.
    Time(i64),
    /// An Iceberg branch or tag.
    Ref(String),
}

/// What a file is to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// Rows.
    Data,
    /// Rows that are deleted: deletion vectors, position and equality deletes.
    Deletes,
    /// Rows as they changed, for change feeds.
    Changes,
    /// Statistics.
    Statistics,
    /// What only older versions of the table need.
    History,
    /// The sum of a log: checkpoints and their sidecars.
    Checkpoint,
    /// One step of a log.
    Commit,
    /// A list of manifests.
    ManifestList,
    /// A list of files.
    Manifest,
    /// The description of a table.
    Metadata,
}

impl FileKind {
    /// Whether a reader finds other files by it; such files are restored last.
    #[must_use]
    pub fn is_metadata(self) -> bool {
        self >= Self::Checkpoint
    }
}

/// A file that a version of a table refers to. It is immutable: its content never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFile {
    /// Where it is.
    pub location: Location,
    /// What it is.
    pub kind: FileKind,
    /// Its length in bytes, as the table says.
    pub size: Option<u64>,
    /// Rows in it, as the table says.
    pub rows: Option<u64>,
    /// Rows of it that are deleted.
    pub deleted_rows: u64,
    /// The table can be read without it, so it may be missing.
    pub optional: bool,
    /// What its store says of it, when that was asked already.
    pub object: Option<ObjectInfo>,
    /// Its bytes, when no store has them: metadata of a part of a table's history.
    pub content: Option<Bytes>,
}

/// One version of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its format.
    pub format: Format,
    /// Where it is; files elsewhere are possible.
    pub location: Location,
    /// The version: that of a Delta log, or the id of an Iceberg snapshot.
    pub version: i64,
    /// When that version was made, in milliseconds since 1970, UTC.
    pub time_ms: Option<i64>,
    /// The table's own identity, which a copy may share.
    pub id: Option<String>,
    /// The table's own name, where it has one.
    pub title: Option<String>,
    /// Number of the schema, in formats that number them.
    pub schema_id: Option<i64>,
    /// Columns by name, with their types as the format writes them.
    pub columns: Vec<(String, String)>,
    /// What a catalog would point to.
    pub metadata_location: Option<Location>,
    /// Rows that a reader sees, when the table says.
    pub rows: Option<u64>,
    /// All files, each once.
    pub files: Vec<TableFile>,
}
