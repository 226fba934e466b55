//! Files and directories on top of the repository: snapshot, read, restore, compare.

mod tree;
mod view;

pub use view::{SnapshotView, Visit};
