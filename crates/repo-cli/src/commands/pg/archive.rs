//! `repo pg archive-push` and `repo pg archive-get`: what Postgres calls to archive WAL and to get it
//! back.
//!
//! Both work in the data directory, as Postgres starts them there. Exit codes are for Postgres: a
//! push says 0 only for what is in the repository; a get says 1 only for what is not there, and what
//! else goes wrong ends recovery, unless the server is a standby, which asks again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use repo_core::SnapshotOptions;
use repo_postgres::wal::{self, Request, Spool, WalFile};

use crate::args::LevelArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::{output, show};

/// The command that Postgres takes the exit code of for a statement about the archive.
const GET: &str = "archive-get";

/// File in the data directory of a server in standby mode.
const STANDBY: &str = "standby.signal";

/// Directory of the spool in the cache.
const SPOOL: &str = "postgres-wal";

/// Arguments of `pg archive-push`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Set archive_command = 'repo pg archive-push %p'. Files that wait behind the one asked for are pushed with \
it, and acknowledged without opening the repository when their turn comes. Exit code 0 says that the \
file is in the repository. A file that is there with other content is refused.")]
pub(crate) struct PushArgs {
    /// Archive this file, the %p of `archive_command`.
    #[arg(value_name = "PATH")]
    path: PathBuf,
    #[command(flatten)]
    local: LocalArgs,
    #[command(flatten)]
    compression: LevelArgs,
}

/// Arguments of `pg archive-get`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Set restore_command = 'repo pg archive-get %f %p'. Exit code 1 says that the archive does not hold the file; \
other failures end recovery with code 255, because Postgres takes smaller codes for the end of the archive. \
A standby gets 1 for all of them, and asks again.")]
pub(crate) struct GetArgs {
    /// Fetch this file, the %f of `restore_command`.
    #[arg(value_name = "FILE")]
    file: String,
    /// Put it here, the %p of `restore_command`.
    #[arg(value_name = "PATH")]
    target: PathBuf,
    #[command(flatten)]
    local: LocalArgs,
    /// Fetch up to N segments ahead.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 8,
        value_parser = clap::value_parser!(u8).range(0..=64)
    )]
    ahead: u8,
}

/// Where things are on this machine.
#[derive(Debug, Args)]
struct LocalArgs {
    /// Work for the cluster in DIR instead of the one that Postgres starts this command in.
    #[arg(long, value_name = "DIR")]
    pgdata: Option<PathBuf>,
    /// Keep acknowledgements and segments fetched ahead in DIR instead of the cache.
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
}

impl LocalArgs {
    /// The spool, unless there is neither a directory nor a cache for it.
    fn spool(&self, context: &Context) -> Result<Option<Spool>, Failure> {
        let directory = match &self.spool {
            Some(directory) => Some(directory.clone()),
            None => context.cache_dir()?.map(|cache| cache.join(SPOOL)),
        };
        let store = context.store()?;
        Ok(directory.map(|directory| Spool::new(&directory, store.location())))
    }
}

pub(crate) async fn push(context: &Context, args: PushArgs) -> Result<Exit, Failure> {
    let request = Request::new(&args.path, args.local.pgdata.as_deref())?;
    let spool = args.local.spool(context)?;
    if let Some(spool) = &spool
        && spool.take_acknowledged(&request)?
    {
        tracing::info!(file = %request.file, "archived before");
        return Ok(Exit::Ok);
    }
    let repository = context.open().await?;
    let options = SnapshotOptions {
        host: context.host()?,
        user: context.user(),
        level: args.compression.level,
        action: context.action(&format!("archive WAL from {}", request.file))?,
        ..SnapshotOptions::default()
    };
    let report = wal::push(&repository, &request, spool.as_ref(), &options).await?;
    let (archived, present) = (report.archived.len(), report.present);
    tracing::info!(file = %request.file, archived, present, "archived");
    for (file, error) in report.refused {
        let failure = Failure::because(format!("{file} waits behind and is refused"), &error);
        context.warn(&failure.message);
    }
    Ok(Exit::Ok)
}

pub(crate) async fn get(context: &Context, args: GetArgs) -> Result<Exit, Failure> {
    let directory = args.local.pgdata.clone().unwrap_or_default();
    let fetched = fetch(context, args, &directory).await;
    match fetched {
        Ok(true) => Ok(Exit::Ok),
        // It is no failure: Postgres asks for files that may not exist.
        Ok(false) => Ok(Exit::Failed),
        Err(failure) if directory.join(STANDBY).exists() => {
            output::report(&failure, context.globals.json);
            Ok(Exit::Failed)
        }
        Err(failure) => Err(failure),
    }
}

async fn fetch(context: &Context, args: GetArgs, pgdata: &Path) -> Result<bool, Failure> {
    let Ok(file) = args.file.parse::<WalFile>() else {
        // Not a name that was ever archived.
        return Err(Failure::failed(format!(
            "{} is not the name of a file that Postgres archives",
            show::path(args.file.as_bytes())
        )));
    };
    let system = wal::system_identifier(pgdata)?;
    let spool = args.local.spool(context)?;
    if let Some(spool) = &spool
        && spool.take_fetched(system, file, &args.target)?
    {
        return Ok(true);
    }
    let repository = context.open().await?;
    if !wal::fetch(&repository, system, file, &args.target).await? {
        if !wal::knows(&repository, system) {
            context.warn(&format!("the repository holds no WAL of cluster {system}"));
        }
        return Ok(false);
    }
    if let Some(spool) = &spool {
        let ahead = usize::from(args.ahead);
        let done = wal::fetch_ahead(&repository, system, file, spool, ahead).await;
        // What was asked for is there; the rest is asked for in its turn.
        if let Err(error) = done {
            let failure = Failure::because("nothing is fetched ahead", &error);
            context.warn(&failure.message);
        }
    }
    Ok(true)
}

impl From<wal::Error> for Failure {
    fn from(error: wal::Error) -> Self {
        let failure = Self::because(error.to_string(), &error);
        match error {
            wal::Error::Repository(error) => error.into(),
            wal::Error::Server(error) => error.into(),
            wal::Error::Archiving { .. } => failure
                .hint("set archive_mode = on and archive_command = 'repo pg archive-push %p'"),
            wal::Error::Differs { .. } => Self {
                exit: Exit::Conflict,
                ..failure
            }
            .hint("another server archives as the same cluster on the same timeline"),
            _ => failure,
        }
    }
}

/// The code that a failed run of the program with these arguments ends with.
pub(crate) fn exit_of(arguments: &[OsString], exit: Exit) -> Exit {
    let mut rest = arguments.iter().skip_while(|argument| *argument != "pg");
    let gets = rest.any(|argument| argument == GET);
    // A standby asks again, whatever the code.
    if !gets || Path::new(STANDBY).exists() {
        return exit;
    }
    Exit::StopRecovery
}
