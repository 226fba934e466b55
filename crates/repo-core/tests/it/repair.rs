//! Repair of the index and of packs with damaged directories.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::TryStreamExt;
use repo_core::{
    Access, CheckOptions, CreateOptions, Entry, GcOptions, MaxUnused, OpenOptions, Parent, Quiet,
    ReadData, RepairOptions, RepairReport, Repository, Severity, SnapshotOptions, Store,
};
use repo_testkit::data::{Random, fill_tree, random};

use crate::gc::{at_once, forget, gc};

pub(crate) struct Sample {
    pub(crate) store: Store,
    pub(crate) held: Vec<(Vec<u8>, Vec<u8>)>,
}

pub(crate) async fn held(repository: &Repository) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut held = Vec::new();
    for known in repository.snapshots() {
        let found = Arc::new(Mutex::new(Vec::new()));
        let visit = Arc::clone(&found);
        let view = repository.view(&known.snapshot.id()).unwrap();
        let each = move |path: &[u8], entry: &Entry| {
            visit.lock().unwrap().push((path.to_vec(), entry.clone()));
            ControlFlow::Continue(())
        };
        view.walk(b"", true, Box::new(each)).await.unwrap();
        let entries = std::mem::take(&mut *found.lock().unwrap());
        for (path, entry) in entries {
            if entry.content.is_some() {
                let bytes = view.read(&entry, 0..u64::MAX).await.unwrap();
                held.push((path, bytes));
            }
        }
    }
    held
}

impl Sample {
    /// Five snapshots; a chunk of each stands on that of the one before.
    pub(crate) async fn new(access: &Access) -> Self {
        let files = tempfile::tempdir().unwrap();
        fill_tree(files.path(), 3, 30).unwrap();
        let relation = files.path().join("base/5/16384");
        fs::create_dir_all(relation.parent().unwrap()).unwrap();
        let mut pages = random(1, 1 << 20);
        let store = Store::open("memory://", &[]).unwrap();
        let options = CreateOptions {
            segment_size: Some(64 << 10),
            pack_size: Some(400_000),
            ..CreateOptions::default()
        };
        let repository = Repository::create(store.clone(), access, &options).await;
        let repository = repository.unwrap();
        for round in 0..5 {
            let mut places = Random::new(round);
            for _ in 0..5 {
                let at = places.below(pages.len() - 50);
                pages[at..at + 50].copy_from_slice(&random(at as u64, 50));
            }
            fs::write(&relation, &pages).unwrap();
            take(&repository, files.path()).await;
        }
        let held = held(&repository).await;
        Self { store, held }
    }

    pub(crate) async fn open(&self, access: &Access) -> Repository {
        let options = OpenOptions::default();
        let opened = Repository::open(self.store.clone(), access, &options).await;
        opened.unwrap()
    }

    pub(crate) async fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.store.list(prefix, None).await;
        let keys: Vec<_> = listed.try_collect().await.unwrap();
        keys.into_iter().map(|info| info.key).collect()
    }

    pub(crate) async fn harm(&self, key: &str, harm: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.store.get(key, 1 << 30).await.unwrap().to_vec();
        harm(&mut bytes);
        self.store.delete(key).await.unwrap();
        let put = self.store.put_new(key, Bytes::from(bytes)).await;
        put.unwrap();
    }
}

pub(crate) async fn take(repository: &Repository, source: &Path) {
    let options = SnapshotOptions {
        force: true,
        ..SnapshotOptions::default()
    };
    let paths = [source.to_path_buf()];
    let report = repository.snapshot_paths(&paths, &options, Arc::new(Quiet));
    report.await.unwrap();
}

async fn repair(repository: &Repository) -> RepairReport {
    let options = RepairOptions::default();
    let done = repository.repair_index(&options, Arc::new(Quiet)).await;
    done.unwrap()
}

