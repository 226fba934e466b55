//! `repo pg snapshot --stream`: a cluster without access to its files.

use clap::Args;
use repo_core::{Repository, SnapshotOptions};
use repo_postgres::stream::{self, StreamOptions};

use crate::commands::snapshot::conclude;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::select::split_tags;

/// Arguments of `pg snapshot --stream`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
The user needs the REPLICATION attribute, and a line of pg_hba.conf that lets it use the replication \
protocol. The server sends all its files; what did not change costs no space.")]
pub(crate) struct StreamArgs {
    /// Let the server send its files over the replication protocol.
    #[arg(long, required = true)]
    stream: bool,
    /// Talk to the server that this connection string names, as in "host=db user=backup".
    /// [env: PGUSER, PGPASSWORD]
    #[arg(long, value_name = "DSN")]
    dsn: String,
    /// Let the first checkpoint take the time the server's settings give it.
    #[arg(long)]
    spread_checkpoint: bool,
    /// Record HOST instead of this host's name. [env: REPO_HOST]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Tag the snapshot. May be repeated.
    #[arg(long = "tag", value_name = "TAG[,TAG]")]
    tags: Vec<String>,
    /// Record a text that says what this is.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Compress at zstd level N, 1 (fast) to 19 (small).
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(i32).range(1..=19)
    )]
    level: i32,
}

pub(crate) async fn run(context: &Context, args: StreamArgs) -> Result<Exit, Failure> {
    debug_assert!(args.stream, "the command line asks for it");
    let from = StreamOptions {
        config: config(context, &args.dsn)?,
        user: user(context)?,
        fast: !args.spread_checkpoint,
    };
    let repository = context.open().await?;
    let host = match args.host {
        Some(host) => host,
        None => context.host()?,
    };
    let mut tags: Vec<String> = args
        .tags
        .iter()
        .flat_map(|list| split_tags(list))
        .map(str::to_owned)
        .collect();
    tags.sort_unstable();
    tags.dedup();
    let options = SnapshotOptions {
        host,
        user: context.user(),
        tags,
        description: args.description,
        level: args.level,
        action: context.action("pg snapshot --stream")?,
        ..SnapshotOptions::default()
    };
    take(context, &repository, &from, &options).await
}

/// Takes the snapshot and shows what came of it.
pub(super) async fn take(
    context: &Context,
    repository: &Repository,
    from: &StreamOptions,
    options: &SnapshotOptions,
) -> Result<Exit, Failure> {
    let taken = stream::snapshot(repository, from, options, context.progress()).await?;
    tracing::info!(start = taken.start, stop = taken.stop, "the server is done");
    conclude(context, &taken.report)
}

/// Whom to be where the connection string does not say.
pub(super) fn user(context: &Context) -> Result<String, Failure> {
    Ok(match context.environment.text("PGUSER")? {
        Some(user) => user.to_owned(),
        None => context.user(),
    })
}

/// Reads a connection string; a password may be in the environment.
pub(super) fn config(context: &Context, dsn: &str) -> Result<stream::Config, Failure> {
    let mut config = stream::parse_dsn(dsn)?;
    if config.get_password().is_none()
        && let Some(password) = context.environment.get("PGPASSWORD")
    {
        config.password(password.as_encoded_bytes());
    }
    Ok(config)
}

impl From<stream::Error> for Failure {
    fn from(error: stream::Error) -> Self {
        match error {
            stream::Error::Repository(error) => error.into(),
            error => Self::because(error.to_string(), &error),
        }
    }
}
