//! Snapshots: every file or none, nothing read twice, and writers and vacuum meanwhile.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::{Arc, Mutex};

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use repo_core::{Quiet, Severity, SnapshotOptions};
use repo_tables::{
    BackupType, Error, FileKind, Source, TablesOptions, diff_tables, manifest, read_files,
    snapshot_tables,
};
use repo_testkit::{FaultStore, Verb};
use serde_json::json;

use crate::fixture::{Bucket, add, metadata, place, protocol, remove, repository, take, view};
use crate::meddling::Meddling;

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_table_costs_few_requests_and_no_data() {
    let store = Arc::new(FaultStore::in_memory());
    let bucket = Bucket::over(Arc::clone(&store) as Arc<dyn ObjectStore>);
    bucket.table("t", 1000).await;
    let repository = repository().await;
    let recording = store.recording();
    recording.clear();
    let first = take(&repository, &bucket, "t").await.unwrap();
    assert_eq!(
        (first.tables[0].files, first.tables[0].rows),
        (1001, Some(10_000))
    );
    // Each file once, the log twice: once to know, once to keep.
    assert!(
        recording.count(Verb::Get) <= 1010,
        "{}",
        recording.count(Verb::Get)
    );
    assert_eq!(recording.count(Verb::Head), 0);

    recording.clear();
    let second = take(&repository, &bucket, "t").await.unwrap();
    // What is there, the log, and the files: a listing each.
    assert_eq!(recording.total(), 3, "{:?}", recording.requests());
    assert_eq!(recording.count(Verb::List), 3);
    let stats = &second.snapshot.snapshot.stats;
    assert!(stats.bytes_new < 4096, "{} bytes are new", stats.bytes_new);
    assert_eq!(second.tables[0].new_files, [""; 0]);
    assert_eq!(second.tables[0].base_version, Some(0));

    // One more file is one more read; the log is read to know, to keep, and for what is left of before.
    let action = bucket.data("t", "more.bin", 500).await;
    bucket
        .commit("t", 1, &[action, remove("part-00000.bin")])
        .await;
    recording.clear();
    let third = take(&repository, &bucket, "t").await.unwrap();
    assert!(recording.total() <= 8, "{:?}", recording.requests());
    let table = &third.tables[0];
    assert_eq!(
        table.new_files,
        [
            "table/_delta_log/00000000000000000001.json",
            "table/more.bin"
        ]
    );
    assert_eq!(table.deleted_files, ["table/part-00000.bin"]);
    let (before, after) = (view(&repository, &second), view(&repository, &third));
    let diff = diff_tables(&before, &after).await.unwrap().remove(0);
    assert_eq!(
        (diff.added, diff.removed),
        (
            vec!["table/more.bin".to_owned()],
            vec!["table/part-00000.bin".to_owned()]
        )
    );
    assert_eq!(
        (diff.version_before, diff.version_after),
        (Some(0), Some(1))
    );
    assert_eq!(diff.rewritten, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_there_fails_the_snapshot_by_name() {
    let bucket = Bucket::new();
    bucket.table("t", 20).await;
    let repository = repository().await;
    take(&repository, &bucket, "t").await.unwrap();
    bucket.delete("t/part-00007.bin").await;
    let error = take(&repository, &bucket, "t").await.unwrap_err();
    assert!(matches!(error, Error::Vanished { .. }), "{error}");
    assert!(error.to_string().contains("part-00007.bin"), "{error}");
    assert_eq!(repository.snapshots().len(), 1);
}

/// Takes a table whose files are compacted and vacuumed while the file `at` is asked for.
async fn vacuumed_at(at: &'static str) {
    let memory: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let plain = Bucket::over(Arc::clone(&memory));
    plain.table("t", 12).await;
    let runtime = tokio::runtime::Handle::current();
    let act = move || {
        runtime.block_on(async {
            let mut actions = vec![plain.data("t", "compacted.bin", 9000).await];
            for number in 0..12 {
                actions.push(remove(&format!("part-{number:05}.bin")));
            }
            plain.commit("t", 1, &actions).await;
            for number in 3..12 {
                plain.delete(&format!("t/part-{number:05}.bin")).await;
            }
        });
    };
    let meddling = Meddling {
        inner: memory,
        before: at,
        act: Mutex::new(Some(Box::new(act))),
    };
    let bucket = Bucket::over(Arc::new(meddling));
    let repository = repository().await;
    let taken = take(&repository, &bucket, "t").await.unwrap();
    assert_eq!(taken.tables[0].version, 1);
    let view = view(&repository, &taken);
    let files = read_files(&view, "t").await.unwrap();
    let kinds = |kind| files.iter().filter(|file| file.kind == kind).count();
    assert_eq!(kinds(FileKind::Commit), 2);
    assert_eq!(kinds(FileKind::Data), 1);
    assert_eq!(kinds(FileKind::History), 3, "what vacuum left of version 0");
    for file in files {
        view.entry(format!("tables/t/{}", file.path).as_bytes())
            .await
            .unwrap();
    }
    let gone = view.entry(b"tables/t/table/part-00003.bin").await;
    assert!(gone.is_err(), "what is gone is not kept");
    assert_eq!(taken.snapshot.findings.len(), 1);
    assert_eq!(taken.snapshot.findings[0].severity, Severity::Note);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_meanwhile_makes_it_take_the_newest_version() {
    vacuumed_at("part-00004.bin").await;
    // After the log was read, and before the files are looked for.
    vacuumed_at("00000000000000000000.json").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warehouse_is_one_snapshot() {
    let bucket = Bucket::new();
    for table in ["w/sales/orders", "w/sales/items", "w/users", "w/_hidden/t"] {
        bucket.table(table, 3).await;
    }
    bucket.put("w/notes.txt", "not a table").await;
    bucket
        .put("w/sales/empty/_delta_log/_last_checkpoint", "{}")
        .await;
    let repository = repository().await;
    let taken = take(&repository, &bucket, "w").await.unwrap();
    let names: Vec<_> = taken
        .tables
        .iter()
        .map(|table| table.name.as_str())
        .collect();
    assert_eq!(names, ["sales.items", "sales.orders", "users"]);
    assert_eq!(taken.tables[1].path, "sales/orders");

    let whole = manifest(&view(&repository, &taken), &[], true)
        .await
        .unwrap();
    assert_eq!((whole.kind, &whole.base), (BackupType::Full, &None));
    assert_eq!(
        (
            whole.totals.tables,
            whole.totals.files,
            whole.totals.new_files
        ),
        (3, 12, 12)
    );
    assert_eq!(whole.totals.rows, Some(90));
    let files = &whole.tables[2].file_list;
    assert!(
        files
            .iter()
            .all(|file| file.sha256.as_ref().is_some_and(|sum| sum.len() == 64))
    );
    let json = serde_json::to_value(&whole).unwrap();
    assert_eq!(json["tables"][0]["location"], "memory://lake/w/sales/items");
    let again = take(&repository, &bucket, "w").await.unwrap();
    let again = manifest(&view(&repository, &again), &["users".to_owned()], false)
        .await
        .unwrap();
    assert_eq!(
        (again.kind, again.base),
        (BackupType::Incremental, Some(whole.backup_id))
    );
    assert_eq!((again.totals.tables, again.totals.new_files), (1, 0));

    let empty = take(&repository, &bucket, "w/sales/empty")
        .await
        .unwrap_err();
    assert!(matches!(empty, Error::NoTable { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_unique_or_refused() {
    let bucket = Bucket::new();
    bucket.table("a/t", 1).await;
    bucket.table("b/t", 1).await;
    let repository = repository().await;
    let source = |name: Option<&str>, path: &str| Source {
        name: name.map(str::to_owned),
        place: place(path),
    };
    let taking = async |sources: &[Source]| {
        let options = SnapshotOptions::default();
        let tables = TablesOptions::default();
        snapshot_tables(
            &repository,
            &bucket.lake,
            sources,
            &tables,
            &options,
            Arc::new(Quiet),
        )
        .await
    };
    let error = taking(&[source(None, "a/t"), source(None, "b/t")])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::SameName { .. }), "{error}");
    let taken = taking(&[source(Some("one"), "a/t"), source(None, "b/t")])
        .await
        .unwrap();
    assert_eq!(
        (taken.tables[0].name.as_str(), taken.tables[1].name.as_str()),
        ("one", "t")
    );
    for name in ["", "..", "a/b"] {
        assert!(
            taking(&[source(Some(name), "a/t")]).await.is_err(),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_outside_and_odd_names_are_stored_where_they_say() {
    let bucket = Bucket::new();
    let odd = add("p=a%2520b%252F%C3%A9/x%20y.bin", 4);
    bucket.put("t/p=a%20b%2F\u{e9}/x y.bin", "odd!").await;
    bucket.put("elsewhere/d.bin", "clone").await;
    bucket
        .commit(
            "t",
            0,
            &[
                protocol(),
                metadata("m"),
                odd,
                add("memory://lake/elsewhere/d.bin", 5),
            ],
        )
        .await;
    let repository = repository().await;
    let taken = take(&repository, &bucket, "t").await.unwrap();
    let view = view(&repository, &taken);
    for (path, content) in [
        ("tables/t/table/p=a%20b%2F\u{e9}/x y.bin", "odd!"),
        ("tables/t/outside/memory/lake/elsewhere/d.bin", "clone"),
    ] {
        let entry = view.entry(path.as_bytes()).await.unwrap();
        assert_eq!(view.read(&entry, 0..9).await.unwrap(), content.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_replaced_under_its_name_is_read_again() {
    let bucket = Bucket::new();
    bucket.table("t", 3).await;
    let repository = repository().await;
    take(&repository, &bucket, "t").await.unwrap();
    let path = "t/part-00001.bin".into();
    let payload = PutPayload::from(vec![7; 1000]);
    bucket.objects.put(&path, payload).await.unwrap();
    let taken = take(&repository, &bucket, "t").await.unwrap();
    let view = view(&repository, &taken);
    let entry = view.entry(b"tables/t/table/part-00001.bin").await.unwrap();
    assert_eq!(view.read(&entry, 0..1000).await.unwrap(), vec![7; 1000]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_the_log_has_wrong_is_noted() {
    let bucket = Bucket::new();
    bucket.put("t/a", "four").await;
    bucket
        .commit(
            "t",
            0,
            &[
                protocol(),
                metadata("m"),
                add("a", 5),
                json!({"commitInfo": {}}),
            ],
        )
        .await;
    let taken = take(&repository().await, &bucket, "t").await.unwrap();
    let said = taken.snapshot.findings[0].to_string();
    assert_eq!(said, "tables/t/table/a: has 4 bytes, and the table says 5");
}
