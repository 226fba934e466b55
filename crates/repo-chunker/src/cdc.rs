//! Keyed FastCDC (v2020) on slices: tables and masks made once, then one call per chunk.
//!
//! The gear tables carry the repository's seed, so that chunk lengths alone do not tell which
//! known file was stored. Which sizes to use is decided by the caller.

use std::borrow::Cow;

use fastcdc::v2020::{Normalization, cut_gear, get_gear_with_seed, select_masks};

use crate::Sizes;

/// Bytes at the end of a page that decide whether a group of pages ends there.
const TAIL: usize = 64;

/// Gear table and its twin shifted left by one bit, both keyed.
#[derive(Debug)]
pub(crate) struct Gear {
    plain: Cow<'static, [u64]>,
    shifted: Cow<'static, [u64]>,
}

impl Gear {
    pub(crate) fn new(seed: u64) -> Self {
        let (plain, shifted) = get_gear_with_seed(seed);
        Self { plain, shifted }
    }

    /// Rolling hash of the last bytes of `bytes`; its upper half depends on all of them.
    pub(crate) fn tail_hash(&self, bytes: &[u8]) -> u64 {
        let tail = &bytes[bytes.len().saturating_sub(TAIL)..];
        tail.iter().fold(0u64, |hash, byte| {
            (hash << 1).wrapping_add(self.plain[usize::from(*byte)])
        })
    }
}

/// Sizes with the masks that belong to them.
#[derive(Debug)]
pub(crate) struct Cdc {
    pub(crate) min: usize,
    pub(crate) avg: usize,
    pub(crate) max: usize,
    mask_s: u64,
    mask_l: u64,
}

impl Cdc {
    /// `sizes` must have passed [`Sizes::validate`].
    pub(crate) fn new(sizes: Sizes) -> Self {
        let avg = sizes.avg as usize;
        let (mask_s, mask_l) = select_masks(avg, Normalization::Level1);
        Self {
            min: sizes.min as usize,
            avg,
            max: sizes.max as usize,
            mask_s,
            mask_l,
        }
    }

    /// Length of the chunk at the start of `bytes`, whose end counts as the end of the data.
    ///
    /// The answer depends on at most the first `max` bytes, so it is final once there are that
    /// many. It is zero only for an empty slice.
    pub(crate) fn cut(&self, gear: &Gear, bytes: &[u8]) -> usize {
        let (_, length) = cut_gear(
            bytes,
            self.min,
            self.avg,
            self.max,
            self.mask_s,
            self.mask_l,
            self.mask_s << 1,
            self.mask_l << 1,
            &gear.plain,
            &gear.shifted,
        );
        length
    }
}
