//! Takes a snapshot of tables: first every table is pinned at a version, then files are stored.
//!
//! A file that the base knows with the same URL, size and tag (or time) is not read. When one is gone,
//! because the table was vacuumed or expired meanwhile, its table is taken again from its newest version;
//! what was stored by then is found again by its content. A snapshot holds every file its tables refer
//! to, or there is none.

mod delta;
mod iceberg;
mod store;

use std::sync::Arc;

use repo_core::{
    BuildOptions, Builder, PathBytes, Progress, Repository, SnapshotOptions, SnapshotReport,
};

use crate::catalog::{self, CatalogSource};
use crate::discover::{Found, Source, discover};
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::limits::TABLE_ATTEMPTS;
use crate::record::{TABLES, TableRecord};
use crate::table::{At, Format, Table};

/// Kind of source of such snapshots.
pub const KIND: &str = "tables";

/// Choices of a snapshot of tables.
#[derive(Debug, Clone, Default)]
pub struct TablesOptions {
    /// The version of each table.
    pub at: At,
    /// Files of change data feeds, too.
    pub change_data: bool,
    /// Catalogs, and which of their tables are saved beside those of the sources.
    pub catalogs: Vec<CatalogSource>,
    /// Only what the version itself needs, and not what is left of older ones.
    pub version_only: bool,
}

/// What came of a snapshot of tables.
#[derive(Debug)]
pub struct TablesReport {
    /// The snapshot.
    pub snapshot: SnapshotReport,
    /// Its tables, by name.
    pub tables: Vec<TableRecord>,
}

/// Finds the tables of `sources` and takes one snapshot of them all.
pub async fn snapshot_tables(
    repository: &Repository,
    lake: &Lake,
    sources: &[Source],
    tables: &TablesOptions,
    options: &SnapshotOptions,
    progress: Arc<dyn Progress>,
) -> Result<TablesReport> {
    let catalogs = tables.catalogs.iter().map(ToString::to_string);
    let places = sources.iter().map(|source| source.place.to_string());
    let paths = places.chain(catalogs);
    let what = BuildOptions {
        kind: KIND,
        paths: paths.map(|path| PathBytes(path.into_bytes())).collect(),
        restart: true,
    };
    let (sender, receiver) = std::sync::mpsc::channel();
    let (lake, sources, tables) = (lake.clone(), sources.to_vec(), tables.clone());
    let force = options.force;
    let work = move |builder: &Builder<'_>| {
        let taken = Taking {
            builder,
            lake: &lake,
            options: &tables,
            force,
        };
        let records = taken.all(&sources)?;
        // Who asked has gone when this fails.
        let _gone = sender.send(records);
        Ok::<_, Error>(())
    };
    let snapshot = repository
        .build_snapshot(what, options, progress, work)
        .await?;
    // Work that was done again has sent more than once.
    let tables = receiver.try_iter().last().unwrap_or_default();
    Ok(TablesReport { snapshot, tables })
}

/// One attempt to fill a snapshot.
struct Taking<'t> {
    builder: &'t Builder<'t>,
    lake: &'t Lake,
    options: &'t TablesOptions,
    force: bool,
}

impl Taking<'_> {
    fn all(&self, sources: &[Source]) -> Result<Vec<TableRecord>> {
        let mut pinned = Vec::new();
        let mut found = discover(self.lake, sources)?;
        catalog::discover(&self.options.catalogs, &mut found)?;
        for found in found {
            let table = self.pin(&found)?;
            pinned.push((found, table));
        }
        let mut records = Vec::new();
        for (found, table) in pinned {
            records.push(self.table(&found, table)?);
        }
        Ok(records)
    }

    /// Pins a table; again when a part of its log is cleaned away while it is read.
    fn pin(&self, found: &Found) -> Result<Table> {
        let mut attempt = 1;
        loop {
            if self.builder.cancelled() {
                return Err(Error::cancelled());
            }
            match self.pin_once(found) {
                Err(Error::NotFound { url }) if attempt < TABLE_ATTEMPTS => {
                    tracing::info!(url, "reading the log again");
                    attempt += 1;
                }
                pinned => return pinned,
            }
        }
    }

    fn pin_once(&self, found: &Found) -> Result<Table> {
        match found.format {
            Format::Delta => self.pin_delta(found),
            Format::Iceberg => self.pin_iceberg(found),
        }
    }

    /// Stores a table, from newer versions when files of the pinned one vanish.
    fn table(&self, found: &Found, mut table: Table) -> Result<TableRecord> {
        let mut attempt = 1;
        loop {
            let vanished = match self.store(found, &table) {
                Err(error @ Error::Vanished { .. }) => error,
                stored => return stored,
            };
            if attempt == TABLE_ATTEMPTS || self.options.at != At::Newest {
                return Err(vanished);
            }
            let newer = self.pin(found)?;
            let same = newer.version == table.version;
            if same && newer.metadata_location == table.metadata_location {
                return Err(vanished);
            }
            tracing::info!(%vanished, version = newer.version, "taking the table again");
            let path = format!("{TABLES}/{}", found.name);
            self.builder.note(
                path.as_bytes(),
                format!(
                    "files of version {} were removed meanwhile; version {} is taken",
                    table.version, newer.version
                ),
            );
            self.builder.remove(path.as_bytes())?;
            table = newer;
            attempt += 1;
        }
    }
}
