//! Snapshots of lakehouse tables, and their restore to any place.
//!
//! A table is pinned at one version, all files that version refers to go into one snapshot, and a
//! manifest beside them says what is there. [`snapshot_tables`] takes such a snapshot of any number
//! of tables, [`TableRestore`] makes one of them again, at their own place or another. What a table's own
//! log says is read in `delta`; [`iceberg`] knows which files an Iceberg table consists of and rewrites its
//! metadata for another place, through [`avro`], which edits containers without decoding what it does not
//! change; objects of all kinds of places are read and written through [`Lake`]. [`catalog`] speaks to catalogs of Iceberg tables.
//!
//! All of it blocks, so that it runs on the threads that cut and compress; [`Lake`] waits for the
//! network on the runtime it was made in.

mod archive;
pub mod avro;
pub mod catalog;
mod content;
mod delta;
mod diff;
mod discover;
mod drill;
mod error;
mod export;
pub mod iceberg;
mod lake;
pub mod limits;
mod location;
mod manifest;
mod record;
mod restore;
mod saved;
mod snapshot;
mod table;
mod windows;

pub use archive::{Archived, export_archive};
pub use delta::{DeltaOptions, pin as pin_delta};
pub use diff::{TableDiff, diff_tables};
pub use discover::{Found, Source, discover};
pub use drill::{Drilled, drill_table};
pub use error::{Error, Result};
pub use export::{ExportedTable, export_table};
pub use lake::{Lake, ObjectInfo};
pub use location::Location;
pub use manifest::{BackupType, Manifest, ManifestFile, ManifestTotals, TableManifest, manifest};
pub use record::{ColumnRecord, FileRecord, RECORD_VERSION, TABLES, TableRecord};
pub use restore::{Identity, RestoredTable, TableRestore};
pub use saved::{choose_tables, read_files, read_tables};
pub use snapshot::{KIND, TablesOptions, TablesReport, snapshot_tables};
pub use table::{At, FileKind, Format, Table, TableFile};
