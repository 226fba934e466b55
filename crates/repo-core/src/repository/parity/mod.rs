//! Parity: redundant objects that make up for damaged or lost packs without a second copy.
//!
//! Packs are put into groups; the shards of a group are parity objects. Nothing in the log names
//! them. They are made and kept up by [`Repository::protect`] and by collections; `check` verifies
//! them, and [`Repository::repair_parity`] reads through them. A parity object is deleted only when
//! every live pack it covers is covered by another whole group.

mod catalog;
mod heal;
mod make;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use repo_format::parity::{GroupId, Table};
use repo_format::{PackId, SessionId, limits, pack};
use repo_store::Delete;

use crate::clock::now_ms;
use crate::error::{Error, Result};
use crate::limits::{PARITY_GRACE_MS, PARITY_PACKS, PARITY_SHARDS};
use crate::progress::{Finding, Progress};
use crate::repository::check::finding_or_fail;
use crate::repository::{
    CheckOptions, ReadData, RepairOptions, RepairReport, Repository, new_session,
};

use catalog::{Catalog, read_table};
use make::{Made, Wanted, make};

pub(crate) use heal::Healer;
pub(crate) use verify::verify;
use verify::{named, read_all};

/// Choices of parity.
#[derive(Debug, Clone, Default)]
pub struct ParityOptions {
    /// Most packs in a group, 1 to 32; as the repository has it already, or else 16.
    pub packs: Option<u32>,
    /// Blocks at one place of a group that may be lost, 1 to 16, which is the number of its parity
    /// objects; as the repository has it already, or else 2.
    pub shards: Option<u32>,
    /// Read all parity there is, and make that anew which is damaged; otherwise only what cannot be
    /// opened at all, or is missing, counts as damaged.
    pub verify: bool,
    /// Find out what would be done, and do nothing.
    pub dry_run: bool,
}

/// What parity a repository has, and what was done for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParityReport {
    /// Most packs in a group.
    pub packs: u32,
    /// Parity objects of a group.
    pub shards: u32,
    /// Groups that were whole already and stay.
    pub groups_kept: u64,
    /// Groups made; after a dry run, that would be made.
    pub groups_made: u64,
    /// Packs in all of them.
    pub packs_protected: u64,
    /// Bytes of those packs.
    pub bytes_protected: u64,
    /// Packs that cannot be protected, because they are lost or damaged.
    pub packs_unfit: u64,
    /// Bytes of the parity objects that stay.
    pub bytes_kept: u64,
    /// Bytes of the parity objects written; after a dry run, about so many.
    pub bytes_written: u64,
    /// Parity objects deleted, because others cover what they did.
    pub deleted: u64,
    /// Those that a retention lock or the store keeps.
    pub retained: u64,
    /// What is wrong with packs or parity.
    pub findings: Vec<Finding>,
}

/// What is known when the work is done.
pub(crate) struct Protected {
    pub(crate) report: ParityReport,
    /// Packs that must not be deleted: they help to rebuild one that is in no other group.
    pub(crate) held: BTreeSet<PackId>,
}

