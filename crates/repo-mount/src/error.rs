//! What can go wrong with a mount.

use std::io;
use std::path::PathBuf;

/// A mount that failed. Messages name the directory; causes are in `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Only an existing directory can be mounted on.
    #[error("cannot mount on {path}: it is not a directory")]
    NotADirectory {
        /// The directory asked for.
        path: PathBuf,
    },
    /// The kernel's FUSE device is missing.
    #[error("cannot mount: /dev/fuse is missing; load the kernel module fuse")]
    NoFuse,
    /// The kernel, or the program that asks it, refused.
    #[error("cannot mount on {path}")]
    Mount {
        /// The directory asked for.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The kernel refused an overlay.
    #[error("cannot mount an overlay on {path}")]
    Overlay {
        /// Where it was to be.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file system could not be taken away.
    #[error("cannot unmount {path}")]
    Unmount {
        /// Where it is mounted.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The repository could not be used.
    #[error(transparent)]
    Repository(#[from] repo_core::Error),
}
