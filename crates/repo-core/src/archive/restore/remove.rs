//! Removal of what the snapshot does not have, and of what stands where something else must be.
//!
//! Never leaves the directory it was given: every step is relative to an open directory and no
//! link is followed.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use repo_format::BlobId;
use rustix::fs::{AtFlags, Dir as Listing, FileType, Mode};
use rustix::io::Errno;

use crate::archive::restore::PlanAction;
use crate::archive::restore::dir::{self, Dir, OPEN_DIRECTORY};
use crate::archive::restore::job::{Job, chain};
use crate::archive::restore::limits::NAMES;
use crate::archive::tree::Trees;
use crate::error::Result;

/// Directories open at once on the way down; deeper ones are moved up first.
const DEPTH: usize = 64;

/// Removes one entry that is in the way. What lies in a directory goes with it only where
/// deleting was asked for; else the directory must be empty.
pub(super) fn one(job: &Job, dir: &Dir, name: &[u8]) -> rustix::io::Result<()> {
    let fd = dir.handle()?;
    match rustix::fs::unlinkat(&fd, name, AtFlags::empty()) {
        Err(Errno::ISDIR) if job.delete => descend(job, dir, name),
        Err(Errno::ISDIR) => rustix::fs::unlinkat(&fd, name, AtFlags::REMOVEDIR),
        done => done,
    }
}

/// Removes what lies in the existing directory `dir` and not in the tree `subtree`.
pub(super) fn extra(job: &Arc<Job>, trees: &Trees, dir: &Arc<Dir>, subtree: Option<BlobId>) {
    let done = dir.handle().and_then(|fd| Listing::read_from(&fd));
    let mut listing = match done {
        Ok(listing) => listing,
        Err(error) => return job.trouble(dir, b"", "list", error),
    };
    loop {
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let mut ended = true;
        while let Some(entry) = listing.read() {
            match entry {
                Ok(entry) => {
                    let name = entry.file_name().to_bytes();
                    if name != b"." && name != b".." {
                        names.push(name.into());
                    }
                }
                Err(error) => return job.trouble(dir, b"", "list", error),
            }
            if names.len() == NAMES {
                ended = false;
                break;
            }
        }
        names.sort_unstable();
        // Entries that cannot be read may be any of these: nothing is removed then.
        let extra = match missing(trees, subtree, names) {
            Ok(extra) => extra,
            Err(error) => {
                let why = chain(&error);
                return job.warn(dir, b"", format!("nothing is deleted here: {why}"));
            }
        };
        for name in extra {
            if job.stopped() {
                return;
            }
            tree(job, dir, &name);
        }
        if ended {
            return;
        }
    }
}

/// Those of the sorted `names` that the tree does not have.
fn missing(
    trees: &Trees,
    subtree: Option<BlobId>,
    names: Vec<Box<[u8]>>,
) -> Result<Vec<Box<[u8]>>> {
    let mut entries = trees.entries(subtree);
    let mut next = entries.next().transpose()?;
    let mut extra = Vec::new();
    for name in names {
        while next.as_ref().is_some_and(|entry| entry.name[..] < name[..]) {
            next = entries.next().transpose()?;
        }
        if next.as_ref().is_none_or(|entry| entry.name[..] != name[..]) {
            extra.push(name);
        }
    }
    Ok(extra)
}

/// One directory on the way down.
struct Level {
    fd: OwnedFd,
    name: Box<[u8]>,
    names: Vec<Box<[u8]>>,
}

impl Level {
    fn open(parent: &impl std::os::fd::AsFd, name: &[u8]) -> rustix::io::Result<Self> {
        let fd = rustix::fs::openat(parent, name, OPEN_DIRECTORY, Mode::empty())?;
        let mut names = Vec::new();
        for entry in Listing::read_from(&fd)? {
            let entry = entry?;
            let found = entry.file_name().to_bytes();
            if found != b"." && found != b".." {
                names.push(found.into());
            }
        }
        Ok(Self {
            fd,
            name: name.into(),
            names,
        })
    }
}

/// Removes `name` and all below it, or lists that in a dry run.
fn tree(job: &Job, dir: &Dir, name: &[u8]) {
    let fd = match dir.handle() {
        Ok(fd) => fd,
        Err(error) => return job.trouble(dir, name, "delete", error),
    };
    job.plan(PlanAction::Delete, dir, name);
    let found = match dir::stat(&fd, name) {
        Ok(Some(found)) => found,
        Ok(None) => return,
        Err(error) => return job.trouble(dir, name, "delete", error),
    };
    let done = if dir::is(&found, FileType::Directory) {
        descend(job, dir, name)
    } else {
        unlink(job, &fd, name, AtFlags::empty())
    };
    if let Err(error) = done {
        job.trouble(dir, name, "delete", error);
    }
}

fn unlink(
    job: &Job,
    fd: &impl std::os::fd::AsFd,
    name: &[u8],
    flags: AtFlags,
) -> rustix::io::Result<()> {
    if job.writes() {
        rustix::fs::unlinkat(fd, name, flags)?;
    }
    job.count_deleted();
    Ok(())
}

fn descend(job: &Job, dir: &Dir, name: &[u8]) -> rustix::io::Result<()> {
    let top = dir.handle()?;
    let mut levels = vec![Level::open(&top, name)?];
    let mut moved = 0u64;
    while let Some(level) = levels.last_mut() {
        let Some(child) = level.names.pop() else {
            let done = levels.pop();
            let parent = levels.last().map_or(&*top, |level| &level.fd);
            if let Some(done) = done {
                unlink(job, &parent, &done.name, AtFlags::REMOVEDIR)?;
            }
            continue;
        };
        let found = rustix::fs::statat(&level.fd, &child[..], AtFlags::SYMLINK_NOFOLLOW)?;
        if !dir::is(&found, FileType::Directory) {
            unlink(job, &level.fd, &child, AtFlags::empty())?;
            continue;
        }
        if levels.len() < DEPTH || !job.writes() {
            let child = Level::open(&levels[levels.len() - 1].fd, &child)?;
            levels.push(child);
            continue;
        }
        // Moved to the top of what is being deleted, so that descriptors stay few.
        let to = format!(".deleting-{}-{moved}", std::process::id()).into_bytes();
        moved += 1;
        let last = &levels[levels.len() - 1].fd;
        rustix::fs::renameat(last, &child[..], &levels[0].fd, &to[..])?;
        levels[0].names.push(to.into());
    }
    Ok(())
}
