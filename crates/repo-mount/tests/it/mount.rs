//! What a mount shows, and what it does when the repository changes, shrinks or goes away.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]
#![expect(
    clippy::disallowed_methods,
    reason = "the kernel and other processes do not tell when they are done"
)]

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use repo_core::{
    ForgetOptions, GcOptions, GroupBy, MaxUnused, Quiet, Repository, SnapshotOptions, Store,
    plan_forget_ids,
};
use repo_mount::{Ended, MountOptions};
use repo_testkit::data::random;

use crate::clients::write_tree;
use crate::fixture::{Bench, Mounted, blocking};

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn below(root: &Path) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        if path.symlink_metadata().unwrap().is_dir() {
            found.extend(names(&path).into_iter().map(|name| path.join(name)));
        }
    }
    found
}

fn attributes(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut list = vec![0; 4096];
    let len = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    list.truncate(len);
    let names = list
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    let mut found: Vec<_> = names
        .map(|name| {
            let name = String::from_utf8(name.to_vec()).unwrap();
            let mut value = vec![0; 4096];
            let len = rustix::fs::lgetxattr(path, &name, &mut value[..]).unwrap();
            value.truncate(len);
            (name, value)
        })
        .collect();
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_that_of_the_source() {
    let bench = Bench::new().await;
    write_tree(&bench.source());
    // What changed a moment ago is saved without the time of its change.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let view = bench.take().await;
    let mounted = bench
        .mount_with(MountOptions {
            snapshot: Some(view.id()),
            ..MountOptions::default()
        })
        .await;
    let (source, shown) = (bench.source(), mounted.path().to_owned());
    blocking(move || {
        let paths = below(&source);
        assert!(paths.len() > 700);
        for path in paths {
            let there = shown.join(path.strip_prefix(&source).unwrap());
            let (a, b) = (
                path.symlink_metadata().unwrap(),
                there.symlink_metadata().unwrap(),
            );
            let all = |m: &fs::Metadata| {
                let size = if m.is_dir() { 0 } else { m.size() };
                let times = (m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec());
                (m.mode(), m.uid(), m.gid(), size, m.rdev(), times)
            };
            assert_eq!(all(&a), all(&b), "{}", path.display());
            if !a.is_dir() {
                assert_eq!(a.nlink(), b.nlink(), "{}", path.display());
            }
            if a.is_symlink() {
                assert_eq!(path.read_link().unwrap(), there.read_link().unwrap());
            }
            assert_eq!(attributes(&path), attributes(&there), "{}", path.display());
        }
        let number = |name: &str| shown.join(name).symlink_metadata().unwrap().ino();
        assert_eq!(number("large"), number("dir/deep/linked"));
        assert_ne!(number("large"), number("run"));
        assert!(
            fs::write(shown.join("new"), "x").is_err(),
            "it is read-only"
        );
        let missing = fs::metadata(shown.join("absent")).unwrap_err();
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
    })
    .await;
}

fn dated(time_ms: i64, host: &str, tags: &[&str]) -> SnapshotOptions {
    SnapshotOptions {
        time_ms: Some(time_ms),
        host: host.to_owned(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..SnapshotOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_listed_by_what_they_are_known_by() {
    let bench = Bench::new().await;
    fs::write(bench.source().join("file"), "one").unwrap();
    let one = bench
        .take_with(&dated(1_000_000_000_000, "a", &["x", "y/z"]))
        .await;
    fs::write(bench.source().join("file"), "two").unwrap();
    let two = bench
        .take_with(&dated(1_000_000_000_000, "b", &["x"]))
        .await;
    let mounted = bench.mount().await;
    let root = mounted.path().to_owned();
    let (first, second) = (one.id().to_hex(), two.id().to_hex());
    let source = bench.source();
    let time = "2001-09-09T01-46-40Z";
    blocking(move || {
        assert_eq!(
            names(&root),
            ["by-host", "by-path", "by-tag", "by-time", "snapshots"]
        );
        let mut all = vec![first.clone(), second.clone(), "latest".to_owned()];
        all.sort();
        assert_eq!(names(&root.join("snapshots")), all);
        let read = |path: &str| fs::read_to_string(root.join(path).join("file")).unwrap();
        assert_eq!(read(&format!("snapshots/{first}")), "one");
        assert_eq!(read("snapshots/latest"), "two");
        assert_eq!(names(&root.join("by-host")), ["a", "b"]);
        assert_eq!(read(&format!("by-host/a/{time}")), "one");
        assert_eq!(read("by-host/b/latest"), "two");
        assert_eq!(names(&root.join("by-tag")), ["x", "y%2Fz"]);
        assert_eq!(read("by-tag/y%2Fz/latest"), "one");
        let later = format!("{time}-{}", &second[..8]);
        assert_eq!(
            names(&root.join("by-tag/x")),
            [time, later.as_str(), "latest"]
        );
        assert_eq!(read(&format!("by-time/{later}")), "two");
        let place = root.join("by-path").join(source.strip_prefix("/").unwrap());
        let text = fs::read_to_string(place.join("latest/file")).unwrap();
        assert_eq!(text, "two");
    })
    .await;
    // One that is taken now appears, and the newest is another.
    fs::write(bench.source().join("file"), "three").unwrap();
    let three = bench.take_with(&dated(1_100_000_000_000, "c", &[])).await;
    let root = mounted.path().to_owned();
    blocking(move || {
        let until = Instant::now() + Duration::from_secs(20);
        while names(&root.join("by-host")) != ["a", "b", "c"] {
            assert!(Instant::now() < until, "it does not appear");
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(Duration::from_millis(1100));
        let target = fs::read_link(root.join("snapshots/latest")).unwrap();
        assert_eq!(target, Path::new(&three.id().to_hex()));
        assert_eq!(
            fs::read_to_string(root.join("by-time/latest/file")).unwrap(),
            "three"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_hides_the_others() {
    let bench = Bench::new().await;
    fs::write(bench.source().join("file"), "one").unwrap();
    let one = bench.take_with(&dated(1, "a", &[])).await;
    bench.take_with(&dated(2, "b", &[])).await;
    let mounted = bench
        .mount_with(MountOptions {
            filter: Some(Box::new(|known| known.snapshot.host == "a")),
            ..MountOptions::default()
        })
        .await;
    let root = mounted.path().to_owned();
    let shown = blocking(move || names(&root.join("snapshots"))).await;
    let mut expected = vec![one.id().to_hex(), "latest".to_owned()];
    expected.sort();
    assert_eq!(shown, expected);
}

/// Forgets all snapshots but the last, and deletes at once what they alone needed.
async fn collect(repository: &Repository) {
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
    assert!(report.repacked.objects > 0, "nothing was moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_of_other_snapshots_is_not_noticed() {
    let bench = Bench::new().await;
    for number in 0..20_u64 {
        let content = random(number, 1_000_000);
        fs::write(bench.source().join(format!("kept {number}")), content).unwrap();
        let content = random(number + 100, 1_000_000);
        fs::write(bench.source().join(format!("other {number}")), content).unwrap();
    }
    bench.take().await;
    for number in 0..20 {
        fs::remove_file(bench.source().join(format!("other {number}"))).unwrap();
    }
    let view = bench.take().await;
    // The mount's own handle does not learn what the collector commits.
    let location = bench.place.path().join("repository");
    let store = Store::open(location.to_str().unwrap(), &[]).unwrap();
    let options = repo_core::OpenOptions::default();
    let apart = bench.repository.reopen(store, &options).await.unwrap();
    let options = MountOptions {
        snapshot: Some(view.id()),
        ..MountOptions::default()
    };
    let mounted = Mounted::new(&apart, &bench.target(), options).await;
    let (root, source) = (mounted.path().to_owned(), bench.source());
    let (there, here) = (root.clone(), source.clone());
    let mut begun = blocking(move || {
        let name = "kept 0";
        let mut file = fs::File::open(there.join(name)).unwrap();
        let mut start = vec![0; 100_000];
        file.read_exact(&mut start).unwrap();
        assert!(fs::read(here.join(name)).unwrap().starts_with(&start));
        (file, start)
    })
    .await;
    collect(&bench.repository).await;
    blocking(move || {
        begun.0.read_to_end(&mut begun.1).unwrap();
        assert!(begun.1 == fs::read(source.join("kept 0")).unwrap());
        for name in names(&source) {
            let same = fs::read(root.join(&name)).unwrap() == fs::read(source.join(&name)).unwrap();
            assert!(same, "{name}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_is_an_error_and_not_a_hang() {
    let bench = Bench::new().await;
    fs::write(bench.source().join("file"), random(1, 5_000_000)).unwrap();
    bench.take().await;
    let mounted = bench.mount().await;
    let file = mounted.path().join("snapshots/latest/file");
    let stored = bench.place.path().join("repository");
    let away = bench.place.path().join("away");
    let source = bench.source();
    blocking(move || {
        assert_eq!(file.metadata().unwrap().len(), 5_000_000);
        fs::rename(&stored, &away).unwrap();
        let begun = Instant::now();
        let error = fs::read(&file).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::IO.raw_os_error())
        );
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{:?}",
            begun.elapsed()
        );
        fs::rename(&away, &stored).unwrap();
        assert!(fs::read(&file).unwrap() == fs::read(source.join("file")).unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kernel_keeps_what_was_decoded_around_a_read() {
    const PAGE: usize = 4096;
    const MIDDLE: usize = 3 << 20;
    const FAR: u64 = 8 << 20;
    let bench = Bench::new().await;
    let text: String = (0..900_000).map(|n| format!("line {n}\n")).collect();
    fs::write(bench.source().join("text"), &text).unwrap();
    // More than the segments that a mount keeps.
    fs::write(bench.source().join("other"), random(1, 64 << 20)).unwrap();
    bench.take().await;
    let mounted = bench.mount().await;
    let latest = mounted.path().join("snapshots/latest");
    let stored = bench.place.path().join("repository");
    let away = bench.place.path().join("away");
    blocking(move || {
        let file = fs::File::open(latest.join("text")).unwrap();
        let mut page = [0; PAGE];
        file.read_exact_at(&mut page, MIDDLE as u64).unwrap();
        fs::read(latest.join("other")).unwrap();
        fs::rename(&stored, &away).unwrap();
        for near in [MIDDLE - 4 * PAGE, MIDDLE + 4 * PAGE] {
            file.read_exact_at(&mut page, near as u64).unwrap();
            assert!(page == text.as_bytes()[near..near + PAGE]);
        }
        let error = file.read_exact_at(&mut page, FAR).unwrap_err();
        assert_eq!(
            error.raw_os_error(),
            Some(rustix::io::Errno::IO.raw_os_error())
        );
        fs::rename(&away, &stored).unwrap();
        assert!(fs::read(latest.join("text")).unwrap() == text.as_bytes());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_at_random_do_not_wait_for_each_other_forever() {
    const PAGE: usize = 4096;
    let bench = Bench::new().await;
    let content = random(3, 24 << 20);
    fs::write(bench.source().join("file"), &content).unwrap();
    bench.take().await;
    let mounted = bench.mount().await;
    let path = mounted.path().join("snapshots/latest/file");
    blocking(move || {
        std::thread::scope(|scope| {
            for reader in 0..12_usize {
                let (path, content) = (&path, &content);
                scope.spawn(move || {
                    let file = fs::File::open(path).unwrap();
                    let pages = content.len() / PAGE;
                    for step in 0..400 {
                        // All meet at some pages, and pass each other at others.
                        let at = (step * 2_654_435_761 + reader % 3 * 7) % (pages - 2) * PAGE;
                        let mut bytes = [0; 2 * PAGE];
                        file.read_exact_at(&mut bytes, at as u64).unwrap();
                        assert!(content.get(at..at + bytes.len()) == Some(&bytes[..]));
                    }
                });
            }
        });
        assert!(fs::read(&path).unwrap() == content);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_ends_when_it_is_told_and_when_it_is_unmounted() {
    let bench = Bench::new().await;
    fs::write(bench.source().join("file"), "content").unwrap();
    bench.take().await;
    let mounted = bench.mount().await;
    let root = mounted.path().to_owned();
    let first = root.clone();
    assert!(blocking(move || first.join("snapshots").exists()).await);
    assert_eq!(blocking(move || mounted.end()).await, Ended::Unmounted);
    assert_eq!(names(&root), [""; 0]);
    let again = bench.mount().await;
    rustix::mount::unmount(&root, rustix::mount::UnmountFlags::empty()).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !again.is_ended() {
        assert!(Instant::now() < until, "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(again.end(), Ended::Unmounted);
    let busy = bench.mount().await;
    let open = root.join("snapshots/latest/file");
    let held = blocking(move || fs::File::open(open).unwrap()).await;
    assert_eq!(blocking(move || busy.end()).await, Ended::Detached);
    assert_eq!(names(&root), [""; 0]);
    drop(held);
}
