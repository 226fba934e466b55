//! One regular file on its way into the target: opened at most once, written in any order by any
//! thread, completed by the one that delivers its last part.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use repo_format::BlobId;
use repo_format::tree::{Entry, Timestamp};
use rustix::fs::{FallocateFlags, Mode as Permissions, OFlags, Stat};
use rustix::io::Errno;

use crate::archive::restore::PlanAction;
use crate::archive::restore::dir::Dir;
use crate::archive::restore::job::{Job, Mode};
use crate::archive::restore::limits::WRITE;
use crate::archive::restore::meta::{self, Attributes, Subject};

/// A chunk or hole of a file of a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Place of the file in its window.
    pub(super) file: u32,
    pub(super) offset: u64,
    pub(super) len: u64,
    /// `None` is a hole.
    pub(super) id: Option<BlobId>,
}

const CREATE: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

const EXISTING: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// A regular file at work.
pub(super) struct FileWork {
    pub(super) dir: Arc<Dir>,
    pub(super) name: Box<[u8]>,
    pub(super) size: u64,
    pub(super) attributes: Attributes,
    /// The inode and change time the snapshot saw, when they can prove that nothing changed.
    seen: Option<(u64, Timestamp)>,
    /// Nothing stands under its name: it is created when first needed.
    fresh: AtomicBool,
    /// Its content differs from what was found.
    changed: AtomicBool,
    /// Nothing more can be done for it; that was reported.
    lost: AtomicBool,
    /// Parts outstanding, and one while more are being planned.
    left: AtomicUsize,
    /// Its descriptor counts among those kept open between uses.
    counted: AtomicBool,
    ended: AtomicBool,
    file: Mutex<Option<Arc<File>>>,
}

impl FileWork {
    pub(super) fn new(dir: &Arc<Dir>, entry: &mut Entry, fresh: bool) -> Self {
        dir.file_begins();
        Self {
            dir: Arc::clone(dir),
            seen: meta::seen(entry),
            size: entry.size,
            attributes: Attributes::take(entry),
            name: std::mem::take(&mut entry.name).into(),
            fresh: AtomicBool::new(fresh),
            changed: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            left: AtomicUsize::new(0),
            counted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            file: Mutex::default(),
        }
    }

    /// Whether the inode is in the very state the snapshot read: nothing in it changed since, so
    /// neither did content, owner, mode or attributes. Size and modification time prove nothing.
    pub(super) fn untouched(&self, stat: &Stat, links: bool) -> bool {
        self.seen == Some((stat.st_ino, meta::ctime(stat)))
            && self.attributes.mtime == meta::mtime(stat)
            && u64::try_from(stat.st_size) == Ok(self.size)
            && links == (stat.st_nlink > 1)
    }

