//! Bounds on what is held or waited for.

use std::time::Duration;

/// Longest description of a cluster that is read from a snapshot, in bytes.
pub(crate) const DESCRIPTION_MAX: u64 = 16 << 20;
/// Longest list of relations that is recorded or read, in bytes; about 500,000 relations.
pub(crate) const RELATIONS_MAX: usize = 64 << 20;
/// Damaged pages that are recorded; the report says when there were more.
pub(crate) const CORRUPT_MAX: usize = 10_000;
/// Entries of a directory that are handed out at once.
pub(crate) const BATCH: usize = 4096;
/// Deepest directory that is followed below the data directory.
pub(crate) const DEPTH_MAX: usize = 32;
/// How often a page with a wrong checksum is read again: the server may be writing it.
pub(crate) const PAGE_READS: u32 = 5;
/// Pause before a page or `pg_control` is read again.
pub(crate) const READ_PAUSE: Duration = Duration::from_millis(20);
/// How often `pg_control` is read until it is whole.
pub(crate) const CONTROL_READS: u32 = 50;
/// Longest file of the server that is read whole, in bytes.
pub(crate) const SMALL_FILE_MAX: u64 = 1 << 20;
/// How long a server may take to accept a session.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// After how long of silence a connection is probed.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(60);
/// Bytes at the end of a server's log that are searched for the reason of its end.
pub(crate) const LOG_TAIL: u64 = 64 << 10;
/// Pause between looks at a server that is to stop.
pub(crate) const STOP_PAUSE: Duration = Duration::from_millis(20);
/// Looks before a server that is to stop is killed: 10 seconds.
pub(crate) const STOP_PAUSES: u32 = 500;
