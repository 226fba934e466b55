//! Manifest lists and manifests: the fields that name files, by their ids.

use crate::avro::{self, Found, Record, Selection, Step};

use super::location::check;
use super::{Error, Kind, Result};

/// The column that holds the path of a data file, in position deletes and in bounds of them.
pub(super) const FILE_PATH_COLUMN: i32 = 2_147_483_546;

const DATA_FILE: Step = Step::new(2, "data_file");
const KEY: &str = "key";
const VALUE: &str = "value";

/// Places of the fields of an entry in the selection below.
pub(super) const STATUS: usize = 0;
pub(super) const CONTENT: usize = 1;
pub(super) const FILE_PATH: usize = 2;
pub(super) const FILE_FORMAT: usize = 3;
pub(super) const RECORDS: usize = 4;
pub(super) const FILE_SIZE: usize = 5;
pub(super) const REFERENCED: usize = 6;
pub(super) const KEY_METADATA: usize = 7;
pub(super) const LOWER: (usize, usize) = (8, 9);
pub(super) const UPPER: (usize, usize) = (10, 11);
pub(super) const COLUMN_SIZES: (usize, usize) = (12, 13);
pub(super) const SPLIT_OFFSETS: usize = 14;

/// The fields of an entry that are read or edited.
pub(super) fn entry_fields() -> Selection {
    const fn map(id: i32, name: &'static str, inner: i32, what: &'static str) -> [Step; 3] {
        [DATA_FILE, Step::new(id, name), Step::new(inner, what)]
    }
    Selection::new(&[
        &[Step::new(0, "status")],
        &[DATA_FILE, Step::new(134, "content")],
        &[DATA_FILE, Step::new(100, "file_path")],
        &[DATA_FILE, Step::new(101, "file_format")],
        &[DATA_FILE, Step::new(103, "record_count")],
        &[DATA_FILE, Step::new(104, "file_size_in_bytes")],
        &[DATA_FILE, Step::new(143, "referenced_data_file")],
        &[DATA_FILE, Step::new(131, "key_metadata")],
        &map(125, "lower_bounds", 126, KEY),
        &map(125, "lower_bounds", 127, VALUE),
        &map(128, "upper_bounds", 129, KEY),
        &map(128, "upper_bounds", 130, VALUE),
        &map(108, "column_sizes", 117, KEY),
        &map(108, "column_sizes", 118, VALUE),
        &[DATA_FILE, Step::new(132, "split_offsets")],
    ])
}

/// Places of the fields of a manifest list in the selection below.
pub(super) const MANIFEST_PATH: usize = 0;
pub(super) const MANIFEST_LENGTH: usize = 1;
const LIST_KEY_METADATA: usize = 2;

/// The fields of a manifest list that are read or edited.
pub(super) fn list_fields() -> Selection {
    Selection::new(&[
        &[Step::new(500, "manifest_path")],
        &[Step::new(501, "manifest_length")],
        &[Step::new(519, "key_metadata")],
    ])
}

/// A manifest as a list, or metadata of format 1, names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ManifestRef {
    pub(super) path: String,
    pub(super) length: Option<u64>,
}

/// One file that a manifest names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    /// Whether the file is part of the table where this manifest is.
    pub(super) live: bool,
    pub(super) kind: Kind,
    pub(super) path: &'a str,
    pub(super) format: &'a str,
    pub(super) records: Option<u64>,
    pub(super) size: Option<u64>,
}

/// Errors of the walk, which does not know which file it is in, and of what it calls.
pub(super) enum Fault {
    Avro(avro::Error),
    Table(Error),
}

impl From<avro::Error> for Fault {
    fn from(error: avro::Error) -> Self {
        Self::Avro(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Table(error)
    }
}

impl Fault {
    pub(super) fn at(self, location: &str) -> Error {
        match self {
            Self::Avro(source) => Error::Avro {
                location: location.to_owned(),
                source,
            },
            Self::Table(error) => error,
        }
    }
}

pub(super) fn text<'a>(bytes: &'a [u8], location: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| Error::malformed(location, "a location is not utf-8"))
}

fn unencrypted(record: &Record<'_>, slot: usize, location: &str) -> Result<()> {
    // Some writers give files that are not encrypted an empty key.
    match record.bytes(slot) {
        Some(key) if !key.is_empty() => Err(Error::Encrypted {
            location: location.to_owned(),
            what: "it names a file with a key",
        }),
        _ => Ok(()),
    }
}

/// A record of a manifest list.
pub(super) fn manifest_of(record: &Record<'_>, location: &str) -> Result<ManifestRef> {
    unencrypted(record, LIST_KEY_METADATA, location)?;
    let path = record.bytes(MANIFEST_PATH);
    let path = path.ok_or_else(|| Error::malformed(location, "not a manifest list"))?;
    let path = text(path, location)?;
    check(path, location)?;
    let length = record.long(MANIFEST_LENGTH);
    Ok(ManifestRef {
        path: path.to_owned(),
        length: length.and_then(|length| u64::try_from(length).ok()),
    })
}

impl<'a> Entry<'a> {
    /// A record of a manifest.
    pub(super) fn of(record: &Record<'a>, location: &str) -> Result<Self> {
        unencrypted(record, KEY_METADATA, location)?;
        let malformed = |what: &str| Error::malformed(location, what);
        let (Some(status), Some(path)) = (record.long(STATUS), record.bytes(FILE_PATH)) else {
            return Err(malformed("not a manifest"));
        };
        let path = text(path, location)?;
        check(path, location)?;
        let format = text(record.bytes(FILE_FORMAT).unwrap_or_default(), location)?;
        // Format 1 knows data files only.
        let kind = match record.long(CONTENT).unwrap_or(0) {
            0 => Kind::Data,
            1 if format.eq_ignore_ascii_case("puffin") => Kind::DeletionVectors,
            1 => Kind::PositionDeletes,
            2 => Kind::EqualityDeletes,
            other => return Err(malformed(&format!("a file of unknown content {other}"))),
        };
        let live = match status {
            0 | 1 => true,
            2 => false,
            other => return Err(malformed(&format!("an entry of unknown status {other}"))),
        };
        let number = |slot| u64::try_from(record.long(slot)?).ok();
        Ok(Self {
            live,
            kind,
            path,
            format,
            records: number(RECORDS),
            size: number(FILE_SIZE),
        })
    }
}

/// Shows every manifest of a list.
pub(super) fn read_list(
    file: &[u8],
    location: &str,
    mut visit: impl FnMut(ManifestRef) -> Result<()>,
) -> Result<()> {
    avro::read(file, &list_fields(), |record| {
        Ok::<(), Fault>(visit(manifest_of(record, location)?)?)
    })
    .map_err(|fault| fault.at(location))
}

/// Shows every entry of a manifest.
pub(super) fn read_manifest(
    file: &[u8],
    location: &str,
    mut visit: impl FnMut(&Entry<'_>) -> Result<()>,
) -> Result<()> {
    avro::read(file, &entry_fields(), |record| {
        Ok::<(), Fault>(visit(&Entry::of(record, location)?)?)
    })
    .map_err(|fault| fault.at(location))
}

/// The value that a map of column ids, written as an array of pairs, has for a column.
pub(super) fn of_column<'a>(
    record: &Record<'a>,
    (keys, values): (usize, usize),
    column: i32,
) -> Option<&'a Found> {
    let is_column = |key: &&Found| record.value(key) == avro::Value::Long(i64::from(column));
    let key = record.all(keys).find(is_column)?;
    record.all(values).find(|value| value.item() == key.item())
}
