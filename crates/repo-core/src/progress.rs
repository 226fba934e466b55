//! What long work tells its caller while it runs, and what it found.

use std::fmt;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing: for example a socket that was skipped.
    Note,
    /// Something was not done as asked: for example a file that could not be read.
    Warning,
    /// The repository is damaged.
    Damage,
}

/// One observation made while working. Work goes on after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The path concerned, as bytes.
    pub path: Option<Vec<u8>>,
    /// One line, without the path.
    pub message: String,
}

impl Finding {
    pub(crate) fn note(path: &[u8], message: impl Into<String>) -> Self {
        Self::new(Severity::Note, Some(path), message)
    }

    pub(crate) fn warning(path: &[u8], message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, Some(path), message)
    }

    pub(crate) fn damage(path: Option<&[u8]>, message: impl Into<String>) -> Self {
        Self::new(Severity::Damage, path, message)
    }

    fn new(severity: Severity, path: Option<&[u8]>, message: impl Into<String>) -> Self {
        Self {
            severity,
            path: path.map(<[u8]>::to_vec),
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "{}: {}", path.escape_ascii(), self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// Receives progress. Called from several threads, often: implementations should be cheap.
pub trait Progress: Send + Sync {
    /// A phase begins, with its totals where they are known.
    fn start(&self, phase: &str, bytes: Option<u64>, items: Option<u64>);
    /// Work was done.
    fn advance(&self, bytes: u64, items: u64);
    /// Something was found.
    fn finding(&self, finding: &Finding);
    /// Whether the caller wants the work to stop. Asked between units of work.
    fn cancelled(&self) -> bool;
    /// The phase is over.
    fn finish(&self);
}

/// Ignores progress and never cancels.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn start(&self, _: &str, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, _: u64, _: u64) {}
    fn finding(&self, _: &Finding) {}
    fn cancelled(&self) -> bool {
        false
    }
    fn finish(&self) {}
}
