//! Standard input and commands as sources.

use std::io::Write as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::driver::{Home, Run, noise};

fn feed(home: &Home, arguments: &[&str], content: &[u8]) -> Run {
    let mut child = home
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a run");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(content).expect("written");
    drop(stdin);
    Run::of(child.wait_with_output().expect("an end"))
}

#[test]
fn standard_input_is_a_file_of_the_snapshot() {
    let home = Home::plain();
    let content = noise(3, 3 << 20);
    feed(&home, &["snapshot", "-"], b"small").expect(0);
    assert_eq!(home.ok(["cat", "latest:stdin"]), "small");
    let arguments = ["snapshot", "-", "--stdin-filename", "dump.sql"];
    feed(&home, &arguments, &content).expect(0);
    let output = home
        .command(["cat", "latest:dump.sql"])
        .output()
        .expect("a run");
    assert!(output.stdout == content, "not the bytes that were given");
    assert_eq!(home.ok(["ls", "latest"]), "dump.sql\n");

    home.fails(2, ["snapshot", "-", "other"]);
    let line = home.fails(1, ["snapshot", "-", "--stdin-filename", "a/b"]);
    assert!(line.contains("a/b"), "{line}");
}

#[test]
fn a_command_is_saved_only_when_it_succeeds() {
    let home = Home::plain();
    let saved = home.run([
        "snapshot",
        "--stdin-from-command",
        "--stdin-filename",
        "out",
        "--",
        "sh",
        "-c",
        "printf 'from a command'",
    ]);
    saved.expect(0);
    assert_eq!(home.ok(["cat", "latest:out"]), "from a command");

    let failing = ["sh", "-c", "printf half; exit 3"];
    let line = home.fails(
        1,
        ["snapshot", "--stdin-from-command", "--"]
            .iter()
            .chain(&failing),
    );
    assert!(line.contains("command sh failed: exit status: 3"), "{line}");
    let line = home.fails(1, ["snapshot", "--stdin-from-command", "--", "/no/such"]);
    assert!(line.contains("cannot start command /no/such"), "{line}");
    assert_eq!(home.json(["snapshots"]).len(), 1, "only the first is there");
}

#[test]
fn a_signal_stops_without_a_trace_in_the_log() {
    let home = Home::plain();
    home.write("data/a", "a");
    home.snapshot(["data"]);
    let before = home.json(["log"]).len();
    for signal in [Signal::INT, Signal::TERM] {
        let mut child = home
            .command(["snapshot", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a run");
        // A megabyte is more than a pipe holds: once it is written, the program reads.
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(&noise(4, 1 << 20)).expect("written");
        let process = Pid::from_child(&child);
        kill_process(process, signal).expect("a signal");
        let run = Run::of(child.wait_with_output().expect("an end")).expect(130);
        drop(stdin);
        assert_eq!(run.only_line(), "cancelled");
        assert_eq!(run.stdout, "");
    }
    assert_eq!(home.json(["log"]).len(), before);
    home.ok(["check"]);
}
