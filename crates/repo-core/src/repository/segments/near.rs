//! Reading single segments, those of a distant store together with what lies near them.
//!
//! What one snapshot changed in a file lies side by side in a pack. Who follows the bases of many
//! chunks meets one pack after the other, a short segment in each, and comes back for the next
//! chunk: so spans of packs are kept for a while.

use std::collections::BTreeMap;
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
        let numbers = range.start / NEAR_SPAN..range.end.div_ceil(NEAR_SPAN);
        let spans = self.spans(pack, numbers.clone(), size)?;
        buffer.clear();
        for (number, bytes) in numbers.zip(spans) {
            let start = number * NEAR_SPAN;
            let from = range.start.saturating_sub(start);
            let to = (range.end - start).min(NEAR_SPAN);
            let (from, to) = usize::try_from(from)
                .and_then(|from| Ok((from, usize::try_from(to)?)))
                .map_err(|_| outside())?;
            buffer.extend_from_slice(bytes.get(from..to).ok_or_else(outside)?);
        }
        Ok(())
    }

    /// Spans of a pack by their numbers; those that are not held are read at once.
    fn spans(&self, pack: &PackId, numbers: Range<u64>, size: u64) -> Result<Vec<Bytes>> {
        let held = || self.spans.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: BTreeMap<u64, Bytes> = {
            let mut held = held();
            let known = |number| Some((number, held.get(&(*pack, number))?.clone()));
            numbers.clone().filter_map(known).collect()
        };
        let mut missing = numbers.filter(|number| !found.contains_key(number));
        if let Some(first) = missing.next() {
            let last = missing.next_back().unwrap_or(first);
            let range = first * NEAR_SPAN..size.min((last + 1) * NEAR_SPAN);
            let mut bytes = Vec::new();
            self.storage.read(&pack::path(pack), range, &mut bytes)?;
            let len = usize::try_from(NEAR_SPAN).unwrap_or(usize::MAX);
            for (number, span) in (first..).zip(bytes.chunks(len)) {
                // A slice would hold the memory of its neighbours, too.
                let span = Bytes::copy_from_slice(span);
                held().put((*pack, number), span.clone());
                found.insert(number, span);
            }
        }
        Ok(found.into_values().collect())
    }
}
