//! Older versions: what is left of them is saved, and a reader can go back to them after a restore.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeSet;
use std::sync::Arc;

use object_store::ObjectStore;
use repo_core::{Quiet, Repository, SnapshotOptions, SnapshotView};
use repo_tables::{
    At, DeltaOptions, FileKind, Source, TableRestore, TablesOptions, pin_delta, read_files,
    read_tables, snapshot_tables,
};
use repo_testkit::{FaultStore, Verb};

use crate::checkpoints::checkpoint;
use crate::fixture::{
    Bucket, add, blocking, metadata, place, protocol, remove, repository, take, view,
};

/// Versions 0 to 4: `a`, then `a b`, then `b` in a checkpoint, then `b c`, then `c`.
async fn table(bucket: &Bucket) {
    let data = async |name| bucket.data("t", name, 5).await;
    let (a, b, c) = (data("a").await, data("b").await, data("c").await);
    bucket.commit("t", 0, &[protocol(), metadata("m"), a]).await;
    bucket.commit("t", 1, &[b]).await;
    bucket.commit("t", 2, &[remove("a")]).await;
    let path = format!("t/_delta_log/{:020}.checkpoint.parquet", 2);
    bucket.put(&path, checkpoint(&["b"], true, &[])).await;
    bucket.commit("t", 3, &[c]).await;
    bucket.commit("t", 4, &[remove("b")]).await;
}

/// Names of the live files of a version of the table at `path`.
async fn live(bucket: &Bucket, path: &'static str, version: i64) -> Option<BTreeSet<String>> {
    let lake = bucket.lake.clone();
    let at = At::Version(version);
    let pinned = blocking(move || pin_delta(&lake, &place(path), &at, DeltaOptions::default()));
    let pinned = pinned.await.ok()?;
    let data = pinned.files.into_iter();
    let data = data.filter(|file| file.kind == FileKind::Data);
    Some(data.map(|file| file.location.name().to_owned()).collect())
}

async fn restore(repository: &Repository, view: &SnapshotView, bucket: &Bucket, to: &str) {
    let table = read_tables(view).await.unwrap().remove(0);
    let job = TableRestore {
        repository,
        view,
        table: &table,
        target: &place(to),
        force: false,
    };
    job.run(&bucket.lake, Arc::new(Quiet)).await.unwrap();
}

fn names(names: &str) -> Option<BTreeSet<String>> {
    Some(names.split_whitespace().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_that_is_left_can_be_gone_back_to() {
    let bucket = Bucket::new();
    table(&bucket).await;
    let repository = repository().await;
    let taken = take(&repository, &bucket, "t").await.unwrap();
    assert_eq!(
        (taken.tables[0].version, taken.tables[0].rows),
        (4, Some(10))
    );
    let view = view(&repository, &taken);
    restore(&repository, &view, &bucket, "copy").await;
    for (version, files) in [(0, "a"), (1, "a b"), (2, "b"), (3, "b c"), (4, "c")] {
        assert_eq!(live(&bucket, "copy", version).await, names(files));
        for file in files.split(' ') {
            assert_eq!(
                bucket.get(&format!("copy/{file}")).await,
                bucket.get(&format!("t/{file}")).await
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vacuum_and_the_cleaning_of_the_log_took_is_not_missed() {
    let bucket = Bucket::new();
    table(&bucket).await;
    bucket.delete("t/a").await;
    bucket.delete(&format!("t/_delta_log/{:020}.json", 0)).await;
    let repository = repository().await;
    let taken = take(&repository, &bucket, "t").await.unwrap();
    let view = view(&repository, &taken);
    restore(&repository, &view, &bucket, "copy").await;
    // Version 1 has lost its start; what is before the checkpoint is not taken for live.
    assert_eq!(live(&bucket, "copy", 1).await, None);
    for (version, files) in [(2, "b"), (3, "b c"), (4, "c")] {
        assert_eq!(live(&bucket, "copy", version).await, names(files));
    }
    let files = read_files(&view, "t").await.unwrap();
    let history = files.iter().filter(|file| file.kind == FileKind::History);
    let paths: Vec<_> = history.map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["table/b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_version_alone_on_request() {
    let bucket = Bucket::new();
    table(&bucket).await;
    let repository = repository().await;
    let tables = TablesOptions {
        version_only: true,
        ..TablesOptions::default()
    };
    let sources = [Source {
        name: None,
        place: place("t"),
    }];
    let options = SnapshotOptions::default();
    let taking = snapshot_tables(
        &repository,
        &bucket.lake,
        &sources,
        &tables,
        &options,
        Arc::new(Quiet),
    );
    let taken = taking.await.unwrap();
    let files = read_files(&view(&repository, &taken), "t").await.unwrap();
    let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
    let log = |name: &str| format!("table/_delta_log/{name}");
    let expected = [
        log("00000000000000000002.checkpoint.parquet"),
        log("00000000000000000002.json"),
        log("00000000000000000003.json"),
        log("00000000000000000004.json"),
        "table/c".to_owned(),
    ];
    assert_eq!(paths, expected);
    // Then with all that is left: nothing is taken from a base that has less.
    let whole = take(&repository, &bucket, "t").await.unwrap();
    let files = read_files(&view(&repository, &whole), "t").await.unwrap();
    assert_eq!(files.len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_base_knows_of_the_past_is_not_read_again() {
    let store = Arc::new(FaultStore::in_memory());
    let bucket = Bucket::over(Arc::clone(&store) as Arc<dyn ObjectStore>);
    table(&bucket).await;
    for version in 5..200 {
        bucket.commit("t", version, &[add("c", 5)]).await;
    }
    let repository = repository().await;
    take(&repository, &bucket, "t").await.unwrap();
    let path = format!("t/_delta_log/{:020}.checkpoint.parquet", 199);
    bucket.put(&path, checkpoint(&["c"], true, &[])).await;
    bucket.commit("t", 200, &[remove("c")]).await;
    let recording = store.recording();
    recording.clear();
    let taken = take(&repository, &bucket, "t").await.unwrap();
    let record = &taken.tables[0];
    assert_eq!((record.version, record.rows), (200, Some(0)));
    assert_eq!(record.deleted_files, ["table/c"]);
    // The commit and the checkpoint that are new: once to know them, once to keep them.
    let read = recording.paths(Verb::Get);
    let new = |path: &String| path.contains("00199.") || path.contains("00200.");
    assert!(read.len() <= 8 && read.iter().all(new), "{read:?}");
    // As few data files as these are asked for by name.
    assert_eq!(recording.count(Verb::Head), 3);
    restore(&repository, &view(&repository, &taken), &bucket, "copy").await;
    for (version, files) in [(0, "a"), (1, "a b"), (3, "b c"), (199, "c"), (200, "")] {
        assert_eq!(live(&bucket, "copy", version).await, names(files));
    }
    assert_eq!(bucket.get("copy/a").await, bucket.get("t/a").await);
}
