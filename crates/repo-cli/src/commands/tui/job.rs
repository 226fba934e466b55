//! A restore that runs while the screens go on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use repo_core::{Finding, Progress, RestoreOptions, SnapshotView};
use tokio::task::JoinHandle;

use super::load::Loader;
use crate::show;

/// Restores selected paths, one after another.
pub(super) struct Job {
    task: JoinHandle<Result<Done, String>>,
    watch: Arc<Watch>,
}

/// What a restore did.
struct Done {
    files: u64,
    bytes: u64,
    problems: u64,
}

#[derive(Default)]
struct Watch {
    bytes: AtomicU64,
    cancelled: AtomicBool,
}

impl Progress for Watch {
    fn start(&self, _: &str, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, bytes: u64, _: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    fn finding(&self, _: &Finding) {}
    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
    fn finish(&self) {}
}

/// A path to restore: where it goes, and whether it is a directory.
pub(super) struct Part {
    pub(super) path: Vec<u8>,
    pub(super) target: PathBuf,
}

impl Job {
    pub(super) fn start(loader: &Loader, view: SnapshotView, parts: Vec<Part>) -> Self {
        let watch = Arc::new(Watch::default());
        let (repository, progress) = (loader.repository().clone(), Arc::clone(&watch));
        let task = loader.handle.spawn(async move {
            let options = RestoreOptions::default();
            let mut done = Done {
                files: 0,
                bytes: 0,
                problems: 0,
            };
            for part in parts {
                let progress: Arc<dyn Progress> = Arc::<Watch>::clone(&progress);
                let restored =
                    repository.restore(&view, &part.path, &part.target, &options, progress);
                let report = restored
                    .await
                    .map_err(|error| crate::exit::Failure::from(error).message)?;
                done.files += report.files;
                done.bytes += report.bytes_written;
                done.problems += report.findings.len() as u64;
            }
            Ok(done)
        });
        Self { task, watch }
    }

    /// Asks it to stop.
    pub(super) fn cancel(&self) {
        self.watch.cancelled.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_finished(&self) -> bool {
        self.task.is_finished()
    }

    /// How far it is.
    pub(super) fn state(&self) -> String {
        let bytes = show::bytes(self.watch.bytes.load(Ordering::Relaxed));
        format!("restoring: {bytes} so far; Esc stops")
    }

    /// What it did in the end.
    pub(super) fn outcome(self, loader: &Loader) -> String {
        match loader.handle.block_on(self.task) {
            Ok(Ok(done)) => {
                let files = show::count(done.files, "file");
                let mut text = format!("restored {files}, {} written", show::bytes(done.bytes));
                if done.problems > 0 {
                    let problems = show::count(done.problems, "problem");
                    text.push_str(&format!("; {problems}, see `repo restore`"));
                }
                text
            }
            Ok(Err(message)) => format!("not restored: {message}"),
            Err(error) => format!("not restored: {error}"),
        }
    }
}
