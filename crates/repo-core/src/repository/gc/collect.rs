//! One collection: mark, plan, copy, exchange the index, commit; again when there is more to do or
//! somebody was first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use repo_format::commit::{Commit, SnapshotRef};
use repo_format::{BlobId, PackId};

use super::bases::{self, Orphaned};
use super::live::Live;
use super::plan::{Plan, usage};
use super::repack::Repack;
use super::reseal::Resealing;
use super::rewrite::{Rewritten, rewrite};
use super::sweep::{Foreseen, Inventory, sweep};
use super::{Amount, GcOptions, GcReport};
use crate::error::{Error, Result};
use crate::limits::{GC_ATTEMPTS, GC_ROUND_BYTES};
use crate::progress::Progress;
use crate::repository::index::IndexSet;
use crate::repository::{Repository, Session, State, Written, new_session, parity};

/// Marks in [`Live`] all blobs that the trees below some roots reach, and returns the packs in which
/// something was marked that was not before. Given by who knows trees.
pub(crate) type Mark<'a> =
    dyn Fn(&Arc<IndexSet>, &Live, &[BlobId]) -> Result<BTreeSet<PackId>> + 'a;

/// Collects until nothing is left to do. Blocks.
pub(crate) fn collect(
    repository: &Repository,
    options: &GcOptions,
    mark: &Mark<'_>,
    progress: &dyn Progress,
) -> Result<GcReport> {
    let mut report = GcReport::default();
    let storage = &repository.inner.storage;
    let mut foreseen = Foreseen::default();
    let mut overtaken = 0;
    let mut resealing = Resealing::default();
    loop {
        storage.wait(repository.refresh())?;
        let number = repository.head();
        let round = Round::open(repository, options, mark, progress);
        let error =
            match round.and_then(|round| round.run(&mut report, &mut foreseen, &mut resealing)) {
                Ok(true) => continue,
                Ok(false) => break,
                Err(error) => error,
            };
        if overtaken == GC_ATTEMPTS || !first_was_another(repository, number, &error)? {
            return Err(error);
        }
        overtaken += 1;
    }
    let mut held = BTreeSet::new();
    if !options.dry_run && !progress.cancelled() {
        // What stays must not lean on what goes.
        if let Some(protected) = parity::keep_up(repository, progress)? {
            held = protected.held;
            report.parity = Some(protected.report);
        }
    }
    sweep(repository, options, &foreseen, &held, &mut report, progress)?;
    if progress.cancelled() {
        return Err(Error::Cancelled);
    }
    Ok(report)
}

/// Whether a round failed because another collector was first: what it looked at may be deleted.
fn first_was_another(repository: &Repository, number: u64, error: &Error) -> Result<bool> {
    if matches!(error, Error::Overtaken { .. }) {
        return Ok(true);
    }
    repository.inner.storage.wait(repository.refresh())?;
    Ok(error.is_lost() && repository.state().collected_after(number))
}

struct Round<'a> {
    repository: &'a Repository,
    options: &'a GcOptions,
    mark: &'a Mark<'a>,
    progress: &'a dyn Progress,
    state: Arc<State>,
    index: Arc<IndexSet>,
    live: Live,
    /// Live deltas whose base nothing else needs.
    orphaned: Orphaned,
}

fn roots(snapshots: &[SnapshotRef]) -> Vec<BlobId> {
    let roots = snapshots.iter().map(|known| known.snapshot.root.subtree);
    roots.flatten().collect()
}

impl<'a> Round<'a> {
    /// Finds out what the newest state needs.
    fn open(
        repository: &'a Repository,
        options: &'a GcOptions,
        mark: &'a Mark<'a>,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let (state, index) = repository.state_and_index()?;
        let live = Live::new(&index);
        // How many nodes the trees have is not known before they are walked.
        progress.start("mark", None, None);
        mark(&index, &live, &roots(&state.snapshots))?;
        progress.finish();
        let suspects = bases::suspects(&live)?;
        let closed = bases::close(repository, &live, &suspects, progress)?;
        Ok(Self {
            repository,
            options,
            mark,
            progress,
            state,
            index,
            live,
            orphaned: closed.orphaned,
        })
    }

