//! Which paths a snapshot holds, what is left out, and which snapshot it continues.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repo_core::{ErrorKind, Parent, Quiet, SnapshotId, SnapshotOptions, SnapshotView};

use super::{assert_same, create, listing, names, options, read, report, settle, take};

/// `a/file`, `b/below/file`, `b/other`, `c`.
fn tree() -> tempfile::TempDir {
    let source = tempfile::tempdir().unwrap();
    for directory in ["a", "b/below"] {
        fs::create_dir_all(source.path().join(directory)).unwrap();
    }
    for file in ["a/file", "b/below/file", "b/other", "c"] {
        fs::write(source.path().join(file), file).unwrap();
    }
    source
}

async fn several(repository: &repo_core::Repository, paths: &[PathBuf]) -> SnapshotView {
    let report = repository
        .snapshot_paths(paths, &options(), Arc::new(Quiet))
        .await
        .unwrap();
    repository.view(&report.id.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_roots_keep_their_absolute_places() {
    let source = tree();
    let (repository, _) = create().await;
    let at = |name: &str| source.path().join(name);
    let below = source.path().strip_prefix("/").unwrap().to_str().unwrap();
    settle().await;
    let view = several(&repository, &[at("c"), at("a"), at("b/below")]).await;
    let mut there: Vec<String> = Path::new(below)
        .ancestors()
        .filter_map(Path::to_str)
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect();
    for path in ["a", "a/file", "b", "b/below", "b/below/file", "c"] {
        there.push(format!("{below}/{path}"));
    }
    there.sort_unstable();
    assert_eq!(names(&view).await, there);
    assert_eq!(read(&view, &format!("{below}/c")).await, b"c");
    assert_eq!(
        read(&view, &format!("{below}/b/below/file")).await,
        b"b/below/file"
    );
    let paths: Vec<_> = view.snapshot().paths.iter().map(|path| &path.0).collect();
    assert!(paths.is_sorted() && paths.len() == 3);

    // Another order and detours name the same roots, so the parent is found and nothing is read.
    let again = several(
        &repository,
        &[at("a/../a/."), at("b/below/"), at("c"), at("c")],
    )
    .await;
    assert_eq!(again.snapshot().parent, Some(view.id()));
    assert_eq!(again.snapshot().stats.files_changed, 0);
    assert_eq!(again.snapshot().stats.bytes_stored, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_inside_another_is_part_of_it() {
    let source = tree();
    let (repository, _) = create().await;
    let nested = [source.path().join("b/below"), source.path().to_path_buf()];
    let view = several(&repository, &nested).await;
    assert_eq!(view.snapshot().paths.len(), 1);
    assert_eq!(
        names(&view).await,
        [
            "a",
            "a/file",
            "b",
            "b/below",
            "b/below/file",
            "b/other",
            "c"
        ]
    );
    assert_same(&view, source.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_is_the_only_entry_of_the_root() {
    let source = tree();
    let (repository, _) = create().await;
    settle().await;
    for _ in 0..2 {
        let view = take(&repository, &source.path().join("b/other")).await;
        assert_eq!(names(&view).await, ["other"]);
        assert_eq!(read(&view, "other").await, b"b/other");
        let changed = u64::from(view.snapshot().parent.is_none());
        assert_eq!(view.snapshot().stats.files_changed, changed);
    }
    // A link that is named is saved, not followed.
    let link = source.path().join("link");
    std::os::unix::fs::symlink("a", &link).unwrap();
    let listed = listing(&take(&repository, &link).await).await;
    assert_eq!(listed["link"].target.as_deref(), Some(&b"a"[..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_is_not_there_is_one_error() {
    let source = tree();
    let (repository, _) = create().await;
    for paths in [vec![source.path().join("none")], Vec::new()] {
        let refused = repository
            .snapshot_paths(&paths, &options(), Arc::new(Quiet))
            .await;
        assert!(refused.is_err());
    }
    assert_eq!(repository.head(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_excluded_is_not_there() {
    let source = tree();
    let root = source.path().to_path_buf();
    let (repository, _) = create().await;
    let asked = root.clone();
    let options = SnapshotOptions {
        exclude: Some(Arc::new(move |path, directory| {
            assert_eq!(path.is_dir(), directory, "{path:?}");
            let path = path.strip_prefix(&asked).unwrap();
            path == Path::new("b/below") || path == Path::new("c")
        })),
        ..options()
    };
    let report = report(&repository, &root, &options).await;
    assert_eq!(report.findings, []);
    let view = repository.view(&report.id.unwrap()).unwrap();
    assert_eq!(names(&view).await, ["a", "a/file", "b", "b/other"]);
    // What comes back is found again though the parent lacks it.
    let view = take(&repository, &root).await;
    assert_same(&view, &root).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_content_of_tagged_caches_is_left_out() {
    let source = tree();
    let tag = b"Signature: 8a477f597d28d172789f06886806bc55\n# comment";
    fs::write(source.path().join("a/CACHEDIR.TAG"), tag).unwrap();
    fs::write(source.path().join("b/CACHEDIR.TAG"), &tag[..20]).unwrap();
    let (repository, _) = create().await;
    let options = SnapshotOptions {
        exclude_caches: true,
        ..options()
    };
    let report = report(&repository, source.path(), &options).await;
    assert_eq!(report.findings, []);
    let view = repository.view(&report.id.unwrap()).unwrap();
    assert_eq!(
        names(&view).await,
        [
            "a",
            "b",
            "b/CACHEDIR.TAG",
            "b/below",
            "b/below/file",
            "b/other",
            "c"
        ]
    );
    assert_eq!(
        names(&take(&repository, source.path()).await).await.len(),
        9
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parent_is_the_newest_of_the_same_host_and_paths() {
    let source = tree();
    let (repository, _) = create().await;
    let with = |host: &str, parent| SnapshotOptions {
        host: host.to_owned(),
        parent,
        ..options()
    };
    let (a, below) = (source.path().to_path_buf(), source.path().join("b"));
    let snapshot = async |path: &Path, host: &str, parent| {
        let report = report(&repository, path, &with(host, parent)).await;
        (report.id.unwrap(), report.snapshot.parent)
    };
    let (one, none) = snapshot(&a, "one", Parent::Auto).await;
    assert_eq!(none, None);
    assert_eq!(snapshot(&a, "two", Parent::Auto).await.1, None);
    assert_eq!(snapshot(&below, "one", Parent::Auto).await.1, None);
    let (newer, parent) = snapshot(&a, "one", Parent::Auto).await;
    assert_eq!(parent, Some(one));
    assert_eq!(snapshot(&a, "one", Parent::None).await.1, None);
    assert_eq!(snapshot(&a, "one", Parent::Id(newer)).await.1, Some(newer));
    // Taken by name, a snapshot of other roots is a parent as well.
    assert_eq!(snapshot(&below, "x", Parent::Id(one)).await.1, Some(one));
    let unknown = with("one", Parent::Id(SnapshotId([7; 32])));
    let refused = repository
        .snapshot_paths(&[a], &unknown, Arc::new(Quiet))
        .await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::NotFound);
}
