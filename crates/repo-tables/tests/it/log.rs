//! What a log says: live files, checkpoints of all kinds, paths, and what is refused.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeSet;

use repo_tables::{At, DeltaOptions, FileKind, Result, Table, pin_delta};
use serde_json::{Value, json};

use crate::checkpoints::checkpoint;
use crate::fixture::{Bucket, add, blocking, metadata, place, protocol, remove};

async fn pin(bucket: &Bucket, at: At) -> Result<Table> {
    pin_with(bucket, at, DeltaOptions::default()).await
}

async fn pin_with(bucket: &Bucket, at: At, options: DeltaOptions) -> Result<Table> {
    let lake = bucket.lake.clone();
    blocking(move || pin_delta(&lake, &place("t"), &at, options)).await
}

/// Places of files of one kind, below the table where they are.
fn files(table: &Table, kind: FileKind) -> BTreeSet<String> {
    let files = table.files.iter().filter(|file| file.kind == kind);
    let paths = files.map(|file| match place("t").relative(&file.location) {
        Some(below) => below.to_owned(),
        None => file.location.to_string(),
    });
    paths.collect()
}

fn set(paths: &[&str]) -> BTreeSet<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

async fn refused(bucket: &Bucket, said: &str) {
    let error = pin(bucket, At::Newest).await.unwrap_err();
    let shown = error.to_string();
    assert!(shown.contains(said), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_action_of_a_file_counts() {
    let bucket = Bucket::new();
    bucket
        .commit(
            "t",
            0,
            &[protocol(), metadata("m"), add("a", 5), add("b", 5)],
        )
        .await;
    bucket
        .commit(
            "t",
            1,
            &[remove("a"), add("c", 5), json!({"commitInfo": {}})],
        )
        .await;
    bucket.commit("t", 2, &[add("a", 6), remove("b")]).await;
    let table = pin(&bucket, At::Newest).await.unwrap();
    assert_eq!((table.version, table.rows), (2, Some(20)));
    assert_eq!(files(&table, FileKind::Data), set(&["a", "c"]));
    assert_eq!(files(&table, FileKind::Commit).len(), 3);
    assert_eq!(table.columns[0], ("id".to_owned(), "long".to_owned()));
    assert_eq!(table.columns.len(), 2);
    for (version, expected) in [(0, set(&["a", "b"])), (1, set(&["b", "c"]))] {
        let table = pin(&bucket, At::Version(version)).await.unwrap();
        assert_eq!(files(&table, FileKind::Data), expected);
    }
    assert!(pin(&bucket, At::Version(3)).await.is_err());
    assert!(pin(&bucket, At::Time(0)).await.is_err());
    let table = pin(&bucket, At::Time(i64::MAX)).await.unwrap();
    assert_eq!(table.version, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_in_commits_count_before_those_of_files() {
    let bucket = Bucket::new();
    let said = |time: i64| json!({"commitInfo": {"inCommitTimestamp": time}});
    bucket
        .commit("t", 0, &[said(1000), protocol(), metadata("m")])
        .await;
    bucket.commit("t", 1, &[said(2000), add("a", 5)]).await;
    bucket.commit("t", 2, &[said(3000), add("b", 5)]).await;
    for (time, version) in [(1000, 0), (1999, 0), (2000, 1), (9000, 2)] {
        let table = pin(&bucket, At::Time(time)).await.unwrap();
        assert_eq!(table.version, version, "{time}");
    }
    assert!(pin(&bucket, At::Time(999)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_files_and_tell_files_apart() {
    let bucket = Bucket::new();
    let vector = |kind: &str, path: &str, offset: i64| {
        json!({"storageType": kind,
        "pathOrInlineDv": path, "offset": offset, "sizeInBytes": 30, "cardinality": 3})
    };
    let with = |path: &str, vector: &Value| {
        let mut action = add(path, 5);
        action["add"]["deletionVector"] = vector.clone();
        action
    };
    let features = json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"]}});
    bucket
        .commit(
            "t",
            0,
            &[
                features,
                metadata("m"),
                add("a", 5),
                add("b", 5),
                add("c", 5),
                add("d", 5),
            ],
        )
        .await;
    let one = vector("u", "ab^-aqEH.-t@S}K{vb[*k^", 1);
    let inline = vector("i", "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L", 0);
    let two = vector("u", "ab^-aqEH.-t@S}K{vb[*k^", 40);
    let far = vector("p", "memory://other/x/deletion_vector_1.bin", 1);
    bucket
        .commit(
            "t",
            1,
            &[
                remove("a"),
                with("a", &one),
                remove("b"),
                with("b", &inline),
                remove("c"),
                with("c", &two),
                remove("d"),
                with("d", &far),
            ],
        )
        .await;
    let mut gone = remove("a");
    gone["remove"]["deletionVector"] = one;
    let table = pin(&bucket, At::Newest).await.unwrap();
    assert_eq!(files(&table, FileKind::Data), set(&["a", "b", "c", "d"]));
    let shared = "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin";
    let expected = set(&[shared, "memory://other/x/deletion_vector_1.bin"]);
    assert_eq!(files(&table, FileKind::Deletes), expected);
    assert_eq!(table.rows, Some(28));
    bucket.commit("t", 2, &[gone]).await;
    let table = pin(&bucket, At::Newest).await.unwrap();
    assert_eq!(files(&table, FileKind::Data), set(&["b", "c", "d"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn change_data_is_taken_when_asked_for() {
    let bucket = Bucket::new();
    let change = json!({"cdc": {"path": "_change_data/x", "partitionValues": {}, "size": 3}});
    bucket
        .commit("t", 0, &[protocol(), metadata("m"), add("a", 5), change])
        .await;
    let table = pin(&bucket, At::Newest).await.unwrap();
    assert_eq!(files(&table, FileKind::Changes), set(&[]));
    let options = DeltaOptions {
        change_data: true,
        history: false,
    };
    let table = pin_with(&bucket, At::Newest, options).await.unwrap();
    assert_eq!(files(&table, FileKind::Changes), set(&["_change_data/x"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reader_would_have_to_know_is_refused() {
    let protocol = |reader: u32, features: &[&str]| {
        json!({"protocol": {"minReaderVersion": reader,
        "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}})
    };
    for (protocol, said) in [
        (protocol(4, &[]), "reader version 4"),
        (protocol(3, &["adaptiveMetadata"]), "\"adaptiveMetadata\""),
        (protocol(3, &["catalogManaged"]), "managed by a catalog"),
        (
            protocol(3, &["catalogOwned-preview"]),
            "managed by a catalog",
        ),
    ] {
        let bucket = Bucket::new();
        bucket.commit("t", 0, &[protocol, metadata("m")]).await;
        refused(&bucket, said).await;
    }
    let bucket = Bucket::new();
    let known = protocol(3, &["deletionVectors", "columnMapping", "v2Checkpoint"]);
    bucket.commit("t", 0, &[known, metadata("m")]).await;
    assert!(pin(&bucket, At::Newest).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_log_is_told_by_its_file() {
    let bucket = Bucket::new();
    refused(&bucket, "no table at memory://lake/t").await;
    bucket.commit("t", 0, &[protocol()]).await;
    refused(&bucket, "its log has no metadata").await;
    bucket
        .commit("t", 0, &[protocol(), metadata("m"), add("../../x", 1)])
        .await;
    refused(&bucket, "\"../../x\" is not a usable location").await;
    bucket.commit("t", 0, &[protocol(), metadata("m")]).await;
    bucket.commit("t", 2, &[add("a", 1)]).await;
    refused(&bucket, "00000000000000000001.json not found").await;
    bucket
        .put("t/_delta_log/00000000000000000001.json", "{\"add\":")
        .await;
    refused(
        &bucket,
        "00000000000000000001.json is not valid: line 1 is no action",
    )
    .await;
    bucket
        .put(
            "t/_delta_log/00000000000000000001.checkpoint.parquet",
            "PAR1nonsensePAR1",
        )
        .await;
    refused(&bucket, "it cannot be read as Parquet").await;
}

/// Files of a checkpoint, and how many the table then has.
type Kind = (Vec<(String, Vec<u8>)>, usize);

/// The same checkpoint of version 3 in all its kinds.
fn kinds(sides: &[(&str, i64)]) -> Vec<Kind> {
    let name = |rest: &str| format!("t/_delta_log/{:020}.checkpoint.{rest}", 3);
    let uuid = "80a083e8-7026-4e79-81be-64bd76c43a11";
    let mut lines = vec![
        json!({"checkpointMetadata": {"version": 3}}),
        protocol(),
        metadata("m"),
    ];
    lines.extend(sides.iter().map(|(path, size)| {
        json!({"sidecar": {"path": path, "sizeInBytes": size, "modificationTime": 1}})
    }));
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    let part = |number: u32| name(&format!("{number:010}.0000000002.parquet"));
    let whole = checkpoint(&["a", "b"], true, &[]);
    let parts = [
        checkpoint(&["a"], true, &[]),
        checkpoint(&["b"], false, &[]),
    ];
    let [one, other] = parts;
    let named = checkpoint(&[], true, sides);
    vec![
        (vec![(name("parquet"), whole)], 1),
        (vec![(part(1), one), (part(2), other)], 2),
        (vec![(name("parquet"), named.clone())], 3),
        (vec![(name(&format!("{uuid}.parquet")), named)], 3),
        (
            vec![(name(&format!("{uuid}.json")), lines.join("\n").into_bytes())],
            3,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_of_all_kinds_say_the_same() {
    let sides = [
        ("s1.parquet", checkpoint(&["a"], false, &[])),
        ("s2.parquet", checkpoint(&["b"], false, &[])),
    ];
    let sizes = sides
        .each_ref()
        .map(|(name, bytes)| (*name, i64::try_from(bytes.len()).unwrap()));
    for (parts, count) in kinds(&sizes) {
        let bucket = Bucket::new();
        for (name, bytes) in &sides {
            let path = format!("t/_delta_log/_sidecars/{name}");
            bucket.put(&path, bytes.clone()).await;
        }
        // An incomplete checkpoint that is newer is none.
        let partial = format!("{:020}.checkpoint.0000000001.0000000002.parquet", 4);
        let partial = format!("t/_delta_log/{partial}");
        bucket.put(&partial, sides[0].1.clone()).await;
        for (path, bytes) in parts {
            bucket.put(&path, bytes).await;
        }
        bucket.commit("t", 3, &[add("b", 5)]).await;
        bucket.commit("t", 4, &[remove("a"), add("c", 5)]).await;
        let hint = "t/_delta_log/_last_checkpoint";
        bucket.put(hint, "{\"version\":3,\"size\":4}").await;
        let table = pin(&bucket, At::Newest).await.unwrap();
        assert_eq!(files(&table, FileKind::Data), set(&["b", "c"]));
        assert_eq!(files(&table, FileKind::Checkpoint).len(), count);
        // Its own commit is kept.
        assert_eq!(files(&table, FileKind::Commit).len(), 2);
        assert_eq!((table.version, table.rows), (4, Some(20)));
        // A hint past the end is passed over.
        bucket.put(hint, "{\"version\":9,\"size\":4}").await;
        assert_eq!(pin(&bucket, At::Newest).await.unwrap().version, 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_is_mostly_a_dictionary_is_read() {
    let paths: Vec<String> = (0..2000).map(|file| format!("{file:040}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let bucket = Bucket::new();
    let path = "t/_delta_log/00000000000000000003.checkpoint.parquet";
    bucket.put(path, checkpoint(&paths, true, &[])).await;
    let table = pin(&bucket, At::Newest).await.unwrap();
    assert_eq!(files(&table, FileKind::Data), set(&paths));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_checkpoint_is_an_error_and_not_a_panic() {
    let whole = checkpoint(&["a", "b"], true, &[]);
    let bucket = Bucket::new();
    let path = "t/_delta_log/00000000000000000003.checkpoint.parquet";
    for length in (0..whole.len()).step_by(7) {
        bucket.put(path, whole[..length].to_vec()).await;
        assert!(pin(&bucket, At::Newest).await.is_err(), "{length}");
    }
    for at in (0..whole.len()).step_by(3) {
        let mut harmed = whole.clone();
        harmed[at] ^= 0x55;
        bucket.put(path, harmed).await;
        // A flip may hit what nobody reads; what counts is that it ends.
        drop(pin(&bucket, At::Newest).await);
    }
}
