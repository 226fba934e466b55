//! `repo restore`: makes a directory equal to a snapshot, or to a directory in it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use repo_core::{Error, Finding, PlanAction, RestoreOptions, Severity};

use crate::context::{self, Context};
use crate::exit::{Exit, Failure};
use crate::message::{PlanMessage, RestoreSummary};
use crate::select::{Filter, Target};
use crate::show::{self, Stopwatch};

/// What to do after an interruption.
pub(crate) const CARRY_ON: &str = "run the same command again to carry on";

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Restore SNAPSHOT, an id or `latest`, or what is at PATH in it.
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    source: OsString,
    /// Restore into this directory. What is right there already is kept.
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// Delete what is in TARGET and not in the snapshot.
    #[arg(long)]
    delete: bool,
    /// Read what was restored again and compare.
    #[arg(long)]
    verify: bool,
    /// Say what would change, and change nothing.
    #[arg(short = 'n', long, conflicts_with = "verify")]
    dry_run: bool,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

impl RestoreArgs {
    /// Whether it only says what it would do.
    pub(crate) fn is_dry(&self) -> bool {
        self.dry_run
    }
}

pub(crate) async fn run(context: &Context, args: RestoreArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    let source = Target::parse(&args.source);
    let (view, path) = source.open(&repository, &args.filter).await?;
    let options = RestoreOptions {
        delete: args.delete,
        dry_run: args.dry_run,
        verify: args.verify,
        adapt: None,
    };
    let clock = Stopwatch::start();
    let report = repository
        .restore(&view, &path, &args.target, &options, context.progress())
        .await
        .map_err(|error| match error {
            Error::Cancelled => Failure::cancelled().hint(CARRY_ON),
            error => error.into(),
        })?;
    for line in &report.plan {
        let (action, sign) = match line.action {
            PlanAction::Create => ("create", '+'),
            PlanAction::Update => ("update", 'M'),
            PlanAction::Delete => ("delete", '-'),
        };
        context
            .output
            .show(&PlanMessage::new(action, sign, &line.path))?;
    }
    context.show_findings(&report.findings)?;
    context.output.show(&RestoreSummary {
        id: view.id().to_hex(),
        target: show::local_path(&args.target),
        dry_run: args.dry_run,
        files: report.files,
        directories: report.directories,
        bytes_written: report.bytes_written,
        bytes_kept: report.bytes_kept,
        deleted: report.deleted,
        verified: args.verify,
        duration_ms: clock.elapsed_ms(),
    })?;
    conclude(&report.findings)
}

/// How a restore that found this ends.
pub(crate) fn conclude(findings: &[Finding]) -> Result<Exit, Failure> {
    let damage = context::count(findings, Severity::Damage);
    if damage > 0 {
        let what = show::count(damage, "finding");
        let message = format!("the repository is damaged: {what}; everything else is restored");
        return Err(Failure::new(Exit::Damage, message));
    }
    match context::count(findings, Severity::Warning) {
        0 => Ok(Exit::Ok),
        problems => {
            let what = show::count(problems, "entry");
            let message = format!("{what} could not be restored as asked; the rest is");
            Err(Failure::failed(message).hint(CARRY_ON))
        }
    }
}
