//! A real Postgres server in a place of its own, and what a test asks of it.
//!
//! The server refuses to run as root, so root runs it as `nobody`. It listens on a socket in its place
//! only, and ends when this process does: its supervisor waits on a pipe.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use repo_testkit::tool;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::server::pause;

/// Number of the user and the group `nobody`.
const NOBODY: u32 = 65_534;
/// A minute, in pauses.
const PAUSES_MAX: usize = 600;
/// Ends the server when this process ends, however it does.
const SUPERVISOR: &str = r#"
"$@" </dev/null >>"$PGLOG" 2>&1 &
server=$!
read -r _
kill -QUIT $server
wait $server 2>/dev/null
"#;

/// The programs of one version.
#[derive(Debug, Clone)]
pub struct Programs {
    directory: PathBuf,
}

/// A place that the server's user may enter, with clusters in it.
#[derive(Debug)]
pub struct Place {
    directory: TempDir,
    programs: Programs,
}

/// A running server. It is stopped at once when dropped.
#[derive(Debug)]
pub struct Server<'p> {
    place: &'p Place,
    data: PathBuf,
    socket: PathBuf,
    supervisor: Option<Child>,
}

impl Programs {
    /// All versions of this machine: the one that `tests/tools/install.sh` installs, and that of
    /// the system where it has one.
    ///
    /// # Panics
    /// When the installed one is missing: a test that needs it must not pass without it.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let installed = tool("postgres/bin/postgres");
        let directory = installed.parent().expect("a directory");
        let mut found = vec![fs::canonicalize(directory).expect("the installed version")];
        for entry in fs::read_dir("/usr/lib/postgresql").into_iter().flatten() {
            let directory = entry.expect("an entry").path().join("bin");
            if directory.join("initdb").is_file() {
                found.push(directory);
            }
        }
        found
            .into_iter()
            .map(|directory| Self { directory })
            .collect()
    }

    /// The installed version, of which there is one everywhere.
    #[must_use]
    pub fn installed() -> Self {
        Self::all().swap_remove(0)
    }
}

/// Runs a command as the user of servers.
fn as_user(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={NOBODY}"))
        .arg(format!("--regid={NOBODY}"))
        .arg("--clear-groups")
        .arg(program);
    command
}

