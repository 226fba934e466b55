//! A hundred thousand data files in a thousand manifests: how often files are read, and how much memory it
//! takes. Seconds are printed and not asserted: they are the machine's.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use repo_tables::iceberg::{
    AccessError, Fetch, Metadata, Moved, Prefixes, Relocation, Selection, Sink, TableUuid,
    files_of, relocate,
};
use serde_json::json;
use tempfile::TempDir;

use crate::ALLOCATOR;
use crate::avro_writer::{Value, container};
use crate::place::{Local, path_of};
use crate::table_writer::LIST;

const MANIFESTS: usize = 1000;
const FILES_EACH: usize = 100;
const MEMORY_MAX: usize = 256 << 20;

fn path(prefix: &str, of: usize) -> String {
    let (day, random) = (of % 365, of * 7919);
    format!("{prefix}/data/day={day}/{of:08}-{random:x}.parquet")
}

/// The data files of a manifest.
pub(crate) fn paths(prefix: &str, number: usize) -> Vec<String> {
    let files = 0..FILES_EACH;
    files
        .map(|file| path(prefix, number * FILES_EACH + file))
        .collect()
}

/// A manifest as engines write it, with statistics of ten columns.
pub(crate) fn manifest(prefix: &str, number: usize) -> Vec<u8> {
    let map = |name: &str, id: i32, key: i32, value: &str| {
        json!({"name": name, "field-id": id, "type": ["null", {"type": "array", "logicalType": "map",
            "items": {"type": "record", "name": format!("k{key}_v{}", key + 1), "fields": [
                {"name": "key", "type": "int", "field-id": key},
                {"name": "value", "type": value, "field-id": key + 1}]}}]})
    };
    let schema = json!({"type": "record", "name": "manifest_entry", "fields": [
        {"name": "status", "field-id": 0, "type": "int"},
        {"name": "snapshot_id", "field-id": 1, "type": ["null", "long"]},
        {"name": "data_file", "field-id": 2, "type": {"type": "record", "name": "r2", "fields": [
            {"name": "content", "field-id": 134, "type": "int"},
            {"name": "file_path", "field-id": 100, "type": "string"},
            {"name": "file_format", "field-id": 101, "type": "string"},
            {"name": "record_count", "field-id": 103, "type": "long"},
            {"name": "file_size_in_bytes", "field-id": 104, "type": "long"},
            map("column_sizes", 108, 117, "long"),
            map("value_counts", 109, 119, "long"),
            map("lower_bounds", 125, 126, "bytes"),
            map("upper_bounds", 128, 129, "bytes"),
        ]}},
    ]});
    let numbers = |of: usize| {
        let pair = |key: i64| Value::Record(vec![Value::Long(key), Value::Long(of as i64 * key)]);
        Value::array((1..=10).map(pair).collect()).some()
    };
    let bounds = |of: usize| {
        let pair = |key: i64| {
            Value::Record(vec![
                Value::Long(key),
                Value::text(&format!("value {of} of {key}")),
            ])
        };
        Value::array((1..=10).map(pair).collect()).some()
    };
    let files = (0..FILES_EACH).map(|file| {
        let of = number * FILES_EACH + file;
        Value::Record(vec![
            Value::Long(1),
            Value::Long(of as i64).some(),
            Value::Record(vec![
                Value::Long(0),
                Value::text(&path(prefix, of)),
                Value::text("PARQUET"),
                Value::Long(1_000),
                Value::Long(1 << 20),
                numbers(of),
                numbers(of + 1),
                bounds(of),
                bounds(of + 1),
            ]),
        ])
    });
    container(&schema.to_string(), "deflate", &[files.collect()])
}

struct Counted(AtomicU64);

impl Fetch for Counted {
    fn fetch(&self, location: &str, max: u64) -> Result<Bytes, AccessError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Local.fetch(location, max)
    }
}

/// Writes what is rewritten and counts what is not.
#[derive(Default)]
struct Target {
    copied: AtomicU64,
}

impl Sink for Target {
    fn write(&self, file: &Moved, bytes: Vec<u8>) -> Result<(), AccessError> {
        fs::write(path_of(&file.to), bytes).map_err(AccessError::failed)
    }

    fn copy(&self, _: &Moved) -> Result<(), AccessError> {
        self.copied.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "figures of a test that is run by hand")]
fn measured<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.allocated();
    let begun = clock();
    let result = work();
    let peak = ALLOCATOR.max_allocated();
    println!(
        "{what}: {:?}, peak {} KiB, {} KiB before",
        begun.elapsed(),
        peak >> 10,
        before >> 10
    );
    assert!(peak < MEMORY_MAX, "{what}: {peak} bytes were allocated");
    result
}

#[expect(clippy::disallowed_methods, reason = "it measures what is shown")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

#[test]
fn a_hundred_thousand_files_fit_into_the_budget() {
    let place = TempDir::new().expect("a directory");
    let from = format!("{}/table", place.path().display());
    let to = format!("{}/another table", place.path().display());
    for directory in [&from, &to] {
        fs::create_dir_all(format!("{directory}/metadata")).expect("a directory");
    }
    let listed = (0..MANIFESTS).map(|number| {
        let path = format!("{from}/metadata/m{number}.avro");
        let bytes = manifest(&from, number);
        let length = bytes.len() as i64;
        fs::write(&path, bytes).expect("a manifest");
        Value::Record(vec![
            Value::text(&path),
            Value::Long(length),
            Value::Long(0),
            Value::none(),
        ])
    });
    let list = container(LIST, "deflate", &[listed.collect()]);
    let list_path = format!("{from}/metadata/snap-1.avro");
    fs::write(&list_path, list).expect("a list");
    let text = json!({"format-version": 2, "location": from, "current-snapshot-id": 1,
        "snapshots": [{"snapshot-id": 1, "manifest-list": list_path}]});
    let metadata = format!("{from}/metadata/v1.metadata.json");
    let metadata = Metadata::parse(&metadata, text.to_string().into()).expect("metadata");

    let source = Counted(AtomicU64::new(0));
    let mut files = 0;
    let totals = measured("list", || {
        files_of(&metadata, &Selection::Current, &source, &mut |_| {
            files += 1;
            Ok(())
        })
    });
    let totals = totals.expect("files");
    assert_eq!((totals.data_files, totals.records), (100_000, 100_000_000));
    assert_eq!(files, 100_000 + 1000 + 2);
    assert_eq!(source.0.swap(0, Ordering::Relaxed), 1001);

    let relocation = Relocation {
        prefixes: Prefixes::new([(&from, &to)]).expect("prefixes"),
        uuid: TableUuid::Keep,
    };
    let target = Target::default();
    let moved = measured("move", || {
        relocate(&metadata, &relocation, &source, &target)
    });
    let moved = moved.expect("a move");
    assert_eq!((moved.rewritten, moved.copied), (1002, 100_000));
    assert_eq!(target.copied.load(Ordering::Relaxed), 100_000);
    // The list twice: to learn of the manifests, and to write their new lengths.
    assert_eq!(source.0.load(Ordering::Relaxed), 1002);
}
