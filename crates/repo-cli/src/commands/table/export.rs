//! `repo table export`: writes tables in their own layout, adding only files that are missing, or into one
//! file.

use std::path::PathBuf;

use clap::Args;
use repo_tables::{Location, choose_tables, export_archive, export_table};

use super::LakeArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::{ArchivedMessage, ExportedMessage};
use crate::select::Filter;

/// Arguments of `table export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Export SNAPSHOT: an id or `latest`.
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// Export these tables; without any, all.
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// Write below this place, each table at its path: a directory, or a file, s3, gs or az URL.
    #[arg(
        long,
        value_name = "PLACE",
        required_unless_present = "archive",
        requires = "append_only"
    )]
    to: Option<String>,
    /// Only create: nothing is overwritten or deleted, so that the place may be immutable.
    #[arg(long, requires = "to")]
    append_only: bool,
    /// Write all into one FILE, which must not exist: metadata first, and a directory of offsets and
    /// checksums at its end, so that it can be read by range.
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    archive: Option<PathBuf>,
    #[command(flatten)]
    lake: LakeArgs,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(super) async fn run(context: &Context, args: ExportArgs) -> Result<Exit, Failure> {
    let below = args.to.as_deref().map(Location::from_user).transpose()?;
    let lake = args.lake.lake(context);
    let repository = context.open_at(args.at).await?;
    let view = super::view(&repository, &args.snapshot, &args.filter)?;
    if let Some(path) = &args.archive {
        let archiving = export_archive(&view, &args.tables, path, context.progress());
        let archived = archiving.await?;
        context
            .output
            .show(&ArchivedMessage::new(path, &archived))?;
    }
    let Some(below) = below else {
        return Ok(Exit::Ok);
    };
    for table in choose_tables(&view, &args.tables).await? {
        let exporting = export_table(&view, &lake, &table, &below, context.progress());
        let exported = exporting
            .await
            .map_err(|error| Failure::from(error).context(&format!("table {}", table.name)))?;
        context
            .output
            .show(&ExportedMessage::new(&table, &exported))?;
    }
    Ok(Exit::Ok)
}
