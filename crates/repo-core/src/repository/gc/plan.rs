//! Which packs go, which are copied first, and which stay: a pure function of what is live.

use std::collections::BTreeMap;

use repo_format::PackId;
use repo_format::pack::SEGMENT_PREFIX_LEN;

use super::live::Live;
use super::reseal::Old;
use super::{GcOptions, MaxUnused};
use crate::error::Result;
use crate::limits::MERGE_AT;

/// What one pack holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// Length, in bytes.
    pub(super) size: u64,
    /// Stored bytes of what is needed: of a segment that is needed in part, its share by chunks.
    pub(super) needed: u64,
    /// Segments that are needed at least in part.
    pub(super) segments: u64,
    /// Chunks in them.
    pub(super) chunks: u64,
}

impl Usage {
    fn unused(&self) -> u64 {
        // Header, directory and prefixes of a full pack are not waste.
        if self.needed == 0 {
            return self.size;
        }
        self.size.saturating_sub(self.needed + self.overhead())
    }

    /// Header, trailer, prefixes and directory.
    fn overhead(&self) -> u64 {
        const FIXED: u64 = 160;
        const SEGMENT: u64 = 14 + SEGMENT_PREFIX_LEN as u64;
        const CHUNK: u64 = 36;
        FIXED + self.segments * SEGMENT + self.chunks * CHUNK
    }
}

/// Sums up by pack what is needed.
pub(super) fn usage(live: &Live) -> Result<BTreeMap<PackId, Usage>> {
    let mut packs: BTreeMap<PackId, Usage> = BTreeMap::new();
    for known in live.objects() {
        let tail = known.object.tail();
        for pack in &tail.packs {
            packs.entry(pack.id).or_default().size = pack.size;
        }
        for (row, share) in tail.segments.iter().zip(known.shares()?) {
            if share.needed == 0 {
                continue;
            }
            let Some(usage) = tail
                .packs
                .get(row.pack as usize)
                .and_then(|pack| packs.get_mut(&pack.id))
            else {
                continue;
            };
            let stored = u64::from(row.stored);
            usage.needed += stored * u64::from(share.needed) / u64::from(share.entries.max(1));
            usage.segments += 1;
            usage.chunks += u64::from(share.entries);
        }
    }
    for usage in packs.values_mut() {
        usage.needed = usage.needed.min(usage.size);
    }
    Ok(packs)
}

/// What a run does with the packs of the index.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Nothing in them is needed.
    pub(super) dead: Vec<(PackId, u64)>,
    /// What is needed of them is copied, then they go.
    pub(super) repack: Vec<(PackId, Usage)>,
    /// They stay.
    pub(super) kept: Vec<(PackId, Usage)>,
    /// More packs are worth copying than one round copies.
    pub(super) more: bool,
}

impl Plan {
    /// Decides by `options`, for packs that are to be `pack_size` bytes long. At most `round` bytes
    /// are copied. Those of `old` are copied because of their key.
    pub(super) fn new(
        packs: BTreeMap<PackId, Usage>,
        old: &Old,
        options: &GcOptions,
        pack_size: u64,
        round: u64,
    ) -> Self {
        let mut plan = Self::default();
        let mut rest = Vec::new();
        for (id, usage) in packs {
            if usage.needed == 0 {
                plan.dead.push((id, usage.size));
            } else {
                rest.push((id, usage));
            }
        }
        // The emptiest first: they free most for what they cost.
        rest.sort_by_key(|(id, usage)| {
            let share = u128::from(usage.needed) * 1_000_000 / u128::from(usage.size.max(1));
            (share, *id)
        });
        let small = |usage: &Usage| usage.size < pack_size / 4;
        let merging = rest.iter().filter(|(_, usage)| small(usage)).count() >= MERGE_AT;
        let mut unused: u64 = rest.iter().map(|(_, usage)| usage.unused()).sum();
        let mut total: u64 = rest.iter().map(|(_, usage)| usage.size).sum();
        let budget = options.max_repack_bytes.unwrap_or(u64::MAX);
        let mut copied = 0;
        let mut resealed = 0;
        for (id, usage) in rest {
            let allowed = options.max_unused.of(total);
            let wanted = (unused > allowed && usage.unused() > 0) || (merging && small(&usage));
            let within = resealed + usage.needed <= old.budget;
            let reseal = old.packs.contains(&id) && (within || (old.at_least_one && resealed == 0));
            if !reseal && (!wanted || copied + usage.needed > budget) {
                plan.kept.push((id, usage));
                continue;
            }
            if copied > 0 && copied + usage.needed > round {
                plan.more = true;
                plan.kept.push((id, usage));
                continue;
            }
            copied += usage.needed;
            if reseal {
                resealed += usage.needed;
            }
            unused -= usage.unused();
            total -= usage.unused();
            plan.repack.push((id, usage));
        }
        plan
    }

    /// Bytes of kept packs that nothing needs.
    pub(super) fn unused(&self) -> u64 {
        self.kept.iter().map(|(_, usage)| usage.unused()).sum()
    }
}

impl MaxUnused {
    fn of(self, total: u64) -> u64 {
        match self {
            Self::Unlimited => u64::MAX,
            Self::Bytes(bytes) => bytes,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a share of a length is not exact; negative ones saturate to none"
            )]
            Self::Percent(percent) => (total as f64 * percent / 100.0) as u64,
        }
    }
}

#[cfg(test)]
mod tests;
