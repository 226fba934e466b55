//! A Delta table in memory, commit by commit, and a repository beside it.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use repo_core::{Access, CreateOptions, Quiet, Repository, SnapshotOptions, SnapshotView, Store};
use repo_tables::{Lake, Location, Result, Source, TablesOptions, TablesReport, snapshot_tables};
use serde_json::{Value, json};

pub(crate) const SCHEMA: &str = r#"{"type":"struct","fields":[
    {"name":"id","type":"long","nullable":true,"metadata":{}},
    {"name":"l","type":{"type":"array","elementType":"string","containsNull":true},
     "nullable":true,"metadata":{}}]}"#;

/// A bucket with tables, and access to it.
pub(crate) struct Bucket {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) lake: Lake,
}

impl Bucket {
    pub(crate) fn new() -> Self {
        Self::over(Arc::new(InMemory::new()))
    }

    pub(crate) fn over(objects: Arc<dyn ObjectStore>) -> Self {
        let lake = Lake::new(Vec::new());
        lake.set_client(&place(""), Arc::clone(&objects));
        Self { objects, lake }
    }

    pub(crate) async fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        let path = Path::parse(path).unwrap();
        self.objects.put(&path, bytes.into().into()).await.unwrap();
    }

    pub(crate) async fn get(&self, path: &str) -> Vec<u8> {
        let path = Path::parse(path).unwrap();
        let answer = self.objects.get(&path).await.unwrap();
        answer.bytes().await.unwrap().to_vec()
    }

    pub(crate) async fn delete(&self, path: &str) {
        self.objects
            .delete(&Path::parse(path).unwrap())
            .await
            .unwrap();
    }

    /// Puts a commit of `table`.
    pub(crate) async fn commit(&self, table: &str, version: u64, actions: &[Value]) {
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        let path = format!("{table}/_delta_log/{version:020}.json");
        self.put(&path, lines.join("\n")).await;
    }

    /// Puts a data file, and gives the action that adds it.
    pub(crate) async fn data(&self, table: &str, name: &str, size: usize) -> Value {
        let seed = name
            .bytes()
            .fold(7, |sum, byte| u64::wrapping_mul(sum, 31) ^ u64::from(byte));
        let bytes = repo_testkit::data::random(seed, size);
        self.put(&format!("{table}/{name}"), bytes).await;
        add(name, size)
    }

    /// A table of `files` files of a kilobyte in one commit.
    pub(crate) async fn table(&self, table: &str, files: usize) {
        let mut actions = vec![protocol(), metadata(table)];
        for number in 0..files {
            let name = format!("part-{number:05}.bin");
            actions.push(self.data(table, &name, 1000).await);
        }
        self.commit(table, 0, &actions).await;
    }
}

pub(crate) fn place(path: &str) -> Location {
    Location::parse(&format!("memory://lake/{path}")).unwrap()
}

pub(crate) fn add(path: &str, size: usize) -> Value {
    json!({"add": {"path": path, "partitionValues": {}, "size": size, "modificationTime": 1,
        "dataChange": true, "stats": "{\"numRecords\":10}"}})
}

pub(crate) fn remove(path: &str) -> Value {
    json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": true}})
}

pub(crate) fn protocol() -> Value {
    json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}})
}

pub(crate) fn metadata(id: &str) -> Value {
    json!({"metaData": {"id": id, "format": {"provider": "parquet", "options": {}},
        "schemaString": SCHEMA, "partitionColumns": [], "configuration": {}}})
}

pub(crate) async fn repository() -> Repository {
    let store = Store::open("memory://", &[]).unwrap();
    let options = CreateOptions::default();
    Repository::create(store, &Access::Plain, &options)
        .await
        .unwrap()
}

pub(crate) async fn take(
    repository: &Repository,
    bucket: &Bucket,
    path: &str,
) -> Result<TablesReport> {
    let sources = [Source {
        name: None,
        place: place(path),
    }];
    snapshot_tables(
        repository,
        &bucket.lake,
        &sources,
        &TablesOptions::default(),
        &SnapshotOptions::default(),
        Arc::new(Quiet),
    )
    .await
}

pub(crate) fn view(repository: &Repository, report: &TablesReport) -> SnapshotView {
    repository.view(&report.snapshot.id.unwrap()).unwrap()
}

/// Runs what blocks.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}
