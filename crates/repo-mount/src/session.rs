//! Mounting and unmounting.

use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use repo_core::{Error as CoreError, Repository, SnapshotId};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use tokio::runtime::Handle;

use crate::error::Error;
use crate::fs::{Fs, Shown, SnapshotFilter, Spilling};
use crate::guard::Guard;
use crate::limits::{KERNEL_AHEAD_KIB, THREADS};

/// How to mount.
#[derive(Default)]
pub struct MountOptions {
    /// Let other users in, as far as rights recorded in the snapshots allow. Without it only the user
    /// who mounts sees anything, and sees everything.
    pub allow_other: bool,
    /// Show one snapshot at the root of the mount, and no lists.
    pub snapshot: Option<SnapshotId>,
    /// Show these snapshots only; all by default.
    pub filter: Option<SnapshotFilter>,
}

/// A mounted repository. Dropped without [`Mount::end`], it is unmounted at once: who reads there fails.
pub struct Mount {
    session: BackgroundSession,
    target: PathBuf,
    guard: Guard,
    spilling: Option<Spilling>,
}

/// How a mount ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It is gone.
    Unmounted,
    /// It is gone from its place, and programs that have files open in it read them until this
    /// process ends.
    Detached,
}

impl Mount {
    /// Mounts `repository` on the directory `target`. The mount is served by threads of its own,
    /// until it is unmounted.
    pub async fn start(
        repository: &Repository,
        target: &Path,
        options: MountOptions,
    ) -> Result<Self, Error> {
        if !target.is_dir() {
            let path = target.to_owned();
            return Err(Error::NotADirectory { path });
        }
        if !Path::new("/dev/fuse").exists() {
            return Err(Error::NoFuse);
        }
        let shown = match &options.snapshot {
            None => Shown::Lists(options.filter.unwrap_or_else(|| Box::new(|_| true))),
            Some(id) => {
                let known = repository.snapshots();
                let mut named = known.into_iter().filter(|known| known.snapshot.id() == *id);
                let named = named
                    .next()
                    .ok_or_else(|| CoreError::UnknownSnapshot { id: id.to_hex() })?;
                Shown::Snapshot(Box::new(named))
            }
        };
        let fs = Fs::new(repository.clone(), shown, Handle::current());
        let config = config(repository.location(), options.allow_other);
        let spill = fs.spill();
        let target = target.to_owned();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Mount { path, source }
        };
        let mounted = tokio::task::spawn_blocking(move || {
            let place = target.canonicalize().map_err(failed(&target))?;
            let session = Session::new(fs, &place, &config).map_err(failed(&place))?;
            let kernel = session.notifier();
            let session = session.spawn().map_err(failed(&place))?;
            read_ahead(&place);
            let guard = Guard::start(&place).map_err(failed(&place))?;
            let spilling = match guard.aborts() {
                true => Some(spill.open(kernel).map_err(failed(&place))?),
                false => None,
            };
            Ok(Self {
                session,
                target: place,
                guard,
                spilling,
            })
        });
        mounted.await.unwrap_or_else(|_| {
            let what = "mount";
            Err(CoreError::Internal { what }.into())
        })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Whether somebody else has unmounted it.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.session.guard.is_finished()
    }

    /// Unmounts it, from its place at least when programs still use it. Blocks shortly.
    pub fn end(self) -> Result<Ended, Error> {
        let Self {
            session,
            target,
            guard,
            spilling,
        } = self;
        // While requests are served, and there is a guard.
        drop(spilling);
        let mut ended = Ended::Unmounted;
        if !session.guard.is_finished() {
            ended = unmount(&target).map_err(|source| Error::Unmount {
                path: target,
                source,
            })?;
        }
        guard.stop();
        if ended == Ended::Unmounted && session.join().is_err() {
            tracing::debug!("a thread of the mount failed at its end");
        }
        Ok(ended)
    }
}

fn config(location: &str, allow_other: bool) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoAtime,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::Subtype("repo".to_owned()),
        MountOption::FSName(name(location)),
    ];
    config.acl = SessionACL::Owner;
    if allow_other {
        config.acl = SessionACL::All;
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    config
}

/// A location as the source of a mount, where a comma ends an option.
fn name(location: &str) -> String {
    location.replace([',', '\\'], "_")
}

/// Lets the kernel ask for more at once. Only the superuser may; it costs speed, no more.
fn read_ahead(target: &Path) {
    let Ok(metadata) = fs::metadata(target) else {
        return;
    };
    let device = metadata.st_dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let knob = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    if let Err(error) = fs::write(knob, KERNEL_AHEAD_KIB.to_string()) {
        tracing::debug!(%error, "the kernel reads ahead as it does by default");
    }
}

/// Unmounts; what is in use is taken from its place and ends with its last user.
pub(crate) fn unmount(target: &Path) -> io::Result<Ended> {
    match rustix::mount::unmount(target, UnmountFlags::empty()) {
        Ok(()) => Ok(Ended::Unmounted),
        Err(Errno::BUSY) => {
            rustix::mount::unmount(target, UnmountFlags::DETACH)?;
            Ok(Ended::Detached)
        }
        Err(Errno::PERM) if helper(target, &["-u"])? => Ok(Ended::Unmounted),
        Err(Errno::PERM) if helper(target, &["-u", "-z"])? => Ok(Ended::Detached),
        Err(error) => Err(error.into()),
    }
}

/// Asks the program that may unmount for others than the superuser.
fn helper(target: &Path, options: &[&str]) -> io::Result<bool> {
    for program in ["fusermount3", "fusermount"] {
        let mut command = Command::new(program);
        command.args(options).arg("--").arg(target);
        match command.stdin(Stdio::null()).stderr(Stdio::null()).status() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done.map(|status| status.success()),
        }
    }
    Ok(false)
}
