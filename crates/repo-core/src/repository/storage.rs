//! Blocking access to stored objects from worker threads, with local files read directly.
//!
//! Chunking, hashing and sealing run on plain threads; this is where they wait for the store.
//! A repository on a local disk is read with positioned reads into reused buffers, because fresh
//! memory for each range costs more than the read.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use repo_format::IndexId;
use repo_store::Store;
use tokio::runtime::Handle;

use crate::error::{Error, Result};
use crate::repository::parity::Healer;

/// A store, the runtime its requests run on, and the place for cached copies.
#[derive(Clone)]
pub(crate) struct Storage {
    store: Store,
    runtime: Handle,
    cache: Option<PathBuf>,
    /// Reads some objects in its own way.
    healer: Option<Arc<Healer>>,
}

impl Storage {
    pub(crate) fn new(store: Store, runtime: Handle, cache: Option<PathBuf>) -> Self {
        Self {
            store,
            runtime,
            cache,
            healer: None,
        }
    }

    /// The same storage, with packs that `healer` knows read through their parity.
    pub(crate) fn healing(&self, healer: Arc<Healer>) -> Self {
        Self {
            healer: Some(healer),
            ..self.clone()
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn cache(&self) -> Option<&Path> {
        self.cache.as_deref()
    }

    /// Waits for `future`. Must not be called on a thread that runs async tasks.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Drops cached index objects that are not `live` any more. One that another process still wants
    /// is fetched again.
    pub(crate) fn prune_cache(&self, live: impl Fn(&IndexId) -> bool) {
        let Some(cache) = &self.cache else { return };
        // A cache that cannot be read or cleaned costs space, not correctness.
        let Ok(entries) = std::fs::read_dir(cache.join("index")) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(IndexId::from_hex);
            if id.is_some_and(|id| !live(&id))
                && let Err(error) = std::fs::remove_file(entry.path())
            {
                tracing::debug!(%error, "a cached index object stays");
            }
        }
    }

    /// The whole object, at most `max` bytes.
    pub(crate) fn get(&self, key: &str, max: u64) -> Result<Bytes> {
        self.wait(self.store.get(key, max)).map_err(missing)
    }

    /// Replaces `buffer` with `range` of the object. The caller has capped the range.
    pub(crate) fn read(&self, key: &str, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
        let len = usize::try_from(range.end.saturating_sub(range.start))
            .map_err(|_| Error::Internal { what: "range" })?;
        if let Some(healer) = &self.healer
            && healer.read(key, range.clone(), buffer)?
        {
            return Ok(());
        }
        if let Some(path) = self.store.local_path(key)
            && let Ok(file) = File::open(path)
        {
            // Growing zeroes new bytes once; the buffer keeps its length between reads of
            // similar size.
            if buffer.len() < len {
                buffer.resize(len, 0);
            }
            buffer.truncate(len);
            if file.read_exact_at(buffer, range.start).is_ok() {
                return Ok(());
            }
        }
        // Missing, short or unreadable local objects take this path too, for its error.
        let bytes = self
            .wait(self.store.get_range(key, range))
            .map_err(missing)?;
        buffer.clear();
        buffer.extend_from_slice(&bytes);
        Ok(())
    }
}

/// What is read here is named by the log or an index: if it is not there, it was lost.
fn missing(error: repo_store::Error) -> Error {
    match error {
        error @ repo_store::Error::NotFound { .. } => Error::LostObject { source: error },
        error => Error::Store(error),
    }
}
