//! From the file system's view of a file to a tree entry.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use repo_format::tree::{Entry, EntryType, FileKey, Timestamp, Xattr};
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

/// Longest list of attribute names and longest value Linux allows, in bytes.
const XATTR_MAX: usize = 64 << 10;

/// A directory held open, and the path to show for it.
pub(crate) struct Directory {
    pub(crate) fd: OwnedFd,
    pub(crate) path: Vec<u8>,
}

impl Directory {
    /// The path of an entry, to show; it is never used to open anything.
    pub(crate) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        join(&self.path, name)
    }

    /// A short path to an entry through the open descriptor, for calls that take paths only.
    fn short_path(&self, name: &[u8]) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()));
        path.push(std::ffi::OsStr::from_bytes(name));
        path
    }

    pub(crate) fn stat(&self, name: &[u8]) -> rustix::io::Result<Stat> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = directory.to_vec();
    if !path.ends_with(b"/") {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Names of users and groups from the local files; directory services are not asked, because a
/// slow one would stall every snapshot, and the numbers are what is restored.
pub(crate) struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
    pub(crate) fn load() -> Self {
        Self {
            users: read_names("/etc/passwd"),
            groups: read_names("/etc/group"),
        }
    }
}

fn read_names(path: &str) -> HashMap<u32, String> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let number = fields.nth(1)?.parse().ok()?;
            Some((number, name.to_owned()))
        })
        .collect()
}

/// What kind of entry this is; `None` for a socket, which cannot be restored.
pub(crate) fn entry_type(stat: &Stat) -> Option<EntryType> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Some(EntryType::File),
        FileType::Directory => Some(EntryType::Directory),
        FileType::Symlink => Some(EntryType::Symlink),
        FileType::Fifo => Some(EntryType::Fifo),
        FileType::CharacterDevice => Some(EntryType::CharDevice),
        FileType::BlockDevice => Some(EntryType::BlockDevice),
        _ => None,
    }
}

pub(crate) fn mtime(stat: &Stat) -> Timestamp {
    timestamp(stat.st_mtime, stat.st_mtime_nsec)
}

pub(crate) fn ctime(stat: &Stat) -> Timestamp {
    timestamp(stat.st_ctime, stat.st_ctime_nsec)
}

fn timestamp<S: Into<i64>, N: TryInto<u32>>(seconds: S, nanos: N) -> Timestamp {
    Timestamp {
        seconds: seconds.into(),
        nanos: nanos.try_into().unwrap_or(0),
    }
}

/// Length of a regular file, in bytes.
pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// Everything of an entry but content, target and attributes.
pub(crate) fn entry(name: &[u8], kind: EntryType, stat: &Stat, names: &Names) -> Entry {
    let device = matches!(kind, EntryType::CharDevice | EntryType::BlockDevice);
    let linked = kind != EntryType::Directory && stat.st_nlink > 1;
    Entry {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: mtime(stat),
        ctime: Some(ctime(stat)),
        inode: Some(stat.st_ino),
        size: if kind == EntryType::File {
            size(stat)
        } else {
            0
        },
        device: device.then_some(stat.st_rdev),
        link: linked.then_some(FileKey {
            device: stat.st_dev,
            inode: stat.st_ino,
        }),
        user: names.users.get(&stat.st_uid).cloned(),
        group: names.groups.get(&stat.st_gid).cloned(),
        ..Entry::new(name, kind)
    }
}

/// Whether `parent` describes the very state `stat` shows: nothing in the inode changed, so
/// neither did content, owner, mode or attributes.
pub(crate) fn unchanged(parent: &Entry, kind: EntryType, stat: &Stat) -> bool {
    parent.kind == kind
        && parent.torn != Some(true)
        && parent.inode == Some(stat.st_ino)
        && parent.ctime == Some(ctime(stat))
        && parent.mtime == mtime(stat)
        && (kind != EntryType::File || parent.size == size(stat))
        && parent.link.is_some() == (kind != EntryType::Directory && stat.st_nlink > 1)
}

/// Attributes of an open file, sorted by name; `None` when there are none or the file system has
/// no such thing.
pub(crate) fn xattrs_of_file(fd: BorrowedFd<'_>) -> rustix::io::Result<Option<Vec<Xattr>>> {
    collect(
        |list| rustix::fs::flistxattr(fd, list),
        |name, value| rustix::fs::fgetxattr(fd, name, value),
    )
}

/// Attributes of a directory.
pub(crate) fn xattrs_of_directory(directory: &Directory) -> rustix::io::Result<Option<Vec<Xattr>>> {
    xattrs_of_file(directory.fd.as_fd())
}

/// Attributes of something that is not opened: a symlink, FIFO or device.
pub(crate) fn xattrs_of_entry(
    directory: &Directory,
    name: &[u8],
) -> rustix::io::Result<Option<Vec<Xattr>>> {
    xattrs_at(&directory.short_path(name))
}

/// Attributes of what is at `path`; a symlink is not followed.
pub(crate) fn xattrs_at(path: &Path) -> rustix::io::Result<Option<Vec<Xattr>>> {
    collect(
        |list| rustix::fs::llistxattr(path, list),
        |name, value| rustix::fs::lgetxattr(path, name, value),
    )
}

fn collect(
    list: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Option<Vec<Xattr>>> {
    // Almost no file has more than a few attributes: a short list on the stack first.
    let mut short = [0; 512];
    let mut long = Vec::new();
    let names = match list(&mut short) {
        Ok(len) => &short[..len],
        Err(Errno::RANGE) => {
            long.resize(XATTR_MAX, 0);
            let len = list(&mut long)?;
            &long[..len]
        }
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for name in names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = vec![0; XATTR_MAX];
        match get(name, &mut value) {
            Ok(len) => {
                value.truncate(len);
                found.push(Xattr {
                    name: name.to_vec(),
                    value,
                });
            }
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(error) => return Err(error),
        }
    }
    found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok((!found.is_empty()).then_some(found))
}
