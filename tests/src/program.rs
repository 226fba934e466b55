//! The real binary, run in a home of its own, and what it said.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Password of encrypted repositories.
pub const PASSWORD: &str = "correct horse";

/// The `repo` program that was built beside the running test.
///
/// # Panics
/// When it was not: a test that needs it must not pass without it.
#[must_use]
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("the path of this test");
    let place = own.parent().expect("the directory of this test");
    let place = if place.ends_with("deps") {
        place.parent().expect("the target directory")
    } else {
        place
    };
    let binary = place.join(format!("repo{}", std::env::consts::EXE_SUFFIX));
    assert!(
        binary.is_file(),
        "{} is missing: build it with `cargo build -p repo-cli`",
        binary.display()
    );
    binary
}

/// A temporary place with a home directory, and the environment of what runs in it.
#[derive(Debug)]
pub struct Home {
    place: TempDir,
    environment: BTreeMap<OsString, OsString>,
}

/// How a run ended and what it printed.
#[derive(Debug)]
pub struct Run {
    /// Exit code; absent after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Home {
    /// A home with the password set and nothing else.
    #[must_use]
    pub fn new() -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let mut home = Self {
            place,
            environment: BTreeMap::new(),
        };
        fs::create_dir(home.path("home")).expect("a directory");
        let directory = home.path("home");
        home.set("HOME", directory);
        home.set("PATH", std::env::var_os("PATH").unwrap_or_default());
        home.set("TZ", "UTC");
        home.set("USER", "tester");
        home.set("REPO_HOST", "test-host");
        home.set("REPO_REPOSITORY", home.path("repository"));
        home.set("REPO_PASSWORD", PASSWORD);
        home
    }

    /// A home without a password and without a repository.
    #[must_use]
    pub fn bare() -> Self {
        let mut home = Self::new();
        home.environment.remove(OsStr::new("REPO_PASSWORD"));
        home
    }

    /// A home with a repository in clear, which spares key derivation.
    #[must_use]
    pub fn plain() -> Self {
        let home = Self::bare();
        home.ok(&["init", "--no-encryption"]);
        home
    }

    /// A path in this place.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Sets a variable of later runs.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.insert(name.into(), value.into());
    }

    /// Writes a file, and makes the directories it is in.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        let parent = path.parent().expect("a parent");
        fs::create_dir_all(parent).expect("a directory");
        fs::write(&path, content).expect("a file");
    }

    /// Any program in this place, not started yet.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(&self.environment)
            .current_dir(self.place.path())
            .stdin(Stdio::null());
        command
    }

    /// The binary with arguments, not started yet; what it prints is kept.
    #[must_use]
    pub fn repo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(binary());
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the binary to its end.
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

    /// Restores a snapshot into a fresh directory and expects what `source` holds.
    #[track_caller]
    pub fn restores(&self, snapshot: &str, source: &Path) {
        let target = self.path("restored");
        if target.exists() {
            fs::remove_dir_all(&target).expect("removed");
        }
        self.ok(&["restore", snapshot, "restored"]);
        let wanted = crate::describe::tree(source).expect("the source");
        let found = crate::describe::tree(&target).expect("the target");
        let differences = crate::describe::differences(&wanted, &found);
        assert!(differences.is_empty(), "{differences:#?}");
    }
}

/// A path that is text.
#[must_use]
#[track_caller]
pub fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// Objects, one a line.
#[must_use]
#[track_caller]
pub fn objects(lines: &str) -> Vec<Value> {
    let objects = lines.lines().map(serde_json::from_str);
    objects.map(|object| object.expect("JSON")).collect()
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// What a finished process left.
    #[must_use]
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The same run, which must have ended with `code`.
    #[must_use]
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output of a run that must have succeeded without a complaint.
    #[must_use]
    #[track_caller]
    pub fn quiet(self, arguments: &[&str]) -> String {
        let run = self.expect(0);
        assert_eq!(run.stderr, "", "{arguments:?} complains");
        run.stdout
    }

    /// The only line of standard error, without the program's name.
    #[must_use]
    #[track_caller]
    pub fn only_line(&self) -> String {
        let lines: Vec<_> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "one line expected: {lines:#?}");
        let line = lines[0].strip_prefix("repo: ");
        let line = line.expect("the program's name");
        assert!(!line.contains("panicked"), "{line}");
        line.to_owned()
    }
}
