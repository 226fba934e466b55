//! Owner, mode, attributes and times, changed only where they differ.
//!
//! The order matters: changing the owner clears set-id bits and capabilities, attributes hold ACLs
//! that change the mode, and a mode without write permission forbids attributes.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use repo_format::tree::{Entry, Timestamp, Xattr};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::archive::restore::dir::Dir;
use crate::archive::restore::job::{Handle, Job};

/// Longest list of attribute names and longest value Linux allows, in bytes.
const XATTR_MAX: usize = 64 << 10;
const ACL_DEFAULT: &str = "system.posix_acl_default";

/// What an entry says of a file besides its content.
pub(super) struct Attributes {
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timestamp,
    pub(super) xattrs: Vec<Xattr>,
}

impl Attributes {
    pub(super) fn take(entry: &mut Entry) -> Self {
        Self {
            mode: entry.mode & 0o7777,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            xattrs: entry.xattrs.take().unwrap_or_default(),
        }
    }

    /// Permissions to create the file with: final where that gives nobody more than they will
    /// have, else private until the owner is right.
    pub(super) fn creation_mode(&self, job: &Job) -> Mode {
        let own = self.uid == job.identity.uid && self.gid == job.identity.gid;
        let mut mode = self.mode & if own { 0o777 } else { 0o700 };
        if !self.xattrs.is_empty() {
            mode |= 0o600;
        }
        Mode::from_raw_mode(mode)
    }
}

/// What metadata is changed of: an open file or directory, or something that is never opened (a
/// symlink, FIFO or device).
pub(super) enum Subject<'a> {
    Open(BorrowedFd<'a>),
    Closed { dir: &'a Handle, name: &'a [u8] },
}

impl Subject<'_> {
    /// A path of fixed length to a closed subject, for calls that take paths only.
    fn short_path(dir: &Handle, name: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        path.push(std::ffi::OsStr::from_bytes(name));
        path
    }

    fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> rustix::io::Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        match self {
            Self::Open(fd) => rustix::fs::fchown(fd, uid, gid),
            Self::Closed { dir, name } => {
                rustix::fs::chownat(*dir, *name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn chmod(&self, mode: u32) -> rustix::io::Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)),
            Self::Closed { dir, name } => chmod_at(dir, name, mode),
        }
    }

    fn set_mtime(&self, mtime: Timestamp) -> rustix::io::Result<()> {
        let times = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: rustix::fs::UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: mtime.seconds,
                tv_nsec: mtime.nanos.into(),
            },
        };
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, &times),
            Self::Closed { dir, name } => {
                rustix::fs::utimensat(*dir, *name, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn set_xattr(&self, xattr: &Xattr) -> rustix::io::Result<()> {
        let flags = XattrFlags::empty();
        let (name, value) = (&xattr.name[..], &xattr.value[..]);
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, flags),
            Self::Closed { dir, name: at } => {
                rustix::fs::lsetxattr(Self::short_path(dir, at), name, value, flags)
            }
        }
    }

    fn remove_xattr(&self, name: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Closed { dir, name: at } => {
                rustix::fs::lremovexattr(Self::short_path(dir, at), name)
            }
        }
    }

    fn xattrs(&self) -> rustix::io::Result<Vec<Xattr>> {
        let mut short = [0; 512];
        let mut long = Vec::new();
        let list = |buffer: &mut [u8]| match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, buffer),
            Self::Closed { dir, name } => {
                rustix::fs::llistxattr(Self::short_path(dir, name), buffer)
            }
        };
        let names = match list(&mut short) {
            Ok(len) => &short[..len],
            Err(Errno::RANGE) => {
                long.resize(XATTR_MAX, 0);
                let len = list(&mut long)?;
                &long[..len]
            }
            Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for name in names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            let mut value = vec![0; XATTR_MAX];
            let len = match self {
                Self::Open(fd) => rustix::fs::fgetxattr(fd, name, &mut value[..]),
                Self::Closed { dir, name: at } => {
                    rustix::fs::lgetxattr(Self::short_path(dir, at), name, &mut value[..])
                }
            };
            value.truncate(len.unwrap_or(0));
            found.push(Xattr {
                name: name.to_vec(),
                value,
            });
        }
        Ok(found)
    }
}

/// Whether files made in this directory inherit a default ACL.
pub(super) fn hands_down(dir: BorrowedFd<'_>) -> bool {
    rustix::fs::fgetxattr_query(dir, ACL_DEFAULT).is_ok_and(|len| len > 0)
}

/// Changes the mode of an entry without following a link in its place.
pub(super) fn chmod_at(dir: &Handle, name: &[u8], mode: u32) -> rustix::io::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink() {
        return Err(Errno::LOOP);
    }
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::chmod(Path::new(&path), Mode::from_raw_mode(mode))
}

pub(super) fn mtime(stat: &Stat) -> Timestamp {
    time(stat.st_mtime, stat.st_mtime_nsec)
}

pub(super) fn ctime(stat: &Stat) -> Timestamp {
    time(stat.st_ctime, stat.st_ctime_nsec)
}

