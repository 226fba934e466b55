//! Repositories, snapshots and mounts of tests.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use repo_core::{Access, CreateOptions, Quiet, Repository, SnapshotOptions, SnapshotView, Store};
use repo_mount::{Mount, MountOptions};
use tempfile::TempDir;

/// A repository on disk, a directory to save, and a place to mount on.
pub(crate) struct Bench {
    pub(crate) place: TempDir,
    pub(crate) repository: Repository,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        for name in ["source", "mount"] {
            fs::create_dir(place.path().join(name)).unwrap();
        }
        let location = place.path().join("repository");
        fs::create_dir(&location).unwrap();
        let store = Store::open(location.to_str().unwrap(), &[]).unwrap();
        let options = CreateOptions::default();
        let repository = Repository::create(store, &Access::Plain, &options)
            .await
            .unwrap();
        Self { place, repository }
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.place.path().join("source")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.place.path().join("mount")
    }

    /// Saves the source.
    pub(crate) async fn take(&self) -> SnapshotView {
        self.take_with(&SnapshotOptions::default()).await
    }

    pub(crate) async fn take_with(&self, options: &SnapshotOptions) -> SnapshotView {
        let source = [self.source()];
        let taken = self
            .repository
            .snapshot_paths(&source, options, Arc::new(Quiet));
        let report = taken.await.unwrap();
        assert_eq!(report.findings, []);
        self.repository.view(&report.id.unwrap()).unwrap()
    }

    /// Mounts everything.
    pub(crate) async fn mount(&self) -> Mounted {
        self.mount_with(MountOptions::default()).await
    }

    pub(crate) async fn mount_with(&self, options: MountOptions) -> Mounted {
        Mounted::new(&self.repository, &self.target(), options).await
    }
}

/// A mount that ends with the test, also one that fails.
pub(crate) struct Mounted {
    mount: Option<Mount>,
}

impl Mounted {
    pub(crate) async fn new(repository: &Repository, at: &Path, options: MountOptions) -> Self {
        let mount = Mount::start(repository, at, options).await;
        // Without FUSE nothing here is tested, and that must not look like success.
        let mount = mount.expect("a mount; these tests need /dev/fuse, and root or fusermount3");
        Self { mount: Some(mount) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.mount.as_ref().unwrap().target()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.mount.as_ref().unwrap().is_ended()
    }

    pub(crate) fn end(mut self) -> repo_mount::Ended {
        self.mount.take().unwrap().end().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mount) = self.mount.take() {
            drop(mount.end());
        }
    }
}

/// Runs work that waits for the mount off the threads that serve async tasks.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Runs a program and returns what it printed.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success(), "{command:?}: {out}{err}");
    out
}
