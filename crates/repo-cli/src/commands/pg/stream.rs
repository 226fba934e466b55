//! `repo pg snapshot --stream`: a cluster without access to its files.

use repo_postgres::stream::{self, StreamOptions};

use crate::commands::pg::snapshot::SnapshotArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::record::conclude;

pub(super) async fn run(context: &Context, args: SnapshotArgs) -> Result<Exit, Failure> {
    let from = StreamOptions {
        config: config(context, &args.dsn)?,
        user: user(context)?,
        fast: !args.spread_checkpoint,
    };
    let repository = context.open_or_create_default().await?;
    let action = "pg snapshot --stream";
    let options = args.record.options(context, &repository, action)?;
    let taken = stream::snapshot(&repository, &from, &options, context.progress()).await?;
    let (start, stop) = (taken.description.start_lsn, taken.description.stop_lsn);
    tracing::info!(%start, %stop, "the server is done");
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
