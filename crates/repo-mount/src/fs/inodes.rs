//! Inode numbers of what is in snapshots, and what they stand for.
//!
//! A number is made of a slot, which stands for one leaf of one directory, and the place in that
//! leaf. So a directory of a million files costs some thousand slots, however many of its files the
//! kernel knows. A slot's number is a keyed hash of the directory's number and the leaf: it comes out
//! the same when the kernel has forgotten the directory and looks again. Slots live as long as the
//! kernel holds a number of theirs. Names of one file with several have one number, from the
//! identity the file had.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use repo_core::{BlobId, Entry, EntryType};

/// The mount's own root.
pub(super) const ROOT: u64 = 1;

const KIND_BITS: u32 = 61;
const KIND: u64 = 3 << KIND_BITS;
/// What is left for a hash. The highest bit stays clear, for programs that take numbers as signed.
const BELOW: u64 = (1 << KIND_BITS) - 1;
/// Lists of snapshots, which the layout numbers.
const LISTS: u64 = 0;
const ENTRIES: u64 = 1 << KIND_BITS;
const LINKS: u64 = 2 << KIND_BITS;
const SNAPSHOTS: u64 = 3 << KIND_BITS;

/// Bits for the place in a leaf: a leaf is at most a MiB long, an entry of it more than a byte.
const PLACE_BITS: u32 = 20;

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Snapshot,
    Entry,
}

pub(super) fn kind(ino: u64) -> Kind {
    match ino & KIND {
        LISTS => Kind::List,
        SNAPSHOTS => Kind::Snapshot,
        _ => Kind::Entry,
    }
}

/// Where an entry is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Number of the snapshot's root.
    pub(super) root: u64,
    pub(super) leaf: BlobId,
    pub(super) index: usize,
}

struct Slot {
    directory: u64,
    root: u64,
    leaf: BlobId,
    lookups: u64,
}

struct Link {
    place: Place,
    lookups: u64,
}

/// The numbers the kernel holds.
#[derive(Default)]
pub(super) struct Inodes {
    hasher: RandomState,
    slots: HashMap<u64, Slot>,
    links: HashMap<u64, Link>,
}

/// One leaf of one directory of one snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct LeafOf {
    pub(super) root: u64,
    pub(super) directory: u64,
    pub(super) leaf: BlobId,
}

impl Inodes {
    /// Number of a list or of a link in it, from anything that tells it from others.
    pub(super) fn list(&self, what: impl std::hash::Hash) -> u64 {
        (self.hasher.hash_one(what) & BELOW).max(ROOT + 1)
    }

    /// Number of the root of a snapshot.
    pub(super) fn snapshot(&self, id: &[u8]) -> u64 {
        SNAPSHOTS | (self.hasher.hash_one(id) & BELOW)
    }

    /// Number of the entry at `index` of a leaf. With `held`, the kernel is told of it and will forget
    /// it once for each time.
    pub(super) fn entry(&mut self, at: LeafOf, index: usize, entry: &Entry, held: bool) -> u64 {
        if let Some(key) = entry.link.filter(|_| entry.kind != EntryType::Directory) {
            let hash = self.hasher.hash_one((at.root, key));
            let ino = LINKS | (hash & BELOW);
            if held {
                let place = Place {
                    root: at.root,
                    leaf: at.leaf,
                    index,
                };
                let link = self.links.entry(ino);
                link.or_insert(Link { place, lookups: 0 }).lookups += 1;
            }
            return ino;
        }
        let slot = self.slot(at);
        if held {
            let slot = self.slots.entry(slot).or_insert(Slot {
                directory: at.directory,
                root: at.root,
                leaf: at.leaf,
                lookups: 0,
            });
            slot.lookups += 1;
        }
        ENTRIES | slot << PLACE_BITS | index as u64 & ((1 << PLACE_BITS) - 1)
    }

    /// The slot of a leaf: its hash, or when another leaf has that the next that is free.
    fn slot(&self, at: LeafOf) -> u64 {
        const MASK: u64 = (1 << (KIND_BITS - PLACE_BITS)) - 1;
        let mut slot = self.hasher.hash_one((at.directory, at.leaf)) & MASK;
        while let Some(known) = self.slots.get(&slot) {
            if known.directory == at.directory && known.leaf == at.leaf {
                break;
            }
            slot = (slot + 1) & MASK;
        }
        slot
    }

    /// Where the entry with that number is stored.
    pub(super) fn place(&self, ino: u64) -> Option<Place> {
        if ino & KIND == LINKS {
            return self.links.get(&ino).map(|link| link.place);
        }
        let (slot, index) = split(ino);
        let slot = self.slots.get(&slot)?;
        Some(Place {
            root: slot.root,
            leaf: slot.leaf,
            index: usize::try_from(index).ok()?,
        })
    }

