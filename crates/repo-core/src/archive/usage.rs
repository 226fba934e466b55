//! What snapshots hold, share and occupy.

use std::collections::BTreeMap;
use std::sync::Arc;

use repo_format::{PathBytes, SnapshotId};

use crate::archive::reach::reach;
use crate::archive::tree::Trees;
use crate::error::{Error, Result};
use crate::limits::USAGE_SNAPSHOTS_MAX;
use crate::progress::Progress;
use crate::repository::{Marks, Repository, sums};

/// What a repository holds and occupies, to the byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sum of the sizes of all files of all snapshots, in bytes.
    pub logical_bytes: u64,
    /// Raw length of distinct chunks of files that snapshots need, in bytes; each counts once.
    pub data_bytes: u64,
    /// What those stored by themselves or with their neighbours take in packs, in bytes.
    pub data_stored: u64,
    /// Raw length of those of them that are stored against another chunk, in bytes.
    pub delta_bytes: u64,
    /// What these take in packs, in bytes.
    pub delta_stored: u64,
    /// Raw length of distinct trees, in bytes.
    pub tree_bytes: u64,
    /// What they take in packs, in bytes.
    pub tree_stored: u64,
    /// What blobs take in packs that no snapshot needs, in bytes.
    pub unneeded_stored: u64,
    /// Every snapshot, oldest first.
    pub snapshots: Vec<SnapshotUsage>,
    /// Every source, by host and paths.
    pub sources: Vec<SourceUsage>,
}

impl Usage {
    /// Bytes not stored because they were there already, or are holes.
    #[must_use]
    pub fn saved_by_deduplication(&self) -> u64 {
        self.logical_bytes.saturating_sub(self.data_bytes)
    }

    /// Bytes of chunks that compression saves, apart from deltas.
    #[must_use]
    pub fn saved_by_compression(&self) -> u64 {
        let raw = self.data_bytes.saturating_sub(self.delta_bytes);
        raw.saturating_sub(self.data_stored)
    }

    /// Bytes of chunks that storing them against others saves.
    #[must_use]
    pub fn saved_by_deltas(&self) -> u64 {
        self.delta_bytes.saturating_sub(self.delta_stored)
    }
}

/// What one snapshot alone needs: what forgetting it would let a collection free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotUsage {
    /// The snapshot.
    pub id: SnapshotId,
    /// Raw length of chunks that only it needs, in bytes.
    pub exclusive_bytes: u64,
    /// What these, and trees that only it needs, take in packs, in bytes.
    pub exclusive_stored: u64,
}

/// What the snapshots of one host and paths need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceUsage {
    /// Host that was read.
    pub host: String,
    /// Paths that were read.
    pub paths: Vec<PathBytes>,
    /// Its snapshots.
    pub snapshots: u64,
    /// Sum of the sizes of all files of all of them, in bytes.
    pub logical_bytes: u64,
    /// Raw length of chunks that only this source needs, in bytes.
    pub exclusive_bytes: u64,
    /// What these, and trees that only it needs, take in packs, in bytes.
    pub exclusive_stored: u64,
}

impl Repository {
    /// Finds out what every snapshot needs and shares. Reads all trees and the directories of all
    /// packs, no content; takes about 5 bytes of memory a blob.
    pub async fn usage(&self, progress: Arc<dyn Progress>) -> Result<Usage> {
        self.blocking(move |repository| usage(repository, &*progress))
            .await
    }
}

fn usage(repository: &Repository, progress: &dyn Progress) -> Result<Usage> {
    let state = repository.state();
    let mut known: Vec<_> = state.snapshots.iter().collect();
    known.sort_by_key(|known| (known.snapshot.time_ms, known.snapshot.id()));
    if known.len() > USAGE_SNAPSHOTS_MAX {
        let what = format!("more than {USAGE_SNAPSHOTS_MAX} snapshots cannot be told apart");
        return Err(Error::Invalid { what });
    }
    let key = |at: usize| (&known[at].snapshot.host, &known[at].snapshot.paths);
    let keys: BTreeMap<_, usize> = (0..known.len()).map(|at| (key(at), 0)).collect();
    let keys: BTreeMap<_, usize> = keys.into_keys().zip(0..).collect();
    let source_of: Vec<usize> = (0..known.len()).map(|at| keys[&key(at)]).collect();

    let index = repository.index()?;
    let trees = Trees::with(repository, Arc::clone(&index));
    let marks = Marks::new(&index, source_of.clone());
    progress.start("trees", None, None);
    for (at, known) in known.iter().enumerate() {
        let root = known.snapshot.root.subtree;
        reach(&trees, root, progress, &|_, id| marks.need(id, at))?;
    }
    progress.finish();
    let sums = sums(repository, &index, &marks, progress)?;

    let mut sources: Vec<SourceUsage> = keys
        .keys()
        .zip(&sums.sources)
        .map(|((host, paths), bytes)| SourceUsage {
            host: (*host).clone(),
            paths: (*paths).clone(),
            snapshots: 0,
            logical_bytes: 0,
            exclusive_bytes: bytes.data,
            exclusive_stored: bytes.stored,
        })
        .collect();
    for (known, source) in known.iter().zip(&source_of) {
        sources[*source].snapshots += 1;
        sources[*source].logical_bytes += known.snapshot.stats.bytes;
    }
    let snapshots = known.iter().zip(&sums.snapshots);
    Ok(Usage {
        logical_bytes: known.iter().map(|known| known.snapshot.stats.bytes).sum(),
        data_bytes: sums.data_raw + sums.delta_raw,
        data_stored: sums.data_stored,
        delta_bytes: sums.delta_raw,
        delta_stored: sums.delta_stored,
        tree_bytes: sums.tree_raw,
        tree_stored: sums.tree_stored,
        unneeded_stored: sums.unneeded.stored,
        snapshots: snapshots
            .map(|(known, bytes)| SnapshotUsage {
                id: known.snapshot.id(),
                exclusive_bytes: bytes.data,
                exclusive_stored: bytes.stored,
            })
            .collect(),
        sources,
    })
}
