//! Copies between repositories: the same content under other keys, once, and again from where it
//! stopped.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use repo_core::{
    Access, CheckOptions, CopyOptions, CopyReport, CreateOptions, Entry, ErrorKind, Finding,
    OpenOptions, Progress, Quiet, ReadData, Repository, SnapshotId, SnapshotOptions, Store,
};
use repo_testkit::data::{Random, fill_tree, random, text};
use repo_testkit::{FaultStore, Verb};

async fn create(access: &Access, options: &CreateOptions) -> (Repository, Store) {
    let store = Store::open("memory://", &[]).unwrap();
    let repository = Repository::create(store.clone(), access, options).await;
    (repository.unwrap(), store)
}

async fn plain() -> (Repository, Store) {
    create(&Access::Plain, &CreateOptions::default()).await
}

async fn reopen(store: &Store) -> Repository {
    let options = OpenOptions::default();
    let opened = Repository::open(store.clone(), &Access::Plain, &options).await;
    opened.unwrap()
}

async fn take(repository: &Repository, source: &Path, tags: &[&str]) -> SnapshotId {
    let options = SnapshotOptions {
        host: "test".to_owned(),
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        force: true,
        ..SnapshotOptions::default()
    };
    let paths = [source.to_path_buf()];
    let report = repository.snapshot_paths(&paths, &options, Arc::new(Quiet));
    report.await.unwrap().id.unwrap()
}

async fn copy(source: &Repository, target: &Repository) -> CopyReport {
    let options = CopyOptions::default();
    let done = source.copy_to(target, &[], &options, Arc::new(Quiet)).await;
    done.unwrap()
}

/// Every path with its entry, without what depends on the repository, and its bytes.
async fn held(repository: &Repository, id: &SnapshotId) -> Vec<(Vec<u8>, Entry, Vec<u8>)> {
    let found = Arc::new(Mutex::new(Vec::new()));
    let visit = Arc::clone(&found);
    let view = repository.view(id).unwrap();
    let each = move |path: &[u8], entry: &Entry| {
        visit.lock().unwrap().push((path.to_vec(), entry.clone()));
        ControlFlow::Continue(())
    };
    view.walk(b"", true, Box::new(each)).await.unwrap();
    let entries = std::mem::take(&mut *found.lock().unwrap());
    let mut held = Vec::new();
    for (path, mut entry) in entries {
        let bytes = match &entry.content {
            Some(_) => view.read(&entry, 0..u64::MAX).await.unwrap(),
            None => Vec::new(),
        };
        (entry.content, entry.subtree) = (None, None);
        held.push((path, entry, bytes));
    }
    held
}

/// Every snapshot of the source has a copy that holds the same, and the target is sound.
async fn assert_copied(source: &Repository, target: &Repository) {
    let (originals, copies) = (source.snapshots(), target.snapshots());
    assert_eq!(originals.len(), copies.len());
    for (original, copy) in originals.iter().zip(&copies) {
        let (id, other) = (original.snapshot.id(), copy.snapshot.id());
        assert_eq!(copy.snapshot.original, Some(id));
        assert!(held(source, &id).await == held(target, &other).await);
        let mut expected = (*original.snapshot).clone();
        expected.root.subtree = copy.snapshot.root.subtree;
        expected.parent = copy.snapshot.parent;
        expected.original = copy.snapshot.original;
        expected.stats.bytes_new = copy.snapshot.stats.bytes_new;
        expected.stats.bytes_stored = copy.snapshot.stats.bytes_stored;
        assert_eq!(*copy.snapshot, expected);
        assert_eq!(copy.tags, original.tags);
        let place = |list: &[repo_core::SnapshotRef], id: Option<SnapshotId>| {
            id.map(|id| list.iter().position(|known| known.snapshot.id() == id))
        };
        assert_eq!(
            place(&originals, original.snapshot.parent),
            place(&copies, copy.snapshot.parent)
        );
    }
    let options = CheckOptions {
        read_data: ReadData::All,
    };
    let report = target.check(&options, Arc::new(Quiet)).await.unwrap();
    let bad = report.findings.iter();
    let bad: Vec<&Finding> = bad
        .filter(|finding| finding.severity > repo_core::Severity::Note)
        .collect();
    assert_eq!(bad, Vec::<&Finding>::new());
}

