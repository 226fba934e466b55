//! `repo undo`: takes back what a commit removed or renamed, in a new commit.

use clap::Args;
use repo_core::SnapshotId;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::UndoSummary;

/// Arguments of `undo`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Brings back the snapshots that the commit removed, with the tags and the protection they had, and \
the earlier tags and protection of those it changed. What a gc has condemned is stored anew; what it \
has deleted cannot come back. The undo is a commit of its own and can be undone by `repo forget`.")]
pub(crate) struct UndoArgs {
    /// Take back commit N, a number as `repo log` shows it.
    #[arg(value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    number: u64,
}

pub(crate) async fn run(context: &Context, args: UndoArgs) -> Result<Exit, Failure> {
    let repository = context.open().await?;
    let action = context.action(&format!("undo {}", args.number))?;
    let report = repository
        .undo(args.number, &action, context.progress())
        .await?;
    let ids = |ids: &[SnapshotId]| ids.iter().map(SnapshotId::to_hex).collect();
    context.output.show(&UndoSummary {
        undone: args.number,
        restored: ids(&report.restored),
        retagged: ids(&report.retagged),
        commit: repository.head(),
    })?;
    Ok(Exit::Ok)
}
