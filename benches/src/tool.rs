//! The tools under measurement: which command does which step, and where each leaves its files.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::data::Set;

/// A backup tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tool {
    Restic,
    Rustic,
    Borg,
    Pgbackrest,
    Repo,
}

/// One operation, in the order in which a tool goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Step {
    Init,
    Full,
    Unchanged,
    Restore,
    Incremental,
    RestoreInPlace,
    Verify,
}

impl Step {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Full => "full snapshot",
            Self::Unchanged => "unchanged snapshot",
            Self::Restore => "restore",
            Self::Incremental => "incremental snapshot",
            Self::RestoreInPlace => "restore in place",
            Self::Verify => "verify all data",
        }
    }
}

impl Tool {
    pub(crate) const ALL: [Self; 5] = [
        Self::Restic,
        Self::Rustic,
        Self::Borg,
        Self::Pgbackrest,
        Self::Repo,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Restic => "restic",
            Self::Rustic => "rustic",
            Self::Borg => "borg",
            Self::Pgbackrest => "pgbackrest",
            Self::Repo => "repo",
        }
    }

    /// Whether the tool can take the set: pgBackRest knows clusters only.
    pub(crate) fn takes(self, set: Set) -> bool {
        self != Self::Pgbackrest || set == Set::Postgres
    }

    /// Whether a restore in place is expected to leave files that the snapshot does not have.
    pub(crate) fn leaves_extra(self) -> bool {
        matches!(self, Self::Rustic | Self::Borg)
    }

    /// Whether the tool has a step. pgBackRest refuses a backup when no file has changed, and its
    /// verification compares sums of stored bytes without decoding them, which is another thing.
    pub(crate) fn does(self, step: Step) -> bool {
        self != Self::Pgbackrest || !matches!(step, Step::Unchanged | Step::Verify)
    }

    /// Whether a line of `diff` is about something that the tool leaves out because the server
    /// makes it anew at its start.
    pub(crate) fn leaves_out(self, line: &str) -> bool {
        let passing = [
            "pgsql_tmp",
            "pg_subtrans",
            "pg_notify",
            "pg_serial",
            "pg_snapshots",
            "pg_internal.init",
        ];
        let only = line.starts_with("Only in ");
        self == Self::Pgbackrest && only && passing.iter().any(|name| line.contains(name))
    }

    /// The command that tells the version.
    pub(crate) fn version(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.arg(match self {
            Self::Restic | Self::Pgbackrest => "version",
            Self::Rustic | Self::Borg | Self::Repo => "--version",
        });
        command
    }
}

impl std::fmt::Display for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A tool with its program, a directory of its own, and the tree that it backs up.
pub(crate) struct Bench {
    pub(crate) tool: Tool,
    pub(crate) program: PathBuf,
    pub(crate) dir: PathBuf,
    pub(crate) tree: PathBuf,
}

impl Bench {
    pub(crate) fn repository(&self) -> PathBuf {
        self.dir.join("repository")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.dir.join("restored")
    }

    fn cache(&self) -> PathBuf {
        self.dir.join("cache")
    }

    /// Where the content of the tree is below the target: some tools restore its whole path.
    pub(crate) fn restored(&self) -> PathBuf {
        let target = self.target();
        let below = self.tree.strip_prefix("/").unwrap_or(&self.tree);
        let last = self.tree.file_name().unwrap_or_default();
        let nested = [target.join(below), target.join(last)];
        nested
            .into_iter()
            .find(|path| path.is_dir())
            .unwrap_or(target)
    }

    /// The command for one step.
    pub(crate) fn command(&self, step: Step) -> Command {
        match self.tool {
            Tool::Restic => self.restic(step),
            Tool::Rustic => self.rustic(step),
            Tool::Borg => self.borg(step),
            Tool::Pgbackrest => self.pgbackrest(step),
            Tool::Repo => self.repo(step),
        }
    }

    /// A command with the tool's own names for repository, password and cache in its environment.
    fn with_environment(&self, prefix: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.env(format!("{prefix}_REPOSITORY"), self.repository());
        command.env(format!("{prefix}_PASSWORD"), "bench");
        command.env(format!("{prefix}_CACHE_DIR"), self.cache());
        command
    }

    /// A command of `repo` other than those of the steps.
    pub(crate) fn own(&self, arguments: &[&str]) -> Command {
        let mut command = self.with_environment("REPO");
        command.args(arguments);
        command
    }

