//! Tables in one file, to be kept or sent as such, and read by range without this program.
//!
//! ```text
//! "repotbl1"            8 bytes
//! files                 the bytes of each as they were, one after another: first those of all tables
//!                       that lead to others, then the rest
//! directory             JSON: the snapshot, its tables, and offset, size and SHA-256 of each file
//! trailer, 56 bytes     SHA-256 of the directory | its offset, u64 | its length, u64 | "repotbl1"
//! ```
//!
//! Numbers are little-endian. A reader asks for the last 56 bytes, then for the directory, then for what
//! it wants; one range has all metadata.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repo_core::{Progress, SnapshotView};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::manifest::hex;
use crate::record::{FileRecord, TableRecord};
use crate::saved::{SavedReader, choose_tables, read_files};

/// Begins and ends an archive.
const MAGIC: &[u8; 8] = b"repotbl1";

/// Version of the directory. A reader refuses a greater one.
const LAYOUT: u32 = 1;

/// Bytes copied at once.
const COPY_SIZE: usize = 256 << 10;

/// What was put into an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archived {
    /// Tables.
    pub tables: u64,
    /// Files of them.
    pub files: u64,
    /// Length of the archive.
    pub bytes: u64,
}

#[derive(Serialize)]
struct Directory {
    layout: u32,
    snapshot: String,
    time_ms: i64,
    /// Where the files begin that lead to no others.
    data_offset: u64,
    tables: Vec<ArchivedTable>,
}

#[derive(Serialize)]
struct ArchivedTable {
    #[serde(flatten)]
    table: TableRecord,
    file_list: Vec<ArchivedFile>,
}

#[derive(Serialize)]
struct ArchivedFile {
    #[serde(flatten)]
    file: FileRecord,
    offset: u64,
    sha256: String,
}

/// Writes the tables `names` of a snapshot, all without names, into a file that must not exist. It has its
/// name once it is whole and durable.
pub async fn export_archive(
    view: &SnapshotView,
    names: &[String],
    path: &Path,
    progress: Arc<dyn Progress>,
) -> Result<Archived> {
    let mut tables = Vec::new();
    for table in choose_tables(view, names).await? {
        let files = read_files(view, &table.name).await?;
        tables.push((table, files));
    }
    if path.exists() {
        return Err(Error::Occupied {
            url: path.display().to_string(),
            what: "is there already, and nothing is overwritten",
        });
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let job = Job {
        view: view.clone(),
        runtime: Handle::current(),
        path: path.to_owned(),
        part: PathBuf::from(part),
    };
    let writing = tokio::task::spawn_blocking(move || {
        let archived = job.run(tables, progress.as_ref());
        if archived.is_err() {
            // What went wrong is told; a file that cannot be removed either is plainly named.
            drop(fs::remove_file(&job.part));
        }
        archived
    });
    writing.await.map_err(|error| Error::Object {
        operation: "write",
        url: "an archive".to_owned(),
        source: error.into(),
    })?
}

struct Job {
    view: SnapshotView,
    runtime: Handle,
    path: PathBuf,
    part: PathBuf,
}

impl Job {
    fn run(
        &self,
        tables: Vec<(TableRecord, Vec<FileRecord>)>,
        progress: &dyn Progress,
    ) -> Result<Archived> {
        let count = tables.iter().map(|(_, files)| files.len() as u64).sum();
        let bytes = tables.iter().map(|(table, _)| table.bytes).sum();
        progress.start("export", Some(bytes), Some(count));
        let file = File::create(&self.part).map_err(|error| self.failed(error))?;
        let mut out = Out {
            job: self,
            file: BufWriter::with_capacity(COPY_SIZE, file),
            at: 0,
        };
        out.write(MAGIC)?;
        let number = |files: &[FileRecord]| vec![None; files.len()];
        let mut stored: Vec<Vec<Option<(u64, String)>>> =
            tables.iter().map(|(_, files)| number(files)).collect();
        let mut data_offset = 0;
        for metadata in [true, false] {
            for ((table, files), stored) in tables.iter().zip(&mut stored) {
                for (file, stored) in files.iter().zip(stored) {
                    if file.kind.is_metadata() == metadata {
                        *stored = Some(out.copy(&table.name, file, progress)?);
                    }
                }
            }
            if metadata {
                data_offset = out.at;
            }
        }
        let tables = tables
            .into_iter()
            .zip(stored)
            .map(|((table, files), stored)| {
                let files = files.into_iter().zip(stored.into_iter().flatten());
                let file_list = files.map(|(file, (offset, sha256))| ArchivedFile {
                    file,
                    offset,
                    sha256,
                });
                ArchivedTable {
                    table,
                    file_list: file_list.collect(),
                }
            });
        let directory = Directory {
            layout: LAYOUT,
            snapshot: self.view.id().to_hex(),
            time_ms: self.view.snapshot().time_ms,
            data_offset,
            tables: tables.collect(),
        };
        out.finish(&directory)?;
        let archived = Archived {
            tables: directory.tables.len() as u64,
            files: count,
            bytes: out.at,
        };
        let file = out
            .file
            .into_inner()
            .map_err(|error| self.failed(error.into_error()))?;
        file.sync_all().map_err(|error| self.failed(error))?;
        fs::rename(&self.part, &self.path).map_err(|error| self.failed(error))?;
        let directory = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        let directory = File::open(directory.unwrap_or(Path::new(".")));
        let synced = directory.and_then(|directory| directory.sync_all());
        synced.map_err(|error| self.failed(error))?;
        progress.finish();
        Ok(archived)
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::Object {
            operation: "write",
            url: self.part.display().to_string(),
            source: error.into(),
        }
    }
}

/// The archive as far as it is written.
struct Out<'j> {
    job: &'j Job,
    file: BufWriter<File>,
    at: u64,
}

impl Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| self.job.failed(error))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Copies a file of a table; gives its offset and SHA-256.
    fn copy(
        &mut self,
        table: &str,
        file: &FileRecord,
        progress: &dyn Progress,
    ) -> Result<(u64, String)> {
        let job = self.job;
        let offset = self.at;
        let mut saved = SavedReader::open(&job.view, &job.runtime, table, &file.path)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; COPY_SIZE]);
        loop {
            if progress.cancelled() {
                return Err(Error::cancelled());
            }
            let read = saved.read(&mut buffer).map_err(|error| Error::Object {
                operation: "read",
                url: file.path.clone(),
                source: error.into(),
            })?;
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            hash.update(bytes);
            self.write(bytes)?;
        }
        if self.at - offset != file.size {
            return Err(Error::malformed(
                &file.path,
                "it is not as long as recorded",
            ));
        }
        progress.advance(file.size, 1);
        Ok((offset, hex(&hash.finalize())))
    }

    /// Writes the directory and the trailer.
    fn finish(&mut self, directory: &Directory) -> Result<()> {
        let offset = self.at;
        let bytes = serde_json::to_vec(directory).map_err(|error| {
            Error::undecodable(&directory.snapshot, "it cannot be described", error)
        })?;
        self.write(&bytes)?;
        self.write(&Sha256::digest(&bytes))?;
        self.write(&offset.to_le_bytes())?;
        self.write(&(bytes.len() as u64).to_le_bytes())?;
        self.write(MAGIC)
    }
}
