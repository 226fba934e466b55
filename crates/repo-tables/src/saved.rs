//! The tables of a snapshot: their records, their files, and the bytes of those.

use std::collections::BTreeMap;
use std::io::{self, Read};

use repo_core::{BlobId, Entry, SnapshotView};
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::limits::{MANIFEST_MAX, READ_SIZE, RECORD_MAX};
use crate::record::{
    FileRecord, LIST_FILE, TABLE_FILE, TABLES, TableRecord, parse_files, parse_table,
};
use crate::snapshot::KIND;

/// The tables of a snapshot, by name.
pub async fn read_tables(view: &SnapshotView) -> Result<Vec<TableRecord>> {
    let mut tables = Vec::new();
    for name in table_trees(view).await?.keys() {
        tables.push(read_table(view, name).await?);
    }
    Ok(tables)
}

/// The trees of a snapshot's tables, by name. Tables with the same tree have the same files.
pub(crate) async fn table_trees(view: &SnapshotView) -> Result<BTreeMap<String, Option<BlobId>>> {
    let none = || Error::UnknownTable {
        snapshot: view.id().to_hex(),
        table: "*".to_owned(),
    };
    if view.snapshot().source.as_deref() != Some(KIND) {
        return Err(none());
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let visit = Box::new(move |name: &[u8], entry: &Entry| {
        // The receiver outlives the walk.
        let _sent = sender.send((String::from_utf8_lossy(name).into_owned(), entry.subtree));
        std::ops::ControlFlow::Continue(())
    });
    view.walk(TABLES.as_bytes(), false, visit).await?;
    let trees: BTreeMap<_, _> = receiver.try_iter().collect();
    match trees.is_empty() {
        true => Err(none()),
        false => Ok(trees),
    }
}

/// The record of the table `name`.
pub(crate) async fn read_table(view: &SnapshotView, name: &str) -> Result<TableRecord> {
    let bytes = read_record(view, name, TABLE_FILE, RECORD_MAX).await?;
    parse_table(name, &bytes)
}

/// The tables of these names, or all when none are named.
pub async fn choose_tables(view: &SnapshotView, names: &[String]) -> Result<Vec<TableRecord>> {
    let tables = read_tables(view).await?;
    for name in names {
        if !tables.iter().any(|table| table.name == *name) {
            return Err(Error::UnknownTable {
                snapshot: view.id().to_hex(),
                table: name.clone(),
            });
        }
    }
    let chosen = |table: &TableRecord| names.is_empty() || names.contains(&table.name);
    Ok(tables.into_iter().filter(chosen).collect())
}

/// The files of the table `name`, by path.
pub async fn read_files(view: &SnapshotView, name: &str) -> Result<Vec<FileRecord>> {
    parse_files(
        name,
        &read_record(view, name, LIST_FILE, MANIFEST_MAX).await?,
    )
}

async fn read_record(view: &SnapshotView, name: &str, file: &str, max: u64) -> Result<Vec<u8>> {
    let path = format!("{TABLES}/{name}/{file}");
    let entry = view.entry(path.as_bytes()).await?;
    if entry.size > max {
        return Err(Error::malformed(path, "it is too long"));
    }
    Ok(view.read(&entry, 0..entry.size).await?)
}

/// Reads a file of a table from start to end. Blocks.
pub(crate) struct SavedReader {
    view: SnapshotView,
    runtime: Handle,
    entry: Entry,
    at: u64,
    part: Vec<u8>,
    used: usize,
}

impl SavedReader {
    /// Opens the file at `path` below the directory of table `name`.
    pub(crate) fn open(
        view: &SnapshotView,
        runtime: &Handle,
        name: &str,
        path: &str,
    ) -> Result<Self> {
        let path = format!("{TABLES}/{name}/{path}");
        Ok(Self {
            entry: runtime.block_on(view.entry(path.as_bytes()))?,
            view: view.clone(),
            runtime: runtime.clone(),
            at: 0,
            part: Vec::new(),
            used: 0,
        })
    }

    /// What is known of the file.
    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Read for SavedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.part.len() && self.at < self.entry.size {
            let range = self.at..self.entry.size.min(self.at + READ_SIZE);
            let read = self.runtime.block_on(self.view.read(&self.entry, range));
            self.part = read.map_err(io::Error::other)?;
            self.used = 0;
            self.at += self.part.len() as u64;
        }
        let left = self.part.get(self.used..).unwrap_or_default();
        let length = left.len().min(buffer.len());
        buffer[..length].copy_from_slice(&left[..length]);
        self.used += length;
        Ok(length)
    }
}
