//! Manifests of a moved table: every path in an entry, and the lengths of files that changed with theirs.

use crate::avro::{self, Edits, Found, Record};

use super::deletes::Layout;
use super::location::Prefixes;
use super::manifest::{
    COLUMN_SIZES, Entry, FILE_PATH, FILE_PATH_COLUMN, FILE_SIZE, Fault, LOWER, MANIFEST_LENGTH,
    MANIFEST_PATH, REFERENCED, SPLIT_OFFSETS, UPPER, entry_fields, list_fields, manifest_of,
    of_column, text,
};
use super::{Kind, Result};

/// A file of deletes that was rewritten.
#[derive(Debug, Clone)]
pub(super) struct NewDeletes {
    pub(super) size: u64,
    pub(super) layout: Option<Layout>,
}

/// Moves a manifest. `file` is told every entry that is alive and what it becomes, and answers what
/// rewritten deletes are like now. None: the manifest keeps its bytes.
pub(super) fn manifest(
    bytes: &[u8],
    location: &str,
    prefixes: &Prefixes,
    mut file: impl FnMut(&Entry<'_>, &str) -> Result<Option<NewDeletes>>,
) -> Result<Option<Vec<u8>>> {
    avro::rewrite(bytes, &entry_fields(), |record, edits| {
        let entry = Entry::of(record, location)?;
        let moved = prefixes.map(entry.path, location)?;
        set(record, edits, FILE_PATH, moved.as_bytes())?;
        if let Some(referenced) = record.bytes(REFERENCED) {
            let referenced = prefixes.map(text(referenced, location)?, location)?;
            set(record, edits, REFERENCED, referenced.as_bytes())?;
        }
        if matches!(entry.kind, Kind::PositionDeletes | Kind::DeletionVectors) {
            bounds(record, edits, prefixes)?;
        }
        // What is called deleted may be gone: its path moves for whoever cleans up, the file is not opened.
        if entry.live
            && let Some(new) = file(&entry, &moved)?
        {
            lengths(record, edits, &new)?;
        }
        Ok::<(), Fault>(())
    })
    .map_err(|fault| fault.at(location))
}

/// Moves a manifest list. `length` answers how long a manifest is now, if it was rewritten. None: the list
/// keeps its bytes.
pub(super) fn list(
    bytes: &[u8],
    location: &str,
    prefixes: &Prefixes,
    length: impl Fn(&str) -> Option<u64>,
) -> Result<Option<Vec<u8>>> {
    avro::rewrite(bytes, &list_fields(), |record, edits| {
        let manifest = manifest_of(record, location)?;
        let moved = prefixes.map(&manifest.path, location)?;
        set(record, edits, MANIFEST_PATH, moved.as_bytes())?;
        if let (Some(length), Some(found)) = (length(&manifest.path), record.get(MANIFEST_LENGTH)) {
            edits.set_long(found, signed(length))?;
        }
        Ok::<(), Fault>(())
    })
    .map_err(|fault| fault.at(location))
}

/// Lengths are far below the largest number.
fn signed(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn set(
    record: &Record<'_>,
    edits: &mut Edits,
    slot: usize,
    value: &[u8],
) -> Result<(), avro::Error> {
    match record.get(slot) {
        Some(found) => edits.set_bytes(found, value),
        None => Ok(()),
    }
}

/// Bounds of the paths in position deletes. Readers use them only when both are equal, which means that all
/// rows are of one data file; others may be cut short within the prefix, and are dropped.
fn bounds(record: &Record<'_>, edits: &mut Edits, prefixes: &Prefixes) -> Result<(), avro::Error> {
    if prefixes.is_identity() {
        return Ok(());
    }
    let [lower, upper] = [LOWER, UPPER].map(|map| of_column(record, map, FILE_PATH_COLUMN));
    let value = |found: &Found| match record.value(found) {
        avro::Value::Bytes(bytes) | avro::Value::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    };
    let both = lower.and_then(value).zip(upper.and_then(value));
    let one = both.filter(|(lower, upper)| lower == upper);
    let moved = one.and_then(|(path, _)| prefixes.get(path));
    for found in lower.into_iter().chain(upper) {
        match &moved {
            Some(moved) => edits.set_bytes(found, moved.as_bytes())?,
            None => edits.remove_item(found)?,
        }
    }
    Ok(())
}

/// What an entry tells about the length and the inside of a file that was rewritten.
fn lengths(record: &Record<'_>, edits: &mut Edits, new: &NewDeletes) -> Result<(), avro::Error> {
    if let Some(found) = record.get(FILE_SIZE) {
        edits.set_long(found, signed(new.size))?;
    }
    let Some(layout) = &new.layout else {
        return Ok(());
    };
    for (column, size) in &layout.column_sizes {
        if let Some(found) = of_column(record, COLUMN_SIZES, *column) {
            edits.set_long(found, *size)?;
        }
    }
    for (place, found) in record.all(SPLIT_OFFSETS).enumerate() {
        if found.item().is_none() {
            continue;
        }
        match layout.offsets.get(place) {
            Some(offset) => edits.set_long(found, *offset)?,
            None => edits.remove_item(found)?,
        }
    }
    Ok(())
}
