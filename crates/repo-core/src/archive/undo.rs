//! Taking back what a commit removed or renamed, as a new commit.

use std::collections::HashSet;
use std::sync::Arc;

use repo_format::SnapshotId;
use repo_format::commit::{Commit, Retag, SnapshotRef};

use crate::archive::publish::Publication;
use crate::error::{Error, Result};
use crate::limits::SNAPSHOT_ATTEMPTS;
use crate::progress::Progress;
use crate::repository::{IndexSet, Repository, State, new_session};

/// zstd level of what has to be stored anew.
const LEVEL: i32 = 3;

/// What was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UndoReport {
    /// Snapshots that are back.
    pub restored: Vec<SnapshotId>,
    /// Snapshots that have their earlier attributes again.
    pub retagged: Vec<SnapshotId>,
}

impl Repository {
    /// Brings back the snapshots that commit `number` removed, and the attributes it changed.
    ///
    /// What the snapshots need and a collector has condemned is stored anew; once it is deleted,
    /// the snapshots cannot come back, and the error says so. A commit that only added something
    /// is refused: there is nothing to bring back.
    pub async fn undo(
        &self,
        number: u64,
        action: &str,
        progress: Arc<dyn Progress>,
    ) -> Result<UndoReport> {
        self.writable()?;
        self.refresh().await?;
        if number == 0 || number > self.head() {
            return Err(Error::Invalid {
                what: format!("the log has no commit {number}"),
            });
        }
        let commit = self.commit_at(number).await?;
        if commit.remove_snapshots.is_empty() && commit.retag.is_empty() {
            return Err(Error::Invalid {
                what: format!("commit {number} removed and changed no snapshot"),
            });
        }
        let before = self.state_at(number - 1).await?;
        let action = action.to_owned();
        self.blocking(move |repository| {
            let undo = Undo {
                removed: of(&before, &commit.remove_snapshots),
                changed: commit.retag.iter().map(|change| change.id).collect(),
                before,
            };
            let mut attempt = 1;
            loop {
                match undo.run(repository, &action, &*progress) {
                    // A collector replaced the index meanwhile.
                    Err(error)
                        if attempt < SNAPSHOT_ATTEMPTS
                            && error.is_lost()
                            && repository.renewed()?.is_some() =>
                    {
                        attempt += 1;
                    }
                    done => return done,
                }
            }
        })
        .await
    }
}

/// Those of the snapshots with these ids, in the order of the state.
fn of(state: &State, ids: &[SnapshotId]) -> Vec<SnapshotRef> {
    let ids: HashSet<&SnapshotId> = ids.iter().collect();
    let known = state.snapshots.iter();
    known
        .filter(|known| ids.contains(&known.snapshot.id()))
        .cloned()
        .collect()
}

struct Undo {
    before: State,
    removed: Vec<SnapshotRef>,
    changed: Vec<SnapshotId>,
}

impl Undo {
    fn run(
        &self,
        repository: &Repository,
        action: &str,
        progress: &dyn Progress,
    ) -> Result<UndoReport> {
        let now = repository.state();
        let absent = |known: &&SnapshotRef| now.snapshot(&known.snapshot.id()).is_none();
        let removed: Vec<SnapshotRef> = self.removed.iter().filter(absent).cloned().collect();
        let roots = removed.iter().map(|known| known.snapshot.root.subtree);
        let publication = Publication {
            repository,
            session: new_session()?,
            action,
            progress,
            roots: roots.flatten().collect(),
            parent: None,
            indexes: Vec::new(),
            source: Arc::new(self.source(repository)?),
            valid: None,
            level: LEVEL,
        };
        let mut report = UndoReport::default();
        publication.commit(|newest| {
            let absent = |known: &&SnapshotRef| newest.snapshot(&known.snapshot.id()).is_none();
            let commit = Commit {
                add_snapshots: removed.iter().filter(absent).cloned().collect(),
                retag: self.retag(newest),
                ..Commit::default()
            };
            if commit.add_snapshots.is_empty() && commit.retag.is_empty() {
                return Err(Error::Invalid {
                    what: "everything is as it was before that commit".to_owned(),
                });
            }
            let added = commit.add_snapshots.iter();
            report.restored = added.map(|known| known.snapshot.id()).collect();
            report.retagged = commit.retag.iter().map(|change| change.id).collect();
            Ok(commit)
        })?;
        Ok(report)
    }

    /// Attributes as they were, for snapshots that have others now.
    fn retag(&self, newest: &State) -> Vec<Retag> {
        let mut retag = Vec::new();
        for before in of(&self.before, &self.changed) {
            let id = before.snapshot.id();
            if newest.snapshot(&id).is_some_and(|now| *now != before) {
                retag.push(Retag {
                    id,
                    protected: Some(before.is_protected()),
                    tags: before.tags,
                });
            }
        }
        retag
    }

    /// Where everything lay then, as far as that index is still there.
    fn source(&self, repository: &Repository) -> Result<IndexSet> {
        let inner = &repository.inner;
        let source = repository.index()?.fork();
        for reference in &self.before.indexes {
            match source.add(&inner.storage, &inner.ring, reference) {
                Ok(()) | Err(Error::LostObject { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(source.without_regard())
    }
}
