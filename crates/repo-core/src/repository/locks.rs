//! Retention locks of stored objects: which objects every snapshot needs, how they are locked, and
//! what this client remembers of it.
//!
//! New objects are locked by the store for a quarter longer than the repository promises. An
//! object that a later snapshot needs is renewed only when less than the promise is left, so each
//! costs one request in a quarter of that time, and every snapshot is safe for all of it.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use bincode::{Decode, Encode};
use futures::{StreamExt, TryStreamExt, stream};
use repo_format::commit::{self, LogName};
use repo_format::config::{self, Config, LOCK_COMPLIANCE, LOCK_GOVERNANCE, Lock};
use repo_format::pack::{self, TRAILER_LEN};
use repo_format::{BlobId, ErrorKind, HEADER_LEN, PackId, index, keyslot};
use repo_store::{LockMode, LockNew, Retention, Store};

use crate::clock::now_ms;
use crate::error::{Error, Result};
use crate::limits::{
    CHECKPOINT_EVERY, DIRECTORY_GUESS, LOCK_LEDGER_MAX, LOCKED_TREES_MAX, LOCKS_AT_ONCE,
};
use crate::repository::access::LockFor;
use crate::repository::{Repository, State};

const FILE: &str = "locks";

/// How the config holds a lock.
pub(super) fn stored(lock: LockFor) -> Lock {
    Lock {
        mode: match lock.mode {
            LockMode::Governance => LOCK_GOVERNANCE,
            LockMode::Compliance => LOCK_COMPLIANCE,
        },
        for_ms: lock.for_ms,
    }
}

/// The lock that a decoded config holds.
fn lock_for(config: &Config) -> Option<LockFor> {
    let lock = config.lock?;
    let mode = match lock.mode {
        LOCK_COMPLIANCE => LockMode::Compliance,
        _ => LockMode::Governance,
    };
    let for_ms = lock.for_ms;
    Some(LockFor { mode, for_ms })
}

/// The store as the config wants it: one that locks what it creates, or as it is.
pub(super) fn locking(store: Store, config: &Config) -> Store {
    let Some(LockFor { mode, for_ms }) = lock_for(config) else {
        return store;
    };
    let for_ms = promised(for_ms);
    store.locking(LockNew {
        mode,
        for_ms: for_ms.saturating_add(for_ms / 4),
        clock: now_ms,
    })
}

fn promised(for_ms: u64) -> i64 {
    i64::try_from(for_ms).unwrap_or(i64::MAX)
}

impl Repository {
    /// How long each snapshot is locked, where the repository locks at all.
    #[must_use]
    pub fn lock_for(&self) -> Option<LockFor> {
        lock_for(&self.inner.config)
    }

    /// Refuses to write where the locks of the repository cannot be had.
    pub(super) fn lockable(&self) -> Result<()> {
        if self.inner.config.lock.is_some() && !self.inner.storage.store().has_locks() {
            return Err(Error::CannotLock {
                location: self.location().to_owned(),
            });
        }
        Ok(())
    }

    /// Keys of what every snapshot of `state` needs beside packs: config, index objects, and the
    /// log from its newest checkpoint on. One list of the log.
    pub(crate) async fn common_objects(&self, state: &State) -> Result<Vec<String>> {
        let mut keys = vec![config::PATH.to_owned()];
        keys.extend(state.indexes.iter().map(|object| index::path(&object.id)));
        let oldest = state.begins.map_or(0, |begins| begins.commit);
        let mut from = state.number / CHECKPOINT_EVERY * CHECKPOINT_EVERY;
        loop {
            from = from.max(oldest);
            let log = self.log_since(from, state.number).await?;
            let starts = from == oldest || log.first() == Some(&commit::checkpoint_path(from));
            if starts {
                keys.extend(log);
                return Ok(keys);
            }
            // That checkpoint could not be written: the one before it counts.
            from = from.saturating_sub(CHECKPOINT_EVERY);
        }
    }

