//! Cuts of a Parquet file: whole pages, groups of small pages, pieces of large ones.
//!
//! A file is a row of units: pages, and stretches of bytes that are no pages (magic, indexes,
//! footer, an uncompressed column chunk, one whose page headers make no sense). A unit that is large but fits a
//! chunk is a chunk of its own; a larger one is cut by content from its start; small ones are
//! grouped. Whether a group ends after a page is decided by that page's own last bytes, in
//! proportion to its length, so groups fall into step again after pages were added or removed,
//! wherever the pages moved to.

use super::{Layout, page};
use crate::cdc::{Cdc, Gear};

/// Progress through one file.
#[derive(Debug)]
pub(crate) struct Walk {
    layout: Layout,
    /// Index of the first range that does not end at or before `at`.
    range: usize,
    /// Start of the next chunk in the file.
    at: u64,
    /// End of the unit that is being cut by content; not after `at` when there is none.
    split_end: u64,
}

/// A stretch of the file that is kept together when it is small.
#[derive(Debug, Clone, Copy)]
struct Unit {
    len: u64,
    /// Longest such unit that is kept whole; zero if it must not be grouped either.
    whole_max: u64,
    /// It is the last of its column chunk, a good place for a group to end.
    ends_range: bool,
}

impl Walk {
    pub(crate) fn new(layout: Layout) -> Self {
        Self {
            layout,
            range: 0,
            at: 0,
            split_end: 0,
        }
    }

    /// Returns whether the next chunk starts a column chunk.
    pub(crate) fn starts_range(&self) -> bool {
        let ranges = self.layout.ranges.iter().skip(self.range);
        ranges
            .map(|range| range.start)
            .take_while(|start| *start <= self.at)
            .any(|start| start == self.at)
    }

    /// Returns the length of the chunk at the start of `bytes` and moves past it.
    ///
    /// `bytes` must be [`CHUNK_MAX`](crate::CHUNK_MAX) long, or all that is left of the file.
    pub(crate) fn cut(&mut self, cdc: &Cdc, gear: &Gear, bytes: &[u8]) -> usize {
        if self.split_end <= self.at {
            let grouped = self.group(cdc, gear, bytes);
            if grouped > 0 {
                return self.advance(grouped);
            }
        }
        let left = clamp(self.split_end - self.at, bytes.len());
        let length = cdc.cut(gear, &bytes[..left]);
        self.advance(length)
    }

    fn advance(&mut self, length: usize) -> usize {
        self.at += length as u64;
        length
    }

    /// Returns the length of the units to keep together, or zero after setting `split_end`.
    fn group(&mut self, cdc: &Cdc, gear: &Gear, bytes: &[u8]) -> usize {
        let mut length = 0;
        loop {
            let unit = self.unit(cdc, self.at + length as u64, &bytes[length..]);
            let unit_len = clamp(unit.len, usize::MAX);
            let fits = unit.len <= unit.whole_max && unit_len <= bytes.len() - length;
            if length == 0 && !fits {
                self.split_end = self.at + unit.len;
                return 0;
            }
            let joined = length.saturating_add(unit_len);
            if length > 0 && (!fits || unit_len >= cdc.avg || joined > cdc.max) {
                return length;
            }
            let page = &bytes[length..joined];
            length = joined;
            let ends = length >= cdc.min && ends_group(cdc, gear, page)
                || length >= cdc.avg && unit.ends_range;
            if ends || length == bytes.len() {
                return length;
            }
        }
    }

    /// Returns the unit at offset `at`, where `bytes` starts.
    fn unit(&mut self, cdc: &Cdc, at: u64, bytes: &[u8]) -> Unit {
        let ranges = &self.layout.ranges;
        while ranges.get(self.range).is_some_and(|range| range.end <= at) {
            self.range += 1;
        }
        let gap = |len, whole_max| Unit {
            len,
            whole_max,
            ends_range: false,
        };
        let small = cdc.min as u64;
        let Some(range) = ranges.get(self.range) else {
            return gap(u64::MAX - at, 0);
        };
        if at < range.start {
            // The magic is the same in every file: apart, it leaves the first group as it would
            // be anywhere else.
            return gap(range.start - at, if at == 0 { 0 } else { small });
        }
        let left = range.end - at;
        if !range.compressed {
            // Shared content does not stop at page edges here, so neither do the chunks.
            return gap(left, small);
        }
        match page::length(&bytes[..clamp(left, bytes.len())]) {
            Ok(len) if len <= left => Unit {
                len,
                whole_max: cdc.max as u64,
                ends_range: len == left,
            },
            _ => gap(left, small),
        }
    }
}

/// Decides by its last bytes whether a group ends after `page`, with a chance of length / avg.
fn ends_group(cdc: &Cdc, gear: &Gear, page: &[u8]) -> bool {
    let draw = u128::from(gear.tail_hash(page) >> 32);
    draw * (cdc.avg as u128) < (page.len() as u128) << 32
}

fn clamp(len: u64, most: usize) -> usize {
    usize::try_from(len).map_or(most, |len| len.min(most))
}
