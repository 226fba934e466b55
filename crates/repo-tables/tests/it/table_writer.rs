//! Tables written for tests, at any place: what a move makes of one must be what is written there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use repo_tables::iceberg::{AccessError, Fetch, Moved, Sink};
use serde_json::{Value as Json, json};

use crate::avro::{Of, schema};
use crate::avro_writer::{Value, container};

/// Files by location, and how often they were read.
#[derive(Default)]
pub(crate) struct Files {
    pub(crate) files: Mutex<HashMap<String, Bytes>>,
    pub(crate) requests: AtomicU64,
}

impl Files {
    pub(crate) fn of(files: BTreeMap<String, Vec<u8>>) -> Self {
        let files = files.into_iter();
        let files = files.map(|(location, bytes)| (location, Bytes::from(bytes)));
        Self {
            files: Mutex::new(files.collect()),
            requests: AtomicU64::new(0),
        }
    }
}

impl Fetch for Files {
    fn fetch(&self, location: &str, max: u64) -> Result<Bytes, AccessError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let files = self.files.lock().expect("a lock");
        let found = files.get(location).ok_or(AccessError::NotFound)?;
        if found.len() as u64 > max {
            return Err(AccessError::TooLarge { max });
        }
        Ok(found.clone())
    }
}

/// What a move wrote, by the new location.
#[derive(Default)]
pub(crate) struct Written(pub(crate) Mutex<BTreeMap<String, Vec<u8>>>);

impl Sink for Written {
    fn write(&self, file: &Moved, bytes: Vec<u8>) -> Result<(), AccessError> {
        let mut written = self.0.lock().expect("a lock");
        assert_eq!(written.insert(file.to.clone(), bytes), None, "{file:?}");
        Ok(())
    }

    fn copy(&self, _: &Moved) -> Result<(), AccessError> {
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Data,
    EqualityDeletes,
    /// Position deletes in Avro, with the number of rows, and whether bounds of paths are equal.
    PositionDeletes(u8, bool),
    DeletionVectors,
}

/// One file of a manifest.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) status: i64,
    pub(crate) content: Content,
    pub(crate) partition: Value,
    pub(crate) more: Value,
}

/// One manifest, its entries in blocks.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    pub(crate) partition: Of,
    pub(crate) more: Of,
    pub(crate) blocks: Vec<Vec<File>>,
}

/// A table: its n-th snapshot has the first n manifests and one more.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) codec: &'static str,
    pub(crate) manifests: Vec<Manifest>,
}

const FILE_PATH_COLUMN: i64 = 2_147_483_546;

/// A table as it is written at a place.
pub(crate) struct Place<'a> {
    pub(crate) table: &'a Table,
    pub(crate) prefix: &'a str,
    /// Whether it came there by a move, which drops bounds that are not equal.
    pub(crate) moved: bool,
    files: BTreeMap<String, Vec<u8>>,
}

impl<'a> Place<'a> {
    pub(crate) fn new(table: &'a Table, prefix: &'a str, moved: bool) -> Self {
        Self {
            table,
            prefix,
            moved,
            files: BTreeMap::new(),
        }
    }

    pub(crate) fn metadata(&self) -> String {
        format!("{}/metadata/v1.metadata.json", self.prefix)
    }

    /// Every file that holds locations.
    pub(crate) fn files(mut self) -> BTreeMap<String, Vec<u8>> {
        let mut listed = Vec::new();
        let mut snapshots = Vec::new();
        for (number, manifest) in self.table.manifests.iter().enumerate() {
            let bytes = self.manifest(number, manifest);
            let path = format!("{}/metadata/m{number}.avro", self.prefix);
            listed.push(Value::Record(vec![
                Value::text(&path),
                Value::Long(bytes.len() as i64),
                Value::Long(7),
                Value::none(),
            ]));
            self.files.insert(path, bytes);
            let path = format!("{}/metadata/snap-{number}.avro", self.prefix);
            let list = container(LIST, self.table.codec, &[listed.clone()]);
            self.files.insert(path.clone(), list);
            snapshots.push(json!({"snapshot-id": number, "manifest-list": path}));
        }
        let text = self.text(&snapshots);
        self.files.insert(self.metadata(), text.into_bytes());
        self.files
    }

