//! Every limit of this crate, in one place.

use std::time::Duration;

/// Time in which a store has to answer one request of this crate's size.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Attempts made of one request that gets no answer.
pub const ATTEMPTS_MAX: u32 = 4;

/// First pause between two attempts; each later one is twice as long.
pub const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Bytes asked for in one request.
pub const READ_SIZE: u64 = 8 << 20;

/// Longest location, in bytes.
pub const LOCATION_MAX: usize = 4096;

/// Longest `_last_checkpoint`, in bytes.
pub const HINT_MAX: u64 = 1 << 20;

/// Longest line of a Delta log: one action with its statistics, in bytes.
pub const ACTION_MAX: usize = 32 << 20;

/// Files that one table may refer to. Each takes a few hundred bytes of memory.
pub const FILES_MAX: usize = 20_000_000;

/// Commits of a Delta log that one version may be made of.
pub const COMMITS_MAX: usize = 1_000_000;

/// Commits of a Delta log read at a time.
pub const BATCH_COMMITS: usize = 32;

/// Sidecars of one Delta checkpoint.
pub const SIDECARS_MAX: usize = 100_000;

/// Largest checkpoint file of a Delta log, in bytes.
pub const CHECKPOINT_MAX: u64 = 64 << 30;

/// Rows of a checkpoint decoded at once.
pub const CHECKPOINT_ROWS: usize = 4096;

/// Attempts to take a table whose files vanish while they are read.
pub const TABLE_ATTEMPTS: u32 = 5;

/// Files of one table whose size and time are asked for one by one; with more, their directory is
/// listed, a thousand a request.
pub const HEADS_MAX: usize = 8;

/// Directories below a warehouse prefix that are searched for tables.
pub const DISCOVERY_DEPTH_MAX: usize = 8;

/// Directories looked at while searching a warehouse.
pub const DISCOVERY_DIRECTORIES_MAX: usize = 100_000;

/// Requests of one search, listing or comparison in flight.
pub const REQUESTS_MAX: usize = 32;

/// Longest manifest of a snapshot, in bytes.
pub const MANIFEST_MAX: u64 = 8 << 30;

/// Longest record of a table in a snapshot, in bytes; its schema is in it.
pub const RECORD_MAX: u64 = 256 << 20;

/// Part of an upload to an object store, in bytes; the largest object has 10,000.
pub const UPLOAD_PART: usize = 16 << 20;

/// Largest object that is read together with others.
pub const SMALL_OBJECT: u64 = 1 << 20;

/// Objects read together.
pub const BATCH_FILES: usize = 16;

/// Bytes of objects read together.
pub const BATCH_BYTES: u64 = 8 << 20;

/// Files that a restore writes to a store at once; each has a part of an upload in memory.
pub const WRITERS: usize = 8;

/// Longest answer of a catalog, in bytes; that to the question for a table holds its metadata.
pub const CATALOG_ANSWER_MAX: usize = 128 << 20;

/// Tables and namespaces of one catalog.
pub const CATALOG_TABLES_MAX: usize = 1_000_000;

/// Namespaces of a catalog inside each other.
pub const CATALOG_DEPTH_MAX: usize = 32;
