//! Local files for adapters: what they are, whether they changed, and their bytes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use repo_format::tree::{Entry, EntryType};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat};

use crate::archive::builder::Builder;
use crate::archive::content::ReadAt;
use crate::archive::{ingest, meta};

/// An open regular file.
pub struct LocalFile {
    fd: OwnedFd,
    stat: Stat,
    entry: Entry,
}

impl Builder<'_> {
    /// Opens the regular file at `path`; symbolic links are not followed.
    pub fn open_local(&self, path: &Path) -> io::Result<LocalFile> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        if meta::entry_type(&stat) != Some(EntryType::File) {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut entry = meta::entry(name(path), EntryType::File, &stat, self.names());
        if ingest::is_racy(&stat) {
            entry.ctime = None;
        }
        entry.xattrs = meta::xattrs_of_file(fd.as_fd())?;
        Ok(LocalFile { fd, stat, entry })
    }

    /// The entry of the directory, symbolic link or other thing at `path`, without content; `None`
    /// for a socket. Links are not followed.
    pub fn describe_local(&self, path: &Path) -> io::Result<Option<Entry>> {
        let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
        let Some(kind) = meta::entry_type(&stat) else {
            return Ok(None);
        };
        let mut entry = meta::entry(name(path), kind, &stat, self.names());
        if kind == EntryType::Symlink {
            let target = rustix::fs::readlinkat(CWD, path, Vec::new())?;
            entry.target = Some(target.into_bytes());
        }
        entry.xattrs = meta::xattrs_at(path)?;
        Ok(Some(entry))
    }
}

impl LocalFile {
    /// What it was when it was opened, without content.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Its length when it was opened, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        meta::size(&self.stat)
    }

    /// Whether `before` describes this very file, so that it need not be read: size, times and
    /// inode are the same.
    #[must_use]
    pub fn is(&self, before: &Entry) -> bool {
        meta::unchanged(before, EntryType::File, &self.stat)
    }

    /// Whether it is not as it was when it was opened, of which `read` bytes were read.
    #[must_use]
    pub fn changed(&self, read: u64) -> bool {
        ingest::changed(self.fd.as_fd(), &self.stat, read)
    }
}

impl ReadAt for LocalFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fd.as_fd().read_at(buffer, offset)
    }
}

fn name(path: &Path) -> &[u8] {
    path.file_name().map_or(b"", |name| name.as_bytes())
}
