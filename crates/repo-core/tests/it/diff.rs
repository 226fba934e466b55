//! Differences between snapshots against a plain comparison of what was written.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use repo_core::{Access, Change, ChangeKind, DiffTotals, Repository, SnapshotView, Store};
use repo_testkit::data::random;

use crate::fixture::{create, take};

async fn repository() -> Repository {
    let store = Store::open("memory://", &[]).unwrap();
    create(store, &Access::Plain).await
}

async fn diff(
    repository: &Repository,
    a: &SnapshotView,
    b: &SnapshotView,
) -> (Vec<Change>, DiffTotals) {
    let changes = Arc::new(Mutex::new(Vec::new()));
    let visited = Arc::clone(&changes);
    let visit = Box::new(move |change| {
        visited.lock().unwrap().push(change);
        ControlFlow::Continue(())
    });
    let totals = repository.diff(a, b, visit).await.unwrap();
    let changes = std::mem::take(&mut *changes.lock().unwrap());
    (changes, totals)
}

/// `+`, `-`, `m` (content), `u` (metadata only), `t` and the path; directories' own times left out.
fn lines(changes: &[Change]) -> Vec<String> {
    let mut lines = Vec::new();
    for change in changes {
        let sign = match change.kind {
            ChangeKind::Added => '+',
            ChangeKind::Removed => '-',
            ChangeKind::Modified { content: true, .. } => 'm',
            ChangeKind::Modified { .. } => 'u',
            ChangeKind::TypeChanged => 't',
        };
        let directory = change
            .after
            .as_ref()
            .is_some_and(|entry| entry.kind == repo_core::EntryType::Directory);
        if !(sign == 'u' && directory) {
            lines.push(format!("{sign} {}", change.path.escape_ascii()));
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_by_kind_in_name_order() {
    use std::os::unix::fs::PermissionsExt;
    let source = tempfile::tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    for directory in ["gone/deep", "kept"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    for name in ["content", "gone/deep/file", "kept/same", "mode", "turns"] {
        fs::write(at(name), name).unwrap();
    }
    std::os::unix::fs::symlink("old", at("link")).unwrap();
    let repository = repository().await;
    let before = take(&repository, source.path()).await;

    fs::write(at("content"), "other").unwrap();
    fs::remove_dir_all(at("gone")).unwrap();
    fs::remove_file(at("link")).unwrap();
    std::os::unix::fs::symlink("new", at("link")).unwrap();
    fs::set_permissions(at("mode"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(at("turns")).unwrap();
    fs::create_dir(at("turns")).unwrap();
    fs::write(at("turns/into"), "a directory").unwrap();
    let after = take(&repository, source.path()).await;

    let (changes, totals) = diff(&repository, &before, &after).await;
    let there = [
        "m content",
        "- gone",
        "- gone/deep",
        "- gone/deep/file",
        "m link",
        "u mode",
        "t turns",
        "+ turns/into",
    ];
    assert_eq!(lines(&changes), there);
    assert_eq!((totals.added, totals.removed), (1, 3));
    assert_eq!(totals.added_bytes, 5 + 11);
    assert_eq!(totals.removed_bytes, 7 + 14 + 5);

    let (changes, _) = diff(&repository, &after, &before).await;
    let back = [
        "m content",
        "+ gone",
        "+ gone/deep",
        "+ gone/deep/file",
        "m link",
        "u mode",
        "t turns",
        "- turns/into",
    ];
    assert_eq!(lines(&changes), back);
    let (changes, totals) = diff(&repository, &after, &after).await;
    assert_eq!((changes, totals), (Vec::new(), DiffTotals::default()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_directory_and_a_large_file_differ_where_they_were_changed() {
    let source = tempfile::tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    for number in 0..3000 {
        fs::write(at(&format!("{number:05}")), format!("{number}")).unwrap();
    }
    let mut large = random(1, 8 << 20);
    fs::write(at("large"), &large).unwrap();
    let repository = repository().await;
    let before = take(&repository, source.path()).await;

    fs::write(at("00000a"), "at the start").unwrap();
    fs::remove_file(at("01500")).unwrap();
    fs::write(at("02999"), "the last").unwrap();
    large[4 << 20] ^= 1;
    large.splice(100..100, [1, 2, 3]);
    fs::write(at("large"), &large).unwrap();
    let after = take(&repository, source.path()).await;

    let (changes, totals) = diff(&repository, &before, &after).await;
    assert_eq!(
        lines(&changes),
        ["+ 00000a", "- 01500", "m 02999", "m large"]
    );
    // A few chunks of the file, and the small ones.
    assert!(totals.added_bytes < 5 << 20, "{totals:?}");
    assert!(totals.added_bytes.abs_diff(totals.removed_bytes) < 1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_visitor_can_stop() {
    let source = tempfile::tempdir().unwrap();
    let repository = repository().await;
    let before = take(&repository, source.path()).await;
    for name in ["a", "b", "c"] {
        fs::write(source.path().join(name), name).unwrap();
    }
    let after = take(&repository, source.path()).await;
    let totals = repository
        .diff(&before, &after, Box::new(|_| ControlFlow::Break(())))
        .await
        .unwrap();
    assert_eq!(totals.added, 1);
}
