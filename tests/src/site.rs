//! Clusters of real servers with a repository that belongs to the servers' user, as it does where
//! servers archive their WAL themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::postgres::{Place, Programs, Server};
use crate::program::{Run, binary, objects, text};
use crate::server::pause;

/// Two minutes, in pauses: archivers that fail wait up to one before they try again.
const PAUSES_MAX: usize = 1200;

/// A place for clusters, a repository in clear, and the program.
#[derive(Debug)]
pub struct Site {
    /// Where clusters are.
    pub place: Place,
    program: PathBuf,
}

impl Site {
    /// A fresh site with an empty repository.
    #[must_use]
    pub fn new(programs: &Programs) -> Self {
        let place = Place::new(programs);
        // What was built below a private home is closed to the servers' user.
        let program = place.path("repo");
        fs::copy(binary(), &program).expect("the program copied");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
        place.make("repository");
        // Clusters are restored beside it.
        place.make(".");
        let site = Self { place, program };
        site.ok(&["init", "--no-encryption"]);
        site
    }

    /// The program with arguments, run by the servers' user and not started yet.
    #[must_use]
    pub fn repo(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.program(text(&self.program));
        command
            .env("REPO_REPOSITORY", self.place.path("repository"))
            .env("REPO_HOST", "test-host")
            .env("USER", "tester")
            .env("PGUSER", "postgres")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(&self.repo(arguments).output().expect("a run"))
    }

    /// Runs what must succeed without a complaint; gives standard output.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        self.run(arguments).quiet(arguments)
    }

    /// Runs what must fail with `code` and one line on standard error; gives the line.
    #[track_caller]
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        self.run(arguments).expect(code).only_line()
    }

    /// Runs with `--json` what must succeed; gives the objects.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Vec<Value> {
        objects(&self.ok(&[&["--json"], arguments].concat()))
    }

    /// Takes a snapshot of a running cluster; gives its id.
    #[track_caller]
    pub fn saved(&self, data: &Path) -> String {
        let said = self.json(&["pg", "snapshot", "--pgdata", text(data)]);
        id(&said)
    }

    /// The server of a fresh cluster that archives into the repository.
    #[track_caller]
    pub fn archiving(&self, name: &str) -> Server<'_> {
        self.archiving_with(name, "")
    }

    /// The same with more settings.
    #[track_caller]
    pub fn archiving_with(&self, name: &str, settings: &str) -> Server<'_> {
        let data = self.place.make(name);
        // Short segments, so that a few rows fill one.
        let own = [
            "-N",
            "-A",
            "trust",
            "-U",
            "postgres",
            "-k",
            "--wal-segsize=1",
        ];
        self.place
            .run("initdb", &[&own[..], &["-D", text(&data)]].concat());
        let at = |path: &str| text(&self.place.path(path)).to_owned();
        // A shell that is killed with its command would end the archiver, which is started again
        // after ten seconds only.
        let command = format!(
            "{} --repo {} pg archive-push %p --spool {} || exit 1",
            text(&self.program),
            at("repository"),
            at("run/spool")
        );
        let settings = format!("archive_mode = on\narchive_command = '{command}'\n{settings}");
        configure(&data, &settings);
        self.place.start(&data)
    }

    /// The content of an archived file.
    #[track_caller]
    pub fn fetch(&self, data: &Path, file: &str) -> Vec<u8> {
        let target = self.place.path("run/fetched");
        let place = ["--pgdata", text(data), "--ahead", "0"];
        self.ok(&[&["pg", "archive-get", file, text(&target)], &place[..]].concat());
        fs::read(target).expect("what was fetched")
    }

    /// Kills all runs of the program in this site that have this word among their arguments; gives
    /// their number.
    pub fn kill(&self, word: &str) -> usize {
        let mut killed = 0;
        for entry in fs::read_dir("/proc").expect("processes").flatten() {
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok());
            let Some(process) = number.and_then(Pid::from_raw) else {
                continue;
            };
            let is_ours =
                fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == self.program);
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let has = line
                .split(|byte| *byte == 0)
                .any(|argument| argument == word.as_bytes());
            if is_ours && has && kill_process(process, Signal::KILL).is_ok() {
                killed += 1;
            }
        }
        killed
    }

    /// Stops a server with a checkpoint.
    #[track_caller]
    pub fn shut_down(&self, server: &mut Server<'_>) {
        self.place.run(
            "pg_ctl",
            &["stop", "-w", "-m", "fast", "-D", text(server.data())],
        );
        server.stop();
    }
}

/// Adds to the settings of a cluster.
pub fn configure(data: &Path, settings: &str) {
    let path = data.join("postgresql.conf");
    let old = fs::read_to_string(&path).expect("settings");
    fs::write(&path, format!("{old}\n{settings}")).expect("settings");
}

/// What leads the program to a server.
#[must_use]
pub fn dsn(server: &Server<'_>) -> String {
    format!("host={} user=postgres", server.options()[1])
}

/// The id in the last object of a snapshot's output.
#[must_use]
#[track_caller]
pub fn id(said: &[Value]) -> String {
    let last = said.last().expect("a summary");
    last["id"].as_str().expect("an id").to_owned()
}

/// Waits until it is so.
///
/// # Panics
/// When it takes two minutes.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let so = (0..PAUSES_MAX).any(|_| {
        let so = is_so();
        if !so {
            pause();
        }
        so
    });
    assert!(so, "waited in vain until {what}");
}
