//! What a local store does with the file system under it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use futures::TryStreamExt;
use repo_format::ErrorKind;
use repo_store::{Error, Put, Store};

fn open(path: &std::path::Path) -> Store {
    let path = path.to_str().expect("a UTF-8 path");
    Store::open(path, &[]).expect("a local path")
}

#[tokio::test]
async fn reads_of_a_missing_directory_find_nothing_and_make_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("missing");
    let store = open(&root);
    assert_eq!(
        store.get("config", 9).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        store.head("config").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    store.delete("config").await.unwrap();
    assert!(!root.exists());
    assert_eq!(
        store.put_new("a/b/c", "x".into()).await.unwrap(),
        Put::Created
    );
    assert_eq!(fs::read(root.join("a/b/c")).unwrap(), b"x");
}

#[tokio::test]
async fn foreign_things_in_the_way_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    // A directory where an object should be, and a file where a directory should be.
    fs::create_dir(directory.path().join("config")).unwrap();
    fs::write(directory.path().join("packs"), "").unwrap();
    assert_eq!(
        store.get("config", 9).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        store.get("packs/ab", 9).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    store.delete("packs/ab").await.unwrap();
    let error = store.put_new("packs/ab", "x".into()).await.unwrap_err();
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("packs/ab"), "{error}");
}

#[tokio::test]
async fn a_missing_permission_is_denied() {
    let directory = tempfile::tempdir().unwrap();
    let locked = directory.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    let privileged = fs::write(locked.join("probe"), "").is_ok();
    let error = open(&locked).put_new("a", "x".into()).await;
    // The superuser is refused nothing.
    assert!(privileged || error.unwrap_err().kind() == ErrorKind::Denied);
}

#[tokio::test]
async fn what_a_crash_left_is_neither_listed_nor_in_the_way() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("packs")).unwrap();
    let staged = directory.path().join("packs/a#1");
    fs::write(&staged, "half").unwrap();
    let store = open(directory.path());
    assert_eq!(
        store.put_new("packs/a", "whole".into()).await.unwrap(),
        Put::Created
    );
    let found: Vec<_> = store.list("", None).await.try_collect().await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].key, "packs/a");
    assert_eq!(fs::read(&staged).unwrap(), b"half");

    let foreign = directory.path().join("packs/not ours#1");
    fs::write(&foreign, "").unwrap();
    assert_eq!(store.clean_staged("packs", 0).await.unwrap(), 0);
    assert_eq!(store.clean_staged("log", i64::MAX / 2).await.unwrap(), 0);
    let later = found[0].modified_ms + 60_000;
    assert_eq!(store.clean_staged("packs", later).await.unwrap(), 1);
    assert!(!staged.exists() && foreign.exists());
    assert_eq!(store.get("packs/a", 5).await.unwrap(), "whole");
}
