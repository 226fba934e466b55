//! Restore: makes a directory what a snapshot says, reading what is there first and writing only
//! what differs.
//!
//! One pass over the tree in name order. The planner makes directories and hands files out in
//! windows of bounded size; the pool compares what exists, fetches missing chunks in pack order
//! and writes them, while the next window is planned. Every access is relative to an open
//! directory and follows no link, so nothing outside of the target is ever touched.

mod dir;
mod existing;
mod fetch;
mod file;
mod job;
mod limits;
mod meta;
mod plan;
mod remove;
mod special;
mod window;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repo_format::tree::{Entry, EntryType, Totals};
use rustix::fs::{Mode as Permissions, OFlags};
use rustix::io::Errno;

use crate::archive::tree::Trees;
use crate::archive::view::SnapshotView;
use crate::error::{Error, Result};
use crate::progress::{Finding, Progress};
use crate::repository::Repository;
use dir::{Dir, Origin};
use job::{Job, Mode};
use meta::Attributes;
use plan::Planner;
use window::Gate;

/// Changes an entry on its way into the target, by its path relative to the target. What it says no
/// to is passed over with all below it: neither written nor deleted. It may not change names and
/// kinds.
pub type Adapt = Arc<dyn Fn(&[u8], &mut Entry) -> bool + Send + Sync>;

/// Choices of one restore.
#[derive(Clone, Default)]
pub struct RestoreOptions {
    /// Remove what lies below the target and not in the snapshot.
    pub delete: bool,
    /// Change nothing; list what would be done in the report's plan.
    pub dry_run: bool,
    /// Read every restored file again and compare it with the snapshot.
    pub verify: bool,
    /// What is not to be restored as it is, for adapters.
    pub adapt: Option<Adapt>,
}

/// What would be done to a path of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlanAction {
    /// It is not there.
    Create,
    /// It differs in content, kind or metadata.
    Update,
    /// It is not in the snapshot.
    Delete,
}

impl PlanAction {
    fn of(found: bool) -> Self {
        if found { Self::Update } else { Self::Create }
    }
}

/// One line of a dry run. What would be kept is not listed, and of what would be deleted the top
/// only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLine {
    /// What would be done.
    pub action: PlanAction,
    /// The path relative to the target, as bytes; empty for the target itself.
    pub path: Vec<u8>,
}

/// What came of a restore.
#[derive(Debug, Clone, Default)]
pub struct RestoreReport {
    /// Entries that are not directories and are now what the snapshot says.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Content written, in bytes.
    pub bytes_written: u64,
    /// Content found right, in bytes.
    pub bytes_kept: u64,
    /// Entries removed, directories among them.
    pub deleted: u64,
    /// Sorted by path; empty unless it was a dry run. Its memory grows with what differs.
    pub plan: Vec<PlanLine>,
    /// What could not be restored as it was. Paths are those in the snapshot. At most 10,000; the
    /// last one says when there were more.
    pub findings: Vec<Finding>,
}

impl Repository {
    /// Restores `path` of a snapshot below the directory `target`, which is made when missing.
    ///
    /// The content of a directory comes straight into `target`, which gets the directory's own
    /// metadata too; `path` empty is the root. Anything else is restored into `target` under its
    /// own name. What is right already is kept, so a restore that was interrupted carries on.
    /// Damaged chunks and files that cannot be written are findings; a full or read-only target is
    /// an error.
    ///
    /// Requests: ranges of packs of up to 4 MiB, each segment once in every 64 MiB of content.
    pub async fn restore(
        &self,
        view: &SnapshotView,
        path: &[u8],
        target: &Path,
        options: &RestoreOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<RestoreReport> {
        let request = Request {
            view: view.clone(),
            path: path.to_vec(),
            target: target.to_owned(),
            options: options.clone(),
            progress,
        };
        self.blocking(move |repository| request.run(repository))
            .await
    }
}

struct Request {
    view: SnapshotView,
    path: Vec<u8>,
    target: PathBuf,
    options: RestoreOptions,
    progress: Arc<dyn Progress>,
}

impl Request {
    fn run(&self, repository: &Repository) -> Result<RestoreReport> {
        let trees = Trees::open(repository)?;
        let entry = self.view.resolve(&trees, &self.path)?;
        let mode = if self.options.dry_run {
            Mode::Plan
        } else {
            Mode::Write
        };
        let mut report = self.pass(mode, &trees, entry.clone())?;
        if self.options.verify && mode == Mode::Write {
            if let Some(target) = self.open_target()? {
                rustix::fs::syncfs(&target)
                    .map_err(|error| Error::io("write back", &self.target, error))?;
            }
            let verified = self.pass(Mode::Verify, &trees, entry)?;
            report.findings.extend(verified.findings);
        }
        Ok(report)
    }

    fn pass(&self, mode: Mode, trees: &Trees, mut entry: Entry) -> Result<RestoreReport> {
        let directory = entry.kind == EntryType::Directory;
        if mode == Mode::Write {
            std::fs::create_dir_all(&self.target)
                .map_err(|error| Error::io("create", &self.target, error))?;
        }
        let fd = self.open_target()?;
        let totals = match entry.totals {
            _ if !directory => Some(Totals {
                files: 1,
                bytes: entry.size,
            }),
            None if entry.subtree.is_none() => Some(Totals::default()),
            totals => totals,
        };
        let phase = if mode == Mode::Verify {
            "verify"
        } else {
            "restore"
        };
        let (bytes, files) = (totals.map(|t| t.bytes), totals.map(|t| t.files));
        self.progress.start(phase, bytes, files);
        let prefix = self.prefix(directory);
        let mut job = Job::new(
            mode,
            self.options.delete && directory && mode != Mode::Verify,
            trees.clone(),
            (prefix, self.target.clone()),
            Arc::clone(&self.progress),
        );
        job.adapt.clone_from(&self.options.adapt);
        let job = Arc::new(job);
        // A root that stands for several paths is no directory anybody had.
        let own = (directory && entry.inode.is_some()).then(|| Attributes::take(&mut entry));
        if own.is_some() {
            job.count_directory();
        }
        let root = Arc::new(Dir::root(&job, fd, own));
        if root.origin == Origin::Absent {
            job.plan(PlanAction::Create, &root, b"");
        }
        let pool = trees.repository().pool()?;
        let gate = Gate::new(limits::WINDOWS_IN_FLIGHT);
        pool.in_place_scope(|scope| {
            let (job, gate) = (&job, &gate);
            let send = |window: window::Window| {
                let pass = gate.enter();
                scope.spawn(move |_| {
                    window.execute(job);
                    drop(pass);
                });
            };
            let mut planner = Planner::new(job, root.handle().ok(), send);
            if directory {
                planner.directory(root, entry.subtree);
            } else {
                planner.entry(&root, entry);
                planner.flush();
            }
        });
        self.progress.finish();
        Arc::into_inner(job)
            .ok_or(Error::Internal { what: "restore" })?
            .finish()
    }

    /// The path in the snapshot of what lies in the target.
    fn prefix(&self, directory: bool) -> Vec<u8> {
        let names = self.path.split(|byte| *byte == b'/');
        let mut names: Vec<&[u8]> = names
            .filter(|name| !name.is_empty() && *name != b".")
            .collect();
        if !directory {
            names.pop();
        }
        names.join(&b'/')
    }

    /// The target, where it exists. It may be reached through links: the caller named it.
    fn open_target(&self) -> Result<Option<OwnedFd>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&self.target, flags, Permissions::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::io("open", &self.target, error)),
        }
    }
}
