//! The manifest of a snapshot of tables: what was saved, since when, and how to recognise it.

use std::collections::HashMap;
use std::io::Read;
use std::ops::ControlFlow;

use repo_core::{Content, Entry, EntryType, SnapshotView};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::record::{FileRecord, TABLES, TableRecord};
use crate::saved::{SavedReader, choose_tables, read_files};

/// Whether a snapshot was based on another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupType {
    /// On none: every file was read.
    Full,
    /// On another one, whose files were not read again. It restores by itself all the same.
    Incremental,
}

/// All that a snapshot of tables holds.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    /// The snapshot.
    pub backup_id: String,
    /// Whether it was based on another one.
    #[serde(rename = "type")]
    pub kind: BackupType,
    /// The one it was based on.
    pub base: Option<String>,
    /// When it began, in milliseconds since 1970, UTC.
    pub time_ms: i64,
    /// Its tables, by name.
    pub tables: Vec<TableManifest>,
    /// Sums over the tables.
    pub totals: ManifestTotals,
}

/// A table of a manifest.
#[derive(Debug, Clone, Serialize)]
pub struct TableManifest {
    /// What is known of the table.
    #[serde(flatten)]
    pub table: TableRecord,
    /// Its files, by path.
    pub file_list: Vec<ManifestFile>,
}

/// A file of a manifest.
#[derive(Debug, Clone, Serialize)]
pub struct ManifestFile {
    /// What is known of the file.
    #[serde(flatten)]
    pub file: FileRecord,
    /// Equal for files that are stored as the same chunks: SHA-256 of their ids and lengths.
    pub checksum: String,
    /// SHA-256 of its bytes, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Sums over the tables of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ManifestTotals {
    /// Tables.
    pub tables: u64,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Rows; absent when a table does not tell.
    pub rows: Option<u64>,
    /// Files that the base did not have.
    pub new_files: u64,
    /// Files that only the base had.
    pub deleted_files: u64,
}

/// Puts the manifest of the tables `names` together, of all tables without names. With `sha256` all their
/// bytes are read.
pub async fn manifest(view: &SnapshotView, names: &[String], sha256: bool) -> Result<Manifest> {
    let mut totals = ManifestTotals {
        rows: Some(0),
        ..ManifestTotals::default()
    };
    let mut tables = Vec::new();
    let snapshot = view.snapshot();
    for table in choose_tables(view, names).await? {
        let checksums = checksums(view, &table.name).await?;
        let files = read_files(view, &table.name).await?;
        let sums = match sha256 {
            true => hashes(view, &table.name, &files).await?,
            false => Vec::new(),
        };
        let mut sums = sums.into_iter();
        totals.tables += 1;
        totals.files += table.files;
        totals.bytes += table.bytes;
        totals.rows = totals.rows.zip(table.rows).map(|(sum, rows)| sum + rows);
        totals.new_files += match table.base_version {
            None => table.files,
            Some(_) => table.new_files.len() as u64,
        };
        totals.deleted_files += table.deleted_files.len() as u64;
        let file_list = files.into_iter().map(|file| ManifestFile {
            checksum: checksums.get(&file.path).cloned().unwrap_or_default(),
            sha256: sums.next(),
            file,
        });
        tables.push(TableManifest {
            file_list: file_list.collect(),
            table,
        });
    }
    Ok(Manifest {
        backup_id: view.id().to_hex(),
        kind: match snapshot.parent {
            None => BackupType::Full,
            Some(_) => BackupType::Incremental,
        },
        base: snapshot.parent.map(|id| id.to_hex()),
        time_ms: snapshot.time_ms,
        tables,
        totals,
    })
}

/// Checksums of the files of a table, by path.
async fn checksums(view: &SnapshotView, name: &str) -> Result<HashMap<String, String>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    let visit = Box::new(move |path: &[u8], entry: &Entry| {
        if entry.kind == EntryType::File {
            let path = String::from_utf8_lossy(path).into_owned();
            // The receiver outlives the walk.
            let _sent = sender.send((path, checksum(entry.content.as_ref())));
        }
        ControlFlow::Continue(())
    });
    view.walk(format!("{TABLES}/{name}").as_bytes(), true, visit)
        .await?;
    Ok(receiver.into_iter().collect())
}

fn checksum(content: Option<&Content>) -> String {
    let mut hash = Sha256::new();
    if let Some(content) = content {
        hash.update([content.level]);
        for extent in &content.extents {
            hash.update(extent.id.as_ref().map_or([0; 32], |id| id.0));
            hash.update(extent.len.to_le_bytes());
        }
    }
    hex(&hash.finalize())
}

/// SHA-256 of each file, in their order.
async fn hashes(view: &SnapshotView, name: &str, files: &[FileRecord]) -> Result<Vec<String>> {
    let (view, name) = (view.clone(), name.to_owned());
    let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    let runtime = tokio::runtime::Handle::current();
    let hashing = tokio::task::spawn_blocking(move || {
        let hash = |path: &String| {
            let mut saved = SavedReader::open(&view, &runtime, &name, path)?;
            let failed = |error: std::io::Error| Error::Object {
                operation: "read",
                url: path.clone(),
                source: error.into(),
            };
            let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
            loop {
                match saved.read(&mut buffer).map_err(failed)? {
                    0 => return Ok(hex(&hash.finalize())),
                    length => hash.update(&buffer[..length]),
                }
            }
        };
        paths.iter().map(hash).collect()
    });
    hashing.await.map_err(|error| Error::Object {
        operation: "read",
        url: "a table".to_owned(),
        source: error.into(),
    })?
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}
