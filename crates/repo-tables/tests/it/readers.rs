//! Tables made by PyIceberg and Spark are moved, the source is taken away, and PyIceberg, DuckDB and Spark
//! read the same rows at every snapshot, branch and tag.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use repo_tables::avro;
use repo_tables::iceberg::{Kind, Metadata, TableUuid};
use repo_testkit::tool;
use serde_json::Value;
use tempfile::TempDir;

use crate::place::{current, moved, needed, path_of};

fn python(arguments: &[&str]) -> Vec<u8> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests");
    let output = Command::new(tool("venv-iceberg/bin/python"))
        .arg(tests.join("tables/iceberg.py"))
        .args(arguments)
        .output()
        .expect("a run of python");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// What a reader finds in tables: one value a table, in the order asked for.
fn read(reader: &str, tables: &[&str]) -> Vec<Value> {
    let told = python(&[&[reader], tables].concat());
    let mut told: BTreeMap<String, Value> = serde_json::from_slice(&told).expect("JSON");
    tables
        .iter()
        .map(|table| told.remove(*table).expect("the table"))
        .inspect(|states| assert!(!states.as_object().expect("states").is_empty()))
        .collect()
}

/// What PyIceberg and DuckDB find in tables. DuckDB knows no zstd in Avro.
fn both(tables: &[String]) -> [Vec<Value>; 2] {
    let all: Vec<&str> = tables.iter().map(String::as_str).collect();
    let for_duckdb: Vec<&str> = all
        .iter()
        .copied()
        .filter(|table| !table.contains("/zstd_v2/"))
        .collect();
    assert!(!for_duckdb.is_empty());
    [read("pyiceberg", &all), read("duckdb", &for_duckdb)]
}

/// A directory with tables below `lake/db`.
struct Lake {
    place: TempDir,
}

impl Lake {
    fn made_by(engine: &str) -> Self {
        let place = TempDir::new().expect("a directory");
        let lake = Self { place };
        drop(python(&[engine, &lake.at("lake")]));
        lake
    }

    fn at(&self, name: &str) -> String {
        self.place.path().join(name).display().to_string()
    }

    fn table(&self, name: &str) -> Metadata {
        current(Path::new(&format!("{}/db/{name}", self.at("lake"))))
    }

    /// Moves a table to a longer path with other spellings, and its data elsewhere.
    fn move_table(&self, name: &str) -> Metadata {
        let source = self.table(name);
        let uuid = TableUuid::random().expect("randomness");
        let lake = self.at("lake");
        let target = format!("file://{}", self.at("another place, far away"));
        let data = format!("{target}/data of {name}");
        let prefixes = [
            (lake.as_str(), target.as_str()),
            (&format!("file:{lake}/elsewhere"), data.as_str()),
        ];
        let (relocated, _) = moved(&source, &prefixes, uuid.clone()).expect("a move");
        let metadata = current(
            path_of(&relocated.metadata)
                .parent()
                .expect("metadata/")
                .parent()
                .expect("a table"),
        );
        assert_eq!(
            metadata.place().trim_start_matches("file:"),
            path_of(&relocated.metadata).display().to_string()
        );
        assert_eq!(
            TableUuid::New(metadata.table_uuid().expect("one").to_owned()),
            uuid
        );
        lengths_are_right(&metadata);
        metadata
    }

    fn hide(&self) {
        fs::rename(self.at("lake"), self.at("hidden")).expect("hidden");
    }
}

/// Every length that the table tells is that of the file.
fn lengths_are_right(metadata: &Metadata) {
    for file in needed(metadata) {
        let path = path_of(&file.location);
        match fs::metadata(&path) {
            Ok(found) => assert_eq!(file.size.unwrap_or(found.len()), found.len(), "{file:?}"),
            Err(_) => assert_eq!(file.kind, Kind::OldMetadata, "{file:?} is missing"),
        }
    }
}

