use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use repo_store::Store;
use repo_testkit::data::random;

use super::*;
use crate::archive::{SnapshotOptions, SnapshotView};
use crate::progress::Quiet;
use crate::repository::{Access, CreateOptions};

async fn repository() -> Repository {
    let store = Store::open("memory://", &[]).expect("a store");
    let options = CreateOptions::default();
    let created = Repository::create(store, &Access::Plain, &options).await;
    created.expect("a repository")
}

async fn take(repository: &Repository, source: &Path, host: &str) -> SnapshotView {
    let options = SnapshotOptions {
        host: host.to_owned(),
        ..SnapshotOptions::default()
    };
    let paths = [source.to_path_buf()];
    let taken = repository.snapshot_paths(&paths, &options, Arc::new(Quiet));
    let id = taken.await.expect("a snapshot").id.expect("no dry run");
    repository.view(&id).expect("a view")
}

/// Path, size, seconds and snapshots of every version.
type Seen = BTreeSet<(Vec<u8>, u64, Option<BlobId>, (i64, u32), Vec<SnapshotId>)>;

/// What a naive look at every entry of every snapshot gives.
async fn naive(
    repository: &Repository,
    views: &[SnapshotView],
    matches: fn(&[u8], &Entry) -> bool,
) -> Seen {
    type Key = (Vec<u8>, u64, Option<BlobId>, (i64, u32));
    let mut seen: BTreeMap<Key, Vec<SnapshotId>> = BTreeMap::new();
    for view in views {
        let entries = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&entries);
        let visit = Box::new(move |path: &[u8], entry: &Entry| {
            if matches(path, entry) {
                list.lock()
                    .expect("a lock")
                    .push((path.to_vec(), entry.clone()));
            }
            ControlFlow::Continue(())
        });
        view.walk(b"", true, visit).await.expect("a walk");
        for (path, entry) in entries.lock().expect("a lock").drain(..) {
            let content = repository.content_id(&entry);
            let time = (entry.mtime.seconds, entry.mtime.nanos);
            let ids = seen.entry((path, entry.size, content, time)).or_default();
            ids.push(view.id());
        }
    }
    let flat = |((path, size, content, time), ids)| (path, size, content, time, ids);
    seen.into_iter().map(flat).collect()
}

/// What the search gives with so little memory.
fn searched(
    repository: &Repository,
    views: &[SnapshotView],
    matches: fn(&[u8], &Entry) -> bool,
    bytes_max: usize,
) -> (Seen, Vec<Vec<u8>>) {
    let mut options = FindOptions {
        snapshots: Vec::new(),
        matches: Box::new(matches),
        content: None,
    };
    let state = repository.state();
    let known = views
        .iter()
        .map(|view| state.snapshot(&view.id()).expect("known").clone());
    let seen = Arc::new(Mutex::new((Seen::new(), Vec::new())));
    let list = Arc::clone(&seen);
    let mut visit: VisitFound = Box::new(move |source, found| {
        let (seen, order) = &mut *list.lock().expect("a lock");
        order.push(found.path.clone());
        for version in found.versions {
            let places = version.snapshots.into_iter().flatten();
            let ids: Vec<SnapshotId> = places.map(|at| source.snapshots[at]).collect();
            let time = (version.mtime.seconds, version.mtime.nanos);
            let row = (found.path.clone(), version.size, version.content, time, ids);
            assert!(seen.insert(row), "each version is told once");
        }
        ControlFlow::Continue(())
    });
    let trees = Trees::open(repository).expect("trees");
    for (source, roots) in sources(known.collect()) {
        let mut search = Search::new(&trees, &mut options, bytes_max);
        assert!(
            search
                .source(&source, &roots, &mut visit)
                .expect("a search")
                .is_continue()
        );
    }
    drop(visit);
    Arc::into_inner(seen)
        .expect("the only one")
        .into_inner()
        .expect("a lock")
}