    /// The directory is needed no more. Said once, however often it is called.
    fn end(&self) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            self.dir.file_ends();
        }
    }

    pub(super) fn expect(&self, parts: usize) {
        self.left.fetch_add(parts, Ordering::Relaxed);
    }

    pub(super) fn fresh(&self) -> bool {
        self.fresh.load(Ordering::Relaxed)
    }

    /// Nothing stands under the name any more.
    pub(super) fn set_fresh(&self) {
        self.fresh.store(true, Ordering::Relaxed);
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Notes that content differs. Whether this is the first time.
    pub(super) fn set_changed(&self) -> bool {
        !self.changed.swap(true, Ordering::Relaxed)
    }

    pub(super) fn set_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    pub(super) fn lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<File>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves an open file to be used for what follows.
    pub(super) fn keep_open(&self, file: Arc<File>) {
        *self.slot() = Some(file);
    }

    pub(super) fn opened(&self) -> Option<Arc<File>> {
        self.slot().clone()
    }

    /// Creates the file. Nothing may stand under its name.
    pub(super) fn create(&self, job: &Job) -> rustix::io::Result<File> {
        let fd = self.dir.handle()?;
        let mode = self.attributes.creation_mode(job);
        rustix::fs::openat(&fd, &self.name[..], CREATE, mode).map(File::from)
    }

    /// Opens the existing file with the access `flags` asks for.
    pub(super) fn open_existing(&self, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let fd = self.dir.handle()?;
        rustix::fs::openat(&fd, &self.name[..], EXISTING | flags, Permissions::empty())
    }

    /// The file open for writing, or `None` when that failed.
    fn writer(&self, job: &Job) -> Option<Arc<File>> {
        if self.lost() {
            return None;
        }
        let mut slot = self.slot();
        if let Some(file) = slot.as_ref() {
            return Some(Arc::clone(file));
        }
        let (operation, opened) = if self.fresh() {
            ("create", self.create(job))
        } else {
            ("open", self.open_existing(OFlags::WRONLY).map(File::from))
        };
        match opened {
            Ok(file) => {
                let file = Arc::new(file);
                self.fresh.store(false, Ordering::Relaxed);
                if job.may_keep() {
                    job.handle_kept();
                    self.counted.store(true, Ordering::Relaxed);
                    *slot = Some(Arc::clone(&file));
                }
                Some(file)
            }
            Err(error) => {
                self.set_lost();
                job.trouble(&self.dir, &self.name, operation, error);
                None
            }
        }
    }

    /// Writes a part that was verified.
    pub(super) fn deliver(&self, job: &Job, part: &Part, bytes: &[u8]) {
        if part.len == self.size && self.fresh() {
            self.whole(job, bytes);
            return self.end();
        }
        if let Some(file) = self.writer(job) {
            match write(&file, bytes, part.offset) {
                Ok(()) => job.count_written(part.len),
                Err(error) => self.fail_write(job, &error),
            }
        }
        self.done(job, 1);
    }

    fn fail_write(&self, job: &Job, error: &std::io::Error) {
        self.set_lost();
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        job.trouble(&self.dir, &self.name, "write", errno);
    }

    /// Creates, writes and completes a file of one chunk.
    fn whole(&self, job: &Job, bytes: &[u8]) {
        let file = match self.create(job) {
            Ok(file) => file,
            Err(error) => return job.trouble(&self.dir, &self.name, "create", error),
        };
        if let Err(error) = write(&file, bytes, 0) {
            return self.fail_write(job, &error);
        }
        job.count_written(bytes.len() as u64);
        self.complete(job, &file);
    }

    /// A part that cannot be had: its place holds zeros, as the report says.
    pub(super) fn leave_gap(&self, job: &Job, part: &Part) {
        if !self.fresh()
            && let Some(file) = self.writer(job)
        {
            self.clear(job, &file, part);
        }
        self.done(job, 1);
    }

    /// A hole of a file that did not exist.
    pub(super) fn leave_hole(&self, job: &Job) {
        self.done(job, 1);
    }

    /// Makes a range of an existing file a hole.
    pub(super) fn clear(&self, job: &Job, file: &File, part: &Part) {
        let end = file.metadata().map_or(0, |meta| meta.len());
        let len = part.len.min(end.saturating_sub(part.offset));
        if len == 0 {
            return;
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(file, flags, part.offset, len) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                if let Err(error) = write_zeros(file, part.offset, len) {
                    self.fail_write(job, &error);
                }
            }
            Err(error) => {
                self.set_lost();
                job.trouble(&self.dir, &self.name, "write", error);
            }
        }
    }

    /// Parts are dealt with; the last one completes the file.
    pub(super) fn done(&self, job: &Job, parts: usize) {
        if self.left.fetch_sub(parts, Ordering::AcqRel) == parts {
            self.finish(job);
        }
    }

    /// Completes the file: its length and metadata.
    pub(super) fn finish(&self, job: &Job) {
        if self.lost() || job.failed() {
            return self.close(job);
        }
        match job.mode {
            Mode::Write => {
                if let Some(file) = self.writer(job) {
                    self.complete(job, &file);
                }
            }
            Mode::Plan => {
                self.plan(job);
                job.count_file();
            }
            Mode::Verify => job.count_file(),
        }
        self.close(job);
    }

    fn close(&self, job: &Job) {
        drop(self.slot().take());
        self.end();
        if self.counted.swap(false, Ordering::Relaxed) {
            job.handle_closed();
        }
    }

    fn plan(&self, job: &Job) {
        let action = if self.fresh() {
            PlanAction::Create
        } else {
            let same = self.opened().is_none_or(|file| {
                rustix::fs::fstat(&file).is_ok_and(|stat| {
                    u64::try_from(stat.st_size) == Ok(self.size)
                        && meta::matches(job, &Subject::Open(file.as_fd()), &self.attributes, &stat)
                })
            });
            if same && !self.changed.load(Ordering::Relaxed) {
                return;
            }
            PlanAction::Update
        };
        job.plan(action, &self.dir, &self.name);
    }

    fn complete(&self, job: &Job, file: &File) {
        let mut stat = match rustix::fs::fstat(file) {
            Ok(stat) => stat,
            Err(error) => return job.trouble(&self.dir, &self.name, "stat", error),
        };
        if u64::try_from(stat.st_size) != Ok(self.size) {
            let done = match self.writable(job, file) {
                Some(file) => {
                    rustix::fs::ftruncate(&file, self.size).and_then(|()| rustix::fs::fstat(&file))
                }
                None => return,
            };
            match done {
                Ok(now) => stat = now,
                Err(error) => return job.trouble(&self.dir, &self.name, "write", error),
            }
        }
        let subject = Subject::Open(file.as_fd());
        let careful = !self.fresh() || self.dir.hands_down;
        let at = (&*self.dir, &self.name[..]);
        meta::apply(job, at, &subject, &self.attributes, (&stat, careful));
        job.count_file();
    }

    /// A file found right but for its length was opened for reading only.
    fn writable(&self, job: &Job, file: &File) -> Option<File> {
        let flags = rustix::fs::fcntl_getfl(file).ok()?;
        let opened = if flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
            file.try_clone()
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        } else {
            self.open_existing(OFlags::WRONLY).map(File::from)
        };
        match opened {
            Ok(file) => Some(file),
            Err(error) => {
                job.trouble(&self.dir, &self.name, "open", error);
                None
            }
        }
    }
}

impl Drop for FileWork {
    fn drop(&mut self) {
        self.end();
    }
}

fn write(file: &File, bytes: &[u8], mut offset: u64) -> std::io::Result<()> {
    for piece in bytes.chunks(WRITE) {
        file.write_all_at(piece, offset)?;
        offset += piece.len() as u64;
    }
    Ok(())
}

fn write_zeros(file: &File, mut offset: u64, mut len: u64) -> std::io::Result<()> {
    const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
    while len > 0 {
        let part = usize::try_from(len).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all_at(&ZEROS[..part], offset)?;
        offset += part as u64;
        len -= part as u64;
    }
    Ok(())
}
