//! Key slots: unlock, list, add, remove. Their exchange as a whole is in `rotate`.

use bytes::Bytes;
use futures::TryStreamExt;
use repo_format::keyslot::{self, Slot};
use repo_format::{ErrorKind, KeyId, Secrets, limits};
use repo_store::Store;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::repository::{KeyInfo, Repository, wrap};

/// Tries the password on every slot until one opens. One key derivation a slot.
pub(crate) async fn unlock(
    store: &Store,
    password: &[u8],
    config_hash: [u8; 32],
) -> Result<(Secrets, KeyId)> {
    let mut damaged = None;
    for (id, stored) in slots(store).await? {
        match try_slot(&id, stored, password, config_hash).await? {
            Ok(secrets) => return Ok((secrets, id)),
            Err(repo_format::Error::WrongPassword) => {}
            // One damaged slot must not lock out the others.
            Err(source) => damaged = Some(Error::object(keyslot::path(&id), source)),
        }
    }
    Err(damaged.unwrap_or_else(|| Error::WrongPassword {
        location: store.location().to_owned(),
    }))
}

/// Unwraps one slot off the async threads.
pub(crate) async fn try_slot(
    id: &KeyId,
    stored: Bytes,
    password: &[u8],
    config_hash: [u8; 32],
) -> Result<std::result::Result<Secrets, repo_format::Error>> {
    let (id, password) = (*id, Zeroizing::new(password.to_vec()));
    let opened =
        tokio::task::spawn_blocking(move || keyslot::unwrap(&stored, &id, &password, config_hash));
    opened.await.map_err(|_| Error::Internal {
        what: "key derivation",
    })
}

pub(crate) async fn slots(store: &Store) -> Result<Vec<(KeyId, Bytes)>> {
    let mut keys = store.list(keyslot::PREFIX, None).await;
    let mut found = Vec::new();
    while let Some(info) = keys.try_next().await.map_err(Error::Store)? {
        let id = info
            .key
            .strip_prefix(keyslot::PREFIX)
            .and_then(KeyId::from_hex);
        let Some(id) = id else { continue };
        match store.get(&info.key, limits::CONFIG_MAX).await {
            Ok(bytes) => found.push((id, bytes)),
            // Removed by another client since the list.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::Store(error)),
        }
    }
    Ok(found)
}

/// Whether the slot `id` is one of the repository with this config, as far as can be seen without
/// its password.
pub(crate) fn belongs(id: &KeyId, stored: &[u8], config_hash: [u8; 32]) -> bool {
    Slot::decode(stored).is_ok_and(|slot| slot.id() == *id && slot.config == config_hash)
}

/// Deletes the slots that stopped creations left in a place: they open nothing. Only for who has
/// just created the config, which no other slot can belong to.
pub(crate) async fn clear_leftovers(store: &Store, config_hash: [u8; 32]) {
    let clear = async {
        for (id, stored) in slots(store).await? {
            if !belongs(&id, &stored, config_hash) {
                delete(store, &id).await?;
            }
        }
        Ok::<_, Error>(())
    };
    // The repository is there all the same; a check names what stays.
    if let Err(error) = clear.await {
        tracing::debug!(%error, "key slots of an earlier attempt stay");
    }
}

pub(crate) async fn delete(store: &Store, id: &KeyId) -> Result<()> {
    let key = keyslot::path(id);
    let deleted = store.delete(&key).await.map_err(Error::Store)?;
    deleted.gone(&key, store).map_err(Error::Store)
}

impl Repository {
    /// The key slots. One that is damaged is left out; a check names it.
    pub async fn keys(&self) -> Result<Vec<KeyInfo>> {
        let mut keys = Vec::new();
        let current = self.unlocked().key;
        for (id, stored) in slots(self.inner.storage.store()).await? {
            let slot = match Slot::decode(&stored) {
                Ok(slot) => slot,
                Err(error) => {
                    tracing::warn!(%id, %error, "ignoring a damaged key slot");
                    continue;
                }
            };
            keys.push(KeyInfo {
                id,
                created_ms: slot.created_ms,
                label: slot.label,
                memory_kib: slot.kdf.memory_kib,
                passes: slot.kdf.passes,
                lanes: slot.kdf.lanes,
                current: current == Some(id),
            });
        }
        Ok(keys)
    }

    /// Adds a key slot for another password. One that a rotation of the keys has passed by meanwhile
    /// is taken back.
    pub async fn add_key(&self, password: &[u8], label: &str) -> Result<KeyId> {
        self.writable()?;
        if !self.encrypted() {
            return Err(Error::NotEncrypted {
                location: self.location().to_owned(),
            });
        }
        let secrets = self.inner.ring.secrets();
        let (id, slot) = wrap(&secrets, password, self.inner.config_hash, label).await?;
        let store = self.inner.storage.store();
        store
            .put_new(&keyslot::path(&id), slot)
            .await
            .map_err(Error::Store)?;
        // Read after the slot is there: a rotation that this does not see will find the slot.
        let seen = self.refresh().await;
        let epoch = self.state().epoch;
        let mut known = self.inner.ring.secrets();
        known.epochs.retain(|known| known.number <= epoch);
        let rotated = !secrets.holds_all(&known);
        let retired = !self.inner.ring.secrets().holds_all(&secrets);
        if seen.is_err() || rotated || retired {
            delete(store, &id).await?;
            seen?;
            let location = self.location().to_owned();
            let number = self.head();
            return Err(if rotated {
                Error::KeysRotated { location, number }
            } else {
                Error::KeysRetired { location, number }
            });
        }
        Ok(id)
    }

    /// Removes a key slot, a damaged one too; never the last one that can open the repository.
    /// Whoever copied the slot before can still open the repository with its password: only a new
    /// master key shuts them out.
    pub async fn remove_key(&self, id: &KeyId) -> Result<()> {
        self.writable()?;
        let refuse = |why| Error::Key {
            id: id.to_hex(),
            why,
        };
        let store = self.inner.storage.store();
        let slots = slots(store).await?;
        if !slots.iter().any(|(known, _)| known == id) {
            return Err(refuse("there is no such key"));
        }
        let config_hash = self.inner.config_hash;
        let stays =
            |(other, stored): &(KeyId, Bytes)| other != id && belongs(other, stored, config_hash);
        if !slots.iter().any(stays) {
            return Err(refuse("it is the last one"));
        }
        delete(store, id).await
    }
}