/// Changes a random tree: writes, rewrites, removes, and brings back what was.
fn change(root: &Path, dice: &[u8]) {
    for pair in dice.chunks_exact(3) {
        let directory = root
            .join(format!("d{}", pair[0] % 5))
            .join(format!("e{}", pair[0] % 3));
        let file = directory.join(format!("f{}", pair[1] % 7));
        match pair[2] % 4 {
            0 => drop(fs::remove_file(&file)),
            1 if pair[1] % 8 == 0 => drop(fs::remove_dir_all(&directory)),
            _ => {
                fs::create_dir_all(&directory).expect("a directory");
                fs::write(&file, vec![pair[2]; usize::from(pair[2] % 3)]).expect("a file");
                // Few times, so that earlier versions come back.
                let time = fs::FileTimes::new().set_modified(
                    std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(pair[2] % 2)),
                );
                let file = fs::File::options().write(true).open(&file).expect("a file");
                file.set_times(time).expect("a time");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_what_a_look_at_everything_finds() {
    let repository = repository().await;
    let place = tempfile::tempdir().expect("a directory");
    let mut views = Vec::new();
    for round in 0..24u64 {
        change(place.path(), &random(round, 60));
        let host = if round % 5 == 4 { "other" } else { "host" };
        views.push(take(&repository, place.path(), host).await);
    }
    let files: fn(&[u8], &Entry) -> bool = |_, entry| entry.kind == EntryType::File;
    let some: fn(&[u8], &Entry) -> bool = |path, _| path.ends_with(b"3");
    let (host, other): (Vec<_>, Vec<_>) = views
        .iter()
        .cloned()
        .partition(|view| view.snapshot().host == "host");
    for matches in [files, some] {
        let mut expected = naive(&repository, &host, matches).await;
        assert!(expected.len() > 20, "the tree is worth a search");
        for bytes_max in [0, 2_000, 20_000, usize::MAX] {
            let (seen, order) = searched(&repository, &host, matches, bytes_max);
            assert_eq!(seen, expected, "in {bytes_max} bytes");
            let key = |path: &Vec<u8>| path.replace_slashes();
            assert!(order.is_sorted_by_key(key), "in name order, each path once");
        }
        // Sources are apart, and time order does not depend on the order asked.
        expected.extend(naive(&repository, &other, matches).await);
        let mut mixed = views.clone();
        mixed.reverse();
        assert_eq!(searched(&repository, &mixed, matches, 5_000).0, expected);
    }
}

trait Slashes {
    fn replace_slashes(&self) -> Vec<u8>;
}

impl Slashes for Vec<u8> {
    fn replace_slashes(&self) -> Vec<u8> {
        self.iter()
            .map(|b| if *b == b'/' { 0 } else { *b })
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_found_by_the_file_and_by_its_chunks() {
    let repository = repository().await;
    let place = tempfile::tempdir().expect("a directory");
    fs::write(place.path().join("large"), random(1, 700_000)).expect("a file");
    fs::write(place.path().join("copy"), random(1, 700_000)).expect("a file");
    fs::write(place.path().join("small"), "abc").expect("a file");
    let view = take(&repository, place.path(), "host").await;
    let found = async |content: String| {
        let list = Arc::new(Mutex::new(Vec::new()));
        let paths = Arc::clone(&list);
        let visit: VisitFound = Box::new(move |_, found| {
            paths.lock().expect("a lock").push(found.path);
            ControlFlow::Continue(())
        });
        let options = FindOptions {
            snapshots: vec![view.id()],
            matches: Box::new(|_, _| true),
            content: Some(content),
        };
        repository.find(options, visit).await.expect("a search");
        std::mem::take(&mut *list.lock().expect("a lock"))
    };
    let large = view.entry(b"large").await.expect("an entry");
    let small = view.entry(b"small").await.expect("an entry");
    let both = vec![b"copy".to_vec(), b"large".to_vec()];
    let id = repository.content_id(&large).expect("a content").to_hex();
    assert_eq!(found(id[..12].to_owned()).await, both);
    let content = large.content.expect("a content");
    assert!(content.extents.len() > 1, "it has several chunks");
    let last = content.extents.last().and_then(|extent| extent.id);
    assert_eq!(found(last.expect("a chunk").to_hex()).await, both);
    let id = repository.content_id(&small).expect("a content").to_hex();
    assert_eq!(found(id).await, [b"small".to_vec()]);
    assert!(found("0".repeat(20)).await.is_empty());
}
