//! Creating, opening and the log: what is refused, and what a client notices.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod access;
mod cache;
mod features;
mod forget;
mod log;
mod retire;
mod rotate;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use repo_core::{
    Access, OpenOptions, Quiet, Repository, Result, SnapshotId, SnapshotOptions, Store,
};

use crate::fixture;

fn memory() -> Store {
    Store::open("memory://", &[]).unwrap()
}

async fn create(access: &Access) -> (Repository, Store) {
    let store = memory();
    let repository = fixture::create(store.clone(), access).await;
    (repository, store)
}

async fn open(store: &Store, access: &Access) -> Result<Repository> {
    Repository::open(store.clone(), access, &OpenOptions::default()).await
}

/// Opens with a cache, and so with a memory of the newest commit seen.
async fn open_cached(store: &Store, cache: &Path) -> Result<Repository> {
    let options = OpenOptions {
        cache_dir: Some(cache.to_path_buf()),
        ..OpenOptions::default()
    };
    Repository::open(store.clone(), &Access::Plain, &options).await
}

/// A snapshot of one stream.
async fn take(repository: &Repository, content: &str) -> Result<SnapshotId> {
    let report = repository
        .snapshot_stream(
            b"file",
            Box::new(std::io::Cursor::new(content.to_owned())),
            Box::new(|| Ok(())),
            &SnapshotOptions::default(),
            Arc::new(Quiet),
        )
        .await?;
    Ok(report.id.unwrap())
}

async fn content(repository: &Repository, id: &SnapshotId) -> Result<String> {
    let view = repository.view(id)?;
    let entry = view.entry(b"file").await?;
    let bytes = view.read(&entry, 0..u64::MAX).await?;
    Ok(String::from_utf8(bytes).unwrap())
}

/// Adds `count` commits that are cheap.
async fn commits(repository: &Repository, id: SnapshotId, count: u64) {
    for number in 0..count {
        let tags = vec![format!("{number}")];
        repository.retag(&[(id, tags)], "tag").await.unwrap();
    }
}

async fn objects(store: &Store) -> BTreeMap<String, Bytes> {
    let listed: Vec<_> = store.list("", None).await.try_collect().await.unwrap();
    let mut objects = BTreeMap::new();
    for info in listed {
        let bytes = store.get(&info.key, 1 << 30).await.unwrap();
        objects.insert(info.key, bytes);
    }
    objects
}

/// Another store with the same objects.
async fn copy(store: &Store) -> Store {
    let other = memory();
    for (key, bytes) in objects(store).await {
        other.put_new(&key, bytes).await.unwrap();
    }
    other
}

async fn replace(store: &Store, key: &str, bytes: impl Into<Bytes>) {
    store.delete(key).await.unwrap();
    store.put_new(key, bytes.into()).await.unwrap();
}

fn commit_key(number: u64) -> String {
    format!("log/{number:020}")
}

fn checkpoint_key(number: u64) -> String {
    format!("log/{number:020}.checkpoint")
}
