//! `repo pg snapshot`: saves a running cluster.

use std::path::PathBuf;

use clap::Args;
use repo_core::{Parent, Repository, Severity, SnapshotOptions};
use repo_postgres::{Cluster, Connection};

use crate::commands::pg::stream;
use crate::context::{self, Context};
use crate::exit::{Exit, Failure};
use crate::message::SnapshotSummary;
use crate::select::{self, Filter, split_tags};
use crate::show;

/// Arguments of `pg snapshot`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
With --stream the user needs the REPLICATION attribute, and a line of pg_hba.conf that lets it use the \
replication protocol. The server sends all its files; what did not change costs no space.")]
pub(crate) struct SnapshotArgs {
    /// Save the cluster that runs on this data directory.
    #[arg(long, value_name = "DIR", required_unless_present = "stream")]
    pgdata: Option<PathBuf>,
    /// Let the server send its files over the replication protocol.
    #[arg(long, requires = "dsn", conflicts_with_all = ["pgdata", "parent", "force"])]
    stream: bool,
    /// Connect as this string or URL says; what it leaves open is found in the data directory.
    /// [env: PGUSER, PGPASSWORD]
    #[arg(long, value_name = "DSN", default_value = "")]
    pub(super) dsn: String,
    /// Let the first checkpoint take the time the server's settings give it.
    #[arg(long)]
    pub(super) spread_checkpoint: bool,
    /// Record HOST instead of this host's name. [env: REPO_HOST]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Tag the snapshot. May be repeated.
    #[arg(long = "tag", value_name = "TAG[,TAG]")]
    tags: Vec<String>,
    /// Record a text that says what this is.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Take unchanged files from SNAPSHOT, not from the newest of the same host and directory.
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
}

pub(crate) async fn run(context: &Context, args: SnapshotArgs) -> Result<Exit, Failure> {
    let Some(pgdata) = args.pgdata.clone() else {
        return stream::run(context, args).await;
    };
    let cluster = Cluster {
        pgdata,
        connection: connection(context, &args.dsn)?,
        fast: !args.spread_checkpoint,
    };
    let repository = context.open_or_create_default().await?;
    let action = format!("pg snapshot {}", show::local_path(&cluster.pgdata));
    let options = options(context, &repository, args, &action)?;
    let saved = repo_postgres::snapshot(&repository, &cluster, &options, context.progress())
        .await
        .map_err(super::failure)?;
    let report = &saved.report;
    context.show_findings(&report.findings)?;
    context
        .output
        .show(&SnapshotSummary::new(report.id, &report.snapshot))?;
    match context::count(&report.findings, Severity::Warning) {
        0 => Ok(Exit::Ok),
        damaged => {
            let what = show::count(damaged, "page");
            let message =
                format!("{what} of the cluster damaged; the snapshot has them as they are");
            Err(Failure::new(Exit::Partly, message))
        }
    }
}

/// How to connect: what the string leaves open comes from the environment.
pub(super) fn connection(context: &Context, dsn: &str) -> Result<Connection, Failure> {
    let user = match context.environment.text("PGUSER")? {
        Some(user) => user.to_owned(),
        None => context.user(),
    };
    let mut connection = Connection::parse(dsn)
        .map_err(super::failure)?
        .or_user(&user);
    if let Some(password) = context.environment.text("PGPASSWORD")? {
        connection = connection.or_password(password);
    }
    Ok(connection)
}

/// What to record.
pub(super) fn options(
    context: &Context,
    repository: &Repository,
    args: SnapshotArgs,
    action: &str,
) -> Result<SnapshotOptions, Failure> {
    let parent = match args.parent {
        Some(name) => {
            let known = repository.snapshots();
            let found = select::find(&known, &name, &Filter::default())?;
            Parent::Id(found.snapshot.id())
        }
        None => Parent::Auto,
    };
    let host = match args.host {
        Some(host) => host,
        None => context.host()?,
    };
    let tags = context.profile.tags.iter().chain(&args.tags);
    let mut tags: Vec<String> = tags
        .flat_map(|list| split_tags(list))
        .map(str::to_owned)
        .collect();
    tags.sort_unstable();
    tags.dedup();
    Ok(SnapshotOptions {
        host,
        user: context.user(),
        tags,
        description: args.description,
        level: args.level,
        parent,
        force: args.force,
        action: context.action(action)?,
        ..SnapshotOptions::default()
    })
}
