//! Damage to every kind of object: check names it, and no read gives wrong bytes.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::TryStreamExt;
use repo_core::{
    Access, CheckOptions, CheckReport, CreateOptions, Entry, EntryType, ErrorKind, OpenOptions,
    Quiet, ReadData, Repository, Severity, SnapshotId, SnapshotOptions, Store,
};
use repo_testkit::data::{random, text};

type Files = BTreeMap<Vec<u8>, Vec<u8>>;

/// A repository with two snapshots, the objects it consists of, and what it holds.
struct Sample {
    store: Store,
    access: Access,
    objects: BTreeMap<String, Bytes>,
    snapshots: BTreeMap<SnapshotId, Files>,
}

enum Harm<'a> {
    Delete,
    Truncate(usize),
    Flip(usize),
    Swap(&'a str),
}

async fn take(repository: &Repository, source: &Path) -> SnapshotId {
    let options = SnapshotOptions {
        host: "test".to_owned(),
        ..SnapshotOptions::default()
    };
    repository
        .snapshot_paths(&[source.to_path_buf()], &options, Arc::new(Quiet))
        .await
        .unwrap()
        .id
        .unwrap()
}

async fn files(repository: &Repository, id: &SnapshotId) -> Vec<(Vec<u8>, Entry)> {
    let found = Arc::new(Mutex::new(Vec::new()));
    let visit = Arc::clone(&found);
    let view = repository.view(id).unwrap();
    let walked = view
        .walk(
            b"",
            true,
            Box::new(move |path, entry| {
                if entry.kind == EntryType::File {
                    visit.lock().unwrap().push((path.to_vec(), entry.clone()));
                }
                ControlFlow::Continue(())
            }),
        )
        .await;
    // A damaged tree ends the walk; what came before it counts.
    drop(walked);
    let mut found = found.lock().unwrap();
    std::mem::take(&mut *found)
}

impl Sample {
    async fn new(access: Access) -> Self {
        Self::at("memory://", access).await
    }

    async fn at(location: &str, access: Access) -> Self {
        let source = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(source.path().join(name), bytes).unwrap();
        fs::create_dir(source.path().join("below")).unwrap();
        put("random", &random(1, 300_000));
        put("below/text", &text(2, 200_000));
        put("below/small", b"small");
        put("empty", b"");
        for number in 0..20 {
            put(&format!("below/{number}"), &text(100 + number, 3000));
        }
        let store = Store::open(location, &[]).unwrap();
        let options = CreateOptions {
            segment_size: Some(64 << 10),
            pack_size: Some(150_000),
            ..CreateOptions::default()
        };
        let repository = Repository::create(store.clone(), &access, &options)
            .await
            .unwrap();
        let first = take(&repository, source.path()).await;
        put("below/3", &text(500, 5000));
        put("later", &random(3, 100_000));
        fs::remove_file(source.path().join("below/4")).unwrap();
        let second = take(&repository, source.path()).await;
        let mut sample = Self {
            store,
            access,
            objects: BTreeMap::new(),
            snapshots: BTreeMap::new(),
        };
        for id in [first, second] {
            let mut held = Files::new();
            for (path, entry) in files(&repository, &id).await {
                let view = repository.view(&id).unwrap();
                held.insert(path, view.read(&entry, 0..entry.size).await.unwrap());
            }
            assert_eq!(held.len(), 24);
            sample.snapshots.insert(id, held);
        }
        let listed: Vec<_> = sample
            .store
            .list("", None)
            .await
            .try_collect()
            .await
            .unwrap();
        for info in listed {
            let bytes = sample.store.get(&info.key, 1 << 30).await.unwrap();
            sample.objects.insert(info.key, bytes);
        }
        sample
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let keys = self.objects.keys().filter(|key| key.starts_with(prefix));
        keys.cloned().collect()
    }

    async fn set(&self, key: &str, bytes: Option<Bytes>) {
        self.store.delete(key).await.unwrap();
        if let Some(bytes) = bytes {
            self.store.put_new(key, bytes).await.unwrap();
        }
    }

    async fn harm(&self, key: &str, harm: &Harm<'_>) {
        let bytes = &self.objects[key];
        let harmed = match harm {
            Harm::Delete => None,
            Harm::Truncate(len) => Some(bytes.slice(..*len)),
            Harm::Flip(at) => {
                let mut bytes = bytes.to_vec();
                bytes[*at] ^= 0x10;
                Some(bytes.into())
            }
            Harm::Swap(other) => {
                self.set(other, Some(bytes.clone())).await;
                Some(self.objects[*other].clone())
            }
        };
        self.set(key, harmed).await;
    }

