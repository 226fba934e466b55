//! Memory of the real program stays below its bound, whatever it is given.

use std::fs::{self, File};
use std::io::Write;
use std::process::{Command, Stdio};

use repo_testkit::data::random;
use repo_tests::postgres::{Place, Programs};
use repo_tests::program::{Home, text};
use wait4::Wait4;

/// Bytes that no command may use, key derivation included.
const PEAK_MAX: u64 = 160 << 20;

/// Runs to the end and returns the peak memory, in bytes.
#[track_caller]
fn peak(mut command: Command) -> u64 {
    // A child starts out with the peak of its parent, which this sets back.
    fs::write("/proc/self/clear_refs", "5").expect("the peak of this test set back");
    command.stdout(Stdio::null()).stderr(Stdio::inherit());
    let used = command.spawn().expect("a start").wait4().expect("an end");
    assert!(used.status.success(), "{command:?}");
    used.rusage.maxrss
}

/// Runs each command and names the one that needs too much.
fn bounded(home: &Home, commands: &[&[&str]]) {
    for arguments in commands {
        let peak = peak(home.repo(arguments));
        assert!(peak <= PEAK_MAX, "{arguments:?} took {} MiB", peak >> 20);
    }
}

/// What is done with a snapshot in turn.
const LATER: &[&[&str]] = &[
    &["snapshot", "source"],
    &["ls", "--recursive", "latest"],
    &["restore", "latest", "target"],
    &["restore", "latest", "target"],
    &["check", "--read-data"],
    &["forget", "--keep-last", "1"],
    &["gc", "--max-unused", "0"],
];

#[test]
fn a_directory_of_many_files_needs_bounded_memory() {
    let home = Home::new();
    let source = home.path("source");
    fs::create_dir(&source).expect("a directory");
    for number in 0..100_000 {
        let name = source.join(format!("a-name-of-some-length-{number:06}"));
        fs::write(name, number.to_string()).expect("a file");
    }
    bounded(&home, &[&["init"], &["snapshot", "source"]]);
    bounded(&home, LATER);
}

fn large_file(home: &Home) {
    fs::create_dir(home.path("source")).expect("a directory");
    let mut file = File::create(home.path("source/large")).expect("a file");
    for seed in 0..40 {
        file.write_all(&random(seed, 10 << 20)).expect("written");
    }
}

#[test]
fn a_large_file_needs_bounded_memory() {
    let home = Home::new();
    large_file(&home);
    bounded(&home, &[&["init"], &["snapshot", "source"]]);
    bounded(&home, LATER);
}

/// A writer holds the packs that it fills and uploads; nobody else holds a whole one.
#[test]
fn reading_needs_bounded_memory_however_large_the_packs() {
    let home = Home::new();
    large_file(&home);
    home.ok(&["init", "--pack-size", "64MiB"]);
    home.ok(&["snapshot", "source"]);
    bounded(&home, LATER);
}

#[test]
fn a_cluster_needs_bounded_memory() {
    let (mut home, place) = (Home::new(), Place::new(&Programs::installed()));
    home.set("PGUSER", "postgres");
    let server = place.start(&place.init("data", true));
    server.client("pgbench", &["-i", "-q", "-s", "25", "postgres"]);
    let (target, id) = (place.path("target"), "latest");
    let save: &[&str] = &["pg", "snapshot", "--pgdata", text(server.data())];
    let restore: &[&str] = &["pg", "restore", id, text(&target)];
    bounded(&home, &[&["init"], save, restore]);
    let _load = server.background("pgbench", &["-n", "-c", "2", "-T", "300", "postgres"]);
    bounded(&home, &[save, restore, &["check", "--read-data"]]);
}
