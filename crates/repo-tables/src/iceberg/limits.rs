//! Budgets of reading and moving tables. Together they keep the move of a table of a hundred thousand files
//! under 256 MB.

/// Longest `metadata.json`, decompressed, in bytes.
pub const METADATA_MAX: u64 = 64 << 20;
/// Longest manifest or manifest list, as it is stored, in bytes.
pub const MANIFEST_MAX: u64 = 128 << 20;
/// Longest file of position deletes or deletion vectors, in bytes.
pub const DELETES_MAX: u64 = 128 << 20;
/// Files read and rewritten at once.
pub(super) const WORKERS: usize = 8;
/// Of files longer than this only one is worked on at a time, in bytes.
pub(super) const LARGE: u64 = 12 << 20;
/// Files told at once by one worker.
pub(super) const BATCH: usize = 512;
/// Batches that wait to be taken.
pub(super) const BATCHES_WAITING: usize = 16;
/// Rows of position deletes that are sorted anew in memory, when a move changes their order.
pub(super) const SORTED_ROWS_MAX: usize = 4_000_000;
/// Longest location, in bytes.
pub(super) const LOCATION_MAX: usize = 64 << 10;
/// Nesting of metadata.
pub(super) const JSON_DEPTH_MAX: usize = 128;
/// Metadata files read to find out which is the newest.
pub(super) const CANDIDATES_READ_MAX: usize = 16;