/// Changes, adds and removes files.
fn change(root: &Path, seed: u64) {
    let mut random = Random::new(seed);
    let mut files = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    for path in files {
        match random.below(12) {
            0 => fs::remove_file(&path).unwrap(),
            1 => fs::write(&path, text(seed, random.below(200_000))).unwrap(),
            2 => {
                let mut bytes = fs::read(&path).unwrap();
                bytes.splice(0..0, *b"inserted");
                fs::write(&path, bytes).unwrap();
            }
            _ => {}
        }
    }
    fill_tree(&root.join(format!("more {seed}")), seed, 8).unwrap();
}

async fn stored(store: &Store) -> u64 {
    let keys: Vec<_> = store.list("", None).await.try_collect().await.unwrap();
    keys.iter().map(|info| info.size).sum()
}

/// Cancels after so many advances.
struct Until(AtomicU64);

impl Progress for Until {
    fn start(&self, _: &str, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, _: u64, _: u64) {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
    }
    fn finding(&self, _: &Finding) {}
    fn cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
    fn finish(&self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_random_trees_hold_the_same() {
    for seed in 0..4 {
        let files = tempfile::tempdir().unwrap();
        let tree = files.path().join("tree");
        fill_tree(&tree, seed, 70).unwrap();
        // Many entries in one directory, and a file with many chunks: nodes and lists of levels.
        let many = files.path().join("many");
        fs::create_dir(&many).unwrap();
        for number in 0..700 {
            fs::write(many.join(format!("{number}")), format!("{seed} {number}")).unwrap();
        }
        fs::write(files.path().join("long"), random(seed, 12 << 20)).unwrap();
        let (source, _) = plain().await;
        let access = match seed {
            0 => Access::password("a"),
            _ => Access::Plain,
        };
        let options = CreateOptions {
            segment_size: Some(100_000),
            pack_size: Some(400_000),
            ..CreateOptions::default()
        };
        let (target, _) = create(&access, &options).await;
        take(&source, files.path(), &["first"]).await;
        for round in 1..4 {
            change(&tree, seed * 10 + round);
            fs::write(many.join(format!("{round}")), "changed").unwrap();
            let long = File::options().write(true).open(files.path().join("long"));
            long.unwrap().write_all_at(&[7; 100], round << 21).unwrap();
            take(&source, files.path(), &["b", "a"]).await;
            if round == 2 {
                copy(&source, &target).await;
            }
        }
        let report = copy(&source, &target).await;
        assert_eq!((report.copied.len(), report.present.len()), (1, 3));
        assert_copied(&source, &target).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_reads_what_changed_since_the_last_one() {
    let files = tempfile::tempdir().unwrap();
    fill_tree(files.path(), 5, 300).unwrap();
    fs::write(files.path().join("long"), random(5, 20 << 20)).unwrap();
    for number in 0..1000 {
        fs::write(files.path().join(format!("{number}")), text(number, 500)).unwrap();
    }
    let (source, from) = plain().await;
    let (target, to) = plain().await;
    take(&source, files.path(), &[]).await;
    let first = copy(&source, &target).await;
    assert!(first.bytes_read > 20 << 20 && first.bytes_read == first.bytes_new);

    let long = File::options().write(true).open(files.path().join("long"));
    long.unwrap().write_all_at(&[7; 100], 9 << 20).unwrap();
    fs::write(files.path().join("500"), text(9000, 500)).unwrap();
    take(&source, files.path(), &[]).await;
    // Nothing is remembered between the two but what the repositories hold.
    let (source, target) = (reopen(&from).await, reopen(&to).await);
    let second = copy(&source, &target).await;
    assert_eq!((second.copied.len(), second.present.len()), (1, 1));
    assert!(
        second.bytes_read < 1 << 20,
        "{} bytes read",
        second.bytes_read
    );
    assert_eq!(second.bytes_read, second.bytes_new);
    assert_copied(&source, &target).await;

    let before = stored(&to).await;
    let third = copy(&source, &target).await;
    assert_eq!((third.copied.len(), third.present.len()), (0, 2));
    assert_eq!((third.bytes_read, third.bytes_stored), (0, 0));
    assert_eq!(stored(&to).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_stopped_carries_on() {
    let files = tempfile::tempdir().unwrap();
    fill_tree(files.path(), 6, 60).unwrap();
    let (source, _) = plain().await;
    for round in 0..3 {
        take(&source, files.path(), &[]).await;
        change(files.path(), round);
    }
    let (target, to) = plain().await;
    let mut stops = 0;
    for advances in (5..).step_by(20) {
        let until = Arc::new(Until(AtomicU64::new(advances)));
        let options = CopyOptions::default();
        let before = target.snapshots().len();
        match source.copy_to(&target, &[], &options, until).await {
            Ok(report) => {
                assert_eq!(report.present.len(), before);
                break;
            }
            Err(error) => assert!(matches!(error, repo_core::Error::Cancelled), "{error}"),
        }
        stops += 1;
    }
    assert!(stops > 2);
    assert_copied(&source, &reopen(&to).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failure_at_any_request_the_copy_is_whole_or_absent() {
    let files = tempfile::tempdir().unwrap();
    let (source, _) = plain().await;
    for round in 0..2 {
        fs::write(files.path().join(format!("{round}")), text(round, 50_000)).unwrap();
        take(&source, files.path(), &[]).await;
    }
    for limit in 0.. {
        let memory = Arc::new(FaultStore::in_memory());
        let store = Store::new(Arc::<FaultStore>::clone(&memory), "memory");
        let options = CreateOptions::default();
        let made = Repository::create(store.clone(), &Access::Plain, &options);
        made.await.unwrap();
        let faults = FaultStore::new(memory, limit);
        let faulty = Store::new(Arc::new(faults.clone()), "faulty").with_retry(Duration::ZERO);
        let access = Access::Plain;
        let done = match Repository::open(faulty, &access, &OpenOptions::default()).await {
            Ok(target) => {
                let options = CopyOptions::default();
                source
                    .copy_to(&target, &[], &options, Arc::new(Quiet))
                    .await
                    .map(drop)
            }
            Err(error) => Err(error),
        };
        let target = reopen(&store).await;
        // An error may also mean that nothing answered whether the last commit counts.
        let puts = faults.recording().paths(Verb::Put);
        let asked = puts.last().is_some_and(|path| path.starts_with("log/"));
        assert!(done.is_ok() || target.snapshots().len() < 2 || asked);
        for known in target.snapshots() {
            let original = known.snapshot.original.unwrap();
            let copied = held(&target, &known.snapshot.id()).await;
            assert!(copied == held(&source, &original).await);
        }
        copy(&source, &target).await;
        assert_copied(&source, &target).await;
        if done.is_ok() {
            assert!(faults.count(Verb::Put) > 6);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_named_and_the_rest_is_copied() {
    let files = tempfile::tempdir().unwrap();
    let (source, from) = plain().await;
    fs::write(files.path().join("sound"), text(1, 30_000)).unwrap();
    take(&source, files.path(), &[]).await;
    let packs = |store: &Store| {
        let store = store.clone();
        async move {
            let keys: Vec<_> = store
                .list("packs/", None)
                .await
                .try_collect()
                .await
                .unwrap();
            keys.into_iter().map(|info| info.key).collect::<Vec<_>>()
        }
    };
    let before = packs(&from).await;
    fs::create_dir(files.path().join("below")).unwrap();
    fs::write(files.path().join("below/victim"), random(2, 300_000)).unwrap();
    let bad = take(&source, files.path(), &[]).await;
    fs::remove_dir_all(files.path().join("below")).unwrap();
    fs::write(files.path().join("later"), text(3, 30_000)).unwrap();
    for key in packs(&from).await {
        let bytes = from.get(&key, 1 << 30).await.unwrap();
        if before.contains(&key) || bytes.len() < 300_000 {
            continue;
        }
        let mut harmed = bytes.to_vec();
        harmed[150_000] ^= 1;
        from.delete(&key).await.unwrap();
        from.put_new(&key, harmed.into()).await.unwrap();
    }
    take(&source, files.path(), &[]).await;
    let source = reopen(&from).await;
    let (target, _) = plain().await;
    let report = copy(&source, &target).await;
    assert_eq!((report.copied.len(), report.failed), (2, vec![bad]));
    let told = report.findings[0].to_string();
    assert!(told.starts_with("below/victim: "), "{told}");
    assert!(told.contains(&bad.to_string()), "{told}");
    for known in target.snapshots() {
        let original = known.snapshot.original.unwrap();
        let copied = held(&target, &known.snapshot.id()).await;
        assert!(copied == held(&source, &original).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deltas_stay_deltas() {
    let files = tempfile::tempdir().unwrap();
    let relation = files.path().join("base/5/16384");
    fs::create_dir_all(relation.parent().unwrap()).unwrap();
    let mut pages = random(1, 4 << 20);
    fs::write(&relation, &pages).unwrap();
    let (source, from) = plain().await;
    take(&source, files.path(), &[]).await;
    for round in 0..3 {
        let mut places = Random::new(round);
        for _ in 0..20 {
            let at = places.below(pages.len() - 50);
            pages[at..at + 50].copy_from_slice(&random(at as u64, 50));
        }
        fs::write(&relation, &pages).unwrap();
        take(&source, files.path(), &[]).await;
    }
    let (target, to) = plain().await;
    copy(&source, &target).await;
    assert_copied(&source, &target).await;
    let (from, to) = (stored(&from).await, stored(&to).await);
    assert!(from < 5 << 20, "{from} bytes in the source");
    assert!(to < from + from / 20, "{to} bytes of {from}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_made_to_cut_alike_shares_chunks_with_copies() {
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("words"), text(1, 3 << 20)).unwrap();
    let (source, _) = plain().await;
    take(&source, files.path(), &[]).await;
    let alike = CreateOptions {
        cutting: Some(source.cutting()),
        ..CreateOptions::default()
    };
    for (options, shares) in [(alike, true), (CreateOptions::default(), false)] {
        let (target, _) = create(&Access::Plain, &options).await;
        copy(&source, &target).await;
        let id = take(&target, files.path(), &[]).await;
        let stats = target.view(&id).unwrap().snapshot().stats;
        assert_eq!(stats.bytes_new == 0, shares, "{}", stats.bytes_new);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_copies_know_their_origin() {
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("a"), text(1, 3000)).unwrap();
    let (first, _) = plain().await;
    let id = take(&first, files.path(), &[]).await;
    let (second, _) = plain().await;
    copy(&first, &second).await;
    let (third, _) = plain().await;
    copy(&second, &third).await;
    assert_eq!(third.snapshots()[0].snapshot.original, Some(id));
    for (source, target) in [(&third, &first), (&first, &third), (&third, &second)] {
        let report = copy(source, target).await;
        assert_eq!((report.copied.len(), report.present.len()), (0, 1));
    }
    let options = CopyOptions::default();
    let itself = first.copy_to(&first, &[], &options, Arc::new(Quiet)).await;
    assert_eq!(itself.unwrap_err().kind(), ErrorKind::Invalid);
    let unknown = [SnapshotId([9; 32])];
    let unknown = first.copy_to(&second, &unknown, &options, Arc::new(Quiet));
    assert_eq!(unknown.await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_writes_nothing_and_tells_the_size() {
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("a"), random(1, 300_000)).unwrap();
    let (source, _) = plain().await;
    for round in 0..2 {
        fs::write(files.path().join("b"), text(round, 3000)).unwrap();
        take(&source, files.path(), &[]).await;
    }
    let (target, to) = plain().await;
    let before = stored(&to).await;
    let options = CopyOptions {
        dry_run: true,
        ..CopyOptions::default()
    };
    let dry = source.copy_to(&target, &[], &options, Arc::new(Quiet));
    let dry = dry.await.unwrap();
    assert_eq!(stored(&to).await, before);
    assert_eq!(dry.copied.len(), 2);
    let real = copy(&source, &target).await;
    assert_eq!(
        (dry.bytes_new, dry.bytes_read),
        (real.bytes_new, real.bytes_read)
    );
    // A dry run writes one session, and has no base that it wrote itself.
    let apart = dry.bytes_stored.abs_diff(real.bytes_stored);
    assert!(dry.bytes_stored > 300_000 && apart < 10_000, "{apart}");
}
