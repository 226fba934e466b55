//! `repo repair`: makes a damaged repository usable again, losing only what is lost.

use clap::{Args, Subcommand};
use repo_core::{RepairOptions, RepairReport, Severity};

use crate::context::{self, Context};
use crate::exit::{Exit, Failure};
use crate::message::{FindingMessage, RepairSummary};
use crate::show::{self, Stopwatch};

/// Arguments of `repair`.
#[derive(Debug, Args)]
pub(crate) struct RepairArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Rebuild damaged index objects from packs, and take out of packs with damaged directories
    /// what can be read. Deletes nothing.
    Index(IndexArgs),
}

#[derive(Debug, Args)]
struct IndexArgs {
    /// Say what would be done, and write nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, args: RepairArgs) -> Result<Exit, Failure> {
    let What::Index(args) = args.what;
    let repository = context.open().await?;
    let options = RepairOptions {
        dry_run: args.dry_run,
        action: context.action("repair index")?,
        ..RepairOptions::default()
    };
    let clock = Stopwatch::start();
    let report = repository.repair_index(&options, context.progress());
    conclude(context, args.dry_run, clock, &report.await?)
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