    /// Plans, copies and commits. Whether another round is worth it.
    fn run(
        mut self,
        report: &mut GcReport,
        foreseen: &mut Foreseen,
        resealing: &mut Resealing,
    ) -> Result<bool> {
        let inner = &self.repository.inner;
        let inventory = Inventory::take(self.repository, &self.index, self.options)?;
        let packs = usage(&self.live)?;
        let pack_size = u64::from(inner.config.pack_size);
        let round = if self.options.dry_run {
            u64::MAX
        } else {
            GC_ROUND_BYTES
        };
        let old = resealing.old(self.repository, &packs, self.options.reseal)?;
        let plan = Plan::new(packs, &old, self.options, pack_size, round);
        let id = new_session()?;
        let session = Session::new(
            id,
            Arc::clone(&inner.ring),
            inner.storage.clone(),
            Arc::new(self.index.fork()),
            inner.config.pack_size,
            self.options.dry_run,
        );
        let bytes = plan.repack.iter().map(|(_, usage)| usage.needed).sum();
        self.progress
            .start("repack", Some(bytes), Some(plan.repack.len() as u64));
        let done = Repack {
            repository: self.repository,
            index: &self.index,
            live: &self.live,
            session: &session,
            level: self.options.level,
            progress: self.progress,
        }
        .run(&plan.repack, &self.orphaned)?;
        let written = session.finish()?;
        self.progress.finish();

        let abandoned: BTreeMap<PackId, u64> = inventory.abandoned.iter().copied().collect();
        let mut going: BTreeSet<PackId> = done;
        going.extend(plan.dead.iter().map(|(id, _)| *id));
        going.extend(abandoned.keys());
        loop {
            let session = session.id();
            let dry_run = self.options.dry_run;
            let rewritten = rewrite(self.repository, session, &self.live, &going, self.options)?;
            if going.is_empty() && rewritten.removed.is_empty() {
                break;
            }
            if dry_run || self.commit(session, &going, &rewritten, &written)? {
                tell(report, &plan, &abandoned, &going, &rewritten, &written);
                if dry_run {
                    foreseen.condemned = going.iter().copied().collect();
                    foreseen.removed.clone_from(&rewritten.removed);
                }
                break;
            }
            self.make_way(&mut going)?;
        }
        report.live_blobs = self.live.count();
        let (gone, mut kept): (Vec<_>, Vec<_>) = plan
            .repack
            .iter()
            .copied()
            .partition(|(id, _)| going.contains(id));
        kept.extend(&plan.kept);
        report.kept = Amount::of(kept.iter().map(|(_, usage)| usage.size));
        resealing.tell(report, &old, &gone, &kept);
        report.unused_bytes = plan.unused();
        Ok(plan.more && !self.progress.cancelled())
    }

    /// Commits against the state that was looked at. False when another commit was first.
    fn commit(
        &self,
        session: repo_format::SessionId,
        going: &BTreeSet<PackId>,
        rewritten: &Rewritten,
        written: &Written,
    ) -> Result<bool> {
        let planned = self.state.number;
        let mut first = true;
        // What was written last is found first: copies of this run come before what they replace.
        let add_indexes = [&rewritten.added[..], &written.indexes[..]].concat();
        let action = &self.options.action;
        let commit = self.repository.commit(Some(session), action, |newest| {
            first = newest.number == planned;
            if !first {
                let why = "another commit was first".to_owned();
                return Err(Error::Overtaken { why });
            }
            Ok(Commit {
                remove_indexes: rewritten.removed.clone(),
                add_indexes: add_indexes.clone(),
                condemn: going.iter().copied().collect(),
                ..Commit::default()
            })
        });
        match self.repository.inner.storage.wait(commit) {
            Ok(()) => Ok(true),
            Err(_) if !first => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes in what others committed meanwhile: packs that their snapshots need stay.
    fn make_way(&mut self, going: &mut BTreeSet<PackId>) -> Result<()> {
        let (state, index) = self.repository.state_and_index()?;
        if state.collected_after(self.state.number) {
            return Err(Error::Overtaken {
                why: "another collector was first".to_owned(),
            });
        }
        let added = self.live.extend(&index);
        // Copies of this run would be found before theirs, which others may rely on as they are.
        if self.live.moved_any(&added)? {
            return Err(Error::Overtaken {
                why: "another writer stored what was being moved".to_owned(),
            });
        }
        let theirs = bases::packs_of(&added);
        let before: BTreeSet<_> = self
            .state
            .snapshots
            .iter()
            .map(|s| s.snapshot.id())
            .collect();
        let snapshots: Vec<SnapshotRef> = state
            .snapshots
            .iter()
            .filter(|known| !before.contains(&known.snapshot.id()))
            .cloned()
            .collect();
        let mut touched = (self.mark)(&index, &self.live, &roots(&snapshots))?;
        let sizes = usage(&self.live)?;
        let suspects = touched
            .iter()
            .filter_map(|id| Some((*id, sizes.get(id)?.size)))
            .chain(theirs.iter().map(|(id, size)| (*id, *size)))
            .collect();
        let closed = bases::close(self.repository, &self.live, &suspects, self.progress)?;
        touched.extend(closed.touched);
        going.retain(|id| !touched.contains(id) && !theirs.contains_key(id));
        self.state = state;
        self.index = index;
        Ok(())
    }
}

/// Adds what one commit did to the report.
fn tell(
    report: &mut GcReport,
    plan: &Plan,
    abandoned: &BTreeMap<PackId, u64>,
    going: &BTreeSet<PackId>,
    rewritten: &Rewritten,
    written: &Written,
) {
    let goes = |id: &PackId| going.contains(id);
    for (id, size) in plan.dead.iter().filter(|(id, _)| goes(id)) {
        debug_assert!(!abandoned.contains_key(id), "the index names it");
        report.dead.add(*size);
    }
    for (_, usage) in plan.repack.iter().filter(|(id, _)| goes(id)) {
        report.repacked.add(usage.size);
    }
    for (_, size) in abandoned.iter().filter(|(id, _)| goes(id)) {
        report.abandoned.add(*size);
    }
    let indexes: u64 = rewritten.added.iter().map(|index| index.size).sum();
    report.written_bytes += written.bytes + indexes;
    report.indexes_removed += rewritten.removed.len() as u64;
    report.indexes_added += (rewritten.added.len() + written.indexes.len()) as u64;
}
