//! What parity a repository has: the tables of all parity objects, put together to groups.

use std::collections::{BTreeMap, BTreeSet};

use futures::TryStreamExt;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use repo_format::pack::{TRAILER_LEN, trailer};
use repo_format::parity::{self, GroupId, Table};
use repo_format::{HEADER_LEN, KeyRing, ObjectKind, Opener, PackId, ParityId};

use crate::error::{Error, Result};
use crate::limits::REPAIR_DIRECTORIES;
use crate::repository::Repository;
use crate::repository::check::finding_or_fail;
use crate::repository::storage::Storage;

/// One parity object of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) id: ParityId,
    pub(crate) size: u64,
}

/// A group as its tables describe it.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// That of one shard. Without the hashes where they are not needed.
    pub(crate) table: Table,
    /// Its shards by their numbers.
    pub(crate) shards: BTreeMap<u32, Shard>,
}

impl Group {
    /// Whether no shard is missing.
    pub(crate) fn is_whole(&self) -> bool {
        self.shards.len() == self.table.shards as usize
    }

    pub(crate) fn packs(&self) -> impl Iterator<Item = PackId> {
        self.table.members.iter().map(|member| member.id)
    }

    /// Store keys of its shards.
    pub(crate) fn keys(&self) -> Vec<String> {
        let shards = self.shards.values();
        shards.map(|shard| parity::path(&shard.id)).collect()
    }
}

/// All parity objects of the store.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) groups: BTreeMap<GroupId, Group>,
    /// Objects whose table cannot be read, with what is wrong.
    pub(crate) unreadable: Vec<(String, String)>,
    /// When the store says each object was written.
    pub(crate) written_ms: BTreeMap<String, i64>,
}

impl Catalog {
    /// Lists parity objects and reads their tables; hashes are kept for groups that `wanted` says.
    /// One list and three small reads an object. Memory: 72 bytes a pack. Blocks.
    pub(crate) fn read(repository: &Repository, wanted: impl Fn(&Table) -> bool) -> Result<Self> {
        let (storage, ring) = (&repository.inner.storage, &repository.inner.ring);
        let mut catalog = Self::default();
        let mut found = Vec::new();
        storage.wait(async {
            let mut listed = storage.store().list(parity::PREFIX, None).await;
            while let Some(info) = listed.try_next().await.map_err(Error::Store)? {
                if let Some(id) = parity::parse_path(&info.key) {
                    catalog.written_ms.insert(info.key, info.modified_ms);
                    let size = info.size;
                    found.push(Shard { id, size });
                }
            }
            Ok::<(), Error>(())
        })?;
        let pool = repository.pool()?;
        for batch in found.chunks(REPAIR_DIRECTORIES) {
            let read = |shard: &Shard| read_table(storage, ring, shard);
            let tables: Vec<Result<Table>> = pool.install(|| batch.par_iter().map(read).collect());
            for (shard, table) in batch.iter().zip(tables) {
                let key = parity::path(&shard.id);
                match table {
                    Ok(table) => catalog.enter(&key, *shard, table, &wanted),
                    // Deleted since: it is not there any more.
                    Err(error) if error.is_lost() => {}
                    Err(error) => catalog.unreadable.push((key, finding_or_fail(error)?)),
                }
            }
        }
        Ok(catalog)
    }

    fn enter(
        &mut self,
        key: &str,
        shard: Shard,
        mut table: Table,
        wanted: impl Fn(&Table) -> bool,
    ) {
        if !wanted(&table) {
            for member in &mut table.members {
                member.hashes = Vec::new();
            }
        }
        let number = table.shard;
        let group = self.groups.entry(table.group).or_insert_with(|| Group {
            table: table.clone(),
            shards: BTreeMap::new(),
        });
        if group.table.same_group(&table) && !group.shards.contains_key(&number) {
            group.shards.insert(number, shard);
        } else {
            let why = "it contradicts another one of its group".to_owned();
            self.unreadable.push((key.to_owned(), why));
        }
    }

    /// Whether the store holds any.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.unreadable.is_empty()
    }

    /// Groups that protect: whole, with nothing but `live` packs, and as `fits` wants them. One whose
    /// packs are all in others before it is passed over.
    pub(crate) fn sound(
        &self,
        live: &BTreeSet<PackId>,
        fits: impl Fn(&Table) -> bool,
    ) -> BTreeSet<GroupId> {
        let mut covered = BTreeSet::new();
        let mut sound = BTreeSet::new();
        for (id, group) in &self.groups {
            let whole = group.is_whole() && group.packs().all(|pack| live.contains(&pack));
            if whole && fits(&group.table) && group.packs().any(|pack| !covered.contains(&pack)) {
                covered.extend(group.packs());
                sound.insert(*id);
            }
        }
        sound
    }
}

/// The header of a parity object, opened.
pub(crate) fn opener(storage: &Storage, ring: &KeyRing, id: &ParityId) -> Result<Opener> {
    let key = parity::path(id);
    let mut header = Vec::new();
    storage.read(&key, 0..HEADER_LEN as u64, &mut header)?;
    let header = header.first_chunk().ok_or(Error::Internal {
        what: "parity header",
    })?;
    Opener::new(ring, ObjectKind::Parity, &key, Some(id.0), header)
        .map_err(|source| Error::object(key.clone(), source))
}

/// What one parity object says.
pub(super) fn read_table(storage: &Storage, ring: &KeyRing, shard: &Shard) -> Result<Table> {
    let key = parity::path(&shard.id);
    let bad = |source| Error::object(key.clone(), source);
    let malformed = |why| {
        let what = "parity object";
        bad(repo_format::Error::Malformed { what, why })
    };
    let opener = opener(storage, ring, &shard.id)?;
    let end = shard.size.checked_sub(TRAILER_LEN as u64);
    let end = end.ok_or_else(|| malformed("it is too short"))?;
    let mut part = Vec::new();
    storage.read(&key, end..shard.size, &mut part)?;
    let len = trailer("parity object", &part, parity::TRAILER_MAGIC, shard.size).map_err(bad)?;
    if u64::from(len) > parity::TABLE_MAX {
        return Err(malformed("its table is too long"));
    }
    storage.read(&key, end - u64::from(len)..end, &mut part)?;
    parity::open_table(&opener, shard.size, &mut part).map_err(bad)
}
