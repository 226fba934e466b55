//! Iceberg tables in the engine: requests of an unchanged one, an expiry meanwhile, what is pinned, and what
//! is in the way of a restore.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::{Arc, Mutex};

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use repo_core::{Quiet, Repository, SnapshotOptions, SnapshotView};
use repo_tables::{
    At, Error, Identity, RestoredTable, Result, Source, TableRestore, TablesOptions, drill_table,
    export_table, read_files, read_tables, snapshot_tables,
};
use repo_testkit::{FaultStore, Verb};
use serde_json::json;

use crate::avro_writer::{Value, container};
use crate::fixture::{Bucket, place, repository, take, view};
use crate::meddling::Meddling;
use crate::scale;
use crate::table_writer::LIST;

/// Puts a version of a table: a snapshot for each list of manifests, which have a hundred files each.
async fn version(bucket: &Bucket, number: u64, snapshots: &[Vec<usize>]) {
    let root = "memory://lake/t";
    let mut listed = Vec::new();
    for (at, manifests) in snapshots.iter().enumerate() {
        let id = manifests.iter().sum::<usize>() + 1;
        let mut records = Vec::new();
        for manifest in manifests {
            let bytes = scale::manifest(root, *manifest);
            let name = format!("metadata/m{manifest}.avro");
            records.push(Value::Record(vec![
                Value::text(&format!("{root}/{name}")),
                Value::Long(bytes.len() as i64),
                Value::Long(0),
                Value::none(),
            ]));
            if bucket
                .objects
                .head(&format!("t/{name}").into())
                .await
                .is_ok()
            {
                continue;
            }
            bucket.put(&format!("t/{name}"), bytes).await;
            for path in scale::paths("t", *manifest) {
                bucket.put(&path, path.as_bytes()).await;
            }
        }
        let list = format!("metadata/snap-{id}.avro");
        if bucket
            .objects
            .head(&format!("t/{list}").into())
            .await
            .is_err()
        {
            let bytes = container(LIST, "deflate", &[records]);
            bucket.put(&format!("t/{list}"), bytes).await;
        }
        listed.push(json!({"snapshot-id": id, "timestamp-ms": (at + 1) * 1000,
            "manifest-list": format!("{root}/{list}"),
            "summary": {"total-records": (manifests.len() * 100_000).to_string(),
                "total-delete-files": "0"}}));
    }
    let current = listed.last().unwrap()["snapshot-id"].clone();
    let log: Vec<_> = listed
        .iter()
        .map(|one| json!({"snapshot-id": one["snapshot-id"], "timestamp-ms": one["timestamp-ms"]}))
        .collect();
    let text = json!({"format-version": 2, "table-uuid": "u", "location": root,
        "last-updated-ms": number * 1000, "current-snapshot-id": current, "snapshots": listed,
        "snapshot-log": log, "refs": {"main": {"snapshot-id": current, "type": "branch"}},
        "current-schema-id": 0, "schemas": [{"schema-id": 0, "fields": [
            {"id": 1, "name": "a", "required": true, "type": "long"}]}]});
    let name = format!("t/metadata/v{number}.metadata.json");
    bucket.put(&name, text.to_string()).await;
}

async fn take_at(repository: &Repository, bucket: &Bucket, at: At) -> Result<SnapshotView> {
    let sources = [Source {
        name: None,
        place: place("t"),
    }];
    let tables = TablesOptions {
        at,
        ..TablesOptions::default()
    };
    let options = SnapshotOptions::default();
    let quiet = Arc::new(Quiet);
    let taken = snapshot_tables(repository, &bucket.lake, &sources, &tables, &options, quiet);
    Ok(view(repository, &taken.await?))
}

