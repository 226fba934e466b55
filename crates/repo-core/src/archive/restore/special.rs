//! Symlinks, hard links, FIFOs and device nodes: made by the planner, one at a time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use repo_format::tree::{Entry, EntryType, FileKey};
use rustix::fs::{AtFlags, FileType, Mode as Permissions, Stat};
use rustix::io::Errno;

use crate::archive::restore::PlanAction;
use crate::archive::restore::dir::{self, Dir, OPEN_DIRECTORY};
use crate::archive::restore::job::{Handle, Job};
use crate::archive::restore::meta::{self, Attributes, Subject};
use crate::archive::restore::remove;

/// Where the first name of each group of hard links was restored.
#[derive(Default)]
pub(super) struct Links {
    first: HashMap<FileKey, Box<[u8]>>,
    /// Files found in the target that already serve a group, by device and inode.
    claimed: HashSet<(u64, u64)>,
}

/// What became of a name in a group of hard links.
pub(super) enum Linked {
    /// It is the first: restore it as usual.
    First,
    /// It is a link now, or was reported.
    Done,
    /// It cannot be a link: restore it by itself.
    Alone,
}

impl Links {
    /// Whether an existing file may serve as the first of one more group.
    pub(super) fn claim(&mut self, stat: &Stat) -> bool {
        self.claimed.insert((stat.st_dev, stat.st_ino))
    }

    /// Makes `name` a link to the first file of its group.
    pub(super) fn place(
        &mut self,
        job: &Job,
        root: Option<&Handle>,
        dir: &Dir,
        (name, key): (&[u8], FileKey),
    ) -> Linked {
        let Some(first) = self.first.get(&key) else {
            self.first.insert(key, dir.path_of(name).into());
            return Linked::First;
        };
        let Some(root) = root.filter(|_| job.writes()) else {
            plan_link(job, root, dir, name, first);
            return Linked::Done;
        };
        match link(job, root, dir, name, first) {
            Ok(()) => Linked::Done,
            Err(Errno::PERM | Errno::MLINK | Errno::NOTSUP | Errno::XDEV | Errno::NOENT) => {
                job.note(
                    dir,
                    name,
                    "restored as a file of its own, not as a hard link",
                );
                Linked::Alone
            }
            Err(error) => {
                job.trouble(dir, name, "create", error);
                Linked::Done
            }
        }
    }
}

fn link(job: &Job, root: &Handle, dir: &Dir, name: &[u8], first: &[u8]) -> rustix::io::Result<()> {
    let (from, last) = parent(root, first)?;
    let to = dir.handle()?;
    let source = dir::stat(&from, last)?.ok_or(Errno::NOENT)?;
    if dir.existing()
        && let Some(found) = dir::stat(&to, name)?
    {
        if (found.st_dev, found.st_ino) == (source.st_dev, source.st_ino) {
            return Ok(());
        }
        remove::one(job, dir, name)?;
    }
    rustix::fs::linkat(&from, last, &to, name, AtFlags::empty())
}

/// Lists a name that would become a link. Says nothing when it is one already.
fn plan_link(job: &Job, root: Option<&Handle>, dir: &Dir, name: &[u8], first: &[u8]) {
    let inode = |fd: &Handle, name: &[u8]| {
        let stat = dir::stat(fd, name).ok().flatten();
        stat.map(|stat| (stat.st_dev, stat.st_ino))
    };
    let found = dir.handle().ok().and_then(|fd| inode(&fd, name));
    let source = root.and_then(|root| {
        let (from, last) = parent(root, first).ok()?;
        inode(&from, last)
    });
    if found.is_none() || found != source {
        job.plan(PlanAction::of(found.is_some()), dir, name);
    }
}

/// The open directory of a path below `root`, and the path's last name.
fn parent<'p>(root: &Handle, path: &'p [u8]) -> rustix::io::Result<(Handle, &'p [u8])> {
    let mut from = Arc::clone(root);
    let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        from = Arc::new(rustix::fs::openat(
            &from,
            part,
            OPEN_DIRECTORY,
            Permissions::empty(),
        )?);
    }
    Ok((from, last))
}

/// Makes something that is neither a file nor a directory.
pub(super) fn place(job: &Job, dir: &Dir, mut entry: Entry) {
    let attributes = Attributes::take(&mut entry);
    let name = entry.name.clone();
    if let Err(error) = make(job, dir, &entry, &attributes) {
        let kind = matches!(entry.kind, EntryType::CharDevice | EntryType::BlockDevice);
        if kind && matches!(error, Errno::PERM | Errno::ACCESS) {
            job.warn(
                dir,
                &name,
                format!("cannot create the device node: {error}"),
            );
        } else {
            job.trouble(dir, &name, "create", error);
        }
        return;
    }
    job.count_file();
}

fn make(job: &Job, dir: &Dir, entry: &Entry, attributes: &Attributes) -> rustix::io::Result<()> {
    let name = &entry.name[..];
    if !dir.existing() && !job.writes() {
        job.plan(PlanAction::Create, dir, name);
        return Ok(());
    }
    let fd = dir.handle()?;
    let subject = Subject::Closed { dir: &fd, name };
    let mut found = if dir.existing() {
        dir::stat(&fd, name)?
    } else {
        None
    };
    let existing = match &found {
        Some(stat) => same(&fd, entry, stat)?,
        None => false,
    };
    if !job.writes() {
        let sound = existing
            && found
                .as_ref()
                .is_some_and(|stat| meta::matches(job, &subject, attributes, stat));
        if !sound {
            job.plan(PlanAction::of(found.is_some()), dir, name);
        }
        return Ok(());
    }
    if found.is_some() && !existing {
        remove::one(job, dir, name)?;
        found = None;
    }
    let stat = match found {
        Some(stat) => stat,
        None => {
            create(&fd, entry, attributes, job)?;
            rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW)?
        }
    };
    let careful = existing && entry.kind != EntryType::Symlink;
    meta::apply(job, (dir, name), &subject, attributes, (&stat, careful));
    Ok(())
}

fn file_type(kind: EntryType) -> FileType {
    match kind {
        EntryType::File => FileType::RegularFile,
        EntryType::Directory => FileType::Directory,
        EntryType::Symlink => FileType::Symlink,
        EntryType::Fifo => FileType::Fifo,
        EntryType::CharDevice => FileType::CharacterDevice,
        EntryType::BlockDevice => FileType::BlockDevice,
    }
}

/// Whether what stands there is the very thing, metadata aside.
fn same(fd: &Handle, entry: &Entry, stat: &Stat) -> rustix::io::Result<bool> {
    if !dir::is(stat, file_type(entry.kind)) {
        return Ok(false);
    }
    Ok(match entry.kind {
        EntryType::Symlink => {
            let target = rustix::fs::readlinkat(fd, &entry.name[..], Vec::new())?;
            Some(target.as_bytes()) == entry.target.as_deref()
        }
        EntryType::CharDevice | EntryType::BlockDevice => entry.device == Some(stat.st_rdev),
        _ => true,
    })
}

fn create(
    fd: &Handle,
    entry: &Entry,
    attributes: &Attributes,
    job: &Job,
) -> rustix::io::Result<()> {
    let name = &entry.name[..];
    if entry.kind == EntryType::Symlink {
        let target = entry.target.as_deref().unwrap_or_default();
        return rustix::fs::symlinkat(target, fd, name);
    }
    let mode = attributes.creation_mode(job);
    let device = entry.device.unwrap_or(0);
    rustix::fs::mknodat(fd, name, file_type(entry.kind), mode, device)
}
