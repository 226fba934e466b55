//! The archive of WAL as it answers Postgres, and as it is treated by other commands.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::driver::{Home, Run, noise};

const SIZE: u64 = 1 << 20;
const SYSTEM: u64 = 7_000_000_000_000_000_007;

/// A data directory with nothing but WAL in a home with a repository.
struct Cluster {
    home: Home,
}

impl Cluster {
    fn new(home: Home) -> Self {
        home.write("data/global/pg_control", SYSTEM.to_le_bytes());
        Self { home }
    }

    /// Writes segments that wait to be archived, and gives their names.
    fn write(&self, numbers: std::ops::Range<u64>) -> Vec<String> {
        numbers
            .map(|number| {
                let name = format!("0000000100000000{number:08X}");
                self.home
                    .write(&format!("data/pg_wal/{name}"), segment(number));
                let ready = format!("data/pg_wal/archive_status/{name}.ready");
                self.home.write(&ready, b"");
                name
            })
            .collect()
    }

    /// A command as Postgres starts it.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(["pg"]);
        command.args(arguments).current_dir(self.home.path("data"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.command(arguments).output().expect("a run"))
    }

    fn push(&self, name: &str) -> Run {
        self.run(&["archive-push", &format!("pg_wal/{name}")])
    }

    fn get(&self, name: &str) -> Run {
        self.run(&["archive-get", name, "pg_wal/RECOVERYXLOG"])
    }

    fn got(&self) -> Vec<u8> {
        let path = self.home.path("data/pg_wal/RECOVERYXLOG");
        let content = std::fs::read(&path).expect("what was fetched");
        std::fs::remove_file(&path).expect("it is there");
        content
    }
}

/// A segment with the header of Postgres 15.
fn segment(number: u64) -> Vec<u8> {
    let mut bytes = vec![0x10, 0xD1, 2, 0, 1, 0, 0, 0];
    bytes.extend_from_slice(&(number * SIZE).to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&SYSTEM.to_le_bytes());
    bytes.extend_from_slice(&[0, 0, 0x10, 0, 0, 0x20, 0, 0]);
    bytes.extend(noise(
        number,
        usize::try_from(SIZE).expect("fits") - bytes.len(),
    ));
    bytes
}

#[test]
fn what_is_acknowledged_is_in_the_log() {
    let cluster = Cluster::new(Home::plain());
    let names = cluster.write(1..5);
    cluster.push(&names[0]).expect(0);
    // Without the repository the others are acknowledged, once each and in any order.
    let (there, away) = (cluster.home.path("repository"), cluster.home.path("away"));
    std::fs::rename(&there, &away).expect("renamed");
    for name in [&names[2], &names[1], &names[3]] {
        cluster.push(name).expect(0);
        cluster.push(name).expect(10);
    }
    std::fs::rename(&away, &there).expect("renamed");
    for (number, name) in (1..).zip(&names) {
        cluster.get(name).expect(0);
        assert_eq!(cluster.got(), segment(number));
    }
}

#[test]
fn postgres_can_tell_the_end_of_the_archive_from_failures() {
    let cluster = Cluster::new(Home::plain());
    let names = cluster.write(1..2);
    let said = cluster.get(&names[0]).expect(1).only_line();
    assert!(said.contains("holds no WAL of cluster"), "{said}");
    cluster.push(&names[0]).expect(0);
    assert_eq!(cluster.get("00000002.history").expect(1).stderr, "");
    cluster.get("not-a-name").expect(255);
    cluster
        .run(&["archive-get", "--no-such-option", "a", "b"])
        .expect(255);
    cluster
        .run(&["archive-get", &names[0], "no/such/directory"])
        .expect(255);
    let (there, away) = (cluster.home.path("repository"), cluster.home.path("away"));
    std::fs::rename(&there, &away).expect("renamed");
    cluster.get(&names[0]).expect(255);
    // A standby asks again.
    let standby = cluster.home.write("data/standby.signal", b"");
    cluster.get(&names[0]).expect(1);
    std::fs::remove_file(standby).expect("it is there");
    std::fs::rename(&away, &there).expect("renamed");
    for pack in crate::driver::tree(&there.join("packs")).keys() {
        std::fs::remove_file(there.join("packs").join(pack)).expect("a pack");
    }
    cluster.get(&names[0]).expect(255);
    assert!(!cluster.home.path("data/pg_wal/RECOVERYXLOG").exists());
}

#[test]
fn other_content_is_refused() {
    let cluster = Cluster::new(Home::plain());
    let names = cluster.write(1..2);
    cluster.push(&names[0]).expect(0);
    let mut other = segment(1);
    other[5000] ^= 1;
    cluster
        .home
        .write(&format!("data/pg_wal/{}", names[0]), other);
    let said = cluster.push(&names[0]).expect(11).only_line();
    assert!(said.contains("with other content"), "{said}");
    cluster.get(&names[0]).expect(0);
    assert_eq!(cluster.got(), segment(1));
}

#[test]
fn archived_wal_is_no_snapshot_that_policies_count_or_latest_means() {
    let cluster = Cluster::new(Home::plain());
    let home = &cluster.home;
    home.write("files/a", b"a");
    let files = home.snapshot([home.text("files")]);
    for name in cluster.write(1..4) {
        cluster.push(&name).expect(0);
    }
    let listed = home.ok(["ls", "latest"]);
    assert_eq!(listed.trim(), "a");
    home.ok(["forget", "--keep-last", "1", "--group-by", ""]);
    home.ok([
        "gc",
        "--max-unused",
        "0",
        "--reader-grace",
        "0",
        "--writer-grace",
        "0s",
    ]);
    assert!(home.ok(["snapshots"]).contains(&files[..8]));
    cluster.get("000000010000000000000002").expect(0);
    assert_eq!(cluster.got(), segment(2));
}

/// Lets a process go on for a while.
#[expect(clippy::disallowed_methods, reason = "the other process tells nothing")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Pushes are killed at random moments. What was answered with 0 is in the repository, and in the end
/// all is, whatever the killed ones left.
#[test]
fn a_killed_push_is_done_again() {
    let cluster = Cluster::new(Home::plain());
    let names = cluster.write(1..41);
    let (mut killed, mut delay, mut answered) = (0, 3, Vec::new());
    for (number, name) in (1_u64..).zip(&names) {
        loop {
            let mut push = cluster.command(&["archive-push", &format!("pg_wal/{name}")]);
            push.stderr(Stdio::null());
            let mut push = push.spawn().expect("started");
            pause(Duration::from_millis(delay));
            delay = (delay * 7 + number) % 97;
            let ended = match push.try_wait().expect("asked") {
                Some(status) => Some(status),
                None if killed < 60 => {
                    push.kill().expect("killed");
                    push.wait().expect("ended");
                    killed += 1;
                    None
                }
                None => Some(push.wait().expect("ended")),
            };
            if let Some(status) = ended {
                assert!(status.success());
                answered.push((number, name));
                break;
            }
        }
    }
    assert!(killed > 5, "{killed} were killed");
    for (number, name) in answered {
        cluster.get(name).expect(0);
        assert_eq!(cluster.got(), segment(number), "{name}");
    }
    cluster.home.ok(["check", "--read-data"]);
}
