//! Retention locks for a store in memory, with a clock of the test's own and a count of requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, Result};
use repo_store::{Locks, Retention};

/// Locks over any store without versions. Deletes are refused only when they come through here.
#[derive(Debug)]
pub struct MemoryLocks {
    inner: Arc<dyn ObjectStore>,
    now_ms: AtomicI64,
    held: Mutex<BTreeMap<String, Retention>>,
    asked: Mutex<Vec<String>>,
}

impl MemoryLocks {
    /// Locks for `inner`, on whose clock it is `now_ms`.
    pub fn new(inner: Arc<dyn ObjectStore>, now_ms: i64) -> Arc<Self> {
        Arc::new(Self {
            inner,
            now_ms: AtomicI64::new(now_ms),
            held: Mutex::default(),
            asked: Mutex::default(),
        })
    }

    /// Sets the clock by which locks run out.
    pub fn set_now(&self, now_ms: i64) {
        self.now_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Every lock there is, by key.
    #[must_use]
    pub fn held(&self) -> BTreeMap<String, Retention> {
        lock(&self.held).clone()
    }

    /// Ends a lock, as whoever may bypass it can.
    pub fn lift(&self, key: &str) {
        lock(&self.held).remove(key);
    }

    /// The keys of all requests to lock since the last call, in order.
    #[must_use]
    pub fn take_asked(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.asked))
    }

    fn refused(path: &Path) -> Error {
        Error::PermissionDenied {
            path: path.to_string(),
            source: "the object is locked".into(),
        }
    }
}

#[async_trait]
impl Locks for MemoryLocks {
    async fn enabled(&self) -> Result<bool> {
        Ok(true)
    }

    async fn retain(&self, path: &Path, _: Option<&str>, retention: Retention) -> Result<()> {
        self.inner.head(path).await?;
        lock(&self.asked).push(path.to_string());
        let mut held = lock(&self.held);
        let slot = held.entry(path.to_string()).or_insert(retention);
        if slot.until_ms > retention.until_ms || slot.mode != retention.mode {
            return Err(Self::refused(path));
        }
        *slot = retention;
        Ok(())
    }

    async fn retention(&self, path: &Path) -> Result<Option<Retention>> {
        self.inner.head(path).await?;
        Ok(lock(&self.held).get(path.as_ref()).copied())
    }

    async fn delete(&self, path: &Path, _: Option<&str>) -> Result<()> {
        let now_ms = self.now_ms.load(Ordering::Relaxed);
        let until_ms = lock(&self.held)
            .get(path.as_ref())
            .map(|held| held.until_ms);
        if until_ms.is_some_and(|until_ms| until_ms > now_ms) {
            return Err(Self::refused(path));
        }
        lock(&self.held).remove(path.as_ref());
        self.inner.delete(path).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
