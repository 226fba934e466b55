//! Iceberg tables as the rest of this crate sees tables: one version, and the files it refers to.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::access::{AccessError, Fetch};
use super::current::{Candidate, Choice, choose, version_of};
use super::files::{FileRef, Kind, files_of};
use super::metadata::{Metadata, Selection, Snapshot};
use super::relocate::uuid_text;
use super::{pin, schema};
use crate::error::{Error, Result};
use crate::lake::{Lake, ObjectInfo};
use crate::limits::FILES_MAX;
use crate::location::Location;
use crate::record::nanos;
use crate::table::{At, FileKind, Format, Table, TableFile};

/// Longest version hint, in bytes.
const HINT_MAX: u64 = 4096;
/// The file that Hadoop tables have their version in.
pub(crate) const HINT: &str = "version-hint.text";

/// Reads files of a table from their stores.
pub(crate) struct LakeFetch<'l>(pub(crate) &'l Lake);

impl Fetch for LakeFetch<'_> {
    fn fetch(&self, location: &str, max: u64) -> Result<Bytes, AccessError> {
        let place = Location::parse(location).map_err(AccessError::failed)?;
        self.0.read(&place, max).map_err(|error| match error {
            Error::NotFound { .. } => AccessError::NotFound,
            Error::Size { .. } => AccessError::TooLarge { max },
            error => AccessError::failed(error),
        })
    }
}

/// Objects of one directory, by place.
pub(crate) type Objects = HashMap<Location, ObjectInfo>;

/// The objects directly in a directory. One request for a thousand of them.
pub(crate) fn objects(lake: &Lake, directory: &Location) -> Result<Objects> {
    let (_, objects) = lake.children(directory)?;
    Ok(objects
        .into_iter()
        .map(|object| (object.location.clone(), object))
        .collect())
}

/// The directory of a file.
pub(crate) fn directory_of(file: &Location) -> Result<Location> {
    let path = file.to_string();
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    Location::parse(directory)
}

/// The current metadata of the table whose metadata directory holds `objects`.
pub(crate) fn current(
    lake: &Lake,
    place: &Location,
    objects: &Objects,
    source: &dyn Fetch,
) -> Result<Choice> {
    let candidates: Vec<Candidate> = objects
        .values()
        .map(|object| Candidate {
            location: object.location.to_string(),
            modified_ms: Some(nanos(object.modified) / 1_000_000),
        })
        .collect();
    let hint = objects.keys().find(|place| place.name() == HINT);
    let hint = hint.map(|hint| lake.read(hint, HINT_MAX)).transpose()?;
    Ok(choose(
        &place.to_string(),
        &candidates,
        hint.as_deref(),
        source,
    )?)
}

/// Reads the current metadata of the table at `place`, without a catalog.
pub(crate) fn open(lake: &Lake, place: &Location) -> Result<Metadata> {
    let source = LakeFetch(lake);
    let directory = place.join("metadata")?;
    let choice = current(lake, place, &objects(lake, &directory)?, &source)?;
    Ok(Metadata::fetch(&choice.location, &source)?)
}

/// The version of a table that `at` means: as it is, or with one snapshot as its only one.
pub(crate) fn at(metadata: Metadata, at: &At) -> Result<(Metadata, Option<Bytes>)> {
    let selection = match at {
        At::Newest => return Ok((metadata, None)),
        At::Version(id) => Selection::Snapshot(*id),
        At::Time(time) => Selection::AsOf(*time),
        At::Ref(name) => Selection::Reference(name.clone()),
    };
    let selected = metadata.select(&selection)?;
    let Some(snapshot) = selected.first() else {
        return Ok((metadata, None));
    };
    let text = Bytes::from(pin(&metadata, snapshot)?);
    let place = pinned_place(metadata.place(), snapshot)?;
    Ok((Metadata::parse(&place, text.clone())?, Some(text)))
}

/// A name for the metadata of one snapshot: that of a commit which follows the version it is made of.
fn pinned_place(place: &str, snapshot: &Snapshot) -> Result<String> {
    let (directory, name) = place
        .rsplit_once('/')
        .ok_or_else(|| Error::malformed(place, "it has no directory"))?;
    let next = version_of(place).unwrap_or(0).saturating_add(1);
    if name.starts_with('v') {
        return Ok(format!("{directory}/v{next}.metadata.json"));
    }
    let id = snapshot.snapshot_id;
    let uuid = uuid_of(&[name, &id.to_string()]);
    Ok(format!("{directory}/{next:05}-{uuid}.metadata.json"))
}

