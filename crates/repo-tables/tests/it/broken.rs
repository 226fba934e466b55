//! Broken and hostile tables: each gets an error that says what is wrong and where, and nothing is skipped.

use std::collections::BTreeMap;

use repo_tables::iceberg::{
    Error, FileRef, Footer, Kind, Metadata, Prefixes, Relocation, Selection, TableUuid, files_of,
    relocate,
};
use serde_json::{Value as Json, json};

use crate::avro::Of;
use crate::avro_writer::{Value, container, put_long, raw_container};
use crate::table_writer::{Content, File, Files, LIST, Manifest, Place, Table, Written, puffin};

const PREFIX: &str = "s3://b/t";

fn table(contents: &[Content]) -> BTreeMap<String, Vec<u8>> {
    let files = contents.iter().map(|content| File {
        status: 1,
        content: *content,
        partition: Value::Record(Vec::new()),
        more: Value::Null,
    });
    let manifest = Manifest {
        partition: Of::Record(Vec::new()),
        more: Of::Null,
        blocks: vec![files.collect()],
    };
    let table = Table {
        codec: "deflate",
        manifests: vec![manifest],
    };
    Place::new(&table, PREFIX, false).files()
}

fn at(name: &str) -> String {
    format!("{PREFIX}/metadata/{name}")
}

/// What listing and moving a table say.
#[track_caller]
fn refusals(files: BTreeMap<String, Vec<u8>>, from: &str) -> [Result<usize, Error>; 2] {
    let files = Files::of(files);
    let metadata = match Metadata::fetch(&at("v1.metadata.json"), &files) {
        Ok(metadata) => metadata,
        Err(error) => return [Err(error), Ok(0)],
    };
    let mut found: Vec<FileRef> = Vec::new();
    let listed = files_of(&metadata, &Selection::Retained, &files, &mut |file| {
        found.push(file);
        Ok(())
    });
    let relocation = Relocation {
        prefixes: Prefixes::new([(from, "/elsewhere")]).expect("prefixes"),
        uuid: TableUuid::Keep,
    };
    let moved = relocate(&metadata, &relocation, &files, &Written::default());
    [
        listed.map(|_| found.len()),
        moved.map(|moved| usize::try_from(moved.copied + moved.rewritten).expect("few")),
    ]
}

#[track_caller]
fn listing_says(files: BTreeMap<String, Vec<u8>>, expected: &str) {
    let [listed, _] = refusals(files, PREFIX);
    assert_eq!(listed.expect_err("an error").to_string(), expected);
}

#[track_caller]
fn move_says(files: BTreeMap<String, Vec<u8>>, from: &str, expected: &str) {
    let [_, moved] = refusals(files, from);
    assert_eq!(moved.expect_err("an error").to_string(), expected);
}

/// The table with one member of its metadata exchanged.
fn with(name: &str, value: Json) -> BTreeMap<String, Vec<u8>> {
    let mut files = table(&[Content::Data]);
    let text = json!({"format-version": 2, "location": PREFIX,
        "snapshots": [{"snapshot-id": 1, "manifest-list": at("snap-0.avro")}]});
    let mut text = text;
    text[name] = value;
    files.insert(at("v1.metadata.json"), text.to_string().into_bytes());
    files
}

#[test]
fn the_table_itself_is_sound() {
    for contents in [vec![Content::Data], vec![Content::PositionDeletes(3, true)]] {
        let [listed, moved] = refusals(table(&contents), PREFIX);
        assert_eq!(listed.expect("files"), 4);
        assert_eq!(moved.expect("a move"), 4);
    }
}

#[test]
fn missing_files_are_named() {
    for name in ["m0.avro", "snap-0.avro", "v1.metadata.json"] {
        let mut files = table(&[Content::Data]);
        assert!(files.remove(&at(name)).is_some());
        let [listed, moved] = refusals(files.clone(), PREFIX);
        assert!(listed.expect_err("an error").is_not_found());
        assert!(moved.is_err() || name == "v1.metadata.json");
        listing_says(files, &format!("cannot read s3://b/t/metadata/{name}"));
    }
    let mut files = table(&[Content::PositionDeletes(1, true)]);
    assert!(files.remove("s3://b/t/data/0-0-0").is_some());
    move_says(files, PREFIX, "cannot read s3://b/t/data/0-0-0");
}

