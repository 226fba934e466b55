//! The directory of one pack, read from the end of the pack.

use repo_format::pack::{self, DirectorySegment, TRAILER_LEN};
use repo_format::{HEADER_LEN, PackId};

use crate::error::{Error, Result};
use crate::limits::DIRECTORY_GUESS;
use crate::repository::segments::SegmentReader;

impl SegmentReader {
    /// What the pack of `size` bytes holds, as its own directory lists it. Two or three reads.
    pub(crate) fn directory(&self, id: &PackId, size: u64) -> Result<Vec<DirectorySegment>> {
        let opener = self.opener(id)?;
        let key = pack::path(id);
        let bad = |source| Error::object(key.clone(), source);
        let mut tail = Vec::new();
        let from = size.saturating_sub(DIRECTORY_GUESS).max(HEADER_LEN as u64);
        self.storage().read(&key, from..size.max(from), &mut tail)?;
        let last = tail.len().saturating_sub(TRAILER_LEN);
        let sealed_len =
            pack::trailer("pack", &tail[last..], pack::TRAILER_MAGIC, size).map_err(bad)?;
        if let Some(start) = last.checked_sub(sealed_len as usize) {
            return pack::open_directory(&opener, size, &mut tail[start..last]).map_err(bad);
        }
        let end = size - TRAILER_LEN as u64;
        let start = end - u64::from(sealed_len);
        self.storage().read(&key, start..end, &mut tail)?;
        pack::open_directory(&opener, size, &mut tail).map_err(bad)
    }
}
