//! `metadata.json`: one version of a table. What is not needed here is not read, and nothing is lost by that:
//! edits work on the text.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::limits::METADATA_MAX;
use super::location::check;
use super::{AccessError, Error, Fetch, Result};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const VERSION_MAX: u64 = 3;

/// One version of a table: its metadata as read.
#[derive(Debug, Clone)]
pub struct Metadata {
    place: String,
    stored: Bytes,
    text: Bytes,
    fields: Fields,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Fields {
    format_version: u64,
    table_uuid: Option<String>,
    location: Option<String>,
    last_updated_ms: Option<i64>,
    current_snapshot_id: Option<i64>,
    current_schema_id: Option<i64>,
    #[serde(default, deserialize_with = "nullable")]
    snapshots: Vec<Snapshot>,
    #[serde(default, deserialize_with = "nullable")]
    refs: BTreeMap<String, Reference>,
    #[serde(default, deserialize_with = "nullable")]
    snapshot_log: Vec<Logged>,
    #[serde(default, deserialize_with = "nullable")]
    metadata_log: Vec<OldMetadata>,
    #[serde(default, deserialize_with = "nullable")]
    properties: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "nullable")]
    statistics: Vec<StatisticsFile>,
    #[serde(default, deserialize_with = "nullable")]
    partition_statistics: Vec<StatisticsFile>,
    #[serde(default, deserialize_with = "nullable")]
    encryption_keys: Vec<IgnoredAny>,
}

/// Writers leave out what is empty, or write null.
fn nullable<'de, D, T>(deserializer: D) -> std::result::Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// One state of the table that its metadata retains.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Snapshot {
    /// Its name.
    pub snapshot_id: i64,
    /// The state it was made from.
    pub parent_snapshot_id: Option<i64>,
    /// When it was made, in milliseconds since 1970.
    #[serde(default)]
    pub timestamp_ms: i64,
    /// The schema it was written with.
    pub schema_id: Option<i64>,
    /// The list of its manifests.
    pub manifest_list: Option<String>,
    /// Its manifests, where format 1 names them without a list.
    #[serde(default, deserialize_with = "nullable")]
    pub manifests: Vec<String>,
    /// What its writer said about it.
    #[serde(default, deserialize_with = "nullable")]
    pub summary: BTreeMap<String, String>,
    key_id: Option<IgnoredAny>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Reference {
    snapshot_id: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Logged {
    snapshot_id: i64,
    timestamp_ms: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct OldMetadata {
    metadata_file: String,
}

/// A file of statistics of one snapshot.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct StatisticsFile {
    /// The snapshot it describes.
    pub snapshot_id: i64,
    /// Where it is.
    #[serde(rename = "statistics-path")]
    pub path: String,
    /// Its length in bytes.
    #[serde(rename = "file-size-in-bytes")]
    pub size: Option<u64>,
    #[serde(rename = "key-metadata")]
    key_metadata: Option<IgnoredAny>,
}

/// Which snapshots of a table are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All that the metadata retains.
    Retained,
    /// The current one.
    Current,
    /// The one of a number.
    Snapshot(i64),
    /// The one that a branch or tag stands at.
    Reference(String),
    /// The one that was current at a time, in milliseconds since 1970.
    AsOf(i64),
}

impl Metadata {
    /// Reads a version of a table. One request.
    pub fn fetch(location: &str, source: &dyn Fetch) -> Result<Self> {
        check(location, location)?;
        let stored = source.fetch(location, METADATA_MAX);
        let stored = stored.map_err(|source| Error::Read {
            location: location.to_owned(),
            source,
        })?;
        Self::parse(location, stored)
    }

    /// Reads a version of a table from the bytes at a location, which may be compressed with gzip.
    pub fn parse(location: &str, stored: Bytes) -> Result<Self> {
        let text = if stored.starts_with(&GZIP_MAGIC) {
            decompress(location, &stored)?
        } else {
            stored.clone()
        };
        let fields: Fields = serde_json::from_slice(&text)
            .map_err(|error| Error::malformed(location, format!("not table metadata: {error}")))?;
        let read = Self {
            place: location.to_owned(),
            stored,
            text,
            fields,
        };
        read.check()?;
        Ok(read)
    }

    fn check(&self) -> Result<()> {
        let version = self.fields.format_version;
        let location = self.place.clone();
        if !(1..=VERSION_MAX).contains(&version) {
            return Err(Error::Version { location, version });
        }
        let fields = &self.fields;
        let statistics = || fields.statistics.iter().chain(&fields.partition_statistics);
        let what = if !fields.encryption_keys.is_empty() {
            "it holds encryption keys"
        } else if fields.properties.contains_key("encryption.key-id") {
            "it has the property encryption.key-id"
        } else if fields.snapshots.iter().any(|one| one.key_id.is_some()) {
            "a snapshot names a key"
        } else if statistics().any(|one| one.key_metadata.is_some()) {
            "statistics name a key"
        } else {
            return Ok(());
        };
        Err(Error::Encrypted { location, what })
    }