impl Repository {
    /// Makes parity for all packs that have none, and for those whose group is not whole any more.
    ///
    /// Requests: a list of `parity`, three reads a parity object, all packs of new groups once (again
    /// for every 48 MiB of parity), a put for each shard, and a delete for each that is superseded.
    /// Packs are protected as they are: what is damaged already stays so. Safe beside everything
    /// else. Two runs at once may cost space until the next run, or parity if they were asked for
    /// different numbers; never data.
    pub async fn protect(
        &self,
        options: &ParityOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<ParityReport> {
        self.writable()?;
        let out_of = |value: Option<u32>, max| value.is_some_and(|value| value == 0 || value > max);
        let (packs, shards) = (limits::PARITY_PACKS_MAX, limits::PARITY_SHARDS_MAX);
        if out_of(options.packs, packs) || out_of(options.shards, shards) {
            return Err(Error::Invalid {
                what: format!("a group has 1 to {packs} packs and 1 to {shards} parity objects"),
            });
        }
        self.refresh().await?;
        let options = options.clone();
        self.blocking(move |repository| {
            let catalog = Catalog::read(repository, |_| false)?;
            Ok(protect(repository, catalog, &options, &*progress)?.report)
        })
        .await
    }

    /// Reads all data, and rebuilds what is damaged or lost of packs from their groups. Stores it anew
    /// and exchanges index objects, as [`Self::repair_index`] does, in one commit; what cannot be
    /// rebuilt is named. Afterwards [`Self::protect`] makes parity for the new packs.
    pub async fn repair_parity(
        &self,
        options: &RepairOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<RepairReport> {
        self.writable()?;
        let all = CheckOptions {
            read_data: ReadData::All,
        };
        let examined = self.examine(&all, Arc::clone(&progress)).await?;
        let harmed = examined.harmed_packs();
        drop(examined);
        let stored = self.stored_packs().await?;
        let options = options.clone();
        self.blocking(move |repository| {
            let packs = harmed.iter().copied().collect();
            let healer = Arc::new(Healer::new(repository, &packs)?);
            let found = (&stored[..], &harmed[..]);
            let healing = Some(Arc::clone(&healer));
            let mut report = repository.repair(&options, &*progress, found, healing, None)?;
            for finding in healer.findings() {
                progress.finding(&finding);
                report.findings.push(finding);
            }
            Ok(report)
        })
        .await
    }
}

/// Keeps up parity in a repository that has some; none otherwise. Blocks.
pub(crate) fn keep_up(
    repository: &Repository,
    progress: &dyn Progress,
) -> Result<Option<Protected>> {
    let catalog = Catalog::read(repository, |_| false)?;
    if catalog.is_empty() {
        return Ok(None);
    }
    protect(repository, catalog, &ParityOptions::default(), progress).map(Some)
}

fn protect(
    repository: &Repository,
    mut catalog: Catalog,
    options: &ParityOptions,
    progress: &dyn Progress,
) -> Result<Protected> {
    let (state, index) = repository.state_and_index()?;
    let gone = state.gone();
    let mut live: Vec<(PackId, u64)> = index.packs_by_object();
    live.retain(|(id, _)| !gone.contains(id));
    if options.verify {
        read_all(repository, &mut catalog, progress)?;
    }
    let mut run = Run::new(repository, options, progress, live, catalog);
    let todo = run.choose();
    run.make_all(todo)?;
    run.drop_superseded()?;
    run.extend_locks()?;
    Ok(run.finish())
}

/// One run of [`protect`].
struct Run<'a> {
    repository: &'a Repository,
    progress: &'a dyn Progress,
    dry_run: bool,
    /// Packs that the index names, each once, those of one index object side by side.
    live: Vec<(PackId, u64)>,
    catalog: Catalog,
    kept: BTreeSet<GroupId>,
    /// Packs in whole groups.
    covered: BTreeSet<PackId>,
    report: ParityReport,
}

impl<'a> Run<'a> {
    fn new(
        repository: &'a Repository,
        options: &ParityOptions,
        progress: &'a dyn Progress,
        live: Vec<(PackId, u64)>,
        catalog: Catalog,
    ) -> Self {
        // The newest group says what was asked for last.
        let written = |table: &catalog::Group| {
            let times = table.keys().into_iter();
            times
                .filter_map(|key| catalog.written_ms.get(&key))
                .max()
                .copied()
        };
        let newest = catalog.groups.values().max_by_key(|group| written(group));
        let of = newest.map(|group| (group.table.width, group.table.shards));
        let (packs, shards) = of.unwrap_or((PARITY_PACKS, PARITY_SHARDS));
        let report = ParityReport {
            packs: options.packs.unwrap_or(packs),
            shards: options.shards.unwrap_or(shards),
            ..ParityReport::default()
        };
        Self {
            repository,
            progress,
            dry_run: options.dry_run,
            live,
            catalog,
            kept: BTreeSet::new(),
            covered: BTreeSet::new(),
            report,
        }
    }

