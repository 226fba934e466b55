//! Taking snapshots: what is saved, what is read again, and what it costs in bytes.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod build;
mod change;
mod content;
mod kinds;
mod roots;
mod run;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use repo_core::{
    Access, CreateOptions, Entry, EntryType, Finding, Progress, Quiet, Repository, SnapshotOptions,
    SnapshotReport, SnapshotView, Store,
};

/// Entries by path; names that are not ASCII are escaped.
type Listing = BTreeMap<String, Entry>;

async fn create() -> (Repository, Store) {
    let store = Store::open("memory://", &[]).unwrap();
    let options = CreateOptions::default();
    let repository = Repository::create(store.clone(), &Access::Plain, &options)
        .await
        .unwrap();
    (repository, store)
}

fn options() -> SnapshotOptions {
    SnapshotOptions {
        host: "test".to_owned(),
        ..SnapshotOptions::default()
    }
}

async fn report(repository: &Repository, path: &Path, options: &SnapshotOptions) -> SnapshotReport {
    repository
        .snapshot_paths(&[path.to_path_buf()], options, Arc::new(Quiet))
        .await
        .unwrap()
}

async fn take(repository: &Repository, path: &Path) -> SnapshotView {
    let report = report(repository, path, &options()).await;
    assert_eq!(report.findings, []);
    repository.view(&report.id.unwrap()).unwrap()
}

async fn entries(view: &SnapshotView) -> Vec<(Vec<u8>, Entry)> {
    let found = Arc::new(Mutex::new(Vec::new()));
    let visit = Arc::clone(&found);
    let each = move |path: &[u8], entry: &Entry| {
        visit.lock().unwrap().push((path.to_vec(), entry.clone()));
        ControlFlow::Continue(())
    };
    view.walk(b"", true, Box::new(each)).await.unwrap();
    std::mem::take(&mut *found.lock().unwrap())
}

async fn listing(view: &SnapshotView) -> Listing {
    let entries = entries(view).await.into_iter();
    let shown = entries.map(|(path, entry)| (path.escape_ascii().to_string(), entry));
    shown.collect()
}

async fn names(view: &SnapshotView) -> Vec<String> {
    listing(view).await.into_keys().collect()
}

async fn read(view: &SnapshotView, path: &str) -> Vec<u8> {
    let entry = view.entry(path.as_bytes()).await.unwrap();
    view.read(&entry, 0..u64::MAX).await.unwrap()
}

/// Every file of the snapshot holds what lies below `root` now, and none is missing.
async fn assert_same(view: &SnapshotView, root: &Path) {
    let mut files = 0;
    for (path, entry) in entries(view).await {
        if entry.kind == EntryType::File {
            let there = fs::read(root.join(OsStr::from_bytes(&path))).unwrap();
            let held = view.read(&entry, 0..u64::MAX).await.unwrap();
            assert!(held == there, "{} differs", path.escape_ascii());
            files += 1;
        }
    }
    assert_eq!(files, view.snapshot().stats.files);
}

/// All bytes in the store.
async fn stored(store: &Store) -> u64 {
    let keys: Vec<_> = store.list("", None).await.try_collect().await.unwrap();
    keys.iter().map(|info| info.size).sum()
}

/// Waits until files count as settled: one that was changed a moment ago is read again next time.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(120)).await;
}

/// Calls back once, when the first file was read in whole or in part, and can cancel.
struct Hook {
    first: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    cancel: AtomicBool,
    findings: Mutex<Vec<Finding>>,
}

impl Hook {
    fn new(first: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            first: Mutex::new(Some(Box::new(first))),
            cancel: AtomicBool::new(false),
            findings: Mutex::default(),
        })
    }
}

impl Progress for Hook {
    fn start(&self, _: &str, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, _: u64, _: u64) {
        if let Some(first) = self.first.lock().unwrap().take() {
            first();
        }
    }
    fn finding(&self, finding: &Finding) {
        self.findings.lock().unwrap().push(finding.clone());
    }
    fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::SeqCst)
    }
    fn finish(&self) {}
}