    /// The checkpoint `from` if it is there, and the commits after it up to `to`.
    async fn log_since(&self, from: u64, to: u64) -> Result<Vec<String>> {
        let after = from.checked_sub(1).map(commit::checkpoint_path);
        let store = self.inner.storage.store();
        let mut listed = store.list("log/", after.as_deref()).await;
        let (mut checkpoint, mut commits) = (None, Vec::new());
        while let Some(info) = listed.try_next().await.map_err(Error::Store)? {
            match commit::parse_path(&info.key) {
                Some(LogName::Checkpoint(number)) if number == from => checkpoint = Some(info.key),
                Some(LogName::Commit(number)) if number > from && number <= to => {
                    commits.push(info.key);
                }
                _ => {}
            }
        }
        Ok(checkpoint.into_iter().chain(commits).collect())
    }

    /// Keys of all key slots. One list.
    pub(crate) async fn key_slots(&self) -> Result<Vec<String>> {
        let listed = self.inner.storage.store().list(keyslot::PREFIX, None).await;
        let keys = listed.map_ok(|info| info.key).try_collect().await;
        keys.map_err(Error::Store)
    }

    /// The key slot that opened the repository.
    pub(crate) fn own_key_slot(&self) -> Option<String> {
        self.unlocked().key.as_ref().map(keyslot::path)
    }

    /// Locks each object until `until_ms` or longer, unless it is known to be locked until
    /// `due_ms`. One request an object. Answers until when all of them are locked.
    pub(crate) async fn extend_locks(&self, keys: Vec<String>, due_ms: i64) -> Result<i64> {
        let store = self.inner.storage.store();
        let Some(new) = store.locks_new() else {
            return Ok(i64::MIN);
        };
        let retention = Retention {
            mode: new.mode,
            until_ms: (new.clock)().saturating_add(new.for_ms),
        };
        stream::iter(keys)
            .map(|key| async move {
                match store.known_lock(&key) {
                    Some(known) if known >= due_ms => Ok(known),
                    _ => match store.retain(&key, retention).await {
                        Ok(()) => Ok(retention.until_ms),
                        Err(source) if source.kind() == ErrorKind::NotFound => {
                            Err(Error::LostObject { source })
                        }
                        Err(error) => Err(Error::Store(error)),
                    },
                }
            })
            .buffer_unordered(LOCKS_AT_ONCE)
            .try_fold(i64::MAX, |least, until| async move { Ok(least.min(until)) })
            .await
    }

    /// Until when each object is locked by the store's own word; `None` for those without a lock
    /// and those that are lost. One request an object.
    pub(crate) async fn read_locks(
        &self,
        keys: Vec<String>,
        mut each: impl FnMut(&str, Option<i64>),
    ) -> Result<()> {
        let store = self.inner.storage.store();
        let mut asked = stream::iter(keys)
            .map(|key| async move {
                let found = store.retention(&key).await;
                (key, found)
            })
            .buffer_unordered(LOCKS_AT_ONCE);
        while let Some((key, found)) = asked.next().await {
            match found {
                Ok(found) => each(&key, found.map(|retention| retention.until_ms)),
                Err(error) if error.kind() == ErrorKind::NotFound => each(&key, None),
                Err(error) => return Err(Error::Store(error)),
            }
        }
        Ok(())
    }

    /// The chunks that segments of a pack are stored against. Two or three requests; blocks.
    pub(crate) fn pack_bases(&self, id: &PackId, size: u64) -> Result<Vec<BlobId>> {
        let key = pack::path(id);
        let bad = |source| Error::object(key.clone(), source);
        let opener = self.inner.segments.opener(id)?;
        let storage = &self.inner.storage;
        let end = size.saturating_sub(TRAILER_LEN as u64);
        let from = end.saturating_sub(DIRECTORY_GUESS).max(HEADER_LEN as u64);
        let mut tail = Vec::new();
        storage.read(&key, from..size, &mut tail)?;
        let last = tail.len().saturating_sub(TRAILER_LEN);
        let len = pack::trailer("pack", &tail[last..], pack::TRAILER_MAGIC, size).map_err(bad)?;
        let mut sealed = Vec::new();
        match last.checked_sub(len as usize) {
            Some(start) => sealed.extend_from_slice(&tail[start..last]),
            None => storage.read(&key, end - u64::from(len)..end, &mut sealed)?,
        }
        let segments = pack::open_directory(&opener, size, &mut sealed).map_err(bad)?;
        Ok(segments
            .iter()
            .filter_map(|segment| segment.base.map(|base| base.id))
            .collect())
    }
}

