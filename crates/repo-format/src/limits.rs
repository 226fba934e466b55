//! Upper bounds of every stored object. A reader refuses what exceeds them before it allocates.

/// Longest chunk, in bytes. Equal to the chunker's limit.
pub const CHUNK_MAX: usize = 1 << 20;
/// Longest raw segment, in bytes.
pub const SEGMENT_RAW_MAX: usize = 8 << 20;
/// Most chunks in one segment (their ordinal is a `u16`).
pub const SEGMENT_CHUNKS_MAX: usize = 16_384;
/// Deepest delta: so many chunks are decoded before it at most.
pub const DELTA_DEPTH_MAX: u8 = 32;
/// Longest pack, in bytes: offsets are `u32`.
pub const PACK_MAX: u64 = 512 << 20;
/// Most packs in one group that shares parity.
pub const PARITY_PACKS_MAX: u32 = 32;
/// Most parity objects of one group.
pub const PARITY_SHARDS_MAX: u32 = 16;
/// Longest raw pack directory, in bytes.
pub const DIRECTORY_RAW_MAX: usize = 256 << 20;
/// Most entries in one index object.
pub const INDEX_ENTRIES_MAX: usize = 4 << 20;
/// Longest index object, in bytes.
pub const INDEX_MAX: u64 = 256 << 20;
/// Longest commit or checkpoint, in bytes.
pub const COMMIT_MAX: u64 = 64 << 20;
/// Longest config or key slot, in bytes.
pub const CONFIG_MAX: u64 = 64 << 10;
/// Most memory a key slot may ask Argon2id to use, in KiB.
pub const KDF_MEMORY_KIB_MAX: u32 = 1 << 20;
/// Most passes a key slot may ask of Argon2id.
pub const KDF_PASSES_MAX: u32 = 16;
/// Most lanes a key slot may ask of Argon2id.
pub const KDF_LANES_MAX: u32 = 16;
/// Longest encoded tree node, in bytes: a leaf is closed before it exceeds this.
pub const NODE_MAX: usize = CHUNK_MAX;
/// Deepest chunk list of one file and deepest node tree of one directory.
pub const DEPTH_MAX: u8 = 12;
