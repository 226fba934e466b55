//! Reading packs through their parity: a block that is not what the table of its group says is
//! rebuilt from the others.
//!
//! Only what hashes to what an authenticated table says leaves here, and it is authenticated by the
//! pack's own key after that. Memory: the tables of the groups asked for, and a span of each pack
//! of one group.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use repo_format::parity::{self, BLOCK, block_place, block_range};
use repo_format::{ErrorKind, KeyRing, PackId, pack};

use super::catalog::{Catalog, Group, opener};
use crate::error::{Error, Result};
use crate::limits::PARITY_SPAN_BLOCKS;
use crate::progress::Finding;
use crate::repository::Repository;
use crate::repository::check::finding_or_fail;
use crate::repository::storage::Storage;

/// Blocks of one pack that cannot be rebuilt.
#[derive(Debug, Default)]
struct Failure {
    blocks: BTreeSet<u64>,
    /// What is lost at the place of one of them: store keys.
    with: BTreeSet<String>,
    shards: u32,
}

/// A span of a pack as it was when parity was made.
struct Span {
    key: String,
    start: u64,
    bytes: Vec<u8>,
}

/// Rebuilds what is damaged of some packs.
pub(crate) struct Healer {
    storage: Storage,
    ring: Arc<KeyRing>,
    groups: Vec<Group>,
    /// For each pack, by its store key, the groups it is in, and its place there.
    places: HashMap<String, Vec<(usize, usize)>>,
    last: Mutex<Option<Span>>,
    failures: Mutex<BTreeMap<PackId, Failure>>,
}

impl Healer {
    /// Reads the tables of all groups that hold one of `packs`. Blocks.
    pub(crate) fn new(repository: &Repository, packs: &BTreeSet<PackId>) -> Result<Self> {
        let catalog = Catalog::read(repository, |table| {
            table
                .members
                .iter()
                .any(|member| packs.contains(&member.id))
        })?;
        let holds = |group: &Group| group.packs().any(|pack| packs.contains(&pack));
        let groups: Vec<Group> = catalog.groups.into_values().filter(holds).collect();
        let mut places: HashMap<String, Vec<(usize, usize)>> = HashMap::new();
        for (number, group) in groups.iter().enumerate() {
            for (at, id) in group.packs().enumerate() {
                if packs.contains(&id) {
                    places
                        .entry(pack::path(&id))
                        .or_default()
                        .push((number, at));
                }
            }
        }
        Ok(Self {
            storage: repository.inner.storage.clone(),
            ring: Arc::clone(&repository.inner.ring),
            groups,
            places,
            last: Mutex::new(None),
            failures: Mutex::default(),
        })
    }

    /// The length of a pack that a group holds.
    pub(crate) fn size_of(&self, id: &PackId) -> Option<u64> {
        let (group, at) = *self.places.get(&pack::path(id))?.first()?;
        Some(self.groups.get(group)?.table.members.get(at)?.size)
    }

