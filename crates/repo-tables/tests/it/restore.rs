//! Restores: to any store, last what leads to the rest, and nothing of others is overwritten.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use repo_core::{Quiet, Repository, SnapshotView};
use repo_tables::{
    Error, Lake, Location, RestoredTable, Result, TableRestore, drill_table, export_table,
    read_tables,
};
use repo_testkit::{AppendOnly, FaultStore, Verb};

use crate::fixture::{Bucket, add, metadata, place, protocol, remove, repository, take, view};

async fn restore(
    repository: &Repository,
    view: &SnapshotView,
    lake: &Lake,
    target: &Location,
    force: bool,
) -> Result<RestoredTable> {
    let table = read_tables(view).await.unwrap().remove(0);
    let job = TableRestore {
        repository,
        view,
        table: &table,
        target,
        force,
    };
    job.run(lake, Arc::new(Quiet)).await
}

/// A snapshot of a table of two commits; one of its files only the first version has.
async fn saved(bucket: &Bucket) -> (Repository, SnapshotView) {
    bucket.table("t", 5).await;
    let more = bucket
        .data("t", "p=a%2520b/more.bin".replace("%25", "%").as_str(), 300)
        .await;
    let mut more = more;
    more["add"]["path"] = "p=a%2520b/more.bin".into();
    bucket
        .commit("t", 1, &[more, remove("part-00000.bin")])
        .await;
    bucket
        .put("t/_delta_log/_last_checkpoint", "{\"version\":0}")
        .await;
    let repository = repository().await;
    let taken = take(&repository, bucket, "t").await.unwrap();
    let view = view(&repository, &taken);
    (repository, view)
}

async fn drill(view: &SnapshotView, lake: &Lake, target: &Location) -> Vec<String> {
    let table = read_tables(view).await.unwrap().remove(0);
    drill_table(view, lake, &table, target)
        .await
        .unwrap()
        .differences
}

