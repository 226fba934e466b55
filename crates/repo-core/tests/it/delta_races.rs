//! Writers that store one chunk at the same time, one of them as a delta.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use repo_core::{
    Access, CheckOptions, CreateOptions, Finding, GcOptions, MaxUnused, OpenOptions, Parent,
    Progress, Quiet, ReadData, Repository, Severity, SnapshotOptions, Store,
};
use repo_testkit::FaultStore;
use repo_testkit::data::random;
use tempfile::TempDir;

fn store(memory: &FaultStore) -> Store {
    Store::new(Arc::new(memory.clone()), "memory")
}

async fn open(memory: &FaultStore) -> Repository {
    let options = OpenOptions::default();
    Repository::open(store(memory), &Access::Plain, &options)
        .await
        .unwrap()
}

/// A relation of Postgres in one of several versions, each a few bytes from the others.
fn write(source: &Path, version: usize) {
    let mut pages = random(1, 4 * 8192);
    for page in pages.chunks_mut(8192) {
        page[..24].fill(0);
        page[12..20].copy_from_slice(&[24, 0, 0, 32, 0, 32, 4, 32]);
    }
    pages[1000 + version] ^= 0x55;
    fs::create_dir_all(source.join("base/1")).unwrap();
    fs::write(source.join("base/1/2662"), pages).unwrap();
}

async fn take(
    repository: &Repository,
    source: &Path,
    time: i64,
    parent: Parent,
    progress: Arc<dyn Progress>,
) {
    let options = SnapshotOptions {
        time_ms: Some(time),
        parent,
        ..SnapshotOptions::default()
    };
    let paths = [source.to_path_buf()];
    let taken = repository.snapshot_paths(&paths, &options, progress).await;
    assert_eq!(taken.unwrap().findings, []);
}

async fn sound(memory: &FaultStore) {
    let options = CheckOptions {
        read_data: ReadData::All,
    };
    let report = open(memory).await.check(&options, Arc::new(Quiet)).await;
    let findings = report.unwrap().findings.into_iter();
    let told: Vec<Finding> = findings
        .filter(|finding| finding.severity != Severity::Note)
        .collect();
    assert_eq!(told, []);
}

/// Runs something once, when a snapshot has stored everything and is about to commit.
struct BeforeCommit<F> {
    done: AtomicBool,
    work: F,
}

impl<F: Fn() + Send + Sync> Progress for BeforeCommit<F> {
    fn start(&self, _: &str, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, _: u64, _: u64) {}
    fn finding(&self, _: &Finding) {}
    fn cancelled(&self) -> bool {
        false
    }
    fn finish(&self) {
        if !self.done.swap(true, Ordering::SeqCst) {
            (self.work)();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_is_not_found_where_others_found_the_chunk_itself() {
    let memory = FaultStore::in_memory();
    let create = CreateOptions::default();
    Repository::create(store(&memory), &Access::Plain, &create)
        .await
        .unwrap();
    let source = TempDir::new().unwrap();
    let root = source.path().to_path_buf();
    let slow = open(&memory).await;
    write(&root, 0);
    take(&slow, &root, 0, Parent::Auto, Arc::new(Quiet)).await;

    // The slow one stores version 1 against version 0. Before it commits, another writer stores
    // version 1 by itself, and version 2 against that.
    write(&root, 1);
    let handle = tokio::runtime::Handle::current();
    let (others, at) = (memory.clone(), root.clone());
    let beside = BeforeCommit {
        done: AtomicBool::new(false),
        work: move || {
            handle.block_on(async {
                let quick = open(&others).await;
                take(&quick, &at, 1, Parent::None, Arc::new(Quiet)).await;
                write(&at, 2);
                take(&quick, &at, 2, Parent::Auto, Arc::new(Quiet)).await;
            });
        },
    };
    take(&slow, &root, 3, Parent::Auto, Arc::new(beside)).await;
    sound(&memory).await;

    let options = GcOptions {
        max_unused: MaxUnused::Bytes(0),
        reader_grace_ms: 0,
        writer_grace_ms: 0,
        ..GcOptions::default()
    };
    let repository = open(&memory).await;
    repository.gc(&options, Arc::new(Quiet)).await.unwrap();
    sound(&memory).await;
}
