//! Retirement of old keys: once they seal nothing that is stored, their secrets and the log of their
//! time go.
//!
//! A commit says that the keys are retired and that the log begins with it. Two checkpoints sum up
//! what was before, are read back, and only then key slots without the old secrets replace the
//! others, and the commits and checkpoints of before are deleted. Stopped anywhere, everything
//! opens as before, and the next retirement goes on from there. Why no writer and no reader is
//! misled by numbers that become free is said in `log`.
//!
//! A program that may have sealed something with a retired key that it has not committed yet learns
//! from that commit that it has to start over ([`Error::KeysRetired`]).

use std::collections::{BTreeSet, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use repo_format::commit::{self, Commit};
use repo_format::config::Operation;
use repo_format::{
    ErrorKind, HEADER_LEN, Header, IndexId, KeyId, ObjectKind, PackId, index, keyslot, pack,
};
use repo_store::Delete;

use crate::error::{Error, Result};
use crate::limits::{DELETES, GC_ATTEMPTS, HEADERS_AT_ONCE};
use crate::repository::keys::slots;
use crate::repository::rotate::Claim;
use crate::repository::{OpenOptions, Repository, RotateOptions, new_session};

/// Checkpoints that must be readable before what they sum up is deleted.
const SUMS: usize = 2;

/// What a retirement did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retired {
    /// Numbers of the epochs that are no more; none when it only completed an earlier one, or there
    /// was nothing to retire.
    pub epochs: Vec<u32>,
    /// The commit that the log begins with.
    pub begins: u64,
    /// Key slots written.
    pub added: Vec<KeyId>,
    /// Key slots of before that were deleted.
    pub removed: Vec<KeyId>,
    /// Commits and checkpoints deleted.
    pub cut: u64,
    /// Objects that an old key or password still opens because the store keeps them, and why.
    pub kept: Vec<(String, String)>,
}

/// What was found to be sealed under old keys, or under none that can be seen.
#[derive(Default)]
struct Found {
    needed: u64,
    condemned: u64,
    unnamed: u64,
}

impl Repository {
    /// Makes an end of all keys but the newest: they open nothing any more that is stored. `password`
    /// and the others of `options` are as in [`Self::rotate_key`].
    ///
    /// Nothing is done while an old key seals a pack or index object, one that is condemned or in no
    /// commit too ([`Error::KeysNeeded`]): [`crate::GcOptions::reseal`] and the graces of collections
    /// see to these. Earlier states of the repository are gone afterwards: `at` reaches back to the
    /// commit of the retirement, and so does undo.
    ///
    /// Requests: a list and a small read for each pack and index object, two commits, two
    /// checkpoints, for each key slot as in a rotation, one delete for each commit and checkpoint.
    pub async fn retire_keys(&self, password: &[u8], options: &RotateOptions) -> Result<Retired> {
        self.writable()?;
        self.allowed(Operation::Delete)?;
        self.keyed()?;
        self.refresh().await?;
        let ring = &self.inner.ring;
        if ring.since() == ring.sealing() {
            return self.retire(password, options).await;
        }
        // This handle was there before the rotation: it will be told, too.
        let store = self.inner.storage.store().clone();
        let fresh = self.reopen(store, &OpenOptions::default()).await?;
        fresh.retire(password, options).await
    }

