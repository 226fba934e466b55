//! Budgets of every queue, cache and buffer. Together with the key derivation (64 MiB, released
//! before any of these fill) they keep a command under 160 MB.

/// A segment is closed when its raw length reaches this, in bytes.
pub(crate) const SEGMENT_SIZE: u32 = 2 << 20;
/// A pack is closed when its length reaches this, in bytes.
pub(crate) const PACK_SIZE: u32 = 16 << 20;
/// A pack is closed when it holds so many blobs, however short they are.
pub(crate) const PACK_BLOBS_MAX: usize = 200_000;
/// Bytes of a pack in a distant store that are read at once around a short segment.
pub(crate) const NEAR_SPAN: u64 = 128 << 10;
/// Such spans that are kept.
pub(crate) const NEAR_SPANS_MAX: usize = 128;
/// Deepest delta that is written: a reader of the chunk decodes so many others before it, and a
/// collector keeps them.
pub(crate) const DELTA_DEPTH: u8 = 16;
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

/// Headers of packs and index objects read at once when keys are retired.
pub(crate) const HEADERS_AT_ONCE: usize = 16;

/// How often a log is read that looks damaged, as one does from which commits are being removed.
pub(crate) const LOG_ATTEMPTS: u32 = 2;
/// Locks asked for or renewed at once.
pub(crate) const LOCKS_AT_ONCE: usize = 32;
/// Snapshots whose locks are remembered as a whole.
pub(crate) const LOCKED_TREES_MAX: usize = 64;
/// Longest file in which a client remembers locks, in bytes.
pub(crate) const LOCK_LEDGER_MAX: usize = 64 << 20;
/// Commits fetched at once.
pub(crate) const LOG_FETCHES: usize = 8;
/// Attempts to win the race for the next commit.
pub(crate) const COMMIT_ATTEMPTS: u32 = 1000;
/// Bytes of a file held while it is cut; twice the longest chunk, so that a window always yields.
pub(crate) const WINDOW: usize = 2 << 20;
/// Windows of one large file that are cut and not yet listed.
pub(crate) const WINDOWS_AHEAD: u64 = 8;
/// Files up to this size are read and cut by one thread in one piece, in bytes.
pub(crate) const SMALL_FILE: u64 = WINDOW as u64;
/// Entries in one unit of work.
pub(crate) const BATCH_ITEMS: usize = 96;
/// Directories whose entries may share one unit of work (each holds a file descriptor).
pub(crate) const BATCH_DIRECTORIES: usize = 16;
/// Units of work between the walk and the tree.
pub(crate) const BATCHES_IN_FLIGHT: usize = 24;
/// Findings a check keeps; more are counted.
pub(crate) const FINDINGS_MAX: usize = 50_000;
/// Objects without a reference that a check names; more are counted.
pub(crate) const CHECK_NOTES_MAX: u64 = 20;
/// Stored bytes of a pack that one thread of a check reads at once.
pub(crate) const CHECK_SPAN: u64 = 2 << 20;
/// Spans waiting for a thread of a check.
pub(crate) const CHECK_QUEUE: usize = 6;
/// Pack directories a check reads ahead.
pub(crate) const CHECK_DIRECTORIES: usize = 4;
/// Bytes read of the end of a pack, in the hope that its directory fits.
pub(crate) const DIRECTORY_GUESS: u64 = 128 << 10;
/// Tree nodes and chunk lists that a check remembers as sound; past it they are walked again.
pub(crate) const SOUND_NODES_MAX: usize = 1 << 20;
/// Damaged blobs a check names with their files; more are counted.
pub(crate) const LOSSES_MAX: usize = 10_000;
/// Files that a check names for one damaged blob; more are counted.
pub(crate) const LOSS_FILES_MAX: usize = 20;
/// Snapshots that a check names for one damaged blob in one file; more are counted.
pub(crate) const LOSS_SNAPSHOTS_MAX: usize = 20;
/// Packs in a parity group, and its parity objects, unless somebody asks for other numbers.
pub(crate) const PARITY_PACKS: u32 = 16;
/// See [`PARITY_PACKS`].
pub(crate) const PARITY_SHARDS: u32 = 2;
/// Blocks of each pack of a group that are read and coded at once, of 64 KiB each.
pub(crate) const PARITY_SPAN_BLOCKS: u64 = 8;
/// Parity objects of one group built at once, in bytes; at least one is.
pub(crate) const PARITY_BUFFER: u64 = 48 << 20;
/// A parity group that is not whole is left alone for so long, in milliseconds: it may be being
/// written. Patience only; nothing rests on it.
pub(crate) const PARITY_GRACE_MS: i64 = 60 * 60 * 1000;
/// Pack directories a repair reads at once.
pub(crate) const REPAIR_DIRECTORIES: usize = 16;
/// Bytes of a pack without a directory that are searched for a segment at once.
pub(crate) const RESYNC_WINDOW: u64 = 64 << 10;
/// Pairs of an id in the source and its id in the target that a copy remembers, 112 bytes each;
/// past it the least recently used are looked for again.
pub(crate) const COPY_PAIRS_MAX: usize = 1 << 17;
/// Chunk lists of a file that a comparison of snapshots opens beyond those both have; past it a
/// difference is counted by whole lists.
pub(crate) const DIFF_LISTS_MAX: u64 = 1024;
/// Files with several links that a tar archive links to each other; further ones are written apart.
pub(crate) const EXPORT_LINKS_MAX: usize = 1 << 17;
/// What a zip archive keeps for its directory, in bytes; it does not take more entries.
pub(crate) const EXPORT_ROWS_MAX: usize = 64 << 20;
/// What a search remembers of paths and their versions, in bytes; past it the rest of the paths is
/// searched in another pass.
pub(crate) const FIND_BYTES_MAX: usize = 32 << 20;
/// Snapshots whose usage is told apart: one number in an entry of the index names them.
pub(crate) const USAGE_SNAPSHOTS_MAX: usize = 1 << 30;
/// Small packs, and small index objects, are merged when there are so many of them.
pub(crate) const MERGE_AT: usize = 8;
/// Bytes a collector copies before it commits what it did and looks again.
pub(crate) const GC_ROUND_BYTES: u64 = 4 << 30;
/// Times a collector starts over because another one was first.
pub(crate) const GC_ATTEMPTS: u32 = 10;
/// Times a snapshot starts over because what it relied on was collected and deleted.
pub(crate) const SNAPSHOT_ATTEMPTS: u32 = 5;
/// Live deltas whose base nothing else needs that a collector remembers; of others the base stays.
pub(crate) const REBASE_MAX: usize = 1 << 18;
/// Stored bytes of a pack that one thread of a collector reads at once.
pub(crate) const REPACK_SPAN: u64 = 8 << 20;
/// Bytes between two segments that are read along rather than asked for apart.
pub(crate) const REPACK_GAP: u64 = 256 << 10;
/// Half-written files of a local store younger than this are never taken for left behind: their
/// writer would fail. In milliseconds.
pub(crate) const STAGED_GRACE_MIN_MS: i64 = 60 * 60 * 1000;
/// Objects deleted at once.
pub(crate) const DELETES: usize = 16;
/// Components of a path that an adapter puts into a snapshot.
pub(crate) const BUILD_DEPTH_MAX: usize = 256;
/// Decoded segments that a reader of many files keeps, in bytes.
pub(crate) const READER_SEGMENT_BYTES: usize = 40 << 20;
/// Decoded tree nodes that it keeps, in bytes; as many again for chunk lists.
pub(crate) const READER_NODE_BYTES: usize = 8 << 20;
/// Most bytes one read of a file returns.
pub(crate) const READER_READ_MAX: usize = 8 << 20;
/// Bytes decoded ahead of who reads a file in order.
pub(crate) const READ_AHEAD_BYTES: u64 = 8 << 20;
/// Bytes read in order before anything is read ahead.
pub(crate) const READ_AHEAD_START: u64 = 256 << 10;
/// How far from where the last read ended the next may start and still be in order: requests
/// that are out together overtake each other.
pub(crate) const READ_AHEAD_SLACK: u64 = 2 << 20;
/// Threads that read ahead.
pub(crate) const READ_AHEAD_TASKS: usize = 6;
/// Pieces of memory for segments that a reader keeps for the next ones.
pub(crate) const READER_SPARE_MAX: usize = 6;
/// Longest of them that it keeps, in bytes.
pub(crate) const READER_SPARE_EACH: usize = 4 << 20;