    async fn mend(&self) {
        for (key, bytes) in &self.objects {
            let stored = self.store.get(key, 1 << 30).await;
            if stored.ok().as_ref() != Some(bytes) {
                self.set(key, Some(bytes.clone())).await;
            }
        }
    }

    async fn open(&self) -> repo_core::Result<Repository> {
        Repository::open(self.store.clone(), &self.access, &OpenOptions::default()).await
    }

    /// Every byte that can be read is right. Returns the files that cannot.
    async fn read_all(&self, repository: &Repository) -> Vec<Vec<u8>> {
        let mut lost = Vec::new();
        for (id, held) in &self.snapshots {
            if repository.view(id).is_err() {
                continue;
            }
            let mut missing = held.clone();
            for (path, entry) in files(repository, id).await {
                let view = repository.view(id).unwrap();
                missing.remove(&path);
                match view.read(&entry, 0..entry.size).await {
                    Ok(bytes) => assert!(bytes == held[&path], "wrong bytes were read"),
                    Err(_) => lost.push(path),
                }
            }
            lost.extend(missing.into_keys());
        }
        lost
    }
}

fn damage(report: &CheckReport) -> Vec<String> {
    let bad = report.findings.iter();
    bad.filter(|finding| finding.severity == Severity::Damage)
        .map(ToString::to_string)
        .collect()
}

async fn check(repository: &Repository, read_data: ReadData) -> CheckReport {
    repository
        .check(&CheckOptions { read_data }, Arc::new(Quiet))
        .await
        .unwrap()
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(chain).unwrap_or_default();
    format!("{error}: {source}")
}

/// Harms `key`, opens, checks and reads, and mends. The harm must be told by name, by the error
/// that open gives or by the check.
async fn assert_named(sample: &Sample, key: &str, harm: &Harm<'_>, what: &str) {
    sample.harm(key, harm).await;
    match sample.open().await {
        Err(error) => {
            let told = chain(&error);
            let gone = key == "config" && matches!(harm, Harm::Delete);
            let number = key.trim_start_matches("log/").trim_start_matches('0');
            let number = key.starts_with("log/") && told.contains(&format!("commit {number} "));
            // Of two that were swapped the first one met is told.
            let other = matches!(harm, Harm::Swap(other) if told.contains(other));
            let named = told.contains(key) || gone || number || other;
            assert!(named, "{what} {key}: {told}");
            assert_ne!(error.kind(), ErrorKind::Internal, "{what}: {told}");
        }
        Ok(repository) => {
            let report = check(&repository, ReadData::All).await;
            let told = damage(&report);
            let named = told.iter().any(|line| line.contains(key));
            assert!(named, "{what} {key}: {:?}", report.findings);
            let lost = sample.read_all(&repository).await;
            for path in lost {
                let path = path.escape_ascii().to_string();
                let parents: Vec<&str> = Path::new(&path)
                    .ancestors()
                    .filter_map(Path::to_str)
                    .collect();
                let found = told.iter().any(|line| {
                    parents
                        .iter()
                        .any(|parent| line.starts_with(&format!("{parent}: ")))
                        || line.starts_with("/: ")
                });
                assert!(found, "{what} {key}: {path} was lost, but {told:?}");
            }
        }
    }
    sample.mend().await;
}

