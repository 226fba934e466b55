//! What was decoded and may be asked for again, bounded by bytes; and segments, each decoded once
//! however many threads want it.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use lru::LruCache;
use repo_format::{BlobId, BlobKind, KeyRing};

use crate::error::{Error, Result};
use crate::limits::{READER_SPARE_EACH, READER_SPARE_MAX};
use crate::repository::{DecodedSegment, SegmentAddress};

/// The most recently used values whose weights stay within a budget.
pub(super) struct Weighted<K: Hash + Eq, V> {
    map: LruCache<K, (usize, Arc<V>)>,
    weight: usize,
    max: usize,
}

impl<K: Hash + Eq, V> Weighted<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            map: LruCache::unbounded(),
            weight: 0,
            max,
        }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<Arc<V>> {
        self.map.get(key).map(|(_, value)| Arc::clone(value))
    }

    /// Keeps `value`, and drops what was not used for longest until the budget holds again. A value
    /// that is heavier than the budget is not kept.
    pub(super) fn put(&mut self, key: K, weight: usize, value: Arc<V>) {
        self.weight += weight;
        if let Some((before, _)) = self.map.put(key, (weight, value)) {
            self.weight -= before;
        }
        while self.weight > self.max {
            let Some((_, (dropped, _))) = self.map.pop_lru() else {
                return;
            };
            self.weight -= dropped;
        }
    }
}

/// Memory of segments that are no longer held, for the next ones: fresh memory costs a good part of
/// what decoding does, and returned memory stays with the thread that returned it.
#[derive(Default)]
pub(super) struct Spare(Mutex<Vec<DecodedSegment>>);

impl Spare {
    pub(super) fn take(&self) -> DecodedSegment {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_default()
    }

    fn give(&self, segment: DecodedSegment) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < READER_SPARE_MAX && segment.raw.capacity() <= READER_SPARE_EACH {
            spare.push(segment);
        }
    }
}

/// A decoded segment, and the ids of those of its chunks that were asked for.
pub(super) struct Held {
    segment: DecodedSegment,
    ids: Box<[OnceLock<BlobId>]>,
    spare: Arc<Spare>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.spare.give(std::mem::take(&mut self.segment));
    }
}

impl Held {
    fn new(segment: DecodedSegment, spare: Arc<Spare>) -> Self {
        let ids = segment.ends.iter().map(|_| OnceLock::new()).collect();
        Self {
            segment,
            ids,
            spare,
        }
    }

    /// Where the chunk `id` lies in the raw bytes, when it is the one at `ordinal`. Its bytes are
    /// hashed once.
    pub(super) fn chunk(&self, ring: &KeyRing, ordinal: u16, id: &BlobId) -> Option<Range<usize>> {
        let range = self.segment.range(ordinal)?;
        let bytes = self.segment.raw.get(range.clone())?;
        let known = self.ids.get(usize::from(ordinal))?;
        let is = known.get_or_init(|| ring.blob_id(BlobKind::Data, bytes));
        (is == id).then_some(range)
    }

    pub(super) fn raw(&self) -> &[u8] {
        &self.segment.raw
    }
}

/// Decoded segments that several readers share.
pub(super) struct Segments {
    state: Mutex<State>,
    spare: Arc<Spare>,
}

struct State {
    ready: Weighted<SegmentAddress, Held>,
    pending: HashMap<SegmentAddress, Arc<Pending>>,
}

/// A segment that one thread is reading.
#[derive(Default)]
struct Pending {
    outcome: Mutex<Option<std::result::Result<Arc<Held>, Arc<Error>>>>,
    settled: Condvar,
}

impl Segments {
    pub(super) fn new(max: usize) -> Self {
        let state = State {
            ready: Weighted::new(max),
            pending: HashMap::new(),
        };
        Self {
            state: Mutex::new(state),
            spare: Arc::default(),
        }
    }

