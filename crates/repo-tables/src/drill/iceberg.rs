//! A drill of an Iceberg table: its files may have been rewritten, so it is opened by its metadata, and every
//! file that leads to is looked at; data has the bytes it had.

use std::collections::{BTreeMap, HashSet};

use super::{Drill, Drilled};
use crate::error::{Error, Result};
use crate::iceberg::engine::{self, LakeFetch, Objects};
use crate::iceberg::{Kind, Selection, files_of};
use crate::location::Location;
use crate::record::FileRecord;
use crate::restore::moved_place;
use crate::table::{FileKind, Table};

impl Drill {
    pub(super) fn iceberg(&self, files: &[FileRecord]) -> Result<Drilled> {
        let mut drilled = Drilled::default();
        let (opened, current, records) = match self.open_iceberg() {
            Ok(opened) => opened,
            Err(error @ Error::Repository(_)) => return Err(error),
            Err(error) => {
                drilled
                    .differences
                    .push(format!("cannot be opened: {error}"));
                return Ok(drilled);
            }
        };
        self.compare_iceberg(&opened, files, &mut drilled);
        self.look(&opened, &mut drilled)?;
        for file in files {
            if !matches!(file.kind, FileKind::Data | FileKind::Statistics) {
                continue;
            }
            let rows = self.file(file, &mut drilled)?;
            if current.contains(&self.place(file)?) {
                drilled.rows += rows;
            }
        }
        if let Some(said) = records.filter(|said| *said != drilled.rows) {
            let found = drilled.rows;
            drilled
                .differences
                .push(format!("has {found} rows instead of {said}"));
        }
        Ok(drilled)
    }

    /// Where a file of the table was restored.
    pub(super) fn place(&self, file: &FileRecord) -> Result<Location> {
        match Location::parse(&self.table.location)? == self.target {
            true => Location::parse(&file.url),
            false => moved_place(&self.target, file),
        }
    }

    /// The table, the data files of its current snapshot, and how many rows it says they have.
    fn open_iceberg(&self) -> Result<(Table, HashSet<Location>, Option<u64>)> {
        let metadata = engine::open(&self.lake, &self.target)?;
        let source = LakeFetch(&self.lake);
        let table = engine::table(&self.target, &metadata, None, &Objects::new(), &source)?;
        let mut current = HashSet::new();
        files_of(&metadata, &Selection::Current, &source, &mut |file| {
            // A place that cannot be read was an error above.
            if let (Kind::Data, Ok(place)) = (file.kind, Location::parse(&file.location)) {
                current.insert(place);
            }
            Ok(())
        })?;
        Ok((table, current, engine::records(&metadata)))
    }

    fn compare_iceberg(&self, opened: &Table, files: &[FileRecord], drilled: &mut Drilled) {
        let mut differs = |what: &str, found: String, said: String| {
            if found != said {
                drilled
                    .differences
                    .push(format!("{what} is {found} instead of {said}"));
            }
        };
        let table = &self.table;
        differs(
            "snapshot",
            opened.version.to_string(),
            table.version.to_string(),
        );
        let columns = opened.columns.iter();
        let columns: Vec<_> = columns
            .map(|(name, kind)| format!("{name} {kind}"))
            .collect();
        let said = table.columns.iter();
        let said: Vec<_> = said
            .map(|column| format!("{} {}", column.name, column.kind))
            .collect();
        differs("schema", columns.join(", "), said.join(", "));
        let count = |kinds: &mut dyn Iterator<Item = FileKind>| {
            let mut counts: BTreeMap<FileKind, u64> = BTreeMap::new();
            // Old metadata may have been gone already.
            for kind in kinds.filter(|kind| *kind != FileKind::Metadata) {
                *counts.entry(kind).or_default() += 1;
            }
            format!("{counts:?}")
        };
        differs(
            "count of files",
            count(&mut opened.files.iter().map(|file| file.kind)),
            count(&mut files.iter().map(|file| file.kind)),
        );
    }

    /// Every file that the table names is there with the length it tells.
    fn look(&self, opened: &Table, drilled: &mut Drilled) -> Result<()> {
        let needed = opened.files.iter();
        let needed: Vec<_> = needed.filter(|file| !file.optional).collect();
        let places: Vec<_> = needed.iter().map(|file| file.location.clone()).collect();
        for (file, there) in needed.iter().zip(self.lake.heads(&places)) {
            let place = &file.location;
            match there {
                Ok(there) if file.size.is_none_or(|size| size == there.size) => {}
                Ok(there) => drilled.differences.push(format!(
                    "{place} has {} bytes, and the table says {}",
                    there.size,
                    file.size.unwrap_or(0)
                )),
                Err(Error::NotFound { .. }) => {
                    drilled.differences.push(format!("{place} is missing"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
