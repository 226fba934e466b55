//! Which snapshots need each blob, and what that means in bytes.
//!
//! Of each index entry one number is kept: nobody, one snapshot, snapshots of one source, or more.
//! Visits move it up only, so that each blob is looked below at most three times however many
//! snapshots hold it. Lengths come from pack directories.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use repo_format::pack::DirectorySegment;
use repo_format::{BlobId, BlobKind, PackId, limits};

use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::gc::{Live, Place};
use crate::repository::index::IndexSet;

/// Needed by snapshots of several sources.
const MANY: u32 = u32::MAX;
/// From here on a number names a source, below it a snapshot, from 1.
const SOURCES: u32 = 1 << 31;

/// Who needs a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Nobody,
    /// One snapshot.
    Snapshot(usize),
    /// Several snapshots of one source.
    Source(usize),
    /// Snapshots of several sources.
    Many,
}

impl Need {
    fn of(mark: u32) -> Self {
        match mark {
            0 => Self::Nobody,
            MANY => Self::Many,
            SOURCES.. => Self::Source((mark - SOURCES) as usize),
            _ => Self::Snapshot(mark as usize - 1),
        }
    }
}

/// The need of every blob that the index locates.
pub(crate) struct Marks {
    live: Live,
    marks: Vec<Vec<AtomicU32>>,
    /// The source of each snapshot.
    sources: Vec<usize>,
}

impl Marks {
    /// Nobody needs anything yet. `sources` names the source of each snapshot.
    pub(crate) fn new(index: &IndexSet, sources: Vec<usize>) -> Self {
        let live = Live::new(index);
        let marks = live.objects().iter().map(|known| {
            let entries = usize::try_from(known.object.tail().entries).unwrap_or(0);
            std::iter::repeat_with(AtomicU32::default)
                .take(entries)
                .collect()
        });
        Self {
            marks: marks.collect(),
            live,
            sources,
        }
    }

    fn mark(&self, place: &Place) -> Option<&AtomicU32> {
        let (object, at) = place.slot();
        self.marks.get(object)?.get(usize::try_from(at).ok()?)
    }

    /// Notes that snapshot `snapshot` needs a blob; says whether more is known now, and so about
    /// what lies below it.
    pub(crate) fn need(&self, id: &BlobId, snapshot: usize) -> Result<bool> {
        let place = self.live.locate(id)?;
        let own = u32::try_from(snapshot + 1).unwrap_or(MANY);
        Ok(self.raise(&place, own))
    }

    /// Joins what is known of a place with `more`. Whether that is more than before.
    fn raise(&self, place: &Place, more: u32) -> bool {
        let Some(mark) = self.mark(place) else {
            return false;
        };
        let raised = |before| {
            let after = self.join(before, more);
            (after != before).then_some(after)
        };
        mark.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raised)
            .is_ok()
    }

    fn join(&self, a: u32, b: u32) -> u32 {
        if a == b || b == 0 {
            return a;
        }
        if a == 0 {
            return b;
        }
        match (self.source_of(a), self.source_of(b)) {
            (Some(a), Some(b)) if a == b => {
                SOURCES.saturating_add(u32::try_from(a).unwrap_or(MANY))
            }
            _ => MANY,
        }
    }

    fn source_of(&self, mark: u32) -> Option<usize> {
        match Need::of(mark) {
            Need::Snapshot(at) => self.sources.get(at).copied(),
            Need::Source(at) => Some(at),
            Need::Nobody | Need::Many => None,
        }
    }
}

/// Bytes of blobs that are needed alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// Raw length of chunks of files.
    pub(crate) data: u64,
    /// What they, and trees, take in packs.
    pub(crate) stored: u64,
}

/// Bytes by who needs them, and how they are stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    pub(crate) unneeded: Bytes,
    pub(crate) snapshots: Vec<Bytes>,
    /// Needed by one source; with what only one of its snapshots needs.
    pub(crate) sources: Vec<Bytes>,
    pub(crate) data_raw: u64,
    pub(crate) data_stored: u64,
    pub(crate) delta_raw: u64,
    pub(crate) delta_stored: u64,
    pub(crate) tree_raw: u64,
    pub(crate) tree_stored: u64,
}

impl Sums {
    fn new(snapshots: usize, sources: usize) -> Self {
        Self {
            snapshots: vec![Bytes::default(); snapshots],
            sources: vec![Bytes::default(); sources],
            ..Self::default()
        }
    }

    fn add(&mut self, other: &Self) {
        let add = |to: &mut Bytes, more: &Bytes| {
            to.data += more.data;
            to.stored += more.stored;
        };
        add(&mut self.unneeded, &other.unneeded);
        for (to, more) in self.snapshots.iter_mut().zip(&other.snapshots) {
            add(to, more);
        }
        for (to, more) in self.sources.iter_mut().zip(&other.sources) {
            add(to, more);
        }
        self.data_raw += other.data_raw;
        self.data_stored += other.data_stored;
        self.delta_raw += other.delta_raw;
        self.delta_stored += other.delta_stored;
        self.tree_raw += other.tree_raw;
        self.tree_stored += other.tree_stored;
    }
}

