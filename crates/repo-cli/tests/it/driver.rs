//! Runs the binary in a home of its own, and says what it printed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::json::assert_documented;

/// Password of repositories that have one.
pub(crate) const PASSWORD: &str = "correct horse";

/// A home directory and what the environment says.
pub(crate) struct Home {
    place: TempDir,
    environment: BTreeMap<OsString, OsString>,
    binary: PathBuf,
}

/// What a run printed.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Home {
    /// A home without any settings.
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().expect("a temporary directory");
        let mut home = Self {
            place,
            environment: BTreeMap::new(),
            binary: PathBuf::from(env!("CARGO_BIN_EXE_repo")),
        };
        std::fs::create_dir(home.path("home")).expect("a directory");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directory = home.path("home");
        home.set("HOME", directory);
        home.set("PATH", path);
        home.set("TZ", "UTC");
        home.set("USER", "tester");
        home.set("REPO_HOST", "test-host");
        home
    }

    /// A home with a repository that is not encrypted, which spares key derivation.
    pub(crate) fn plain() -> Self {
        let mut home = Self::new();
        home.set("REPO_REPOSITORY", home.path("repository"));
        home.ok(["init", "--no-encryption"]);
        home
    }

    /// A home with an encrypted repository.
    pub(crate) fn encrypted() -> Self {
        let mut home = Self::new();
        home.set("REPO_REPOSITORY", home.path("repository"));
        home.set("REPO_PASSWORD", PASSWORD);
        home.ok(["init"]);
        home
    }

    /// Sets a variable of later runs.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.insert(name.into(), value.into());
    }

    /// Unsets a variable of later runs.
    pub(crate) fn unset(&mut self, name: &str) {
        self.environment.remove(OsStr::new(name));
    }

    /// A path in this test's own place.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// The same as text.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    /// Writes a file, and the directories it is in.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// Runs a copy of the binary that any user can reach.
    pub(crate) fn use_copied_binary(&mut self) {
        let copy = self.path("repo");
        std::fs::copy(&self.binary, &copy).expect("a copy");
        self.binary = copy;
    }

    /// The binary with arguments, not started yet.
    pub(crate) fn command<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .envs(&self.environment)
            .current_dir(self.place.path())
            .stdin(Stdio::null())
            .args(arguments);
        command
    }

    /// Runs to the end.
    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        Run::of(self.command(arguments).output().expect("a run"))
    }

    /// Runs what must succeed without a word on standard error; gives standard output.
    #[track_caller]
    pub(crate) fn ok<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let run = self.run(arguments).expect(0);
        assert_eq!(run.stderr, "", "nothing to complain about");
        run.stdout
    }

    /// Runs what must fail with `code`; gives the one line on standard error.
    #[track_caller]
    pub(crate) fn fails<A: AsRef<OsStr>>(
        &self,
        code: i32,
        arguments: impl IntoIterator<Item = A>,
    ) -> String {
        self.run(arguments).expect(code).only_line()
    }

    /// Runs with `--json` what must succeed; gives the objects, which are documented.
    #[track_caller]
    pub(crate) fn json<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Vec<Value> {
        let mut command = self.command(["--json"]);
        command.args(arguments);
        let run = Run::of(command.output().expect("a run")).expect(0);
        objects(&run.stdout)
    }

    /// Takes a snapshot and gives its id.
    #[track_caller]
    pub(crate) fn snapshot<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> String {
        let mut all: Vec<OsString> = vec!["snapshot".into()];
        all.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        let messages = self.json(all);
        let last = messages.last().expect("a summary");
        last["id"].as_str().expect("an id").to_owned()
    }
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("only what is printable is printed");
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// The only line of standard error, without the name of the program.
    #[track_caller]
    pub(crate) fn only_line(&self) -> String {
        let lines: Vec<&str> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "one line expected: {lines:?}");
        let line = lines[0];
        let line = line.strip_prefix("repo: ").expect("the program's name");
        assert!(!line.contains("panicked"), "{line}");
        line.to_owned()
    }
}

/// The objects of JSON lines, each of them documented.
#[track_caller]
pub(crate) fn objects(lines: &str) -> Vec<Value> {
    let objects: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for object in &objects {
        assert_documented(object);
    }
    objects
}

/// The objects of one type.
pub(crate) fn of_type<'a>(objects: &'a [Value], name: &str) -> Vec<&'a Value> {
    let found = objects
        .iter()
        .filter(|object| object["message_type"] == name);
    found.collect()
}

/// Bytes that no codec makes smaller, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let step = |state: &mut u64| {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        u8::try_from(*state >> 56).expect("eight bits")
    };
    (0..length).map(|_| step(&mut state)).collect()
}

/// Files below a directory and their content.
pub(crate) fn tree(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let entry = entry.expect("an entry");
            if entry.file_type().expect("a type").is_dir() {
                open.push(entry.path());
            } else {
                let content = std::fs::read(entry.path()).expect("a file");
                let path = entry.path();
                let name = path.strip_prefix(root).expect("below").to_owned();
                files.insert(name, content);
            }
        }
    }
    files
}
