//! `repo pg`: clusters of Postgres.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::{Exit, Failure};

pub(crate) mod archive;
mod check;
mod stream;

/// Arguments of `pg`.
#[derive(Debug, Args)]
pub(crate) struct PgArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Save a cluster.
    Snapshot(stream::StreamArgs),
    /// Archive a file of WAL; for `archive_command`.
    ArchivePush(archive::PushArgs),
    /// Fetch an archived file; for `restore_command`.
    ArchiveGet(archive::GetArgs),
    /// Prove that archiving works, from the server into the repository.
    Check(check::CheckArgs),
}

pub(crate) async fn run(context: &Context, args: PgArgs) -> Result<Exit, Failure> {
    match args.action {
        Action::Snapshot(args) => stream::run(context, args).await,
        Action::ArchivePush(args) => archive::push(context, args).await,
        Action::ArchiveGet(args) => archive::get(context, args).await,
        Action::Check(args) => check::run(context, args).await,
    }
}
