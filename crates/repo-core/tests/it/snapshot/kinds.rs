//! Entries that are not plain files, and names and attributes of every kind.

use std::ffi::{CString, OsStr};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use repo_core::{EntryType, Severity};
use rustix::fs::{CWD, Mode, OFlags, XattrFlags};

use super::{assert_same, create, listing, names, options, read, report, take};

#[tokio::test(flavor = "multi_thread")]
async fn links_pipes_and_sockets_are_what_they_are() {
    let source = tempfile::tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    fs::create_dir(at("below")).unwrap();
    fs::write(at("one"), "shared").unwrap();
    fs::hard_link(at("one"), at("below/two")).unwrap();
    fs::write(at("alone"), "alone").unwrap();
    symlink("nowhere/at all", at("dangling")).unwrap();
    symlink(OsStr::from_bytes(b"\xff\xfe"), at("odd")).unwrap();
    symlink("below", at("to a directory")).unwrap();
    let fifo = at("pipe");
    rustix::fs::mknodat(
        CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o640),
        0,
    )
    .unwrap();
    let socket = UnixListener::bind(at("socket")).unwrap();
    let (repository, _) = create().await;
    let report = report(&repository, source.path(), &options()).await;
    drop(socket);

    let found: Vec<_> = report.findings.iter().collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].severity, Severity::Note);
    assert_eq!(
        found[0].path.as_deref(),
        Some(at("socket").as_os_str().as_bytes())
    );
    assert_eq!(report.snapshot.stats.unread, 0, "a note is not a failure");
    let view = repository.view(&report.id.unwrap()).unwrap();
    let listed = listing(&view).await;
    assert_eq!(
        listed.keys().collect::<Vec<_>>(),
        [
            "alone",
            "below",
            "below/two",
            "dangling",
            "odd",
            "one",
            "pipe",
            "to a directory"
        ]
    );
    assert!(listed["one"].link.is_some());
    assert_eq!(listed["one"].link, listed["below/two"].link);
    assert_eq!(listed["one"].content, listed["below/two"].content);
    assert_eq!(listed["alone"].link, None);
    let target = |name: &str| listed[name].target.clone().unwrap();
    assert_eq!(target("dangling"), b"nowhere/at all");
    assert_eq!(target("odd"), b"\xff\xfe");
    assert_eq!(listed["to a directory"].kind, EntryType::Symlink);
    assert_eq!(listed["pipe"].kind, EntryType::Fifo);
    assert_eq!(
        listed["pipe"].mode,
        fs::symlink_metadata(&fifo).unwrap().mode() & 0o7777
    );
    let totals = view.snapshot().root.totals.unwrap();
    assert_eq!((totals.files, totals.bytes), (7, 6 + 6 + 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_any_bytes_and_length_are_kept() {
    let source = tempfile::tempdir().unwrap();
    let long = "n".repeat(255);
    let odd = [b"\xff\xfe" as &[u8], b"a\nb", "gr\u{fc}\u{df}e".as_bytes()];
    for name in odd {
        fs::write(source.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    fs::create_dir(source.path().join(&long)).unwrap();
    fs::write(source.path().join(&long).join(&long), "long").unwrap();
    let (repository, _) = create().await;
    let view = take(&repository, source.path()).await;
    for name in odd {
        let entry = view.entry(name).await.unwrap();
        assert_eq!(entry.name, name);
        assert_eq!(view.read(&entry, 0..99).await.unwrap(), name);
    }
    assert_eq!(read(&view, &format!("{long}/{long}")).await, b"long");
    assert_eq!(names(&view).await.len(), 5);
}

/// Makes `count` directories called `name`, each in the one before, with a file in each.
fn nest(root: &Path, name: &str, count: usize) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(root, flags, Mode::empty()).unwrap();
    let name = CString::new(name).unwrap();
    for number in 0..count {
        rustix::fs::mkdirat(&at, &name, Mode::from_raw_mode(0o755)).unwrap();
        at = rustix::fs::openat(&at, &name, flags, Mode::empty()).unwrap();
        let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&at, "file", create, Mode::from_raw_mode(0o644)).unwrap();
        rustix::io::write(&file, number.to_string().as_bytes()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_longer_than_the_system_allows_are_read() {
    let source = tempfile::tempdir().unwrap();
    let (name, count) = ("d".repeat(200), 30);
    nest(source.path(), &name, count);
    let (repository, _) = create().await;
    let view = take(&repository, source.path()).await;
    assert_eq!(view.snapshot().stats.directories, count as u64 + 1);
    let deep = format!("{}file", format!("{name}/").repeat(count));
    assert!(deep.len() > 6000);
    assert_eq!(read(&view, &deep).await, b"29");
    super::settle().await;
    report(&repository, source.path(), &options()).await;
    let again = report(&repository, source.path(), &options()).await;
    assert_eq!(again.snapshot.stats.files_changed, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_times_owners_and_attributes_are_kept() {
    let source = tempfile::tempdir().unwrap();
    let file = source.path().join("file");
    let directory = source.path().join("directory");
    fs::write(&file, "x").unwrap();
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4750)).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o1777)).unwrap();
    let value = vec![7; 300];
    let mut attributes = true;
    for path in [&file, &directory] {
        for name in ["user.b", "user.a"] {
            attributes &= rustix::fs::setxattr(path, name, &value, XattrFlags::CREATE).is_ok();
        }
    }
    let old = std::time::UNIX_EPOCH - std::time::Duration::new(86_400, 250_000_000);
    fs::File::open(&file).unwrap().set_modified(old).unwrap();
    let (repository, _) = create().await;
    let listed = listing(&take(&repository, source.path()).await).await;
    for (name, mode) in [("file", 0o4750), ("directory", 0o1777)] {
        let meta = fs::symlink_metadata(source.path().join(name)).unwrap();
        let entry = &listed[name];
        assert_eq!(
            (entry.mode, entry.uid, entry.gid),
            (mode, meta.uid(), meta.gid())
        );
        assert_eq!(entry.mtime.seconds, meta.mtime());
        assert_eq!(i64::from(entry.mtime.nanos), meta.mtime_nsec());
        if attributes {
            let kept: Vec<_> = entry.xattrs.iter().flatten().collect();
            assert_eq!(kept.len(), 2);
            assert_eq!((&*kept[0].name, &kept[0].value), (&b"user.a"[..], &value));
            assert_eq!(kept[1].name, b"user.b");
        }
    }
    let mtime = listed["file"].mtime;
    assert_eq!((mtime.seconds, mtime.nanos), (-86_401, 750_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_alone_is_a_change() {
    let source = tempfile::tempdir().unwrap();
    let file = source.path().join("file");
    fs::write(&file, "x").unwrap();
    super::settle().await;
    let (repository, _) = create().await;
    let before = take(&repository, source.path()).await;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let after = take(&repository, source.path()).await;
    assert_eq!(after.snapshot().stats.bytes_new, 0);
    let mode = async |view| listing(view).await["file"].mode;
    assert_ne!(mode(&before).await, mode(&after).await);
    assert_eq!(mode(&after).await, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_directory_is_split_and_changes_where_it_changed() {
    let source = tempfile::tempdir().unwrap();
    for number in 0..3000 {
        let name = std::ffi::OsString::from_vec(format!("entry {number:05}").into_bytes());
        fs::write(source.path().join(name), "").unwrap();
    }
    super::settle().await;
    let (repository, store) = create().await;
    take(&repository, source.path()).await;
    let before = super::stored(&store).await;
    let blobs = repository.stats().await.unwrap().blobs;
    assert!(blobs > 10, "{blobs} nodes for 3,000 entries");
    fs::write(source.path().join("entry 01500"), "now with content").unwrap();
    let view = take(&repository, source.path()).await;
    let grown = super::stored(&store).await - before;
    assert!(grown < 16 << 10, "{grown} bytes for one entry");
    let added = repository.stats().await.unwrap().blobs - blobs;
    assert!(
        added <= 4,
        "content, leaf, at most two interior nodes, not {added}"
    );
    assert_eq!(view.snapshot().stats.files_changed, 1);
    assert_same(&view, source.path()).await;
}