    /// Chooses the groups that stay, and returns the packs to be grouped.
    fn choose(&mut self) -> Vec<Wanted> {
        let live: BTreeSet<PackId> = self.live.iter().map(|(id, _)| *id).collect();
        let asked = (self.report.packs, self.report.shards);
        let fits = |table: &Table| (table.width, table.shards) == asked;
        let mut kept = self.catalog.sound(&live, fits);
        let tables = |id: &GroupId| self.catalog.groups.get(id).map(|group| &group.table);
        let covered = |kept: &BTreeSet<GroupId>| -> BTreeSet<PackId> {
            let members = kept
                .iter()
                .filter_map(tables)
                .flat_map(|table| &table.members);
            members.map(|member| member.id).collect()
        };
        if !live.is_subset(&covered(&kept)) {
            // What is short is made again together with what has none.
            let full = |table: &Table| table.members.len() == table.width as usize;
            kept.retain(|id| tables(id).is_some_and(full));
        }
        self.covered = covered(&kept);
        self.report.groups_kept = kept.len() as u64;
        self.kept = kept;
        let open = self
            .live
            .iter()
            .filter(|(id, _)| !self.covered.contains(id));
        let mut wanted: Vec<Wanted> = open
            .map(|(id, size)| Wanted {
                id: *id,
                size: *size,
                hashes: Vec::new(),
            })
            .collect();
        // A group costs what its longest pack does. Within a class of lengths, what was written
        // together stays together and is likely to go together.
        wanted.sort_by_key(|pack| std::cmp::Reverse(pack.size.checked_ilog2()));
        wanted
    }

    fn make_all(&mut self, mut todo: Vec<Wanted>) -> Result<()> {
        let width = self.report.packs as usize;
        let bytes = todo.iter().map(|pack| pack.size).sum();
        let count = todo.len() as u64;
        self.progress.start("parity", Some(bytes), Some(count));
        if self.dry_run {
            for group in todo.chunks(width) {
                let longest = group.iter().map(|pack| pack.size).max();
                self.report.bytes_written += longest.unwrap_or(0) * u64::from(self.report.shards);
                self.report.groups_made += 1;
                self.covered.extend(group.iter().map(|pack| pack.id));
            }
            self.progress.finish();
            return Ok(());
        }
        let session = new_session()?;
        while !todo.is_empty() {
            let rest = todo.split_off(width.min(todo.len()));
            self.make_one(session, todo)?;
            todo = rest;
        }
        self.progress.finish();
        Ok(())
    }

    /// Makes one group, without the packs that turn out to be unfit.
    fn make_one(&mut self, session: SessionId, mut group: Vec<Wanted>) -> Result<()> {
        self.recall(&mut group)?;
        let count = group.len() as u64;
        while !group.is_empty() {
            let numbers = (self.report.packs, self.report.shards);
            match make(self.repository, session, &group, numbers, self.progress)? {
                Made::Stored(bytes) => {
                    self.report.groups_made += 1;
                    self.report.bytes_written += bytes;
                    self.covered.extend(group.iter().map(|pack| pack.id));
                    break;
                }
                Made::Unfit(at, why) => {
                    let unfit = group.remove(at);
                    self.report.packs_unfit += 1;
                    let key = pack::path(&unfit.id);
                    let message = named(&key, &format!("{why}; it has no new parity"));
                    self.find(Finding::damage(None, message));
                }
            }
        }
        self.progress.advance(0, count);
        Ok(())
    }

    /// What the blocks of these packs hashed to when parity was made of them before.
    fn recall(&self, group: &mut [Wanted]) -> Result<()> {
        let inner = &self.repository.inner;
        let ids: BTreeSet<PackId> = group.iter().map(|pack| pack.id).collect();
        let mut hashes: BTreeMap<PackId, (u64, Vec<[u8; 32]>)> = BTreeMap::new();
        for old in self.catalog.groups.values() {
            if !old.packs().any(|pack| ids.contains(&pack)) {
                continue;
            }
            for shard in old.shards.values() {
                match read_table(&inner.storage, &inner.ring, shard) {
                    Ok(table) => {
                        let members = table.members.into_iter();
                        let ours = members.filter(|member| ids.contains(&member.id));
                        hashes.extend(ours.map(|pack| (pack.id, (pack.size, pack.hashes))));
                        break;
                    }
                    // Another shard says the same.
                    Err(error) => drop(finding_or_fail(error)?),
                }
            }
        }
        for pack in group {
            if let Some((size, hashes)) = hashes.remove(&pack.id)
                && size == pack.size
            {
                pack.hashes = hashes;
            }
        }
        Ok(())
    }

