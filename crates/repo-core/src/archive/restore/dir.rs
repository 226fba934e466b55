//! Directories of the target while something below them is at work.
//!
//! A directory lives as long as anything below it: when the last of its files and directories is
//! done, it gets its own owner, mode, attributes and times. So no directory is remembered longer
//! than the windows that work in it, and none is opened twice.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode as Permissions, OFlags, Stat};
use rustix::io::Errno;

use crate::archive::restore::PlanAction;
use crate::archive::restore::job::{Handle, Job, Mode};
use crate::archive::restore::meta::{self, Attributes, Subject};
use crate::archive::restore::remove;

/// How a directory came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Made by this restore: nothing lies in it that was not put there.
    Fresh,
    /// Found in the target.
    Existing,
    /// Not there, in a dry run.
    Absent,
}

/// A directory of the target.
pub(super) struct Dir {
    job: Arc<Job>,
    parent: Option<Arc<Self>>,
    name: Box<[u8]>,
    pub(super) depth: usize,
    pub(super) origin: Origin,
    /// A default ACL is handed down to what is created here.
    pub(super) hands_down: bool,
    fd: Mutex<Option<Handle>>,
    /// Files at work in it.
    busy: AtomicUsize,
    attributes: Option<Box<Attributes>>,
}

pub(super) const OPEN_DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

const PRIVATE: Permissions = Permissions::RWXU;
const PUBLIC: Permissions = Permissions::from_bits_retain(0o755);

impl Dir {
    /// The target itself; `None` when it is not there, in a dry run.
    pub(super) fn root(
        job: &Arc<Job>,
        fd: Option<OwnedFd>,
        attributes: Option<Attributes>,
    ) -> Self {
        if fd.is_some() {
            job.handle_kept();
        }
        Self {
            hands_down: fd.as_ref().is_some_and(|fd| meta::hands_down(fd.as_fd())),
            job: Arc::clone(job),
            parent: None,
            name: Box::default(),
            depth: 0,
            origin: match fd {
                Some(_) => Origin::Existing,
                None => Origin::Absent,
            },
            fd: Mutex::new(fd.map(Arc::new)),
            busy: AtomicUsize::new(0),
            attributes: attributes.map(Box::new),
        }
    }

    /// Makes or opens the directory `name`. What stands in its place and is none is removed.
    /// `None` when that failed; it was reported then.
    ///
    /// A directory without `attributes` stands on the way to what was asked for and was not read
    /// itself: it is made when missing, and else left as it is.
    pub(super) fn enter(
        self: &Arc<Self>,
        name: &[u8],
        attributes: Option<Attributes>,
    ) -> Option<Arc<Self>> {
        let mode = attributes.as_ref().map_or(PUBLIC, |attributes| {
            // Nobody else may write while the restore does.
            PRIVATE | attributes.creation_mode(&self.job) & PUBLIC
        });
        let mut is_new = false;
        let found = match self.origin {
            Origin::Absent => Ok(None),
            // A fresh directory holds nothing yet under a name that comes once only.
            Origin::Fresh => Ok(None),
            Origin::Existing => self.handle().and_then(|fd| stat(&fd, name)),
        };
        let opened = found.and_then(|found| match (found, self.job.mode) {
            (Some(found), _) if is(&found, FileType::Directory) => {
                self.open_existing(name, &found).map(Some)
            }
            (Some(_), Mode::Write) => {
                remove::one(&self.job, self, name)?;
                is_new = true;
                self.create(name, mode).map(Some)
            }
            (None, Mode::Write) => {
                is_new = true;
                self.create(name, mode).map(Some)
            }
            (_, Mode::Verify) => Err(Errno::NOENT),
            (found, Mode::Plan) => {
                self.job.plan(PlanAction::of(found.is_some()), self, name);
                Ok(None)
            }
        });
        let fd = match opened {
            Ok(fd) => fd,
            Err(error) => {
                if self.job.mode == Mode::Verify {
                    self.job.damage(self, name, "is missing from the target");
                } else {
                    self.job.trouble(self, name, "create", error);
                }
                return None;
            }
        };
        self.job.count_directory();
        let origin = match (&fd, is_new) {
            (None, _) => Origin::Absent,
            (Some(_), true) => Origin::Fresh,
            (Some(_), false) => Origin::Existing,
        };
        let hands_down = match (&fd, origin) {
            (Some(fd), Origin::Existing) => meta::hands_down(fd.as_fd()),
            _ => self.hands_down,
        };
        if fd.is_some() {
            self.job.handle_kept();
        }
        Some(Arc::new(Self {
            job: Arc::clone(&self.job),
            parent: Some(Arc::clone(self)),
            name: name.into(),
            depth: self.depth + 1,
            origin,
            hands_down,
            fd: Mutex::new(fd.map(Arc::new)),
            busy: AtomicUsize::new(0),
            attributes: attributes.map(Box::new),
        }))
    }

