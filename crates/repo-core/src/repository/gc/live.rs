//! What is live, as one bit an index entry: the collector's memory of every blob it has seen.
//!
//! Three bits an entry in all, whatever the blobs hold. A blob counts at the place where a look-up
//! finds it; other copies of it are not marked and so are waste.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use repo_format::index::Entry;
use repo_format::{BlobId, BlobKey};

use crate::error::{Error, Result};
use crate::repository::index::{IndexObject, IndexSet, Location};
use crate::repository::state::Gone;

/// A set of entries of one index object.
struct Bits(Vec<AtomicU64>);

impl Bits {
    fn new(len: u64) -> Self {
        let words = usize::try_from(len.div_ceil(64)).unwrap_or(0);
        Self(
            std::iter::repeat_with(AtomicU64::default)
                .take(words)
                .collect(),
        )
    }

    fn word(&self, at: u64) -> Option<(&AtomicU64, u64)> {
        let word = self.0.get(usize::try_from(at / 64).ok()?)?;
        Some((word, 1 << (at % 64)))
    }

    /// Whether the entry was not in the set before.
    fn insert(&self, at: u64) -> bool {
        self.word(at)
            .is_some_and(|(word, bit)| word.fetch_or(bit, Ordering::Relaxed) & bit == 0)
    }

