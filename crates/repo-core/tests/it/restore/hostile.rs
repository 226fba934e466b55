//! Links in the target that would lead out of it, and targets that refuse.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use repo_core::{Error, ErrorKind, Quiet};

use super::describe::describe;
use super::{DELETE, PLAIN, check, repository, take};

#[tokio::test(flavor = "multi_thread")]
async fn no_link_in_the_target_leads_out_of_it() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir_all(source.path().join("d/e")).unwrap();
    fs::write(source.path().join("d/e/f"), b"from the snapshot").unwrap();
    fs::write(source.path().join("g"), b"from the snapshot").unwrap();
    symlink("d", source.path().join("to d")).unwrap();
    fs::create_dir(outside.path().join("e")).unwrap();
    fs::write(outside.path().join("e/f"), b"outside").unwrap();
    fs::write(outside.path().join("g"), b"outside").unwrap();
    let before = describe(outside.path());
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    for options in [&PLAIN, &DELETE] {
        fs::remove_dir_all(target.path().join("d")).ok();
        symlink(outside.path(), target.path().join("d")).unwrap();
        fs::remove_file(target.path().join("g")).ok();
        symlink(outside.path().join("g"), target.path().join("g")).unwrap();
        fs::remove_file(target.path().join("to d")).ok();
        symlink(outside.path(), target.path().join("to d")).unwrap();
        let extra = target.path().join("extra");
        if options.delete {
            fs::create_dir(&extra).unwrap();
            symlink(outside.path(), extra.join("out")).unwrap();
        }
        check(&repository, &view, (source.path(), target.path()), options).await;
        assert_eq!(describe(outside.path()), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_no_directory_is_one_clear_error() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(source.path().join("file"), b"1").unwrap();
    let place = target.path().join("place");
    fs::write(&place, b"in the way").unwrap();
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    let done = repository
        .restore(&view, b"", &place, &PLAIN, Arc::new(Quiet))
        .await;
    let error = done.unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if *path == place),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(fs::read(&place).unwrap(), b"in the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_cannot_be_made_is_one_clear_error() {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("sub")).unwrap();
    fs::write(source.path().join("sub/file"), b"1").unwrap();
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    let place = std::path::Path::new("/proc/restore-target");
    let done = repository
        .restore(&view, b"", place, &PLAIN, Arc::new(Quiet))
        .await;
    assert!(matches!(done, Err(Error::Io { path, .. }) if path == place));
}