    async fn retire(&self, password: &[u8], options: &RotateOptions) -> Result<Retired> {
        let ring = &self.inner.ring;
        let current = ring.sealing();
        let (claims, known) = self.claims(password, options).await?;
        let epochs = ring
            .secrets()
            .epochs
            .iter()
            .map(|epoch| epoch.number)
            .collect::<Vec<_>>();
        let mut retired = Retired {
            epochs: epochs
                .into_iter()
                .filter(|number| *number < current)
                .collect(),
            ..Retired::default()
        };
        let begins = self.state().begins;
        if begins.is_none_or(|begins| begins.epoch < current) {
            if retired.epochs.is_empty() {
                return Ok(retired);
            }
            self.begin_log(current, &options.action).await?;
        }
        let oldest = self.state().oldest();
        retired.begins = oldest;
        self.sum_up(oldest, &options.action).await?;
        if known.oldest < current {
            self.replace_slots(&claims, options, &mut retired).await?;
        }
        let log = self.inner.log.list(None).await?;
        let commits = log.commits.into_iter().filter(|number| *number < oldest);
        let sums = log
            .checkpoints
            .into_iter()
            .filter(|number| *number < oldest);
        let objects = commits
            .map(commit::path)
            .chain(sums.map(commit::checkpoint_path));
        retired.cut = self
            .delete_objects(objects.collect(), &mut retired.kept)
            .await?
            .len() as u64;
        ring.retire(current);
        Ok(retired)
    }

    /// Commits that the log begins here, when no epoch before `current` seals anything.
    async fn begin_log(&self, current: u32, action: &str) -> Result<()> {
        let mut newer = HashSet::new();
        for _ in 0..GC_ATTEMPTS {
            let looked_at = self.head();
            let found = self.sealed_before(current, &mut newer).await?;
            if found.needed + found.condemned + found.unnamed > 0 {
                return Err(Error::KeysNeeded {
                    needed: found.needed,
                    condemned: found.condemned,
                    unnamed: found.unnamed,
                });
            }
            let mut same = true;
            let commit = self.commit(None, action, |newest| {
                same = newest.number == looked_at;
                if !same {
                    let why = "another commit was first".to_owned();
                    return Err(Error::Overtaken { why });
                }
                Ok(Commit {
                    retire: Some(current),
                    ..Commit::default()
                })
            });
            match commit.await {
                Err(_) if !same => self.refresh().await?,
                done => return done,
            }
        }
        Err(Error::LostRace {
            attempts: GC_ATTEMPTS,
        })
    }

    /// Counts packs and index objects of epochs before `current`. Those of `newer` have been looked at.
    async fn sealed_before(&self, current: u32, newer: &mut HashSet<[u8; 32]>) -> Result<Found> {
        // The state first: what it names was stored before the lists are made.
        let (state, index) = self.blocking(Self::state_and_index).await?;
        let named: BTreeSet<PackId> = index.packs().into_iter().map(|(id, _)| id).collect();
        let mut found = Found::default();
        for key in self.sealed_under(ObjectKind::Pack, current, newer).await? {
            let id = PackId(key);
            let count = if state.condemned.contains_key(&id) {
                &mut found.condemned
            } else if named.contains(&id) {
                &mut found.needed
            } else {
                &mut found.unnamed
            };
            *count += 1;
        }
        for key in self.sealed_under(ObjectKind::Index, current, newer).await? {
            let live = state.indexes.iter().any(|live| live.id == IndexId(key));
            let count = if live {
                &mut found.needed
            } else {
                &mut found.unnamed
            };
            *count += 1;
        }
        Ok(found)
    }

