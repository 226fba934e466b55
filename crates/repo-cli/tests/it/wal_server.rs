//! Real servers: they archive, recover, are checked, and send themselves.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::driver::{Home, Run, objects};
use crate::wal::pause;

/// A real server that archives into the home's repository.
struct Server<'h> {
    home: &'h Home,
    programs: PathBuf,
    data: PathBuf,
    port: u16,
}

/// Who servers run as: they refuse to run as root.
const USER: u32 = 65534;

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// The newest server of this machine.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let versions = versions.flatten().map(|version| version.path().join("bin"));
    versions
        .filter(|programs| programs.join("postgres").exists())
        .max()
}

/// Gives everything in the home to the user of servers.
fn give(path: &Path) {
    if is_root() {
        let done = Command::new("chown")
            .args(["-R", &format!("{USER}:{USER}")])
            .arg(path)
            .status();
        assert!(done.expect("run").success());
    }
}

impl<'h> Server<'h> {
    fn new(home: &'h Home, programs: &Path, name: &str, port: u16) -> Self {
        Self {
            home,
            programs: programs.to_owned(),
            data: home.path(name),
            port,
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.home.command([] as [&str; 0]);
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command = Command::new(self.programs.join(program));
        command
            .env_clear()
            .envs(environment)
            .current_dir(self.home.path("home"))
            .stdin(Stdio::null());
        if is_root() {
            command.uid(USER).gid(USER);
        }
        command
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self
            .command(program)
            .args(arguments)
            .output()
            .expect("a run");
        let run = Run::of(output);
        let log = || std::fs::read_to_string(self.home.path("log")).unwrap_or_default();
        assert!(
            run.code == Some(0),
            "{program} {arguments:?}: {}{}\n{}",
            run.stdout,
            run.stderr,
            log()
        );
        run.stdout.trim().to_owned()
    }

    /// This program as the user of the server.
    fn repo(&self, arguments: &[&str]) -> Run {
        let mut command = self.home.command(arguments);
        if is_root() {
            command.uid(USER).gid(USER);
        }
        Run::of(command.output().expect("a run"))
    }

    fn path(&self) -> &str {
        self.data.to_str().expect("UTF-8")
    }

    fn init(&self, binary: &Path) {
        self.run(
            "initdb",
            &[
                "-D",
                self.path(),
                "-A",
                "trust",
                "-N",
                "-U",
                "admin",
                "--wal-segsize=1",
            ],
        );
        let push = format!("{} pg archive-push %p", binary.display());
        self.set(&format!(
            "archive_mode = on\narchive_command = '{push}'\nfsync = off\nmax_wal_size = 64MB"
        ));
    }

    fn set(&self, settings: &str) {
        let path = self.data.join("postgresql.conf");
        let mut text = std::fs::read_to_string(&path).expect("settings");
        text.push_str(settings);
        text.push('\n');
        std::fs::write(&path, text).expect("written");
    }

    fn start(&self) {
        let sockets = self.home.path("home");
        let options = format!(
            "-p {} -c listen_addresses= -k {}",
            self.port,
            sockets.display()
        );
        let log = self.home.text("log");
        // Standard output is inherited by the server, so it must not be a pipe that is read to its end.
        let started = self
            .command("pg_ctl")
            .args(["-D", self.path(), "-w", "-l", &log, "-o", &options, "start"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        let log = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(started.expect("run").success(), "{}", log());
    }

    fn sql(&self, sql: &str) -> String {
        let (sockets, port) = (self.home.text("home"), self.port.to_string());
        let arguments = [
            "-h", &sockets, "-p", &port, "-U", "admin", "-XAtqc", sql, "postgres",
        ];
        self.run("psql", &arguments)
    }

    fn stop(&self) {
        let stopped = self
            .command("pg_ctl")
            .args(["-D", self.path(), "-w", "-m", "fast", "stop"])
            .stdout(Stdio::null())
            .status();
        assert!(stopped.expect("run").success());
    }

    /// Ends the segment and waits until it is archived.
    fn archive(&self) -> String {
        let segment = self.sql("SELECT pg_walfile_name(pg_switch_wal())");
        let asked =
            format!("SELECT coalesce(last_archived_wal, '') >= '{segment}' FROM pg_stat_archiver");
        for _ in 0..600 {
            if self.sql(&asked) == "t" {
                return segment;
            }
            pause(Duration::from_millis(100));
        }
        let log = std::fs::read_to_string(self.home.path("log")).unwrap_or_default();
        unreachable!("{segment} is not archived\n{log}");
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["-D", self.path(), "-m", "immediate", "stop"]);
        drop(stop.stdout(Stdio::null()).stderr(Stdio::null()).status());
    }
}

/// Copies the base backup, to be recovered to a target.
fn recovered<'h>(
    base: &Server<'h>,
    name: &str,
    port: u16,
    binary: &Path,
    target: &str,
) -> Server<'h> {
    let server = Server::new(base.home, &base.programs, name, port);
    let copied = Command::new("cp")
        .args(["-a", base.path(), server.path()])
        .status();
    assert!(copied.expect("run").success());
    let get = format!("{} pg archive-get %f %p", binary.display());
    server.set(&format!("restore_command = '{get}'\n{target}"));
    let signal = server.data.join("recovery.signal");
    std::fs::write(&signal, b"").expect("a file");
    give(&server.data);
    server.start();
    for _ in 0..600 {
        if server.sql("SELECT pg_is_in_recovery()") == "f" {
            return server;
        }
        pause(Duration::from_millis(100));
    }
    unreachable!("{name} is still in recovery");
}

