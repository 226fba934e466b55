//! `repo table restore`: makes tables of a snapshot again.

use clap::Args;
use repo_tables::{Error, Format, Identity, Location, TableRecord, TableRestore, choose_tables};

use super::register::Registry;
use super::{CatalogArgs, LakeArgs};
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
    /// Leave Iceberg tables their UUIDs, for a table that takes the place of the saved one. Without it
    /// a table at another place is another table.
    #[arg(long)]
    keep_uuid: bool,
    /// Make restored Iceberg tables known to CATALOG: rest:URL, sqlite:PATH or postgres://..., with
    /// #NAMESPACE for another namespace than their paths tell. For glue and hive a script is printed.
    #[arg(long, value_name = "CATALOG")]
    register: Option<String>,
    #[command(flatten)]
    catalog: CatalogArgs,
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
    let options = args.catalog.all(context)?;
    let registry = args
        .register
        .as_deref()
        .map(|text| Registry::open(text, &options));
    let registry = registry.transpose()?;
    let repository = context.open_at(args.at).await?;
    let view = super::view(&repository, &args.snapshot, &args.filter)?;
    for table in choose_tables(&view, &args.tables).await? {
        let clock = Stopwatch::start();
        let target = place(below.as_ref(), &table)?;
        let registry = registry
            .as_ref()
            .filter(|_| table.format == Format::Iceberg);
        if let Some(registry) = registry {
            registry.prepare(&table).await?;
        }
        let restore = TableRestore {
            repository: &repository,
            view: &view,
            table: &table,
            target: &target,
            force: args.force,
        };
        let identity = match args.keep_uuid {
            true => Identity::Keep,
            false => Identity::New,
        };
        let restored = restore.run_as(&lake, identity, context.progress()).await;
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
        if let Some(registry) = registry {
            let entering = registry.enter(&view, &lake, &table, &restored, args.force);
            let entered = entering
                .await
                .map_err(|failure| failure.context(&format!("table {}", table.name)))?;
            if let Some(entered) = entered {
                context.output.show(&entered)?;
            }
        }
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
