//! Restore: what comes out is what went in, whatever stood in the target before.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod damage;
mod describe;
mod hostile;
mod in_place;
mod whole;

use std::path::Path;
use std::sync::Arc;

use repo_core::{
    Access, CreateOptions, Quiet, Repository, RestoreOptions, RestoreReport, SnapshotOptions,
    SnapshotView, Store,
};

use describe::describe;

const PLAIN: RestoreOptions = RestoreOptions {
    delete: false,
    dry_run: false,
    verify: false,
    adapt: None,
};
const DELETE: RestoreOptions = RestoreOptions {
    delete: true,
    ..PLAIN
};
const DRY: RestoreOptions = RestoreOptions {
    delete: true,
    dry_run: true,
    ..PLAIN
};
const VERIFY: RestoreOptions = RestoreOptions {
    verify: true,
    ..PLAIN
};

/// A repository of small packs and segments, so that little data fills several.
async fn repository() -> (Repository, Store) {
    let store = Store::open("memory://", &[]).unwrap();
    let options = CreateOptions {
        segment_size: Some(64 << 10),
        pack_size: Some(300_000),
        ..CreateOptions::default()
    };
    let access = Access::Plain;
    let repository = Repository::create(store.clone(), &access, &options)
        .await
        .unwrap();
    (repository, store)
}

async fn take(repository: &Repository, source: &Path) -> SnapshotView {
    let options = SnapshotOptions::default();
    let report = repository
        .snapshot_paths(&[source.to_path_buf()], &options, Arc::new(Quiet))
        .await
        .unwrap();
    repository.view(&report.id.unwrap()).unwrap()
}

async fn restore(
    repository: &Repository,
    view: &SnapshotView,
    target: &Path,
    options: &RestoreOptions,
) -> RestoreReport {
    repository
        .restore(view, b"", target, options, Arc::new(Quiet))
        .await
        .unwrap()
}

/// Expects two trees to be alike, and shows only what is not.
#[track_caller]
fn same(source: &Path, target: &Path) {
    let (wanted, found) = (describe(source), describe(target));
    let paths: std::collections::BTreeSet<_> = wanted.keys().chain(found.keys()).collect();
    let differing: Vec<_> = paths
        .into_iter()
        .filter(|path| wanted.get(*path) != found.get(*path))
        .map(|path| {
            (
                path.escape_ascii().to_string(),
                wanted.get(path),
                found.get(path),
            )
        })
        .take(5)
        .collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

/// Restores into `target` and expects to find what `source` holds, without a finding.
async fn check(
    repository: &Repository,
    view: &SnapshotView,
    (source, target): (&Path, &Path),
    options: &RestoreOptions,
) -> RestoreReport {
    let report = restore(repository, view, target, options).await;
    assert_eq!(report.findings, []);
    same(source, target);
    report
}
