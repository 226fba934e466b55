//! Snapshots for programs that know files: as a mounted file system, and as an object store.
//!
//! [`Mount`] shows all snapshots of a repository, or one, as a read-only file system. [`SnapshotStore`]
//! shows one snapshot as a read-only `object_store::ObjectStore`, for programs that read tables.
//! Both read through `repo_core::Reader`, whose caches bound memory. [`Overlay`] makes what is mounted
//! writable, with the changes in a directory.

mod error;
mod fs;
mod guard;
mod limits;
mod location;
mod overlay;
mod session;
mod store;

pub use error::Error;
pub use fs::SnapshotFilter;
pub use overlay::Overlay;
pub use session::{Ended, Mount, MountOptions};
pub use store::SnapshotStore;
