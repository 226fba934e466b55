//! `repo pg`: clusters of Postgres.

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::exit::{Exit, Failure};

pub(crate) mod archive;
mod check;
mod guard;
pub(crate) mod info;
mod open;
mod restore;
mod snapshot;
mod stream;

/// Arguments of `pg`.
#[derive(Debug, Args)]
pub(crate) struct PgArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Save a running cluster as a snapshot.
    Snapshot(snapshot::SnapshotArgs),
    /// Make a data directory the cluster of a snapshot, ready to start.
    Restore(restore::RestoreArgs),
    /// Start a server on a snapshot without restoring it, and discard what it writes.
    Open(open::OpenArgs),
    /// List snapshots of clusters and archived WAL, or the relations of a cluster.
    Info(info::InfoArgs),
    /// Archive a file of WAL; for `archive_command`.
    ArchivePush(archive::PushArgs),
    /// Fetch an archived file; for `restore_command`.
    ArchiveGet(archive::GetArgs),
    /// Prove that archiving works, from the server into the repository.
    Check(check::CheckArgs),
}

impl PgArgs {
    /// What the command is called in the figures.
    pub(crate) const fn name(&self) -> &'static str {
        match self.action {
            Action::Snapshot(_) => "pg snapshot",
            Action::Restore(_) => "pg restore",
            Action::Open(_) => "pg open",
            Action::Info(_) => "pg info",
            Action::ArchivePush(_) => "pg archive-push",
            Action::ArchiveGet(_) => "pg archive-get",
            Action::Check(_) => "pg check",
        }
    }
}

pub(crate) async fn run(context: &Context, args: PgArgs) -> Result<Exit, Failure> {
    match args.action {
        Action::Snapshot(args) => snapshot::run(context, args).await,
        Action::Restore(args) => restore::run(context, args).await,
        Action::Open(args) => open::run(context, args).await,
        Action::Info(args) => info::run(context, args).await,
        Action::ArchivePush(args) => archive::push(context, args).await,
        Action::ArchiveGet(args) => archive::get(context, args).await,
        Action::Check(args) => check::run(context, args).await,
    }
}

/// The failure that an error of the adapter is.
fn failure(error: repo_postgres::Error) -> Failure {
    use repo_postgres::Error;

    let hint = match &error {
        Error::Core(_) => None,
        Error::Connect { .. } => Some("--dsn says where the server is and as whom to connect"),
        Error::Permission { .. } => Some(
            "grant the user pg_read_all_settings and the functions that start and stop backups, or use a superuser",
        ),
        Error::WalGone { .. } => {
            Some("let the user replicate, so that the server keeps the log, or raise wal_keep_size")
        }
        Error::NotRunning { .. } => {
            Some("a stopped cluster is a directory: `repo snapshot` saves it")
        }
        Error::Running { .. } => Some("stop the server first"),
        Error::Occupied { .. } => Some(
            "give an empty directory or move tablespaces with --tablespace-mapping; --force takes it over",
        ),
        Error::NotPostgres { .. } => Some("`repo pg info` lists snapshots of clusters"),
        Error::NoDatabase { .. } => Some("`repo pg info --relations` lists what there is"),
        Error::NoPrograms { .. } => Some("install them, or say with --bindir where they are"),
        Error::OwnedByRoot => Some("`repo pg restore` to a directory, and give it to another user"),
        Error::SessionLost => Some("the server's log says why it ended the session"),
        _ => None,
    };
    let failure = match error {
        Error::Core(error) => Failure::from(error),
        error => Failure::from_error(&error),
    };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
