//! Snapshots that are disturbed, stopped, only tried, or taken side by side.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::join_all;
use repo_core::{
    Access, CheckOptions, Error, ErrorKind, Finding, OpenOptions, Quiet, ReadData, Repository,
    Severity, SnapshotOptions, Store,
};
use repo_testkit::data::{fill_tree, random};

use super::{Hook, assert_same, create, listing, names, options, read, settle, stored, take};

fn warnings(findings: &[Finding]) -> Vec<String> {
    let bad = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Warning);
    bad.map(ToString::to_string).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanishes_is_told_and_the_rest_is_saved() {
    let source = tempfile::tempdir().unwrap();
    for number in 10..40 {
        fs::write(source.path().join(number.to_string()), "x").unwrap();
    }
    let (repository, _) = create().await;
    let gone = source.path().join("25");
    let hook = Hook::new({
        let gone = gone.clone();
        move || fs::remove_file(gone).unwrap()
    });
    let paths = [source.path().to_path_buf()];
    let report = repository
        .snapshot_paths(&paths, &options(), Arc::clone(&hook) as _)
        .await
        .unwrap();
    let line = format!("{}: vanished before it was read", gone.display());
    assert_eq!(warnings(&report.findings), [line]);
    assert_eq!(*hook.findings.lock().unwrap(), report.findings);
    assert_eq!(report.snapshot.stats.unread, 1);
    assert_eq!(report.snapshot.stats.files, 29);
    let view = repository.view(&report.id.unwrap()).unwrap();
    assert_same(&view, source.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_while_read_is_torn_and_read_again() {
    for len in [9 << 20, 1 << 20] {
        let source = tempfile::tempdir().unwrap();
        let path = source.path().join("busy");
        fs::write(&path, random(1, len)).unwrap();
        fs::write(source.path().join("still"), "still").unwrap();
        settle().await;
        let (repository, _) = create().await;
        let grow = path.clone();
        let hook = Hook::new(move || {
            let mut file = File::options().append(true).open(grow).unwrap();
            file.write_all(b"more").unwrap();
        });
        let paths = [source.path().to_path_buf()];
        let report = repository
            .snapshot_paths(&paths, &options(), hook)
            .await
            .unwrap();
        let line = format!("{}: changed while it was read", path.display());
        assert_eq!(warnings(&report.findings), [line]);
        let view = repository.view(&report.id.unwrap()).unwrap();
        let listed = listing(&view).await;
        assert_eq!(
            (listed["busy"].torn, listed["still"].torn),
            (Some(true), None)
        );
        // What was read is what is there, whatever it was.
        let held = read(&view, "busy").await;
        assert_eq!(held.len() as u64, listed["busy"].size);
        assert!(held[..len] == random(1, len));

        settle().await;
        let view = take(&repository, source.path()).await;
        assert_eq!(view.snapshot().stats.files_changed, 1);
        assert_eq!(listing(&view).await["busy"].torn, None);
        assert_same(&view, source.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_overwritten_in_place_while_read_is_torn() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("busy");
    fs::write(&path, random(1, 9 << 20)).unwrap();
    settle().await;
    let (repository, _) = create().await;
    let hook = Hook::new({
        let path = path.clone();
        move || {
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(b"other", (9 << 20) - 10).unwrap();
        }
    });
    let paths = [source.path().to_path_buf()];
    let report = repository
        .snapshot_paths(&paths, &options(), hook)
        .await
        .unwrap();
    let line = format!("{}: changed while it was read", path.display());
    assert_eq!(warnings(&report.findings), [line]);
    settle().await;
    let view = take(&repository, source.path()).await;
    assert_eq!(view.snapshot().stats.files_changed, 1);
    assert_same(&view, source.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_counts_and_writes_nothing() {
    let source = tempfile::tempdir().unwrap();
    fill_tree(source.path(), 2, 50).unwrap();
    fs::write(source.path().join("large"), random(1, 20 << 20)).unwrap();
    let (repository, store) = create().await;
    let before = stored(&store).await;
    let dry = SnapshotOptions {
        dry_run: true,
        ..options()
    };
    let tried = super::report(&repository, source.path(), &dry).await;
    assert_eq!((tried.id, repository.head()), (None, 0));
    assert_eq!(stored(&store).await, before);
    let done = take(&repository, source.path()).await;
    let (tried, done) = (tried.snapshot.stats, done.snapshot().stats);
    assert_eq!((tried.files, tried.bytes), (done.files, done.bytes));
    assert_eq!(
        (tried.files_changed, tried.bytes_new),
        (done.files_changed, done.bytes_new)
    );
    assert!(tried.bytes_stored.abs_diff(done.bytes_stored) < done.bytes_stored / 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_snapshot_is_none() {
    let source = tempfile::tempdir().unwrap();
    fill_tree(source.path(), 3, 300).unwrap();
    fs::write(source.path().join("0"), random(1, 9 << 20)).unwrap();
    let (repository, _) = create().await;
    let hook = Hook::new(|| {});
    let inner = Arc::clone(&hook);
    *hook.first.lock().unwrap() = Some(Box::new(move || {
        inner.cancel.store(true, Ordering::SeqCst);
    }));
    let paths = [source.path().to_path_buf()];
    let stopped = repository.snapshot_paths(&paths, &options(), hook).await;
    assert!(matches!(stopped.unwrap_err(), Error::Cancelled));
    assert_eq!((repository.head(), repository.snapshots().len()), (0, 0));
    // What it left behind does not disturb the next one.
    assert_same(&take(&repository, source.path()).await, source.path()).await;
}

async fn open(store: &Store) -> Repository {
    Repository::open(store.clone(), &Access::Plain, &OpenOptions::default())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_taken_side_by_side_are_all_there() {
    let source = tempfile::tempdir().unwrap();
    fill_tree(source.path(), 5, 60).unwrap();
    fs::write(source.path().join("large"), random(1, 3 << 20)).unwrap();
    let (_, store) = create().await;
    // Two handles that know nothing of each other, and clones of one that share its state.
    let (one, other) = (open(&store).await, open(&store).await);
    let handles = [&one, &other, &one, &other, &one];
    let views = join_all(handles.map(|handle| take(handle, source.path()))).await;
    let fresh = open(&store).await;
    assert_eq!((fresh.head(), fresh.snapshots().len()), (5, 5));
    for view in &views {
        assert_same(view, source.path()).await;
        assert_same(&fresh.view(&view.id()).unwrap(), source.path()).await;
    }
    let all = CheckOptions {
        read_data: ReadData::All,
    };
    let checked = fresh.check(&all, Arc::new(Quiet)).await.unwrap();
    assert_eq!(checked.findings, []);
    one.refresh().await.unwrap();
    assert_eq!(one.snapshots().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_state_is_read_and_not_written() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("a"), "a").unwrap();
    let (repository, store) = create().await;
    let first = take(&repository, source.path()).await.id();
    fs::write(source.path().join("b"), "b").unwrap();
    let second = take(&repository, source.path()).await.id();
    let then = OpenOptions {
        at: Some(1),
        ..OpenOptions::default()
    };
    let then = Repository::open(store, &Access::Plain, &then)
        .await
        .unwrap();
    assert_eq!(names(&then.view(&first).unwrap()).await, ["a"]);
    let unknown = then.view(&second).err().unwrap();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    let paths = [source.path().to_path_buf()];
    let refused = then
        .snapshot_paths(&paths, &options(), Arc::new(Quiet))
        .await;
    assert!(matches!(refused.unwrap_err(), Error::ReadOnly { at: 1 }));
    let refused = then.retag(&[(first, Vec::new())], "tag").await;
    assert!(matches!(refused.unwrap_err(), Error::ReadOnly { at: 1 }));
    then.refresh().await.unwrap();
    assert_eq!((then.head(), then.snapshots().len()), (1, 1));
}
