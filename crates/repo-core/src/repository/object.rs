//! An immutable object opened for many positioned reads: a local file, a cached copy, bytes in
//! memory, or ranges of a remote object.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::repository::storage::Storage;

/// Where the bytes of an immutable object are read from.
pub(crate) enum ObjectSource {
    File(File),
    Memory(Bytes),
    Remote(Storage, String),
    Cached(Box<Cached>),
}

/// A copy in the cache. The local disk may have damaged it: then what the store holds counts.
pub(crate) struct Cached {
    copy: File,
    path: PathBuf,
    storage: Storage,
    key: String,
    size: u64,
    /// Read instead of the copy, once that turned out to be damaged.
    fresh: OnceLock<ObjectSource>,
}

impl ObjectSource {
    /// Opens `key` of `size` bytes. An object up to `resident` bytes that is not a local file is
    /// fetched whole; a longer one is copied to the cache, or read by ranges without a cache.
    pub(crate) fn open(storage: &Storage, key: &str, size: u64, resident: u64) -> Result<Self> {
        if let Some(path) = storage.store().local_path(key)
            && let Ok(file) = File::open(path)
            && let Ok(meta) = file.metadata()
        {
            check_len(key, meta.len(), size)?;
            return Ok(Self::File(file));
        }
        let Some(cache) = storage.cache() else {
            if size <= resident {
                let bytes = storage.get(key, size)?;
                check_len(key, bytes.len() as u64, size)?;
                return Ok(Self::Memory(bytes));
            }
            return Ok(Self::Remote(storage.clone(), key.to_owned()));
        };
        let path = cache.join(key);
        if let Ok(copy) = File::open(&path)
            && copy.metadata().is_ok_and(|meta| meta.len() == size)
        {
            return Ok(Self::Cached(Box::new(Cached {
                copy,
                path,
                storage: storage.clone(),
                key: key.to_owned(),
                size,
                fresh: OnceLock::new(),
            })));
        }
        fetch(storage, key, size, &path)
    }

    /// Whether a failure may be that of a cached copy alone, so that [`Self::renew`] can help.
    pub(crate) fn renewable(&self) -> bool {
        matches!(self, Self::Cached(cached) if cached.fresh.get().is_none())
    }

    /// Drops a cached copy and reads what the store holds from now on.
    pub(crate) fn renew(&self) -> Result<()> {
        let Self::Cached(cached) = self else {
            return Ok(());
        };
        tracing::warn!(
            key = cached.key,
            "a cached copy is damaged; fetching it again"
        );
        let fetched = fetch(&cached.storage, &cached.key, cached.size, &cached.path)?;
        // Another thread that was first has fetched the same.
        drop(cached.fresh.set(fetched));
        Ok(())
    }

    /// Replaces `buffer` with `len` bytes from `offset`.
    pub(crate) fn read(&self, offset: u64, len: usize, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.clear();
        match self {
            Self::File(file) => read_file(file, offset, len, buffer),
            Self::Memory(bytes) => {
                let part = usize::try_from(offset)
                    .ok()
                    .and_then(|start| bytes.get(start..start.checked_add(len)?))
                    .ok_or(Error::Internal {
                        what: "object range",
                    })?;
                buffer.extend_from_slice(part);
                Ok(())
            }
            Self::Remote(storage, key) => storage.read(key, offset..offset + len as u64, buffer),
            Self::Cached(cached) => match cached.fresh.get() {
                Some(fresh) => fresh.read(offset, len, buffer),
                None => read_file(&cached.copy, offset, len, buffer),
            },
        }
    }
}

fn read_file(file: &File, offset: u64, len: usize, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.resize(len, 0);
    file.read_exact_at(buffer, offset)
        .map_err(|error| Error::io("read", "a local object", error))
}

/// Reads the object whole and puts a copy to `path`, which replaces what lies there.
fn fetch(storage: &Storage, key: &str, size: u64, path: &Path) -> Result<ObjectSource> {
    let bytes = storage.get(key, size)?;
    check_len(key, bytes.len() as u64, size)?;
    // A cache that cannot be written costs memory and speed, not correctness.
    match write_cached(path, &bytes).and_then(|()| File::open(path)) {
        Ok(file) => return Ok(ObjectSource::File(file)),
        Err(error) => tracing::debug!(%error, key, "could not cache an index object"),
    }
    Ok(ObjectSource::Memory(bytes))
}

fn check_len(key: &str, len: u64, size: u64) -> Result<()> {
    if len == size {
        return Ok(());
    }
    let what = "object";
    let why = "it is not as long as the log says";
    Err(Error::object(
        key,
        repo_format::Error::Malformed { what, why },
    ))
}

/// Writes under a temporary name first, so that a reader never sees half an object.
fn write_cached(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)?;
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
