//! Forgetting: a plan becomes one commit, checked against the state it is committed on.
//!
//! Takes away names only. Stored data goes when it is collected.

use std::collections::BTreeMap;

use repo_format::SnapshotId;
use repo_format::commit::{Commit, SnapshotRef};

use crate::error::{Error, Result};
use crate::repository::{Repository, State};
use crate::retention::{ForgetGroup, ForgetPlan, PlannedSnapshot};

/// How to forget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForgetOptions {
    /// Forget even all snapshots of a group.
    pub allow_empty: bool,
}

/// What was forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// The commit that says so; `None` when there was nothing to do.
    pub commit: Option<u64>,
    /// Snapshots forgotten by it.
    pub removed: Vec<SnapshotId>,
    /// Snapshots that another writer had forgotten since the plan was made.
    pub gone: Vec<SnapshotId>,
}

impl Repository {
    /// Forgets what the plan says, in one commit, or nothing at all. Without anything to forget it
    /// makes no commit.
    ///
    /// The plan is checked against the newest state, again each time another writer commits first:
    /// a snapshot to forget must not be protected ([`Error::Protected`]) nor have other tags than
    /// when it was planned ([`Error::Overtaken`]), and of each group that loses one a snapshot that
    /// was to stay must still be there ([`Error::Overtaken`]), or was planned to stay at all
    /// ([`Error::EmptiesGroup`]), unless the options allow it.
    pub async fn forget(
        &self,
        plan: &ForgetPlan,
        options: &ForgetOptions,
        action: &str,
    ) -> Result<Forgotten> {
        self.writable()?;
        let mut forgotten = Forgotten::default();
        if plan.removed().next().is_none() {
            return Ok(forgotten);
        }
        let mut all_gone = false;
        let done = self.commit(None, action, |state| {
            forgotten = revalidate(plan, options, state)?;
            all_gone = forgotten.removed.is_empty();
            if all_gone {
                return Err(Error::Overtaken {
                    why: "all was forgotten already".to_owned(),
                });
            }
            forgotten.commit = Some(state.number + 1);
            Ok(Commit {
                remove_snapshots: forgotten.removed.clone(),
                ..Commit::default()
            })
        });
        match done.await {
            Err(_) if all_gone => Ok(forgotten),
            done => done.map(|()| forgotten),
        }
    }
}

/// What of the plan is to be done to the state, and whether it may be.
fn revalidate(plan: &ForgetPlan, options: &ForgetOptions, state: &State) -> Result<Forgotten> {
    let live: BTreeMap<SnapshotId, &SnapshotRef> = state
        .snapshots
        .iter()
        .map(|known| (known.snapshot.id(), known))
        .collect();
    let mut forgotten = Forgotten::default();
    for group in &plan.groups {
        let before = forgotten.removed.len();
        let removed = group.snapshots.iter().filter(|planned| !planned.is_kept());
        for planned in removed {
            let id = planned.id();
            match live.get(&id) {
                None => forgotten.gone.push(id),
                Some(now) => {
                    may_go(planned, now)?;
                    forgotten.removed.push(id);
                }
            }
        }
        if forgotten.removed.len() > before && !options.allow_empty {
            something_stays(group, &live)?;
        }
    }
    Ok(forgotten)
}

fn may_go(planned: &PlannedSnapshot, now: &SnapshotRef) -> Result<()> {
    let id = || planned.id().to_hex();
    if now.is_protected() {
        return Err(Error::Protected { id: id() });
    }
    if now.tags != planned.known.tags {
        return Err(Error::Overtaken {
            why: format!("the tags of snapshot {} are others", id()),
        });
    }
    Ok(())
}

fn something_stays(group: &ForgetGroup, live: &BTreeMap<SnapshotId, &SnapshotRef>) -> Result<()> {
    let mut kept = group.snapshots.iter().filter(|planned| planned.is_kept());
    if kept.clone().next().is_none() {
        return Err(Error::EmptiesGroup {
            group: group.key.to_string(),
        });
    }
    if kept.any(|planned| live.contains_key(&planned.id())) {
        return Ok(());
    }
    Err(Error::Overtaken {
        why: format!("what was to stay of {} is forgotten", group.key),
    })
}
