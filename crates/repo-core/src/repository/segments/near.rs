//! Reading single segments, those of a distant store together with what lies near them.
//!
//! What one snapshot changed in a file lies side by side in a pack. Who follows the bases of many
//! chunks meets one pack after the other, a short segment in each, and comes back for the next
//! chunk: so spans of packs are kept for a while.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use lru::LruCache;
use repo_format::{PackId, pack};

use super::SegmentReader;
use crate::error::{Error, Result};
use crate::limits::{NEAR_SPAN, NEAR_SPANS_MAX};
use crate::repository::index::{IndexSet, SegmentAddress};

/// Spans of packs that were read lately.
pub(super) struct Spans(Mutex<LruCache<(PackId, u64), Bytes>>);

impl Default for Spans {
    fn default() -> Self {
        let max = NonZeroUsize::new(NEAR_SPANS_MAX).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(LruCache::new(max)))
    }
}

impl SegmentReader {
    /// Reads the clear prefix and the sealed body; of a distant store with the span they lie in.
    pub(super) fn fetch(
        &self,
        index: &IndexSet,
        address: &SegmentAddress,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let range = self.range(address)?;
        let key = pack::path(&address.pack);
        let long = range.end - range.start > NEAR_SPAN;
        if !long && self.storage.store().local_path(&key).is_none() {
            let size = index.pack_size(&address.pack);
            if let Some(size) = size.filter(|size| *size >= range.end) {
                match self.gather(&address.pack, &range, size, buffer) {
                    Ok(()) => return Ok(()),
                    // What is wrong may lie beside the segment, for example the end of a cut pack.
                    Err(error) => tracing::debug!(%error, key, "reading a segment by itself"),
                }
            }
        }
        self.storage.read(&key, range, buffer)
    }

    /// Puts a range of a pack of `size` bytes together out of its spans.
    fn gather(
        &self,
        pack: &PackId,
        range: &Range<u64>,
        size: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let outside = || Error::Internal { what: "span" };
        buffer.clear();
        for number in range.start / NEAR_SPAN..=(range.end - 1) / NEAR_SPAN {
            let start = number * NEAR_SPAN;
            let bytes = self.span((*pack, number), start..size.min(start + NEAR_SPAN))?;
            let from = range.start.saturating_sub(start);
            let to = (range.end - start).min(NEAR_SPAN);
            let (from, to) = usize::try_from(from)
                .and_then(|from| Ok((from, usize::try_from(to)?)))
                .map_err(|_| outside())?;
            buffer.extend_from_slice(bytes.get(from..to).ok_or_else(outside)?);
        }
        Ok(())
    }

    fn span(&self, name: (PackId, u64), span: Range<u64>) -> Result<Bytes> {
        let spans = || self.spans.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = spans().get(&name) {
            return Ok(known.clone());
        }
        let mut bytes = Vec::new();
        self.storage.read(&pack::path(&name.0), span, &mut bytes)?;
        let bytes = Bytes::from(bytes);
        spans().put(name, bytes.clone());
        Ok(bytes)
    }
}
