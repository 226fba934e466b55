//! Deletion of what the log says nobody may name: condemned packs, and index objects that are not
//! live. Each object is deleted only after a commit said so; a crash in between costs nothing, the
//! next run deletes it again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::{StreamExt, TryStreamExt, stream};
use repo_format::commit::{self, Commit, IndexRef};
use repo_format::{
    ErrorKind, HEADER_LEN, Header, IndexId, ObjectKind, PackId, SessionId, index, pack,
};
use repo_store::Delete;

use super::{GcOptions, GcReport};
use crate::clock::now_ms;
use crate::error::{Error, Result};
use crate::limits::{DELETES, STAGED_GRACE_MIN_MS};
use crate::progress::Progress;
use crate::repository::index::IndexSet;
use crate::repository::{Repository, State};

/// Objects of the store that no commit names, as far as a collector may touch them.
pub(super) struct Inventory {
    /// Packs, with their sizes.
    pub(super) abandoned: Vec<(PackId, u64)>,
}

/// An object no live index object speaks of.
struct Stray {
    pack: PackId,
    size: u64,
    modified_ms: i64,
}

/// When a run stored something last, and its packs with their sizes.
type Stored = (i64, Vec<(PackId, u64)>);

impl Inventory {
    /// Lists the packs and looks at the headers of those nobody names. A run that stored something
    /// within the writers' grace is passed over whole.
    pub(super) fn take(
        repository: &Repository,
        index: &IndexSet,
        options: &GcOptions,
    ) -> Result<Self> {
        let state = repository.state();
        let known: BTreeSet<PackId> = index.packs().into_iter().map(|(id, _)| id).collect();
        let mut newest = i64::MIN;
        let mut strays = Vec::new();
        let mut each = |pack, size, modified_ms| {
            newest = newest.max(modified_ms);
            if !known.contains(&pack) && !state.condemned.contains_key(&pack) {
                strays.push(Stray {
                    pack,
                    size,
                    modified_ms,
                });
            }
        };
        list_packs(repository, &mut each)?;
        let limit = newest.max(now_ms()).saturating_sub(options.writer_grace_ms);
        let mut sessions: HashMap<Option<SessionId>, Stored> = HashMap::new();
        for stray in strays {
            let session = session_of(repository, &stray.pack)?;
            let entry = sessions.entry(session).or_insert((i64::MIN, Vec::new()));
            entry.0 = entry.0.max(stray.modified_ms);
            entry.1.push((stray.pack, stray.size));
        }
        let idle = sessions.into_values().filter(|(last, _)| *last <= limit);
        let mut abandoned: Vec<_> = idle.flat_map(|(_, packs)| packs).collect();
        abandoned.sort_unstable();
        Ok(Self { abandoned })
    }
}

/// The run that says it wrote the pack; none when its header cannot be read. Not authenticated:
/// only patience rests on it.
fn session_of(repository: &Repository, id: &PackId) -> Result<Option<SessionId>> {
    let mut header = Vec::new();
    let storage = &repository.inner.storage;
    match storage.read(&pack::path(id), 0..HEADER_LEN as u64, &mut header) {
        Ok(()) => Ok(Header::parse(ObjectKind::Pack, &header)
            .ok()
            .map(|header| header.session)),
        Err(error) if error.kind() == ErrorKind::Unavailable => Err(error),
        Err(_) => Ok(None),
    }
}

fn list_packs(repository: &Repository, each: &mut dyn FnMut(PackId, u64, i64)) -> Result<()> {
    let storage = &repository.inner.storage;
    storage.wait(async {
        let mut listed = storage.store().list("packs/", None).await;
        while let Some(info) = listed.try_next().await.map_err(Error::Store)? {
            let id = info.key.rsplit('/').next().and_then(PackId::from_hex);
            if let Some(id) = id.filter(|id| pack::path(id) == info.key) {
                each(id, info.size, info.modified_ms);
            }
        }
        Ok(())
    })
}

/// What is deleted in one sweep.
struct Due {
    packs: Vec<(PackId, u64)>,
    indexes: Vec<(IndexId, u64)>,
    waiting: Vec<u64>,
    /// When the last grace of those ends.
    waiting_until_ms: Option<i64>,
    /// The present.
    now_ms: i64,
}

/// What a dry run would have committed before the sweep.
#[derive(Debug, Default)]
pub(super) struct Foreseen {
    pub(super) condemned: Vec<PackId>,
    pub(super) removed: Vec<IndexId>,
}

