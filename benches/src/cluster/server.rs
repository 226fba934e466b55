//! A Postgres server of its own, on a socket in its directory, and the load on it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::data;
use crate::error::{Error, Result, io};
use crate::measure;

/// Port in the name of the socket; nothing listens on the network.
pub(super) const PORT: u16 = 5599;

/// A running server, stopped when this is dropped.
pub(super) struct Server {
    programs: PathBuf,
    user: String,
    dir: PathBuf,
}

impl Server {
    /// Makes a cluster with checksums from nothing and starts it.
    pub(super) fn create(dir: &Path, programs: &Path, user: &str) -> Result<Self> {
        data::remove(dir)?;
        fs::create_dir_all(dir).map_err(io("create", dir))?;
        let id = |what: &str| -> Result<u32> {
            let mut command = Command::new("id");
            command.args([what, user]);
            let told = measure::untimed(command)?;
            let told = String::from_utf8_lossy(&told).trim().parse();
            told.map_err(|_| Error::NoUser {
                user: user.to_owned(),
            })
        };
        chown(dir, Some(id("-u")?), Some(id("-g")?)).map_err(io("change the owner of", dir))?;
        let server = Self {
            programs: programs.to_path_buf(),
            user: user.to_owned(),
            dir: dir.to_path_buf(),
        };
        let mut init = server.command("initdb");
        init.args(["--data-checksums", "--username=postgres", "--pgdata"]);
        init.arg(server.data());
        measure::untimed(init)?;
        let options = format!(
            "-p {PORT} -k {} -c listen_addresses= -c fsync=off -c shared_buffers=512MB \
             -c max_wal_size=4GB -c autovacuum=on",
            dir.display()
        );
        let mut start = server.command("pg_ctl");
        start
            .args(["start", "--wait", "--pgdata"])
            .arg(server.data());
        start
            .arg("--log")
            .arg(dir.join("log"))
            .args(["-o", &options]);
        measure::untimed_quietly(start)?;
        Ok(server)
    }

    /// The data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The directory of the socket.
    pub(super) fn socket(&self) -> &Path {
        &self.dir
    }

    /// How a client connects.
    pub(super) fn dsn(&self) -> String {
        format!(
            "host={} port={PORT} user=postgres dbname=postgres",
            self.dir.display()
        )
    }

    /// Ten copies of the accounts of pgbench, beside its own tables.
    pub(super) fn tables(&self, scale: u32) -> Result<()> {
        self.pgbench(&["--initialize", "--quiet", "--scale", &scale.to_string()])?;
        for number in 1..=10 {
            self.sql(&format!(
                "CREATE TABLE test{number} AS TABLE pgbench_accounts"
            ))?;
        }
        self.settle()
    }

    /// Deletes a hundredth of each copy, in one place.
    pub(super) fn delete_a_hundredth(&self, scale: u32) -> Result<()> {
        let rows = scale * 100_000;
        for number in 1..=10 {
            let first = number * rows / 10 - rows / 20;
            let last = first + rows / 100;
            self.sql(&format!(
                "DELETE FROM test{number} WHERE aid BETWEEN {first} AND {last}"
            ))?;
        }
        self.settle()
    }

    /// TPC-B transactions by one client.
    pub(super) fn transactions(&self, count: u32) -> Result<()> {
        self.pgbench(&["--client=1", "--transactions", &count.to_string()])?;
        self.sql("CHECKPOINT")
    }

    /// Some seconds of transactions at a steady rate: TPC-B, or the same without the small tables.
    pub(super) fn load(&self, seconds: u32, simple: bool) -> Result<()> {
        let seconds = seconds.to_string();
        let mut arguments = vec!["--client=2", "--rate=200", "--time", &seconds];
        if simple {
            arguments.push("--skip-some-updates");
        }
        self.pgbench(&arguments)?;
        self.sql("CHECKPOINT")
    }

    fn settle(&self) -> Result<()> {
        self.sql("VACUUM ANALYZE")?;
        self.sql("CHECKPOINT")
    }

    fn pgbench(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.command("pgbench");
        command.args(arguments).args(["--no-vacuum", "postgres"]);
        if arguments.contains(&"--initialize") {
            command = self.command("pgbench");
            command.args(arguments).arg("postgres");
        }
        measure::untimed(command).map(drop)
    }

    fn sql(&self, statement: &str) -> Result<()> {
        let mut command = self.command("psql");
        command.args([
            "--quiet",
            "--no-psqlrc",
            "--set=ON_ERROR_STOP=1",
            "--command",
        ]);
        command.args([statement, "postgres"]);
        measure::untimed(command).map(drop)
    }

    /// A program of the server, as its user.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.arg(format!("--reuid={}", self.user));
        command.arg(format!("--regid={}", self.user));
        command.args(["--clear-groups", "--"]);
        command.arg(self.programs.join(program));
        command
            .env("PGHOST", &self.dir)
            .env("PGPORT", PORT.to_string())
            .env("PGUSER", "postgres")
            .current_dir(&self.dir);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "--wait", "--mode=fast", "--pgdata"]);
        stop.arg(self.data());
        if let Err(error) = measure::untimed_quietly(stop) {
            eprintln!("repo-benches: {}", crate::error::chain(&error));
        }
    }
}
