//! Small sets: blobs, packs, and which pack holds which blob.

/// How many pack names a state has room for.
pub(crate) const SLOTS: usize = 8;

/// How many blobs there are.
pub(crate) const BLOBS: usize = 3;

/// A set of packs, one bit a name.
pub(crate) type Packs = u8;

/// A set of blobs, one bit each.
pub type Blobs = u8;

/// The blob others may be stored against.
pub const BASE: Blobs = 1;

/// The blob that may be stored as a delta against [`BASE`].
pub const DELTA: Blobs = 2;

/// A blob that is stored by itself.
pub const OTHER: Blobs = 4;

const ALL: u32 = 7;

/// The packs of a set, lowest name first.
pub(crate) fn each(packs: Packs) -> impl Iterator<Item = usize> {
    (0..SLOTS).filter(move |slot| packs & (1 << slot) != 0)
}

/// What an index object says: for each pack the blobs it locates there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Index(u32);

impl Index {
    /// Set when the object itself has been deleted.
    const DELETED: u32 = 1 << 31;

    pub(crate) fn of(slot: usize, blobs: Blobs) -> Self {
        Self(u32::from(blobs) << (BLOBS * slot))
    }

    /// The blobs it locates in one pack.
    pub(crate) fn at(self, slot: usize) -> Blobs {
        let blobs = (self.0 >> (BLOBS * slot)) & ALL;
        blobs.to_le_bytes()[0]
    }

    /// The packs it mentions.
    pub(crate) fn packs(self) -> Packs {
        (0..SLOTS)
            .filter(|slot| self.at(*slot) != 0)
            .fold(0, |packs, slot| packs | 1 << slot)
    }

    /// The blobs it locates.
    pub(crate) fn blobs(self) -> Blobs {
        (0..SLOTS).fold(0, |blobs, slot| blobs | self.at(slot))
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without the entries of these packs.
    pub(crate) fn outside(self, packs: Packs) -> Self {
        self.keep(|slot| if packs & (1 << slot) == 0 { 7 } else { 0 })
    }

    /// The entries of these packs only.
    pub(crate) fn inside(self, packs: Packs) -> Self {
        self.outside(!packs)
    }

    /// The entries of these blobs only.
    pub(crate) fn only(self, blobs: Blobs) -> Self {
        self.keep(|_| blobs)
    }

    fn keep(self, which: impl Fn(usize) -> Blobs) -> Self {
        let mask = (0..SLOTS).fold(Self::DELETED, |mask, slot| {
            mask | u32::from(which(slot)) << (BLOBS * slot)
        });
        Self(self.0 & mask)
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 & !Self::DELETED == 0
    }

    /// Whether both say the same, deleted or not.
    pub(crate) fn says(self, other: Self) -> bool {
        self.delete() == other.delete()
    }

    pub(crate) fn deleted(self) -> bool {
        self.0 & Self::DELETED != 0
    }

    pub(crate) fn delete(self) -> Self {
        Self(self.0 | Self::DELETED)
    }

    /// The same with pack `slot` called `to[slot]`.
    pub(crate) fn renamed(self, to: &[usize; SLOTS]) -> Self {
        (0..SLOTS).fold(Self(self.0 & Self::DELETED), |all, slot| {
            let blobs = self.at(slot);
            if blobs == 0 {
                all
            } else {
                all.and(Self::of(to[slot], blobs))
            }
        })
    }
}
