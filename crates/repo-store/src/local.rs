//! What a local store needs beyond `object_store` to be durable.
//!
//! With fsync on, `object_store` syncs the file, the directory of the link, and the directories
//! it made itself. Three gaps are closed here: a directory that somebody else made and did not
//! live to sync, an object found in place whose link may not be synced yet, and deletes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::limits::{LIST_DEPTH_MAX, SYNCED_DIRECTORIES_MAX};
use crate::store::Put;

/// The directory of a local store.
#[derive(Debug)]
pub(crate) struct LocalRoot {
    path: PathBuf,
    /// Directories whose own entry is known to be durable.
    durable: Mutex<HashSet<PathBuf>>,
}

impl LocalRoot {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            durable: Mutex::default(),
        }
    }

    pub(crate) fn file(&self, key: &str) -> PathBuf {
        self.path.join(key)
    }

    /// Makes a put durable: the link when another process made it, and every directory above.
    pub(crate) async fn settle(self: &Arc<Self>, key: &str, put: Put) -> io::Result<()> {
        let Some(parent) = self.file(key).parent().map(Path::to_path_buf) else {
            return Ok(());
        };
        let link_synced = put == Put::Created;
        if link_synced && self.is_durable(&parent) {
            return Ok(());
        }
        let root = Arc::clone(self);
        blocking(move || {
            if !link_synced {
                sync_directory(&parent)?;
            }
            root.sync_ancestors(&parent)
        })
        .await
    }

    /// Makes a delete durable.
    pub(crate) async fn sync_parent(&self, key: &str) -> io::Result<()> {
        let Some(parent) = self.file(key).parent().map(Path::to_path_buf) else {
            return Ok(());
        };
        blocking(move || match sync_directory(&parent) {
            // Nothing was ever stored beside the key.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(()),
            synced => synced,
        })
        .await
    }

    /// Removes the staged files of writers that did not live to name them.
    pub(crate) async fn clean_staged(&self, prefix: &str, before_ms: u64) -> io::Result<u64> {
        let directory = self.file(prefix);
        let before = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_millis(before_ms))
            .unwrap_or(SystemTime::UNIX_EPOCH);
        blocking(move || clean_staged(&directory, before, LIST_DEPTH_MAX)).await
    }

    /// Syncs the directories that hold `directory` and its ancestors.
    ///
    /// Those above the root may belong to others; when they cannot be opened, that is left.
    fn sync_ancestors(&self, directory: &Path) -> io::Result<()> {
        for below in directory.ancestors() {
            let Some(holder) = below.parent() else { break };
            if self.is_durable(below) {
                break;
            }
            match sync_directory(holder) {
                Err(e) if below.starts_with(&self.path) && below != self.path => return Err(e),
                Ok(()) | Err(_) => self.remember(below),
            }
        }
        Ok(())
    }

    fn is_durable(&self, directory: &Path) -> bool {
        let durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        durable.contains(directory)
    }

    fn remember(&self, directory: &Path) {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        if durable.len() >= SYNCED_DIRECTORIES_MAX {
            durable.clear();
        }
        durable.insert(directory.to_path_buf());
    }
}

/// Syncs the entries of a directory. Only Unix can; elsewhere the file system is trusted.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn clean_staged(directory: &Path, before: SystemTime, depth: usize) -> io::Result<u64> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut cleaned = 0;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            cleaned += clean_staged(&entry.path(), before, depth - 1)?;
        } else if kind.is_file() && entry.file_name().to_str().is_some_and(is_staged) {
            // A writer done meanwhile has removed it itself.
            let old = entry.metadata().and_then(|m| m.modified());
            if old.is_ok_and(|modified| modified < before) && fs::remove_file(entry.path()).is_ok()
            {
                cleaned += 1;
            }
        }
    }
    Ok(cleaned)
}

/// Whether `object_store` gives this name to a file that is not an object yet.
fn is_staged(name: &str) -> bool {
    name.rsplit_once('#').is_some_and(|(key, number)| {
        crate::key::parse(key).is_ok()
            && !number.is_empty()
            && number.bytes().all(|b| b.is_ascii_digit())
    })
}

/// Runs a system call that may block where blocking is allowed.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime
            .spawn_blocking(call)
            .await
            .map_err(io::Error::other)?,
        Err(_) => call(),
    }
}