#[tokio::test(flavor = "multi_thread")]
async fn to_another_prefix_of_a_store_metadata_last() {
    let store = Arc::new(FaultStore::in_memory());
    let bucket = Bucket::over(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let (repository, view) = saved(&bucket).await;
    let target = place("copy/t");
    let recording = store.recording();
    recording.clear();
    let restored = restore(&repository, &view, &bucket.lake, &target, false)
        .await
        .unwrap();
    assert_eq!((restored.files, restored.bytes_kept), (8, 0));
    let puts = recording.paths(Verb::Put);
    assert_eq!(puts.len(), 8);
    let last = [
        "copy/t/_delta_log/00000000000000000000.json",
        "copy/t/_delta_log/00000000000000000001.json",
    ];
    assert_eq!(puts[6..], last);
    assert_eq!(
        bucket.get("copy/t/p=a%20b/more.bin").await,
        bucket.get("t/p=a%20b/more.bin").await
    );
    assert_eq!(drill(&view, &bucket.lake, &target).await, [""; 0]);

    // Again: everything is there.
    recording.clear();
    let again = restore(&repository, &view, &bucket.lake, &target, false)
        .await
        .unwrap();
    assert_eq!((again.bytes_written, recording.count(Verb::Put)), (0, 0));

    // A harmed file is found by the drill, and mended.
    bucket.put("copy/t/part-00002.bin", vec![0; 1000]).await;
    bucket.delete("copy/t/part-00003.bin").await;
    let differences = drill(&view, &bucket.lake, &target).await;
    assert_eq!(differences.len(), 3, "{differences:?}");
    restore(&repository, &view, &bucket.lake, &target, false)
        .await
        .unwrap();
    assert_eq!(drill(&view, &bucket.lake, &target).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_place_keeps_what_the_store_says_is_the_same() {
    let store = Arc::new(FaultStore::in_memory());
    let bucket = Bucket::over(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let (repository, view) = saved(&bucket).await;
    bucket.delete("t/part-00001.bin").await;
    let recording = store.recording();
    recording.clear();
    let restored = restore(&repository, &view, &bucket.lake, &place("t"), false)
        .await
        .unwrap();
    assert_eq!(restored.bytes_written, 1000);
    assert_eq!(recording.paths(Verb::Put), ["t/part-00001.bin"]);
    assert_eq!(drill(&view, &bucket.lake, &place("t")).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_left_unless_forced() {
    let bucket = Bucket::new();
    let (repository, view) = saved(&bucket).await;
    // A newer version of the same table.
    bucket.commit("t", 2, &[add("part-00000.bin", 1000)]).await;
    let newer = restore(&repository, &view, &bucket.lake, &place("t"), false)
        .await
        .unwrap_err();
    assert!(
        newer
            .to_string()
            .contains("is a newer version of the table"),
        "{newer}"
    );
    // Another table.
    bucket
        .commit("other", 0, &[protocol(), metadata("somebody")])
        .await;
    let other = restore(&repository, &view, &bucket.lake, &place("other"), false)
        .await
        .unwrap_err();
    assert!(other.to_string().contains("is another table"), "{other}");
    // A copy that has gone its own way.
    let mine = metadata("t");
    bucket.commit("fork", 0, &[protocol(), mine]).await;
    bucket.commit("fork", 1, &[add("x", 1)]).await;
    let fork = restore(&repository, &view, &bucket.lake, &place("fork"), false)
        .await
        .unwrap_err();
    assert!(matches!(fork, Error::Occupied { .. }), "{fork}");
    // A table that cannot be read, and one of the other format.
    bucket.commit("broken", 0, &[protocol()]).await;
    let broken = restore(&repository, &view, &bucket.lake, &place("broken"), false)
        .await
        .unwrap_err();
    assert!(broken.to_string().contains("cannot be read"), "{broken}");
    bucket.put("ice/metadata/v1.metadata.json", "{}").await;
    let ice = restore(&repository, &view, &bucket.lake, &place("ice"), false)
        .await
        .unwrap_err();
    assert!(ice.to_string().contains("is an Iceberg table"), "{ice}");

    for path in ["t", "other", "fork", "broken"] {
        restore(&repository, &view, &bucket.lake, &place(path), true)
            .await
            .unwrap();
        assert_eq!(
            drill(&view, &bucket.lake, &place(path)).await,
            [""; 0],
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clone_is_restored_at_its_own_place_only() {
    let bucket = Bucket::new();
    bucket.put("origin/d.bin", "clone").await;
    bucket
        .commit(
            "t",
            0,
            &[
                protocol(),
                metadata("m"),
                add("memory://lake/origin/d.bin", 5),
            ],
        )
        .await;
    let repository = repository().await;
    let taken = take(&repository, &bucket, "t").await.unwrap();
    let view = view(&repository, &taken);
    let error = restore(&repository, &view, &bucket.lake, &place("copy"), false)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("memory://lake/origin/d.bin"),
        "{error}"
    );
    bucket.delete("origin/d.bin").await;
    restore(&repository, &view, &bucket.lake, &place("t"), false)
        .await
        .unwrap();
    assert_eq!(bucket.get("origin/d.bin").await, b"clone");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_local_disk_a_table_appears_in_one_step() {
    let bucket = Bucket::new();
    let (repository, view) = saved(&bucket).await;
    let directory = tempfile::tempdir().unwrap();
    let below = Location::from_user(directory.path().to_str().unwrap()).unwrap();
    let target = below.join("db/t").unwrap();
    // Part of an earlier run.
    std::fs::create_dir_all(directory.path().join("db/.t.repo-restore")).unwrap();
    let restored = restore(&repository, &view, &bucket.lake, &target, false)
        .await
        .unwrap();
    assert_eq!(restored.files, 8);
    let names: Vec<_> = std::fs::read_dir(directory.path().join("db"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["t"]);
    assert_eq!(drill(&view, &bucket.lake, &target).await, [""; 0]);
    std::fs::write(directory.path().join("db/t/part-00001.bin"), "harmed").unwrap();
    std::fs::write(
        directory.path().join("db/t/_delta_log/_last_checkpoint"),
        "{}",
    )
    .unwrap();
    restore(&repository, &view, &bucket.lake, &target, false)
        .await
        .unwrap();
    assert_eq!(drill(&view, &bucket.lake, &target).await, [""; 0]);
    assert!(
        !directory
            .path()
            .join("db/t/_delta_log/_last_checkpoint")
            .exists()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_where_nothing_can_be_changed() {
    let bucket = Bucket::new();
    let (repository, view) = saved(&bucket).await;
    let table = read_tables(&view).await.unwrap().remove(0);
    // Overwriting and deleting are refused there.
    let worm = Bucket::over(Arc::new(AppendOnly::new(Arc::new(InMemory::new()))));
    let to = place("worm");
    let quiet = || Arc::new(Quiet);
    let first = export_table(&view, &worm.lake, &table, &to, quiet());
    assert_eq!(first.await.unwrap().files_added, 8);
    let more = bucket.data("t", "later.bin", 100).await;
    bucket.commit("t", 2, &[more]).await;
    let taken = take(&repository, &bucket, "t").await.unwrap();
    let later = crate::fixture::view(&repository, &taken);
    for added in [2, 0] {
        let next = export_table(&later, &worm.lake, &table, &to, quiet());
        assert_eq!(next.await.unwrap().files_added, added);
    }
    assert_eq!(drill(&later, &worm.lake, &place("worm/t")).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_only_creates() {
    let store = Arc::new(FaultStore::in_memory());
    let bucket = Bucket::over(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let (repository, view) = saved(&bucket).await;
    let table = read_tables(&view).await.unwrap().remove(0);
    let to = place("worm");
    let export = async |view: &SnapshotView| {
        export_table(view, &bucket.lake, &table, &to, Arc::new(Quiet)).await
    };
    let first = export(&view).await.unwrap();
    assert_eq!((first.files_added, first.files_there), (8, 0));
    assert_eq!(drill(&view, &bucket.lake, &place("worm/t")).await, [""; 0]);
    let described = bucket.get(first.manifest.path()).await;
    let described: serde_json::Value = serde_json::from_slice(&described).unwrap();
    assert_eq!(described["tables"][0]["version"], 1);

    let more = bucket.data("t", "later.bin", 100).await;
    bucket.commit("t", 2, &[more]).await;
    let taken = take(&repository, &bucket, "t").await.unwrap();
    let later = crate::fixture::view(&repository, &taken);
    let recording = store.recording();
    recording.clear();
    let second = export(&later).await.unwrap();
    assert_eq!((second.files_added, second.files_there), (2, 8));
    assert_eq!(recording.count(Verb::Delete), 0);
    assert_eq!(recording.count(Verb::Put), 3, "two files and the manifest");
    assert_eq!(drill(&later, &bucket.lake, &place("worm/t")).await, [""; 0]);

    bucket.put("worm/t/later.bin", "other").await;
    let error = export(&later).await.unwrap_err();
    assert!(matches!(error, Error::Occupied { .. }), "{error}");
    assert_eq!(bucket.get("worm/t/later.bin").await, b"other");
}
