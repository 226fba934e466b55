//! What all threads of one snapshot share: session, parent, options, findings, failure.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::archive::meta::Names;
use crate::archive::options::SnapshotOptions;
use crate::archive::tree::Trees;
use crate::error::{Error, Result};
use crate::progress::{Finding, Progress, Severity};
use crate::repository::{Repository, Session};

/// One running snapshot.
pub(crate) struct Run<'a> {
    pub(crate) repository: &'a Repository,
    pub(crate) session: &'a Session,
    pub(crate) trees: &'a Trees,
    pub(crate) options: &'a SnapshotOptions,
    pub(crate) names: Names,
    progress: Arc<dyn Progress>,
    findings: Mutex<Vec<Finding>>,
    failure: Mutex<Option<Error>>,
    stopped: AtomicBool,
    pub(crate) files_changed: AtomicU64,
    pub(crate) bytes_new: AtomicU64,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        repository: &'a Repository,
        session: &'a Session,
        trees: &'a Trees,
        options: &'a SnapshotOptions,
        progress: Arc<dyn Progress>,
    ) -> Self {
        Self {
            repository,
            session,
            trees,
            options,
            names: Names::load(),
            progress,
            findings: Mutex::default(),
            failure: Mutex::default(),
            stopped: AtomicBool::new(false),
            files_changed: AtomicU64::new(0),
            bytes_new: AtomicU64::new(0),
        }
    }

    pub(crate) fn note(&self, path: &[u8], message: impl Into<String>) {
        self.found(Finding::note(path, message));
    }

    /// Something was not read as asked; the snapshot goes on without it.
    pub(crate) fn unread(&self, path: &[u8], message: impl Into<String>) {
        self.found(Finding::warning(path, message));
    }

    fn found(&self, finding: Finding) {
        self.progress.finding(&finding);
        self.findings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(finding);
    }

    /// The first failure ends the snapshot; later ones are its echo.
    pub(crate) fn fail(&self, error: Error) {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether work should end. Also asks the caller.
    pub(crate) fn stopped(&self) -> bool {
        if self.stopped.load(Ordering::Acquire) {
            return true;
        }
        if self.progress.cancelled() {
            self.fail(Error::Cancelled);
            return true;
        }
        false
    }

    pub(crate) fn advance(&self, bytes: u64, items: u64) {
        self.progress.advance(bytes, items);
    }

    /// Ends the run: its findings in path order, or its failure.
    pub(crate) fn finish(self) -> Result<Findings> {
        if let Some(error) = self
            .failure
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            return Err(error);
        }
        let mut findings = self
            .findings
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        findings.sort_by(|a, b| a.path.cmp(&b.path));
        let unread = findings
            .iter()
            .filter(|finding| finding.severity != Severity::Note)
            .count() as u64;
        Ok(Findings {
            findings,
            unread,
            files_changed: self.files_changed.into_inner(),
            bytes_new: self.bytes_new.into_inner(),
        })
    }
}

/// What a run found and counted.
pub(crate) struct Findings {
    pub(crate) findings: Vec<Finding>,
    pub(crate) unread: u64,
    pub(crate) files_changed: u64,
    pub(crate) bytes_new: u64,
}