    /// Metadata with members in no order and spaces as nobody writes them.
    fn text(&self, snapshots: &[Json]) -> String {
        let prefix = self.prefix;
        let snapshots = Json::from(snapshots);
        format!(
            r#"{{ "unknown" : [1.0, 1e400, "{{\u00e9"],"format-version":2 , "location":"{prefix}",
 "snapshots" :{snapshots},
 "properties":{{"write.data.path" : "{prefix}/data", "owner":"/a/table"}},"table-uuid":"u"}}"#
        )
    }

    fn manifest(&mut self, number: usize, manifest: &Manifest) -> Vec<u8> {
        let mut names = 1000;
        let entry = json!({
            "type": "record", "name": "manifest_entry", "fields": [
                {"name": "status", "field-id": 0, "type": "int"},
                {"name": "more", "field-id": 9000, "type": schema(&manifest.more, &mut names)},
                {"name": "data_file", "field-id": 2, "type": {
                    "type": "record", "name": "r2", "fields": [
                        {"name": "content", "field-id": 134, "type": "int"},
                        {"name": "file_path", "field-id": 100, "type": "string"},
                        {"name": "file_format", "field-id": 101, "type": "string"},
                        {"name": "partition", "field-id": 102,
                            "type": schema(&manifest.partition, &mut names)},
                        {"name": "record_count", "field-id": 103, "type": "long"},
                        {"name": "file_size_in_bytes", "field-id": 104, "type": "long"},
                        {"name": "lower_bounds", "field-id": 125, "type": bounds_of(126, 127)},
                        {"name": "upper_bounds", "field-id": 128, "type": bounds_of(129, 130)},
                        {"name": "referenced_data_file", "field-id": 143,
                            "type": ["null", "string"]},
                    ],
                }},
            ],
        });
        let mut blocks = Vec::new();
        for (block, files) in manifest.blocks.iter().enumerate() {
            let files = files.iter().enumerate();
            let files = files.map(|(at, file)| self.entry(&format!("{number}-{block}-{at}"), file));
            blocks.push(files.collect());
        }
        container(&entry.to_string(), self.table.codec, &blocks)
    }

    fn entry(&mut self, name: &str, file: &File) -> Value {
        let path = format!("{}/data/{name}", self.prefix);
        let referenced = format!("{}/data/of {name}", self.prefix);
        let (content, format, deletes) = match file.content {
            Content::Data => (0, "PARQUET", None),
            Content::EqualityDeletes => (2, "PARQUET", None),
            Content::PositionDeletes(rows, _) => (1, "AVRO", Some(self.rows(&referenced, rows))),
            Content::DeletionVectors => (1, "puffin", Some(vectors(&referenced))),
        };
        let mut size = 123;
        // What is deleted from the table has no file, and the length it had at the source.
        if let Some(bytes) = deletes.filter(|_| file.status != 2) {
            size = bytes.len();
            self.files.insert(path.clone(), bytes);
        }
        let bounds = match file.content {
            Content::PositionDeletes(_, true) => [bounds(&referenced), bounds(&referenced)],
            Content::PositionDeletes(_, false) if self.moved => [bounds(""), bounds("")],
            Content::PositionDeletes(_, false) => [bounds("/a"), bounds("/b")],
            _ => [Value::none(), Value::none()],
        };
        let [lower, upper] = bounds;
        let referenced = match file.content {
            Content::Data | Content::EqualityDeletes => Value::none(),
            _ => Value::text(&referenced).some(),
        };
        let data_file = Value::Record(vec![
            Value::Long(content),
            Value::text(&path),
            Value::text(format),
            file.partition.clone(),
            Value::Long(1),
            Value::Long(size as i64),
            lower,
            upper,
            referenced,
        ]);
        Value::Record(vec![Value::Long(file.status), file.more.clone(), data_file])
    }

    fn rows(&self, path: &str, rows: u8) -> Vec<u8> {
        let schema = r#"{"type":"record","name":"d","fields":[
            {"name":"file_path","type":"string","field-id":2147483546},
            {"name":"pos","type":"long","field-id":2147483545}]}"#;
        let rows =
            (0..rows).map(|row| Value::Record(vec![Value::text(path), Value::Long(row.into())]));
        container(schema, self.table.codec, &[rows.collect()])
    }
}

pub(crate) const LIST: &str = r#"{"type":"record","name":"manifest_file","fields":[
    {"name":"manifest_path","type":"string","field-id":500},
    {"name":"manifest_length","type":"long","field-id":501},
    {"name":"partition_spec_id","type":"int","field-id":502},
    {"name":"key_metadata","type":["null","bytes"],"field-id":519}]}"#;

fn bounds_of(key: i32, value: i32) -> Json {
    json!(["null", {"type": "array", "logicalType": "map", "items": {
        "type": "record", "name": format!("k{key}_v{value}"), "fields": [
            {"name": "key", "type": "int", "field-id": key},
            {"name": "value", "type": "bytes", "field-id": value},
        ],
    }}])
}

/// Bounds of positions and, unless it is empty, of a path.
fn bounds(path: &str) -> Value {
    let pair = |key, value: &str| Value::Record(vec![Value::Long(key), Value::text(value)]);
    let mut pairs = vec![pair(1, "/a/table/is no path here")];
    if !path.is_empty() {
        pairs.push(pair(FILE_PATH_COLUMN, path));
    }
    pairs.push(pair(FILE_PATH_COLUMN - 1, "\0\0\0\0"));
    Value::array(pairs).some()
}

/// A puffin file with one vector.
fn vectors(path: &str) -> Vec<u8> {
    let payload = json!({"blobs": [
        {"type": "deletion-vector-v1", "fields": [], "snapshot-id": -1, "sequence-number": -1,
         "offset": 4, "length": 7, "properties": {"referenced-data-file": path, "cardinality": "1"}},
    ], "properties": {"created-by": "/a/table"}});
    puffin(payload.to_string().as_bytes(), 0)
}

/// A puffin file with a payload in its footer.
pub(crate) fn puffin(payload: &[u8], flags: u8) -> Vec<u8> {
    let mut out = b"PFA1a vectorPFA1".to_vec();
    out.extend_from_slice(payload);
    out.extend_from_slice(&i32::try_from(payload.len()).expect("short").to_le_bytes());
    out.extend_from_slice(&[flags, 0, 0, 0]);
    out.extend_from_slice(b"PFA1");
    out
}
