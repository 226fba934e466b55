//! Verification of index objects, and look-up in what is left of damaged ones.
//!
//! Objects are verified as the store holds them, past any cached copy, one after the other and a
//! few hundred blocks at a time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use repo_format::commit::IndexRef;
use repo_format::index::{Block, PackRow};
use repo_format::{BlobKey, KeyRing, PackId};

use super::{IndexObject, IndexSet, Location, SegmentAddress};
use crate::error::{Error, Result};
use crate::limits::INDEX_RESIDENT_ALL;
use crate::repository::state::Gone;
use crate::repository::storage::Storage;

/// Blocks read at once: about 2 MiB.
const BATCH: usize = 512;

/// A pack as one index object describes it.
pub(crate) struct Described {
    pub(crate) pack: PackRow,
    /// Entries that point into the pack.
    pub(crate) entries: u64,
    /// Whether all entries of the object could be read, so that `entries` is exact.
    pub(crate) sound: bool,
}

/// What is told while index objects are examined.
pub(crate) trait Examiner {
    /// An index object is damaged. An error ends the examination.
    fn bad(&mut self, error: Error) -> Result<()>;
    /// An object was examined.
    fn object(&mut self, size: u64, entries: u64, packs: Vec<Described>) -> Result<()>;
}

impl IndexSet {
    /// Verifies every block of every object of `references` as the store holds it, and opens what
    /// can be read of them for look-ups: a lost object is left out, a damaged block is empty.
    pub(crate) fn examine(
        storage: &Storage,
        ring: &KeyRing,
        references: &[IndexRef],
        gone: Gone,
        examiner: &mut dyn Examiner,
    ) -> Result<Self> {
        let stored = Storage::new(storage.store().clone(), storage.runtime().clone(), None);
        let mut budget = INDEX_RESIDENT_ALL;
        let mut objects = Vec::with_capacity(references.len());
        for reference in references {
            let mut object = match IndexObject::open(&stored, ring, reference, &mut 0) {
                Ok(object) => object,
                Err(error) => {
                    examiner.bad(error)?;
                    continue;
                }
            };
            let (packs, bad) = object.verify();
            let sound = bad.is_empty();
            for error in bad {
                examiner.bad(error)?;
            }
            examiner.object(reference.size, object.tail.entries, packs)?;
            if sound {
                // Through the cache, where there is one, for the sake of the look-ups to come.
                match IndexObject::open(storage, ring, reference, &mut budget) {
                    Ok(opened) => object = opened,
                    Err(error) => examiner.bad(error)?,
                }
            } else {
                object.resident = Some(object.load_sound());
            }
            objects.push(Arc::new(object));
        }
        objects.reverse();
        Ok(Self {
            objects: RwLock::new(objects),
            gone,
            buffers: Mutex::new(Vec::new()),
        })
    }

    /// Every place that any object names for the blob, condemned packs included. Objects that
    /// cannot be read are passed over.
    pub(crate) fn find_all(&self, key: &BlobKey, mut visit: impl FnMut(&Location)) {
        let mut buffer = self.take_buffer();
        let objects = self.objects.read().unwrap_or_else(PoisonError::into_inner);
        for object in objects.iter() {
            if let Ok(Some(at)) = object.find(key, &mut buffer) {
                visit(&at);
            }
        }
        drop(objects);
        self.buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(buffer);
    }

    /// The entries that point into `pack`: the offset of the segment, and the key. Reads every block
    /// of the objects that name the pack; for damaged packs.
    pub(crate) fn keys_of(&self, pack: &PackId, mut visit: impl FnMut(u32, BlobKey)) -> Result<()> {
        for object in self.objects() {
            if !object.tail.packs.iter().any(|row| row.id == *pack) {
                continue;
            }
            object.each_block(|block| {
                let entries = Block::new(block).into_iter().flat_map(Block::iter);
                for entry in entries {
                    if let Some((row, segment)) = object.tail.locate(&entry)
                        && row.id == *pack
                    {
                        visit(segment.offset, entry.key);
                    }
                }
            })?;
        }
        Ok(())
    }

