//! Budgets of store requests. Requests are what an operation costs on remote storage, whatever
//! the machine; the store here is memory behind a recorder, with no local files to go around it.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use repo_core::{Access, OpenOptions, Repository, Store};
use repo_testkit::data::{fill_tree, random};
use repo_testkit::{FaultStore, Recording, Verb};

use crate::fixture::{self, take};

async fn create() -> (Repository, Store, Recording) {
    let recorder = FaultStore::in_memory();
    let recording = recorder.recording();
    let store = Store::new(Arc::new(recorder), "memory:///");
    let repository = fixture::create(store.clone(), &Access::Plain).await;
    (repository, store, recording)
}

async fn open(store: &Store, options: OpenOptions) -> Repository {
    Repository::open(store.clone(), &Access::Plain, &options)
        .await
        .unwrap()
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(120)).await;
}

/// The requests since `clear`: gets, puts, lists; no other kind is ever sent.
#[track_caller]
fn assert_requests(recording: &Recording, gets: usize, puts: usize, lists: usize) {
    let count = |verb| recording.count(verb);
    let counted = (count(Verb::Get), count(Verb::Put), count(Verb::List));
    let within = counted.0 <= gets && counted.1 <= puts && counted.2 <= lists;
    assert!(
        within,
        "{counted:?}, not {gets}, {puts}, {lists}:\n{recording}"
    );
    assert_eq!(
        recording.total(),
        counted.0 + counted.1 + counted.2,
        "{recording}"
    );
    recording.clear();
}

/// Open: the config, one list of the log, each commit since the last checkpoint, and a list of what
/// came after the last one.
#[tokio::test(flavor = "multi_thread")]
async fn open_costs_config_list_and_commits() {
    let source = tempfile::tempdir().unwrap();
    let (repository, store, recording) = create().await;
    for number in 0..3 {
        fs::write(source.path().join("file"), format!("{number}")).unwrap();
        take(&repository, source.path()).await;
    }
    recording.clear();
    let opened = open(&store, OpenOptions::default()).await;
    assert_eq!(opened.head(), 3);
    assert_requests(&recording, 1 + 3, 0, 2);

    let id = opened.snapshots()[0].snapshot.id();
    for number in 0..127 {
        let tags = vec![number.to_string()];
        opened.retag(&[(id, tags)], "tag").await.unwrap();
    }
    recording.clear();
    // Commit 130: the checkpoint at 128, and two commits.
    let opened = open(&store, OpenOptions::default()).await;
    assert_eq!(opened.head(), 130);
    assert_requests(&recording, 1 + 1 + 2, 0, 2);
    // To refresh is to ask what came after the last one known.
    opened.refresh().await.unwrap();
    assert_requests(&recording, 0, 0, 1);
}

/// Each thread closes a segment of its own, so a small tree lies in as many at most: one for each
/// core, and one of the thread that puts the tree together.
fn tree_segments() -> usize {
    std::thread::available_parallelism().unwrap().get() + 1
}

/// Nothing changed: the parent's tree is read from one pack, and a commit is written, then what comes
/// after it is listed. The reads are the index, the pack's header, and the segments that hold the tree.
#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_snapshot_writes_one_object() {
    let source = tempfile::tempdir().unwrap();
    fill_tree(source.path(), 1, 200).unwrap();
    settle().await;
    let (repository, store, recording) = create().await;
    take(&repository, source.path()).await;
    let opened = open(&store, OpenOptions::default()).await;
    recording.clear();
    let view = take(&opened, source.path()).await;
    assert_eq!(view.snapshot().stats.files_changed, 0);
    assert_requests(&recording, 2 + tree_segments(), 1, 1);
    // Warm, the tree is in memory.
    take(&opened, source.path()).await;
    assert_requests(&recording, 0, 1, 1);
}

/// One file of 2,000: two packs (content and tree), an index object and a commit are written;
/// the reads are as for an unchanged snapshot, one base for a delta, and the new index object, to
/// see that it can be read.
#[tokio::test(flavor = "multi_thread")]
async fn an_increment_of_one_file_writes_four_objects() {
    let source = tempfile::tempdir().unwrap();
    fill_tree(source.path(), 2, 2000).unwrap();
    fs::write(source.path().join("big"), random(1, 1 << 20)).unwrap();
    settle().await;
    let (repository, store, recording) = create().await;
    take(&repository, source.path()).await;
    let opened = open(&store, OpenOptions::default()).await;
    let mut content = random(1, 1 << 20);
    content[500_000..500_005].copy_from_slice(b"other");
    fs::write(source.path().join("big"), content).unwrap();
    recording.clear();
    let view = take(&opened, source.path()).await;
    assert_eq!(view.snapshot().stats.files_changed, 1);
    // The index; header and segments of the tree; header and segment of the base; the new index.
    assert_requests(&recording, 1 + (1 + tree_segments()) + 2 + 1, 4, 1);
}

/// One file: the index, then header and segment of the tree's pack and of the content's.
#[tokio::test(flavor = "multi_thread")]
async fn one_file_is_read_with_five_requests() {
    let source = tempfile::tempdir().unwrap();
    fill_tree(source.path(), 3, 300).unwrap();
    // One chunk: several may lie on both sides of the border of two segments.
    let wanted = random(1, 10_000);
    fs::write(source.path().join("wanted"), &wanted).unwrap();
    let (repository, store, recording) = create().await;
    let id = take(&repository, source.path()).await.id();
    let cache = tempfile::tempdir().unwrap();
    let cached = OpenOptions {
        cache_dir: Some(cache.path().to_path_buf()),
        ..OpenOptions::default()
    };
    // With a cache directory that knows the index, one request less.
    for (options, gets) in [
        (OpenOptions::default(), 5),
        (cached.clone(), 5),
        (cached, 4),
    ] {
        let opened = open(&store, options).await;
        recording.clear();
        let view = opened.view(&id).unwrap();
        let entry = view.entry(b"wanted").await.unwrap();
        let bytes = view.read(&entry, 100..9_000).await.unwrap();
        assert!(bytes == wanted[100..9_000]);
        assert_requests(&recording, gets, 0, 0);
    }
}

/// Creation: is there a config, the probe of create-only puts with its delete, the config, and the
/// empty log.
#[tokio::test(flavor = "multi_thread")]
async fn creation_costs_a_probe_and_a_config() {
    let (_, _, recording) = create().await;
    assert!(recording.total() <= 8, "{recording}");
    assert_eq!(recording.count(Verb::List), 1);
}
