//! What all threads of one pass over the tree share: mode, counters, findings, failure.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use repo_format::{BlobId, BlobKind};
use rustix::io::Errno;

use crate::archive::restore::dir::Dir;
use crate::archive::restore::limits::{FINDINGS, HANDLES, HANDLES_SPARED};
use crate::archive::restore::{Adapt, PlanAction, PlanLine, RestoreReport};
use crate::archive::tree::Trees;
use crate::error::{Error, Result};
use crate::progress::{Finding, Progress, Severity};
use crate::repository::{Blob, DecodedSegment, IndexSet, ReadBuffers, SegmentAddress};

/// What a pass does with the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Makes it what the snapshot says.
    Write,
    /// Compares only, and lists what would be done.
    Plan,
    /// Compares only; a difference is damage.
    Verify,
}

/// Who runs the restore, and so what it may do.
pub(super) struct Identity {
    pub(super) privileged: bool,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
}

impl Identity {
    pub(super) fn current() -> Self {
        let groups = rustix::process::getgroups().unwrap_or_default();
        let uid = rustix::process::geteuid();
        Self {
            privileged: uid.is_root(),
            uid: uid.as_raw(),
            gid: rustix::process::getegid().as_raw(),
            groups: groups.into_iter().map(|group| group.as_raw()).collect(),
        }
    }
}

/// Buffers one thread uses for one unit of work.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) sealed: Vec<u8>,
    pub(super) read: ReadBuffers,
    pub(super) segment: DecodedSegment,
    pub(super) compare: Vec<u8>,
}

/// One pass over what is restored.
pub(super) struct Job {
    pub(super) mode: Mode,
    pub(super) delete: bool,
    pub(super) trees: Trees,
    /// Path in the snapshot of what lies in the target, to show.
    pub(super) prefix: Vec<u8>,
    pub(super) target: PathBuf,
    pub(super) identity: Identity,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) adapt: Option<Adapt>,
    handles: AtomicUsize,
    handles_max: usize,
    scratch: Mutex<Vec<Scratch>>,
    findings: Mutex<Vec<Finding>>,
    findings_left_out: AtomicU64,
    plan: Mutex<Vec<PlanLine>>,
    failure: Mutex<Option<Error>>,
    stopped: AtomicBool,
    owner_noted: AtomicBool,
    reloaded: OnceLock<Option<Arc<IndexSet>>>,
    files: AtomicU64,
    directories: AtomicU64,
    bytes_written: AtomicU64,
    bytes_kept: AtomicU64,
    deleted: AtomicU64,
}