/// What this client remembers between runs, in its cache: without it, everything a snapshot needs
/// is renewed and read again.
#[derive(Debug, Default, Encode, Decode)]
pub(crate) struct LockLedger {
    locks: Vec<(String, i64)>,
    bases: HashMap<[u8; 32], Vec<[u8; 32]>>,
    /// Trees all of whose objects are locked until then; newest last.
    trees: Vec<([u8; 32], i64)>,
}

impl LockLedger {
    /// What is remembered; nothing on a cold or damaged cache. Tells the store of the locks.
    pub(crate) fn load(store: &Store, cache: Option<&Path>) -> Self {
        let read = || {
            let bytes = fs::read(cache?.join(FILE)).ok()?;
            let config = bincode::config::standard().with_limit::<LOCK_LEDGER_MAX>();
            let (ledger, len) = bincode::decode_from_slice::<Self, _>(&bytes, config).ok()?;
            (len == bytes.len()).then_some(ledger)
        };
        let mut ledger = read().unwrap_or_default();
        for (key, until_ms) in std::mem::take(&mut ledger.locks) {
            store.learn_lock(&key, until_ms);
        }
        ledger
    }

    /// Remembers all locks that the store knows of and that have not run out. Failure to do so
    /// costs requests later, not this operation.
    pub(crate) fn save(mut self, store: &Store, cache: Option<&Path>) {
        let Some(cache) = cache else { return };
        let now = now_ms();
        self.locks = store.known_locks();
        self.locks.retain(|(_, until_ms)| *until_ms > now);
        let write = || -> std::io::Result<()> {
            let config = bincode::config::standard().with_limit::<LOCK_LEDGER_MAX>();
            let bytes = bincode::encode_to_vec(&self, config).map_err(std::io::Error::other)?;
            fs::create_dir_all(cache)?;
            let mut file = tempfile::NamedTempFile::new_in(cache)?;
            file.write_all(&bytes)?;
            file.persist(cache.join(FILE))?;
            Ok(())
        };
        if let Err(error) = write() {
            tracing::debug!(%error, "could not remember the locks");
        }
    }

    /// Until when all objects of this tree are locked.
    pub(crate) fn tree(&self, root: &BlobId) -> Option<i64> {
        let found = self.trees.iter().rev().find(|(known, _)| *known == root.0);
        found.map(|(_, until_ms)| *until_ms)
    }

    pub(crate) fn learn_tree(&mut self, root: &BlobId, until_ms: i64) {
        self.trees.retain(|(known, _)| *known != root.0);
        self.trees.push((root.0, until_ms));
        let over = self.trees.len().saturating_sub(LOCKED_TREES_MAX);
        self.trees.drain(..over);
    }

    /// Packs that hold bases of this one.
    pub(crate) fn bases(&self, pack: &PackId) -> Option<Vec<PackId>> {
        let known = self.bases.get(&pack.0)?;
        Some(known.iter().map(|id| PackId(*id)).collect())
    }

    pub(crate) fn learn_bases(&mut self, pack: &PackId, bases: &[PackId]) {
        self.bases
            .insert(pack.0, bases.iter().map(|id| id.0).collect());
    }

    /// Forgets the bases of packs that no index names any more.
    pub(crate) fn keep_bases(&mut self, live: impl Fn(&PackId) -> bool) {
        self.bases.retain(|id, _| live(&PackId(*id)));
    }
}