    /// The kernel lets go of a number it was told `times` times.
    pub(super) fn forget(&mut self, ino: u64, times: u64) {
        if ino & KIND == LINKS {
            if let Some(link) = self.links.get_mut(&ino) {
                link.lookups = link.lookups.saturating_sub(times);
                if link.lookups == 0 {
                    self.links.remove(&ino);
                }
            }
            return;
        }
        let (number, _) = split(ino);
        if ino & KIND == ENTRIES
            && let Some(slot) = self.slots.get_mut(&number)
        {
            slot.lookups = slot.lookups.saturating_sub(times);
            if slot.lookups == 0 {
                self.slots.remove(&number);
            }
        }
    }

    #[cfg(test)]
    fn held(&self) -> (usize, usize) {
        (self.slots.len(), self.links.len())
    }
}

fn split(ino: u64) -> (u64, u64) {
    let slot = (ino & BELOW) >> PLACE_BITS;
    (slot, ino & ((1 << PLACE_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use repo_core::FileKey;

    use super::*;

    fn at(directory: u64, leaf: u8) -> LeafOf {
        LeafOf {
            root: SNAPSHOTS | 5,
            directory,
            leaf: BlobId([leaf; 32]),
        }
    }

    fn file() -> Entry {
        Entry::new("file", EntryType::File)
    }

    #[test]
    fn numbers_stay_when_they_were_forgotten() {
        let mut inodes = Inodes::default();
        let mut seen = Vec::new();
        for leaf in 0..50 {
            for index in 0..130 {
                let ino = inodes.entry(at(77, leaf), index, &file(), true);
                assert_eq!(kind(ino), Kind::Entry);
                let place = inodes.place(ino).map(|place| (place.leaf, place.index));
                assert_eq!(place, Some((BlobId([leaf; 32]), index)));
                seen.push(ino);
            }
        }
        assert_eq!(inodes.held(), (50, 0), "one slot a leaf");
        for ino in &seen {
            inodes.forget(*ino, 1);
        }
        assert_eq!(inodes.held(), (0, 0));
        for (number, ino) in seen.iter().enumerate().rev() {
            let leaf = u8::try_from(number / 130).unwrap_or_default();
            let again = inodes.entry(at(77, leaf), number % 130, &file(), true);
            assert_eq!(again, *ino);
        }
        let unique: std::collections::HashSet<_> = seen.iter().collect();
        assert_eq!(unique.len(), seen.len());
    }

    #[test]
    fn a_number_lives_while_it_is_held() {
        let mut inodes = Inodes::default();
        let ino = inodes.entry(at(77, 1), 3, &file(), true);
        assert_eq!(inodes.entry(at(77, 1), 3, &file(), true), ino);
        assert_eq!(inodes.entry(at(77, 1), 3, &file(), false), ino);
        inodes.forget(ino, 1);
        assert!(inodes.place(ino).is_some());
        inodes.forget(ino, 1);
        assert!(inodes.place(ino).is_none());
        inodes.forget(ino, 9);
        inodes.entry(at(77, 1), 3, &file(), false);
        assert_eq!(inodes.held(), (0, 0), "a listing alone holds nothing");
    }

    #[test]
    fn names_of_one_file_share_a_number_within_a_snapshot() {
        let mut inodes = Inodes::default();
        let mut linked = file();
        linked.link = Some(FileKey {
            device: 1,
            inode: 2,
        });
        let one = inodes.entry(at(77, 1), 3, &linked, true);
        let two = inodes.entry(at(88, 2), 9, &linked, true);
        assert_eq!(one, two);
        assert_ne!(one, inodes.entry(at(77, 1), 3, &file(), true));
        let elsewhere = LeafOf {
            root: SNAPSHOTS | 6,
            ..at(77, 1)
        };
        assert_ne!(one, inodes.entry(elsewhere, 3, &linked, true));
        inodes.forget(one, 2);
        assert!(inodes.place(one).is_none());
    }

    #[test]
    fn a_slot_that_is_taken_is_passed() {
        let mut inodes = Inodes::default();
        let wanted = inodes.slot(at(77, 1));
        let other = Slot {
            directory: 1,
            root: 2,
            leaf: BlobId([9; 32]),
            lookups: 1,
        };
        inodes.slots.insert(wanted, other);
        let ino = inodes.entry(at(77, 1), 0, &file(), true);
        assert_ne!(split(ino).0, wanted);
        assert_eq!(
            inodes.place(ino).map(|place| place.leaf),
            Some(BlobId([1; 32]))
        );
    }
}
