//! `repo mount`: it serves until it is told to end, and leaves no dead mount, however it ends.

#![expect(
    clippy::disallowed_methods,
    reason = "the kernel and other processes do not tell when they are done"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::Advice;

use crate::driver::{Home, objects};

/// A `repo mount` that runs, and is ended with the test.
struct Running {
    child: Child,
    line: String,
}

impl Running {
    fn start(home: &Home, arguments: &[&str]) -> Self {
        let mut command = home.command(["mount"]);
        command.args(arguments).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a start");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a line");
        // Without FUSE nothing here is tested, and that must not look like success.
        assert!(
            !line.is_empty(),
            "no mount; these tests need /dev/fuse, and root or fusermount3"
        );
        Self { child, line }
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {id}")])
            .status();
        assert!(sent.expect("a shell").success());
    }

    fn code(&mut self) -> Option<i32> {
        within("it ends", || {
            self.child.try_wait().expect("a child").is_some()
        });
        self.child.wait().expect("a child").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be ended again.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn within(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_mounted(target: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let target = target.canonicalize().expect("a directory");
    let target = target.to_str().expect("UTF-8");
    mounts
        .lines()
        .any(|line| line.split(' ').nth(1) == Some(target))
}

fn saved() -> Home {
    let home = Home::plain();
    home.write("source/dir/file", "content");
    fs::create_dir(home.path("mount")).expect("a directory");
    home.snapshot(["source"]);
    home
}

#[test]
fn a_signal_unmounts() {
    let home = saved();
    for signal in ["INT", "TERM"] {
        let mut running = Running::start(&home, &["mount"]);
        assert!(running.line.starts_with("mounted on "), "{}", running.line);
        let file = home.path("mount/snapshots/latest/dir/file");
        assert_eq!(fs::read_to_string(file).expect("a file"), "content");
        running.signal(signal);
        assert_eq!(running.code(), Some(0), "{signal}");
        assert!(!is_mounted(&home.path("mount")));
        let left = fs::read_dir(home.path("mount")).expect("a directory");
        assert_eq!(left.count(), 0);
    }
}

#[test]
fn a_killed_program_leaves_no_dead_mount() {
    let home = saved();
    let mut running = Running::start(&home, &["mount"]);
    // In use, too.
    let open = fs::File::open(home.path("mount/snapshots/latest/dir/file"));
    assert!(is_mounted(&home.path("mount")));
    running.signal("KILL");
    assert_eq!(running.code(), None);
    drop(open);
    let target = home.path("mount");
    within("the mount goes", || {
        target.canonicalize().is_ok() && !is_mounted(&target)
    });
    assert_eq!(fs::read_dir(target).expect("a directory").count(), 0);
}

#[test]
fn killed_among_readers_at_random_it_is_gone() {
    const PAGE: usize = 8192;
    const ROUNDS: u64 = 10;
    let home = Home::plain();
    // Long segments of text: to read one page means to hand many to the kernel.
    let text: String = (0..2_500_000).map(|n| format!("line {n}\n")).collect();
    home.write("source/file", &text);
    fs::create_dir(home.path("mount")).expect("a directory");
    home.snapshot(["source"]);
    let target = home.path("mount");
    let pages = text.len() / PAGE;
    for round in 0..ROUNDS {
        let mut running = Running::start(&home, &["mount"]);
        // The kernel serves what it has been handed, to the end and beyond it.
        let over = AtomicBool::new(false);
        let read = |reader: usize| {
            let file = fs::File::open(target.join("snapshots/latest/file")).expect("a file");
            let mut page = [0; PAGE];
            // Neighbours of each other, so that one waits for what another is given.
            for step in reader / 4.. {
                let at = step * 7919 % pages * PAGE;
                let failed = file.read_at(&mut page, at as u64).is_err();
                // It is handed over again.
                if step % 16 == 0 {
                    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).expect("advice");
                }
                if failed || over.load(Ordering::Relaxed) {
                    return;
                }
            }
        };
        let gone = std::thread::scope(|scope| {
            for reader in 0..16 {
                let read = &read;
                scope.spawn(move || read(reader));
            }
            std::thread::sleep(Duration::from_millis(100 + 20 * round));
            running.signal("KILL");
            over.store(true, Ordering::Relaxed);
            let until = Instant::now() + Duration::from_secs(20);
            while running.child.try_wait().expect("a child").is_none() {
                if Instant::now() > until {
                    // Or neither it nor this test would ever end.
                    let aborted = Command::new("umount").arg("-f").arg(&target).status();
                    return aborted.is_err();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            true
        });
        assert!(gone, "round {round}: it waits for itself");
        within("the mount goes", || {
            target.canonicalize().is_ok() && !is_mounted(&target)
        });
    }
}

#[test]
fn an_unmount_from_outside_ends_it() {
    let home = saved();
    let mut running = Running::start(&home, &["mount"]);
    let ended = Command::new("umount").arg(home.path("mount")).status();
    assert!(ended.expect("umount").success());
    assert_eq!(running.code(), Some(0));
}

#[test]
fn one_snapshot_is_shown_at_the_root() {
    let home = saved();
    let first = home.snapshot(["source"]);
    home.write("source/dir/file", "changed");
    home.snapshot(["source"]);
    for (name, content) in [(&first[..10], "content"), ("latest", "changed")] {
        let mut running = Running::start(&home, &["mount", "--snapshot", name, "--json"]);
        let message = &objects(&running.line)[0];
        assert_eq!(message["message_type"], "mounted");
        assert_eq!(message["target"], home.text("mount"));
        let file = home.path("mount/dir/file");
        assert_eq!(fs::read_to_string(file).expect("a file"), content);
        running.signal("INT");
        assert_eq!(running.code(), Some(0));
    }
}

#[test]
fn what_cannot_be_mounted_is_told() {
    let home = saved();
    home.write("file", "");
    for target in ["file", "absent"] {
        let line = home.fails(1, ["mount", target]);
        assert_eq!(
            line,
            format!("cannot mount on {target}: it is not a directory")
        );
    }
    let line = home.fails(1, ["mount", "mount", "--snapshot", "deadbeef"]);
    assert!(line.starts_with("no snapshot deadbeef"), "{line}");
}

#[test]
fn tables_of_a_snapshot_are_files_of_a_mount() {
    let home = Home::plain();
    crate::tables::every_message(&home);
    fs::create_dir(home.path("mount")).expect("a directory");
    let mut running = Running::start(&home, &["mount", "--snapshot", "latest"]);
    let table = home.path("mount/tables/db.t/table");
    assert_eq!(
        fs::read_to_string(table.join("b.bin")).expect("a file"),
        "new"
    );
    let log = fs::read_dir(table.join("_delta_log")).expect("a directory");
    assert_eq!(log.count(), 2);
    running.signal("INT");
    assert_eq!(running.code(), Some(0));
}
