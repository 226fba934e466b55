//! `repo table snapshot`: saves tables.

use clap::Args;
use repo_core::{Parent, Repository, Severity, SnapshotOptions};
use repo_tables::catalog::{Catalog, CatalogSource};
use repo_tables::{At, Location, Source, TablesOptions, snapshot_tables};

use super::{CatalogArgs, LakeArgs};
use crate::context::{self, Context};
use crate::exit::{Exit, Failure};
use crate::message::{SavedTableMessage, SnapshotSummary};
use crate::select::{self, Filter, split_tags};
use crate::{show, when};

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
    /// Record HOST instead of this host's name. [env: REPO_HOST]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Tag the snapshot. May be repeated.
    #[arg(long = "tag", value_name = "TAG[,TAG]")]
    tags: Vec<String>,
    /// Record a text that says what this is.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Take unchanged files from SNAPSHOT, not from the newest of the same host and places.
    #[arg(long, value_name = "SNAPSHOT")]
    parent: Option<String>,
    /// Read all files, also those that look unchanged.
    #[arg(long)]
    force: bool,
    /// Compress at zstd level N, 1 (fast) to 19 (small).
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(i32).range(1..=19)
    )]
    level: i32,
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
    let options = options(context, &repository, args, &first)?;
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
    let snapshot = report.snapshot;
    context.show_findings(&snapshot.findings)?;
    context
        .output
        .show(&SnapshotSummary::new(snapshot.id, &snapshot.snapshot))?;
    match context::count(&snapshot.findings, Severity::Warning) {
        0 => Ok(Exit::Ok),
        unread => {
            let what = show::count(unread, "source");
            let message = format!("{what} could not be read as asked; the snapshot holds the rest");
            Err(Failure::new(Exit::Partly, message))
        }
    }
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

fn options(
    context: &Context,
    repository: &Repository,
    args: SnapshotArgs,
    first: &str,
) -> Result<SnapshotOptions, Failure> {
    let parent = match args.parent {
        Some(name) => {
            let known = repository.snapshots();
            let found = select::find(&known, &name, &Filter::default())?;
            Parent::Id(found.snapshot.id())
        }
        None => Parent::Auto,
    };
    let tags = context.profile.tags.iter().chain(&args.tags);
    let mut tags: Vec<String> = tags
        .flat_map(|list| split_tags(list))
        .map(str::to_owned)
        .collect();
    tags.sort_unstable();
    tags.dedup();
    let more = if args.sources.len() > 1 { " ..." } else { "" };
    let action = format!("table snapshot {first}{more}");
    Ok(SnapshotOptions {
        host: match args.host {
            Some(host) => host,
            None => context.host()?,
        },
        user: context.user(),
        tags,
        description: args.description,
        level: args.level,
        parent,
        force: args.force,
        dry_run: args.dry_run,
        action: context.action(&action)?,
        ..SnapshotOptions::default()
    })
}