/// A UUID that is the same for the same parts.
pub(crate) fn uuid_of(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid_text(bytes, 8)
}

/// Every file of a version of a table. What `objects` has need not be asked for again.
pub(crate) fn table(
    place: &Location,
    metadata: &Metadata,
    content: Option<Bytes>,
    objects: &Objects,
    source: &dyn Fetch,
) -> Result<Table> {
    let location = metadata.location().map(Location::parse).transpose()?;
    let mut files = Vec::new();
    let (mut seen, mut failed) = (HashSet::new(), None);
    let walked = files_of(metadata, &Selection::Retained, source, &mut |file| {
        let taken = table_file(file, objects).and_then(|file| {
            // Two spellings may be one place.
            if seen.insert(file.location.clone()) {
                files.push(file);
            }
            match files.len() > FILES_MAX {
                true => Err(Error::malformed(place, "it has too many files")),
                false => Ok(()),
            }
        });
        taken.map_err(|error| {
            failed = Some(error);
            super::Error::Stopped
        })
    });
    match failed {
        Some(error) => return Err(error),
        None => walked?,
    };
    let own = Location::parse(metadata.place())?;
    if let Some(content) = content
        && let Some(file) = files.iter_mut().find(|file| file.location == own)
    {
        file.object = None;
        file.content = Some(content);
    }
    Ok(Table {
        format: Format::Iceberg,
        location: location.unwrap_or_else(|| place.clone()),
        version: metadata.current_snapshot_id().unwrap_or(-1),
        time_ms: Some(metadata.last_updated_ms()),
        id: metadata.table_uuid().map(str::to_owned),
        title: None,
        schema_id: metadata.current_schema_id(),
        columns: schema::columns(metadata)?,
        metadata_location: Some(own),
        rows: rows(metadata),
        files,
    })
}

fn table_file(file: FileRef, objects: &Objects) -> Result<TableFile> {
    let location = Location::parse(&file.location)?;
    Ok(TableFile {
        kind: match file.kind {
            Kind::Metadata | Kind::OldMetadata => FileKind::Metadata,
            Kind::ManifestList => FileKind::ManifestList,
            Kind::Manifest => FileKind::Manifest,
            Kind::Data => FileKind::Data,
            Kind::PositionDeletes | Kind::EqualityDeletes | Kind::DeletionVectors => {
                FileKind::Deletes
            }
            Kind::Statistics | Kind::PartitionStatistics => FileKind::Statistics,
        },
        size: file.size,
        rows: file.records,
        deleted_rows: 0,
        optional: file.kind.may_be_gone(),
        object: objects.get(&location).cloned(),
        content: None,
        location,
    })
}

fn current_snapshot(metadata: &Metadata) -> Option<&Snapshot> {
    let id = metadata.current_snapshot_id()?;
    metadata
        .snapshots()
        .iter()
        .find(|one| one.snapshot_id == id)
}

fn told(snapshot: &Snapshot, name: &str) -> Option<u64> {
    snapshot.summary.get(name)?.parse().ok()
}

/// Rows in the data files of the current snapshot, deleted ones included, as its writer says.
pub(crate) fn records(metadata: &Metadata) -> Option<u64> {
    match current_snapshot(metadata) {
        Some(snapshot) => told(snapshot, "total-records"),
        None => Some(0),
    }
}

/// Rows that a reader sees, where the table tells. Position deletes of format 2 may delete a row twice or
/// none, so that only deletion vectors, one a file and counted, can be subtracted.
fn rows(metadata: &Metadata) -> Option<u64> {
    let records = records(metadata)?;
    let Some(snapshot) = current_snapshot(metadata) else {
        return Some(records);
    };
    if told(snapshot, "total-delete-files")? == 0 {
        return Some(records);
    }
    let vectors = metadata.format_version() >= 3 && told(snapshot, "total-equality-deletes")? == 0;
    let deleted = told(snapshot, "total-position-deletes").filter(|_| vectors)?;
    records.checked_sub(deleted)
}