pub(crate) async fn damage(repository: &Repository) -> Vec<String> {
    let options = CheckOptions {
        read_data: ReadData::All,
    };
    let report = repository.check(&options, Arc::new(Quiet)).await.unwrap();
    let bad = report.findings.iter();
    bad.filter(|finding| finding.severity > Severity::Note)
        .map(ToString::to_string)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_repository_is_left_alone() {
    let sample = Sample::new(&Access::Plain).await;
    let repository = sample.open(&Access::Plain).await;
    let head = repository.head();
    let report = repair(&repository).await;
    assert_eq!((report.packs_indexed, report.packs_harmed), (0, 0));
    assert_eq!((report.indexes_removed, report.bytes_stored), (0, 0));
    assert!(report.packs > 3 && report.indexes == 5);
    assert_eq!(repository.head(), head);
}

#[tokio::test(flavor = "multi_thread")]
async fn index_objects_are_rebuilt_whatever_became_of_them() {
    let access = Access::password("a");
    for lost in [&[0][..], &[1], &[0, 1, 2]] {
        let sample = Sample::new(&access).await;
        let keys = sample.keys("index/").await;
        for (number, at) in lost.iter().enumerate() {
            match number {
                1 => sample.harm(&keys[*at], |bytes| bytes.truncate(200)).await,
                2 => sample.harm(&keys[*at], |bytes| bytes[150] ^= 1).await,
                _ => drop(sample.store.delete(&keys[*at]).await.unwrap()),
            }
        }
        let repository = sample.open(&access).await;
        let report = repair(&repository).await;
        assert_eq!(report.findings, []);
        assert_eq!(report.indexes_removed, lost.len() as u64);
        assert!(report.packs_indexed > 0 && report.indexes_added > 0);
        let repository = sample.open(&access).await;
        assert_eq!(damage(&repository).await, Vec::<String>::new());
        assert!(held(&repository).await == sample.held);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_without_a_directory_is_read_segment_by_segment() {
    let access = Access::Plain;
    let packs = Sample::new(&access).await.keys("packs/").await.len();
    for at in 0..packs {
        let sample = Sample::new(&access).await;
        let keys = sample.keys("packs/").await;
        let Some(key) = keys.get(at) else { continue };
        sample
            .harm(key, |bytes| {
                let len = bytes.len();
                bytes[len - 30] ^= 1;
            })
            .await;
        let repository = sample.open(&access).await;
        assert!(!damage(&repository).await.is_empty());
        let report = repair(&repository).await;
        assert_eq!(report.findings, []);
        assert_eq!((report.packs_harmed, report.packs_replaced), (1, 1));
        assert!(report.blobs_salvaged > 0);
        let repository = sample.open(&access).await;
        assert_eq!(damage(&repository).await, Vec::<String>::new());
        assert!(held(&repository).await == sample.held);
        assert!(sample.keys("packs/").await.contains(key), "nothing goes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_directories_and_the_whole_index_can_be_lost() {
    let access = Access::password("a");
    let sample = Sample::new(&access).await;
    for key in sample.keys("index/").await {
        sample.store.delete(&key).await.unwrap();
    }
    for key in sample.keys("packs/").await {
        // The trailer goes, and nothing says where the directory begins.
        sample
            .harm(&key, |bytes| bytes.truncate(bytes.len() - 5))
            .await;
    }
    let repository = sample.open(&access).await;
    let report = repair(&repository).await;
    assert_eq!(report.findings, []);
    let repository = sample.open(&access).await;
    assert_eq!(damage(&repository).await, Vec::<String>::new());
    assert!(held(&repository).await == sample.held);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_stays_named_and_the_rest_is_found() {
    let access = Access::Plain;
    let sample = Sample::new(&access).await;
    let mut largest = (0, String::new());
    for key in sample.keys("packs/").await {
        let len = sample.store.get(&key, 1 << 30).await.unwrap().len();
        largest = largest.max((len, key));
    }
    let key = largest.1;
    // The clear prefix of the first segment, and the directory.
    sample
        .harm(&key, |bytes| {
            bytes[97] ^= 1;
            let len = bytes.len();
            bytes[len - 30] ^= 1;
        })
        .await;
    let repository = sample.open(&access).await;
    let report = repair(&repository).await;
    let told: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains(&key) && told[0].contains(" chunks are lost"),
        "{told:?}"
    );
    assert_eq!((report.packs_harmed, report.packs_replaced), (1, 0));
    assert!(report.blobs_salvaged > 0);
    let repository = sample.open(&access).await;
    assert!(!damage(&repository).await.is_empty());
}

async fn mend(repository: &Repository, other: &Repository) -> RepairReport {
    let options = RepairOptions::default();
    let done = repository.repair_from(other, &options, Arc::new(Quiet));
    done.await.unwrap()
}

async fn made(access: &Access) -> Repository {
    let store = Store::open("memory://", &[]).unwrap();
    let made = Repository::create(store, access, &CreateOptions::default()).await;
    made.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_pack_lost_comes_back_from_a_copy() {
    let access = Access::Plain;
    let first = Sample::new(&access).await;
    let copies = made(&Access::Plain).await;
    let options = repo_core::CopyOptions::default();
    let source = first.open(&access).await;
    let copied = source.copy_to(&copies, &[], &options, Arc::new(Quiet));
    assert_eq!(copied.await.unwrap().copied.len(), 5);
    let keys = first.keys("packs/").await;
    let mut recovered = 0;
    for key in &keys {
        let good = first.store.get(key, 1 << 30).await.unwrap();
        for missing in [true, false] {
            // A repository that is repaired in turn, as the packs it has now say.
            if !first.keys("packs/").await.contains(key) {
                continue;
            }
            if missing {
                first.store.delete(key).await.unwrap();
            } else {
                first
                    .harm(key, |bytes| {
                        let middle = bytes.len() / 3;
                        bytes[middle] ^= 1;
                    })
                    .await;
            }
            let repository = first.open(&access).await;
            let harmed = !damage(&repository).await.is_empty();
            let report = mend(&repository, &copies).await;
            assert_eq!(report.findings, [], "{key} {missing}");
            // More than one where chunks are stored against what was lost.
            assert_eq!(report.packs_replaced > 0, harmed);
            recovered += report.blobs_recovered;
            let repository = first.open(&access).await;
            assert_eq!(damage(&repository).await, Vec::<String>::new());
            assert!(held(&repository).await == first.held);
            first.store.delete(key).await.unwrap();
            first.store.put_new(key, good.clone()).await.unwrap();
        }
    }
    assert!(recovered > keys.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_the_same_file_help_and_others_do_not() {
    for same in [true, false] {
        let files = tempfile::tempdir().unwrap();
        let long = random(1, 3 << 20);
        fs::write(files.path().join("long"), &long).unwrap();
        let access = Access::Plain;
        let store = Store::open("memory://", &[]).unwrap();
        let options = CreateOptions::default();
        let repository = Repository::create(store.clone(), &access, &options).await;
        let repository = repository.unwrap();
        take(&repository, files.path()).await;
        let other = made(&access).await;
        if !same {
            fs::write(files.path().join("long"), random(2, 3 << 20)).unwrap();
        }
        take(&other, files.path()).await;
        let sample = Sample {
            held: held(&repository).await,
            store,
        };
        for key in sample.keys("packs/").await {
            sample
                .harm(&key, |bytes| {
                    if bytes.len() > 1 << 20 {
                        let middle = bytes.len() / 2;
                        bytes[middle] ^= 1;
                    }
                })
                .await;
        }
        let repository = sample.open(&access).await;
        assert!(!damage(&repository).await.is_empty());
        let report = mend(&repository, &other).await;
        assert_eq!(report.findings.is_empty(), same, "{:?}", report.findings);
        assert_eq!(report.blobs_recovered > 0, same);
        let repository = sample.open(&access).await;
        assert_eq!(damage(&repository).await.is_empty(), same);
        if same {
            assert!(held(&repository).await == sample.held);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_delta_is_not_found_before_the_chunk_itself() {
    let store = Store::open("memory://", &[]).unwrap();
    let open = || async {
        let options = OpenOptions::default();
        let opened = Repository::open(store.clone(), &Access::Plain, &options).await;
        opened.unwrap()
    };
    let options = CreateOptions::default();
    let created = Repository::create(store.clone(), &Access::Plain, &options).await;
    drop(created.unwrap());
    let files = tempfile::tempdir().unwrap();
    let relation = files.path().join("base/5/16384");
    fs::create_dir_all(relation.parent().unwrap()).unwrap();
    let version = |number: usize| {
        let mut pages = random(1, 64 << 10);
        pages[number * 1000] ^= 0x55;
        fs::write(&relation, pages).unwrap();
    };
    let snapshot = |parent: Parent| {
        let paths = [files.path().to_path_buf()];
        async move {
            let options = SnapshotOptions {
                parent,
                ..SnapshotOptions::default()
            };
            let taken = open().await;
            let taken = taken.snapshot_paths(&paths, &options, Arc::new(Quiet));
            taken.await.unwrap().id.unwrap()
        }
    };
    let collect = |max_unused: MaxUnused| async move {
        let options = GcOptions {
            max_unused,
            ..at_once()
        };
        gc(&open().await, &options).await;
    };
    version(0);
    snapshot(Parent::Auto).await;
    // A delta in a pack that stays for the sake of another file.
    version(1);
    fs::write(files.path().join("other"), random(2, 20_000)).unwrap();
    let second = snapshot(Parent::Auto).await;
    fs::remove_file(&relation).unwrap();
    snapshot(Parent::Auto).await;
    forget(&open().await, &[second]).await;
    collect(MaxUnused::Unlimited).await;
    // The same chunk by itself, and one that stands on it.
    version(1);
    snapshot(Parent::None).await;
    version(2);
    snapshot(Parent::Auto).await;
    let listed: Vec<_> = store
        .list("index/", None)
        .await
        .try_collect()
        .await
        .unwrap();
    for info in listed {
        store.delete(&info.key).await.unwrap();
    }
    repair(&open().await).await;
    assert_eq!(damage(&open().await).await, Vec::<String>::new());
    collect(MaxUnused::Bytes(0)).await;
    assert_eq!(damage(&open().await).await, Vec::<String>::new());
}
