//! `repo table snapshot`: saves tables.

use clap::Args;
use repo_core::SnapshotOptions;
use repo_tables::catalog::{Catalog, CatalogSource};
use repo_tables::{At, Location, Source, TablesOptions, snapshot_tables};

use super::{CatalogArgs, LakeArgs};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::SavedTableMessage;
use crate::record::{RecordArgs, conclude};
use crate::when;

/// Arguments of `table snapshot`.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// Save the table at PLACE, or all tables below it: a directory, or a file, s3, gs or az URL. Or the
    /// tables of an Iceberg catalog: rest:URL, sqlite:PATH or postgres://..., with #NAMESPACE or
    /// #NAMESPACE.TABLE for a part of it.
    #[arg(value_name = "[NAME=]PLACE|CATALOG", required = true)]
    sources: Vec<String>,
    /// Save this version of Delta tables, or this snapshot of Iceberg tables, not the newest.
    #[arg(long, value_name = "N", conflicts_with_all = ["table_time", "table_ref"])]
    table_version: Option<i64>,
    /// Save the version that was current at TIME.
    #[arg(long, value_name = "TIME", value_parser = when::parse, conflicts_with = "table_ref")]
    table_time: Option<i64>,
    /// Save what this branch or tag of Iceberg tables is at.
    #[arg(long, value_name = "NAME")]
    table_ref: Option<String>,
    /// Save the files of change data feeds, too.
    #[arg(long)]
    change_data: bool,
    /// Save only what the version itself needs, and not what is left of older ones of Delta tables.
    #[arg(long)]
    version_only: bool,
    #[command(flatten)]
    lake: LakeArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    record: RecordArgs,
    /// Do everything but write.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl SnapshotArgs {
    /// Whether it only says what it would do.
    pub(super) const fn is_dry(&self) -> bool {
        self.dry_run
    }
}

pub(super) async fn run(context: &Context, args: SnapshotArgs) -> Result<Exit, Failure> {
    let (catalogs, places): (Vec<_>, Vec<_>) = args
        .sources
        .iter()
        .partition(|text| Catalog::is_named_by(text));
    let sources = places.into_iter().map(|text| source(text));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let catalog_options = args.catalog.all(context)?;
    let catalogs = catalogs.into_iter().map(|text| {
        let (catalog, part) = Catalog::open(text, &catalog_options)?;
        Ok(CatalogSource { catalog, part })
    });
    let tables = TablesOptions {
        at: match (args.table_version, args.table_time, &args.table_ref) {
            (Some(version), ..) => At::Version(version),
            (None, Some(time), _) => At::Time(time),
            (None, None, Some(name)) => At::Ref(name.clone()),
            (None, None, None) => At::Newest,
        },
        change_data: args.change_data,
        catalogs: catalogs.collect::<Result<_, Failure>>()?,
        version_only: args.version_only,
    };
    let lake = args.lake.lake(context);
    let repository = match args.dry_run {
        true => context.open().await?,
        false => context.open_or_create_default().await?,
    };
    let first = match (sources.first(), tables.catalogs.first()) {
        (Some(source), _) => source.place.to_string(),
        (None, Some(catalog)) => catalog.to_string(),
        (None, None) => String::new(),
    };
    let more = if args.sources.len() > 1 { " ..." } else { "" };
    let action = format!("table snapshot {first}{more}");
    let options = SnapshotOptions {
        dry_run: args.dry_run,
        ..args.record.options(context, &repository, &action)?
    };
    let taking = snapshot_tables(
        &repository,
        &lake,
        &sources,
        &tables,
        &options,
        context.progress(),
    );
    let report = taking.await?;
    for table in &report.tables {
        context.output.show(&SavedTableMessage::new(table))?;
    }
    conclude(context, &report.snapshot)
}

/// Reads `[NAME=]PLACE`. A place may hold `=`, a name no `/`.
fn source(text: &str) -> Result<Source, Failure> {
    let named = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty() && !name.contains(['/', ':']));
    let (name, place) = match named {
        Some((name, place)) => (Some(name.to_owned()), place),
        None => (None, text),
    };
    Ok(Source {
        name,
        place: Location::from_user(place)?,
    })
}