async fn matrix(sample: Sample) {
    let clean = sample.open().await.unwrap();
    for read_data in [ReadData::No, ReadData::All, ReadData::Percent(30.0)] {
        let report = check(&clean, read_data).await;
        assert_eq!(report.findings, [], "{read_data:?}");
        assert_eq!((report.snapshots, report.indexes), (2, 2));
        assert!(report.packs >= 4 && report.blobs > 20);
    }
    let newest = sample.keys("log/").pop().unwrap();
    for prefix in ["config", "keys/", "log/", "index/", "packs/"] {
        let keys = sample.keys(prefix);
        for (number, key) in keys.iter().enumerate() {
            // A log without its end is an older log: only who has seen the end can tell.
            if *key != newest {
                assert_named(&sample, key, &Harm::Delete, "delete").await;
            }
            let len = sample.objects[key].len();
            for keep in [0, 50, len / 2, len - 1] {
                assert_named(&sample, key, &Harm::Truncate(keep), "truncate").await;
            }
            let sealed = key.starts_with("keys/");
            let places = [
                0,
                9,
                20,
                70,
                97,
                105,
                len / 3,
                len / 2,
                len - 30,
                len - 7,
                len - 1,
            ];
            for at in places.into_iter().filter(|at| *at < len && !sealed) {
                assert_named(&sample, key, &Harm::Flip(at), &format!("flip {at}")).await;
            }
            if let Some(next) = keys.get(number + 1) {
                assert_named(&sample, key, &Harm::Swap(next), "swap").await;
                assert_named(&sample, next, &Harm::Swap(key), "swap").await;
            }
        }
    }
    assert_eq!(
        check(&sample.open().await.unwrap(), ReadData::All)
            .await
            .findings,
        []
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_any_object_is_named_and_never_read_as_data() {
    matrix(Sample::new(Access::Plain).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_objects_are_checked_as_they_lie_there() {
    let place = tempfile::tempdir().unwrap();
    let location = place.path().to_str().unwrap();
    matrix(Sample::at(location, Access::Plain).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_to_a_lost_pack_names_chunk_file_and_snapshot() {
    let sample = Sample::new(Access::password("a")).await;
    for pack in sample.keys("packs/") {
        sample.harm(&pack, &Harm::Delete).await;
        let repository = sample.open().await.unwrap();
        let lost = sample.read_all(&repository).await;
        let told = damage(&check(&repository, ReadData::No).await);
        assert!(told.iter().any(|line| *line == format!("{pack}: missing")));
        let id = pack.rsplit('/').next().unwrap();
        for path in &lost {
            let path = path.escape_ascii().to_string();
            let named = told.iter().any(|line| {
                let tree = line.contains("tree node");
                let file = line.starts_with(&format!("{path}: chunk "));
                (tree || file)
                    && line.contains(&format!("in pack {id} is damaged"))
                    && sample
                        .snapshots
                        .keys()
                        .any(|id| line.contains(&id.to_hex()))
            });
            assert!(named, "{path}: {told:?}");
        }
        assert!(!lost.is_empty(), "every pack holds something");
        sample.mend().await;
    }
    // An index object that is gone loses what only it could locate, and nothing more.
    let indexes = sample.keys("index/");
    sample.harm(&indexes[0], &Harm::Flip(100)).await;
    let told = damage(&check(&sample.open().await.unwrap(), ReadData::All).await);
    assert!(
        told.iter().any(|line| line.starts_with(&indexes[0])),
        "{told:?}"
    );
}

/// Snapshots of which the relation cannot be read.
async fn unreadable(repository: &Repository) -> BTreeSet<SnapshotId> {
    let mut found = BTreeSet::new();
    for known in repository.snapshots() {
        let id = known.snapshot.id();
        let view = repository.view(&id).unwrap();
        let read = match view.entry(b"base/5/16384").await {
            Ok(entry) => view.read(&entry, 0..u64::MAX).await.is_ok(),
            Err(_) => false,
        };
        if !read {
            found.insert(id);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_chunk_all_that_stand_on_it_are_lost() {
    let access = Access::Plain;
    let sample = crate::repair::Sample::new(&access).await;
    let mut most = 0;
    for pack in sample.keys("packs/").await {
        let bytes = sample.store.get(&pack, 1 << 30).await.unwrap();
        sample.store.delete(&pack).await.unwrap();
        let repository = sample.open(&access).await;
        let lost = unreadable(&repository).await;
        let told = damage(&check(&repository, ReadData::No).await);
        let named = |id: &&SnapshotId| told.iter().any(|line| line.contains(&id.to_hex()));
        assert_eq!(lost.iter().filter(named).count(), lost.len(), "{told:#?}");
        most = most.max(lost.len());
        let put = sample.store.put_new(&pack, bytes).await;
        put.unwrap();
    }
    assert_eq!(most, 5, "the first version carries all");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_index_names_is_a_note() {
    let sample = Sample::new(Access::Plain).await;
    let id = "ab".repeat(32);
    let (pack, index) = (format!("packs/ab/{id}"), format!("index/{id}"));
    for key in [&pack, &index] {
        sample.set(key, Some(Bytes::from_static(b"x"))).await;
    }
    let report = check(&sample.open().await.unwrap(), ReadData::All).await;
    let notes: Vec<_> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes.iter().any(|line| line.starts_with(&pack)));
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.severity == Severity::Note)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_percentage_out_of_range_is_refused() {
    let store = Store::open("memory://", &[]).unwrap();
    let repository = Repository::create(store, &Access::Plain, &CreateOptions::default())
        .await
        .unwrap();
    for percent in [0.0, -1.0, 100.1, f64::NAN] {
        let options = CheckOptions {
            read_data: ReadData::Percent(percent),
        };
        let refused = repository.check(&options, Arc::new(Quiet)).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(check(&repository, ReadData::All).await.findings, []);
}
