//! What snapshots need and share, against sets of chunks counted by hand.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use repo_core::{
    Access, BlobId, ForgetOptions, GcOptions, GroupBy, MaxUnused, Quiet, Repository,
    SnapshotOptions, SnapshotView, Store, plan_forget_ids,
};
use repo_testkit::data::random;

use crate::fixture::create;

async fn repository() -> Repository {
    let store = Store::open("memory://", &[]).unwrap();
    create(store, &Access::Plain).await
}

async fn take(repository: &Repository, source: &Path, host: &str) -> SnapshotView {
    let options = SnapshotOptions {
        host: host.to_owned(),
        ..SnapshotOptions::default()
    };
    let paths = [source.to_path_buf()];
    let report = repository
        .snapshot_paths(&paths, &options, Arc::new(Quiet))
        .await
        .unwrap();
    repository.view(&report.id.unwrap()).unwrap()
}

/// Chunks of all files of a snapshot, with their lengths. No file here has lists of chunks.
async fn chunks(view: &SnapshotView) -> BTreeMap<BlobId, u64> {
    let chunks = Arc::new(Mutex::new(BTreeMap::new()));
    let list = Arc::clone(&chunks);
    let visit = Box::new(move |_: &[u8], entry: &repo_core::Entry| {
        for extent in entry.content.iter().flat_map(|content| &content.extents) {
            list.lock().unwrap().insert(extent.id.unwrap(), extent.len);
        }
        ControlFlow::Continue(())
    });
    view.walk(b"", true, visit).await.unwrap();
    std::mem::take(&mut *chunks.lock().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_what_sets_of_chunks_say() {
    let repository = repository().await;
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, seed: u64, len: usize| {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, random(seed, len)).unwrap();
    };
    let mut views = Vec::new();
    for round in 0..9 {
        // Files of one snapshot, of a few, of one host, and of all.
        write("always", 1, 100_000);
        write(&format!("own/{round}"), 100 + round, 40_000);
        write("host", 200 + round % 3, 300_000);
        write("slow/changes", 300 + round / 4, 70_000);
        if round == 5 {
            fs::remove_dir_all(place.path().join("own")).unwrap();
        }
        let host = format!("host-{}", round % 3);
        views.push(take(&repository, place.path(), &host).await);
    }
    let mut sets = Vec::new();
    for view in &views {
        sets.push(chunks(view).await);
    }
    let all: BTreeMap<BlobId, u64> = sets.iter().flatten().map(|(id, len)| (*id, *len)).collect();
    let only = |inside: &dyn Fn(usize) -> bool| -> u64 {
        let needs = |id: &BlobId| -> BTreeSet<bool> {
            let holders = (0..sets.len()).filter(|at| sets[*at].contains_key(id));
            holders.map(inside).collect()
        };
        let alone = all
            .iter()
            .filter(|(id, _)| needs(id) == BTreeSet::from([true]));
        alone.map(|(_, len)| len).sum()
    };

    let usage = repository.usage(|_| None, Arc::new(Quiet)).await.unwrap();
    assert_eq!(usage.data_bytes, all.values().sum::<u64>());
    let logical: u64 = views.iter().map(|view| view.snapshot().stats.bytes).sum();
    assert_eq!(usage.logical_bytes, logical);
    assert_eq!(usage.snapshots.len(), views.len());
    for told in &usage.snapshots {
        let at = views.iter().position(|view| view.id() == told.id).unwrap();
        assert_eq!(
            told.exclusive_bytes,
            only(&|other| other == at),
            "snapshot {at}"
        );
        assert!(told.exclusive_stored > 0, "each has trees of its own");
    }
    for (source, told) in usage.sources.iter().enumerate() {
        assert_eq!(told.host, format!("host-{source}"));
        assert_eq!(told.snapshots, 3);
        assert_eq!(told.exclusive_bytes, only(&|other| other % 3 == source));
    }
    assert_eq!(usage.unneeded_stored, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_snapshot_alone_needs_is_what_a_collection_frees() {
    let repository = repository().await;
    let place = tempfile::tempdir().unwrap();
    let mut content = random(1, 300_000);
    fs::write(place.path().join("file"), &content).unwrap();
    fs::write(place.path().join("gone"), random(2, 500_000)).unwrap();
    let first = take(&repository, place.path(), "host").await;
    // Stored against the first version, which must stay for that.
    content[150_000] ^= 1;
    fs::write(place.path().join("file"), &content).unwrap();
    fs::remove_file(place.path().join("gone")).unwrap();
    take(&repository, place.path(), "host").await;
    // And this one against the second.
    content[160_000] ^= 1;
    fs::write(place.path().join("file"), &content).unwrap();
    let third = take(&repository, place.path(), "host").await;

    let before = repository.usage(|_| None, Arc::new(Quiet)).await.unwrap();
    assert!(
        before.delta_bytes > 0 && before.saved_by_deltas() > 0,
        "{before:?}"
    );
    let told = before.snapshots[0];
    assert_eq!(told.id, first.id());
    let gone: u64 = chunks(&first).await.values().sum::<u64>() - 300_000;
    assert_eq!(gone, 500_000);
    // The chunk of the file that was changed is the base of the new one.
    let kept = told.exclusive_bytes;
    assert!((500_000..800_000).contains(&kept), "{kept}");

    let known = repository.snapshots();
    let plan = plan_forget_ids(&known, &[first.id()], GroupBy::default()).unwrap();
    let options = ForgetOptions::default();
    repository.forget(&plan, &options, "forget").await.unwrap();
    let second = repository.snapshots()[0].snapshot.id();
    let unneeded = repository.usage(|_| None, Arc::new(Quiet)).await.unwrap();
    assert_eq!(unneeded.unneeded_stored, told.exclusive_stored);
    let options = GcOptions {
        max_unused: MaxUnused::Bytes(0),
        ..GcOptions::default()
    };
    repository.gc(&options, Arc::new(Quiet)).await.unwrap();
    let after = repository.usage(|_| None, Arc::new(Quiet)).await.unwrap();
    assert_eq!(after.unneeded_stored, 0);
    assert_eq!(after.snapshots.len(), 2);

    // Without the second its chunk is needed still, and the first one's for that.
    let known = repository.snapshots();
    let plan = plan_forget_ids(&known, &[second], GroupBy::default()).unwrap();
    let allowed = ForgetOptions::default();
    repository.forget(&plan, &allowed, "forget").await.unwrap();
    repository.gc(&options, Arc::new(Quiet)).await.unwrap();
    let last = repository.usage(|_| None, Arc::new(Quiet)).await.unwrap();
    assert_eq!(last.snapshots.len(), 1);
    assert_eq!(last.unneeded_stored, 0);
    let entry = third.entry(b"file").await.unwrap();
    assert!(third.read(&entry, 0..u64::MAX).await.unwrap() == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_counted_apart_and_together() {
    let repository = repository().await;
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, seed: u64, len: usize| {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, random(seed, len)).unwrap();
    };
    write("parts/one/always", 1, 60_000);
    write("parts/one/shared", 2, 70_000);
    write("parts/two/shared", 2, 70_000);
    write("parts/two/first", 3, 80_000);
    take(&repository, place.path(), "host").await;
    // Against nothing that is there, so that no chunk is kept for another.
    fs::remove_file(place.path().join("parts/two/first")).unwrap();
    write("parts/two/second", 4, 90_000);
    write("parts/one/elsewhere", 5, 100_000);
    take(&repository, place.path(), "host").await;
    // A source without parts that holds one of the files, too.
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("copy"), random(5, 100_000)).unwrap();
    take(&repository, other.path(), "other").await;

    let none = repository.usage(|_| None, Arc::new(Quiet)).await.unwrap();
    assert!(none.parts.is_empty());
    let parts: repo_core::PartsOf =
        |snapshot| (snapshot.host == "host").then_some(b"parts".as_slice());
    let usage = repository.usage(parts, Arc::new(Quiet)).await.unwrap();
    let told: Vec<_> = usage
        .parts
        .iter()
        .map(|part| {
            let name = String::from_utf8(part.name.clone()).unwrap();
            let bytes = (part.logical_bytes, part.exclusive_bytes);
            assert!(part.exclusive_stored >= part.exclusive_bytes);
            (part.host.as_str(), name, part.snapshots, bytes)
        })
        .collect();
    let one = (2 * 60_000 + 2 * 70_000 + 100_000, 60_000);
    let two = (2 * 70_000 + 80_000 + 90_000, 80_000 + 90_000);
    assert_eq!(
        told,
        [
            ("host", "one".to_owned(), 2, one),
            ("host", "two".to_owned(), 2, two)
        ]
    );
    assert_eq!(
        (&usage.sources, usage.data_bytes),
        (&none.sources, none.data_bytes)
    );
}
