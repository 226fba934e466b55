//! `repo table manifest`: prints what a snapshot of tables holds.

use clap::Args;
use repo_tables::manifest;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::ManifestMessage;
use crate::select::Filter;

/// Arguments of `table manifest`.
#[derive(Debug, Args)]
pub(crate) struct ManifestArgs {
    /// Describe SNAPSHOT: an id or `latest`.
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// Describe these tables; without any, all.
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// Give SHA-256 of every file, too; reads all of them.
    #[arg(long)]
    sha256: bool,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(super) async fn run(context: &Context, args: ManifestArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    let view = super::view(&repository, &args.snapshot, &args.filter)?;
    let manifest = manifest(&view, &args.tables, args.sha256).await?;
    context.output.show(&ManifestMessage::from(manifest))?;
    Ok(Exit::Ok)
}
