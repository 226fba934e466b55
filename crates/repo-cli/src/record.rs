//! What a snapshot records and starts from, whatever it is of, and what is said of it in the end.

use clap::Args;
use repo_core::{Parent, Repository, Severity, SnapshotOptions, SnapshotReport};

use crate::args::LevelArgs;
use crate::context::{self, Context};
use crate::exit::{Exit, Failure};
use crate::message::SnapshotSummary;
use crate::select::{self, Filter, split_tags};
use crate::show;

/// Arguments of every command that takes a snapshot.
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// Record HOST instead of this host's name. [env: REPO_HOST]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Tag the snapshot. May be repeated.
    #[arg(long = "tag", value_name = "TAG[,TAG]")]
    tags: Vec<String>,
    /// Record a text that says what this is.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Take unchanged files from SNAPSHOT, not from the newest of the same host and sources.
    #[arg(long, value_name = "SNAPSHOT")]
    parent: Option<String>,
    /// Read all files, also those that look unchanged.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    compression: LevelArgs,
}

impl RecordArgs {
    /// Options of a snapshot, `action` being what the log says was done.
    pub(crate) fn options(
        self,
        context: &Context,
        repository: &Repository,
        action: &str,
    ) -> Result<SnapshotOptions, Failure> {
        let parent = match self.parent {
            Some(name) => {
                let known = repository.snapshots();
                let found = select::find(&known, &name, &Filter::default())?;
                Parent::Id(found.snapshot.id())
            }
            None => Parent::Auto,
        };
        let host = match self.host {
            Some(host) => host,
            None => context.host()?,
        };
        let tags = context.profile.tags.iter().chain(&self.tags);
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
            description: self.description,
            level: self.compression.level,
            parent,
            force: self.force,
            action: context.action(action)?,
            ..SnapshotOptions::default()
        })
    }
}

/// Shows what came of a snapshot; gives the number of warnings.
pub(crate) fn tell(context: &Context, report: &SnapshotReport) -> Result<u64, Failure> {
    context.show_findings(&report.findings)?;
    context
        .output
        .show(&SnapshotSummary::new(report.id, &report.snapshot))?;
    Ok(context::count(&report.findings, Severity::Warning))
}

/// The same; a warning is a source that could not be read.
pub(crate) fn conclude(context: &Context, report: &SnapshotReport) -> Result<Exit, Failure> {
    match tell(context, report)? {
        0 => Ok(Exit::Ok),
        unread => {
            let what = show::count(unread, "source");
            let message = format!("{what} could not be read as asked; the snapshot holds the rest");
            Err(Failure::new(Exit::Partly, message))
        }
    }
}