impl Foreseen {
    /// The state after a commit that is not made.
    fn after(&self, state: &State) -> Result<State> {
        let mut after = state.clone();
        let commit = Commit {
            number: state.number + 1,
            previous: state.hash,
            condemn: self.condemned.clone(),
            remove_indexes: self.removed.clone(),
            ..Commit::default()
        };
        after.apply(commit, state.hash)?;
        Ok(after)
    }
}

/// Deletes what is due, and says so in the log. Packs of `held` stay, whatever their grace: one that is
/// damaged may have to be rebuilt with them.
pub(super) fn sweep(
    repository: &Repository,
    options: &GcOptions,
    foreseen: &Foreseen,
    held: &BTreeSet<PackId>,
    report: &mut GcReport,
    progress: &dyn Progress,
) -> Result<()> {
    let state = repository.state();
    let due = if options.dry_run {
        due(repository, &foreseen.after(&state)?, options, held)?
    } else {
        due(repository, &state, options, held)?
    };
    report.waiting = super::Amount::of(due.waiting.iter().copied());
    report.waiting_until_ms = due.waiting_until_ms;
    if options.dry_run {
        report.swept = super::Amount::of(due.packs.iter().map(|(_, size)| *size));
        report.swept_indexes = super::Amount::of(due.indexes.iter().map(|(_, size)| *size));
        return Ok(());
    }
    let grace = options.writer_grace_ms.max(STAGED_GRACE_MIN_MS);
    let before = due.now_ms.saturating_sub(grace);
    let storage = &repository.inner.storage;
    let staged = storage.wait(storage.store().clean_staged("", before));
    // What cannot be removed is no object: it is in nobody's way.
    match staged {
        Ok(0) => {}
        Ok(files) => tracing::info!(files, "removed what stopped writers had begun to write"),
        Err(error) => tracing::warn!(%error, "could not remove what stopped writers left"),
    }
    // Nobody may name the index objects from here on, whether or not they ever were live.
    let ids = due.indexes.iter().map(|(id, _)| *id);
    let unnamed: Vec<IndexId> = ids.filter(|id| !state.was_removed(id)).collect();
    if !unnamed.is_empty() {
        let commit = repository.commit(None, &options.action, |newest| {
            let named = |id: &&IndexId| newest.indexes.iter().any(|live| live.id == **id);
            Ok(Commit {
                remove_indexes: unnamed.iter().filter(|id| !named(id)).copied().collect(),
                ..Commit::default()
            })
        });
        storage.wait(commit)?;
    }
    let newest = repository.state();
    let live: BTreeSet<IndexId> = newest.indexes.iter().map(|live| live.id).collect();
    let indexes = due.indexes.iter().filter(|(id, _)| !live.contains(id));
    let packs = due.packs.iter().map(|(id, size)| (pack::path(id), *size));
    let objects: Vec<(String, u64)> = indexes
        .map(|(id, size)| (index::path(id), *size))
        .chain(packs)
        .collect();
    progress.start("sweep", None, Some(objects.len() as u64));
    let (deleted, failed) = delete(repository, &objects, report, progress);
    progress.finish();
    let swept: Vec<PackId> = due
        .packs
        .iter()
        .map(|(id, _)| *id)
        .filter(|id| deleted.contains(&pack::path(id)))
        .collect();
    if !swept.is_empty() {
        let commit = repository.commit(None, &options.action, |newest| {
            let waits = |id: &&PackId| newest.condemned.contains_key(*id);
            Ok(Commit {
                swept: swept.iter().filter(waits).copied().collect(),
                ..Commit::default()
            })
        });
        storage.wait(commit)?;
    }
    failed.map_or(Ok(()), |error| Err(Error::Store(error)))
}

