//! `repo table diff`: compares the tables of two snapshots.

use clap::Args;
use repo_tables::diff_tables;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::TableDiffMessage;
use crate::select::Filter;

/// Arguments of `table diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// The first snapshot: an id or `latest`.
    #[arg(value_name = "BEFORE")]
    before: String,
    /// The second one.
    #[arg(value_name = "AFTER")]
    after: String,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(super) async fn run(context: &Context, args: DiffArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    let before = super::view(&repository, &args.before, &args.filter)?;
    let after = super::view(&repository, &args.after, &args.filter)?;
    for diff in diff_tables(&before, &after).await? {
        context.output.show(&TableDiffMessage { diff })?;
    }
    Ok(Exit::Ok)
}