    /// Whether every live pack of an old group is in another one.
    fn superseded(&self, group: &catalog::Group, live: &BTreeSet<PackId>) -> bool {
        group
            .packs()
            .all(|pack| !live.contains(&pack) || self.covered.contains(&pack))
    }

    /// Deletes what covers nothing that other groups do not.
    fn drop_superseded(&mut self) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        let live: BTreeSet<PackId> = self.live.iter().map(|(id, _)| *id).collect();
        let newest = self.catalog.written_ms.values().max().copied();
        let limit = now_ms()
            .max(newest.unwrap_or(0))
            .saturating_sub(PARITY_GRACE_MS);
        // What is not whole, or cannot be read, may be being written.
        let old = |key: &String| {
            self.catalog
                .written_ms
                .get(key)
                .is_none_or(|at| *at <= limit)
        };
        let mut keys = Vec::new();
        for (id, group) in &self.catalog.groups {
            if !self.kept.contains(id) && self.superseded(group, &live) {
                let whole = group.is_whole();
                keys.extend(group.keys().into_iter().filter(|key| whole || old(key)));
            }
        }
        if live.is_subset(&self.covered) {
            let unreadable = self.catalog.unreadable.iter().map(|(key, _)| key);
            keys.extend(unreadable.filter(|key| old(key)).cloned());
        }
        let storage = &self.repository.inner.storage;
        for key in keys {
            match storage
                .wait(storage.store().delete(&key))
                .map_err(Error::Store)?
            {
                Delete::Deleted | Delete::Missing => self.report.deleted += 1,
                Delete::Locked { .. } | Delete::Refused(_) => self.report.retained += 1,
            }
        }
        Ok(())
    }

    /// Locks the parity that stays for as long as new snapshots are.
    fn extend_locks(&self) -> Result<()> {
        let Some(lock) = self.repository.lock_for().filter(|_| !self.dry_run) else {
            return Ok(());
        };
        let kept = self
            .kept
            .iter()
            .filter_map(|id| self.catalog.groups.get(id));
        let keys = kept.flat_map(catalog::Group::keys).collect();
        let for_ms = i64::try_from(lock.for_ms).unwrap_or(i64::MAX);
        let due_ms = now_ms().saturating_add(for_ms);
        let storage = &self.repository.inner.storage;
        storage.wait(self.repository.extend_locks(keys, due_ms))?;
        Ok(())
    }

    fn find(&mut self, finding: Finding) {
        self.progress.finding(&finding);
        self.report.findings.push(finding);
    }

    fn finish(mut self) -> Protected {
        for (key, why) in std::mem::take(&mut self.catalog.unreadable) {
            self.find(Finding::damage(None, named(&key, &why)));
        }
        for (id, size) in &self.live {
            if self.covered.contains(id) {
                self.report.packs_protected += 1;
                self.report.bytes_protected += size;
            }
        }
        let kept = self
            .kept
            .iter()
            .filter_map(|id| self.catalog.groups.get(id));
        let shards = kept.flat_map(|group| group.shards.values());
        self.report.bytes_kept = shards.map(|shard| shard.size).sum();
        let live: BTreeSet<PackId> = self.live.iter().map(|(id, _)| *id).collect();
        let groups = self.catalog.groups.values();
        let open = groups.filter(|group| !self.superseded(group, &live));
        let held = open.flat_map(catalog::Group::packs).collect();
        Protected {
            report: self.report,
            held,
        }
    }
}
