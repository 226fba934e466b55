//! What most tests begin with: a repository, and a snapshot of a directory in it.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::path::Path;
use std::sync::Arc;

use repo_core::{Access, CreateOptions, Quiet, Repository, SnapshotOptions, SnapshotView, Store};

/// An empty repository.
pub(crate) async fn create(store: Store, access: &Access) -> Repository {
    Repository::create(store, access, &CreateOptions::default())
        .await
        .unwrap()
}

/// A snapshot of everything below `source`, all of which can be read.
pub(crate) async fn take(repository: &Repository, source: &Path) -> SnapshotView {
    let paths = [source.to_path_buf()];
    let report = repository
        .snapshot_paths(&paths, &SnapshotOptions::default(), Arc::new(Quiet))
        .await
        .unwrap();
    assert_eq!(report.findings, []);
    repository.view(&report.id.unwrap()).unwrap()
}
