//! Sums over a repository.

use crate::error::Result;
use crate::repository::Repository;

/// What a repository holds and occupies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RepositoryStats {
    /// Snapshots.
    pub snapshots: u64,
    /// Sum of the sizes of all files of all snapshots, in bytes.
    pub logical_bytes: u64,
    /// Distinct blobs.
    pub blobs: u64,
    /// Their raw length, in bytes.
    pub unique_bytes: u64,
    /// Packs.
    pub packs: u64,
    /// Their length, in bytes.
    pub pack_bytes: u64,
    /// Index objects.
    pub indexes: u64,
    /// Their length, in bytes.
    pub index_bytes: u64,
}

impl Repository {
    /// Sums over the live index objects and snapshots. Reads no pack.
    pub async fn stats(&self) -> Result<RepositoryStats> {
        self.blocking(|repository| {
            let state = repository.state();
            let index = repository.index()?;
            let packs = index.packs();
            let (blobs, unique_bytes) = index.totals();
            Ok(RepositoryStats {
                snapshots: state.snapshots.len() as u64,
                logical_bytes: state
                    .snapshots
                    .iter()
                    .map(|known| known.snapshot.stats.bytes)
                    .sum(),
                blobs,
                unique_bytes,
                packs: packs.len() as u64,
                pack_bytes: packs.iter().map(|(_, size)| size).sum(),
                indexes: state.indexes.len() as u64,
                index_bytes: state.indexes.iter().map(|index| index.size).sum(),
            })
        })
        .await
    }
}