    /// The segment at `address`. When no thread has it or is reading it, `read` does, into memory it is
    /// given.
    pub(super) fn get(
        &self,
        address: &SegmentAddress,
        read: impl FnOnce(DecodedSegment) -> Result<DecodedSegment>,
    ) -> Result<Arc<Held>> {
        let pending = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(held) = state.ready.get(address) {
                return Ok(held);
            }
            match state.pending.get(address) {
                Some(pending) => Err(Arc::clone(pending)),
                None => {
                    let pending = Arc::new(Pending::default());
                    state.pending.insert(*address, Arc::clone(&pending));
                    Ok(pending)
                }
            }
        };
        let claim = match pending {
            Err(pending) => return pending.wait(),
            Ok(pending) => Claim {
                segments: self,
                address: *address,
                pending,
            },
        };
        match read(self.spare.take()) {
            Ok(segment) => {
                let held = Arc::new(Held::new(segment, Arc::clone(&self.spare)));
                claim.settle(Ok(Arc::clone(&held)));
                Ok(held)
            }
            Err(error) => {
                let error = Arc::new(error);
                claim.settle(Err(Arc::clone(&error)));
                Err(Error::Shared { source: error })
            }
        }
    }

    /// The segment, when it is here.
    pub(super) fn at_hand(&self, address: &SegmentAddress) -> Option<Arc<Held>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ready.get(address)
    }

    /// Whether the segment is here or on its way.
    pub(super) fn knows(&self, address: &SegmentAddress) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending.contains_key(address) || state.ready.get(address).is_some()
    }
}

impl Pending {
    fn wait(&self) -> Result<Arc<Held>> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &*outcome {
                Some(Ok(held)) => return Ok(Arc::clone(held)),
                Some(Err(error)) => {
                    let source = Arc::clone(error);
                    return Err(Error::Shared { source });
                }
                None => {
                    let waited = self.settled.wait(outcome);
                    outcome = waited.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// The duty to settle what other threads wait for, also when the reading thread unwinds.
struct Claim<'s> {
    segments: &'s Segments,
    address: SegmentAddress,
    pending: Arc<Pending>,
}

impl Claim<'_> {
    fn settle(self, outcome: std::result::Result<Arc<Held>, Arc<Error>>) {
        if let Ok(held) = &outcome {
            let lock = self.segments.state.lock();
            let mut state = lock.unwrap_or_else(PoisonError::into_inner);
            let weight = held.raw().len();
            state.ready.put(self.address, weight, Arc::clone(held));
        }
        self.publish(outcome);
    }

    fn publish(&self, settled: std::result::Result<Arc<Held>, Arc<Error>>) {
        let lock = self.pending.outcome.lock();
        let mut outcome = lock.unwrap_or_else(PoisonError::into_inner);
        outcome.get_or_insert(settled);
        self.pending.settled.notify_all();
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let lock = self.segments.state.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
            .pending
            .remove(&self.address);
        self.publish(Err(Arc::new(Error::Internal { what: "reader" })));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use repo_format::PackId;

    use super::*;

    fn address(offset: u32) -> SegmentAddress {
        SegmentAddress {
            pack: PackId([1; 32]),
            offset,
            stored: 100,
            raw: 10,
        }
    }

    fn segment(len: usize) -> DecodedSegment {
        DecodedSegment {
            raw: vec![7; len],
            ends: vec![u32::try_from(len).unwrap()],
            kind: Some(BlobKind::Data),
        }
    }

    #[test]
    fn the_budget_holds_and_the_oldest_goes() {
        let mut kept = Weighted::new(10);
        for key in 0..4 {
            kept.put(key, 4, Arc::new(key));
            assert!(kept.weight <= 10);
            kept.get(&0);
        }
        let left: Vec<_> = (0..4).filter(|key| kept.get(key).is_some()).collect();
        assert_eq!(left, [0, 3]);
        kept.put(9, 11, Arc::new(9));
        assert!(kept.get(&9).is_none() && kept.weight == 0);
    }

    #[test]
    fn a_segment_is_read_once_for_all_who_want_it() {
        let (segments, reads) = (Segments::new(100), AtomicUsize::new(0));
        let start = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let held = segments.get(&address(1), |_| {
                        reads.fetch_add(1, Ordering::Relaxed);
                        Ok(segment(10))
                    });
                    assert_eq!(held.unwrap().raw().len(), 10);
                });
            }
        });
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_failure_is_everybodys_and_not_kept() {
        let segments = Segments::new(100);
        let failed = segments.get(&address(1), |_| Err(Error::Cancelled));
        assert!(
            matches!(failed, Err(Error::Shared { source }) if matches!(*source, Error::Cancelled))
        );
        assert!(!segments.knows(&address(1)));
        assert!(segments.get(&address(1), |_| Ok(segment(5))).is_ok());
        assert!(segments.knows(&address(1)));
    }

    #[test]
    fn a_reader_that_unwinds_leaves_nobody_waiting() {
        let segments = Segments::new(100);
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(segments.get(&address(1), |_| std::panic::resume_unwind(Box::new(()))));
        }));
        assert!(unwound.is_err() && !segments.knows(&address(1)));
    }
}
