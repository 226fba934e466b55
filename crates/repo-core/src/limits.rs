//! Budgets of every queue, cache and buffer. Together with the key derivation (64 MiB, released
//! before any of these fill) they keep a command under 160 MB.

/// A segment is closed when its raw length reaches this, in bytes.
pub(crate) const SEGMENT_SIZE: u32 = 1 << 20;
/// A pack is closed when its length reaches this, in bytes.
pub(crate) const PACK_SIZE: u32 = 16 << 20;
/// Finished packs on their way to the store.
pub(crate) const UPLOADS_MAX: usize = 2;
/// New blobs remembered in memory before they are written out as an index object.
pub(crate) const SESSION_ENTRIES_MAX: usize = 400_000;
/// Decoded segments kept for random access, in bytes.
pub(crate) const SEGMENT_CACHE_BYTES: usize = 24 << 20;
/// Index objects up to this size are kept in memory decoded, in bytes each.
pub(crate) const INDEX_RESIDENT_EACH: u64 = 4 << 20;
/// All index objects kept in memory together, in bytes.
pub(crate) const INDEX_RESIDENT_ALL: u64 = 24 << 20;
/// Opened packs whose keys are kept.
pub(crate) const OPENERS_MAX: usize = 1024;
/// A checkpoint is written after each commit whose number divides by this.
pub(crate) const CHECKPOINT_EVERY: u64 = 64;
/// Commits fetched at once.
pub(crate) const LOG_FETCHES: usize = 8;
/// Attempts to win the race for the next commit.
pub(crate) const COMMIT_ATTEMPTS: u32 = 1000;
/// Bytes of a file held while it is cut; twice the longest chunk, so that a window always yields.
pub(crate) const WINDOW: usize = 4 << 20;
/// Files up to this size are read and cut by one thread in one piece, in bytes.
pub(crate) const SMALL_FILE: u64 = WINDOW as u64;
/// Entries in one unit of work.
pub(crate) const BATCH_ITEMS: usize = 96;
/// Directories whose entries may share one unit of work (each holds a file descriptor).
pub(crate) const BATCH_DIRECTORIES: usize = 16;
/// Units of work between the walk and the tree.
pub(crate) const BATCHES_IN_FLIGHT: usize = 24;
