//! Into an empty place: everything a file can be.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use repo_core::{Quiet, Severity};
use repo_testkit::data::{fill_tree, random, text};
use rustix::fs::{AtFlags, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::{PLAIN, VERIFY, check, repository, restore, take};

/// A minimal POSIX ACL: owner, one named user, group, mask, other.
fn acl(user: u32) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (0x01u16, 6u16, u32::MAX),
        (0x02, 4, user),
        (0x04, 4, u32::MAX),
        (0x10, 4, u32::MAX),
        (0x20, 0, u32::MAX),
    ] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

fn set_time(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
}

/// Every kind of entry; what needs privileges only where they are there.
pub(super) fn fill(root: &Path) {
    let at = |name: &str| root.join(name);
    fill_tree(root, 7, 60).unwrap();
    fs::create_dir_all(at("d/empty")).unwrap();
    fs::write(at("empty"), b"").unwrap();
    fs::write(at("one"), b"1").unwrap();
    fs::write(at("large"), random(3, 9 << 20)).unwrap();
    fs::write(at("words"), text(4, 3 << 20)).unwrap();
    symlink("one", at("link")).unwrap();
    symlink("/nowhere/at all", at("dangling")).unwrap();
    fs::hard_link(at("large"), at("d/large again")).unwrap();
    fs::hard_link(at("one"), at("d/one again")).unwrap();
    fs::hard_link(at("one"), at("zzz")).unwrap();
    let sparse = File::create(at("sparse")).unwrap();
    sparse.write_all_at(&random(5, 70_000), 1 << 20).unwrap();
    sparse.set_len(3 << 20).unwrap();
    File::create(at("all hole"))
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let name = OsStr::from_bytes(b"not \xff\xfe utf-8");
    fs::write(root.join(name), b"bytes").unwrap();
    fs::write(at(&"n".repeat(255)), b"long name").unwrap();
    let fifo = rustix::fs::mknodat(
        rustix::fs::CWD,
        at("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    );
    fifo.unwrap();
    for (name, mode) in [
        ("one", 0o600),
        ("empty", 0o444),
        ("d/empty", 0o500),
        ("words", 0o4755),
    ] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let user = XattrFlags::empty();
    rustix::fs::setxattr(at("words"), "user.comment", b"a value", user).unwrap();
    rustix::fs::setxattr(at("d"), "user.empty", b"", user).unwrap();
    rustix::fs::setxattr(at("empty"), "system.posix_acl_access", &acl(1234), user).unwrap();
    rustix::fs::setxattr(at("d"), "system.posix_acl_default", &acl(99), user).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(at("words"), Some(1234), Some(4321)).unwrap();
        fs::set_permissions(at("words"), fs::Permissions::from_mode(0o6755)).unwrap();
        std::os::unix::fs::lchown(at("link"), Some(7), Some(8)).unwrap();
        let device = rustix::fs::makedev(1, 3);
        let mode = Mode::from_raw_mode(0o666);
        let kind = FileType::CharacterDevice;
        // A sandbox may forbid device nodes even to root.
        let _ = rustix::fs::mknodat(rustix::fs::CWD, at("null"), kind, mode, device);
    }
    for (number, name) in ["words", "link", "fifo", "d/empty", "d", ""]
        .iter()
        .enumerate()
    {
        set_time(&at(name), 1_000_000_000 + number as i64, 123_456_789);
    }
    set_time(&at("dangling"), -5, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_entry_comes_back_as_it_was() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(source.path());
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    let place = target.path().join("made/on/the way");
    let report = check(&repository, &view, (source.path(), &place), &VERIFY).await;
    assert!(report.bytes_written > 12 << 20);
    assert_eq!((report.bytes_kept, report.deleted), (0, 0));
    assert_eq!(report.plan, []);
    // Once more: nothing is left to do.
    let again = check(&repository, &view, (source.path(), &place), &VERIFY).await;
    assert_eq!((again.bytes_written, again.files), (0, report.files));
    // And from the source's own point of view nothing needs to be read at all.
    let own = check(&repository, &view, (source.path(), source.path()), &PLAIN).await;
    assert_eq!(own.bytes_written, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inherited_acl_does_not_stay_on_what_is_restored() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill_tree(source.path(), 1, 20).unwrap();
    let user = XattrFlags::empty();
    let attribute = "system.posix_acl_default";
    rustix::fs::setxattr(target.path(), attribute, &acl(77), user).unwrap();
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    check(&repository, &view, (source.path(), target.path()), &PLAIN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_longer_than_the_system_allows_are_restored() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let name = "x".repeat(200);
    // Deeper than the directories that stay open, and longer than 4,096 bytes.
    let depth = 150;
    let mut fd = File::open(source.path()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&fd, &name, Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        fd = rustix::fs::openat(&fd, &name, flags, Mode::empty())
            .unwrap()
            .into();
    }
    let file = |fd: &File, flags| {
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::openat(fd, "deep", flags, mode).map(File::from)
    };
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::RDWR;
    file(&fd, flags).unwrap().write_all_at(b"found", 0).unwrap();
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    for _ in 0..2 {
        let report = restore(&repository, &view, target.path(), &VERIFY).await;
        assert_eq!(report.findings, []);
        assert_eq!((report.files, report.directories), (1, depth + 1));
    }
    let mut fd = File::open(target.path()).unwrap();
    for _ in 0..depth {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        fd = rustix::fs::openat(&fd, &name, flags, Mode::empty())
            .unwrap()
            .into();
    }
    let mut content = [0; 5];
    let deep = file(&fd, rustix::fs::OFlags::RDONLY).unwrap();
    deep.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content, b"found");
    // Deleting it again needs no path either.
    fs::create_dir(source.path().join("other")).unwrap();
    let empty = tempfile::tempdir().unwrap();
    let view = take(&repository, empty.path()).await;
    let report = restore(&repository, &view, target.path(), &super::DELETE).await;
    assert_eq!(report.findings, []);
    assert_eq!(report.deleted, depth + 1);
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 0);
    restore(&repository, &view, source.path(), &super::DELETE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_snapshot_is_restored_by_its_path() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(source.path());
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    let into = |path: &'static [u8], name: &str| {
        let (repository, view, place) = (&repository, &view, target.path().join(name));
        async move {
            let done = repository.restore(view, path, &place, &PLAIN, Arc::new(Quiet));
            (done.await, place)
        }
    };
    let (report, place) = into(b"d", "directory").await;
    assert_eq!(report.unwrap().findings, []);
    assert_eq!(fs::read(place.join("one again")).unwrap(), b"1");
    let (report, place) = into(b"d/one again", "file").await;
    assert_eq!(report.unwrap().files, 1);
    assert_eq!(fs::read(place.join("one again")).unwrap(), b"1");
    let (report, place) = into(b"link", "symlink").await;
    assert_eq!(report.unwrap().files, 1);
    assert_eq!(fs::read_link(place.join("link")).unwrap(), Path::new("one"));
    let (report, place) = into(b"no/such", "nothing").await;
    assert_eq!(report.unwrap_err().kind(), repo_core::ErrorKind::NotFound);
    assert!(!place.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_above_several_roots_are_left_as_they_are() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for name in ["a/b", "c"] {
        fs::create_dir_all(source.path().join(name)).unwrap();
        fs::write(source.path().join(name).join("file"), name).unwrap();
    }
    let (repository, _) = repository().await;
    let paths = [source.path().join("a/b"), source.path().join("c")];
    let options = repo_core::SnapshotOptions::default();
    let report = repository
        .snapshot_paths(&paths, &options, Arc::new(Quiet))
        .await;
    let view = repository.view(&report.unwrap().id.unwrap()).unwrap();
    let below = target.path().join(source.path().strip_prefix("/").unwrap());
    fs::create_dir_all(below.join("a")).unwrap();
    set_time(&below.join("a"), 77, 0);
    fs::set_permissions(target.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let report = restore(&repository, &view, target.path(), &PLAIN).await;
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.severity == Severity::Note)
    );
    assert_eq!(fs::read(below.join("a/b/file")).unwrap(), b"a/b");
    let mode = fs::metadata(target.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o711);
    let mode = fs::metadata(below.join("a")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}
