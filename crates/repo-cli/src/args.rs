//! The command line: what is common to all commands, and their list.
//!
//! Each command declares its own arguments beside its code. Variables that also set an option are
//! named in its help and read in `location`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    cat, check, completions, copy, diff, dump, find, forget, gc, init, key, log, ls, mount, parity,
    pg, repair, restore, snapshot, snapshots, stats, table, tag, tui, undo,
};
use crate::exit::EXIT_CODES_HELP;

/// Back up files into one deduplicating, compressed, encrypted repository.
#[derive(Debug, Parser)]
#[command(
    name = "repo",
    version,
    after_long_help = EXIT_CODES_HELP,
    after_help = "`repo --help` explains exit codes.",
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Globals {
    /// Use the repository at LOCATION: a path, or a file, s3, gs or az URL.
    /// [env: REPO_REPOSITORY, REPO_REPOSITORY_FILE]
    #[arg(short, long, global = true, value_name = "LOCATION")]
    pub(crate) repo: Option<OsString>,
    /// Read the password from the first line of FILE. [env: REPO_PASSWORD_FILE, REPO_PASSWORD]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "password_command"
    )]
    pub(crate) password_file: Option<PathBuf>,
    /// Read the password from the output of a shell COMMAND. [env: REPO_PASSWORD_COMMAND]
    #[arg(long, global = true, value_name = "COMMAND")]
    pub(crate) password_command: Option<OsString>,
    /// Use a profile of the settings file. [env: REPO_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Option<String>,
    /// Keep the cache in DIR. [env: REPO_CACHE_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Keep no cache.
    #[arg(long, global = true, conflicts_with = "cache_dir")]
    pub(crate) no_cache: bool,
    /// Set an option of the store, as in aws_region=eu-central-1. May be repeated.
    #[arg(long = "option", global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) options: Vec<(String, String)>,
    /// Write JSON, one object a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Keep figures about this run and the repository in FILE, for Prometheus' textfile collector.
    /// [env: REPO_METRICS_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) metrics_file: Option<PathBuf>,
    /// Show no progress and no warnings.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log what happens; repeat for more. [env: REPO_LOG]
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a repository.
    Init(init::InitArgs),
    /// Save files, or a stream, as a snapshot.
    #[command(visible_alias = "backup")]
    Snapshot(snapshot::SnapshotArgs),
    /// List snapshots.
    Snapshots(snapshots::SnapshotsArgs),
    /// List what a snapshot holds.
    Ls(ls::LsArgs),
    /// Write a file of a snapshot to standard output.
    Cat(cat::CatArgs),
    /// Show snapshots as a read-only file system.
    Mount(mount::MountArgs),
    /// Write a file, or a directory as an archive, to standard output.
    Dump(dump::DumpArgs),
    /// Find versions of files in all snapshots.
    Find(find::FindArgs),
    /// Make a directory equal to a snapshot.
    Restore(restore::RestoreArgs),
    /// Compare two snapshots.
    Diff(diff::DiffArgs),
    /// Forget snapshots, by a policy or by name.
    Forget(forget::ForgetArgs),
    /// Copy snapshots into another repository.
    Copy(copy::CopyArgs),
    /// Reclaim the space of what no snapshot needs.
    #[command(visible_alias = "prune")]
    Gc(gc::GcArgs),
    /// Take back what a commit removed or renamed: forgotten snapshots, tags, protection.
    Undo(undo::UndoArgs),
    /// Verify the repository.
    Check(check::CheckArgs),
    /// Mend a damaged repository.
    Repair(repair::RepairArgs),
    /// Make what makes up for damaged or lost packs without a second copy.
    Parity(parity::ParityArgs),
    /// List and change the passwords that open the repository.
    Key(key::KeyArgs),
    /// Change the tags of snapshots, and protect them.
    Tag(tag::TagArgs),
    /// Say what the repository holds and occupies.
    Stats(stats::StatsArgs),
    /// Save and restore lakehouse tables.
    Table(table::TableArgs),
    /// Save and restore clusters of Postgres.
    Pg(pg::PgArgs),
    /// Look around in snapshots on a terminal, and restore what is selected.
    Tui(tui::TuiArgs),
    /// Show what was done to the repository, newest first.
    Log(log::LogArgs),
    /// Print the completions of a shell.
    Completions(completions::CompletionsArgs),
}

/// How hard to compress.
#[derive(Debug, Args)]
pub(crate) struct LevelArgs {
    /// Compress at zstd level N, 1 (fast) to 19 (small).
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(i32).range(1..=19)
    )]
    pub(crate) level: i32,
}

/// Reads an option of a store.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_ascii_lowercase(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Reads a length such as `16MiB`, `512k` or `1048576`. Units are binary.
pub(crate) fn byte_size(text: &str) -> Result<u64, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err("expected a number and B, KiB, MiB, GiB or TiB".to_owned()),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "expected a number and B, KiB, MiB, GiB or TiB".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_speaks_with_one_voice() {
        fn look_at(command: &clap::Command) {
            let texts = command
                .get_arguments()
                .filter(|argument| !argument.is_hide_set());
            let texts = texts.map(|argument| (argument.get_id().as_str(), argument.get_help()));
            for (name, help) in texts.chain([("", command.get_about())]) {
                let help = help.map(ToString::to_string).unwrap_or_default();
                // The last full stop of a text is left out wherever it is shown.
                let whole = help.starts_with(char::is_uppercase) && !help.ends_with('.');
                assert!(whole, "{} {name}: {help:?}", command.get_name());
            }
            command.get_subcommands().for_each(look_at);
        }
        look_at(&Cli::command());
    }

    #[test]
    fn lengths_have_binary_units() {
        for (text, length) in [
            ("0", Some(0)),
            ("1048576", Some(1 << 20)),
            ("16MiB", Some(16 << 20)),
            ("16 M", Some(16 << 20)),
            ("512k", Some(512 << 10)),
            ("1GiB", Some(1 << 30)),
            ("2 TiB", Some(2 << 40)),
            ("16MB", None),
            ("M", None),
            ("-1", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(byte_size(text).ok(), length, "{text}");
        }
    }

    #[test]
    fn options_are_keys_and_values() {
        let pair = |k: &str, v: &str| Ok((k.to_owned(), v.to_owned()));
        assert_eq!(key_value("AWS_Region=a=b"), pair("aws_region", "a=b"));
        assert!(key_value("a").is_err() && key_value("=a").is_err());
    }
}
