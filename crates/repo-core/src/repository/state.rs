//! What the log says at one number: a fold of its commits.

use std::collections::{BTreeMap, BTreeSet};

use repo_format::commit::{Checkpoint, Commit, CommitHash, IndexRef, Retag, SnapshotRef};
use repo_format::{PackId, SnapshotId};

use crate::error::{Error, Result};

/// The state of a repository after one commit.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// Number of the newest commit folded; 0 before the first.
    pub(crate) number: u64,
    /// Hash of its stored bytes.
    pub(crate) hash: CommitHash,
    /// Snapshots in the order they were added.
    pub(crate) snapshots: Vec<SnapshotRef>,
    /// Live index objects, oldest first.
    pub(crate) indexes: Vec<IndexRef>,
    /// Packs no snapshot may refer to any more.
    pub(crate) condemned: Vec<PackId>,
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
        self.indexes.extend(commit.add_indexes);
        self.condemned.extend(commit.condemn);
        self.condemned.retain(|pack| !commit.swept.contains(pack));
        self.number = commit.number;
        self.hash = hash;
        Ok(())
    }

    pub(crate) fn from_checkpoint(checkpoint: Checkpoint) -> Self {
        Self {
            number: checkpoint.number,
            hash: checkpoint.hash,
            snapshots: checkpoint.snapshots,
            indexes: checkpoint.indexes,
            condemned: checkpoint.condemned,
        }
    }

    pub(crate) fn to_checkpoint(&self) -> Checkpoint {
        Checkpoint {
            number: self.number,
            hash: self.hash,
            snapshots: self.snapshots.clone(),
            indexes: self.indexes.clone(),
            condemned: self.condemned.clone(),
            needs: Vec::new(),
        }
    }

    /// The snapshot with this id.
    pub(crate) fn snapshot(&self, id: &SnapshotId) -> Option<&SnapshotRef> {
        self.snapshots
            .iter()
            .find(|known| known.snapshot.id() == *id)
    }
}
