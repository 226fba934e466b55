//! Bounds of the archive of WAL.

/// Files that one push takes at most.
pub(crate) const BATCH_MAX: usize = 64;
/// Bytes that one push takes at most, beyond the file it was called for.
pub(crate) const BATCH_BYTES: u64 = 1 << 30;
/// Longest segment.
pub(crate) const SEGMENT_MAX: u64 = 1 << 30;
/// Longest history file or label.
pub(crate) const TEXT_MAX: u64 = 16 << 20;
/// Entries of one volume that are read; 4 GiB hold 4,096 of the smallest segments.
pub(crate) const VOLUME_ENTRIES_MAX: usize = 1 << 16;
/// Snapshots of a volume that are left until one takes their place.
pub(crate) const HEADS_MAX: usize = 8;
/// Times a push starts over because other writers were first.
pub(crate) const PUSH_ATTEMPTS: u32 = 8;
/// Bytes of a file that are compared, hashed or copied at once.
pub(crate) const PART: usize = 1 << 20;
/// Longest acknowledgement.
pub(crate) const ACKNOWLEDGEMENT_MAX: u64 = 128;
