//! Which files are read again, and how little a change costs.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use repo_core::{
    Access, CheckOptions, CreateOptions, OpenOptions, Quiet, ReadData, Repository, SnapshotOptions,
    Store,
};
use repo_testkit::data::{Random, fill_tree, random, text};

use super::{assert_same, create, options, read, report, settle, stored, take};

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_change_is_not_read_unless_asked() {
    let source = tempfile::tempdir().unwrap();
    fill_tree(source.path(), 1, 60).unwrap();
    settle().await;
    let (repository, store) = create().await;
    let first = take(&repository, source.path()).await;
    let before = stored(&store).await;
    assert_eq!(first.snapshot().stats.files_changed, 60);

    let second = take(&repository, source.path()).await;
    let stats = second.snapshot().stats;
    assert_eq!(
        (stats.files_changed, stats.bytes_new, stats.bytes_stored),
        (0, 0, 0)
    );
    assert_eq!(
        (stats.files, stats.bytes),
        (60, first.snapshot().stats.bytes)
    );
    assert_eq!(
        second.snapshot().root.subtree,
        first.snapshot().root.subtree
    );
    assert!(stored(&store).await - before < 1000, "a commit and no more");

    for options in [
        SnapshotOptions {
            force: true,
            ..options()
        },
        SnapshotOptions {
            parent: repo_core::Parent::None,
            ..options()
        },
    ] {
        let forced = report(&repository, source.path(), &options).await.snapshot;
        assert_eq!(
            (forced.stats.files_changed, forced.stats.bytes_new),
            (60, 0)
        );
        assert_eq!(forced.root.subtree, first.snapshot().root.subtree);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_hides_behind_size_and_mtime_is_noticed() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("file");
    fs::write(&path, "before").unwrap();
    fs::write(source.path().join("other"), "other").unwrap();
    settle().await;
    let (repository, _) = create().await;
    take(&repository, source.path()).await;
    let meta = fs::metadata(&path).unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(b"after!", 0)
        .unwrap();
    let file = File::open(&path).unwrap();
    file.set_modified(meta.modified().unwrap()).unwrap();
    let now = fs::metadata(&path).unwrap();
    assert_eq!(
        (now.len(), now.mtime_nsec(), now.ino()),
        (6, meta.mtime_nsec(), meta.ino())
    );
    let view = take(&repository, source.path()).await;
    assert_eq!(view.snapshot().stats.files_changed, 1);
    assert_eq!(read(&view, "file").await, b"after!");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_replaced_by_another_is_noticed() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("file");
    fs::write(&path, "before").unwrap();
    settle().await;
    let (repository, _) = create().await;
    take(&repository, source.path()).await;
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("inner"), "inner").unwrap();
    assert_eq!(
        read(&take(&repository, source.path()).await, "file/inner").await,
        b"inner"
    );
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "file again").unwrap();
    assert_eq!(
        read(&take(&repository, source.path()).await, "file").await,
        b"file again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_written_just_now_is_read_again() {
    let source = tempfile::tempdir().unwrap();
    let (repository, _) = create().await;
    for number in 0..5 {
        fs::write(source.path().join("file"), format!("{number}")).unwrap();
        let view = take(&repository, source.path()).await;
        assert_eq!(read(&view, "file").await, format!("{number}").as_bytes());
    }
}

