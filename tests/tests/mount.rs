//! The real program serves a mount in bounded memory, whatever a directory holds.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use repo_core::{
    Access, BuildOptions, Entry, EntryType, Error, OpenOptions, Quiet, Repository, SnapshotOptions,
    Store,
};
use repo_tests::program::Home;

/// Bytes that no command may use.
const PEAK_KIB_MAX: u64 = 160 << 10;

const FILES: u64 = 1_000_000;

/// A running program that does not outlive the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let id = self.0.id().to_string();
        // It unmounts by itself when it is told to end.
        let told = Command::new("sh")
            .args(["-c", &format!("kill -INT {id}")])
            .status();
        assert!(told.is_ok());
        self.0.wait().ok();
    }
}

/// A snapshot of one directory with very many entries, made without making them.
async fn take(home: &Home) {
    let location = home.path("repository");
    let store = Store::open(location.to_str().expect("UTF-8"), &[]).expect("a store");
    let options = OpenOptions::default();
    let repository = Repository::open(store, &Access::Plain, &options).await;
    let repository = repository.expect("a repository");
    let what = BuildOptions {
        kind: "test",
        paths: Vec::new(),
        restart: false,
    };
    let options = SnapshotOptions::default();
    let taken = repository.build_snapshot(what, &options, Arc::new(Quiet), |builder| {
        for number in 0..FILES {
            let name = format!("a-name-of-some-length-{number:07}");
            let mut entry = Entry::new(name.as_bytes(), EntryType::File);
            entry.mode = 0o644;
            builder.put(format!("many/{name}").as_bytes(), entry)?;
        }
        Ok::<(), Error>(())
    });
    assert!(taken.await.expect("a snapshot").id.is_some());
}

fn peak_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("a peak")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_files_in_one_directory_are_listed_in_bounded_memory() {
    let home = Home::plain();
    take(&home).await;
    fs::create_dir(home.path("mount")).expect("a directory");
    fs::write("/proc/self/clear_refs", "5").expect("the peak of this test set back");
    let mut command = home.repo(&["mount", "mount", "--snapshot", "latest"]);
    let mut running = Running(command.stdout(Stdio::piped()).spawn().expect("a start"));
    let out = running.0.stdout.take().expect("a pipe");
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).expect("a line");
    assert!(
        line.starts_with("mounted on "),
        "no mount; is there a /dev/fuse? {line}"
    );
    // Entry by entry, so that this test holds no list either, and with the attributes of each.
    let (mut count, mut first, mut last) = (0, None, None);
    for entry in fs::read_dir(home.path("mount/many")).expect("a directory") {
        let entry = entry.expect("an entry");
        assert!(entry.metadata().expect("its attributes").is_file());
        let name = entry.file_name();
        assert!(last < Some(name.clone()), "in order, and none twice");
        first.get_or_insert_with(|| name.clone());
        last = Some(name);
        count += 1;
    }
    assert_eq!(count, FILES);
    assert_eq!(
        first.as_deref(),
        Some("a-name-of-some-length-0000000".as_ref())
    );
    assert_eq!(
        last.as_deref(),
        Some("a-name-of-some-length-0999999".as_ref())
    );
    let peak = peak_kib(running.0.id());
    println!("{} MiB", peak >> 10);
    assert!(peak <= PEAK_KIB_MAX, "it took {} MiB", peak >> 10);
}
