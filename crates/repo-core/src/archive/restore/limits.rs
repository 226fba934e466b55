//! Budgets of a restore.

/// Content bytes planned together. Long windows pay: a segment is decoded once in each window
/// that needs it, and duplicates lie anywhere.
pub(super) const WINDOW_BYTES: u64 = 512 << 20;
/// Chunks and holes planned together.
pub(super) const WINDOW_PARTS: usize = 64 << 10;
/// Files planned together.
pub(super) const WINDOW_FILES: usize = 32 << 10;
/// The first window is smaller by this many powers of two, so that work begins soon.
pub(super) const WINDOW_START: u32 = 2;
/// Large files a window may keep open.
pub(super) const WINDOW_HANDLES: usize = 64;
/// Most directories and small files kept open between uses, where the process may open enough.
pub(super) const HANDLES: u64 = 8192;
/// Descriptors left to everything else: large files of three windows, directories on the way down,
/// packs, and the rest of the program.
pub(super) const HANDLES_SPARED: u64 = 512;
/// Windows at work while the next one is planned.
pub(super) const WINDOWS_IN_FLIGHT: usize = 2;
/// Directories on the way down that stay open; deeper ones are opened again when needed.
pub(super) const DEPTH_OPEN: usize = 64;
/// Longest read of a pack on a local disk, in bytes, unless one segment is longer.
pub(super) const READ_LOCAL: u64 = 1 << 20;
/// Longest read of a pack elsewhere, in bytes, unless one segment is longer.
pub(super) const READ_REMOTE: u64 = 4 << 20;
/// Bytes between two segments that are read along rather than asked for apart.
pub(super) const GAP: u64 = 256 << 10;
/// Reads of one window in flight when packs are not on a local disk.
pub(super) const READS_IN_FLIGHT: usize = 4;
/// Files up to this size are compared and written by one thread in one piece.
pub(super) const SMALL: u64 = 4 << 20;
/// Bytes of an existing file compared as one unit of work.
pub(super) const SLICE: u64 = 2 << 20;
/// Bytes of an existing file read at once.
pub(super) const COMPARE: usize = 1 << 20;
/// Bytes written at once. Longer writes make the page cache take its memory in larger pieces, which
/// a virtual machine has rarely touched before: measured three times slower at 1 MiB.
pub(super) const WRITE: usize = 128 << 10;
/// Findings kept in the report; all of them are told to the progress receiver.
pub(super) const FINDINGS: usize = 10_000;
/// Names of an existing directory held at once while looking for what to delete.
pub(super) const NAMES: usize = 65_536;