    /// borg's command for an archive of another name than those of the steps.
    pub(crate) fn borg_archive(&self, verb: &str, name: &str) -> Command {
        let mut command = self.borg_command();
        command.arg(verb);
        if verb == "create" {
            command.args(["--compression", "zstd,3"]);
        }
        command.arg(format!("{}::{name}", self.repository().display()));
        if verb == "create" {
            command.arg(&self.tree);
        }
        command
    }

    fn borg_command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("BORG_PASSPHRASE", "bench")
            .env("BORG_BASE_DIR", self.cache());
        command
    }

    fn restic(&self, step: Step) -> Command {
        let mut command = self.with_environment("RESTIC");
        command.arg("--quiet");
        match step {
            Step::Init => command.arg("init"),
            Step::Full | Step::Unchanged | Step::Incremental => {
                command.arg("backup").arg(&self.tree)
            }
            Step::Restore | Step::RestoreInPlace => command
                .args(["restore", "--delete", "latest", "--target"])
                .arg(self.target()),
            Step::Verify => command.args(["check", "--read-data"]),
        };
        command
    }

    fn rustic(&self, step: Step) -> Command {
        let mut command = self.with_environment("RUSTIC");
        command.env("RUSTIC_NO_PROGRESS", "true");
        match step {
            Step::Init => command.arg("init"),
            Step::Full | Step::Unchanged | Step::Incremental => {
                command.arg("backup").arg(&self.tree)
            }
            Step::Restore | Step::RestoreInPlace => {
                command.args(["restore", "latest"]).arg(self.target())
            }
            Step::Verify => command.args(["check", "--read-data"]),
        };
        command
    }

    fn borg(&self, step: Step) -> Command {
        let mut command = self.borg_command();
        let archive = |name: &str| format!("{}::{name}", self.repository().display());
        let create = ["create", "--compression", "zstd,3"];
        match step {
            Step::Init => command
                .args(["init", "--encryption", "repokey-blake2"])
                .arg(self.repository()),
            Step::Full => command.args(create).arg(archive("full")).arg(&self.tree),
            Step::Unchanged => command
                .args(create)
                .arg(archive("unchanged"))
                .arg(&self.tree),
            Step::Incremental => command
                .args(create)
                .arg(archive("incremental"))
                .arg(&self.tree),
            Step::Restore => command
                .arg("extract")
                .arg(archive("unchanged"))
                .current_dir(self.target()),
            Step::RestoreInPlace => command
                .arg("extract")
                .arg(archive("incremental"))
                .current_dir(self.target()),
            Step::Verify => command
                .args(["check", "--verify-data"])
                .arg(self.repository()),
        };
        command
    }

    /// Offline, block incremental, on both cores; the tool has no passwords in a plain repository.
    fn pgbackrest(&self, step: Step) -> Command {
        let mut command = Command::new(&self.program);
        let option = |name: &str, path: PathBuf| format!("--{name}={}", path.display());
        let data = if matches!(step, Step::Restore | Step::RestoreInPlace) {
            self.target()
        } else {
            self.tree.clone()
        };
        command.args([
            "--stanza=bench",
            "--log-level-console=warn",
            "--log-level-file=off",
        ]);
        command.args([
            option("pg1-path", data),
            option("repo1-path", self.repository()),
        ]);
        command.args([
            option("log-path", self.dir.join("log")),
            option("lock-path", self.dir.join("lock")),
        ]);
        let backup = [
            "--no-online",
            "--force",
            "--compress-type=zst",
            "--compress-level=3",
            "--process-max=2",
        ];
        match step {
            Step::Init => command.args(["--no-online", "stanza-create"]),
            Step::Full | Step::Unchanged | Step::Incremental => {
                let kind = if step == Step::Full {
                    "--type=full"
                } else {
                    "--type=incr"
                };
                command.args(backup).args([
                    "--repo1-block",
                    "--repo1-bundle",
                    "--repo1-retention-full=9",
                    kind,
                    "backup",
                ])
            }
            Step::Restore | Step::RestoreInPlace => {
                command.args(["--process-max=2", "--delta", "restore"])
            }
            Step::Verify => command.arg("verify"),
        };
        command
    }

    fn repo(&self, step: Step) -> Command {
        let mut command = self.with_environment("REPO");
        match step {
            Step::Init => command.arg("init"),
            Step::Full | Step::Unchanged | Step::Incremental => {
                command.arg("snapshot").arg(&self.tree)
            }
            Step::Restore => command.args(["restore", "latest"]).arg(self.target()),
            Step::RestoreInPlace => command
                .args(["restore", "--delete", "latest"])
                .arg(self.target()),
            Step::Verify => command.args(["check", "--read-data"]),
        };
        command
    }
}
