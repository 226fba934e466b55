//! Files of all sizes come back as they were; content goes to standard output.

use std::io::Read as _;
use std::process::Stdio;

use crate::driver::{Home, Run, noise, tree};

#[test]
fn sizes_at_every_boundary_come_back() {
    let home = Home::encrypted();
    let mut lengths = vec![0, 1, 511, 4096, 65_535, 65_536, 65_537];
    lengths.extend([(1 << 20) - 1, 1 << 20, (4 << 20) + 1, 9 << 20]);
    for (seed, length) in lengths.into_iter().enumerate() {
        home.write(&format!("data/{length}"), noise(seed as u64, length));
    }
    home.snapshot(["data"]);
    home.ok(["restore", "latest", "target", "--verify"]);
    assert_eq!(tree(&home.path("target")), tree(&home.path("data")));
    assert!(
        home.ok(["check", "--read-data"])
            .contains("no damage found")
    );
    assert!(
        home.ok(["check", "--read-data-subset", "50%"])
            .contains("no damage found")
    );
}

#[test]
fn content_goes_to_standard_output_byte_by_byte() {
    let home = Home::plain();
    let content = noise(1, 300_000);
    home.write("data/dir/file", &content);
    home.snapshot(["data"]);
    let output = home
        .command(["cat", "latest:dir/file"])
        .output()
        .expect("a run");
    assert!(output.status.success());
    assert!(output.stdout == content, "not the bytes that were saved");
    assert!(output.stderr.is_empty());

    let line = home.fails(1, ["cat", "latest:dir"]);
    assert!(
        line.contains("dir in snapshot") && line.contains("is not a file"),
        "{line}"
    );
    home.fails(1, ["cat", "latest"]);
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let home = Home::plain();
    home.write("data/file", noise(2, 8 << 20));
    for number in 0..3000 {
        home.write(&format!("data/many/a-long-enough-name-{number:0100}"), "");
    }
    home.snapshot(["data"]);
    for arguments in [&["cat", "latest:file"][..], &["ls", "-R", "latest"]] {
        let mut child = home
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a run");
        let mut stdout = child.stdout.take().expect("a pipe");
        let mut first = [0; 10];
        stdout.read_exact(&mut first).expect("ten bytes");
        drop(stdout);
        let run = Run::of(child.wait_with_output().expect("an end")).expect(0);
        assert_eq!(run.stderr, "", "{arguments:?}");
    }
}

#[test]
fn a_full_disk_for_results_is_an_error() {
    let home = Home::plain();
    let full = std::fs::File::options().write(true).open("/dev/full");
    let mut command = home.command(["snapshots"]);
    let run = Run::of(
        command
            .stdout(full.expect("/dev/full"))
            .output()
            .expect("a run"),
    );
    let line = run.expect(1).only_line();
    assert!(
        line.starts_with("cannot write to standard output: "),
        "{line}"
    );
}
