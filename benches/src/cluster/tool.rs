//! The tools that save a running cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::cluster::place::Place;
use crate::cluster::server::{PORT, Server};
use crate::data;
use crate::error::{Result, io};
use crate::measure::{self, Usage};

/// A tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Name {
    Restic,
    Rustic,
    Pgbackrest,
    Repo,
}

impl Name {
    pub(super) const ALL: [Self; 4] = [Self::Restic, Self::Rustic, Self::Pgbackrest, Self::Repo];

    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Restic => "restic",
            Self::Rustic => "rustic",
            Self::Pgbackrest => "pgbackrest",
            Self::Repo => "repo",
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.program())
    }
}

/// A tool with its program, its repository, and the cluster that it saves.
pub(super) struct Keeper {
    pub(super) name: Name,
    program: PathBuf,
    /// Of its logs, cache and restores.
    dir: PathBuf,
    place: Place,
    data: PathBuf,
    socket: PathBuf,
    dsn: String,
    /// What the first backup is called.
    first: Option<String>,
    /// Restores into a new directory so far. Only the last tree is kept: more do not fit on a disk.
    restores: u32,
}

impl Keeper {
    pub(super) fn create(
        name: Name,
        program: PathBuf,
        dir: PathBuf,
        place: Place,
        server: &Server,
    ) -> Result<Self> {
        let keeper = Self {
            name,
            program,
            dir,
            place,
            data: server.data(),
            socket: server.socket().to_path_buf(),
            dsn: server.dsn(),
            first: None,
            restores: 0,
        };
        keeper.empty()?;
        Ok(keeper)
    }

    /// The same tool with another repository.
    pub(super) fn beside(&self, dir: PathBuf, place: Place) -> Result<Self> {
        let keeper = Self {
            name: self.name,
            program: self.program.clone(),
            dir,
            place,
            data: self.data.clone(),
            socket: self.socket.clone(),
            dsn: self.dsn.clone(),
            first: None,
            restores: 0,
        };
        keeper.empty()?;
        Ok(keeper)
    }

    fn empty(&self) -> Result<()> {
        data::remove(&self.dir)?;
        fs::create_dir_all(&self.dir).map_err(io("create", &self.dir))
    }

    /// Bytes in the repository.
    pub(super) fn stored(&self) -> Result<u64> {
        self.place.stored()
    }

    pub(super) fn init(&mut self) -> Result<()> {
        let mut command = self.command();
        match self.name {
            Name::Restic | Name::Rustic | Name::Repo => command.arg("init"),
            Name::Pgbackrest => command.arg("stanza-create"),
        };
        self.run(command, "init").map(drop)
    }

    /// The first backup.
    pub(super) fn full(&mut self) -> Result<Usage> {
        let usage = self.save("full")?;
        if self.name != Name::Pgbackrest {
            let mut command = self.command();
            command.args(["snapshots", "--json"]);
            let told = measure::untimed(command)?;
            self.first = texts(&told, "id").into_iter().next();
        }
        Ok(usage)
    }

    /// A later backup.
    pub(super) fn increment(&mut self) -> Result<Usage> {
        self.save("incr")
    }

    fn save(&self, kind: &str) -> Result<Usage> {
        let mut command = self.command();
        match self.name {
            Name::Restic | Name::Rustic => command.arg("backup").arg(&self.data),
            Name::Pgbackrest => command.args([
                &format!("--type={kind}"),
                "--start-fast",
                "--no-archive-check",
                "--compress-type=zst",
                "--compress-level=3",
                "--process-max=2",
                "--repo1-block",
                "--repo1-bundle",
                "--repo1-retention-full=9",
                "backup",
            ]),
            Name::Repo => command
                .args(["pg", "snapshot", "--dsn", &self.dsn, "--pgdata"])
                .arg(&self.data),
        };
        self.run(command, kind)
    }

    /// Restores the newest backup into a new directory.
    pub(super) fn restore_newest(&mut self) -> Result<Usage> {
        self.renew_target()?;
        self.restore("latest")
    }

    /// Restores the newest backup over the last restore.
    pub(super) fn restore_in_place(&mut self) -> Result<Usage> {
        self.restore("latest")
    }

    /// Restores the first backup into a new directory.
    pub(super) fn restore_first(&mut self) -> Result<Usage> {
        self.renew_target()?;
        let first = match self.name {
            Name::Pgbackrest => self.first_set()?,
            Name::Restic | Name::Rustic | Name::Repo => self.first.clone(),
        };
        self.restore(first.as_deref().unwrap_or("latest"))
    }

    /// The label of the first backup.
    fn first_set(&self) -> Result<Option<String>> {
        let mut command = self.command();
        command.args(["--output=json", "info"]);
        let told = measure::untimed(command)?;
        let mut labels = texts(&told, "label");
        labels.retain(|label| label.ends_with('F'));
        Ok(labels.into_iter().min())
    }

    fn target(&self) -> PathBuf {
        self.dir.join(format!("restored-{}", self.restores))
    }

    /// Makes room, which is no part of what is measured.
    fn renew_target(&mut self) -> Result<()> {
        data::remove(&self.target())?;
        self.restores += 1;
        Ok(())
    }

    fn restore(&self, which: &str) -> Result<Usage> {
        let target = self.target();
        fs::create_dir_all(&target).map_err(io("create", &target))?;
        let mut command = self.command();
        match self.name {
            Name::Restic => command
                .args(["restore", "--delete", which, "--target"])
                .arg(&target),
            Name::Rustic => command.args(["restore", which]).arg(&target),
            Name::Pgbackrest => {
                command.arg(format!("--pg1-path={}", target.display()));
                command.args(["--process-max=2", "--delta", "--force"]);
                if which != "latest" {
                    command.arg(format!("--set={which}"));
                }
                command.arg("restore")
            }
            Name::Repo => command.args(["pg", "restore", which]).arg(&target),
        };
        self.run(command, "restore")
    }

    fn run(&self, command: Command, step: &str) -> Result<Usage> {
        measure::timed(command, &self.dir.join(format!("{step}.log")))
    }

    /// The program with its repository, a password where it has one, and a cache of its own.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        self.place.tell(self.name, &mut command);
        if self.name == Name::Pgbackrest {
            self.pgbackrest(&mut command);
            return command;
        }
        let prefix = self.name.program().to_uppercase();
        command.env(format!("{prefix}_PASSWORD"), "bench");
        command.env(format!("{prefix}_CACHE_DIR"), self.dir.join("cache"));
        command.env("RUSTIC_NO_PROGRESS", "true");
        command
    }

    fn pgbackrest(&self, command: &mut Command) {
        let option = |name: &str, path: &Path| format!("--{name}={}", path.display());
        command.args([
            "--stanza=bench",
            "--log-level-console=warn",
            "--log-level-file=off",
        ]);
        command.args([
            option("log-path", &self.dir.join("log")),
            option("lock-path", &self.dir.join("lock")),
        ]);
        command.env("PGBACKREST_PG1_PATH", &self.data);
        command.env("PGBACKREST_PG1_SOCKET_PATH", &self.socket);
        command.env("PGBACKREST_PG1_PORT", PORT.to_string());
        command.env("PGBACKREST_PG1_USER", "postgres");
    }
}

/// The texts that JSON has under `key`, in its order.
fn texts(json: &[u8], key: &str) -> Vec<String> {
    let json = String::from_utf8_lossy(json).replace(": ", ":");
    let before = format!("\"{key}\":\"");
    let found = json.split(&before).skip(1);
    let found = found.filter_map(|rest| rest.split('"').next());
    found.map(str::to_owned).collect()
}
