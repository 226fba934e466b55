//! What can go wrong between a cluster and a repository.

use std::path::PathBuf;

use tokio_postgres::error::SqlState;

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation. Messages name the object; causes are in `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository failed.
    #[error(transparent)]
    Core(#[from] repo_core::Error),
    /// A connection string cannot be read.
    #[error("the connection string cannot be read")]
    Dsn {
        /// What is wrong with it.
        source: tokio_postgres::Error,
    },
    /// No session with the server.
    #[error("cannot connect to the Postgres server")]
    Connect {
        /// Why not.
        source: tokio_postgres::Error,
    },
    /// The server did not do what it was asked.
    #[error("the Postgres server cannot {doing}")]
    Server {
        /// What it was asked to do.
        doing: &'static str,
        /// What it said.
        source: tokio_postgres::Error,
    },
    /// The user of the session may not do it.
    #[error("the Postgres user may not {doing}")]
    Permission {
        /// What was asked.
        doing: &'static str,
        /// What the server said.
        source: tokio_postgres::Error,
    },
    /// The session is gone, and with it the backup that the server was in.
    #[error("the session with the Postgres server was lost, so there is no backup")]
    SessionLost,
    /// The server answered with something that this program does not understand.
    #[error("the Postgres server's {what} cannot be read: {value}")]
    Answer {
        /// What was asked for.
        what: &'static str,
        /// What came.
        value: String,
    },
    /// The server is too old.
    #[error("Postgres {version} is too old: 13 and later are supported")]
    TooOld {
        /// Its version, as in `12.4`.
        version: String,
    },
    /// The server is not the one that runs on this data directory.
    #[error("the server does not run on {}: {why}", pgdata.display())]
    OtherCluster {
        /// The data directory.
        pgdata: PathBuf,
        /// What differs.
        why: String,
    },
    /// The standby became a primary while it was backed up.
    #[error("the standby was promoted during the backup, so there is no backup")]
    Promoted,
    /// WAL that the backup needs has been removed by the server.
    #[error("WAL segment {segment} is not in pg_wal any more")]
    WalGone {
        /// Name of the segment.
        segment: String,
    },
    /// There is no data directory.
    #[error("{} is not the data directory of a running cluster", pgdata.display())]
    NotRunning {
        /// The place.
        pgdata: PathBuf,
        /// Why it is not.
        source: std::io::Error,
    },
    /// A server runs on the directory that is to be written.
    #[error("a server runs on {} as process {pid}", pgdata.display())]
    Running {
        /// The data directory.
        pgdata: PathBuf,
        /// The server.
        pid: u32,
    },
    /// A directory that is to be made equal to a snapshot holds something else.
    #[error("{} is neither empty nor a cluster", path.display())]
    Occupied {
        /// The directory.
        path: PathBuf,
    },
    /// A file or directory failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// `pg_control` has no right checksum, however often it is read.
    #[error("{} has a wrong checksum", path.display())]
    Control {
        /// The file.
        path: PathBuf,
    },
    /// The snapshot was not taken by this adapter.
    #[error("snapshot {id} is not one of a Postgres cluster")]
    NotPostgres {
        /// The snapshot.
        id: String,
    },
    /// A file that describes the cluster cannot be understood.
    #[error("{path} of the snapshot cannot be read: {why}")]
    Description {
        /// Its path in the snapshot.
        path: &'static str,
        /// What is wrong.
        why: String,
    },
    /// There is no such database in the snapshot.
    #[error("the snapshot has no database {name}")]
    NoDatabase {
        /// The name asked for.
        name: String,
    },
    /// A tablespace mapping names a place where the cluster has no tablespace.
    #[error("no tablespace of the snapshot lies at {}", old.display())]
    NoTablespace {
        /// The place asked for.
        old: PathBuf,
    },
    /// The programs that could start the cluster are not installed.
    #[error("the programs of Postgres {major} are not installed here")]
    NoPrograms {
        /// The major version.
        major: u32,
    },
    /// A server does not run as the superuser.
    #[error("the data directory of the snapshot belongs to root, as whom Postgres does not run")]
    OwnedByRoot,
    /// No server can listen there.
    #[error("no server can listen on port {port}")]
    Port {
        /// The port asked for, 0 for any.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// A server that was started has ended.
    #[error("the server ended with {status}: {last}")]
    ServerEnded {
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last line of its log that says why.
        last: String,
    },
    /// Two things cannot be restored to one place.
    #[error("{} cannot hold two things of the cluster", path.display())]
    PlaceTaken {
        /// The place.
        path: PathBuf,
    },
}

impl Error {
    /// An error of the server, by what was asked.
    pub(crate) fn server(doing: &'static str, source: tokio_postgres::Error) -> Self {
        match source.code() {
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
                Self::Permission { doing, source }
            }
            // A session that ends tells so with a class of its own, or not at all.
            Some(code) if code.code().starts_with("57P") => Self::SessionLost,
            None if source.is_closed() || io_of(&source) => Self::SessionLost,
            _ => Self::Server { doing, source },
        }
    }

    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<std::io::Error>,
    ) -> Self {
        Self::Io {
            operation,
            path: path.into(),
            source: source.into(),
        }
    }

    pub(crate) fn answer(what: &'static str, value: impl Into<String>) -> Self {
        Self::Answer {
            what,
            value: value.into(),
        }
    }
}

/// Whether the connection itself failed.
fn io_of(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}