    /// Names of the objects of this kind that are not of epoch `current` or a later one.
    async fn sealed_under(
        &self,
        kind: ObjectKind,
        current: u32,
        newer: &mut HashSet<[u8; 32]>,
    ) -> Result<Vec<[u8; 32]>> {
        let path = |name: [u8; 32]| match kind {
            ObjectKind::Pack => pack::path(&PackId(name)),
            _ => index::path(&IndexId(name)),
        };
        let prefix = if kind == ObjectKind::Pack {
            "packs/"
        } else {
            "index/"
        };
        let store = self.inner.storage.store();
        let mut unseen = Vec::new();
        let mut listed = store.list(prefix, None).await;
        while let Some(info) = listed.try_next().await.map_err(Error::Store)? {
            let name = info.key.rsplit('/').next().and_then(PackId::from_hex);
            let name = name.map(|id| id.0).filter(|name| path(*name) == info.key);
            unseen.extend(name.filter(|name| !newer.contains(name)));
        }
        let mut read = stream::iter(unseen)
            .map(|name| {
                let key = path(name);
                async move { (name, store.get_range(&key, 0..HEADER_LEN as u64).await) }
            })
            .buffer_unordered(HEADERS_AT_ONCE);
        let mut old = Vec::new();
        while let Some((name, header)) = read.next().await {
            let header = match header {
                Ok(bytes) => Header::parse(kind, &bytes).ok(),
                // Deleted since the list.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    return Err(Error::Store(error));
                }
                Err(_) => None,
            };
            // Of what has lost its header nobody can say that an old key opens nothing of it.
            if header.is_some_and(|header| header.epoch >= current) {
                newer.insert(name);
            } else {
                old.push(name);
            }
        }
        Ok(old)
    }

    /// Sees to it that two checkpoints from commit `oldest` on can be read: without the commits before
    /// it nothing else says what they did.
    async fn sum_up(&self, oldest: u64, action: &str) -> Result<()> {
        let log = &self.inner.log;
        let session = new_session()?;
        for _ in 0..=2 * SUMS {
            let sums = log.list(Some(oldest - 1)).await?.checkpoints;
            let mut readable = 0;
            for number in sums.iter().rev() {
                readable += usize::from(log.sums_up(*number).await);
                if readable == SUMS {
                    return Ok(());
                }
            }
            if sums.contains(&self.head()) {
                let nothing = |_: &_| Ok(Commit::default());
                self.commit(None, action, nothing).await?;
            }
            match log.put_checkpoint(&self.state(), session).await {
                // It was due, and is there, or somebody else put it.
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                put => put?,
            }
        }
        let why = "checkpoints that were written cannot be read".to_owned();
        Err(Error::Overtaken { why })
    }

    /// Writes key slots without the old secrets, and deletes the others.
    async fn replace_slots(
        &self,
        claims: &[Claim],
        options: &RotateOptions,
        retired: &mut Retired,
    ) -> Result<()> {
        let ring = &self.inner.ring;
        let mut secrets = ring.secrets();
        let begins = self.state().begins.map_or(1, |begins| begins.epoch);
        let sealing = ring.sealing();
        secrets
            .epochs
            .retain(|epoch| (begins..=sealing).contains(&epoch.number));
        retired.added = self.write_slots(&secrets, claims).await?;
        self.unlocked_by(claims, &retired.added);
        let claimed: BTreeSet<KeyId> = claims.iter().flat_map(Claim::slots).collect();
        let mut old = Vec::new();
        for (id, _) in slots(self.inner.storage.store()).await? {
            let key = keyslot::path(&id);
            if retired.added.contains(&id) {
                continue;
            }
            if options.drop_others || claimed.contains(&id) {
                old.push(key);
            } else {
                let why = "it is damaged, or was added meanwhile".to_owned();
                retired.kept.push((key, why));
            }
        }
        let gone = self.delete_objects(old, &mut retired.kept).await?;
        let names = gone
            .iter()
            .filter_map(|key| key.strip_prefix(keyslot::PREFIX));
        retired.removed = names.filter_map(KeyId::from_hex).collect();
        Ok(())
    }

    /// Deletes objects. Returns those that are gone, and adds to `kept` those the store keeps.
    async fn delete_objects(
        &self,
        keys: Vec<String>,
        kept: &mut Vec<(String, String)>,
    ) -> Result<Vec<String>> {
        let store = self.inner.storage.store();
        let mut deletes = stream::iter(keys)
            .map(|key| async move {
                let deleted = store.delete(&key).await;
                (key, deleted)
            })
            .buffer_unordered(DELETES);
        let mut gone = Vec::new();
        while let Some((key, deleted)) = deletes.next().await {
            match deleted.map_err(Error::Store)? {
                Delete::Deleted | Delete::Missing => gone.push(key),
                Delete::Locked { .. } => kept.push((key, "the store locks it".to_owned())),
                Delete::Refused(error) => kept.push((key, error.to_string())),
            }
        }
        Ok(gone)
    }
}