#[test]
fn files_that_end_early_are_named() {
    for name in ["m0.avro", "snap-0.avro"] {
        let whole = table(&[Content::Data])[&at(name)].clone();
        for length in (0..whole.len()).step_by(13) {
            let mut files = table(&[Content::Data]);
            files.insert(at(name), whole[..length].to_vec());
            let [listed, moved] = refusals(files, PREFIX);
            match listed {
                Err(error) => assert!(error.to_string().contains(name), "{error}"),
                // A header without blocks is a list of nothing; its length in the list is not believed.
                Ok(_) => assert!(moved.is_ok()),
            }
        }
    }
}

#[test]
fn kinds_are_not_taken_for_others() {
    let swap = |name: &str, with: &str| {
        let mut files = table(&[Content::Data]);
        let other = files[&at(with)].clone();
        files.insert(at(name), other);
        files
    };
    listing_says(
        swap("snap-0.avro", "m0.avro"),
        "s3://b/t/metadata/snap-0.avro: not a manifest list",
    );
    listing_says(
        swap("m0.avro", "snap-0.avro"),
        "s3://b/t/metadata/m0.avro: not a manifest",
    );
    // A list that names itself does not run round.
    let mut files = table(&[Content::Data]);
    let itself = Value::Record(vec![
        Value::text(&at("snap-0.avro")),
        Value::Long(1),
        Value::Long(0),
        Value::none(),
    ]);
    files.insert(at("snap-0.avro"), container(LIST, "null", &[vec![itself]]));
    let twice = "s3://b/t/metadata/snap-0.avro is named as a manifest list and as a manifest";
    listing_says(files.clone(), twice);
    move_says(files, PREFIX, twice);
    let log = json!([{"metadata-file": at("snap-0.avro"), "timestamp-ms": 0}]);
    listing_says(
        with("metadata-log", log),
        "s3://b/t/metadata/snap-0.avro is named as a old metadata and as a manifest list",
    );
}

#[test]
fn declared_lengths_are_not_believed() {
    let mut record = Vec::new();
    put_long(&mut record, i64::MAX);
    let huge = raw_container(LIST, "null", &[(1, record)]);
    let mut files = table(&[Content::Data]);
    files.insert(at("snap-0.avro"), huge);
    listing_says(
        files,
        "s3://b/t/metadata/snap-0.avro: avro ends early: text at byte 10",
    );
    let mut files = table(&[Content::Data]);
    files.insert(at("m0.avro"), b"Obj\x01\xff\xff\xff\xff\x0f".to_vec());
    let [listed, _] = refusals(files, PREFIX);
    assert!(matches!(listed, Err(Error::Avro { .. })));
}

#[test]
fn paths_that_lead_out_are_refused() {
    for path in ["s3://b/t/../other/x.avro", "s3://b/t/.."] {
        let snapshots = json!([{"snapshot-id": 1, "manifest-list": path}]);
        let said = format!(
            "{path}, named by s3://b/t/metadata/v1.metadata.json, leads out of its place with .."
        );
        listing_says(with("snapshots", snapshots.clone()), &said);
        move_says(with("snapshots", snapshots), PREFIX, &said);
    }
    let location = json!("s3://b/t/../u");
    let [_, moved] = refusals(with("location", location), PREFIX);
    assert!(matches!(moved, Err(Error::Escape { .. })));
}

#[test]
fn locations_outside_of_the_prefixes_are_named() {
    move_says(
        table(&[Content::Data]),
        "s3://b/t/metadata",
        "s3://b/t/data/0-0-0, named by s3://b/t/metadata/m0.avro, is below none of the prefixes that move",
    );
    let property = json!({"write.data.path": "s3://other/data"});
    move_says(
        with("properties", property),
        PREFIX,
        "s3://other/data, named by s3://b/t/metadata/v1.metadata.json, is below none of the prefixes that move",
    );
}