async fn restore(
    repository: &Repository,
    view: &SnapshotView,
    bucket: &Bucket,
    target: &str,
    force: bool,
) -> Result<RestoredTable> {
    let table = read_tables(view).await.unwrap().remove(0);
    let job = TableRestore {
        repository,
        view,
        table: &table,
        target: &place(target),
        force,
    };
    job.run_as(&bucket.lake, Identity::New, Arc::new(Quiet))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_iceberg_table_costs_its_listings() {
    let store = Arc::new(FaultStore::in_memory());
    let bucket = Bucket::over(Arc::clone(&store) as Arc<dyn ObjectStore>);
    version(&bucket, 1, &[(0..5).collect(), (0..10).collect()]).await;
    let repository = repository().await;
    let recording = store.recording();
    let first = take(&repository, &bucket, "t").await.unwrap();
    // A thousand files of data, ten manifests, two lists, one version.
    assert_eq!(first.tables[0].files, 1013);
    assert_eq!(first.tables[0].rows, Some(1_000_000));

    recording.clear();
    let second = take(&repository, &bucket, "t").await.unwrap();
    assert_eq!(recording.count(Verb::Get), 0, "{:?}", recording.requests());
    assert!(recording.total() <= 8, "{:?}", recording.requests());
    assert_eq!(second.tables[0].new_files, [""; 0]);
    let new = second.snapshot.snapshot.stats.bytes_new;
    assert!(new < 4096, "{new} bytes are new");

    // One more manifest costs its files and what leads to them.
    version(&bucket, 2, &[(0..10).collect(), (0..11).collect()]).await;
    recording.clear();
    let third = take(&repository, &bucket, "t").await.unwrap();
    assert_eq!(third.tables[0].new_files.len(), 100 + 1 + 1 + 1);
    assert!(
        recording.count(Verb::Get) <= 110 + 20,
        "{:?}",
        recording.count(Verb::Get)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_meanwhile_makes_it_take_the_newest_version() {
    // While a file of data is read, and while the manifests are.
    for at in ["m0.avro", "00000050-60aae.parquet"] {
        let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let plain = Bucket::over(Arc::clone(&memory));
        version(&plain, 1, &[vec![0]]).await;
        let runtime = tokio::runtime::Handle::current();
        let act = move || {
            runtime.block_on(async {
                version(&plain, 2, &[vec![1]]).await;
                for path in scale::paths("t", 0) {
                    plain.delete(&path).await;
                }
                plain.delete("t/metadata/m0.avro").await;
                plain.delete("t/metadata/snap-1.avro").await;
            });
        };
        let bucket = Bucket::over(Arc::new(Meddling {
            inner: memory,
            before: at,
            act: Mutex::new(Some(Box::new(act))),
        }));
        let repository = repository().await;
        let taken = take(&repository, &bucket, "t").await.unwrap();
        assert_eq!(taken.tables[0].version, 2, "{at}");
        let view = view(&repository, &taken);
        let files = read_files(&view, "t").await.unwrap();
        assert_eq!(files.len(), 103, "{at}");
        for file in files {
            let path = format!("tables/t/{}", file.path);
            view.entry(path.as_bytes()).await.unwrap();
        }
        let gone = view.entry(b"tables/t/table/metadata/m0.avro").await;
        assert!(
            gone.is_err(),
            "what the newer version does not have is not kept"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_there_fails_the_snapshot() {
    let bucket = Bucket::new();
    version(&bucket, 1, &[vec![0]]).await;
    bucket.delete(&scale::paths("t", 0)[7]).await;
    let repository = repository().await;
    let error = take(&repository, &bucket, "t").await.unwrap_err();
    assert!(matches!(error, Error::Vanished { .. }), "{error}");
    bucket.delete("t/metadata/m0.avro").await;
    let error = take(&repository, &bucket, "t").await.unwrap_err();
    assert!(error.to_string().contains("m0.avro"), "{error}");
    assert!(repository.snapshots().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_snapshot_of_a_table_is_pinned() {
    let bucket = Bucket::new();
    version(&bucket, 3, &[vec![0], vec![1, 2]]).await;
    let repository = repository().await;
    for (at, id, files) in [
        (At::Version(1), 1, 103),
        (At::Time(1500), 1, 103),
        (At::Time(2000), 4, 204),
        (At::Ref("main".to_owned()), 4, 204),
    ] {
        let view = take_at(&repository, &bucket, at.clone()).await.unwrap();
        let table = read_tables(&view).await.unwrap().remove(0);
        assert_eq!((table.version, table.files), (id, files), "{at:?}");
        let metadata = table.metadata_location.unwrap();
        assert_eq!(metadata, "memory://lake/t/metadata/v4.metadata.json");
    }
    for at in [At::Version(9), At::Time(1), At::Ref("none".to_owned())] {
        let taken = take_at(&repository, &bucket, at).await;
        assert!(matches!(taken, Err(Error::Iceberg(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_written_last_and_nothing_else_is_replaced() {
    let store = Arc::new(FaultStore::in_memory());
    let bucket = Bucket::over(Arc::clone(&store) as Arc<dyn ObjectStore>);
    version(&bucket, 1, &[vec![0]]).await;
    let repository = repository().await;
    let old = take_at(&repository, &bucket, At::Newest).await.unwrap();
    version(&bucket, 2, &[vec![0], vec![0, 1]]).await;
    let new = take_at(&repository, &bucket, At::Newest).await.unwrap();

    let recording = store.recording();
    recording.clear();
    restore(&repository, &new, &bucket, "copy", false)
        .await
        .unwrap();
    let puts = recording.paths(Verb::Put);
    let last = [
        "copy/metadata/v2.metadata.json",
        "copy/metadata/version-hint.text",
    ];
    assert_eq!(puts[puts.len() - 2..], last);
    assert!(
        puts[..200].iter().all(|path| path.contains("/data/")),
        "{puts:?}"
    );
    // The older version does not replace the newer one, unless it is forced to.
    let refused = restore(&repository, &old, &bucket, "copy", false)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("newer version"), "{refused}");
    restore(&repository, &old, &bucket, "copy", true)
        .await
        .unwrap();
    let table = read_tables(&old).await.unwrap().remove(0);
    let drilled = drill_table(&old, &bucket.lake, &table, &place("copy"))
        .await
        .unwrap();
    // The files of this table are no Parquet.
    let other = drilled
        .differences
        .iter()
        .filter(|line| !line.contains(".parquet"));
    assert_eq!(other.count(), 1, "{:?}", drilled.differences);

    // In place the newer version goes, too, and the bytes are what they were.
    let before = bucket.get("t/metadata/v1.metadata.json").await;
    assert!(
        restore(&repository, &old, &bucket, "t", false)
            .await
            .is_err()
    );
    restore(&repository, &old, &bucket, "t", true)
        .await
        .unwrap();
    assert_eq!(bucket.get("t/metadata/v1.metadata.json").await, before);
    assert_eq!(bucket.get("t/metadata/version-hint.text").await, b"1");
    let again = take_at(&repository, &bucket, At::Newest).await.unwrap();
    assert_eq!(read_tables(&again).await.unwrap()[0].version, 1);

    // An export leaves what is there, and is not left by what is in its way.
    let to = place("native");
    let export = || export_table(&old, &bucket.lake, &table, &to, Arc::new(Quiet));
    assert_eq!(export().await.unwrap().files_there, 0);
    recording.clear();
    assert_eq!(export().await.unwrap().files_added, 0);
    assert_eq!(recording.count(Verb::Put), 0);
    bucket.put("native/t/metadata/m0.avro", "else").await;
    assert!(matches!(export().await, Err(Error::Occupied { .. })));
}