    /// The segments of `pack` that index objects know, by offset. Looks at every segment of every
    /// object; for damaged packs.
    pub(crate) fn segments_of(&self, pack: &PackId) -> Vec<SegmentAddress> {
        let mut segments = Vec::new();
        for object in self.objects() {
            let rows: HashSet<usize> = (0..object.tail.packs.len())
                .filter(|row| object.tail.packs[*row].id == *pack)
                .collect();
            if rows.is_empty() {
                continue;
            }
            let inside =
                |row: &&repo_format::index::SegmentRow| rows.contains(&(row.pack as usize));
            segments.extend(
                object
                    .tail
                    .segments
                    .iter()
                    .filter(inside)
                    .map(|row| SegmentAddress {
                        pack: *pack,
                        offset: row.offset,
                        stored: row.stored,
                        raw: row.raw,
                    }),
            );
        }
        segments.sort_unstable();
        segments.dedup();
        segments
    }
}

impl IndexObject {
    /// Opens all blocks. Returns the packs with the entries counted, and what is wrong.
    fn verify(&self) -> (Vec<Described>, Vec<Error>) {
        let mut counts = vec![0u64; self.tail.packs.len()];
        let mut before: Option<BlobKey> = None;
        let (mut first, mut bad_blocks) = (None, 0u64);
        let mut wrong = None;
        self.each_batch(|_, block| {
            let block = match block {
                Ok(block) => block,
                Err(error) => {
                    first.get_or_insert(error);
                    bad_blocks += 1;
                    return;
                }
            };
            let Ok(block) = Block::new(block) else {
                wrong = Some("a block is not made of entries");
                return;
            };
            for entry in block.iter() {
                if before.is_some_and(|before| before >= entry.key) {
                    wrong = Some("its keys are not in ascending order");
                }
                before = Some(entry.key);
                let pack = self
                    .tail
                    .segments
                    .get(entry.segment as usize)
                    .and_then(|segment| counts.get_mut(segment.pack as usize));
                match pack {
                    Some(count) => *count += 1,
                    None => wrong = Some("an entry points outside of its tables"),
                }
            }
        });
        let mut bad = Vec::new();
        if let Some(error) = first {
            tracing::debug!(key = self.key, bad_blocks, "blocks cannot be read");
            bad.push(error);
        }
        if let Some(why) = wrong {
            let what = "index object";
            let source = repo_format::Error::Malformed { what, why };
            bad.push(Error::object(self.key.clone(), source));
        }
        let sound = bad.is_empty();
        let describe = |(pack, entries): (&PackRow, u64)| Described {
            pack: *pack,
            entries,
            sound,
        };
        let packs = self.tail.packs.iter().zip(counts).map(describe).collect();
        (packs, bad)
    }

    /// All entries end to end, with zeros for blocks that cannot be read.
    fn load_sound(&self) -> Vec<u8> {
        let mut all = Vec::new();
        self.each_batch(|number, block| {
            if let Ok(block) = block {
                all.extend_from_slice(block);
            }
            all.resize(self.tail.plain_range(number).1, 0);
        });
        all
    }

    /// Visits all blocks in order; those that cannot be read too.
    fn each_batch(&self, mut visit: impl FnMut(usize, Result<&[u8]>)) {
        let blocks = self.tail.blocks();
        let mut buffer = Vec::new();
        for start in (0..blocks).step_by(BATCH) {
            let numbers = start..blocks.min(start + BATCH);
            let from = self.tail.block_range(start).0;
            let last = self.tail.block_range(numbers.end - 1);
            let len = usize::try_from(last.0 - from).unwrap_or(0) + last.1;
            if self.source.read(from, len, &mut buffer).is_err() {
                let mut single = Vec::new();
                for number in numbers {
                    visit(number, self.open_block(number, &mut single));
                }
                continue;
            }
            let mut rest = buffer.as_mut_slice();
            for number in numbers {
                let (offset, len) = self.tail.block_range(number);
                let (sealed, after) = rest.split_at_mut(len);
                rest = after;
                let opened = self.opener.open(offset, sealed);
                visit(
                    number,
                    opened
                        .map(|block| &*block)
                        .map_err(|source| Error::object(self.key.clone(), source)),
                );
            }
        }
    }
}
