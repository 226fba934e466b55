//! Which packs are sealed under older keys, and how many of them one run seals anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rayon::prelude::*;
use repo_format::PackId;

use super::plan::Usage;
use super::{Amount, GcReport, Reseal};
use crate::error::Result;
use crate::repository::Repository;

/// What one run knows of the keys of packs, and what it has left to copy.
#[derive(Default)]
pub(super) struct Resealing {
    epochs: HashMap<PackId, u32>,
    done: u64,
}

/// Packs of older keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Old {
    pub(super) packs: BTreeSet<PackId>,
    /// Most bytes to copy out of them.
    pub(super) budget: u64,
    /// Copy one of them whatever it holds, so that every run makes progress.
    pub(super) at_least_one: bool,
}

impl Resealing {
    /// Looks at the headers of packs not seen before; one small read each, on all cores.
    pub(super) fn old(
        &mut self,
        repository: &Repository,
        packs: &BTreeMap<PackId, Usage>,
        reseal: Reseal,
    ) -> Result<Old> {
        let limit = match reseal {
            Reseal::No => return Ok(Old::default()),
            Reseal::UpTo(bytes) => bytes,
            Reseal::All => u64::MAX,
        };
        let unseen: Vec<PackId> = packs
            .iter()
            .filter(|(id, usage)| usage.needed > 0 && !self.epochs.contains_key(*id))
            .map(|(id, _)| *id)
            .collect();
        let seen: Vec<(PackId, u32)> = repository.pool()?.install(|| {
            let epoch = |id: &PackId| {
                let opener = repository.inner.segments.opener(id)?;
                Ok((*id, opener.header().epoch))
            };
            unseen.par_iter().map(epoch).collect::<Result<_>>()
        })?;
        self.epochs.extend(seen);
        let newest = repository.inner.ring.sealing();
        let is_old = |id: &&PackId| self.epochs.get(*id).is_some_and(|epoch| *epoch < newest);
        Ok(Old {
            packs: packs.keys().filter(is_old).copied().collect(),
            budget: limit.saturating_sub(self.done),
            at_least_one: self.done == 0,
        })
    }

    /// Counts what a commit did to the packs of `old`.
    pub(super) fn tell(
        &mut self,
        report: &mut GcReport,
        old: &Old,
        gone: &[(PackId, Usage)],
        kept: &[(PackId, Usage)],
    ) {
        let is_old = |(id, _): &&(PackId, Usage)| old.packs.contains(id);
        for (_, usage) in gone.iter().filter(is_old) {
            self.done += usage.needed;
            report.resealed.add(usage.size);
        }
        report.old_keys = Amount::of(kept.iter().filter(is_old).map(|(_, usage)| usage.size));
    }
}
