//! A writable view of a read-only tree: an overlay of the kernel, whose changes lie in a directory.
//!
//! The kernel copies a file in full from below when it is first opened to be written, and reads it in
//! place until then. Only the superuser may mount one.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

use crate::error::Error;
use crate::session::{Ended, unmount};

/// A mounted overlay; taken away when it is dropped.
#[derive(Debug)]
pub struct Overlay {
    target: Option<PathBuf>,
}

impl Overlay {
    /// Shows at `target` what is in `lower` with the changes that are in `changes` and will be made.
    /// Both and the empty directory `work` must be on one file system that an overlay can lie on, as
    /// ext4, XFS and tmpfs; `lower` may be a mounted snapshot. What is written need not survive a
    /// crash: nothing waits for the disk.
    pub fn mount(lower: &Path, changes: &Path, work: &Path, target: &Path) -> Result<Self, Error> {
        let mut options = b"volatile,lowerdir=".to_vec();
        push(&mut options, lower, b"\\,:");
        options.extend(b",upperdir=");
        push(&mut options, changes, b"\\,");
        options.extend(b",workdir=");
        push(&mut options, work, b"\\,");
        let failed = |source| Error::Overlay {
            path: target.to_owned(),
            source,
        };
        let options = CString::new(options).map_err(|error| failed(io::Error::other(error)))?;
        let flags = MountFlags::NODEV | MountFlags::NOSUID;
        rustix::mount::mount(c"repo", target, c"overlay", flags, options.as_c_str())
            .map_err(|error| failed(error.into()))?;
        Ok(Self {
            target: Some(target.to_owned()),
        })
    }

    /// Takes it away, from its place at least when programs still use it.
    pub fn end(mut self) -> Result<Ended, Error> {
        match self.target.take() {
            Some(path) => unmount(&path).map_err(|source| Error::Unmount { path, source }),
            None => Ok(Ended::Unmounted),
        }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if let Some(target) = self.target.take()
            && let Err(error) = unmount(&target)
        {
            tracing::warn!(%error, target = %target.display(), "an overlay stays mounted");
        }
    }
}

/// Adds a path to the options of a mount, with a backslash before each of `special`.
fn push(options: &mut Vec<u8>, path: &Path, special: &[u8]) {
    for byte in path.as_os_str().as_bytes() {
        if special.contains(byte) {
            options.push(b'\\');
        }
        options.push(*byte);
    }
}
