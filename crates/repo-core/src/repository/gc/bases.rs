//! Closure of the live set over delta bases: a live chunk that is stored against another one needs
//! that one, whether or not a snapshot reaches it, and what that one is stored against.
//!
//! Which chunks are deltas is said by pack directories. A delta is a segment of one chunk, so only
//! packs with such a segment are looked at; again those in which a base became needed, until none
//! did.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use repo_format::pack::DirectorySegment;
use repo_format::{BlobId, PackId};

use super::live::{Live, Place};
use crate::error::{Error, Result};
use crate::limits::REBASE_MAX;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::index::IndexObject;

/// Needed deltas by the base that nothing else needs. Bounded: what is left out keeps its base.
pub(super) type Orphaned = BTreeMap<BlobId, Vec<BlobId>>;

/// What a closure needs from all its threads.
struct Closure<'a> {
    live: &'a Live,
    orphaned: Mutex<(usize, Orphaned)>,
    /// Bases for which a delta was left out.
    incomplete: Mutex<HashSet<BlobId>>,
    /// Packs in which something became needed that was not before.
    touched: Mutex<BTreeSet<PackId>>,
}

/// What the closure found.
pub(super) struct Closed {
    pub(super) orphaned: Orphaned,
    /// Packs in which something became needed.
    pub(super) touched: BTreeSet<PackId>,
}

/// Packs in which a needed segment may be a delta, with their sizes.
pub(super) fn suspects(live: &Live) -> Result<BTreeMap<PackId, u64>> {
    let mut packs = BTreeMap::new();
    for known in live.objects() {
        let tail = known.object.tail();
        for (row, share) in tail.segments.iter().zip(known.shares()?) {
            if share.entries == 1
                && share.needed == 1
                && let Some(pack) = tail.packs.get(row.pack as usize)
            {
                packs.insert(pack.id, pack.size);
            }
        }
    }
    Ok(packs)
}

/// All packs that `objects` describe, with their sizes.
pub(super) fn packs_of<'o>(
    objects: impl IntoIterator<Item = &'o Arc<IndexObject>>,
) -> BTreeMap<PackId, u64> {
    let rows = objects.into_iter().flat_map(|object| &object.tail().packs);
    rows.map(|pack| (pack.id, pack.size)).collect()
}

/// Marks the bases of all needed deltas in `packs` as needed, and theirs.
pub(super) fn close(
    repository: &Repository,
    live: &Live,
    packs: &BTreeMap<PackId, u64>,
    progress: &dyn Progress,
) -> Result<Closed> {
    let closure = Closure {
        live,
        orphaned: Mutex::default(),
        incomplete: Mutex::default(),
        touched: Mutex::default(),
    };
    let objects = live.objects().iter().map(|known| &known.object);
    let sizes = packs_of(objects);
    let mut packs: Vec<(PackId, u64)> = packs.iter().map(|(id, size)| (*id, *size)).collect();
    let mut touched = BTreeSet::new();
    progress.start("bases", None, Some(packs.len() as u64));
    while !packs.is_empty() {
        repository.pool()?.install(|| {
            packs.par_iter().try_for_each(|(id, size)| {
                if progress.cancelled() {
                    return Err(Error::Cancelled);
                }
                let directory = repository.inner.segments.directory(id, *size)?;
                for segment in &directory {
                    closure.segment(id, segment)?;
                }
                progress.advance(0, 1);
                Ok(())
            })
        })?;
        let newly = std::mem::take(&mut *lock(&closure.touched));
        let sized = newly.iter().filter_map(|id| Some((*id, *sizes.get(id)?)));
        packs = sized.collect();
        touched.extend(newly);
    }
    progress.finish();
    let (_, mut orphaned) = owned(closure.orphaned);
    for base in owned(closure.incomplete) {
        orphaned.remove(&base);
    }
    Ok(Closed { orphaned, touched })
}

impl Closure<'_> {
    fn segment(&self, pack: &PackId, segment: &DirectorySegment) -> Result<()> {
        let (Some(base), Some((chunk, _))) = (&segment.base, segment.chunks.first()) else {
            return Ok(());
        };
        let Some(place) = self.live.place(&chunk.key())? else {
            return Ok(());
        };
        if !self.live.is_needed(&place) || !lies_in(&place, pack, segment) {
            return Ok(());
        }
        let base_place = self.live.locate(&base.id)?;
        if self.live.is_live(&base_place) {
            return Ok(());
        }
        if self.live.hold(&base_place) {
            let pack = base_place.location.segment.pack;
            lock(&self.touched).insert(pack);
        }
        let mut orphaned = lock(&self.orphaned);
        if orphaned.0 == REBASE_MAX {
            lock(&self.incomplete).insert(base.id);
            return Ok(());
        }
        // A pack may be looked at twice.
        let deltas = orphaned.1.entry(base.id).or_default();
        if !deltas.contains(chunk) {
            deltas.push(*chunk);
            orphaned.0 += 1;
        }
        Ok(())
    }
}

/// Whether a look-up leads to this very segment.
pub(super) fn lies_in(place: &Place, pack: &PackId, segment: &DirectorySegment) -> bool {
    let at = &place.location.segment;
    at.pack == *pack && at.offset == segment.place.offset
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owned<T>(mutex: Mutex<T>) -> T {
    mutex.into_inner().unwrap_or_else(PoisonError::into_inner)
}
