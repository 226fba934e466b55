//! What was asked of a store: every request in order, and counts for request budgets.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// Write of a whole object.
    Put,
    /// Start of a multipart write.
    PutMultipart,
    /// Read of an object or a range of it.
    Get,
    /// Read of an object's size and time.
    Head,
    /// Delete of one object.
    Delete,
    /// Listing below a prefix, however many pages it has.
    List,
    /// Listing of one directory.
    ListDirectory,
    /// Copy of an object.
    Copy,
    /// Move of an object.
    Rename,
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What was asked.
    pub verb: Verb,
    /// Of which object or prefix.
    pub path: String,
}

/// The requests seen so far; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Recording {
    /// All requests, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.with(|requests| requests.clone())
    }

    /// Number of requests.
    #[must_use]
    pub fn total(&self) -> usize {
        self.with(|requests| requests.len())
    }

    /// Number of requests of one kind.
    #[must_use]
    pub fn count(&self, verb: Verb) -> usize {
        self.paths(verb).len()
    }

    /// The objects or prefixes of the requests of one kind, in order.
    #[must_use]
    pub fn paths(&self, verb: Verb) -> Vec<String> {
        self.with(|requests| {
            let of_kind = requests.iter().filter(|request| request.verb == verb);
            of_kind.map(|request| request.path.clone()).collect()
        })
    }

    /// Forgets what was seen, to measure the next operation alone.
    pub fn clear(&self) {
        self.with(Vec::clear);
    }

    /// Adds a request and answers its number, from 0.
    pub(crate) fn add(&self, verb: Verb, path: &str) -> usize {
        self.with(|requests| {
            requests.push(Request {
                verb,
                path: path.to_owned(),
            });
            requests.len() - 1
        })
    }

    fn with<T>(&self, use_them: impl FnOnce(&mut Vec<Request>) -> T) -> T {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        use_them(&mut requests)
    }
}

impl fmt::Display for Recording {
    /// One request a line, as a failed budget wants to show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for request in self.requests() {
            writeln!(f, "{:?} {}", request.verb, request.path)?;
        }
        Ok(())
    }
}
