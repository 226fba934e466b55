//! A store that stops after k requests, for every k of init, snapshot and increment: what was
//! there stays whole, what was being written is whole or absent, and the next run succeeds.
//!
//! The same for a store that does request k and answers it with an error.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use repo_core::{
    Access, CheckOptions, CreateOptions, Error, ErrorKind, OpenOptions, Quiet, ReadData,
    Repository, RestoreOptions, Result, Severity, SnapshotOptions, Store,
};
use repo_testkit::FaultStore;
use repo_testkit::data::{random, text};
use repo_tests::describe::{self, Described};
use tempfile::TempDir;

/// More than any workload here needs.
const REQUESTS_MAX: u64 = 500;

/// How request `k` goes wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// It and all later ones are not done.
    Stops,
    /// It is done, and answered with an error.
    Lost,
}

impl Fault {
    fn store(self, memory: &InMemory, k: u64) -> (Arc<InMemory>, FaultStore) {
        let memory = Arc::new(memory.fork());
        let inner = Arc::clone(&memory) as Arc<dyn ObjectStore>;
        let faulty = match self {
            Self::Stops => FaultStore::new(inner, k),
            Self::Lost => FaultStore::new(inner, u64::MAX).losing_answer(k),
        };
        (memory, faulty)
    }
}

async fn create(store: Store, access: &Access) -> Result<Repository> {
    let options = CreateOptions {
        segment_size: Some(32 << 10),
        pack_size: Some(60 << 10),
        ..CreateOptions::default()
    };
    Repository::create(store, access, &options).await
}

async fn open(store: Store, access: &Access) -> Result<Repository> {
    Repository::open(store, access, &OpenOptions::default()).await
}

async fn save(store: Store, source: &Path) -> Result<()> {
    let repository = open(store, &Access::Plain).await?;
    let paths = [source.to_path_buf()];
    let report = repository
        .snapshot_paths(&paths, &SnapshotOptions::default(), Arc::new(Quiet))
        .await?;
    assert_eq!(report.findings, []);
    Ok(())
}

fn plain(memory: &Arc<InMemory>) -> Store {
    let inner = Arc::clone(memory) as Arc<dyn ObjectStore>;
    Store::new(inner, "memory")
}

/// Opens what a failed run left, reads all of it, and restores every snapshot, each of which must
/// be one of `versions` in order. Gives their number.
async fn sound(memory: &Arc<InMemory>, versions: &[Described]) -> usize {
    let repository = open(plain(memory), &Access::Plain).await.expect("opens");
    let options = CheckOptions {
        read_data: ReadData::All,
    };
    let report = repository.check(&options, Arc::new(Quiet)).await;
    let found = report.expect("a check").findings.into_iter();
    let damage: Vec<_> = found.filter(|f| f.severity != Severity::Note).collect();
    assert_eq!(damage, []);
    let snapshots = repository.snapshots();
    for (snapshot, wanted) in snapshots.iter().zip(versions) {
        let view = repository
            .view(&snapshot.snapshot.id())
            .expect("a snapshot");
        let target = TempDir::new().expect("a directory");
        let options = RestoreOptions::default();
        let report = repository
            .restore(&view, b"", target.path(), &options, Arc::new(Quiet))
            .await
            .expect("a restore");
        assert_eq!(report.findings, []);
        let found = describe::tree(target.path()).expect("the target");
        let differences = describe::differences(wanted, &found);
        assert!(differences.is_empty(), "{differences:#?}");
    }
    snapshots.len()
}

/// Takes one more snapshot than `versions` but the last holds, with a fault at every request.
async fn every_request(fault: Fault, start: &InMemory, source: &Path, versions: &[Described]) {
    let earlier = versions.len() - 1;
    for k in 0.. {
        assert!(k < REQUESTS_MAX, "the workload never ends");
        let (memory, faulty) = fault.store(start, k);
        let store = Store::new(Arc::new(faulty.clone()), "memory");
        let done = save(store, source).await;
        let reached = faulty.recording().total() as u64 > k;
        let held = sound(&memory, versions).await;
        match &done {
            Ok(()) => assert_eq!(held, earlier + 1, "{fault:?} {k}"),
            Err(_) => assert!((earlier..=earlier + 1).contains(&held), "{fault:?} {k}"),
        }
        if !reached {
            assert!(k > 5, "a snapshot takes more requests than {k}");
            done.expect("no request failed");
            return;
        }
        // The same state of the source again, whether or not the first attempt was kept.
        save(plain(&memory), source).await.expect("the next run");
        let last = versions[earlier].clone();
        let twice = [versions, &[last]].concat();
        assert_eq!(sound(&memory, &twice).await, held + 1, "{fault:?} {k}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_whole_or_absent() {
    let place = TempDir::new().expect("a directory");
    let source = place.path().join("source");
    fs::create_dir_all(source.join("directory")).expect("a directory");
    fs::write(source.join("kept"), random(1, 90_000)).expect("a file");
    fs::write(source.join("changed"), random(2, 40_000)).expect("a file");
    fs::write(source.join("directory/text"), text(3, 120_000)).expect("a file");
    let first = describe::tree(&source).expect("the source");

    let empty = Arc::new(InMemory::new());
    create(plain(&empty), &Access::Plain)
        .await
        .expect("a repository");
    let versions = [first.clone()];
    for fault in [Fault::Stops, Fault::Lost] {
        every_request(fault, &empty, &source, &versions).await;
    }

    save(plain(&empty), &source).await.expect("a snapshot");
    let mut changed = random(2, 40_000);
    changed[20_000] ^= 1;
    fs::write(source.join("changed"), changed).expect("a file");
    fs::write(source.join("added"), random(4, 100_000)).expect("a file");
    let versions = [first, describe::tree(&source).expect("the source")];
    for fault in [Fault::Stops, Fault::Lost] {
        every_request(fault, &empty, &source, &versions).await;
    }
}

/// A repository exists with its config, and then it opens.
async fn every_request_of_init(fault: Fault, access: &Access) {
    for k in 0.. {
        assert!(k < REQUESTS_MAX, "the workload never ends");
        let (memory, faulty) = fault.store(&InMemory::new(), k);
        let done = create(Store::new(Arc::new(faulty.clone()), "memory"), access).await;
        let reached = faulty.recording().total() as u64 > k;
        let made = done.is_ok();
        match open(plain(&memory), access).await {
            Ok(repository) => assert!(repository.snapshots().is_empty()),
            Err(error) => {
                let absent = matches!(error, Error::NoRepository { .. });
                assert!(absent && !made, "{fault:?} {k}: {error:?}");
            }
        }
        if !reached {
            assert!(made && k > 3, "{fault:?} {k}");
            return;
        }
        match create(plain(&memory), access).await {
            Ok(_) => assert!(!made, "{fault:?} {k}"),
            // The config was written, whatever the store answered.
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{fault:?} {k}"),
        }
        open(plain(&memory), access).await.expect("a repository");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn init_makes_a_repository_or_none() {
    for fault in [Fault::Stops, Fault::Lost] {
        every_request_of_init(fault, &Access::Plain).await;
        every_request_of_init(fault, &Access::password("correct horse")).await;
    }
}
