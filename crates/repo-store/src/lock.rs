//! Retention locks: objects that the store itself refuses to delete or replace until a time.
//!
//! A capability of some stores ([`Locks`]), and what a [`Store`] does with it: every new object is
//! locked when it is created, locks are only ever extended, and a delete says what stood in its
//! way. Times are Unix milliseconds, UTC.

mod s3;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use object_store::path::Path;

use crate::classify::Operation;
use crate::error::Error;
use crate::key;
use crate::limits::{ANSWER_TIMEOUT, LOCKS_KNOWN_MAX};
use crate::store::Store;

pub(crate) use s3::S3Locks;

/// Who may lift a lock before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Whoever holds a permission of its own for that (S3: `s3:BypassGovernanceRetention`).
    Governance,
    /// Nobody, not even the owner of the bucket.
    Compliance,
}

/// A lock on one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Who may lift it.
    pub mode: LockMode,
    /// Until when it holds.
    pub until_ms: i64,
}

/// How a delete ended.
#[derive(Debug)]
pub enum Delete {
    /// The object is gone. Stores that do not tell say this of an object that never was, too.
    Deleted,
    /// There was no such object.
    Missing,
    /// The object is locked, and stays.
    Locked {
        /// Until when.
        until_ms: i64,
    },
    /// The store lets these credentials delete nothing, or not this object.
    Refused(Error),
}

impl Delete {
    /// Success when the object is gone, else the error that says why it is not.
    pub fn gone(self, key: &str, store: &Store) -> Result<(), Error> {
        match self {
            Self::Deleted | Self::Missing => Ok(()),
            Self::Locked { until_ms } => Err(store.locked(key, until_ms)),
            Self::Refused(error) => Err(error),
        }
    }
}

/// What a store that can lock objects is asked for. One request each.
#[async_trait]
pub trait Locks: Debug + Send + Sync {
    /// Whether objects can be locked in this place.
    async fn enabled(&self) -> object_store::Result<bool>;

    /// Locks a version of an object, the current one when none is named. A lock that holds longer
    /// is not shortened: the request is refused then.
    async fn retain(
        &self,
        path: &Path,
        version: Option<&str>,
        retention: Retention,
    ) -> object_store::Result<()>;

    /// The lock of the current version, if it has one. It may have run out.
    async fn retention(&self, path: &Path) -> object_store::Result<Option<Retention>>;

    /// Deletes a version of an object for good, the only one when it has no name; a locked one is
    /// refused as "permission denied".
    async fn delete(&self, path: &Path, version: Option<&str>) -> object_store::Result<()>;
}

/// How new objects are locked.
#[derive(Debug, Clone, Copy)]
pub struct LockNew {
    /// Who may lift the locks.
    pub mode: LockMode,
    /// For how long, from the creation of each object, in milliseconds.
    pub for_ms: i64,
    /// The time, in Unix milliseconds.
    pub clock: fn() -> i64,
}

/// What a locking store knows.
#[derive(Debug)]
pub(crate) struct Locking {
    new: LockNew,
    /// Until when objects are locked, as far as known without a request.
    known: Mutex<HashMap<String, i64>>,
}

impl Store {
    /// Gives the store its way to lock objects; a store opened by an `s3:` URL has one.
    #[must_use]
    pub fn with_locks(mut self, locks: Arc<dyn Locks>) -> Self {
        self.locks = Some(locks);
        self
    }

    /// Locks every object that this store and its clones create from now on, right after its
    /// create-only put: one more request each. A put whose lock failed has failed.
    #[must_use]
    pub fn locking(mut self, new: LockNew) -> Self {
        let known = Mutex::default();
        self.locking = Some(Arc::new(Locking { new, known }));
        self
    }

    /// How new objects are locked, if they are.
    #[must_use]
    pub fn locks_new(&self) -> Option<LockNew> {
        self.locking.as_ref().map(|locking| locking.new)
    }

    /// Whether this kind of store can lock objects at all; the bucket was not asked.
    #[must_use]
    pub fn has_locks(&self) -> bool {
        self.locks.is_some()
    }

    /// Whether objects can be locked here: the kind of store and, by one request, the bucket.
    pub async fn can_lock(&self) -> Result<bool, Error> {
        let Some(locks) = &self.locks else {
            return Ok(false);
        };
        let context = self.context(Operation::Read, "object lock configuration");
        self.retry
            .run(|| async {
                let _permit = self.permit().await;
                let answer = self.patience.wait(ANSWER_TIMEOUT, locks.enabled()).await;
                answer.map_err(|e| context.classify(e))
            })
            .await
    }

    /// Sees to it that the object is locked until `retention.until_ms` or longer. A longer lock
    /// stays as it is; one in the other mode that ends sooner is an error.
    ///
    /// One request, and a second one when the store refuses.
    pub async fn retain(&self, key: &str, retention: Retention) -> Result<(), Error> {
        let path = key::parse(key)?;
        self.retry
            .run(|| self.retain_version(&path, key, None, retention))
            .await
    }

    /// The lock of an object. It may have run out.
    pub async fn retention(&self, key: &str) -> Result<Option<Retention>, Error> {
        let path = key::parse(key)?;
        self.retry.run(|| self.read_retention(&path, key)).await
    }