impl Place {
    /// A fresh place for clusters of one version.
    #[must_use]
    pub fn new(programs: &Programs) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), mode).expect("a mode");
        let mut place = Self {
            directory,
            programs: programs.clone(),
        };
        // A checkout below a private home is closed to the server's user.
        let visible = as_user(&programs.directory.join("postgres"))
            .arg("--version")
            .output();
        if !visible.is_ok_and(|output| output.status.success()) {
            let from = programs.directory.parent().expect("a parent");
            let to = place.path("programs");
            let copied = Command::new("cp").arg("-r").arg(from).arg(&to).status();
            assert!(copied.expect("cp").success(), "copied");
            place.programs.directory = to.join("bin");
        }
        place.make("run");
        place
    }

    /// A path in this place.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a directory that belongs to the server's user.
    pub fn make(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("a directory");
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).expect("an owner");
        }
        path
    }

    /// Where the programs of the server are.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs.directory
    }

    /// A program of the server, as its user.
    #[must_use]
    pub fn program(&self, name: &str) -> Command {
        let mut command = as_user(&self.programs.directory.join(name));
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            .env("HOME", self.path("run"))
            .current_dir(self.path("run"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a program to its end, which must be a good one; gives its standard output.
    #[track_caller]
    pub fn run(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.program(name).args(arguments).output();
        checked(name, &output.expect("a run"))
    }

    /// Makes a cluster with or without checksums.
    pub fn init(&self, name: &str, checksums: bool) -> PathBuf {
        let data = self.make(name);
        let path = data.to_str().expect("text");
        // From 18 on they are the default, and the option against them exists.
        let sums: &[&str] = match (checksums, self.major()) {
            (true, _) => &["-k"],
            (false, 18..) => &["--no-data-checksums"],
            (false, _) => &[],
        };
        self.run(
            "initdb",
            &[&["-N", "-A", "trust", "-U", "postgres", "-D", path], sums].concat(),
        );
        data
    }

    /// The major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        let text = self.run("postgres", &["--version"]);
        let number = text
            .split(' ')
            .nth(2)
            .and_then(|version| version.split('.').next());
        number
            .and_then(|number| number.trim().parse().ok())
            .expect("a version")
    }

    /// Starts the server of a cluster and waits until it answers.
    #[track_caller]
    pub fn start(&self, data: &Path) -> Server<'_> {
        let mut server = Server {
            place: self,
            data: data.to_owned(),
            socket: self.make(&format!(
                "socket-{}",
                data.file_name().expect("a name").display()
            )),
            supervisor: None,
        };
        server.run_again();
        server
    }

    /// What the servers of this place said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

#[track_caller]
fn checked(what: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{what}: {} {}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

impl Server<'_> {
    /// Starts it again, after it was stopped.
    #[track_caller]
    pub fn run_again(&mut self) {
        let log = self.place.path("log");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log");
        let mode = fs::Permissions::from_mode(0o666);
        log.set_permissions(mode).expect("a mode");
        let program = self.place.programs.directory.join("postgres");
        // The supervisor runs as the server's user, too, so that it may end it.
        let mut command = as_user(Path::new("/bin/sh"));
        let child = command
            .args(["-c", SUPERVISOR, "sh"])
            .arg(program)
            .arg("-D")
            .arg(&self.data)
            .arg("-k")
            .arg(&self.socket)
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "shared_buffers=32MB",
            ])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            .env("PGLOG", self.place.path("log"))
            .current_dir(self.place.path("run"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.supervisor = Some(child.expect("a server"));
        let answers = (0..PAUSES_MAX).any(|_| {
            let answers = self.query("postgres", "select 1").is_ok();
            if !answers {
                pause();
            }
            answers
        });
        assert!(answers, "the server does not answer: {}", self.place.log());
    }

    /// Options that lead a client to it.
    #[must_use]
    pub fn options(&self) -> Vec<&str> {
        vec!["-h", self.socket.to_str().expect("text"), "-U", "postgres"]
    }

    /// Runs SQL; gives rows as lines with columns separated by `|`.
    pub fn query(&self, database: &str, sql: &str) -> io::Result<String> {
        let output = self
            .place
            .program("psql")
            .args(self.options())
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", sql])
            .output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
        }
        Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }

    /// Runs SQL that must succeed in the database `postgres`.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.query("postgres", sql).expect("an answer")
    }

    /// Runs a client program that must succeed.
    #[track_caller]
    pub fn client(&self, program: &str, arguments: &[&str]) -> String {
        self.place
            .run(program, &[&self.options()[..], arguments].concat())
    }

    /// A client program with its arguments, started and left to run.
    #[must_use]
    pub fn background(&self, program: &str, arguments: &[&str]) -> Background {
        let child = self
            .place
            .program(program)
            .args(self.options())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Background(child.expect("a client"))
    }

    /// Stops it at once, without a checkpoint, as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            drop(supervisor.stdin.take());
            // Its work is to end; there is nobody to tell that it could not.
            drop(supervisor.wait());
        }
    }

    /// Kills all its processes where they are.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let file = fs::read_to_string(self.data.join("postmaster.pid")).expect("a running server");
        let first = file.lines().next().and_then(|line| line.parse().ok());
        let postmaster: i32 = first.expect("a process");
        let mut processes = children(postmaster);
        processes.push(postmaster);
        for process in &processes {
            let id = Pid::from_raw(*process).expect("a process");
            // One that has just ended by itself is as good as killed.
            let killed = kill_process(id, Signal::KILL);
            assert!(matches!(killed, Ok(()) | Err(Errno::SRCH)), "{killed:?}");
        }
        self.stop();
        while processes.iter().any(|process| lives(*process)) {
            pause();
        }
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.data
    }
}

/// The processes that a process has started.
fn children(parent: i32) -> Vec<i32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("processes") {
        let name = entry.expect("a process").file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if stat(process).is_some_and(|(_, of)| of == parent) {
            found.push(process);
        }
    }
    found
}

/// Whether a process is there and has not ended.
fn lives(process: i32) -> bool {
    stat(process).is_some_and(|(state, _)| state != "Z")
}

/// State and parent of a process. Its name, in parentheses before them, may hold anything.
fn stat(process: i32) -> Option<(String, i32)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A client at work; killed when dropped.
#[derive(Debug)]
pub struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
