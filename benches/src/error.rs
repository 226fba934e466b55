//! What can go wrong in the harness itself, each told as one line.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

/// A failure of the harness or of a command that it ran.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    #[error("cannot {verb} {}", path.display())]
    Io {
        verb: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{command} ended with {status}: {last}")]
    Command {
        command: String,
        status: ExitStatus,
        last: String,
    },
    #[error("{} is not a data set: no directory {state}", path.display())]
    NoState { path: PathBuf, state: &'static str },
    #[error("{} does not hold results of this harness", path.display())]
    NotResults {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{} is in use by another run", path.display())]
    Occupied { path: PathBuf },
    #[error("cannot {verb} {what}")]
    Format {
        verb: &'static str,
        what: &'static str,
        source: repo_format::Error,
    },
    #[error("{} differs from {}: {line}", restored.display(), tree.display())]
    Restored {
        tree: PathBuf,
        restored: PathBuf,
        line: String,
    },
    #[error("the writer of the table {writer} ended: see {}", log.display())]
    Writer { writer: String, log: PathBuf },
    #[error("there is no user {user} to run the server")]
    NoUser { user: String },
    #[error("the {set} set needs --peers, whose Python has the packages that make it")]
    NoPython { set: &'static str },
}

/// Result of the harness.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// Names the verb and the path of a failed file operation: `File::open(p).map_err(io("open", p))`.
pub(crate) fn io(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io { verb, path, source }
}

/// Names the verb and the thing of a failed encoding or decoding.
pub(crate) fn format(
    verb: &'static str,
    what: &'static str,
) -> impl FnOnce(repo_format::Error) -> Error {
    move |source| Error::Format { verb, what, source }
}

/// The error and what caused it, on one line.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