    fn create(&self, name: &[u8], mode: Permissions) -> rustix::io::Result<OwnedFd> {
        let parent = self.handle()?;
        rustix::fs::mkdirat(&parent, name, mode)?;
        let fd = rustix::fs::openat(&parent, name, OPEN_DIRECTORY, Permissions::empty())?;
        if self.hands_down {
            // The default ACL may have taken rights even from the owner.
            rustix::fs::fchmod(&fd, mode)?;
        }
        Ok(fd)
    }

    fn open_existing(&self, name: &[u8], found: &Stat) -> rustix::io::Result<OwnedFd> {
        let parent = self.handle()?;
        let job = &self.job;
        let closed = found.st_mode & 0o700 != 0o700;
        if job.writes() && closed && !job.identity.privileged && found.st_uid == job.identity.uid {
            // Its final mode comes last; until then it must be open to its owner.
            meta::chmod_at(&parent, name, found.st_mode & 0o7777 | 0o700)?;
        }
        rustix::fs::openat(&parent, name, OPEN_DIRECTORY, Permissions::empty())
    }

    pub(super) fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// Whether something may lie here that this restore did not make.
    pub(super) fn existing(&self) -> bool {
        self.origin == Origin::Existing
    }

    /// The open directory.
    pub(super) fn handle(&self) -> rustix::io::Result<Handle> {
        if let Some(fd) = self.slot().as_ref() {
            return Ok(Arc::clone(fd));
        }
        if self.origin == Origin::Absent {
            return Err(Errno::NOENT);
        }
        // Closed, because it is deep or many are open: open it again from the nearest one that is open.
        let mut names = vec![&self.name];
        let mut above = self.parent.as_deref();
        let start = loop {
            let dir = above.ok_or(Errno::NOENT)?;
            if let Some(fd) = dir.slot().as_ref() {
                break Arc::clone(fd);
            }
            names.push(&dir.name);
            above = dir.parent.as_deref();
        };
        let mut fd = start;
        for name in names.into_iter().rev() {
            let next = rustix::fs::openat(&fd, &name[..], OPEN_DIRECTORY, Permissions::empty())?;
            fd = Arc::new(next);
        }
        let mut slot = self.slot();
        if slot.is_none() && self.job.may_keep() {
            *slot = Some(Arc::clone(&fd));
            self.job.handle_kept();
        }
        drop(slot);
        Ok(fd)
    }

    /// A file of it is at work.
    pub(super) fn file_begins(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// A file of it needs it no more.
    pub(super) fn file_ends(&self) {
        if self.busy.fetch_sub(1, Ordering::Relaxed) == 1 && self.job.crowded() {
            self.release();
        }
    }

    /// Closes the directory until it is needed again. The target itself stays open: all others
    /// are found from there.
    pub(super) fn release(&self) {
        if self.parent.is_some() {
            self.close();
        }
    }

    fn close(&self) {
        if self.slot().take().is_some() {
            self.job.handle_closed();
        }
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Handle>> {
        self.fd.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The path below the target of `name` in this directory; of the directory itself when `name`
    /// is empty.
    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut names = vec![name];
        let mut next = Some(self);
        while let Some(dir) = next {
            names.push(&dir.name);
            next = dir.parent.as_deref();
        }
        names.retain(|name| !name.is_empty());
        names.reverse();
        names.join(&b'/')
    }

    /// Gives the directory its own metadata, once all below is done.
    fn complete(&mut self) -> Option<Arc<Self>> {
        if let Some(attributes) = self.attributes.take()
            && !self.job.failed()
        {
            self.settle(&attributes);
        }
        self.close();
        self.parent.take()
    }

    fn settle(&self, attributes: &Attributes) {
        if self.origin == Origin::Absent {
            return;
        }
        let done = self.handle().and_then(|fd| {
            let stat = rustix::fs::fstat(&fd)?;
            let subject = Subject::Open(fd.as_fd());
            let careful = self.origin == Origin::Existing || self.hands_down;
            match self.job.mode {
                Mode::Write => {
                    meta::apply(
                        &self.job,
                        (self, b""),
                        &subject,
                        attributes,
                        (&stat, careful),
                    );
                }
                Mode::Plan => {
                    if !meta::matches(&self.job, &subject, attributes, &stat) {
                        self.job.plan(PlanAction::Update, self, b"");
                    }
                }
                Mode::Verify => {}
            }
            Ok(())
        });
        if let Err(error) = done {
            self.job.trouble(self, b"", "open", error);
        }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // A loop, because a chain of directories may be deeper than the stack.
        let mut next = self.complete();
        while let Some(mut dir) = next.and_then(Arc::into_inner) {
            next = dir.complete();
        }
    }
}

/// What stands under `name`, if anything.
pub(super) fn stat(dir: &Handle, name: &[u8]) -> rustix::io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}
