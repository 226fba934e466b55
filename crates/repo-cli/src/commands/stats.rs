//! `repo stats`: sums over the repository.

use clap::Args;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::StatsMessage;

/// Arguments of `stats`.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: StatsArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    let stats = repository.stats().await?;
    context.output.show(&StatsMessage {
        id: repository.id().to_hex(),
        location: repository.location().to_owned(),
        encrypted: repository.encrypted(),
        snapshots: stats.snapshots,
        logical_bytes: stats.logical_bytes,
        blobs: stats.blobs,
        unique_bytes: stats.unique_bytes,
        packs: stats.packs,
        pack_bytes: stats.pack_bytes,
        indexes: stats.indexes,
        index_bytes: stats.index_bytes,
    })?;
    Ok(Exit::Ok)
}
