//! Rotation of the keys: a new epoch for all that is written from now on.
//!
//! Three steps, each of which leaves a repository that opens. Slots that hold the new key are
//! written beside the old ones; a commit sealed under the new key begins its epoch; slots that name
//! that commit replace all others. Stopped before the commit, old and new slots open the same; after
//! it, old slots open what was written before it only, and who tries one goes on to the others.
//! Stopped anywhere, the next rotation clears up.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use repo_format::commit::{self, Commit};
use repo_format::config::Config;
use repo_format::keyslot::{self, Slot};
use repo_format::{ErrorKind, KeyId, KeyRing, Secrets, limits};
use repo_store::Store;
use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::repository::keys::{belongs, delete, slots, try_slot, unlock};
use crate::repository::log::Log;
use crate::repository::{OpenOptions, Repository, Unlocked, new_session, wrap};

/// What becomes of the key slots when the keys are rotated.
#[derive(Clone, Default)]
pub struct RotateOptions {
    /// Replaces the password that was given. Whoever knows the old one and has kept a copy of the
    /// store can otherwise put that back in its place.
    pub new_password: Option<Vec<u8>>,
    /// Passwords of other slots, which stay valid.
    pub others: Vec<Vec<u8>>,
    /// Remove the slots that no given password opens.
    pub drop_others: bool,
    /// What the log says was done.
    pub action: String,
}

impl std::fmt::Debug for RotateOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RotateOptions")
            .field("others", &self.others.len())
            .field("drop_others", &self.drop_others)
            .finish_non_exhaustive()
    }
}

/// What a rotation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// Number of the epoch that seals new objects.
    pub epoch: u32,
    /// The commit that began it.
    pub first: u64,
    /// Key slots written.
    pub added: Vec<KeyId>,
    /// Key slots of before that were deleted.
    pub removed: Vec<KeyId>,
    /// Key slots left as they are: damaged, or added meanwhile with the old keys.
    pub left: Vec<KeyId>,
}

/// One generation of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyEpoch {
    /// Its number, from 1.
    pub number: u32,
    /// The commit that began it; none for the first.
    pub first: Option<u64>,
    /// Whether it seals new objects.
    pub current: bool,
}

/// A password with the slots it opens.
pub(super) struct Claim {
    opens: Zeroizing<Vec<u8>>,
    /// The password of the slot that takes their place. Slots that it opens are replaced, too: a
    /// rotation that was stopped has left them.
    becomes: Zeroizing<Vec<u8>>,
    label: String,
    slots: Vec<KeyId>,
    /// Whether `opens` is the password of one of them.
    proved: bool,
}

/// The oldest and the newest epoch in some key slots.
pub(super) struct Span {
    pub(super) oldest: u32,
    pub(super) newest: u32,
}

impl Claim {
    /// The slots it opens.
    pub(super) fn slots(&self) -> impl Iterator<Item = KeyId> {
        self.slots.iter().copied()
    }

    /// What the slot holds, if it is one of these.
    async fn try_slot(
        &mut self,
        id: &KeyId,
        stored: &Bytes,
        hash: [u8; 32],
    ) -> Result<Option<Secrets>> {
        if let Ok(secrets) = try_slot(id, stored.clone(), &self.opens, hash).await? {
            self.proved = true;
            return Ok(Some(secrets));
        }
        if self.becomes == self.opens {
            return Ok(None);
        }
        Ok(try_slot(id, stored.clone(), &self.becomes, hash)
            .await?
            .ok())
    }
}

/// Opens with the first slot that fits, and with others of the same password when a rotation has
/// passed that one by.
pub(super) async fn open(
    store: Store,
    (config, config_hash): (Config, [u8; 32]),
    password: &[u8],
    options: &OpenOptions,
) -> Result<Repository> {
    let assemble = |secrets, id| {
        let known = (Unlocked::new(id, password), true);
        let (store, config) = (store.clone(), config.clone());
        Repository::assemble(store, config, config_hash, secrets, known, options)
    };
    let (secrets, tried) = unlock(&store, password, config_hash).await?;
    let error = match assemble(secrets, tried).await {
        Err(error) if error.may_be_rotated() => error,
        opened => return opened,
    };
    let found = newest_of(&store, password, config_hash).await?;
    for (id, secrets) in found.newest {
        if id != tried
            && let Ok(opened) = assemble(secrets, id).await
        {
            return Ok(opened);
        }
    }
    Err(explained(error, found.strangers))
}

/// A commit whose header names a later key is a damaged one where nobody can have rotated the keys:
/// there is no slot but those that were tried.
fn explained(error: Error, strangers: bool) -> Error {
    match error {
        Error::KeysRotated { number, .. } if !strangers => {
            let what = "commit";
            Error::object(commit::path(number), repo_format::Error::OtherKey { what })
        }
        error => error,
    }
}

