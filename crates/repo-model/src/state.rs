//! The state of store, log and processes between two steps.

use crate::place::{BASE, Blobs, DELTA, Index, Packs, SLOTS, each};

/// Whether a pack name is in use, and whether the store has the pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Life {
    #[default]
    Unused,
    Stored,
    /// Deleted, and somebody still has its name.
    Deleted,
}

/// One pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pack {
    pub(crate) life: Life,
    pub(crate) blobs: Blobs,
    /// Its copy of [`DELTA`] is a delta against [`BASE`].
    pub(crate) delta: bool,
}

/// Where a writer or a collector is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    /// Not running.
    #[default]
    Idle,
    /// A collector that is about to list the packs.
    Listing,
    /// About to put a pack with `todo`, new blobs of a writer or live ones of a repacked pack.
    Packing,
    /// A writer about to put a pack with copies of `todo`, which it can no longer rely on.
    Copying,
    /// About to create its commit.
    Ready,
    /// A writer that has committed or crashed, and does not begin again.
    Done,
}

/// What the commits after the one a process has read say; it learns of them when it loses the race.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct News {
    /// There is one.
    pub(crate) any: bool,
    /// One condemned packs or removed index objects.
    pub(crate) gc: bool,
}

/// A snapshot being taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Writer {
    pub(crate) phase: Phase,
    pub(crate) todo: Blobs,
    /// Where the state it has read locates what it relies on.
    pub(crate) seen: Index,
    /// Packs it has put, each with an index object of its own.
    pub(crate) own: Packs,
    /// Those of them whose index object has been deleted.
    pub(crate) bereft: Packs,
    /// What was condemned since the state it began with.
    pub(crate) condemned: Packs,
    pub(crate) news: News,
}

/// A garbage collection up to its commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Collector {
    pub(crate) phase: Phase,
    pub(crate) todo: Blobs,
    /// The packs it is going to condemn.
    pub(crate) list: Packs,
    /// The one of them that it repacks.
    pub(crate) source: Packs,
    /// The pack with what it repacked.
    pub(crate) new: Packs,
    /// Packs the state it has read names, while it is about to list.
    pub(crate) known: Packs,
    /// Its index object: what replaces those it removes.
    pub(crate) index: Index,
    pub(crate) news: News,
}

/// Everything between two steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    pub(crate) packs: [Pack; SLOTS],
    /// The log's fold: live index objects, snapshots, condemned packs.
    pub(crate) live: Vec<Index>,
    pub(crate) snapshots: u8,
    pub(crate) condemned: Packs,
    pub(crate) writers: [Writer; 2],
    pub(crate) collectors: [Collector; 2],
}

impl State {
    /// All that the live index objects locate.
    pub(crate) fn located(&self) -> Index {
        self.live
            .iter()
            .filter(|index| !index.deleted())
            .fold(Index::default(), |all, index| all.and(*index))
    }

    /// All packs that live index objects mention.
    pub(crate) fn mentioned(&self) -> Packs {
        self.live
            .iter()
            .fold(0, |packs, index| packs | index.packs())
    }

    /// The packs the store has.
    pub(crate) fn stored(&self) -> Packs {
        self.with(Life::Stored)
    }

    /// The packs that have been deleted.
    pub(crate) fn deleted(&self) -> Packs {
        self.with(Life::Deleted)
    }

    fn with(&self, life: Life) -> Packs {
        (0..SLOTS)
            .filter(|slot| self.packs[*slot].life == life)
            .fold(0, |packs, slot| packs | 1 << slot)
    }

    /// Whether one of these entries is a delta.
    pub(crate) fn has_delta(&self, entries: Index) -> bool {
        each(entries.packs()).any(|slot| entries.at(slot) & DELTA != 0 && self.packs[slot].delta)
    }

    /// These blobs, and the base when one of these entries is a delta among them.
    pub(crate) fn closure(&self, blobs: Blobs, entries: Index) -> Blobs {
        if self.has_delta(entries.only(blobs)) {
            blobs | BASE
        } else {
            blobs
        }
    }

    /// The blobs that can be read at these places now.
    pub(crate) fn readable(&self, entries: Index) -> Blobs {
        let entries = entries.inside(self.stored());
        let whole = each(entries.packs())
            .map(|slot| {
                let delta = if self.packs[slot].delta { DELTA } else { 0 };
                entries.at(slot) & !delta
            })
            .fold(0, |all, blobs| all | blobs);
        if whole & BASE != 0 {
            entries.blobs()
        } else {
            whole
        }
    }

    /// What the index objects of these packs say when they locate all that is in them.
    pub(crate) fn contents(&self, packs: Packs) -> Index {
        each(packs).fold(Index::default(), |all, slot| {
            all.and(Index::of(slot, self.packs[slot].blobs))
        })
    }

    /// A name that no pack has, when there is room for one.
    pub(crate) fn unused(&self, room: usize) -> Option<usize> {
        (0..room).find(|slot| self.packs[*slot].life == Life::Unused)
    }

    /// Puts a pack and says under which name.
    pub(crate) fn put(&mut self, room: usize, blobs: Blobs, delta: bool) -> Option<Packs> {
        let slot = self.unused(room)?;
        self.packs[slot] = Pack {
            life: Life::Stored,
            blobs,
            delta,
        };
        Some(1 << slot)
    }

    /// Tells every process but the one that commits that there is a commit.
    pub(crate) fn tell(&mut self, gc: bool, condemned: Packs) {
        for writer in &mut self.writers {
            if !matches!(writer.phase, Phase::Idle | Phase::Done) {
                writer.news.any = true;
                writer.news.gc |= gc;
                writer.condemned |= condemned;
            }
        }
        for collector in &mut self.collectors {
            if collector.phase != Phase::Idle {
                collector.news.any = true;
                collector.news.gc |= gc;
            }
        }
    }
}
