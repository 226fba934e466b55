//! `repo snapshot`: saves files, standard input, or the output of a command.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use repo_core::{Parent, Repository, Severity, SnapshotOptions, SnapshotReport};

use crate::context::{self, Context};
use crate::exit::{Exit, Failure};
use crate::message::SnapshotSummary;
use crate::select::{self, Filter, split_tags};
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
    /// Record HOST instead of this host's name. [env: REPO_HOST]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Tag the snapshot. May be repeated.
    #[arg(long = "tag", value_name = "TAG[,TAG]")]
    tags: Vec<String>,
    /// Record TIME instead of now: RFC 3339, or local as in "2026-03-01 14:00:00".
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    time: Option<i64>,
    /// Record a text that says what this is.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Take unchanged files from SNAPSHOT, not from the newest of the same host and paths.
    #[arg(long, value_name = "SNAPSHOT")]
    parent: Option<String>,
    /// Read all files, also those that look unchanged.
    #[arg(long)]
    force: bool,
    /// Compress at zstd level N, 1 (fast) to 19 (small).
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(i32).range(1..=19)
    )]
    level: i32,
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
    let parent = match args.parent {
        Some(name) => {
            let known = repository.snapshots();
            Parent::Id(
                select::find(&known, &name, &Filter::default())?
                    .snapshot
                    .id(),
            )
        }
        None => Parent::Auto,
    };
    let host = match args.host {
        Some(host) => host,
        None => context.host()?,
    };
    let tags = context.profile.tags.iter().chain(&args.tags);
    let mut tags: Vec<String> = tags
        .flat_map(|list| split_tags(list))
        .map(str::to_owned)
        .collect();
    tags.sort_unstable();
    tags.dedup();
    Ok(SnapshotOptions {
        host,
        user: context.user(),
        tags,
        time_ms: args.time,
        description: args.description,
        level: args.level,
        parent,
        force: args.force,
        exclude_caches: args.exclusion.exclude_caches,
        one_file_system: args.exclusion.one_file_system,
        dry_run: args.dry_run,
        action: context.action(&kind.action())?,
        ..SnapshotOptions::default()
    })
}

/// Local directories of the repository and its cache.
fn own_directories(context: &Context, repository: &Repository) -> Result<Vec<PathBuf>, Failure> {
    let location = Path::new(repository.location());
    let cache = context.cache_dir()?;
    let local = cache.as_deref().into_iter().chain([location]);
    Ok(local.filter_map(|path| path.canonicalize().ok()).collect())
}

/// Shows what came of a snapshot.
pub(crate) fn conclude(context: &Context, report: &SnapshotReport) -> Result<Exit, Failure> {
    context.show_findings(&report.findings)?;
    context
        .output
        .show(&SnapshotSummary::new(report.id, &report.snapshot))?;
    match context::count(&report.findings, Severity::Warning) {
        0 => Ok(Exit::Ok),
        unread => {
            let what = show::count(unread, "source");
            let message = format!("{what} could not be read as asked; the snapshot holds the rest");
            Err(Failure::new(Exit::Partly, message))
        }
    }
}