#[test]
fn encrypted_tables_are_refused_with_the_reason() {
    let why = "which files it has, and where, can be read and rewritten only with its keys, which \
               this program has no access to";
    let keys = json!([{"key-id": "k", "encrypted-key-metadata": "AA=="}]);
    listing_says(
        with("encryption-keys", keys),
        &format!(
            "s3://b/t/metadata/v1.metadata.json: the table is encrypted (it holds encryption keys): {why}"
        ),
    );
    let property = json!({"encryption.key-id": "k"});
    let key_of_snapshot = json!([{"snapshot-id": 1, "manifest-list": "/l", "key-id": "k"}]);
    for files in [
        with("properties", property),
        with("snapshots", key_of_snapshot),
    ] {
        let [listed, _] = refusals(files, PREFIX);
        assert!(matches!(listed, Err(Error::Encrypted { .. })));
    }
    let keyed = Value::Record(vec![
        Value::text(&at("m0.avro")),
        Value::Long(1),
        Value::Long(0),
        Value::text("key").some(),
    ]);
    let mut files = table(&[Content::Data]);
    files.insert(at("snap-0.avro"), container(LIST, "null", &[vec![keyed]]));
    for refusal in refusals(files, PREFIX) {
        assert!(matches!(refusal, Err(Error::Encrypted { .. })));
    }
}

#[test]
fn unknown_formats_and_broken_metadata_are_refused() {
    listing_says(
        with("format-version", json!(4)),
        "s3://b/t/metadata/v1.metadata.json: iceberg format version 4 is not supported, only 1, 2 and 3 are",
    );
    for text in [
        &b""[..],
        b"{}",
        b"[]",
        b"\x1f\x8b\x08",
        b"{\"format-version\":2",
    ] {
        let mut files = table(&[Content::Data]);
        files.insert(at("v1.metadata.json"), text.to_vec());
        let [listed, _] = refusals(files, PREFIX);
        assert!(matches!(listed, Err(Error::Malformed { .. })), "{text:?}");
    }
    for selection in [
        Selection::Snapshot(7),
        Selection::Reference("tag".to_owned()),
        Selection::AsOf(0),
    ] {
        let files = Files::of(table(&[Content::Data]));
        let metadata = Metadata::fetch(&at("v1.metadata.json"), &files).expect("metadata");
        assert!(matches!(
            metadata.select(&selection),
            Err(Error::NoSnapshot { .. })
        ));
    }
}

#[test]
fn old_metadata_may_be_gone_and_nothing_else_may() {
    let log = json!([{"metadata-file": at("v0.metadata.json"), "timestamp-ms": 0}]);
    let files = Files::of(with("metadata-log", log));
    let metadata = Metadata::fetch(&at("v1.metadata.json"), &files).expect("metadata");
    let relocation = Relocation {
        prefixes: Prefixes::new([(PREFIX, "/elsewhere")]).expect("prefixes"),
        uuid: TableUuid::Keep,
    };
    let moved = relocate(&metadata, &relocation, &files, &Written::default()).expect("a move");
    assert_eq!(moved.old_metadata_gone, 1);
    let mut kinds = Vec::new();
    files_of(&metadata, &Selection::Retained, &files, &mut |file| {
        kinds.push(file.kind);
        Ok(())
    })
    .expect("files");
    let may: Vec<Kind> = kinds
        .into_iter()
        .filter(|kind| kind.may_be_gone())
        .collect();
    assert_eq!(may, [Kind::OldMetadata]);
}

#[test]
fn broken_puffin_files_are_refused() {
    let payload = br#"{"blobs":[]}"#;
    let sound = puffin(payload, 0);
    let footer = Footer::parse(&sound, "p").expect("a footer");
    assert_eq!(footer.payload(&sound), payload);
    for length in 0..sound.len() {
        assert!(Footer::parse(&sound[..length], "p").is_err(), "{length}");
    }
    let compressed = Footer::parse(&puffin(payload, 1), "p").expect_err("it is compressed");
    assert_eq!(
        compressed.to_string(),
        "p: a compressed puffin footer, which is not supported"
    );
    let length_at = sound.len() - 12;
    for length in [i32::MAX, i32::MIN, -1, 11, 13, 100] {
        let mut other = sound.clone();
        other[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        assert!(Footer::parse(&other, "p").is_err(), "{length}");
    }
    let mut files = table(&[Content::DeletionVectors]);
    files.insert("s3://b/t/data/0-0-0".to_owned(), puffin(b"{", 0));
    let [_, moved] = refusals(files, PREFIX);
    assert!(matches!(moved, Err(Error::Malformed { .. })));
}