/// The records of every manifest and list of a table, decompressed.
fn decoded(metadata: &Metadata) -> BTreeMap<String, Vec<u8>> {
    needed(metadata)
        .into_iter()
        .filter(|file| matches!(file.kind, Kind::Manifest | Kind::ManifestList))
        .map(|file| {
            let bytes = fs::read(path_of(&file.location)).expect("a manifest");
            let mut records = Vec::new();
            avro::read(&bytes, &avro::Selection::new(&[]), |record| {
                records.extend_from_slice(record.encoded());
                Ok::<(), avro::Error>(())
            })
            .expect("a container");
            (file.location, records)
        })
        .collect()
}

fn local(metadata: &Metadata) -> String {
    path_of(metadata.place()).display().to_string()
}

#[test]
fn tables_of_pyiceberg_read_the_same_elsewhere() {
    let lake = Lake::made_by("make-pyiceberg");
    let names = [
        "plain_v1",
        "plain_v2",
        "gzip_v2",
        "zstd_v2",
        "snappy_v2",
        "null_v2",
        "elsewhere_v2",
    ];
    let sources = names.map(|name| local(&lake.table(name)));
    let before = both(&sources);

    // A move to where it is changes nothing at all.
    for name in names {
        let source = lake.table(name);
        let here = lake.at("lake");
        let (relocated, target) = moved(
            &source,
            &[(&here, &format!("file:///{here}"))],
            TableUuid::Keep,
        )
        .expect("a move");
        assert_eq!(relocated.rewritten, 0, "{:?}", target.written);
    }
    let moved_tables = names.map(|name| lake.move_table(name));
    // There and back again is where it began, to the byte of every record.
    there_and_back(&lake, "plain_v2");
    lake.hide();
    let targets = moved_tables.map(|table| local(&table));
    assert_eq!(both(&targets), before);
}

fn there_and_back(lake: &Lake, name: &str) {
    let source = lake.table(name);
    let (from, to, back) = (lake.at("lake"), lake.at("there"), lake.at("back"));
    let uuid = source.table_uuid().expect("one").to_owned();
    let other = TableUuid::New("0".repeat(36));
    let (there, _) = moved(&source, &[(&from, &format!("file://{to}"))], other).expect("a move");
    let there = Metadata::fetch(&there.metadata, &crate::place::Local).expect("metadata");
    assert_ne!(
        decoded(&there).values().collect::<Vec<_>>(),
        decoded(&source).values().collect::<Vec<_>>()
    );
    let home = [(to.as_str(), format!("file://{back}"))];
    let home: Vec<(&str, &str)> = home.iter().map(|(from, to)| (*from, to.as_str())).collect();
    let (back_again, _) = moved(&there, &home, TableUuid::New(uuid)).expect("a move");
    let back_again = Metadata::fetch(&back_again.metadata, &crate::place::Local).expect("metadata");
    // As it would be if it had been made there.
    let renamed = String::from_utf8(source.text().to_vec()).expect("text");
    let renamed = renamed.replace(&from, &back);
    assert_eq!(String::from_utf8_lossy(back_again.text()), renamed);
    // Paths of the same length: every span of every record must come back.
    assert_eq!(from.len(), back.len());
    let replace = |bytes: &[u8]| {
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        text.replace(&from, &back)
    };
    let expected: Vec<String> = decoded(&source)
        .values()
        .map(|bytes| replace(bytes))
        .collect();
    let found: Vec<String> = decoded(&back_again)
        .values()
        .map(|bytes| bytes.iter().map(|byte| char::from(*byte)).collect())
        .collect();
    // Lengths of manifests differ by how they are compressed; the manifests themselves may not.
    let manifests = |all: &Metadata| {
        needed(all)
            .into_iter()
            .filter(|file| file.kind == Kind::Manifest)
            .count()
    };
    assert_eq!(manifests(&source), manifests(&back_again));
    let same = expected
        .iter()
        .filter(|records| found.contains(records))
        .count();
    assert!(same >= manifests(&source), "{same} of {}", expected.len());
}
