//! `repo snapshot`: saves files, standard input, or the output of a command.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use repo_core::{Repository, SnapshotOptions};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::record::{RecordArgs, conclude};
use crate::stream::{self, Stream};
use crate::{exclude, show, when};

/// Longest description of a snapshot in the log, in bytes.
const ACTION_MAX: usize = 200;

/// Arguments of `snapshot`.
#[derive(Debug, Args)]
#[command(override_usage = "repo snapshot [OPTIONS] <PATH>...
       repo snapshot [OPTIONS] --stdin-from-command -- <COMMAND> [ARGUMENT]...")]
pub(crate) struct SnapshotArgs {
    /// Save these files and directories; `-` is standard input.
    #[arg(value_name = "PATH", required = true)]
    sources: Vec<OsString>,
    /// Save the output of a command, given after `--`; if it fails, nothing is saved.
    #[arg(long)]
    stdin_from_command: bool,
    /// Name the file that holds standard input or the output of a command.
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    stdin_filename: OsString,
    #[command(flatten)]
    record: RecordArgs,
    /// Record TIME instead of now: RFC 3339, or local as in "2026-03-01 14:00:00".
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    time: Option<i64>,
    /// Do everything but write.
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    exclusion: ExclusionArgs,
}

impl SnapshotArgs {
    /// Whether it only says what it would do.
    pub(crate) fn is_dry(&self) -> bool {
        self.dry_run
    }
}

/// What to leave out.
#[derive(Debug, Args)]
#[command(next_help_heading = "What to leave out")]
struct ExclusionArgs {
    /// Leave out what matches GLOB: `*.tmp` anywhere, `/home/*/tmp` from the root, `!keep.tmp` not.
    #[arg(short, long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Leave out what matches a line of FILE.
    #[arg(long, value_name = "FILE")]
    exclude_from: Vec<PathBuf>,
    /// Leave out the content of directories that hold a CACHEDIR.TAG.
    #[arg(long)]
    exclude_caches: bool,
    /// Stay on the file systems of the paths given.
    #[arg(short = 'x', long)]
    one_file_system: bool,
}

/// Where bytes come from.
enum Kind {
    Paths(Vec<PathBuf>),
    Stdin,
    Command(Vec<OsString>),
}

impl Kind {
    /// What the log says was done.
    fn action(&self) -> String {
        let sources = match self {
            Self::Paths(paths) => paths.iter().map(|path| show::local_path(path)).collect(),
            Self::Stdin => vec!["-".to_owned()],
            Self::Command(command) => vec![stream::shown(command)],
        };
        let mut action = "snapshot".to_owned();
        for source in sources {
            if action.len() + source.len() > ACTION_MAX {
                action.push_str(" ...");
                break;
            }
            action.push(' ');
            action.push_str(&source);
        }
        action
    }
}

impl ExclusionArgs {
    /// All patterns, those of the command line last, so that they decide.
    fn patterns(&self, context: &Context) -> Result<Vec<String>, Failure> {
        let mut patterns = context.profile.exclude.clone();
        for file in &self.exclude_from {
            patterns.extend(exclude::read_file(file)?);
        }
        patterns.extend(self.exclude.iter().cloned());
        Ok(patterns)
    }
}

impl SnapshotArgs {
    fn kind(&mut self) -> Result<Kind, Failure> {
        let sources = std::mem::take(&mut self.sources);
        if self.stdin_from_command {
            return Ok(Kind::Command(sources));
        }
        match sources.iter().any(|source| source == "-") {
            true if sources.len() == 1 => Ok(Kind::Stdin),
            true => Err(Failure::usage("`-` cannot be saved together with paths")),
            false => Ok(Kind::Paths(
                sources.into_iter().map(PathBuf::from).collect(),
            )),
        }
    }
}

pub(crate) async fn run(context: &Context, mut args: SnapshotArgs) -> Result<Exit, Failure> {
    let kind = args.kind()?;
    // All that can be wrong with the command line, before a repository is made.
    let patterns = args.exclusion.patterns(context)?;
    let current_dir = std::env::current_dir()
        .map_err(|error| Failure::because("cannot find the current directory", &error))?;
    exclude::build(&patterns, &[], &[], &current_dir)?;
    let repository = if args.dry_run {
        context.open().await?
    } else {
        context.open_or_create_default().await?
    };
    let filename = args.stdin_filename.clone();
    let mut options = options(context, &repository, &kind, args)?;
    let stream = match kind {
        Kind::Paths(paths) => {
            let own = own_directories(context, &repository)?;
            options.exclude = exclude::build(&patterns, &own, &paths, &current_dir)?;
            let report = repository.snapshot_paths(&paths, &options, context.progress());
            return conclude(context, &report.await?);
        }
        Kind::Stdin => Stream::stdin(),
        Kind::Command(command) => Stream::command(&command)?,
    };
    let report = repository.snapshot_stream(
        filename.as_bytes(),
        stream.source,
        stream.finish,
        &options,
        context.progress(),
    );
    conclude(context, &report.await?)
}

fn options(
    context: &Context,
    repository: &Repository,
    kind: &Kind,
    args: SnapshotArgs,
) -> Result<SnapshotOptions, Failure> {
    Ok(SnapshotOptions {
        time_ms: args.time,
        exclude_caches: args.exclusion.exclude_caches,
        one_file_system: args.exclusion.one_file_system,
        dry_run: args.dry_run,
        ..args.record.options(context, repository, &kind.action())?
    })
}

/// Local directories of the repository and its cache.
fn own_directories(context: &Context, repository: &Repository) -> Result<Vec<PathBuf>, Failure> {
    let location = Path::new(repository.location());
    let cache = context.cache_dir()?;
    let local = cache.as_deref().into_iter().chain([location]);
    Ok(local.filter_map(|path| path.canonicalize().ok()).collect())
}
