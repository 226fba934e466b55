//! Into a place that holds something: what is right stays, what differs is written.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use repo_core::{Error, Finding, PlanAction, Progress, Quiet};
use repo_testkit::data::{fill_tree, random, text};

use super::describe::describe;
use super::whole::fill;
use super::{DELETE, DRY, PLAIN, VERIFY, check, repository, restore, same, take};

#[tokio::test(flavor = "multi_thread")]
async fn only_what_differs_is_written() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content = random(1, 12 << 20);
    fs::write(source.path().join("large"), &content).unwrap();
    fs::write(source.path().join("same"), text(2, 500_000)).unwrap();
    fs::write(source.path().join("shrinks"), text(3, 40_000)).unwrap();
    fs::write(source.path().join("grows"), text(4, 900_000)).unwrap();
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    check(&repository, &view, (source.path(), target.path()), &PLAIN).await;

    let inode = |name: &str| fs::metadata(target.path().join(name)).unwrap().ino();
    let before = inode("large");
    let open = |name: &str| {
        File::options()
            .write(true)
            .open(target.path().join(name))
            .unwrap()
    };
    open("large").write_all_at(b"changed", 7_000_000).unwrap();
    open("shrinks")
        .write_all_at(b"more than before", 40_000)
        .unwrap();
    open("grows").set_len(100_000).unwrap();
    let report = check(&repository, &view, (source.path(), target.path()), &VERIFY).await;
    assert_eq!(inode("large"), before);
    assert!(report.bytes_written < 3 << 20, "{}", report.bytes_written);
    assert!(report.bytes_kept > 10 << 20);

    // The same size and time do not prove the same content.
    let stamp = fs::metadata(target.path().join("same"))
        .unwrap()
        .modified()
        .unwrap();
    open("same").write_all_at(b"?", 0).unwrap();
    open("same").set_modified(stamp).unwrap();
    let report = check(&repository, &view, (source.path(), target.path()), &PLAIN).await;
    assert!(report.bytes_written > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_alone_is_mended_without_writing_content() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(source.path());
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    check(&repository, &view, (source.path(), target.path()), &PLAIN).await;
    let at = |name: &str| target.path().join(name);
    fs::set_permissions(at("words"), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(at("d"), fs::Permissions::from_mode(0o777)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(at("one"), "user.extra", b"x", flags).unwrap();
    rustix::fs::removexattr(at("words"), "user.comment").unwrap();
    File::options()
        .write(true)
        .open(at("large"))
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    let report = check(&repository, &view, (source.path(), target.path()), &PLAIN).await;
    // The group of links is written anew: its metadata may be shared with a name elsewhere.
    assert!(report.bytes_written <= (9 << 20) + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn holes_come_back_where_data_stands() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (name, len) in [("small", 1 << 20), ("large", 20 << 20)] {
        let file = File::create(source.path().join(name)).unwrap();
        file.set_len(len).unwrap();
        file.write_all_at(&random(1, 8192), len / 2).unwrap();
        let size = usize::try_from(len).unwrap();
        fs::write(target.path().join(name), random(9, size)).unwrap();
    }
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    check(&repository, &view, (source.path(), target.path()), &PLAIN).await;
    let report = check(&repository, &view, (source.path(), target.path()), &PLAIN).await;
    assert_eq!(report.bytes_written, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_kind_of_thing_in_the_way_is_replaced() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kinds = ["directory", "file", "symlink", "fifo"];
    let make = |root: &Path, kind: &str, name: &str| {
        let path = root.join(name);
        match kind {
            "directory" => fs::create_dir(path).unwrap(),
            "file" => fs::write(path, kind).unwrap(),
            "symlink" => symlink("target", path).unwrap(),
            _ => rustix::fs::mknodat(
                rustix::fs::CWD,
                path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::RWXU,
                0,
            )
            .unwrap(),
        }
    };
    for wanted in kinds {
        for found in kinds {
            let name = format!("{wanted} for {found}");
            make(source.path(), wanted, &name);
            make(target.path(), found, &name);
        }
    }
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    check(&repository, &view, (source.path(), target.path()), &PLAIN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_directory_in_the_way_of_a_file_is_not_deleted_unasked() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(source.path().join("name"), b"a file").unwrap();
    fs::write(source.path().join("other"), b"a file").unwrap();
    fs::create_dir(target.path().join("name")).unwrap();
    fs::write(target.path().join("name/precious"), b"data").unwrap();
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    let report = restore(&repository, &view, target.path(), &PLAIN).await;
    assert_eq!(report.findings.len(), 1);
    assert_eq!(
        fs::read(target.path().join("name/precious")).unwrap(),
        b"data"
    );
    assert_eq!(fs::read(target.path().join("other")).unwrap(), b"a file");
    check(&repository, &view, (source.path(), target.path()), &DELETE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_snapshot_lacks_stays_unless_it_is_to_be_deleted() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill_tree(source.path(), 5, 80).unwrap();
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    check(&repository, &view, (source.path(), target.path()), &PLAIN).await;
    let at = |name: &str| target.path().join(name);
    fs::create_dir_all(at("extra/deep/er")).unwrap();
    fs::write(at("extra/deep/file"), b"1").unwrap();
    fs::write(at("extra file"), b"2").unwrap();
    symlink("/", at("extra link")).unwrap();
    let report = restore(&repository, &view, target.path(), &PLAIN).await;
    assert_eq!((report.deleted, report.bytes_written), (0, 0));
    assert!(at("extra/deep/file").exists());
    let report = check(&repository, &view, (source.path(), target.path()), &DELETE).await;
    assert_eq!(report.deleted, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_lists_and_changes_nothing() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(source.path());
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    let absent = target.path().join("absent");
    let report = restore(&repository, &view, &absent, &DRY).await;
    assert!(!absent.exists());
    assert_eq!(report.plan.len() as u64, report.files + report.directories);
    assert!(
        report
            .plan
            .iter()
            .all(|line| line.action == PlanAction::Create)
    );

    let target = target.path();
    check(&repository, &view, (source.path(), target), &PLAIN).await;
    let report = restore(&repository, &view, target, &DRY).await;
    assert_eq!(report.plan, []);
    fs::write(target.join("words"), b"other").unwrap();
    fs::remove_file(target.join("link")).unwrap();
    fs::remove_file(target.join("zzz")).unwrap();
    fs::write(target.join("zzz"), b"1").unwrap();
    fs::create_dir(target.join("extra")).unwrap();
    fs::write(target.join("extra/file"), b"").unwrap();
    let before = describe(target);
    let report = restore(&repository, &view, target, &DRY).await;
    assert_eq!(describe(target), before);
    let lines: Vec<_> = report
        .plan
        .iter()
        .map(|line| {
            (
                line.action,
                String::from_utf8_lossy(&line.path).into_owned(),
            )
        })
        .collect();
    let expected = [
        (PlanAction::Update, ""),
        (PlanAction::Delete, "extra"),
        (PlanAction::Create, "link"),
        (PlanAction::Update, "words"),
        (PlanAction::Update, "zzz"),
    ]
    .map(|(action, path)| (action, path.to_owned()));
    assert_eq!(lines, expected);
    check(&repository, &view, (source.path(), target), &DELETE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_made_and_broken_as_the_snapshot_has_them() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let outside = tempfile::tempdir().unwrap();
    let at = |name: &str| target.path().join(name);
    for name in ["a", "b", "c", "e"] {
        fs::write(source.path().join(name), b"content").unwrap();
    }
    fs::hard_link(source.path().join("a"), source.path().join("d")).unwrap();
    fs::write(source.path().join("f"), random(1, 6 << 20)).unwrap();
    // Linked otherwise in the target, and one file to a name outside of it.
    fs::write(at("a"), b"content").unwrap();
    fs::hard_link(at("a"), at("b")).unwrap();
    fs::write(at("c"), b"c").unwrap();
    fs::hard_link(at("c"), at("d")).unwrap();
    for (name, content) in [("e", b"not to change".to_vec()), ("f", random(2, 6 << 20))] {
        fs::write(outside.path().join(name), &content).unwrap();
        fs::hard_link(outside.path().join(name), at(name)).unwrap();
    }
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    check(&repository, &view, (source.path(), target.path()), &PLAIN).await;
    assert_eq!(
        fs::read(outside.path().join("e")).unwrap(),
        b"not to change"
    );
    assert!(fs::read(outside.path().join("f")).unwrap() == random(2, 6 << 20));
    let report = check(&repository, &view, (source.path(), target.path()), &PLAIN).await;
    assert_eq!(report.bytes_written, 0);
}

/// Cancels after a number of bytes.
struct Until {
    bytes: u64,
    done: AtomicU64,
}

impl Progress for Until {
    fn start(&self, _: &str, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, bytes: u64, _: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }
    fn finding(&self, _: &Finding) {}
    fn cancelled(&self) -> bool {
        self.done.load(Ordering::Relaxed) >= self.bytes
    }
    fn finish(&self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_restore_carries_on() {
    let (source, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(source.path());
    fs::write(source.path().join("much"), random(8, 30 << 20)).unwrap();
    let (repository, _) = repository().await;
    let view = take(&repository, source.path()).await;
    let mut kept = 0;
    for bytes in [0, 1, 5 << 20, 30 << 20] {
        let progress = Arc::new(Until {
            bytes,
            done: AtomicU64::new(0),
        });
        let stopped = repository
            .restore(&view, b"", target.path(), &PLAIN, progress)
            .await;
        // The last one may come too late to stop anything.
        assert!(matches!(stopped, Err(Error::Cancelled)) || bytes > 5 << 20);
    }
    for _ in 0..2 {
        let done = repository.restore(&view, b"", target.path(), &PLAIN, Arc::new(Quiet));
        let report = done.await.unwrap();
        assert_eq!(report.findings, []);
        same(source.path(), target.path());
        assert!(report.bytes_kept > kept);
        kept = report.bytes_kept;
    }
}
