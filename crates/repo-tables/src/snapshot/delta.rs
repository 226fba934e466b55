//! Pins Delta tables: from the base when their log is as it was, else from the log, of which nothing old is
//! read that the base knows.

use super::Taking;
use super::store::Base;
use crate::delta::{self, DeltaOptions, Known, LOG, Log};
use crate::discover::Found;
use crate::error::Result;
use crate::lake::ObjectInfo;
use crate::location::Location;
use crate::record::{FileRecord, TABLES, TableRecord};
use crate::table::{FileKind, Format, Table, TableFile};

impl Taking<'_> {
    /// Pins a Delta table.
    pub(super) fn pin_delta(&self, found: &Found) -> Result<Table> {
        let options = DeltaOptions {
            change_data: self.options.change_data,
            history: !self.options.version_only,
        };
        let (lake, location) = (self.lake, &found.location);
        let log = Log::find(lake, location, &self.options.at, options.history)?;
        let root = format!("{TABLES}/{}", found.name);
        let base = self.base(&found.name, &root)?.filter(|base| {
            let record = &base.record;
            let same = record.format == Format::Delta && record.location == location.to_string();
            same && !self.force && record.parts == self.parts()
        });
        let Some(base) = base else {
            return delta::read(lake, location, &log, options, None);
        };
        if is_same_log(&log, &base) {
            return from_base(location, &log, &base);
        }
        let has = |object: &ObjectInfo| has(&base, object);
        let known = Known {
            id: base.record.id.as_deref(),
            has: &has,
            files: past(&base)?,
        };
        delta::read(lake, location, &log, options, Some(known))
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

fn has(base: &Base, object: &ObjectInfo) -> bool {
    let known = base.files.get(&object.location.to_string());
    known.is_some_and(|known| known.is_same(object))
}

/// Whether a file is of the log itself, and no sidecar.
fn is_logged(file: &FileRecord) -> bool {
    let name = file.path.strip_prefix("table/").unwrap_or_default();
    let name = name.strip_prefix(LOG).unwrap_or_default();
    name.starts_with('/') && !name.starts_with("/_sidecars/")
}

/// Whether the base has exactly this log, and so the same files.
fn is_same_log(log: &Log, base: &Base) -> bool {
    let known = base.files.values().filter(|file| is_logged(file));
    base.record.version == log.version
        && log.objects().count() == known.count()
        && log.objects().all(|object| has(base, object))
}

/// The files of the base, as those of a past that need not be there.
fn past(base: &Base) -> Result<Vec<TableFile>> {
    let files = base.files.values().filter(|file| !is_logged(file));
    let files = files.map(|file| {
        Ok(TableFile {
            kind: match file.kind {
                FileKind::Data | FileKind::Deletes => FileKind::History,
                kind => kind,
            },
            optional: true,
            ..table_file(file)?
        })
    });
    files.collect()
}

fn table_file(file: &FileRecord) -> Result<TableFile> {
    Ok(TableFile {
        location: Location::parse(&file.url)?,
        kind: file.kind,
        size: Some(file.size),
        rows: file.rows,
        deleted_rows: file.deleted_rows,
        optional: matches!(file.kind, FileKind::History | FileKind::Changes),
        object: None,
        content: None,
    })
}

/// The table as the base describes it.
fn from_base(location: &Location, log: &Log, base: &Base) -> Result<Table> {
    let mut files = delta::log_files(log);
    for file in base.files.values().filter(|file| !is_logged(file)) {
        files.push(table_file(file)?);
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
