//! How the tables of two snapshots differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use repo_core::SnapshotView;
use serde::Serialize;

use crate::error::Result;
use crate::record::{ColumnRecord, FileRecord, TableRecord};
use crate::saved::{read_files, read_table, table_trees};
use crate::table::FileKind;

/// How one table differs between two snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableDiff {
    /// The table.
    pub name: String,
    /// Its version in the first snapshot; absent when the table is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_before: Option<i64>,
    /// Its version in the second one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_after: Option<i64>,
    /// Rows in the first one, when the table says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_before: Option<u64>,
    /// Rows in the second one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_after: Option<u64>,
    /// Files with rows, deletes or changes that only the second has.
    pub added: Vec<String>,
    /// Such files that only the first has.
    pub removed: Vec<String>,
    /// Such files that both have, with other content.
    pub rewritten: Vec<String>,
    /// Bytes of the files added and rewritten.
    pub bytes_added: u64,
    /// Columns that only the second has.
    pub columns_added: Vec<ColumnRecord>,
    /// Columns that only the first has.
    pub columns_removed: Vec<ColumnRecord>,
    /// Columns whose type differs, as the second has them.
    pub columns_changed: Vec<ColumnRecord>,
}

impl TableDiff {
    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let versions = self.version_before == self.version_after;
        let columns = [
            &self.columns_added,
            &self.columns_removed,
            &self.columns_changed,
        ];
        let files = [&self.added, &self.removed, &self.rewritten];
        versions
            && files.iter().all(|files| files.is_empty())
            && columns.iter().all(|columns| columns.is_empty())
    }
}

/// How the tables differ that do, by name. Of those that have the same tree in both nothing is read.
pub async fn diff_tables(before: &SnapshotView, after: &SnapshotView) -> Result<Vec<TableDiff>> {
    let old = table_trees(before).await?;
    let new = table_trees(after).await?;
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        let trees = (old.get(name), new.get(name));
        if trees.0 == trees.1 {
            continue;
        }
        let old = read_side(before, name, trees.0.is_some()).await?;
        let new = read_side(after, name, trees.1.is_some()).await?;
        let diff = compare(name, (old.0.as_ref(), &old.1), (new.0.as_ref(), &new.1));
        if !diff.is_empty() {
            differences.push(diff);
        }
    }
    Ok(differences)
}

/// A table of a snapshot with its files, when it is there.
async fn read_side(
    view: &SnapshotView,
    name: &str,
    is_there: bool,
) -> Result<(Option<TableRecord>, BTreeMap<String, FileRecord>)> {
    let table = match is_there {
        true => Some(read_table(view, name).await?),
        false => None,
    };
    let files = files(view, table.as_ref()).await?;
    Ok((table, files))
}

/// Files of a table that are not its metadata, by path.
async fn files(
    view: &SnapshotView,
    table: Option<&TableRecord>,
) -> Result<BTreeMap<String, FileRecord>> {
    let Some(table) = table else {
        return Ok(BTreeMap::new());
    };
    let files = read_files(view, &table.name).await?.into_iter();
    let files = files.filter(|file| file.kind < FileKind::Statistics);
    Ok(files.map(|file| (file.path.clone(), file)).collect())
}

type Side<'s> = (Option<&'s TableRecord>, &'s BTreeMap<String, FileRecord>);

fn compare(name: &str, (old, old_files): Side<'_>, (new, new_files): Side<'_>) -> TableDiff {
    let only = |one: &BTreeMap<String, FileRecord>, other: &BTreeMap<String, FileRecord>| {
        let paths = one.keys().filter(|path| !other.contains_key(*path));
        paths.cloned().collect::<Vec<_>>()
    };
    let differs = |(path, file): &(&String, &FileRecord)| {
        old_files.get(*path).is_some_and(|old| {
            // A tag tells more than a time, which a copy changes.
            let content = match (&old.etag, &file.etag) {
                (Some(old), Some(new)) if old.len() == new.len() => old != new,
                _ => old.modified_ns != file.modified_ns,
            };
            old.size != file.size || (old.url == file.url && content)
        })
    };
    let added = only(new_files, old_files);
    let rewritten: Vec<String> = new_files
        .iter()
        .filter(differs)
        .map(|(path, _)| path.clone())
        .collect();
    let bytes = added
        .iter()
        .chain(&rewritten)
        .filter_map(|path| new_files.get(path));
    let columns = |table: Option<&TableRecord>| -> HashMap<String, ColumnRecord> {
        let columns = table.into_iter().flat_map(|table| &table.columns);
        columns
            .map(|column| (column.name.clone(), column.clone()))
            .collect()
    };
    let (old_columns, new_columns) = (columns(old), columns(new));
    let without = |table: Option<&TableRecord>, other: &HashMap<String, ColumnRecord>| {
        let columns = table.into_iter().flat_map(|table| &table.columns);
        let columns = columns.filter(|column| !other.contains_key(&column.name));
        columns.cloned().collect()
    };
    let changed = new
        .into_iter()
        .flat_map(|table| &table.columns)
        .filter(|column| {
            let before = old_columns.get(&column.name);
            before.is_some_and(|before| before.kind != column.kind)
        });
    TableDiff {
        name: name.to_owned(),
        version_before: old.map(|table| table.version),
        version_after: new.map(|table| table.version),
        rows_before: old.and_then(|table| table.rows),
        rows_after: new.and_then(|table| table.rows),
        removed: only(old_files, new_files),
        bytes_added: bytes.map(|file| file.size).sum(),
        added,
        rewritten,
        columns_added: without(new, &old_columns),
        columns_removed: without(old, &new_columns),
        columns_changed: changed.cloned().collect(),
    }
}
