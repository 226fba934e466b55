//! `repo pg restore`: makes a data directory the cluster of a snapshot.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use repo_core::Error;
use repo_postgres::{Action, ClusterRestore, Lsn, Recovery, Target};

use crate::commands::restore::{CARRY_ON, conclude};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::location::Place;
use crate::message::RestoreSummary;
use crate::select::{self, Filter};
use crate::show::{self, Stopwatch};

/// Arguments of `pg restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Restore SNAPSHOT, an id or `latest`.
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Make this data directory the cluster. What is right there already is kept, what does not
    /// belong to the snapshot is deleted.
    #[arg(value_name = "PGDATA")]
    pgdata: PathBuf,
    /// Restore the tablespace that lay at OLD to NEW. May be repeated.
    #[arg(long, value_name = "OLD=NEW", value_parser = mapping)]
    tablespace_mapping: Vec<(PathBuf, PathBuf)>,
    /// Restore this database only, and what the server needs; files of others are empty, and they
    /// can only be dropped. May be repeated.
    #[arg(long = "database", value_name = "NAME")]
    databases: Vec<String>,
    /// Take over directories that hold something else.
    #[arg(long)]
    force: bool,
    /// Write no backup_manifest, which spares reading all files again.
    #[arg(long)]
    no_manifest: bool,
    #[command(flatten)]
    recovery: RecoveryArgs,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

