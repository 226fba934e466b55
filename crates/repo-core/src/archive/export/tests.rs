use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use repo_store::Store;
use repo_testkit::data::random;

use super::*;
use crate::archive::SnapshotOptions;
use crate::progress::Quiet;
use crate::repository::{Access, CreateOptions, Repository};

/// Everything about a tree that an archive can hold.
fn describe(root: &Path, links: bool) -> BTreeMap<String, String> {
    let hasher = std::hash::BuildHasherDefault::<std::hash::DefaultHasher>::new();
    let mut rows = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let meta = fs::symlink_metadata(&path).expect("metadata");
            let what = if meta.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                format!("link {}", target.display())
            } else if meta.is_dir() {
                open.push(path.clone());
                format!("directory {:o}", meta.mode() & 0o7777)
            } else {
                let bytes = fs::read(&path).expect("a file");
                let count = if links { meta.nlink() } else { 1 };
                let nanos = if links { meta.mtime_nsec() } else { 0 };
                // A zip counts two seconds.
                let seconds = if links {
                    meta.mtime()
                } else {
                    meta.mtime() / 2
                };
                let mode = meta.mode() & 0o7777;
                let hash = std::hash::BuildHasher::hash_one(&hasher, &bytes);
                format!(
                    "file {mode:o} {count} {seconds}.{nanos} {} {hash}",
                    bytes.len()
                )
            };
            let name = path.strip_prefix(root).expect("below");
            rows.insert(name.to_string_lossy().into_owned(), what);
        }
    }
    rows
}

fn source(root: &Path) {
    let long = "d".repeat(90);
    fs::create_dir_all(root.join(&long).join("empty")).expect("a directory");
    fs::write(root.join(&long).join("f".repeat(200)), random(1, 3 << 20)).expect("a file");
    fs::write(root.join("plain"), "text").expect("a file");
    fs::write(root.join("nothing"), "").expect("a file");
    fs::write(root.join("exact"), vec![7; 512]).expect("a file");
    fs::write(root.join("gr\u{fc}n"), "name").expect("a file");
    fs::hard_link(root.join("plain"), root.join("second")).expect("a link");
    symlink("t".repeat(150), root.join("away")).expect("a link");
    let rights = fs::Permissions::from_mode(0o2750);
    fs::set_permissions(root.join("exact"), rights).expect("rights");
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    let file = fs::File::options().write(true).open(root.join("plain"));
    file.expect("a file").set_modified(time).expect("a time");
}

/// Takes a snapshot of `root` and writes it as an archive.
async fn archived(root: &Path, path: &[u8], format: ArchiveFormat) -> (Vec<u8>, ArchiveReport) {
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("a lock").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let store = Store::open("memory://", &[]).expect("a store");
    let options = CreateOptions::default();
    let created = Repository::create(store, &Access::Plain, &options).await;
    let repository = created.expect("a repository");
    let options = SnapshotOptions::default();
    let paths = [root.to_path_buf()];
    let taken = repository.snapshot_paths(&paths, &options, Arc::new(Quiet));
    let id = taken.await.expect("a snapshot").id.expect("no dry run");
    let view = repository.view(&id).expect("a view");
    let out = Shared::default();
    let report = view.export(path, format, Box::new(out.clone())).await;
    let bytes = std::mem::take(&mut *out.0.lock().expect("a lock"));
    (bytes, report.expect("an archive"))
}

/// Has another program unpack an archive, and describes what it made of it.
fn unpacked(bytes: &[u8], program: &str, arguments: &[&str]) -> BTreeMap<String, String> {
    let place = tempfile::tempdir().expect("a directory");
    let archive = place.path().join("archive");
    fs::write(&archive, bytes).expect("a file");
    let target = place.path().join("target");
    fs::create_dir(&target).expect("a directory");
    let run = Command::new(program)
        .args(arguments)
        .arg(&archive)
        .current_dir(&target)
        .output()
        .expect("the program is there");
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    describe(&target, program == "tar")
}

#[tokio::test(flavor = "multi_thread")]
async fn tar_unpacks_what_was_saved() {
    let place = tempfile::tempdir().expect("a directory");
    source(place.path());
    let (bytes, report) = archived(place.path(), b"", ArchiveFormat::Tar).await;
    assert_eq!(bytes.len() % 512, 0);
    let seen = unpacked(&bytes, "tar", &["-x", "-p", "-f"]);
    assert_eq!(seen, describe(place.path(), true));
    assert_eq!(report.entries, seen.len() as u64);
    assert_eq!(report.left_out, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn zip_unpacks_what_was_saved() {
    const UNPACK: &str = "
import os, sys, time, zipfile, stat, calendar
with zipfile.ZipFile(sys.argv[1]) as z:
    assert z.testzip() is None
    for i in z.infolist():
        mode = i.external_attr >> 16
        if stat.S_ISLNK(mode):
            os.symlink(z.read(i), i.filename)
            continue
        z.extract(i)
        os.chmod(i.filename, mode & 0o7777)
        at = calendar.timegm(i.date_time)
        os.utime(i.filename, (at, at))
";
    let place = tempfile::tempdir().expect("a directory");
    source(place.path());
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        place.path().join("pipe"),
        rustix::fs::Mode::RUSR,
    )
    .expect("a pipe");
    let (bytes, report) = archived(place.path(), b"", ArchiveFormat::Zip).await;
    fs::remove_file(place.path().join("pipe")).expect("it was there");
    assert_eq!(report.left_out, 1);
    let seen = unpacked(&bytes, "python3", &["-c", UNPACK]);
    assert_eq!(seen, describe(place.path(), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_is_an_archive_of_its_own() {
    let place = tempfile::tempdir().expect("a directory");
    source(place.path());
    let (bytes, report) = archived(place.path(), b"plain", ArchiveFormat::Tar).await;
    assert_eq!(report.entries, 1);
    let seen = unpacked(&bytes, "tar", &["-x", "-f"]);
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["plain"]);
}
