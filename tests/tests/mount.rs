//! The real program serves a mount in bounded memory, whatever a directory holds, and a Postgres server
//! runs on one.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use repo_core::{
    Access, BuildOptions, Entry, EntryType, Error, OpenOptions, Quiet, Repository, SnapshotOptions,
    Store,
};
use repo_tests::postgres::{Place, Programs};
use repo_tests::program::{Home, Run};
use repo_tests::server::pause;

/// Bytes that no command may use.
const PEAK_KIB_MAX: u64 = 160 << 10;

const FILES: u64 = 1_000_000;

/// A minute, in pauses.
const PAUSES_MAX: usize = 600;

/// A running program that does not outlive the test.
struct Running(Child);

impl Running {
    /// Starts a command and reads its first line.
    #[track_caller]
    fn start(mut command: Command) -> (Self, String) {
        let mut running = Self(command.stdout(Stdio::piped()).spawn().expect("a start"));
        let out = running.0.stdout.take().expect("a pipe");
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "nothing runs; is there a /dev/fuse?");
        (running, line)
    }

    /// Sends a signal; gives the exit code, which there is none of after `KILL`.
    fn end(mut self, signal: &str) -> Option<i32> {
        send(signal, u64::from(self.0.id()));
        self.0.wait().expect("an end").code()
    }
}

fn send(signal: &str, process: u64) -> bool {
    let kill = format!("kill -{signal} {process}");
    let sent = Command::new("sh")
        .args(["-c", &kill])
        .stderr(Stdio::null())
        .status();
    sent.expect("a shell").success()
}

impl Drop for Running {
    fn drop(&mut self) {
        // It unmounts by itself when it is told to end.
        if matches!(self.0.try_wait(), Ok(None)) {
            send("INT", u64::from(self.0.id()));
        }
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
    let (running, line) = Running::start(home.repo(&["mount", "mount", "--snapshot", "latest"]));
    assert!(line.starts_with("mounted on "), "{line}");
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

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// A snapshot of a cluster at work, with a tablespace; the server has ended since.
fn save_cluster(home: &Home, place: &Place) {
    let data = place.init("data", true);
    let server = place.start(&data);
    let fast = place.make("fast");
    server.sql(&format!(
        "create tablespace fast location '{}'",
        text(&fast)
    ));
    server.sql("create table t as select generate_series(1, 200000) as a");
    server.sql("create table u tablespace fast as select generate_series(1, 1000) as a");
    // These would reach beyond a server that is opened, or keep it from answering.
    server.sql("alter system set synchronous_standby_names = 'nobody'");
    server.sql("alter system set archive_mode = on");
    server.sql("alter system set listen_addresses = '*'");
    let saved = home.run(&["pg", "snapshot", "--pgdata", text(&data)]);
    assert!(saved.expect(0).stdout.contains(" saved: "));
}

/// The cluster is shown under a mount as files are.
fn is_shown(home: &Home) {
    fs::create_dir(home.path("mount")).expect("a directory");
    let (running, _) = Running::start(home.repo(&["mount", "mount"]));
    let root = home.path("mount/snapshots/latest");
    assert_eq!(
        fs::metadata(root.join("global/pg_control"))
            .expect("a file")
            .len(),
        8192
    );
    let space = fs::read_dir(root.join("pg_tblspc")).expect("a directory");
    let space = space
        .map(|entry| entry.expect("an entry").path())
        .next()
        .expect("a tablespace");
    assert_eq!(fs::read_dir(space).expect("a directory").count(), 1);
    assert_eq!(running.end("TERM"), Some(0));
}

/// Nothing is mounted or left below `work`.
fn is_clean(work: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let empty = fs::read_dir(work).expect("a directory").next().is_none();
    empty && !mounts.contains(text(work))
}

#[test]
fn a_server_answers_on_a_snapshot_and_leaves_nothing_behind() {
    const SUMS: &str = "select (select sum(a) from t), (select sum(a) from u)";
    const ANSWER: &str = "20000100000|500500\n";
    for programs in Programs::all() {
        let (mut home, place) = (Home::plain(), Place::new(&programs));
        home.set("PGUSER", "postgres");
        save_cluster(&home, &place);
        is_shown(&home);
        let work = place.make("work");
        let psql = place.programs().join("psql");
        let open = ["pg", "open", "latest", "--work", text(&work), "--bindir"];
        let open = [&open[..], &[text(place.programs())]].concat();
        let ask = |sql: &str| -> Run {
            let psql = [
                "--",
                text(&psql),
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                sql,
            ];
            home.run(&[&open[..], &psql].concat())
        };
        // With a command it ends as that does, and what is written is gone with it.
        assert_eq!(ask(SUMS).expect(0).stdout, ANSWER);
        let written = ask("update t set a = 0; update u set a = 0");
        assert_eq!(written.expect(0).stdout, "");
        assert!(is_clean(&work));
        let failed = ask("select nonsense").expect(1).stderr;
        assert!(
            failed.contains("the command failed: exit status: "),
            "{failed}"
        );

        // Without one it serves until it is told to end, however that is.
        for (signal, code) in [("INT", Some(0)), ("TERM", Some(0)), ("KILL", None)] {
            let (running, line) = Running::start(home.repo(&[&["--json"], &open[..]].concat()));
            let message: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(message["message_type"], "pg_open");
            let (socket, port) = (message["host"].as_str(), message["port"].to_string());
            let there = [
                "-XAtq",
                "-U",
                "postgres",
                "-d",
                "postgres",
                "-h",
                socket.expect("text"),
                "-p",
                &port,
                "-c",
                SUMS,
            ];
            assert_eq!(place.run("psql", &there), ANSWER);
            assert_eq!(running.end(signal), code, "{signal}");
            let server = message["pid"].as_u64().expect("a process");
            let gone = || is_clean(&work) && !send("0", server);
            let mut pauses = 0;
            while !gone() {
                assert!(
                    code.is_none() && pauses < PAUSES_MAX,
                    "{signal} leaves something"
                );
                pauses += 1;
                pause();
            }
        }
    }
}
