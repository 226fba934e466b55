//! Delta tables: the version that a log describes, and the files it refers to.
//!
//! `log` finds the files of a version's log, `action` decodes commits, `checkpoint` what is summed up
//! in Parquet, `path` turns what they say into places, and `replay` folds them into the live files. What
//! a reader must understand and this code does not is refused, never passed over.

mod action;
mod checkpoint;
mod log;
mod path;
mod replay;
mod schema;

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::lake::{Lake, ObjectInfo};
use crate::location::Location;
use crate::table::{At, FileKind, Format, Table, TableFile};

use action::{Metadata, Protocol};
use replay::Replay;

pub(crate) use log::{LOG, Log, LogName, log_name};
pub(crate) use replay::Known;

/// What to take of a table besides the files of its version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeltaOptions {
    /// Files of the change data feed that the retained commits refer to.
    pub change_data: bool,
    /// What is left of older versions, so that a reader can go back to them.
    pub history: bool,
}

/// Features whose tables are read as this code reads them.
const READER_FEATURES: [&str; 12] = [
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "typeWidening",
    "typeWidening-preview",
    "v2Checkpoint",
    "vacuumProtocolCheck",
    "variantShredding",
    "variantShredding-preview",
    "variantType",
    "variantType-preview",
    "geospatial",
];

/// Features of tables whose newest commits only a catalog knows.
const CATALOG_FEATURES: [&str; 2] = ["catalogManaged", "catalogOwned-preview"];

/// Reads the log of the table at `location` up to a version.
///
/// Requests: the hint, the listing of the log, each commit since the newest checkpoint, and the columns
/// of the checkpoint that matter; with history the older commits, too.
pub fn pin(lake: &Lake, location: &Location, at: &At, options: DeltaOptions) -> Result<Table> {
    let log = Log::find(lake, location, at, options.history)?;
    read(lake, location, &log, options, None)
}

/// Folds the files of a log into the version that they describe; what only older versions need is taken
/// from what is `known`, as far as it goes.
pub(crate) fn read(
    lake: &Lake,
    location: &Location,
    log: &Log,
    options: DeltaOptions,
    known: Option<Known<'_>>,
) -> Result<Table> {
    let mut replay = Replay::new(lake, location, options);
    replay.commits(&log.commits.iter().collect::<Vec<_>>())?;
    if let Some(checkpoint) = &log.checkpoint {
        replay.checkpoint(checkpoint)?;
    }
    if options.history {
        replay.older(&log.older, known)?;
    }
    let mut state = replay.finish(&location.to_string())?;
    check_protocol(location, &state.protocol)?;
    let time_ms = match log.last() {
        Some(last) => Some(log::commit_time(lake, last)?),
        None => None,
    };
    let mut files = log_files(log);
    files.append(&mut state.sidecars);
    files.append(&mut state.files);
    distinct(&mut files);
    let data = files.iter().filter(|file| file.kind == FileKind::Data);
    let rows = data.map(|file| Some(file.rows?.saturating_sub(file.deleted_rows)));
    let rows = rows.sum();
    let Metadata { id, name, .. } = state.metadata;
    Ok(Table {
        format: Format::Delta,
        location: location.clone(),
        version: log.version,
        time_ms,
        id: Some(id),
        title: name,
        schema_id: None,
        columns: schema::columns(location, &state.metadata.schema)?,
        metadata_location: None,
        rows,
        files,
    })
}

/// Refuses what this code would misread.
fn check_protocol(location: &Location, protocol: &Protocol) -> Result<()> {
    let refuse = |reason: String| Error::Unsupported {
        table: location.to_string(),
        reason,
    };
    let features = protocol.reader_features.iter();
    let features = features.chain(&protocol.writer_features);
    if features
        .clone()
        .any(|f| CATALOG_FEATURES.contains(&f.as_str()))
    {
        return Err(refuse(
            "its commits are managed by a catalog, and the log alone does not tell which of them \
             count"
                .to_owned(),
        ));
    }
    match protocol.reader_version {
        1 | 2 => Ok(()),
        3 => {
            let unknown = protocol.reader_features.iter();
            let mut unknown = unknown.filter(|f| !READER_FEATURES.contains(&f.as_str()));
            match unknown.next() {
                None => Ok(()),
                Some(feature) => Err(refuse(format!(
                    "it needs the reader feature {feature:?}, which may hold files this program does \
                     not know of"
                ))),
            }
        }
        version => Err(refuse(format!(
            "it needs reader version {version}, and this program knows versions 1 to 3"
        ))),
    }
}

/// The files of the log itself, but for sidecars.
pub(crate) fn log_files(log: &Log) -> Vec<TableFile> {
    let file = |object: &ObjectInfo, kind, optional| TableFile {
        location: object.location.clone(),
        kind,
        size: Some(object.size),
        rows: None,
        deleted_rows: 0,
        optional,
        object: Some(object.clone()),
        content: None,
    };
    let mut files = Vec::new();
    for commit in &log.commits {
        files.push(file(commit, FileKind::Commit, false));
    }
    // Not needed to read the table; that of the checkpoint's version has its time.
    for commit in &log.older.commits {
        files.push(file(commit, FileKind::Commit, true));
    }
    for sum in &log.sums {
        files.push(file(sum, FileKind::Statistics, true));
    }
    for part in log
        .checkpoint
        .iter()
        .flat_map(|checkpoint| &checkpoint.parts)
    {
        files.push(file(part, FileKind::Checkpoint, false));
    }
    let older = &log.older.checkpoints;
    for part in older.iter().flat_map(|checkpoint| &checkpoint.parts) {
        files.push(file(part, FileKind::Checkpoint, true));
    }
    files
}

/// Leaves each place once, as what it was met first: many deletion vectors share a file, and history has
/// files that are live.
fn distinct(files: &mut Vec<TableFile>) {
    let mut seen = HashSet::with_capacity(files.len());
    files.retain(|file| seen.insert(file.location.clone()));
}