/// Inode and change time of an entry that was read in one state.
pub(super) fn seen(entry: &Entry) -> Option<(u64, Timestamp)> {
    entry
        .inode
        .zip(entry.ctime)
        .filter(|_| entry.torn != Some(true))
}

fn time<S: Into<i64>, N: TryInto<u32>>(seconds: S, nanos: N) -> Timestamp {
    Timestamp {
        seconds: seconds.into(),
        nanos: nanos.try_into().unwrap_or(0),
    }
}

/// The owner to set, as far as it differs and this user may; and the mode that is safe with the
/// owner that comes of it: a set-id bit never serves another owner than the snapshot's.
fn wanted(job: &Job, attributes: &Attributes, stat: &Stat) -> (Option<u32>, Option<u32>, u32) {
    let who = &job.identity;
    let uid = (attributes.uid != stat.st_uid).then_some(attributes.uid);
    let gid = (attributes.gid != stat.st_gid).then_some(attributes.gid);
    if who.privileged {
        return (uid, gid, attributes.mode);
    }
    let member = attributes.gid == who.gid || who.groups.contains(&attributes.gid);
    let may = stat.st_uid == who.uid && member;
    let mut mode = attributes.mode;
    if uid.is_some() {
        mode &= !0o4000;
    }
    if gid.is_some() && !may {
        mode &= !0o2000;
    }
    if uid.is_some() || (gid.is_some() && !may) {
        job.note_owner();
    }
    (None, gid.filter(|_| may), mode)
}

/// Whether there is nothing to change.
pub(super) fn matches(
    job: &Job,
    subject: &Subject<'_>,
    attributes: &Attributes,
    stat: &Stat,
) -> bool {
    let (uid, gid, mode) = wanted(job, attributes, stat);
    let link = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink();
    uid.is_none()
        && gid.is_none()
        && (link || mode == stat.st_mode & 0o7777)
        && mtime(stat) == attributes.mtime
        && subject.xattrs().is_ok_and(|found| {
            let extra = found
                .iter()
                .any(|found| manages(job, &found.name) && !names(attributes, &found.name));
            !extra
                && attributes
                    .xattrs
                    .iter()
                    .all(|wanted| found.contains(wanted))
        })
}

fn names(attributes: &Attributes, name: &[u8]) -> bool {
    attributes.xattrs.iter().any(|xattr| xattr.name == name)
}

/// Attributes that are removed when the snapshot does not have them. Others, such as labels a
/// security module puts on every file, belong to the target.
fn manages(job: &Job, name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || name.starts_with(b"system.posix_acl_")
        || (job.identity.privileged
            && (name == b"security.capability" || name.starts_with(b"trusted.")))
}

/// Makes metadata what the entry says. `careful`: there may be attributes it does not have.
/// What fails is a finding.
pub(super) fn apply(
    job: &Job,
    (dir, name): (&Dir, &[u8]),
    subject: &Subject<'_>,
    attributes: &Attributes,
    (stat, careful): (&Stat, bool),
) {
    let (uid, gid, mut mode) = wanted(job, attributes, stat);
    let mut mode_lost = false;
    if uid.is_some() || gid.is_some() {
        mode_lost = true;
        if subject.chown(uid, gid).is_err() {
            // For example a user namespace, whose root does not own every number.
            mode &= !0o6000;
            job.note_owner();
        }
    }
    if careful || !attributes.xattrs.is_empty() {
        mode_lost |= apply_xattrs(job, (dir, name), subject, attributes, careful);
    }
    let link = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink();
    let mode_differs = mode_lost || mode != stat.st_mode & 0o7777;
    if !link
        && mode_differs
        && let Err(error) = subject.chmod(mode)
    {
        job.trouble(dir, name, "set the mode of", error);
    }
    if mtime(stat) != attributes.mtime
        && let Err(error) = subject.set_mtime(attributes.mtime)
    {
        job.trouble(dir, name, "set the time of", error);
    }
}

/// Returns whether anything was changed.
fn apply_xattrs(
    job: &Job,
    (dir, name): (&Dir, &[u8]),
    subject: &Subject<'_>,
    attributes: &Attributes,
    careful: bool,
) -> bool {
    let found = if careful {
        subject.xattrs().unwrap_or_default()
    } else {
        Vec::new()
    };
    let mut changed = false;
    let warn = |what: &str, xattr: &[u8], error: Errno| {
        let xattr = String::from_utf8_lossy(xattr);
        job.warn(
            dir,
            name,
            format!("cannot {what} attribute {xattr}: {error}"),
        );
    };
    for extra in &found {
        if manages(job, &extra.name) && !names(attributes, &extra.name) {
            changed = true;
            if let Err(error) = subject.remove_xattr(&extra.name) {
                warn("remove", &extra.name, error);
            }
        }
    }
    for xattr in &attributes.xattrs {
        if found.contains(xattr) {
            continue;
        }
        changed = true;
        if let Err(error) = subject.set_xattr(xattr) {
            warn("set", &xattr.name, error);
        }
    }
    changed
}
