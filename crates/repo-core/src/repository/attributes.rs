//! Attributes of snapshots that may change: tags and protection.

use repo_format::SnapshotId;
use repo_format::commit::{Commit, Retag};

use crate::error::{Error, Result};
use crate::repository::Repository;

/// A change of one snapshot's attributes. What is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttributeChange {
    /// Its tags from now on; sorted, and repeats dropped, when they are committed.
    pub tags: Option<Vec<String>>,
    /// Whether `forget` has to leave it from now on.
    pub protected: Option<bool>,
}

impl Repository {
    /// Replaces the tags of snapshots, in one commit.
    pub async fn retag(&self, changes: &[(SnapshotId, Vec<String>)], action: &str) -> Result<()> {
        let changes: Vec<(SnapshotId, AttributeChange)> = changes
            .iter()
            .map(|(id, tags)| {
                let change = AttributeChange {
                    tags: Some(tags.clone()),
                    protected: None,
                };
                (*id, change)
            })
            .collect();
        self.change_attributes(&changes, action).await
    }

    /// Changes the attributes of snapshots, in one commit. A snapshot that another writer has
    /// forgotten meanwhile fails all of them with [`Error::UnknownSnapshot`].
    pub async fn change_attributes(
        &self,
        changes: &[(SnapshotId, AttributeChange)],
        action: &str,
    ) -> Result<()> {
        self.commit(None, action, |state| {
            let mut commit = Commit::default();
            for (id, change) in changes {
                let known = state
                    .snapshot(id)
                    .ok_or_else(|| Error::UnknownSnapshot { id: id.to_hex() })?;
                // Tags that are not to change are those of the newest state, which may be newer
                // than what the caller has seen.
                let mut tags = change.tags.clone().unwrap_or_else(|| known.tags.clone());
                tags.sort_unstable();
                tags.dedup();
                commit.retag.push(Retag {
                    id: *id,
                    tags,
                    protected: change.protected,
                });
            }
            Ok(commit)
        })
        .await
    }
}
