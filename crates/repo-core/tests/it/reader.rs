//! Random access through a `Reader`: every range of every kind of file, split directories, and
//! collectors that move what is read.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use repo_core::{
    Access, CreateOptions, Error, ForgetOptions, GcOptions, GroupBy, MaxUnused, OpenOptions, Quiet,
    Reader, Repository, SnapshotView, Store, plan_forget_ids,
};
use repo_testkit::FaultStore;
use repo_testkit::data::random;
use tempfile::TempDir;

use crate::fixture::{create, take};

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn read_all(reader: &Reader, view: &SnapshotView, path: &str, step: usize) -> Vec<u8> {
    let root = &view.snapshot().root;
    let entry = reader.resolve(root, path.as_bytes()).unwrap().unwrap();
    let file = reader.file(&entry).unwrap();
    let mut all = Vec::new();
    loop {
        let part = file.read(all.len() as u64, step).unwrap();
        if part.is_empty() {
            assert_eq!(all.len() as u64, file.size());
            return all;
        }
        all.extend_from_slice(&part);
    }
}

/// Text, pages, bytes that do not compress, a file with holes, an empty one.
fn write_files(source: &Path) {
    fs::write(source.join("empty"), "").unwrap();
    fs::write(source.join("random"), random(1, 9_000_001)).unwrap();
    let text: String = (0..400_000).map(|n| format!("line {n}\n")).collect();
    fs::write(source.join("text"), text).unwrap();
    let sparse = File::create(source.join("sparse")).unwrap();
    sparse.set_len(12 << 20).unwrap();
    sparse.write_all_at(&random(2, 5000), 3 << 20).unwrap();
    sparse.write_all_at(b"end", (12 << 20) - 3).unwrap();
}

