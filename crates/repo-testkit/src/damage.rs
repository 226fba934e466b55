//! Damage to stored bytes, and whole images of a store to go back to.
//!
//! Works on the store below the decorators and overwrites freely: this is the disk, not a client.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, Result};

/// The content of a store at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    objects: BTreeMap<String, Bytes>,
}

impl Image {
    /// Copies every object.
    pub async fn of(store: &dyn ObjectStore) -> Result<Self> {
        let mut objects = BTreeMap::new();
        for key in keys(store).await? {
            let bytes = read(store, &key).await?;
            objects.insert(key, bytes);
        }
        Ok(Self { objects })
    }

    /// The objects by key.
    #[must_use]
    pub fn objects(&self) -> &BTreeMap<String, Bytes> {
        &self.objects
    }

    /// Makes a store hold exactly this image again.
    pub async fn restore(&self, store: &dyn ObjectStore) -> Result<()> {
        for key in keys(store).await? {
            if !self.objects.contains_key(&key) {
                delete(store, &key).await?;
            }
        }
        for (key, bytes) in &self.objects {
            write(store, key, bytes.clone()).await?;
        }
        Ok(())
    }

    /// Puts the old content of one key back: a replay. A key that was absent is deleted.
    pub async fn replay(&self, store: &dyn ObjectStore, key: &str) -> Result<()> {
        match self.objects.get(key) {
            Some(bytes) => write(store, key, bytes.clone()).await,
            None => delete(store, key).await,
        }
    }
}

/// All keys, sorted.
pub async fn keys(store: &dyn ObjectStore) -> Result<Vec<String>> {
    let found = store.list(None).map_ok(|meta| meta.location.to_string());
    let mut keys: Vec<_> = found.try_collect().await?;
    keys.sort_unstable();
    Ok(keys)
}

/// Reads an object past every check.
pub async fn read(store: &dyn ObjectStore, key: &str) -> Result<Bytes> {
    store.get(&Path::parse(key)?).await?.bytes().await
}

/// Replaces an object, or creates it.
pub async fn write(store: &dyn ObjectStore, key: &str, bytes: Bytes) -> Result<()> {
    let payload = PutPayload::from_bytes(bytes);
    store.put(&Path::parse(key)?, payload).await?;
    Ok(())
}

/// Deletes an object.
pub async fn delete(store: &dyn ObjectStore, key: &str) -> Result<()> {
    store.delete(&Path::parse(key)?).await
}

/// Flips bits of the byte at `offset`: those set in `mask`. An offset past the end does nothing.
pub async fn flip(store: &dyn ObjectStore, key: &str, offset: usize, mask: u8) -> Result<()> {
    let mut bytes = read(store, key).await?.to_vec();
    if let Some(byte) = bytes.get_mut(offset) {
        *byte ^= mask;
    }
    write(store, key, bytes.into()).await
}

/// Keeps only the first `len` bytes.
pub async fn truncate(store: &dyn ObjectStore, key: &str, len: usize) -> Result<()> {
    let bytes = read(store, key).await?;
    let kept = bytes.slice(..len.min(bytes.len()));
    write(store, key, kept).await
}

/// Exchanges the content of two objects.
pub async fn swap(store: &dyn ObjectStore, one: &str, other: &str) -> Result<()> {
    let first = read(store, one).await?;
    let second = read(store, other).await?;
    write(store, one, second).await?;
    write(store, other, first).await
}