/// The slots, seen with one password.
struct Found {
    /// What it opens, of that only what knows of the latest rotation.
    newest: Vec<(KeyId, Secrets)>,
    /// Whether it does not open all.
    strangers: bool,
}

async fn newest_of(store: &Store, password: &[u8], config_hash: [u8; 32]) -> Result<Found> {
    let mut newest = Vec::new();
    let mut strangers = false;
    for (id, stored) in slots(store).await? {
        match try_slot(&id, stored, password, config_hash).await? {
            Ok(secrets) => newest.push((id, secrets)),
            Err(_) => strangers = true,
        }
    }
    let begun = newest.iter().map(|(_, secrets)| secrets.begun()).max();
    newest.retain(|(_, secrets)| Some(secrets.begun()) == begun);
    Ok(Found { newest, strangers })
}

impl Repository {
    /// The generations of the keys, oldest first.
    #[must_use]
    pub fn key_epochs(&self) -> Vec<KeyEpoch> {
        let (secrets, sealing) = (self.inner.ring.secrets(), self.inner.ring.sealing());
        let begun = secrets.epochs.iter().filter(|e| e.number <= sealing);
        begun
            .map(|epoch| KeyEpoch {
                number: epoch.number,
                first: epoch.first,
                current: epoch.number == sealing,
            })
            .collect()
    }

    /// Seals everything from now on under a new key, and replaces the key slots. `password` must open
    /// one of them. Slots that no given password opens cannot be replaced: they are an error, or
    /// are removed when `options` say so.
    ///
    /// What was written before stays sealed as it is until a collection seals it anew
    /// ([`crate::GcOptions::reseal`]). Programs that run meanwhile go on if their password still
    /// opens a slot; others end with [`Error::KeysRotated`] and have lost nothing.
    pub async fn rotate_key(&self, password: &[u8], options: &RotateOptions) -> Result<Rotated> {
        self.writable()?;
        self.keyed()?;
        self.refresh().await?;
        let ring = &self.inner.ring;
        let (claims, known) = self.claims(password, options).await?;
        let mut secrets = ring.secrets();
        let sealing = ring.sealing();
        // What a rotation that was stopped has left under another password must not be used.
        secrets.epochs.retain(|epoch| epoch.number <= sealing);
        let epoch = secrets.add_epoch(known.newest).map_err(Error::encode)?;

        let waiting = self.write_slots(&secrets, &claims).await?;
        let first = match self.begin_epoch(&secrets, &options.action).await {
            Ok(first) => first,
            Err(error) if error.may_be_rotated() || error.kind() == ErrorKind::Conflict => {
                for id in &waiting {
                    delete(self.inner.storage.store(), id).await?;
                }
                return Err(error);
            }
            // It may stand all the same: what opens it must stay.
            Err(error) => return Err(error),
        };

        if let Some(newest) = secrets.epochs.last_mut() {
            newest.first = Some(first);
        }
        let added = self.write_slots(&secrets, &claims).await?;
        ring.learn(secrets).map_err(Error::encode)?;
        self.unlocked_by(&claims, &added);
        let claimed = claims.iter().flat_map(Claim::slots);
        let old: BTreeSet<KeyId> = claimed.chain(waiting.iter().copied()).collect();
        let (mut removed, left) = self.drop_slots(&added, &old, options.drop_others).await?;
        removed.retain(|id| !waiting.contains(id));
        Ok(Rotated {
            epoch,
            first,
            added,
            removed,
            left,
        })
    }

    /// Refuses a repository in clear: its keys are no secret.
    pub(super) fn keyed(&self) -> Result<()> {
        if self.encrypted() {
            return Ok(());
        }
        let location = self.location().to_owned();
        Err(Error::NotEncrypted { location })
    }

    /// Which slots each password opens, and the epochs in them.
    pub(super) async fn claims(
        &self,
        password: &[u8],
        options: &RotateOptions,
    ) -> Result<(Vec<Claim>, Span)> {
        let claim = |opens: &[u8], becomes: &[u8]| Claim {
            opens: Zeroizing::new(opens.to_vec()),
            becomes: Zeroizing::new(becomes.to_vec()),
            label: String::new(),
            slots: Vec::new(),
            proved: false,
        };
        let becomes = options.new_password.as_deref().unwrap_or(password);
        let mut claims = vec![claim(password, becomes)];
        claims.extend(options.others.iter().map(|other| claim(other, other)));
        let config_hash = self.inner.config_hash;
        let mut known = Span {
            oldest: u32::MAX,
            newest: 0,
        };
        let mut unclaimed = Vec::new();
        for (id, stored) in slots(self.inner.storage.store()).await? {
            let mut claimed = false;
            for claim in &mut claims {
                let opened = claim.try_slot(&id, &stored, config_hash).await?;
                let Some(secrets) = opened else { continue };
                known.newest = known.newest.max(secrets.newest());
                let oldest = secrets.epochs.first().map_or(1, |epoch| epoch.number);
                known.oldest = known.oldest.min(oldest);
                claimed = true;
                if claim.label.is_empty() {
                    claim.label = Slot::decode(&stored).map_or(String::new(), |slot| slot.label);
                }
                claim.slots.push(id);
                break;
            }
            if !claimed && belongs(&id, &stored, config_hash) {
                unclaimed.push(id.to_hex());
            }
        }
        if claims.iter().any(|claim| !claim.proved) {
            let location = self.location().to_owned();
            return Err(Error::WrongPassword { location });
        }
        if !unclaimed.is_empty() && !options.drop_others {
            return Err(Error::KeysLeft { keys: unclaimed });
        }
        Ok((claims, known))
    }