/// A home with a repository that servers can use, their programs and this one; nothing where there is
/// no server.
fn prepared() -> Option<(Home, PathBuf, PathBuf)> {
    let programs = programs()?;
    let mut home = Home::plain();
    home.use_copied_binary();
    let binary = home.path("repo");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(home.path("."), open).expect("permissions");
    give(&home.path("."));
    Some((home, programs, binary))
}

#[test]
fn recovery_stops_where_it_is_told() {
    let Some((home, programs, binary)) = prepared() else {
        return;
    };
    let source = Server::new(&home, &programs, "source", 61001);
    source.init(&binary);
    source.start();
    let base = Server::new(&home, &programs, "base", 61002);
    let (sockets, port) = (home.text("home"), "61001");
    // Without WAL of its own: what makes it consistent comes from the archive.
    let backup = [
        "-h",
        &sockets,
        "-p",
        port,
        "-U",
        "admin",
        "-D",
        base.path(),
        "-X",
        "none",
        "-c",
        "fast",
    ];
    source.run("pg_basebackup", &backup);
    source.sql("CREATE TABLE t (name text)");
    source.sql("INSERT INTO t VALUES ('a')");
    let between = source.sql("SELECT clock_timestamp()");
    source.sql("INSERT INTO t SELECT 'b'");
    // Several segments, so that some are pushed and fetched ahead of their turn.
    source.sql("CREATE TABLE u AS SELECT repeat(md5(i::text), 30) FROM generate_series(1, 9000) i");
    source.archive();
    source.stop();

    let names = "SELECT string_agg(name, '' ORDER BY name) FROM t";
    let target = format!("recovery_target_time = '{between}'\nrecovery_target_action = promote");
    let first = recovered(&base, "first", 61003, &binary, &target);
    assert_eq!(first.sql(names), "a");
    first.sql("INSERT INTO t VALUES ('c')");
    let segment = first.archive();
    assert!(segment.starts_with("00000002"), "{segment}");
    first.stop();

    let target = "recovery_target_timeline = latest";
    let latest = recovered(&base, "latest", 61004, &binary, target);
    assert_eq!(latest.sql(names), "ac");
    latest.stop();
    let old = recovered(&base, "old", 61005, &binary, "recovery_target_timeline = 1");
    assert_eq!(old.sql(names), "ab");
    old.stop();
    let left = std::fs::read_dir(old.data.join("pg_wal")).expect("a directory");
    let left = left.flatten().map(|entry| entry.file_name());
    let left: Vec<_> = left
        .filter(|name| name.to_string_lossy().ends_with(".tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    objects(&home.ok(["--json", "check"]));
}

#[test]
fn a_check_proves_that_archiving_works_or_says_why_not() {
    let Some((home, programs, binary)) = prepared() else {
        return;
    };
    let server = Server::new(&home, &programs, "source", 61011);
    server.init(&binary);
    server.start();
    let dsn = format!("host={} port=61011 user=admin", home.text("home"));
    let check = ["pg", "check", "--timeout", "120", "--dsn", &dsn];
    let mut arguments = vec!["--json"];
    arguments.extend(check);
    let done = objects(&server.repo(&arguments).expect(0).stdout);
    let segment = done[0]["segment"].as_str().expect("a segment");
    assert!(home.ok(["ls", &snapshot_of_wal(&home)]).contains(segment));

    for (setting, why) in [
        (
            "archive_command = 'test -z %p'",
            "archive_command fails for",
        ),
        (
            "archive_command = 'test -n %p'",
            "is not in this repository",
        ),
        ("archive_command = ''", "archive_command is empty"),
        ("archive_mode = off", "archive_mode is off"),
    ] {
        server.stop();
        server.set(setting);
        server.start();
        let said = server.repo(&check).expect(1).only_line();
        assert!(said.contains(why), "{setting}: {said}");
    }
    let nowhere = ["pg", "check", "--dsn", "host=/nowhere user=admin"];
    let said = server.repo(&nowhere).expect(1).only_line();
    assert!(
        said.contains("cannot connect to /nowhere/.s.PGSQL.5432"),
        "{said}"
    );
}

fn snapshot_of_wal(home: &Home) -> String {
    let known = home.json(["snapshots"]);
    let paths = |message: &serde_json::Value| message["paths"].to_string().contains("/wal/");
    let wal = known.iter().find(|message| paths(message)).expect("WAL");
    wal["id"].as_str().expect("an id").to_owned()
}

/// The server's tablespace, row counts, and what it was asked for in which way.
#[test]
fn a_cluster_that_sends_itself_starts_again() {
    let Some((home, programs, binary)) = prepared() else {
        return;
    };
    let server = Server::new(&home, &programs, "source", 61021);
    server.init(&binary);
    server.start();
    let space = home.path("space");
    std::fs::create_dir(&space).expect("a directory");
    give(&space);
    server.sql(&format!(
        "CREATE TABLESPACE s LOCATION '{}'",
        space.display()
    ));
    server.sql(
        "CREATE TABLE t TABLESPACE s AS SELECT i, md5(i::text) m FROM generate_series(1, 50000) i",
    );
    server.sql("CREATE TABLE u AS SELECT * FROM t");
    let dsn = format!("host={} port=61021 user=admin", home.text("home"));
    let take = ["--json", "pg", "snapshot", "--stream", "--dsn", &dsn];
    let saved = |run: Run| objects(&run.stdout).pop().expect("a summary");
    let first = saved(server.repo(&take).expect(0));
    server.sql("UPDATE t SET m = 'changed' WHERE i % 1000 = 0");
    let second = saved(server.repo(&take).expect(0));
    assert_eq!(second["parent"], first["id"]);
    let (all, new) = (
        first["bytes_stored"].as_u64(),
        second["bytes_stored"].as_u64(),
    );
    assert!(
        new.expect("bytes") * 3 < all.expect("bytes"),
        "{new:?} of {all:?}"
    );
    server.sql("DROP TABLE t");
    server.stop();

    for (snapshot, changed, name) in [(&first, "0", "first"), (&second, "50", "second")] {
        let copy = Server::new(&home, &programs, name, 61022);
        let id = snapshot["id"].as_str().expect("an id");
        server.repo(&["restore", id, copy.path()]).expect(0);
        let manifest = copy.data.join(".repo/backup_manifest");
        let manifest = manifest.to_str().expect("UTF-8");
        // The list of relations is not the server's.
        copy.run(
            "pg_verifybackup",
            &["-m", manifest, "-i", ".repo", copy.path()],
        );
        place_tablespace(&copy, &home.path(&format!("{name}-space")));
        copy.set("archive_mode = off");
        copy.start();
        assert_eq!(
            copy.sql("SELECT count(*) FROM t WHERE m = 'changed'"),
            changed
        );
        assert_eq!(
            copy.sql("SELECT count(*), sum(i) FROM t"),
            "50000|1250025000"
        );
        assert_eq!(copy.sql("SELECT count(*) FROM u"), "50000");
        copy.stop();
    }
}

/// Puts the one tablespace of a restored cluster where its map says.
fn place_tablespace(server: &Server<'_>, place: &Path) {
    let map = server.data.join("tablespace_map");
    let text = std::fs::read_to_string(&map).expect("a map");
    let oid = text.split(' ').next().expect("a number");
    let stored = server.data.join("pg_tblspc").join(oid);
    std::fs::rename(stored, place).expect("moved");
    std::fs::write(&map, format!("{oid} {}\n", place.display())).expect("written");
}

/// Passwords in the three ways that servers ask for them.
#[test]
fn sessions_are_opened_with_passwords() {
    let Some((home, programs, binary)) = prepared() else {
        return;
    };
    let server = Server::new(&home, &programs, "source", 61031);
    server.init(&binary);
    server.start();
    for (role, method) in [("p", "password"), ("m", "md5"), ("s", "scram-sha-256")] {
        let encryption = if method == "md5" {
            "md5"
        } else {
            "scram-sha-256"
        };
        server.sql(&format!(
            "SET password_encryption = '{encryption}'; CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'secret {role}'"
        ));
    }
    server.stop();
    let rules =
        "local all p password\nlocal all m md5\nlocal all s scram-sha-256\nlocal all all trust\n";
    std::fs::write(server.data.join("pg_hba.conf"), rules).expect("rules");
    server.set("archive_mode = off");
    server.start();
    let asked = |role: &str, password: &str| {
        let place = home.text("home");
        let dsn = format!("host={place} port=61031 user={role} password='{password}'");
        server
            .repo(&["pg", "check", "--dsn", &dsn])
            .expect(1)
            .only_line()
    };
    for role in ["p", "m", "s"] {
        let right = asked(role, &format!("secret {role}"));
        assert!(right.contains("archive_mode is off"), "{role}: {right}");
        let wrong = asked(role, "wrong");
        assert!(
            wrong.contains("password authentication failed"),
            "{role}: {wrong}"
        );
    }
    let none = format!("host={} port=61031 user=s", home.text("home"));
    let said = server
        .repo(&["pg", "check", "--dsn", &none])
        .expect(1)
        .only_line();
    assert!(said.contains("the server wants a password of s"), "{said}");
}