/// Condemned packs whose grace is over, and index objects that are not live and of use to nobody.
fn due(
    repository: &Repository,
    state: &State,
    options: &GcOptions,
    held: &BTreeSet<PackId>,
) -> Result<Due> {
    let mut newest = i64::MIN;
    let mut indexes = Vec::new();
    let storage = &repository.inner.storage;
    let live: BTreeSet<IndexId> = state.indexes.iter().map(|live| live.id).collect();
    // Index objects before packs: a pack that is in no list later was deleted, not yet to come.
    storage.wait(async {
        let mut listed = storage.store().list("index/", None).await;
        while let Some(info) = listed.try_next().await.map_err(Error::Store)? {
            newest = newest.max(info.modified_ms);
            let id = info.key.rsplit('/').next().and_then(IndexId::from_hex);
            if let Some(id) = id.filter(|id| index::path(id) == info.key && !live.contains(id)) {
                indexes.push((id, info.size, info.modified_ms));
            }
        }
        Ok::<(), Error>(())
    })?;
    let mut sizes = BTreeMap::new();
    list_packs(repository, &mut |id, size, modified_ms| {
        newest = newest.max(modified_ms);
        if state.condemned.contains_key(&id) {
            sizes.insert(id, size);
        }
    })?;
    let now = newest.max(now_ms());
    let mut times: HashMap<u64, i64> = HashMap::new();
    let mut packs = Vec::new();
    let mut waiting = BTreeMap::new();
    let mut waiting_until_ms = None;
    let head = repository.head();
    for (id, number) in &state.condemned {
        let time = match times.get(number) {
            Some(time) => *time,
            None => {
                // A commit that a dry run only foresees would be made now.
                let time = if *number > head {
                    now
                } else {
                    commit_time(repository, *number)?
                };
                times.insert(*number, time);
                time
            }
        };
        let size = sizes.get(id).copied().unwrap_or(0);
        if held.contains(id) {
            waiting.insert(*id, size);
        } else if time <= now.saturating_sub(options.reader_grace_ms) {
            packs.push((*id, size));
        } else {
            waiting.insert(*id, size);
            waiting_until_ms = waiting_until_ms.max(Some(time + options.reader_grace_ms));
        }
    }
    let limit = now.saturating_sub(options.writer_grace_ms);
    let mut unneeded = Vec::new();
    for (id, size, modified_ms) in indexes {
        let idle = state.was_removed(&id) || modified_ms <= limit;
        if idle && !speaks_of(repository, id, size, |pack| waiting.contains_key(pack)) {
            unneeded.push((id, size));
        }
    }
    Ok(Due {
        packs,
        indexes: unneeded,
        waiting: waiting.into_values().collect(),
        waiting_until_ms,
        now_ms: now,
    })
}

/// When the store says a commit was made. One that is summed up and gone was long ago.
fn commit_time(repository: &Repository, number: u64) -> Result<i64> {
    let storage = &repository.inner.storage;
    match storage.wait(storage.store().head(&commit::path(number))) {
        Ok(info) => Ok(info.modified_ms),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(i64::MIN),
        Err(error) => Err(Error::Store(error)),
    }
}

/// Whether the index object describes a pack that `waits`. One that cannot be read describes none.
fn speaks_of(
    repository: &Repository,
    id: IndexId,
    size: u64,
    waits: impl Fn(&PackId) -> bool,
) -> bool {
    let reference = IndexRef {
        id,
        size,
        entries: 0,
    };
    let inner = &repository.inner;
    let opened = IndexSet::open(
        &inner.storage,
        &inner.ring,
        &[reference],
        crate::repository::Gone::default(),
        None,
    );
    opened.is_ok_and(|index| index.packs().iter().any(|(pack, _)| waits(pack)))
}

/// Deletes `objects`. Returns those that are gone, and an error that was no refusal; what the store
/// refuses is told. Stops when the caller wants to: the rest is due in the next run, too.
fn delete(
    repository: &Repository,
    objects: &[(String, u64)],
    report: &mut GcReport,
    progress: &dyn Progress,
) -> (BTreeSet<String>, Option<repo_store::Error>) {
    let storage = &repository.inner.storage;
    let store = storage.store();
    storage.wait(async {
        let mut deletes = stream::iter(objects)
            .take_while(|_| std::future::ready(!progress.cancelled()))
            .map(|(key, size)| async move { (key, *size, store.delete(key).await) })
            .buffer_unordered(DELETES);
        let mut gone = BTreeSet::new();
        let mut failed = None;
        while let Some((key, size, deleted)) = deletes.next().await {
            progress.advance(0, 1);
            match deleted {
                Ok(Delete::Deleted | Delete::Missing) => {
                    let amount = if key.starts_with("packs/") {
                        &mut report.swept
                    } else {
                        &mut report.swept_indexes
                    };
                    amount.add(size);
                    gone.insert(key.clone());
                }
                Ok(Delete::Locked { until_ms }) => {
                    report.locked.add(size);
                    report.locked_until_ms = report.locked_until_ms.max(Some(until_ms));
                }
                Ok(Delete::Refused(error)) => {
                    report.refused.push((key.clone(), error.to_string()));
                }
                Err(error) => failed = Some(error),
            }
        }
        (gone, failed)
    })
}