/// Half of the descriptors this process may open beyond those spared, up to a limit.
fn handles_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let spare = limit.map_or(HANDLES, |limit| limit.saturating_sub(HANDLES_SPARED) / 2);
    usize::try_from(spare.clamp(16, HANDLES)).unwrap_or(16)
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    pub(super) fn new(
        mode: Mode,
        delete: bool,
        trees: Trees,
        (prefix, target): (Vec<u8>, PathBuf),
        progress: Arc<dyn Progress>,
    ) -> Self {
        Self {
            mode,
            delete,
            trees,
            prefix,
            target,
            identity: Identity::current(),
            progress,
            adapt: None,
            handles: AtomicUsize::new(0),
            handles_max: handles_max(),
            scratch: Mutex::default(),
            findings: Mutex::default(),
            findings_left_out: AtomicU64::new(0),
            plan: Mutex::default(),
            failure: Mutex::default(),
            stopped: AtomicBool::new(false),
            owner_noted: AtomicBool::new(false),
            reloaded: OnceLock::new(),
            files: AtomicU64::new(0),
            directories: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            bytes_kept: AtomicU64::new(0),
            deleted: AtomicU64::new(0),
        }
    }

    pub(super) fn writes(&self) -> bool {
        self.mode == Mode::Write
    }

    /// Runs `work` with buffers that are handed back afterwards.
    pub(super) fn with_scratch<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = locked(&self.scratch).pop().unwrap_or_default();
        let done = work(&mut scratch);
        locked(&self.scratch).push(scratch);
        done
    }

    /// Whether many descriptors are kept open between uses, so that some should be closed.
    pub(super) fn crowded(&self) -> bool {
        self.handles.load(Ordering::Relaxed) >= self.handles_max / 2
    }

    /// Counts a descriptor that is kept open between uses.
    pub(super) fn handle_kept(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn handle_closed(&self) {
        self.handles.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether one more descriptor may be kept open.
    pub(super) fn may_keep(&self) -> bool {
        self.handles.load(Ordering::Relaxed) < self.handles_max
    }

    /// The first failure ends the pass; later ones are its echo.
    pub(super) fn fail(&self, error: Error) {
        locked(&self.failure).get_or_insert(error);
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether a failure or the caller has ended the pass.
    pub(super) fn stopped(&self) -> bool {
        if self.stopped.load(Ordering::Acquire) {
            return true;
        }
        if self.progress.cancelled() {
            self.fail(Error::Cancelled);
            return true;
        }
        false
    }

    /// Whether a failure was recorded, without asking the caller.
    pub(super) fn failed(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(super) fn found(&self, finding: Finding) {
        self.progress.finding(&finding);
        let mut findings = locked(&self.findings);
        if findings.len() < FINDINGS {
            findings.push(finding);
        } else {
            self.findings_left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Something could not be done to `name` in `dir`. What concerns the whole target ends the
    /// restore, anything else is a finding.
    pub(super) fn trouble(&self, dir: &Dir, name: &[u8], operation: &'static str, error: Errno) {
        let whole = matches!(
            error,
            Errno::NOSPC
                | Errno::DQUOT
                | Errno::ROFS
                | Errno::IO
                | Errno::MFILE
                | Errno::NFILE
                | Errno::NOMEM
        );
        let refused = error == Errno::ACCESS && dir.is_root();
        if whole || (refused && operation == "create") {
            let path = self
                .target
                .join(std::ffi::OsStr::from_bytes(&dir.path_of(name)));
            self.fail(Error::io(operation, path, error));
        } else {
            self.warn(dir, name, format!("cannot {operation}: {error}"));
        }
    }

    pub(super) fn warn(&self, dir: &Dir, name: &[u8], message: impl Into<String>) {
        self.found(Finding::warning(&self.shown(dir, name), message));
    }

    pub(super) fn damage(&self, dir: &Dir, name: &[u8], message: impl Into<String>) {
        self.found(Finding::damage(Some(&self.shown(dir, name)), message));
    }

    pub(super) fn note(&self, dir: &Dir, name: &[u8], message: impl Into<String>) {
        self.found(Finding::note(&self.shown(dir, name), message));
    }

    /// Owners are the same story for every file: told once.
    pub(super) fn note_owner(&self) {
        if !self.owner_noted.swap(true, Ordering::Relaxed) {
            self.found(Finding {
                severity: Severity::Note,
                path: None,
                message: "owners are not restored: that takes the right to change them".to_owned(),
            });
        }
    }

    /// The path in the snapshot.
    fn shown(&self, dir: &Dir, name: &[u8]) -> Vec<u8> {
        let mut path = self.prefix.clone();
        let below = dir.path_of(name);
        if !path.is_empty() && !below.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&below);
        path
    }

    pub(super) fn plan(&self, action: PlanAction, dir: &Dir, name: &[u8]) {
        if self.mode == Mode::Plan {
            let path = dir.path_of(name);
            locked(&self.plan).push(PlanLine { action, path });
        }
    }

    pub(super) fn count_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.progress.advance(0, 1);
    }

    pub(super) fn count_directory(&self) {
        self.directories.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_written(&self, bytes: u64) {
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        self.progress.advance(bytes, 0);
    }

    pub(super) fn count_kept(&self, bytes: u64) {
        self.bytes_kept.fetch_add(bytes, Ordering::Relaxed);
        self.progress.advance(bytes, 0);
    }

    pub(super) fn count_deleted(&self) {
        self.deleted.fetch_add(1, Ordering::Relaxed);
    }

    /// A chunk that is not where the index of this pass says: repacking may have moved it since,
    /// so the log is read once more before damage is reported.
    pub(super) fn look_again(&self, id: &BlobId, known: Option<&SegmentAddress>) -> Option<Blob> {
        let repository = self.trees.repository();
        let index = self
            .reloaded
            .get_or_init(|| {
                let storage = &repository.inner.storage;
                storage.wait(repository.refresh()).ok()?;
                repository.index().ok()
            })
            .as_ref()?;
        let at = index.find(&id.key()).ok().flatten()?;
        if known == Some(&at.segment) {
            return None;
        }
        let segments = &repository.inner.segments;
        segments.blob(index, BlobKind::Data, id).ok()
    }

    /// The report, or the failure.
    pub(super) fn finish(self) -> Result<RestoreReport> {
        let take = |value: AtomicU64| value.into_inner();
        if let Some(error) = locked(&self.failure).take() {
            return Err(error);
        }
        let mut findings = std::mem::take(&mut *locked(&self.findings));
        findings.sort_by(|a, b| a.path.cmp(&b.path));
        let left_out = take(self.findings_left_out);
        if left_out > 0 {
            let severity = findings.iter().map(|finding| finding.severity).max();
            findings.push(Finding {
                severity: severity.unwrap_or(Severity::Warning),
                path: None,
                message: format!("{left_out} more findings are left out of this report"),
            });
        }
        let mut plan = std::mem::take(&mut *locked(&self.plan));
        plan.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(RestoreReport {
            files: take(self.files),
            directories: take(self.directories),
            bytes_written: take(self.bytes_written),
            bytes_kept: take(self.bytes_kept),
            deleted: take(self.deleted),
            plan,
            findings,
        })
    }
}

/// An error and its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A shared open directory.
pub(super) type Handle = Arc<OwnedFd>;
