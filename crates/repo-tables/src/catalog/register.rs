//! Makes a restored table one of a catalog, and reads it through the catalog to see that it is whole.

use std::collections::BTreeMap;

use repo_core::SnapshotView;

use super::names::CatalogName;
use super::{Catalog, failed};
use crate::error::{Error, Result};
use crate::iceberg::Metadata;
use crate::iceberg::engine::{self, LakeFetch, Objects};
use crate::lake::Lake;
use crate::location::Location;
use crate::record::{FileRecord, TableRecord};
use crate::restore::on_thread;
use crate::saved::read_files;
use crate::table::FileKind;

/// A table as a catalog has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// Its name there.
    pub name: CatalogName,
    /// Where the catalog says its metadata is.
    pub metadata_location: String,
    /// Its current snapshot; -1 for none.
    pub version: i64,
    /// Its files, without metadata.
    pub files: u64,
    /// Rows in its data files.
    pub rows: u64,
}

/// Makes the namespace that a table is to be registered in. Some catalogs want it before there are files, and
/// one that cannot be reached is better known before.
pub async fn prepare(catalog: &Catalog, name: &CatalogName) -> Result<()> {
    let (catalog, name) = (catalog.clone(), name.clone());
    let made = tokio::task::spawn_blocking(move || catalog.make_namespace(&name)).await;
    made.map_err(|error| failed("register", "a table", error))?
}

/// Registers the table that was restored with its metadata at `metadata`, loads it from the catalog, and
/// compares snapshot, files and rows with what was saved. A table of that name that is another one is
/// replaced only when that is asked for.
#[expect(clippy::too_many_arguments, reason = "one call, one registration")]
pub async fn register(
    view: &SnapshotView,
    lake: &Lake,
    catalog: &Catalog,
    name: CatalogName,
    table: &TableRecord,
    metadata: &Location,
    replace: bool,
) -> Result<Registered> {
    let files = read_files(view, &table.name).await?;
    let (lake, catalog, table) = (lake.clone(), catalog.clone(), table.clone());
    let (metadata, place) = (metadata.clone(), metadata.clone());
    on_thread(place, move || {
        let spelled = spelled(&lake, &metadata)?;
        enter(&catalog, &name, &spelled, replace)?;
        verify(&lake, &catalog, name, &table, &files)
    })
    .await
}

/// The place of metadata as the table itself spells its places.
fn spelled(lake: &Lake, metadata: &Location) -> Result<String> {
    let text = metadata.to_string();
    let read = Metadata::fetch(&text, &LakeFetch(lake))?;
    let own = read.location().unwrap_or_default().trim_end_matches('/');
    let below = Location::parse(own).ok().and_then(|place| {
        let below = place.relative(metadata)?;
        Some(format!("{own}/{below}"))
    });
    Ok(below.unwrap_or(text))
}

fn enter(catalog: &Catalog, name: &CatalogName, metadata: &str, replace: bool) -> Result<()> {
    let same = |there: &str| {
        let places = Location::parse(there)
            .ok()
            .zip(Location::parse(metadata).ok());
        places.is_some_and(|(there, ours)| there == ours)
    };
    let there = match catalog.load(name) {
        // Servers that read metadata themselves fail for a table whose files are lost.
        Err(Error::Object { .. }) if replace => Some(String::new()),
        there => there?,
    };
    match &there {
        Some(there) if same(there) => return Ok(()),
        Some(_) if !replace => {
            return Err(Error::Occupied {
                url: format!("{catalog}#{name}"),
                what: "is another table, or another version",
            });
        }
        _ => {}
    }
    catalog.make_namespace(name)?;
    catalog.point(name, metadata, there.as_deref())?;
    match catalog.load(name)? {
        Some(there) if same(&there) => Ok(()),
        _ => Err(failed(
            "register",
            format!("{catalog}#{name}"),
            "the catalog has other metadata for it now",
        )),
    }
}

/// Loads the table through its catalog as a reader does.
fn verify(
    lake: &Lake,
    catalog: &Catalog,
    name: CatalogName,
    table: &TableRecord,
    files: &[FileRecord],
) -> Result<Registered> {
    let missing = || Error::NotFound {
        url: format!("{catalog}#{name}"),
    };
    let pointer = catalog.pointer(&name)?.ok_or_else(missing)?;
    let (place, source) = (pointer.metadata_location, LakeFetch(lake));
    let metadata = match pointer.told {
        Some(told) => Metadata::parse(&place, told)?,
        None => Metadata::fetch(&place, &source)?,
    };
    let directory = Location::parse(&place)?;
    let opened = engine::table(&directory, &metadata, None, &Objects::new(), &source)?;
    let mut differences = Vec::new();
    if opened.version != table.version {
        differences.push(format!(
            "snapshot {} instead of {}",
            opened.version, table.version
        ));
    }
    let ours = count(files.iter().map(|file| (file.kind, file.rows)));
    let theirs = count(opened.files.iter().map(|file| (file.kind, file.rows)));
    if ours != theirs {
        differences.push(format!("files and rows {theirs:?} instead of {ours:?}"));
    }
    if !differences.is_empty() {
        let what = differences.join(", ");
        return Err(Error::malformed(
            place,
            format!("the catalog's table has {what}"),
        ));
    }
    Ok(Registered {
        name,
        metadata_location: place,
        version: opened.version,
        files: theirs.values().map(|(files, _)| files).sum(),
        rows: theirs.get(&FileKind::Data).map_or(0, |(_, rows)| *rows),
    })
}

/// Files and rows by kind. Metadata is not counted: of history some may be gone.
fn count(files: impl Iterator<Item = (FileKind, Option<u64>)>) -> BTreeMap<FileKind, (u64, u64)> {
    let mut counts: BTreeMap<FileKind, (u64, u64)> = BTreeMap::new();
    for (kind, rows) in files.filter(|(kind, _)| *kind != FileKind::Metadata) {
        let (files, sum) = counts.entry(kind).or_default();
        *files += 1;
        *sum = sum.saturating_add(rows.unwrap_or(0));
    }
    counts
}
