//! Every limit of this crate, in one place.

use std::time::Duration;

/// Bytes in one piece of an object that is read as a stream.
pub(crate) const STREAM_PIECE: usize = 1 << 20;
/// Objects of a listing that are collected before they are handed on.
pub(crate) const LIST_PAGE: usize = 1000;
/// Files whose place in a sequence of reads is remembered.
pub(crate) const OPEN_FILES: usize = 64;
/// Requests of the kernel that are worked on at once.
pub(crate) const THREADS: usize = 8;
/// Reads whose surroundings wait to be handed to the kernel; more are not remembered.
pub(crate) const SPILL_QUEUE: usize = 4;
/// Requests the kernel sends ahead of who reads.
pub(crate) const BACKGROUND: u16 = 32;
/// How far the kernel reads ahead where it lets itself be asked, in KiB.
pub(crate) const KERNEL_AHEAD_KIB: u32 = 1024;
/// The log is read on at most so often, when a list of snapshots is looked at.
pub(crate) const REFRESH_EVERY: Duration = Duration::from_secs(2);
/// Time to read the log on; after it the list is shown as it was.
pub(crate) const REFRESH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the kernel may take a list of snapshots as unchanged.
pub(crate) const LIST_TTL: Duration = Duration::from_secs(1);
/// How long it may take what is in a snapshot as unchanged, which it always is.
pub(crate) const CONTENT_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest name in a directory, in bytes.
pub(crate) const NAME_MAX: usize = 255;
/// Earlier lists of snapshots that are kept for listings under way.
pub(crate) const LAYOUTS_KEPT: usize = 4;
