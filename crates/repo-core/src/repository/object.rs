//! An immutable object opened for many positioned reads: a local file, a cached copy, bytes in
//! memory, or ranges of a remote object.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::repository::storage::Storage;

/// Where the bytes of an immutable object are read from.
pub(crate) enum ObjectSource {
    File(File),
    Memory(Bytes),
    Remote(Storage, String),
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
        if let Ok(file) = File::open(&path)
            && file.metadata().is_ok_and(|meta| meta.len() == size)
        {
            return Ok(Self::File(file));
        }
        let bytes = storage.get(key, size)?;
        check_len(key, bytes.len() as u64, size)?;
        // A cache that cannot be written costs memory and speed, not correctness.
        match write_cached(&path, &bytes).and_then(|()| File::open(&path)) {
            Ok(file) => return Ok(Self::File(file)),
            Err(error) => tracing::debug!(%error, key, "could not cache an index object"),
        }
        Ok(Self::Memory(bytes))
    }

    /// Replaces `buffer` with `len` bytes from `offset`.
    pub(crate) fn read(&self, offset: u64, len: usize, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.clear();
        match self {
            Self::File(file) => {
                buffer.resize(len, 0);
                file.read_exact_at(buffer, offset)
                    .map_err(|error| Error::io("read", "a local object", error))
            }
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
        }
    }
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
fn write_cached(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent)?;
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