/// Adds up what every pack holds. The base of a delta is needed by whoever needs the delta.
pub(crate) fn sums(
    repository: &Repository,
    index: &IndexSet,
    marks: &Marks,
    progress: &dyn Progress,
) -> Result<Sums> {
    let gone = index.gone();
    let mut packs = index.packs();
    packs.retain(|(id, _)| !gone.contains(id));
    need_bases(repository, marks, packs.clone(), progress)?;
    let count = marks.sources.iter().max().map_or(0, |last| last + 1);
    let empty = Sums::new(marks.sources.len(), count);
    let parts = each_directory(repository, &packs, progress, &|sums, pack, segment| {
        let sums = sums.get_or_insert_with(|| empty.clone());
        segment_sums(marks, pack, segment, sums)
    })?;
    let mut total = empty;
    parts.iter().for_each(|part| total.add(part));
    Ok(total)
}

/// Passes on to bases who needs their deltas. A base may be a delta: packs that hold any are looked
/// at again until nothing more is learned.
fn need_bases(
    repository: &Repository,
    marks: &Marks,
    mut packs: Vec<(PackId, u64)>,
    progress: &dyn Progress,
) -> Result<()> {
    for _ in 0..=limits::DELTA_DEPTH_MAX {
        let with_deltas = Mutex::new(HashSet::new());
        let raised = AtomicBool::new(false);
        each_directory(repository, &packs, progress, &|_, pack, segment| {
            let (Some(base), Some((chunk, _))) = (&segment.base, segment.chunks.first()) else {
                return Ok(());
            };
            let chunk = marks.live.place(&chunk.key())?;
            let below = marks.live.place(&base.id.key())?;
            if let (Some(chunk), Some(below)) = (chunk, below) {
                let need = marks.mark(&chunk).map_or(0, |m| m.load(Ordering::Relaxed));
                if marks.raise(&below, need) && base.depth > 1 {
                    raised.store(true, Ordering::Relaxed);
                }
            }
            let mut packs = with_deltas.lock().unwrap_or_else(PoisonError::into_inner);
            packs.insert(*pack);
            Ok(())
        })?;
        if !raised.into_inner() {
            break;
        }
        let with_deltas = with_deltas.into_inner();
        let with_deltas = with_deltas.unwrap_or_else(PoisonError::into_inner);
        packs.retain(|(id, _)| with_deltas.contains(id));
    }
    Ok(())
}

/// Told of each segment of each pack, with sums of its own thread.
type VisitSegment<'a> =
    dyn Fn(&mut Option<Sums>, &PackId, &DirectorySegment) -> Result<()> + Sync + 'a;

/// Reads the directories of packs, on all threads. The sums of each thread.
fn each_directory(
    repository: &Repository,
    packs: &[(PackId, u64)],
    progress: &dyn Progress,
    visit: &VisitSegment<'_>,
) -> Result<Vec<Sums>> {
    progress.start("packs", None, Some(packs.len() as u64));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let each = packs.len().div_ceil(threads).max(1);
    let parts = repository.pool()?.install(|| {
        let part = |packs: &[(PackId, u64)]| {
            let mut sums = None;
            for (id, size) in packs {
                if progress.cancelled() {
                    return Err(Error::Cancelled);
                }
                for segment in &repository.inner.segments.directory(id, *size)? {
                    visit(&mut sums, id, segment)?;
                }
                progress.advance(0, 1);
            }
            Ok(sums)
        };
        packs.par_chunks(each).map(part).collect::<Result<Vec<_>>>()
    })?;
    progress.finish();
    Ok(parts.into_iter().flatten().collect())
}

fn segment_sums(
    marks: &Marks,
    pack: &PackId,
    segment: &DirectorySegment,
    sums: &mut Sums,
) -> Result<()> {
    let raw: u64 = segment.chunks.iter().map(|(_, len)| u64::from(*len)).sum();
    let stored = u64::from(segment.place.stored);
    let mut before = 0;
    for (id, len) in &segment.chunks {
        let len = u64::from(*len);
        // What shares a segment takes in proportion to its length; nothing is lost in rounding.
        let share = |at: u64| at.saturating_mul(stored).checked_div(raw).unwrap_or(0);
        let own = share(before + len) - share(before);
        before += len;
        let place = marks.live.place(&id.key())?;
        // Another copy of the blob is the one that look-ups find.
        let found = place.filter(|place| {
            let at = &place.location.segment;
            at.pack == *pack && at.offset == segment.place.offset
        });
        let mark = found.and_then(|place| marks.mark(&place).map(|m| m.load(Ordering::Relaxed)));
        let mark = mark.unwrap_or(0);
        let data = if segment.kind == BlobKind::Data {
            len
        } else {
            0
        };
        let add = |to: &mut Bytes| {
            to.data += data;
            to.stored += own;
        };
        match Need::of(mark) {
            Need::Nobody => {
                add(&mut sums.unneeded);
                continue;
            }
            Need::Snapshot(at) => {
                sums.snapshots.get_mut(at).map(add);
            }
            Need::Source(_) | Need::Many => {}
        }
        if let Some(source) = marks.source_of(mark) {
            sums.sources.get_mut(source).map(add);
        }
        let (raw, stored) = match (segment.kind, &segment.base) {
            (BlobKind::Tree, _) => (&mut sums.tree_raw, &mut sums.tree_stored),
            (BlobKind::Data, Some(_)) => (&mut sums.delta_raw, &mut sums.delta_stored),
            (BlobKind::Data, None) => (&mut sums.data_raw, &mut sums.data_stored),
        };
        *raw += len;
        *stored += own;
    }
    Ok(())
}