    /// What it says without the text it says it in, which is the larger part.
    pub(super) fn without_text(mut self) -> Self {
        self.stored = Bytes::new();
        self.text = Bytes::new();
        self
    }

    /// Where it was read from.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Its bytes as stored.
    pub fn stored(&self) -> &Bytes {
        &self.stored
    }

    /// Its JSON text.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// Whether it is stored compressed.
    pub fn is_compressed(&self) -> bool {
        self.stored.starts_with(&GZIP_MAGIC)
    }

    /// The version of the format: 1, 2 or 3.
    pub fn format_version(&self) -> u64 {
        self.fields.format_version
    }

    /// The identity of the table, which old ones lack.
    pub fn table_uuid(&self) -> Option<&str> {
        self.fields.table_uuid.as_deref()
    }

    /// Where the table says it is.
    pub fn location(&self) -> Option<&str> {
        self.fields.location.as_deref()
    }

    /// When this version was made, in milliseconds since 1970; 0 if it does not tell.
    pub fn last_updated_ms(&self) -> i64 {
        self.fields.last_updated_ms.unwrap_or(0)
    }

    /// The current snapshot, if the table has any.
    pub fn current_snapshot_id(&self) -> Option<i64> {
        self.fields.current_snapshot_id.filter(|id| *id != -1)
    }

    /// The current schema.
    pub fn current_schema_id(&self) -> Option<i64> {
        self.fields.current_schema_id
    }

    /// The snapshots it retains, in the order it names them.
    pub fn snapshots(&self) -> &[Snapshot] {
        &self.fields.snapshots
    }

    /// Branches and tags, and where they stand.
    pub fn references(&self) -> impl Iterator<Item = (&str, i64)> {
        let refs = self.fields.refs.iter();
        refs.map(|(name, at)| (name.as_str(), at.snapshot_id))
    }

    /// Properties of the table.
    pub fn properties(&self) -> &BTreeMap<String, String> {
        &self.fields.properties
    }

    /// Earlier versions that it remembers, the oldest first. Their files may be gone.
    pub fn metadata_log(&self) -> impl Iterator<Item = &str> {
        let log = self.fields.metadata_log.iter();
        log.map(|entry| entry.metadata_file.as_str())
    }

    /// Files of statistics of whole tables.
    pub fn statistics(&self) -> &[StatisticsFile] {
        &self.fields.statistics
    }

    /// Files of statistics of partitions.
    pub fn partition_statistics(&self) -> &[StatisticsFile] {
        &self.fields.partition_statistics
    }

    /// The snapshots that a selection means. A table without a current snapshot has none that is current.
    pub fn select(&self, selection: &Selection) -> Result<Vec<&Snapshot>> {
        let id = match selection {
            Selection::Retained => return Ok(self.snapshots().iter().collect()),
            Selection::Current => match self.current_snapshot_id() {
                Some(id) => id,
                None => return Ok(Vec::new()),
            },
            Selection::Snapshot(id) => *id,
            Selection::Reference(name) => self.reference(name)?,
            Selection::AsOf(time) => self.at(*time)?,
        };
        let one = self.snapshots().iter().find(|one| one.snapshot_id == id);
        one.map(|one| vec![one])
            .ok_or_else(|| self.lacks(format!("snapshot {id}")))
    }

    fn reference(&self, name: &str) -> Result<i64> {
        let known = self.fields.refs.get(name).map(|at| at.snapshot_id);
        // Tables of before references have only the branch that every table has.
        let main = || self.current_snapshot_id().filter(|_| name == "main");
        known
            .or_else(main)
            .ok_or_else(|| self.lacks(format!("branch or tag {name:?}")))
    }

    /// The snapshot that was current at a time, by the log of what was current.
    fn at(&self, time: i64) -> Result<i64> {
        let mut log = self.fields.snapshot_log.iter();
        let logged = log
            .rfind(|entry| entry.timestamp_ms <= time)
            .map(|entry| entry.snapshot_id);
        logged.ok_or_else(|| self.lacks(format!("snapshot as old as {time} ms")))
    }

    fn lacks(&self, what: String) -> Error {
        let location = self.place.clone();
        Error::NoSnapshot { location, what }
    }
}

fn decompress(location: &str, stored: &[u8]) -> Result<Bytes> {
    let mut text = Vec::new();
    GzDecoder::new(stored)
        .take(METADATA_MAX + 1)
        .read_to_end(&mut text)
        .map_err(|error| Error::malformed(location, format!("not gzip: {error}")))?;
    if text.len() as u64 > METADATA_MAX {
        return Err(Error::Read {
            location: location.to_owned(),
            source: AccessError::TooLarge { max: METADATA_MAX },
        });
    }
    Ok(text.into())
}