    /// Replaces `buffer` with `range` of a pack. False when no group holds the object.
    pub(crate) fn read(&self, key: &str, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<bool> {
        let Some(places) = self.places.get(key) else {
            return Ok(false);
        };
        buffer.clear();
        let span = PARITY_SPAN_BLOCKS * BLOCK as u64;
        let mut at = range.start;
        while at < range.end {
            let start = at / span * span;
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if !last
                .as_ref()
                .is_some_and(|known| known.key == key && known.start == start)
            {
                *last = None;
                let bytes = self.span(places, start)?;
                *last = Some(Span {
                    key: key.to_owned(),
                    start,
                    bytes,
                });
            }
            let bytes = last.as_ref().map_or(&[][..], |known| &known.bytes);
            let end = range.end.min(start + bytes.len() as u64);
            let part = usize::try_from(at - start)
                .ok()
                .zip(usize::try_from(end.saturating_sub(start)).ok())
                .and_then(|(from, to)| bytes.get(from..to))
                .filter(|part| !part.is_empty())
                .ok_or_else(|| outside(key))?;
            buffer.extend_from_slice(part);
            at = end;
        }
        Ok(true)
    }

    /// A span of a pack, by the first group that can give it.
    fn span(&self, places: &[(usize, usize)], start: u64) -> Result<Vec<u8>> {
        let mut error = Error::Internal { what: "parity" };
        for (group, at) in places {
            let Some(group) = self.groups.get(*group) else {
                continue;
            };
            match self.rebuilt(group, *at, start) {
                Ok(bytes) => return Ok(bytes),
                // Another group may hold it, too; a store that is gone helps in none.
                Err(failed) if failed.kind() == ErrorKind::Unavailable => return Err(failed),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    /// The sound blocks of one pack in the span that begins at `start`. A block behind the end of
    /// the pack is sound, and empty.
    fn blocks(&self, group: &Group, at: usize, start: u64) -> Result<Vec<Option<Vec<u8>>>> {
        let first = start / BLOCK as u64;
        let Some(member) = group.table.members.get(at) else {
            return Ok(Vec::new());
        };
        let key = pack::path(&member.id);
        let whole =
            start.min(member.size)..member.size.min(start + PARITY_SPAN_BLOCKS * BLOCK as u64);
        let mut bytes = Vec::new();
        // A pack that was cut off, or cannot be read at one place, is read block by block.
        let apart = !whole.is_empty() && self.lost(&key, whole, &mut bytes)?;
        let mut blocks = Vec::new();
        for block in first..first + PARITY_SPAN_BLOCKS {
            let range = block_range(member.size, block);
            if range.is_empty() {
                blocks.push(Some(Vec::new()));
                continue;
            }
            let part = if apart {
                let mut part = Vec::new();
                let lost = self.lost(&key, range, &mut part)?;
                (!lost).then_some(part)
            } else {
                let from = usize::try_from(block - first).unwrap_or(usize::MAX);
                bytes.chunks(BLOCK).nth(from).map(<[u8]>::to_vec)
            };
            let hash = usize::try_from(block)
                .ok()
                .and_then(|block| member.hashes.get(block));
            blocks.push(part.filter(|part| hash == Some(&parity::block_hash(part))));
        }
        Ok(blocks)
    }

    /// Reads; true when the object does not give these bytes.
    fn lost(&self, key: &str, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<bool> {
        match self.storage.read(key, range, buffer) {
            Ok(()) => Ok(false),
            Err(error) => finding_or_fail(error).map(|_| true),
        }
    }

    /// The bytes of one pack in the span that begins at `start`.
    fn rebuilt(&self, group: &Group, at: usize, start: u64) -> Result<Vec<u8>> {
        let mut own = self.blocks(group, at, start)?;
        if own.iter().any(Option::is_none) {
            let mut others = Vec::new();
            for other in 0..group.table.members.len() {
                others.push(if other == at {
                    Vec::new()
                } else {
                    self.blocks(group, other, start)?
                });
            }
            let first = start / BLOCK as u64;
            for (block, part) in (first..).zip(&mut own) {
                if part.is_none() {
                    *part = Some(self.block(group, at, block, &others, first)?);
                }
            }
        }
        Ok(own.into_iter().flatten().flatten().collect())
    }

    /// One block of pack `at`, from the same block of others, which begin with block `first`.
    fn block(
        &self,
        group: &Group,
        at: usize,
        block: u64,
        others: &[Vec<Option<Vec<u8>>>],
        first: u64,
    ) -> Result<Vec<u8>> {
        let table = &group.table;
        let internal = || Error::Internal { what: "parity" };
        let member = table.members.get(at).ok_or_else(internal)?;
        let range = block_range(table.shard_len(), block);
        let len = usize::try_from(range.end - range.start).map_err(|_| internal())?;
        let place = usize::try_from(block - first).map_err(|_| internal())?;
        let mut lost = BTreeSet::from([pack::path(&member.id)]);
        let (mut of_packs, mut of_shards) = (Vec::new(), Vec::new());
        for (number, (blocks, other)) in others.iter().zip(&table.members).enumerate() {
            match blocks.get(place) {
                Some(Some(part)) => {
                    let mut part = part.clone();
                    part.resize(len, 0);
                    of_packs.push((number, part));
                }
                _ if number != at => drop(lost.insert(pack::path(&other.id))),
                _ => {}
            }
        }
        for number in 0..table.shards {
            match self.parity(group, number, block)? {
                Ok(part) => of_shards.push((number as usize, part)),
                Err(key) => drop(lost.insert(key)),
            }
        }
        let numbers = (table.members.len(), table.shards as usize);
        let packs: Vec<(usize, &[u8])> = of_packs.iter().map(|(n, part)| (*n, &part[..])).collect();
        let shards: Vec<(usize, &[u8])> =
            of_shards.iter().map(|(n, part)| (*n, &part[..])).collect();
        let rebuilt = parity::rebuild(numbers, at, &packs, &shards).map_err(Error::encode)?;
        let own = block_range(member.size, block);
        let hash = usize::try_from(block)
            .ok()
            .and_then(|block| member.hashes.get(block));
        let part = rebuilt.and_then(|mut part| {
            part.truncate(usize::try_from(own.end - own.start).ok()?);
            (hash == Some(&parity::block_hash(&part))).then_some(part)
        });
        part.ok_or_else(|| {
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            let failure = failures.entry(member.id).or_default();
            failure.blocks.insert(block);
            failure.with.extend(lost);
            failure.shards = table.shards;
            Error::object(
                pack::path(&member.id),
                repo_format::Error::Malformed {
                    what: "pack",
                    why: "more is lost of its group than parity makes up for",
                },
            )
        })
    }

    /// A block of shard `number`, or the store key of what is lost.
    fn parity(
        &self,
        group: &Group,
        number: u32,
        block: u64,
    ) -> Result<std::result::Result<Vec<u8>, String>> {
        let Some(shard) = group.shards.get(&number) else {
            return Ok(Err(format!("{} shard {number}", parity::PREFIX)));
        };
        let key = parity::path(&shard.id);
        let place = block_place(group.table.shard_len(), block);
        let read = || {
            let mut part = Vec::new();
            let opener = opener(&self.storage, &self.ring, &shard.id)?;
            self.storage.read(&key, place.clone(), &mut part)?;
            let opened = opener.open(place.start, &mut part);
            let opened = opened.map_err(|source| Error::object(key.clone(), source))?;
            Ok::<_, Error>(opened.to_vec())
        };
        match read() {
            Ok(part) => Ok(Ok(part)),
            Err(error) => finding_or_fail(error).map(|_| Err(key)),
        }
    }

    /// What could not be rebuilt, and what is lost with it.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let each = failures.iter().map(|(id, failure)| {
            let with: Vec<&str> = failure.with.iter().map(String::as_str).collect();
            let message = format!(
                "{}: {} of its blocks cannot be rebuilt: parity makes up for {} at one place, and \
                 lost are {}",
                pack::path(id),
                failure.blocks.len(),
                failure.shards,
                with.join(", ")
            );
            Finding::damage(None, message)
        });
        each.collect()
    }
}

fn outside(key: &str) -> Error {
    let (what, why) = ("pack", "what is asked for lies outside of it");
    Error::object(key, repo_format::Error::Malformed { what, why })
}
