//! `repo parity`: makes parity of groups of packs, and keeps it up.

use clap::Args;
use repo_core::ParityOptions;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::{FindingMessage, ParitySummary};
use crate::show::{self, Stopwatch};

/// Arguments of `parity`.
#[derive(Debug, Args)]
pub(crate) struct ParityArgs {
    /// Put up to so many packs into a group, 1 to 32; by default as many as there are in those the
    /// repository has, or else 16.
    #[arg(long, value_name = "COUNT")]
    packs: Option<u32>,
    /// Make so many parity objects for each group, 1 to 16: so many packs of it may be lost. By
    /// default as many as the groups have that are there, or else 2.
    #[arg(long, value_name = "COUNT")]
    shards: Option<u32>,
    /// Read all parity there is, and make anew what is damaged.
    #[arg(long)]
    verify: bool,
    /// Say what would be made, and write nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl ParityArgs {
    /// Whether it only says what it would do.
    pub(crate) fn is_dry(&self) -> bool {
        self.dry_run
    }
}

pub(crate) async fn run(context: &Context, args: ParityArgs) -> Result<Exit, Failure> {
    let repository = context.open().await?;
    let clock = Stopwatch::start();
    let options = ParityOptions {
        packs: args.packs,
        shards: args.shards,
        verify: args.verify,
        dry_run: args.dry_run,
    };
    let report = repository.protect(&options, context.progress()).await?;
    for finding in &report.findings {
        context.output.show(&FindingMessage::from(finding))?;
    }
    context.output.show(&ParitySummary {
        dry_run: args.dry_run,
        packs: report.packs,
        shards: report.shards,
        groups_kept: report.groups_kept,
        groups_made: report.groups_made,
        packs_protected: report.packs_protected,
        bytes_protected: report.bytes_protected,
        packs_unfit: report.packs_unfit,
        bytes_kept: report.bytes_kept,
        bytes_written: report.bytes_written,
        deleted: report.deleted,
        retained: report.retained,
        duration_ms: clock.elapsed_ms(),
    })?;
    match report.packs_unfit {
        0 => Ok(Exit::Ok),
        unfit => {
            let unfit = show::count(unfit, "pack");
            let message = format!("the repository is damaged: no parity can be made of {unfit}");
            Err(Failure::new(Exit::Damage, message)
                .hint("`repo repair parity` rebuilds what older parity makes up for"))
        }
    }
}
