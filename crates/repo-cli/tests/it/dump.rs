//! Files and archives on standard output and in a file.

use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::driver::{Home, Run, noise, tree};

fn saved() -> Home {
    let home = Home::plain();
    home.write("data/dir/file", noise(1, 300_000));
    home.write("data/dir/empty", "");
    home.write("data/top", "text");
    home.snapshot(["data"]);
    home
}

/// Feeds an archive to a program that unpacks it into `target`.
fn unpack(home: &Home, target: &str, bytes: &[u8], program: &str, arguments: &[&str]) {
    std::fs::create_dir(home.path(target)).expect("a directory");
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(home.path(target))
        .stdin(Stdio::piped())
        .spawn()
        .expect("the program is there");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(bytes).expect("written");
    drop(stdin);
    assert!(child.wait().expect("an end").success());
}

#[test]
fn a_file_is_written_as_it_is_and_a_directory_as_tar() {
    let home = saved();
    let dump = |target: &str| home.command(["dump", target]).output().expect("a run");
    let file = dump("latest:dir/file");
    assert!(file.stdout == noise(1, 300_000) && file.stderr.is_empty());
    unpack(&home, "part", &dump("latest:dir").stdout, "tar", &["-x"]);
    assert_eq!(tree(&home.path("part")), tree(&home.path("data/dir")));
    unpack(&home, "all", &dump("latest").stdout, "tar", &["-x"]);
    assert_eq!(tree(&home.path("all")), tree(&home.path("data")));
}

#[test]
fn a_zip_goes_into_a_file_that_appears_whole() {
    let home = saved();
    home.ok(["dump", "latest", "--archive", "zip", "-o", "out.zip"]);
    let zip = std::fs::read(home.path("out.zip")).expect("a file");
    let unzip = "import io, sys, zipfile
zipfile.ZipFile(io.BytesIO(sys.stdin.buffer.read())).extractall()";
    unpack(&home, "all", &zip, "python3", &["-c", unzip]);
    assert_eq!(tree(&home.path("all")), tree(&home.path("data")));

    // A failure leaves what was there, and nothing beside it.
    let before = std::fs::read_dir(home.path(""))
        .expect("a directory")
        .count();
    home.fails(1, ["dump", "latest:nothing", "-o", "out.zip"]);
    home.fails(1, ["dump", "latest", "-o", "no/such/directory/out.tar"]);
    assert_eq!(std::fs::read(home.path("out.zip")).expect("a file"), zip);
    let after = std::fs::read_dir(home.path(""))
        .expect("a directory")
        .count();
    assert_eq!(after, before);
}

#[test]
fn what_a_zip_has_no_place_for_is_told() {
    let home = Home::plain();
    home.write("data/file", "text");
    let pipe = home.path("data/pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
    symlink("file", home.path("data/link")).expect("a link");
    home.snapshot(["data"]);
    let out = "out.zip";
    let line = home.fails(3, ["dump", "latest", "-a", "zip", "-o", out]);
    assert_eq!(
        line,
        "warning: 1 entry left out: a zip archive has no devices and pipes"
    );
    let line = home.fails(1, ["dump", "latest:pipe"]);
    assert!(line.contains("neither a file nor a directory"), "{line}");
    home.ok(["dump", "latest:pipe", "-a", "tar", "-o", "out.tar"]);
}

#[test]
fn a_reader_that_goes_is_no_error() {
    let home = Home::plain();
    home.write("data/file", noise(2, 8 << 20));
    home.snapshot(["data"]);
    for format in ["tar", "zip"] {
        let mut child = home
            .command(["dump", "latest", "--archive", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a run");
        drop(child.stdout.take());
        let run = Run::of(child.wait_with_output().expect("an end")).expect(0);
        assert_eq!(run.stderr, "");
    }
}
