//! `repo repair`: makes a damaged repository usable again, losing only what is lost.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use repo_core::{RepairOptions, RepairReport, Severity};

use crate::args::key_value;
use crate::context::{self, Context};
use crate::exit::{Exit, Failure};
use crate::message::{FindingMessage, RepairSummary};
use crate::other::Named;
use crate::show::{self, Stopwatch};

/// Arguments of `repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    /// What to repair; with --from, everything is.
    #[arg(value_enum, required_unless_present = "from")]
    what: Option<What>,
    /// Read all data, and take what is lost from the repository at LOCATION, which holds copies, or
    /// snapshots of the same files.
    #[arg(long, value_name = "LOCATION")]
    from: Option<OsString>,
    /// Read the password of that repository from the first line of FILE.
    /// [env: REPO_FROM_PASSWORD_FILE, REPO_FROM_PASSWORD]
    #[arg(long, value_name = "FILE", conflicts_with = "from_password_command")]
    from_password_file: Option<PathBuf>,
    /// Read it from the output of a shell COMMAND. [env: REPO_FROM_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND")]
    from_password_command: Option<OsString>,
    /// Set an option of that repository's store, as in aws_region=eu-central-1. May be repeated.
    #[arg(long = "from-option", value_name = "KEY=VALUE", value_parser = key_value)]
    from_options: Vec<(String, String)>,
    /// Say what would be done, and write nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl RepairArgs {
    /// Whether it only says what it would do.
    pub(crate) fn is_dry(&self) -> bool {
        self.dry_run
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum What {
    /// Rebuild damaged index objects from packs, and take out of packs with damaged directories
    /// what can be read.
    Index,
    /// Read all data, and rebuild packs that are damaged or lost from the parity that `repo parity`
    /// made.
    Parity,
}

pub(crate) async fn run(context: &Context, args: RepairArgs) -> Result<Exit, Failure> {
    let other = match &args.from {
        Some(location) => Some(context.other(Named {
            option: "--from",
            variables: "REPO_FROM_PASSWORD",
            location,
            password_file: args.from_password_file.clone(),
            password_command: args.from_password_command.clone(),
            options: &args.from_options,
        })?),
        None => None,
    };
    let repository = context.open().await?;
    let clock = Stopwatch::start();
    let mut options = RepairOptions {
        dry_run: args.dry_run,
        action: context.action("repair index")?,
        ..RepairOptions::default()
    };
    let report = match other {
        None if matches!(args.what, Some(What::Parity)) => {
            options.action = context.action("repair parity")?;
            let report = repository.repair_parity(&options, context.progress());
            report.await?
        }
        None => {
            let report = repository.repair_index(&options, context.progress());
            report.await?
        }
        Some(other) => {
            let other = other.open().await?;
            let from = show::path(other.location().as_bytes());
            options.action = context.action(&format!("repair from {from}"))?;
            let report = repository.repair_from(&other, &options, context.progress());
            report.await?
        }
    };
    conclude(context, args.dry_run, clock, &report)
}

fn conclude(
    context: &Context,
    dry_run: bool,
    clock: Stopwatch,
    report: &RepairReport,
) -> Result<Exit, Failure> {
    for finding in &report.findings {
        context.output.show(&FindingMessage::from(finding))?;
    }
    let damage = context::count(&report.findings, Severity::Damage);
    context.output.show(&RepairSummary {
        dry_run,
        indexes: report.indexes,
        indexes_removed: report.indexes_removed,
        indexes_added: report.indexes_added,
        packs: report.packs,
        packs_indexed: report.packs_indexed,
        packs_harmed: report.packs_harmed,
        packs_replaced: report.packs_replaced,
        blobs_salvaged: report.blobs_salvaged,
        blobs_recovered: report.blobs_recovered,
        bytes_stored: report.bytes_stored,
        damage,
        duration_ms: clock.elapsed_ms(),
    })?;
    match damage {
        0 => Ok(Exit::Ok),
        _ => {
            let left = show::count(damage, "finding");
            let message = format!("the repository remains damaged: {left}");
            Err(Failure::new(Exit::Damage, message).hint("`repo check` says what is affected"))
        }
    }
}
