//! The log as people read it.

use repo_format::SnapshotId;
use repo_format::commit::SnapshotRef;

use crate::error::Result;
use crate::repository::Repository;

/// One entry of the log, for people.
#[derive(Debug, Clone)]
pub struct LogEntry {
    /// Place in the log, from 1.
    pub number: u64,
    /// The writer's clock, in milliseconds since 1970, UTC.
    pub time_ms: i64,
    /// What was done.
    pub action: String,
    /// Snapshots added.
    pub added: Vec<SnapshotId>,
    /// Snapshots removed.
    pub removed: Vec<SnapshotId>,
    /// Snapshots whose tags were set.
    pub retagged: Vec<SnapshotId>,
    /// Those of them that were protected.
    pub protected: Vec<SnapshotId>,
    /// Those of them whose protection was lifted.
    pub unprotected: Vec<SnapshotId>,
    /// Index objects added.
    pub indexes_added: usize,
    /// Index objects removed.
    pub indexes_removed: usize,
    /// Packs condemned.
    pub condemned: usize,
    /// Condemned packs that were deleted before.
    pub swept: usize,
}

impl Repository {
    /// The newest `limit` entries of the log, newest first, as far as it goes back. One request each.
    pub async fn log(&self, limit: usize) -> Result<Vec<LogEntry>> {
        let mut entries = Vec::new();
        let mut number = self.head();
        let oldest = self.state().oldest();
        while number >= oldest && entries.len() < limit {
            let commit = self.inner.log.read(number).await?;
            let ids = |refs: &[SnapshotRef]| refs.iter().map(|r| r.snapshot.id()).collect();
            let turned = |protected: bool| {
                let turned = commit.retag.iter();
                let turned = turned.filter(|change| change.protected == Some(protected));
                turned.map(|change| change.id).collect()
            };
            entries.push(LogEntry {
                number,
                time_ms: commit.time_ms,
                protected: turned(true),
                unprotected: turned(false),
                action: commit.action,
                added: ids(&commit.add_snapshots),
                removed: commit.remove_snapshots,
                retagged: commit.retag.iter().map(|change| change.id).collect(),
                indexes_added: commit.add_indexes.len(),
                indexes_removed: commit.remove_indexes.len(),
                condemned: commit.condemn.len(),
                swept: commit.swept.len(),
            });
            number -= 1;
        }
        Ok(entries)
    }
}
