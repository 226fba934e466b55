//! Sorts the errors of `object_store` into ours.
//!
//! `object_store` keeps its HTTP error types private and files most things under `Generic`, so
//! the status is read from the text of the chain, and a local failure from the `io::Error` in it.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use crate::error::{BoxError, Error};
use crate::limits::CAUSE_LEN_MAX;

/// What was being done, and to what.
#[derive(Debug, Clone)]
pub(crate) struct Context<'a> {
    pub(crate) operation: Operation,
    pub(crate) key: &'a str,
    pub(crate) location: &'a Arc<str>,
}

/// What a store is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Write,
    List,
    Delete,
    Lock,
}

impl Operation {
    fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Lock => "lock",
        }
    }
}

impl Context<'_> {
    /// The error of ours that says what `source` means here.
    pub(crate) fn classify(&self, source: object_store::Error) -> Error {
        use object_store::Error as Theirs;
        match source {
            Theirs::NotFound { .. } => self.missing(source),
            Theirs::AlreadyExists { .. }
            | Theirs::Precondition { .. }
            | Theirs::NotModified { .. } => match self.operation {
                Operation::Write => self.conflict(),
                // A delete or read that "conflicts" met a hold, lease or retention rule.
                Operation::Read | Operation::List | Operation::Delete | Operation::Lock => {
                    self.denied(cause(&source))
                }
            },
            Theirs::PermissionDenied { .. } | Theirs::Unauthenticated { .. } => {
                self.denied(cause(&source))
            }
            Theirs::NotSupported { .. } | Theirs::NotImplemented { .. } => {
                self.unsupported(cause(&source))
            }
            Theirs::InvalidPath { .. } => Error::Key {
                key: self.key.to_owned(),
            },
            Theirs::Generic { store, .. } => self.generic(store, source),
            other => self.io(cause(&other)),
        }
    }

    /// The error for a failed system call on a local store.
    pub(crate) fn classify_io(&self, source: io::Error) -> Error {
        let boxed: BoxError = Box::new(source);
        match boxed.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(kind) => self.by_io_kind(kind, boxed),
            None => self.io(boxed),
        }
    }

    pub(crate) fn conflict(&self) -> Error {
        Error::Conflict {
            key: self.key.to_owned(),
            location: Arc::clone(self.location),
        }
    }

    pub(crate) fn unavailable(&self, source: BoxError) -> Error {
        Error::Unavailable {
            operation: self.operation.verb(),
            key: self.key.to_owned(),
            location: Arc::clone(self.location),
            source,
        }
    }

    fn generic(&self, store: &str, source: object_store::Error) -> Error {
        if store == "LocalFileSystem" {
            return match io_error(&source) {
                Some((kind, text)) => self.by_io_kind(kind, text.into()),
                None => self.io(cause(&source)),
            };
        }
        let text = cause_text(&source);
        match status(&text) {
            Some(401 | 403) => self.denied(text.into()),
            Some(404) => self.missing(source),
            Some(408 | 429) => self.unavailable(text.into()),
            Some(409 | 412) if self.operation == Operation::Write => self.conflict(),
            Some(501) => self.unsupported(text.into()),
            Some(507) => self.full(text.into()),
            // Everything else below 500 is an answer that asking again will not change.
            Some(300..=499) => self.denied(text.into()),
            Some(_) => self.unavailable(text.into()),
            None if text.contains("redirect without LOCATION") => self.denied(text.into()),
            None if text.contains("AccessDenied") => self.denied(text.into()),
            None => self.unavailable(text.into()),
        }
    }

    fn by_io_kind(&self, kind: io::ErrorKind, source: BoxError) -> Error {
        use io::ErrorKind as Kind;
        let reading = self.operation != Operation::Write;
        match kind {
            Kind::NotFound => self.not_found(),
            // A file where a directory should be: nothing can be stored below it.
            Kind::NotADirectory if reading => self.not_found(),
            Kind::PermissionDenied => self.denied(source),
            Kind::ReadOnlyFilesystem => Error::ReadOnly {
                operation: self.operation.verb(),
                key: self.key.to_owned(),
                location: Arc::clone(self.location),
                source,
            },
            Kind::StorageFull | Kind::QuotaExceeded => self.full(source),
            Kind::Unsupported => self.unsupported(source),
            Kind::Interrupted
            | Kind::TimedOut
            | Kind::WouldBlock
            | Kind::ResourceBusy
            | Kind::StaleNetworkFileHandle => self.unavailable(source),
            _ => self.io(source),
        }
    }

    fn missing(&self, source: object_store::Error) -> Error {
        let text = cause_text(&source);
        let says_bucket = ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]
            .iter()
            .any(|sign| text.contains(sign));
        let implies_bucket = matches!(self.operation, Operation::Write | Operation::List)
            && status(&text) == Some(404);
        if says_bucket || implies_bucket {
            return Error::BucketNotFound {
                location: Arc::clone(self.location),
                source: text.into(),
            };
        }
        self.not_found()
    }

    pub(crate) fn not_found(&self) -> Error {
        Error::NotFound {
            key: self.key.to_owned(),
            location: Arc::clone(self.location),
        }
    }

    /// The error for a lock in a store that has none.
    pub(crate) fn cannot_lock(&self) -> Error {
        self.unsupported("it has no retention locks".into())
    }

    fn denied(&self, source: BoxError) -> Error {
        Error::Denied {
            operation: self.operation.verb(),
            key: self.key.to_owned(),
            location: Arc::clone(self.location),
            source,
        }
    }

    fn unsupported(&self, source: BoxError) -> Error {
        Error::Unsupported {
            operation: self.operation.verb(),
            key: self.key.to_owned(),
            location: Arc::clone(self.location),
            source,
        }
    }

    fn full(&self, source: BoxError) -> Error {
        Error::Full {
            operation: self.operation.verb(),
            key: self.key.to_owned(),
            location: Arc::clone(self.location),
            source,
        }
    }

    fn io(&self, source: BoxError) -> Error {
        Error::Io {
            operation: self.operation.verb(),
            key: self.key.to_owned(),
            location: Arc::clone(self.location),
            source,
        }
    }
}

/// The chain below an error as one line without repetition, as an error of its own.
pub(crate) fn cause(error: &(dyn StdError + 'static)) -> BoxError {
    cause_text(error).into()
}

/// `object_store` repeats each source in the message above it, over several lines of XML.
fn cause_text(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = inner.source();
    }
    let text = without_markup(&text);
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > CAUSE_LEN_MAX {
        line.truncate(line.floor_char_boundary(CAUSE_LEN_MAX));
        line.push_str(" ...");
    }
    line
}

/// Shortens an XML error body to its code and message.
fn without_markup(text: &str) -> String {
    let between = |open: &str, close: &str| {
        let (_, rest) = text.split_once(open)?;
        rest.split_once(close).map(|(inner, _)| inner.to_owned())
    };
    let start = text.find("<?xml").or_else(|| text.find("<Error>"));
    match (start, between("<Code>", "</Code>")) {
        (Some(start), Some(code)) => {
            let message = between("<Message>", "</Message>").unwrap_or_default();
            format!("{}{code}: {message}", &text[..start])
        }
        _ => text.to_owned(),
    }
}

/// The HTTP status named in the text of an error, if it came from an answer.
fn status(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// The system error at the root of a local failure.
fn io_error(error: &(dyn StdError + 'static)) -> Option<(io::ErrorKind, String)> {
    let mut next = Some(error);
    while let Some(inner) = next {
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            return Some((io.kind(), io.to_string()));
        }
        next = inner.source();
    }
    None
}

#[cfg(test)]
mod tests;