    /// Writes a slot for each password and opens it as the store gives it back: what it replaces is
    /// deleted next.
    pub(super) async fn write_slots(
        &self,
        secrets: &Secrets,
        claims: &[Claim],
    ) -> Result<Vec<KeyId>> {
        let store = self.inner.storage.store();
        let config_hash = self.inner.config_hash;
        let mut written = Vec::new();
        for claim in claims {
            let (id, slot) = wrap(secrets, &claim.becomes, config_hash, &claim.label).await?;
            let path = keyslot::path(&id);
            store.put_new(&path, slot).await.map_err(Error::Store)?;
            let stored = store.get(&path, limits::CONFIG_MAX).await;
            let stored = stored.map_err(Error::Store)?;
            try_slot(&id, stored, &claim.becomes, config_hash)
                .await?
                .map_err(|source| Error::object(path, source))?;
            written.push(id);
        }
        Ok(written)
    }

    /// Commits under the newest key of `secrets`. Returns the number of the commit.
    async fn begin_epoch(&self, secrets: &Secrets, action: &str) -> Result<u64> {
        let inner = &self.inner;
        let config = &inner.config;
        let ring = KeyRing::new(config.repository, inner.ring.cipher(), secrets.clone())
            .map_err(Error::encode)?;
        ring.begin(secrets.newest());
        let log = Log::new(inner.storage.store().clone(), Arc::new(ring));
        let mut state = (*self.state()).clone();
        let session = new_session()?;
        log.commit(&mut state, session, action, |_| Ok(Commit::default()))
            .await?;
        log.confirm(&state).await?;
        let first = state.number;
        inner.ring.learn(secrets.clone()).map_err(Error::encode)?;
        inner.ring.begin(secrets.newest());
        // Those of older keys do not count from here on.
        log.write_checkpoint(&state, session).await;
        self.set_state(state);
        Ok(first)
    }

    /// Deletes the slots of `old`, and all others too if `drop_others`; never one of `added`.
    async fn drop_slots(
        &self,
        added: &[KeyId],
        old: &BTreeSet<KeyId>,
        drop_others: bool,
    ) -> Result<(Vec<KeyId>, Vec<KeyId>)> {
        let store = self.inner.storage.store();
        let (mut removed, mut left) = (Vec::new(), Vec::new());
        for (id, _) in slots(store).await? {
            if added.contains(&id) {
                continue;
            }
            if drop_others || old.contains(&id) {
                delete(store, &id).await?;
                removed.push(id);
            } else {
                left.push(id);
            }
        }
        Ok((removed, left))
    }

    /// Looks for the keys that were missing in other slots of the same password. Gives back
    /// `error` when it says something else, or when there are none.
    pub(crate) async fn relearn(&self, error: Error) -> Result<()> {
        let password = self.unlocked().password;
        let Some(password) = password.filter(|_| error.may_be_rotated()) else {
            return Err(error);
        };
        let inner = &self.inner;
        let found = newest_of(inner.storage.store(), &password, inner.config_hash).await?;
        for (id, secrets) in found.newest {
            let news = !inner.ring.secrets().holds_all(&secrets);
            if news && inner.ring.learn(secrets).is_ok() {
                self.set_unlocked(Unlocked::new(id, &password));
                return Ok(());
            }
        }
        Err(explained(error, found.strangers))
    }

    pub(super) fn unlocked(&self) -> Unlocked {
        let unlocked = self.inner.unlocked.lock();
        unlocked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the first slot of a new set for the one that opened the repository.
    pub(super) fn unlocked_by(&self, claims: &[Claim], added: &[KeyId]) {
        if let (Some(claim), Some(id)) = (claims.first(), added.first()) {
            self.set_unlocked(Unlocked::new(*id, &claim.becomes));
        }
    }

    fn set_unlocked(&self, unlocked: Unlocked) {
        let known = self.inner.unlocked.lock();
        *known.unwrap_or_else(PoisonError::into_inner) = unlocked;
    }
}
