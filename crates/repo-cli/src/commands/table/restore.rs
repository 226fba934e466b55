//! `repo table restore`: makes tables of a snapshot again.

use clap::Args;
use repo_tables::{Error, Location, TableRecord, TableRestore, choose_tables};

use super::LakeArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::TableRestoredMessage;
use crate::select::Filter;
use crate::show::Stopwatch;

/// Arguments of `table restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Restore from SNAPSHOT: an id or `latest`.
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Restore these tables; without any, all.
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// Restore below this place, each table at its path: a directory, or a file, s3, gs or az URL.
    #[arg(long, value_name = "PLACE", required_unless_present = "in_place")]
    to: Option<String>,
    /// Restore each table where it was. Files that are right are kept.
    #[arg(long, conflicts_with = "to")]
    in_place: bool,
    /// Replace another table, or a newer version, that is there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    lake: LakeArgs,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(super) async fn run(context: &Context, args: RestoreArgs) -> Result<Exit, Failure> {
    let below = args.to.as_deref().map(Location::from_user).transpose()?;
    let lake = args.lake.lake(context);
    let repository = context.open_at(args.at).await?;
    let view = super::view(&repository, &args.snapshot, &args.filter)?;
    for table in choose_tables(&view, &args.tables).await? {
        let clock = Stopwatch::start();
        let target = place(below.as_ref(), &table)?;
        let restore = TableRestore {
            repository: &repository,
            view: &view,
            table: &table,
            target: &target,
            force: args.force,
        };
        let restored = restore.run(&lake, context.progress()).await;
        let restored = restored.map_err(|error| {
            let occupied = matches!(error, Error::Occupied { .. });
            let failure = Failure::from(error).context(&format!("table {}", table.name));
            match occupied {
                true => failure.hint("--force replaces what is there"),
                false => failure,
            }
        })?;
        let message = TableRestoredMessage::new(&table, &restored, clock.elapsed_ms());
        context.output.show(&message)?;
    }
    Ok(Exit::Ok)
}

/// Where a table goes: at its path below a place, or where it was.
pub(super) fn place(below: Option<&Location>, table: &TableRecord) -> Result<Location, Failure> {
    Ok(match below {
        Some(below) => below.join(&table.path)?,
        None => Location::parse(&table.location)?,
    })
}