    fn remove(&self, at: u64) {
        if let Some((word, bit)) = self.word(at) {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    fn contains(&self, at: u64) -> bool {
        self.word(at)
            .is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    fn count(&self) -> u64 {
        let ones = |word: &AtomicU64| u64::from(word.load(Ordering::Relaxed).count_ones());
        self.0.iter().map(ones).sum()
    }
}

/// An index object and what is known of its entries.
pub(crate) struct Known {
    pub(crate) object: Arc<IndexObject>,
    /// Reached from a snapshot.
    live: Bits,
    /// Not reached, but a live chunk is stored against it.
    held: Bits,
    /// Stored anew by this run: the entry is of no more use.
    moved: Bits,
    /// Added by a commit that came while this run was at work.
    late: bool,
}

impl Known {
    /// Whether the blob of the entry must stay retrievable.
    pub(crate) fn needed(&self, at: u64) -> bool {
        self.live.contains(at) || self.held.contains(at)
    }

    /// Whether the entry is replaced by one that this run has written.
    pub(crate) fn moved(&self, at: u64) -> bool {
        self.moved.contains(at)
    }
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    object: usize,
    at: u64,
    pub(crate) location: Location,
}

impl Place {
    /// Number of the index object, in the order they are asked, and of the entry in it.
    pub(crate) fn slot(&self) -> (usize, u64) {
        (self.object, self.at)
    }
}

/// Liveness of everything the index of one state locates.
pub(crate) struct Live {
    known: Vec<Known>,
    gone: Gone,
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl Live {
    /// Nothing is live yet.
    pub(crate) fn new(index: &IndexSet) -> Self {
        let mut live = Self {
            known: Vec::new(),
            gone: index.gone().clone(),
            buffers: Mutex::default(),
        };
        live.extend(index);
        live
    }

    /// Takes in objects that were added to the index since. Returns them.
    pub(crate) fn extend(&mut self, index: &IndexSet) -> Vec<Arc<IndexObject>> {
        let late = !self.known.is_empty();
        let mut before = std::mem::take(&mut self.known);
        let mut added = Vec::new();
        for object in index.objects() {
            let at = before
                .iter()
                .position(|known| known.object.id() == object.id());
            self.known.push(if let Some(at) = at {
                before.swap_remove(at)
            } else {
                added.push(Arc::clone(&object));
                let entries = object.tail().entries;
                Known {
                    object,
                    live: Bits::new(entries),
                    held: Bits::new(entries),
                    moved: Bits::new(entries),
                    late,
                }
            });
        }
        added
    }

    /// The objects in the order they are asked.
    pub(crate) fn objects(&self) -> &[Known] {
        &self.known
    }

    /// Where a look-up finds the blob.
    pub(crate) fn place(&self, key: &BlobKey) -> Result<Option<Place>> {
        let buffers = || self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut buffer = buffers().pop().unwrap_or_default();
        let found = self.search(key, &mut buffer);
        buffers().push(buffer);
        found
    }

    fn search(&self, key: &BlobKey, buffer: &mut Vec<u8>) -> Result<Option<Place>> {
        for (object, known) in self.known.iter().enumerate() {
            if let Some((at, entry)) = known.object.position(key, buffer)? {
                let location = known.object.locate(&entry)?;
                if !self.gone.contains(&location.segment.pack) {
                    return Ok(Some(Place {
                        object,
                        at,
                        location,
                    }));
                }
            }
        }
        Ok(None)
    }

    /// Where the blob lies. A collector stops at a blob it cannot locate: what it does not
    /// understand it does not touch.
    pub(crate) fn locate(&self, id: &BlobId) -> Result<Place> {
        self.place(&id.key())?.ok_or(Error::MissingBlob { id: *id })
    }

    /// Marks as live. Whether it was not before.
    pub(crate) fn mark(&self, place: &Place) -> bool {
        self.known[place.object].live.insert(place.at)
    }

    /// Marks as needed by a live delta. Whether it was neither live nor needed before.
    pub(crate) fn hold(&self, place: &Place) -> bool {
        let known = &self.known[place.object];
        !known.live.contains(place.at) && known.held.insert(place.at)
    }

    /// The delta that needed it is stored anew.
    pub(crate) fn release(&self, place: &Place) {
        self.known[place.object].held.remove(place.at);
    }

    /// Notes that this run has stored the blob anew.
    pub(crate) fn set_moved(&self, place: &Place) {
        self.known[place.object].moved.insert(place.at);
    }

    /// Whether one of the blobs that `added` describes was stored anew by this run before it came.
    pub(crate) fn moved_any(&self, added: &[Arc<IndexObject>]) -> Result<bool> {
        let ids: Vec<_> = added.iter().map(|object| object.id()).collect();
        let before = || {
            self.known
                .iter()
                .filter(|known| !ids.contains(&known.object.id()))
        };
        let mut buffer = Vec::new();
        let mut any = Ok(false);
        for object in added {
            object.each_entry(|_, entry| {
                for known in before() {
                    match known.object.position(&entry.key, &mut buffer) {
                        Ok(Some((at, _))) if known.moved(at) && any.is_ok() => any = Ok(true),
                        Ok(_) => {}
                        Err(error) => any = Err(error),
                    }
                }
            })?;
        }
        any
    }

    /// Whether a needed entry of object number `object` is one that no look-up leads to: another
    /// needed one came in front of it while this run was at work. Only the one in front may be what
    /// deltas were stored against since; the one behind it may lie too deep to be their base.
    pub(crate) fn is_superseded(
        &self,
        object: usize,
        key: &BlobKey,
        buffer: &mut Vec<u8>,
    ) -> Result<bool> {
        for known in self.known[..object].iter().filter(|known| known.late) {
            if let Some((at, entry)) = known.object.position(key, buffer)? {
                let pack = known.object.locate(&entry)?.segment.pack;
                if known.needed(at) && !known.moved(at) && !self.gone.contains(&pack) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether it is live.
    pub(crate) fn is_live(&self, place: &Place) -> bool {
        self.known[place.object].live.contains(place.at)
    }

    /// Whether it is live, or a live delta needs it, and it is not stored anew.
    pub(crate) fn is_needed(&self, place: &Place) -> bool {
        let known = &self.known[place.object];
        known.needed(place.at) && !known.moved(place.at)
    }

    /// Number of live blobs.
    pub(crate) fn count(&self) -> u64 {
        self.known.iter().map(|known| known.live.count()).sum()
    }
}

/// How many entries of one segment there are and how many of them are needed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Share {
    pub(crate) entries: u16,
    pub(crate) needed: u16,
}

impl Known {
    /// Counts entries by segment row.
    pub(crate) fn shares(&self) -> Result<Vec<Share>> {
        let mut shares = vec![Share::default(); self.object.tail().segments.len()];
        self.object.each_entry(|at, entry: Entry| {
            if let Some(share) = shares.get_mut(entry.segment as usize) {
                share.entries = share.entries.saturating_add(1);
                if self.needed(at) && !self.moved(at) {
                    share.needed = share.needed.saturating_add(1);
                }
            }
        })?;
        Ok(shares)
    }
}
