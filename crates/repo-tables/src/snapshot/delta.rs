//! Pins Delta tables: from the base when their log is as it was, else from the log, of which the base has
//! what is old.

use super::Taking;
use super::store::Base;
use crate::delta::{self, DeltaOptions, LOG, Log};
use crate::discover::Found;
use crate::error::Result;
use crate::lake::ObjectInfo;
use crate::location::Location;
use crate::record::{TABLES, TableRecord, tree_path};
use crate::table::{FileKind, Format, Table, TableFile};

impl Taking<'_> {
    /// Pins a Delta table. Commits that the base has are read from there.
    pub(super) fn pin_delta(&self, found: &Found) -> Result<Table> {
        let options = DeltaOptions {
            change_data: self.options.change_data,
            history: !self.options.version_only,
        };
        let (lake, location) = (self.lake, &found.location);
        let log = Log::find(lake, location, &self.options.at, options.history)?;
        let root = format!("{TABLES}/{}", found.name);
        if !self.force
            && let Some(base) = self.base(&found.name, &root)?
            && base.record.parts == self.parts()
            && is_same_log(&log, location, &base)
        {
            return from_base(location, &log, &base);
        }
        let held = |object: &ObjectInfo| -> Result<Option<Vec<u8>>> {
            if self.force {
                return Ok(None);
            }
            let path = format!("{root}/{}", tree_path(location, &object.location));
            let same = self
                .builder
                .before(path.as_bytes())?
                .filter(|entry| entry.size == object.size && entry.mtime == object.modified);
            let bytes = same.map(|entry| self.builder.read_before(&entry, 0..entry.size));
            Ok(bytes.transpose()?)
        };
        delta::read(lake, location, &log, options, &held)
    }

    /// Which optional parts of a table are taken, as its record says it.
    pub(super) fn parts(&self) -> Vec<String> {
        let parts = [
            (self.options.change_data, "change-data"),
            (!self.options.version_only, "history"),
        ];
        let taken = parts.iter().filter(|(taken, _)| *taken);
        taken.map(|(_, part)| (*part).to_owned()).collect()
    }
}

/// Whether the base has exactly this log, and so the same files.
fn is_same_log(log: &Log, location: &Location, base: &Base) -> bool {
    let inside = format!("table/{LOG}/");
    let side = format!("table/{LOG}/_sidecars/");
    let known = base
        .files
        .values()
        .filter(|file| file.path.starts_with(&inside) && !file.path.starts_with(&side));
    let mut count = 0;
    let same = log.objects().all(|object| {
        count += 1;
        let known = base.files.get(&object.location.to_string());
        known.is_some_and(|known| known.is_same(object))
    });
    same && base.record.format == Format::Delta
        && base.record.location == location.to_string()
        && base.record.version == log.version
        && count == known.count()
}

/// The table as the base describes it.
fn from_base(location: &Location, log: &Log, base: &Base) -> Result<Table> {
    let mut files = delta::log_files(log);
    let logged: std::collections::HashSet<String> = log
        .objects()
        .map(|object| object.location.to_string())
        .collect();
    for file in base
        .files
        .values()
        .filter(|file| !logged.contains(&file.url))
    {
        files.push(TableFile {
            location: Location::parse(&file.url)?,
            kind: file.kind,
            size: Some(file.size),
            rows: file.rows,
            deleted_rows: file.deleted_rows,
            optional: matches!(file.kind, FileKind::History | FileKind::Changes),
            object: None,
            content: None,
        });
    }
    let TableRecord {
        version,
        time_ms,
        id,
        title,
        schema_id,
        columns,
        rows,
        ..
    } = base.record.clone();
    let columns = columns.into_iter().map(|column| (column.name, column.kind));
    Ok(Table {
        format: Format::Delta,
        location: location.clone(),
        version,
        time_ms,
        id,
        title,
        schema_id,
        columns: columns.collect(),
        metadata_location: None,
        rows,
        files,
    })
}