    /// Deletes an object, durably on a local store, or says why it is still there.
    ///
    /// Where objects can be locked, the version that lies there is deleted for good, not hidden:
    /// two requests, a third when it is locked, and one more for the first delete.
    pub async fn delete(&self, key: &str) -> Result<Delete, Error> {
        let path = key::parse(key)?;
        let versions = match &self.locks {
            Some(locks) if self.can_lock().await.unwrap_or(false) => Some(locks),
            _ => None,
        };
        let deleted = self
            .retry
            .run(|| async {
                match versions {
                    Some(locks) => self.delete_version(locks, &path, key).await,
                    None => self.delete_once(&path, key).await,
                }
            })
            .await;
        match deleted {
            Err(error @ Error::Denied { .. }) => Ok(Delete::Refused(error)),
            outcome => outcome,
        }
    }

    /// Until when the object is locked, as far as this process or what it was told knows.
    #[must_use]
    pub fn known_lock(&self, key: &str) -> Option<i64> {
        let locking = self.locking.as_ref()?;
        lock(&locking.known).get(key).copied()
    }

    /// All locks known without a request, in no order.
    #[must_use]
    pub fn known_locks(&self) -> Vec<(String, i64)> {
        let known = self.locking.as_ref().map(|locking| lock(&locking.known));
        let pairs = known.map(|known| known.iter().map(|(key, ms)| (key.clone(), *ms)).collect());
        pairs.unwrap_or_default()
    }

    /// Tells of a lock from an earlier run, so that no request has to ask or renew it.
    pub fn learn_lock(&self, key: &str, until_ms: i64) {
        let Some(locking) = &self.locking else {
            return;
        };
        let mut known = lock(&locking.known);
        if known.len() < LOCKS_KNOWN_MAX || known.contains_key(key) {
            let slot = known.entry(key.to_owned()).or_insert(until_ms);
            *slot = until_ms.max(*slot);
        }
    }

    /// Locks an object this store has just created or found to be its own.
    pub(crate) async fn lock_new(
        &self,
        path: &Path,
        key: &str,
        version: Option<&str>,
    ) -> Result<(), Error> {
        let Some(LockNew {
            mode,
            for_ms,
            clock,
        }) = self.locks_new()
        else {
            return Ok(());
        };
        let until_ms = clock().saturating_add(for_ms);
        self.retain_version(path, key, version, Retention { mode, until_ms })
            .await
    }

    async fn retain_version(
        &self,
        path: &Path,
        key: &str,
        version: Option<&str>,
        retention: Retention,
    ) -> Result<(), Error> {
        let context = self.context(Operation::Lock, key);
        let locks = self.locks.as_ref().ok_or_else(|| context.cannot_lock())?;
        let permit = self.permit().await;
        let asked = locks.retain(path, version, retention);
        let done = self.patience.wait(ANSWER_TIMEOUT, asked).await;
        drop(permit);
        match done.map_err(|e| context.classify(e)) {
            Ok(()) => self.learn_lock(key, retention.until_ms),
            // Refused: perhaps because a longer lock is there already.
            Err(error @ Error::Denied { .. }) => match self.read_retention(path, key).await {
                Ok(Some(found)) if found.until_ms >= retention.until_ms => {
                    self.learn_lock(key, found.until_ms);
                }
                _ => return Err(error),
            },
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn read_retention(&self, path: &Path, key: &str) -> Result<Option<Retention>, Error> {
        let Some(locks) = &self.locks else {
            return Ok(None);
        };
        let context = self.context(Operation::Read, key);
        let _permit = self.permit().await;
        let answer = locks.retention(path);
        let answer = self.patience.wait(ANSWER_TIMEOUT, answer).await;
        answer.map_err(|e| context.classify(e))
    }

    async fn delete_version(
        &self,
        locks: &Arc<dyn Locks>,
        path: &Path,
        key: &str,
    ) -> Result<Delete, Error> {
        let version = match self.read_meta(path, key).await {
            Ok(meta) => meta.version,
            Err(Error::NotFound { .. }) => return Ok(Delete::Missing),
            Err(error) => return Err(error),
        };
        let permit = self.permit().await;
        let deleting = locks.delete(path, version.as_deref());
        let deleted = self.patience.wait(ANSWER_TIMEOUT, deleting).await;
        drop(permit);
        match deleted.map_err(|e| self.context(Operation::Delete, key).classify(e)) {
            Ok(()) => Ok(Delete::Deleted),
            Err(Error::NotFound { .. }) => Ok(Delete::Missing),
            // A lock is one reason for this; to be without the permission is another.
            Err(error @ Error::Denied { .. }) => match self.read_retention(path, key).await {
                Ok(Some(Retention { until_ms, .. })) => Ok(Delete::Locked { until_ms }),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn locked(&self, key: &str, until_ms: i64) -> Error {
        Error::Locked {
            key: key.to_owned(),
            location: Arc::clone(&self.location),
            until: shown_time(until_ms),
        }
    }
}

/// A time for people, in UTC.
fn shown_time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{ms} ms"),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