fn page_file(path: &Path, pages: usize) -> Vec<u8> {
    let mut bytes = random(9, pages * 8192);
    bytes[..16].copy_from_slice(b"SQLite format 3\0");
    fs::write(path, &bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_page_costs_little_more_than_itself() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("data.db");
    let mut bytes = page_file(&path, 500);
    settle().await;
    let (repository, store) = create().await;
    let view = take(&repository, source.path()).await;
    assert_eq!(view.entry(b"data.db").await.unwrap().policy, Some(1));
    for page in [0, 130, 499] {
        let before = stored(&store).await;
        let new = random(100 + page as u64, 8000);
        bytes[page * 8192 + 100..page * 8192 + 8100].copy_from_slice(&new);
        fs::write(&path, &bytes).unwrap();
        settle().await;
        let view = take(&repository, source.path()).await;
        assert_same(&view, source.path()).await;
        let grown = stored(&store).await - before;
        assert!(grown < 20 << 10, "{grown} bytes for a page of 8 KiB");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relation_files_are_cut_on_the_page_grid() {
    let source = tempfile::tempdir().unwrap();
    let directory = source.path().join("base/16384");
    fs::create_dir_all(&directory).unwrap();
    let mut bytes = vec![0; 40 * 8192];
    for page in bytes.chunks_exact_mut(8192) {
        page[12..20].copy_from_slice(&[24, 0, 0, 0x20, 0, 0x20, 4, 0x20]);
    }
    fs::write(directory.join("16385"), &bytes).unwrap();
    let (repository, _) = create().await;
    let view = take(&repository, source.path()).await;
    assert_eq!(
        view.entry(b"base/16384/16385").await.unwrap().policy,
        Some(1)
    );
    assert_same(&view, source.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columnar_files_are_known_and_broken_ones_are_saved_all_the_same() {
    let source = tempfile::tempdir().unwrap();
    let good = include_bytes!("../../../../repo-chunker/tests/fixtures/small.parquet");
    let mut broken = random(3, 3 << 20);
    broken[..4].copy_from_slice(b"PAR1");
    let at = broken.len() - 8;
    broken[at..].copy_from_slice(b"\xff\xff\xff\x7fPAR1");
    fs::write(source.path().join("good"), good).unwrap();
    fs::write(source.path().join("broken"), &broken).unwrap();
    let (repository, _) = create().await;
    let view = take(&repository, source.path()).await;
    for name in ["good", "broken"] {
        let entry = view.entry(name.as_bytes()).await.unwrap();
        let columnar = entry.size > 16 << 10;
        assert_eq!(entry.policy, columnar.then_some(2), "{name}");
    }
    assert_same(&view, source.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_edit_of_text_costs_little() {
    let source = tempfile::tempdir().unwrap();
    let path = source.path().join("notes");
    let mut bytes = text(1, 100_000);
    fs::write(&path, &bytes).unwrap();
    let (repository, store) = create().await;
    take(&repository, source.path()).await;
    let before = stored(&store).await;
    bytes.splice(50_000..50_010, *b"a few other words");
    fs::write(&path, &bytes).unwrap();
    let view = take(&repository, source.path()).await;
    assert_eq!(read(&view, "notes").await, bytes);
    let grown = stored(&store).await - before;
    assert!(grown < 2 << 10, "{grown} bytes for one sentence");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_versions_of_a_file_stay_one_step_from_their_bases() {
    let source = tempfile::tempdir().unwrap();
    let (repository, store) = create().await;
    let mut random = Random::new(5);
    let mut bytes = text(1, 400_000);
    let mut versions = Vec::new();
    let mut first = 0;
    for number in 0..10 {
        fs::write(source.path().join("file"), &bytes).unwrap();
        let id = take(&repository, source.path()).await.id();
        versions.push((id, bytes.clone()));
        if number == 0 {
            first = stored(&store).await;
        }
        for _ in 0..3 {
            let at = random.below(bytes.len());
            bytes.splice(at..at, format!("edit {number}").into_bytes());
        }
    }
    let grown = stored(&store).await - first;
    assert!(
        grown < first / 2,
        "nine small edits took {grown} of {first}"
    );
    // A reader with cold caches, in the worst order; a base that is a delta itself is refused.
    let cold = Repository::open(store, &Access::Plain, &OpenOptions::default())
        .await
        .unwrap();
    for (id, bytes) in versions.iter().rev() {
        assert!(read(&cold.view(id).unwrap(), "file").await == *bytes);
    }
    let all = CheckOptions {
        read_data: ReadData::All,
    };
    let checked = cold.check(&all, std::sync::Arc::new(Quiet)).await.unwrap();
    assert_eq!(checked.findings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_edits_come_back_from_an_encrypted_repository_of_small_packs() {
    let source = tempfile::tempdir().unwrap();
    let store = Store::open("memory://", &[]).unwrap();
    let sizes = CreateOptions {
        segment_size: Some(32 << 10),
        pack_size: Some(100_000),
        ..CreateOptions::default()
    };
    let repository = Repository::create(store, &Access::password("p"), &sizes)
        .await
        .unwrap();
    fill_tree(source.path(), 4, 40).unwrap();
    let mut large = text(2, 3 << 20);
    for number in 0..3 {
        fs::write(source.path().join("large"), &large).unwrap();
        let view = take(&repository, source.path()).await;
        assert_same(&view, source.path()).await;
        large.splice(number * 700_000..number * 700_000 + 40_000, random(8, 9000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_and_moved_files_cost_no_content() {
    let source = tempfile::tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    let bytes = random(1, 3 << 20);
    for name in ["one", "two", "three"] {
        fs::write(at(name), &bytes).unwrap();
    }
    let (repository, store) = create().await;
    let view = take(&repository, source.path()).await;
    assert_eq!(view.snapshot().stats.bytes_new, 3 << 20);
    assert!(stored(&store).await < (3 << 20) + (64 << 10));
    fs::create_dir(at("below")).unwrap();
    fs::rename(at("one"), at("below/moved")).unwrap();
    fs::copy(at("two"), at("copy")).unwrap();
    let view = take(&repository, source.path()).await;
    assert_eq!(view.snapshot().stats.bytes_new, 0);
    assert_same(&view, source.path()).await;
}
