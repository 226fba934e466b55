//! `repo pg snapshot`: saves a running cluster.

use std::path::PathBuf;

use clap::Args;
use repo_postgres::{Cluster, Connection};

use crate::commands::pg::stream;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::record::{RecordArgs, tell};
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
    #[command(flatten)]
    pub(super) record: RecordArgs,
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
    let options = args.record.options(context, &repository, &action)?;
    let saved = repo_postgres::snapshot(&repository, &cluster, &options, context.progress())
        .await
        .map_err(super::failure)?;
    match tell(context, &saved.report)? {
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
    let mut connection = Connection::parse(dsn)
        .map_err(super::failure)?
        .or_user(&stream::user(context)?);
    if let Some(password) = context.environment.text("PGPASSWORD")? {
        connection = connection.or_password(password);
    }
    Ok(connection)
}
