//! What the log says at one number: a fold of its commits.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use repo_format::commit::{
    Beginning, Checkpoint, Commit, CommitHash, IndexRef, Retag, SnapshotRef,
};
use repo_format::{IndexId, PackId, SnapshotId};

use crate::error::{Error, Result};

/// The state of a repository after one commit.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// Number of the newest commit folded; 0 before the first.
    pub(crate) number: u64,
    /// Hash of its stored bytes.
    pub(crate) hash: CommitHash,
    /// Key epoch that the newest commit folded, or the checkpoint, is sealed under; 0 before the first.
    pub(crate) epoch: u32,
    /// Snapshots in the order they were added.
    pub(crate) snapshots: Vec<SnapshotRef>,
    /// Live index objects, oldest first.
    pub(crate) indexes: Vec<IndexRef>,
    /// Packs no snapshot may refer to any more, and the commit that said so.
    pub(crate) condemned: BTreeMap<PackId, u64>,
    /// Where the log begins, once older epochs were retired.
    pub(crate) begins: Option<Beginning>,
    /// Packs said to be deleted by a commit folded since this state was loaded. A writer that slept
    /// through condemnation and sweep must still learn of both.
    swept: BTreeSet<PackId>,
    /// Index objects removed by a commit folded since this state was loaded; some were never live.
    removed: BTreeSet<IndexId>,
    /// The newest commit folded since this state was loaded that took something away from writers:
    /// condemned packs or removed index objects.
    collected: u64,
    /// The newest commit folded since this state was loaded that added index objects.
    indexed: u64,
}

impl State {
    /// Folds one commit, whose stored bytes hash to `hash`.
    pub(crate) fn apply(&mut self, commit: Commit, hash: CommitHash) -> Result<()> {
        if commit.number != self.number + 1 || commit.previous != self.hash {
            return Err(Error::BrokenChain {
                number: commit.number,
            });
        }
        let removed: BTreeSet<SnapshotId> = commit.remove_snapshots.into_iter().collect();
        self.snapshots
            .retain(|known| !removed.contains(&known.snapshot.id()));
        self.snapshots.extend(commit.add_snapshots);
        let retag: BTreeMap<SnapshotId, Retag> = commit
            .retag
            .into_iter()
            .map(|change| (change.id, change))
            .collect();
        if !retag.is_empty() {
            for known in &mut self.snapshots {
                if let Some(change) = retag.get(&known.snapshot.id()) {
                    known.tags.clone_from(&change.tags);
                    if let Some(protected) = change.protected {
                        known.protected = protected.then_some(true);
                    }
                }
            }
        }
        self.indexes
            .retain(|index| !commit.remove_indexes.contains(&index.id));
        self.removed.extend(&commit.remove_indexes);
        if !commit.add_indexes.is_empty() {
            self.indexed = commit.number;
        }
        self.indexes.extend(commit.add_indexes);
        if !commit.condemn.is_empty() || !commit.remove_indexes.is_empty() {
            self.collected = commit.number;
        }
        for pack in commit.condemn {
            self.condemned.insert(pack, commit.number);
        }
        for pack in commit.swept {
            self.condemned.remove(&pack);
            self.swept.insert(pack);
        }
        if let Some(epoch) = commit.retire {
            self.begins = Some(Beginning {
                commit: commit.number,
                epoch,
            });
        }
        self.number = commit.number;
        self.hash = hash;
        Ok(())
    }

    /// Whether a collector was at work after commit `number`, so that what was found stored then
    /// may be going away.
    pub(crate) fn collected_after(&self, number: u64) -> bool {
        self.collected > number
    }

    /// Whether something was stored after commit `number`.
    pub(crate) fn indexed_after(&self, number: u64) -> bool {
        self.indexed > number
    }

    /// The oldest commit of the log; what may lie below it counts for nothing.
    pub(crate) fn oldest(&self) -> u64 {
        self.begins.map_or(1, |begins| begins.commit)
    }

    /// Packs that no snapshot may refer to: condemned, or deleted since.
    pub(crate) fn gone(&self) -> Gone {
        let condemned = self.condemned.keys();
        Gone(condemned.chain(&self.swept).copied().collect())
    }

    /// Whether a commit folded since this state was loaded said that nothing may name this index
    /// object any more.
    pub(crate) fn was_removed(&self, index: &IndexId) -> bool {
        self.removed.contains(index)
    }

    pub(crate) fn from_checkpoint(checkpoint: Checkpoint, epoch: u32) -> Self {
        // A checkpoint that does not tell since when counts from itself: later, never earlier.
        let since = checkpoint.condemned_at.unwrap_or_default();
        let since = since
            .into_iter()
            .chain(std::iter::repeat(checkpoint.number));
        Self {
            condemned: checkpoint.condemned.into_iter().zip(since).collect(),
            begins: checkpoint.begins,
            swept: BTreeSet::new(),
            removed: BTreeSet::new(),
            collected: 0,
            indexed: 0,
            number: checkpoint.number,
            hash: checkpoint.hash,
            epoch,
            snapshots: checkpoint.snapshots,
            indexes: checkpoint.indexes,
        }
    }

    pub(crate) fn to_checkpoint(&self) -> Checkpoint {
        Checkpoint {
            number: self.number,
            hash: self.hash,
            snapshots: self.snapshots.clone(),
            indexes: self.indexes.clone(),
            condemned: self.condemned.keys().copied().collect(),
            needs: Vec::new(),
            condemned_at: Some(self.condemned.values().copied().collect()),
            begins: self.begins,
        }
    }

    /// The snapshot with this id.
    pub(crate) fn snapshot(&self, id: &SnapshotId) -> Option<&SnapshotRef> {
        self.snapshots
            .iter()
            .find(|known| known.snapshot.id() == *id)
    }
}

/// Packs no look-up may lead to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gone(HashSet<PackId>);

impl Gone {
    /// These and `more`.
    pub(crate) fn and(mut self, more: &[PackId]) -> Self {
        self.0.extend(more);
        self
    }

    /// Whether `pack` is condemned or deleted.
    pub(crate) fn contains(&self, pack: &PackId) -> bool {
        self.0.contains(pack)
    }
}
