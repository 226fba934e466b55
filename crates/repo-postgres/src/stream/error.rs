//! What can go wrong with a server that is talked to directly.

use std::io;

/// Shorthand for results of this module.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed conversation. Messages name what was asked; causes are in `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] repo_core::Error),
    /// The connection string cannot be read.
    #[error("the connection string cannot be read")]
    Dsn {
        /// What is wrong with it.
        source: tokio_postgres::Error,
    },
    /// The connection string asks for what is not offered.
    #[error("the connection string asks for {what}, which is not offered")]
    NotOffered {
        /// What it asks for.
        what: &'static str,
    },
    /// No host of the connection string could be reached.
    #[error("cannot connect to {place}")]
    Connect {
        /// The last place tried.
        place: String,
        /// Why not.
        source: io::Error,
    },
    /// The server wants a password, and there is none; or it wants a proof that is not offered.
    #[error("the server wants {what}")]
    Authentication {
        /// What it wants.
        what: String,
    },
    /// The connection broke, or the server sent what the protocol does not allow.
    #[error("the connection to the server broke")]
    Broken {
        /// How.
        source: io::Error,
    },
    /// The server refused.
    #[error("the server refused to {doing}: {message} ({code})")]
    Refused {
        /// What it was asked to do.
        doing: &'static str,
        /// What it says.
        message: String,
        /// SQLSTATE.
        code: String,
    },
    /// The server's answer is not one to the question.
    #[error("the server's answer about {what} cannot be understood")]
    Answer {
        /// What was asked.
        what: &'static str,
    },
    /// The server is too old.
    #[error("Postgres {version} is too old: 13 and later are supported")]
    TooOld {
        /// Its version, as in `12.4`.
        version: String,
    },
    /// What changed since the parent is not to be had, or does not fit to the parent.
    #[error("changes since the parent cannot be used: {why}")]
    Changes {
        /// Why not.
        why: String,
    },
    /// The archive that the server sends is not one of a cluster.
    #[error("the server's archive cannot be read: {why}")]
    Archive {
        /// What is wrong.
        why: String,
    },
}

impl Error {
    pub(crate) fn broken(source: io::Error) -> Self {
        Self::Broken { source }
    }

    pub(crate) fn archive(why: impl Into<String>) -> Self {
        Self::Archive { why: why.into() }
    }
}