/// Those files, and a snapshot of them in a repository of its own.
async fn saved() -> (TempDir, Repository, SnapshotView) {
    let source = tempfile::tempdir().unwrap();
    write_files(source.path());
    let store = Store::open("memory://", &[]).unwrap();
    let repository = create(store, &Access::password("x")).await;
    let view = take(&repository, source.path()).await;
    (source, repository, view)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_range_is_what_was_saved() {
    let (scratch, repository, view) = saved().await;
    let source = scratch.path().to_path_buf();
    blocking(move || {
        let reader = repository.reader();
        for name in ["empty", "random", "text", "sparse"] {
            let content = fs::read(source.join(name)).unwrap();
            for step in [131_072, 1_000_003, 64 << 20] {
                assert!(
                    read_all(&reader, &view, name, step) == content,
                    "{name} {step}"
                );
            }
            let root = &view.snapshot().root;
            let entry = reader.resolve(root, name.as_bytes()).unwrap().unwrap();
            let file = reader.file(&entry).unwrap();
            for at in 0..200_usize {
                let offset = at * 7_919_777 % (content.len() + 10);
                let len = at * 4099 % 300_000;
                let part = file.read(offset as u64, len).unwrap();
                let end = (offset + len).min(content.len());
                let expected = content.get(offset..end).unwrap_or_default();
                assert!(part == expected, "{name} {offset} {len}");
            }
            assert!(file.read(u64::MAX, usize::MAX).unwrap().is_empty());
        }
        let root = &view.snapshot().root;
        assert!(matches!(reader.file(root), Err(Error::WrongType { .. })));
        assert_eq!(reader.resolve(root, b"text/below").unwrap(), None);
        assert_eq!(reader.resolve(root, b"absent").unwrap(), None);
        assert_eq!(reader.resolve(root, b"").unwrap().unwrap(), *root);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_around_a_read_is_at_hand_and_right() {
    let (scratch, repository, view) = saved().await;
    let source = scratch.path().to_path_buf();
    blocking(move || {
        for name in ["random", "text", "sparse"] {
            let content = fs::read(source.join(name)).unwrap();
            let root = &view.snapshot().root;
            let reader = repository.reader();
            let entry = reader.resolve(root, name.as_bytes()).unwrap().unwrap();
            let mut most = 0;
            for at in 0..40_u64 {
                let file = reader.file(&entry).unwrap();
                let offset = (3 << 20) + at * 7_919_777 % (file.size() - (3 << 20));
                file.read(offset, 10).unwrap();
                assert!(file.has_jumped(), "{name} {offset}");
                let Some((start, bytes)) = file.at_hand(offset).unwrap() else {
                    // A hole is not stored, so there is nothing to decode.
                    assert_eq!(name, "sparse");
                    continue;
                };
                let end = start + bytes.len() as u64;
                assert!((start..end).contains(&offset), "{name} {offset}");
                let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
                assert!(content.get(range) == Some(&bytes[..]), "{name} {offset}");
                most = most.max(bytes.len());
            }
            assert!(most > 100_000 || name == "sparse", "{name} {most}");
            let fresh = repository.reader().file(&entry).unwrap();
            assert!(fresh.at_hand(0).unwrap().is_none(), "nothing was read");
            assert!(fresh.at_hand(fresh.size()).unwrap().is_none());
            fresh.read(0, 4096).unwrap();
            assert!(!fresh.has_jumped(), "from the start on, it is in order");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_directory_is_found_by_name_and_by_number() {
    let scratch = tempfile::tempdir().unwrap();
    for number in 0..3000 {
        fs::write(scratch.path().join(format!("file {number}")), "").unwrap();
    }
    let repository = create(Store::open("memory://", &[]).unwrap(), &Access::Plain).await;
    let view = take(&repository, scratch.path()).await;
    blocking(move || {
        let reader = repository.reader();
        let root = &view.snapshot().root;
        let mut names = Vec::new();
        let mut leaves = 0;
        while let Some((first, leaf)) = reader.leaf_at(root, names.len() as u64).unwrap() {
            assert_eq!(first, names.len() as u64);
            assert_eq!(reader.leaf(&leaf.id()).unwrap().entries(), leaf.entries());
            names.extend(leaf.entries().iter().map(|entry| entry.name.clone()));
            leaves += 1;
        }
        assert_eq!(names.len(), 3000);
        assert!(leaves > 5 && names.is_sorted(), "{leaves} leaves");
        for (number, name) in names.iter().enumerate().step_by(37) {
            let (first, by_number) = reader.leaf_at(root, number as u64).unwrap().unwrap();
            let by_name = reader.leaf_of(root, name).unwrap().unwrap();
            assert_eq!(by_name.id(), by_number.id());
            assert_eq!(
                by_name.position(name).unwrap() as u64 + first,
                number as u64
            );
        }
        assert!(reader.leaf_of(root, b"file 3000").unwrap().is_none());
        assert!(reader.leaf_of(root, b"zzz").unwrap().is_none());
        assert!(reader.leaf_at(root, 3000).unwrap().is_none());
        assert!(reader.leaf_at(root, u64::MAX).unwrap().is_none());
    })
    .await;
}

/// Forgets all snapshots but the last, and deletes at once what they alone needed. Tells how many packs
/// were copied, which is up to how the threads of a snapshot filled them.
async fn collect(repository: &Repository) -> u64 {
    let known = repository.snapshots();
    let (_, old) = known.split_last().unwrap();
    let ids: Vec<_> = old.iter().map(|known| known.snapshot.id()).collect();
    let plan = plan_forget_ids(&known, &ids, GroupBy::default()).unwrap();
    let options = ForgetOptions { allow_empty: true };
    repository.forget(&plan, &options, "forget").await.unwrap();
    let options = GcOptions {
        reader_grace_ms: 0,
        writer_grace_ms: 0,
        max_unused: MaxUnused::Bytes(0),
        ..GcOptions::default()
    };
    let report = repository.gc(&options, Arc::new(Quiet)).await.unwrap();
    report.repacked.objects
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_collector_moves_is_found_again() {
    let scratch = tempfile::tempdir().unwrap();
    let memory = FaultStore::in_memory();
    let store = || Store::new(Arc::new(memory.clone()), "memory");
    let options = CreateOptions {
        segment_size: Some(32 << 10),
        pack_size: Some(96 << 10),
        ..CreateOptions::default()
    };
    let repository = Repository::create(store(), &Access::Plain, &options)
        .await
        .unwrap();
    let apart = OpenOptions::default();
    // A handle of its own learns nothing of what the other commits.
    let reader = repository.reopen(store(), &apart).await.unwrap().reader();
    let mut moved = 0;
    for round in 0..3_u64 {
        let content = random(3 * round, 200_000);
        for change in 1..=2 {
            let other = random(3 * round + change, 200_000);
            fs::write(scratch.path().join("other"), other).unwrap();
            fs::write(scratch.path().join("kept"), &content).unwrap();
            take(&repository, scratch.path()).await;
        }
        let known = repository.snapshots();
        let root = known.last().unwrap().snapshot.root.clone();
        let opened = reader.clone();
        let open = move || {
            let entry = opened.resolve(&root, b"kept").unwrap().unwrap();
            let file = opened.file(&entry).unwrap();
            assert_eq!(file.read(0, 10_000).unwrap().len(), 10_000);
            file
        };
        let file = blocking(open).await;
        moved += collect(&repository).await;
        // It looks again at most once a second.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let all = blocking(move || file.read(0, 1 << 20).unwrap()).await;
        assert!(all == content, "round {round}");
    }
    assert!(moved > 0, "nothing was moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_and_loss_are_errors_and_not_bytes() {
    let scratch = tempfile::tempdir().unwrap();
    let (source, stored) = (scratch.path().join("s"), scratch.path().join("r"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), random(1, 1 << 20)).unwrap();
    fs::create_dir(&stored).unwrap();
    let store = Store::open(stored.to_str().unwrap(), &[]).unwrap();
    let repository = create(store, &Access::Plain).await;
    let view = take(&repository, &source).await;
    blocking(move || {
        let root = view.snapshot().root.clone();
        let entry = repository
            .reader()
            .resolve(&root, b"file")
            .unwrap()
            .unwrap();
        let packs = walk(&stored.join("packs"));
        let largest = packs
            .iter()
            .max_by_key(|path| path.metadata().unwrap().len());
        let largest = largest.unwrap();
        let sound = fs::read(largest).unwrap();
        let mut harmed = sound.clone();
        let middle = harmed.len() / 2;
        harmed[middle] ^= 1;
        fs::write(largest, harmed).unwrap();
        let file = repository.reader().file(&entry).unwrap();
        assert!(file.read(0, 1 << 20).is_err());
        fs::remove_file(largest).unwrap();
        let error = repository.reader().file(&entry).unwrap().read(0, 10);
        assert_eq!(error.unwrap_err().kind(), repo_core::ErrorKind::Corrupt);
        // A failure is not remembered.
        fs::write(largest, sound).unwrap();
        assert_eq!(file.read(0, 1 << 20).unwrap().len(), 1 << 20);
    })
    .await;
}

fn walk(below: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