/// What the server replays when it starts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Recovery from the archive")]
struct RecoveryArgs {
    /// Replay the archive up to TIME, in the server's notation.
    #[arg(long, value_name = "TIME", group = "target")]
    target_time: Option<String>,
    /// Replay the archive up to LSN.
    #[arg(long, value_name = "LSN", group = "target")]
    target_lsn: Option<Lsn>,
    /// Replay the archive up to transaction XID.
    #[arg(long, value_name = "XID", group = "target")]
    target_xid: Option<u64>,
    /// Replay the archive up to the restore point NAME.
    #[arg(long, value_name = "NAME", group = "target")]
    target_name: Option<String>,
    /// Replay the archive until the cluster is consistent, and no further.
    #[arg(long, group = "target")]
    target_immediate: bool,
    /// Replay all of the archive.
    #[arg(long, group = "target")]
    target_latest: bool,
    /// Stop before the target instead of after it.
    #[arg(long, requires = "target")]
    target_exclusive: bool,
    /// Follow timeline ID, `current` or `latest`.
    #[arg(long, value_name = "ID", requires = "target")]
    target_timeline: Option<String>,
    /// What to do at the target.
    #[arg(long, value_name = "ACTION", requires = "target")]
    target_action: Option<TargetAction>,
    /// Fetch the archive with this shell command instead of `repo pg archive-get`.
    #[arg(long, value_name = "COMMAND", requires = "target")]
    restore_command: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TargetAction {
    /// Wait, read-only.
    Pause,
    /// Become a primary.
    Promote,
    /// Stop.
    Shutdown,
}

fn mapping(text: &str) -> Result<(PathBuf, PathBuf), String> {
    match text.split_once('=') {
        Some((old, new)) if Path::new(old).is_absolute() && Path::new(new).is_absolute() => {
            Ok((PathBuf::from(old), PathBuf::from(new)))
        }
        _ => Err("expected OLD=NEW, two absolute paths".to_owned()),
    }
}

pub(crate) async fn run(context: &Context, args: RestoreArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    let view = select::view(&repository, &args.snapshot, &args.filter)?;
    let request = ClusterRestore {
        pgdata: args.pgdata.clone(),
        tablespaces: args.tablespace_mapping,
        databases: args.databases,
        recovery: args.recovery.wanted(context)?,
        force: args.force,
        no_manifest: args.no_manifest,
    };
    let clock = Stopwatch::start();
    let report = repo_postgres::restore(&repository, &view, &request, context.progress())
        .await
        .map_err(|error| match error {
            repo_postgres::Error::Core(Error::Cancelled) => Failure::cancelled().hint(CARRY_ON),
            error => super::failure(error),
        })?;
    context.show_findings(&report.findings)?;
    context.output.show(&RestoreSummary {
        id: view.id().to_hex(),
        target: show::local_path(&args.pgdata),
        dry_run: false,
        files: report.files,
        directories: report.directories,
        bytes_written: report.bytes_written,
        bytes_kept: report.bytes_kept,
        deleted: report.deleted,
        verified: false,
        duration_ms: clock.elapsed_ms(),
    })?;
    conclude(&report.findings)
}

impl RecoveryArgs {
    fn wanted(self, context: &Context) -> Result<Option<Recovery>, Failure> {
        let target = if let Some(time) = self.target_time {
            Target::Time(time)
        } else if let Some(lsn) = self.target_lsn {
            Target::Lsn(lsn)
        } else if let Some(xid) = self.target_xid {
            Target::Xid(xid)
        } else if let Some(name) = self.target_name {
            Target::Name(name)
        } else if self.target_immediate {
            Target::Immediate
        } else if self.target_latest {
            Target::Latest
        } else {
            return Ok(None);
        };
        let restore_command = match self.restore_command {
            Some(command) => command,
            None => archive_get(context)?,
        };
        Ok(Some(Recovery {
            restore_command,
            target,
            exclusive: self.target_exclusive,
            timeline: self.target_timeline,
            action: self.target_action.map(|action| match action {
                TargetAction::Pause => Action::Pause,
                TargetAction::Promote => Action::Promote,
                TargetAction::Shutdown => Action::Shutdown,
            }),
        }))
    }
}

/// The command that fetches from this repository as this run has opened it. Passwords in variables
/// are not part of it: the server needs them in its own environment, or a file.
fn archive_get(context: &Context) -> Result<String, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::because("cannot find this program", &error))?;
    let globals = &context.globals;
    let mut words = vec![text(&program)?];
    if let Place::Named(location) = &context.place {
        let location = match location.contains("://") {
            true => location.clone(),
            false => absolute(Path::new(location))?,
        };
        words.extend(["--repo".to_owned(), location]);
    }
    if let Some(file) = &globals.password_file {
        words.extend(["--password-file".to_owned(), absolute(file)?]);
    }
    if let Some(command) = &globals.password_command {
        words.extend(["--password-command".to_owned(), text(Path::new(command))?]);
    }
    if let Some(profile) = &globals.profile {
        words.extend(["--profile".to_owned(), profile.clone()]);
    }
    if let Some(cache) = &globals.cache_dir {
        words.extend(["--cache-dir".to_owned(), absolute(cache)?]);
    }
    if globals.no_cache {
        words.push("--no-cache".to_owned());
    }
    for (key, value) in &globals.options {
        words.extend(["--option".to_owned(), format!("{key}={value}")]);
    }
    let words: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
    Ok(format!("{} pg archive-get %f \"%p\"", words.join(" ")))
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let path = std::path::absolute(path)
        .map_err(|error| Failure::because("cannot find the current directory", &error))?;
    text(&path)
}

fn text(path: &Path) -> Result<String, Failure> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        let path = show::local_path(path);
        Failure::failed(format!(
            "{path} is not UTF-8, as a setting of the server must be"
        ))
    })
}

/// A word of a shell command in a setting where `%` begins a place to be filled.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.,:=@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_command_are_quoted() {
        for (word, quoted) in [
            ("/usr/bin/repo", "/usr/bin/repo"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("50%", "'50%%'"),
            ("$HOME", "'$HOME'"),
        ] {
            assert_eq!(shell_word(word), quoted);
        }
    }

    #[test]
    fn mappings_are_two_absolute_paths() {
        assert_eq!(mapping("/a=/b"), Ok(("/a".into(), "/b".into())));
        for bad in ["", "/a", "a=/b", "/a=b", "=/b"] {
            assert!(mapping(bad).is_err(), "{bad}");
        }
    }
}
