//! The log: numbered, create-only commits whose fold is the state of the repository.
//!
//! A writer seals its commit for the next number and creates it. When another writer was first,
//! it reads the winner, lets the caller revalidate against the new state, and tries the number
//! after. Creating commit N is the one point at which an operation takes effect.
//!
//! Retirement of keys removes commits from the start of the log, and so makes numbers free that
//! were taken. What holds then rests on one rule of it: at every moment a commit is there that is
//! newer than all that are being removed, and it stays until a newer one has taken that part. So
//! whoever has read or created commit K and *then* lists what is after it, either sees that commit
//! or knows that nothing from K on was removed. In the first case all that is listed must
//! continue K, one by one and by hash: what was created in a number that had become free does not
//! lead to a commit that was made before. Readers and writers believe in no commit before that.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use repo_format::commit::{self, Commit, LogName};
use repo_format::{Cipher, ErrorKind, Header, KeyRing, ObjectKind, SessionId, limits};
use repo_store::Store;

use crate::clock::now_ms;
use crate::error::{Error, Result};
use crate::limits::{CHECKPOINT_EVERY, COMMIT_ATTEMPTS, LOG_ATTEMPTS, LOG_FETCHES};
use crate::repository::seen::Seen;
use crate::repository::state::State;

/// Reads and extends the log of one repository.
pub(crate) struct Log {
    store: Store,
    ring: Arc<KeyRing>,
}

impl Log {
    pub(crate) fn new(store: Store, ring: Arc<KeyRing>) -> Self {
        Self { store, ring }
    }

    /// The state at the head, or at commit `at`. `seen` is checked against what the log holds.
    ///
    /// Requests: one list per thousand commits since the last checkpoint a warm client knows, one
    /// get for the newest checkpoint, one for the commit seen when that checkpoint is newer, one
    /// per commit after it, and one more list if there are any. An earlier state costs one more get.
    pub(crate) async fn load(&self, at: Option<u64>, seen: Option<Seen>) -> Result<State> {
        let mut attempt = 1;
        loop {
            match self.load_once(at, seen).await {
                // As a log looks from which commits are being removed; then the next list is right.
                Err(error) if attempt < LOG_ATTEMPTS && error.may_be_cut() => attempt += 1,
                loaded => return loaded,
            }
        }
    }

    async fn load_once(&self, at: Option<u64>, seen: Option<Seen>) -> Result<State> {
        let mut names = self.names(at, seen).await?;
        let mut state = self.newest_checkpoint(&names).await;
        if state.number == 0 && names.partial {
            names = self.list(None).await?;
            state = self.newest_checkpoint(&names).await;
        }
        if let Some(at) = at {
            if state.begins.is_some_and(|begins| at < begins.commit) {
                return Err(before(at, &state));
            }
            names.end_with(at);
            if at < state.number {
                state = self.newest_checkpoint(&names).await;
            }
        }
        self.check_summed_up(&state, seen, at).await?;
        let summed_up = state.number;
        let wanted = names.commits.into_iter().filter(|n| *n > summed_up);
        self.fold_listed(&mut state, wanted.collect(), seen).await?;
        if at.is_none() && state.number > summed_up {
            let newer = self.follow(&state, state.number).await?;
            state = newer.unwrap_or(state);
        }
        let missing = at.is_some_and(|at| at != state.number);
        if missing {
            return Err(Error::MissingCommit {
                number: at.unwrap_or_default(),
            });
        }
        self.check_seen(&state, seen, at)?;
        self.check_vouched(&state, at).await?;
        if let Some(begins) = state.begins {
            self.ring.retire(begins.epoch);
        }
        Ok(state)
    }

    /// Folds commits with these numbers, which must be those after `state` without a gap.
    async fn fold_listed(
        &self,
        state: &mut State,
        numbers: Vec<u64>,
        seen: Option<Seen>,
    ) -> Result<()> {
        let mut commits = stream::iter(numbers)
            .map(|number| async move { (number, self.fetch(number).await) })
            .buffered(LOG_FETCHES);
        while let Some((number, fetched)) = commits.next().await {
            if number != state.number + 1 {
                return Err(Error::MissingCommit {
                    number: state.number + 1,
                });
            }
            self.fold(state, number, &fetched?, seen)?;
        }
        Ok(())
    }

    /// Commits of an epoch before the newest count because a commit of the newest vouches for them:
    /// it must be there, and an earlier state is compared with what it says.
    async fn check_vouched(&self, state: &State, at: Option<u64>) -> Result<()> {
        let Some((_, first)) = self.ring.begun().filter(|(_, first)| state.number < *first) else {
            return Ok(());
        };
        if at.is_none() {
            return Err(self.rolled_back(first, "missing"));
        }
        let mut later = state.clone();
        while later.number < first {
            let number = later.number + 1;
            let stored = self.fetch(number).await?;
            self.fold(&mut later, number, &stored, None)?;
        }
        Ok(())
    }

    /// Folds commits after `state` until there is none. Fails when keys were retired under which
    /// this program may have sealed something that it has yet to commit.
    ///
    /// Requests: one list, and when there are any, one get for each commit and another list.
    pub(crate) async fn catch_up(&self, state: &mut State) -> Result<()> {
        if let Some(newer) = self.follow(state, state.number).await? {
            *state = newer;
        }
        if let Some(begins) = state.begins {
            if self.ring.since() < begins.epoch {
                return Err(self.retired(begins.commit));
            }
            self.ring.retire(begins.epoch);
        }
        Ok(())
    }

    /// Whether the commit that `state` ends with, which this program has just created, counts: it
    /// does not when its number was free because the log begins after it by now. Then it is removed.
    ///
    /// Requests: one list, and when others have committed since, as in [`Self::catch_up`].
    pub(crate) async fn confirm(&self, state: &State) -> Result<()> {
        let Err(error) = self.follow(state, state.number - 1).await else {
            return Ok(());
        };
        if matches!(error, Error::KeysRetired { .. }) {
            // It is in nobody's way, and those who may not delete leave it.
            let removed = self.store.delete(&commit::path(state.number)).await;
            tracing::info!(number = state.number, ?removed, "a commit came too late");
        }
        Err(error)
    }

    /// The state after `state`, if there is one, once a list says that nothing comes after that. All
    /// up to commit `sound` is known to count.
    async fn follow(&self, state: &State, sound: u64) -> Result<Option<State>> {
        let mut newer: Option<State> = None;
        loop {
            let known = newer.as_ref().unwrap_or(state);
            let names = self.list(Some(known.number)).await?;
            if names.commits.is_empty() {
                return Ok(newer);
            }
            let folded = newer.get_or_insert_with(|| state.clone());
            if let Err(error) = self.fold_listed(folded, names.commits, None).await {
                return Err(self.cut(sound, error).await);
            }
        }
    }

    /// What it means that the commits after number `sound` cannot be folded: the log was cut there,
    /// if a checkpoint says so, and else what `error` says.
    async fn cut(&self, sound: u64, error: Error) -> Error {
        if !error.may_be_cut() {
            return error;
        }
        let names = match self.list(None).await {
            Ok(names) => names,
            Err(error) => return error,
        };
        for number in names.checkpoints.into_iter().rev() {
            match self.checkpoint(number).await {
                Ok(found) if self.is_older(found.epoch) => {}
                Ok(found) if found.oldest() > sound + 1 => return self.retired(found.oldest()),
                Ok(_) => return error,
                Err(later) if later.may_be_rotated() => {
                    let location = self.store.location().to_owned();
                    return Error::KeysRotated { location, number };
                }
                Err(_) => {}
            }
        }
        error
    }

    fn retired(&self, number: u64) -> Error {
        let location = self.store.location().to_owned();
        Error::KeysRetired { location, number }
    }

    /// Commits what `build` returns for the newest state and folds it into `state`. `build` is
    /// called again, with the newer state, each time another writer was first. The commit counts
    /// once [`Self::confirm`] has said so.
    pub(crate) async fn commit(
        &self,
        state: &mut State,
        session: SessionId,
        action: &str,
        mut build: impl FnMut(&State) -> Result<Commit>,
    ) -> Result<()> {
        for _ in 0..COMMIT_ATTEMPTS {
            let mut commit = build(state)?;
            commit.number = state.number + 1;
            commit.previous = state.hash;
            commit.time_ms = now_ms();
            action.clone_into(&mut commit.action);
            let stored =
                Bytes::from(commit::seal(&self.ring, session, &commit).map_err(Error::encode)?);
            let path = commit::path(commit.number);
            match self.store.put_new(&path, stored.clone()).await {
                Ok(_) => {
                    let epoch = epoch_of(ObjectKind::Commit, &stored);
                    state.apply(commit, commit::hash(&stored))?;
                    state.epoch = epoch.unwrap_or(state.epoch);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Conflict => self.catch_up(state).await?,
                Err(error) => return Err(Error::Store(error)),
            }
        }
        Err(Error::LostRace {
            attempts: COMMIT_ATTEMPTS,
        })
    }

    /// Reads one commit for display.
    pub(crate) async fn read(&self, number: u64) -> Result<Commit> {
        let stored = self.fetch(number).await?;
        commit::open(&self.ring, number, &stored)
            .map_err(|source| Error::object(commit::path(number), source))
    }

    fn fold(
        &self,
        state: &mut State,
        number: u64,
        stored: &[u8],
        seen: Option<Seen>,
    ) -> Result<()> {
        let commit = commit::open(&self.ring, number, stored)
            .map_err(|source| self.unopened(number, stored, source))?;
        let epoch = epoch_of(ObjectKind::Commit, stored).unwrap_or_default();
        if epoch < state.epoch || !self.ring.allows(number, epoch) {
            return Err(Error::OldKey { number });
        }
        let hash = commit::hash(stored);
        if seen.is_some_and(|seen| seen.number == number && seen.hash != hash) {
            return Err(self.rolled_back(number, "another one now"));
        }
        state.apply(commit, hash)?;
        state.epoch = epoch;
        self.ring.begin(epoch);
        Ok(())
    }

    /// Why a commit could not be opened: damage, or a later key than any at hand. A repository in
    /// clear has one epoch only, so there another number is always damage.
    fn unopened(&self, number: u64, stored: &[u8], source: repo_format::Error) -> Error {
        let epoch = epoch_of(ObjectKind::Commit, stored);
        let later = epoch.is_some_and(|epoch| epoch > self.ring.newest())
            && self.ring.cipher() != Cipher::None
            && Header::committed_epoch(&self.ring, stored).is_none();
        if later && matches!(source, repo_format::Error::OtherKey { .. }) {
            let location = self.store.location().to_owned();
            return Error::KeysRotated { location, number };
        }
        Error::object(commit::path(number), source)
    }

    fn check_seen(&self, state: &State, seen: Option<Seen>, at: Option<u64>) -> Result<()> {
        let Some(seen) = seen.filter(|_| at.is_none()) else {
            return Ok(());
        };
        if state.number < seen.number {
            return Err(self.rolled_back(seen.number, "missing"));
        }
        if state.number == seen.number && state.hash != seen.hash {
            return Err(self.rolled_back(seen.number, "another one now"));
        }
        Ok(())
    }

    /// A commit seen before, that a newer checkpoint sums up, is not folded: it is read for itself.
    /// Whoever may delete what a checkpoint sums up may have deleted it.
    async fn check_summed_up(
        &self,
        state: &State,
        seen: Option<Seen>,
        at: Option<u64>,
    ) -> Result<()> {
        let Some(seen) = seen.filter(|seen| at.is_none() && seen.number < state.number) else {
            return Ok(());
        };
        // What lies below the beginning of the log counts for nothing.
        if seen.number < state.oldest() {
            return Ok(());
        }
        match self.fetch(seen.number).await {
            Ok(stored) if commit::hash(&stored) == seen.hash => Ok(()),
            Ok(_) => Err(self.rolled_back(seen.number, "another one now")),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn rolled_back(&self, seen: u64, state: &'static str) -> Error {
        Error::RolledBack {
            location: self.store.location().to_owned(),
            seen,
            state,
        }
    }

    async fn fetch(&self, number: u64) -> Result<Bytes> {
        self.store
            .get(&commit::path(number), limits::COMMIT_MAX)
            .await
            .map_err(Error::Store)
    }

    /// The state the newest readable checkpoint sums up; the empty one without any. Checkpoints
    /// only save time: an unreadable one falls back to what it sums up. So does one of an older
    /// epoch than the newest: whoever has kept that key could have made it.
    async fn newest_checkpoint(&self, names: &Names) -> State {
        for number in names.checkpoints.iter().rev() {
            match self.checkpoint(*number).await {
                Ok(found) if !self.is_older(found.epoch) => {
                    self.ring.begin(found.epoch);
                    return found;
                }
                Ok(_) => tracing::debug!(number, "ignoring a checkpoint of an older key"),
                Err(error) => tracing::warn!(number, %error, "ignoring an unreadable checkpoint"),
            }
        }
        State::default()
    }

    /// Whether the secrets say that a later epoch than this has begun.
    fn is_older(&self, epoch: u32) -> bool {
        self.ring.begun().is_some_and(|(begun, _)| epoch < begun)
    }

    /// Whether a checkpoint is there that readers take.
    pub(crate) async fn sums_up(&self, number: u64) -> bool {
        let found = self.checkpoint(number).await;
        found.is_ok_and(|found| !self.is_older(found.epoch))
    }

    /// The state that a checkpoint sums up.
    async fn checkpoint(&self, number: u64) -> Result<State> {
        let path = commit::checkpoint_path(number);
        let stored = self
            .store
            .get(&path, limits::COMMIT_MAX)
            .await
            .map_err(Error::Store)?;
        let epoch = epoch_of(ObjectKind::Checkpoint, &stored).unwrap_or_default();
        commit::open_checkpoint(&self.ring, number, &stored)
            .map(|found| State::from_checkpoint(found, epoch))
            .map_err(|source| Error::object(path, source))
    }

    /// Sums up the log where that is due.
    pub(crate) async fn maybe_checkpoint(&self, state: &State, session: SessionId) {
        if state.number.is_multiple_of(CHECKPOINT_EVERY) {
            self.write_checkpoint(state, session).await;
        }
    }

    /// Sums up the log, as far as that works.
    pub(crate) async fn write_checkpoint(&self, state: &State, session: SessionId) {
        // The commit stands whether or not its checkpoint could be written.
        if let Err(error) = self.put_checkpoint(state, session).await {
            tracing::warn!(number = state.number, %error, "could not write a checkpoint");
        }
    }

    /// Sums up the log.
    pub(crate) async fn put_checkpoint(&self, state: &State, session: SessionId) -> Result<()> {
        let checkpoint = state.to_checkpoint();
        let stored =
            commit::seal_checkpoint(&self.ring, session, &checkpoint).map_err(Error::encode)?;
        let path = commit::checkpoint_path(state.number);
        let put = self.store.put_new(&path, Bytes::from(stored)).await;
        put.map(drop).map_err(Error::Store)
    }

    async fn names(&self, at: Option<u64>, seen: Option<Seen>) -> Result<Names> {
        if let Some(seen) = seen.filter(|_| at.is_none()) {
            let from = seen.number / CHECKPOINT_EVERY * CHECKPOINT_EVERY;
            let mut names = self.list(from.checked_sub(1)).await?;
            names.partial = from > 0;
            if from == 0 || names.checkpoints.first() == Some(&from) {
                return Ok(names);
            }
        }
        self.list(None).await
    }

    /// Commits and checkpoints with numbers greater than `after`, in order.
    pub(crate) async fn list(&self, after: Option<u64>) -> Result<Names> {
        let after = after.map(commit::checkpoint_path);
        let mut keys = self.store.list("log/", after.as_deref()).await;
        let mut names = Names::default();
        while let Some(info) = keys.try_next().await.map_err(Error::Store)? {
            match commit::parse_path(&info.key) {
                Some(LogName::Commit(number)) => names.commits.push(number),
                Some(LogName::Checkpoint(number)) => names.checkpoints.push(number),
                None => {}
            }
        }
        Ok(names)
    }
}

/// The key epoch in the clear header of a stored entry; authentic once it has been opened.
fn epoch_of(kind: ObjectKind, stored: &[u8]) -> Option<u32> {
    let header = Header::parse(kind, stored).ok()?;
    Some(header.epoch)
}

/// Says that the log begins after commit `number`.
pub(crate) fn before(number: u64, state: &State) -> Error {
    let oldest = state.oldest();
    Error::BeforeLog { number, oldest }
}

/// Numbers of the objects of the log.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) commits: Vec<u64>,
    pub(crate) checkpoints: Vec<u64>,
    /// Earlier ones were not asked for.
    partial: bool,
}

impl Names {
    /// Drops what is after commit `at`.
    fn end_with(&mut self, at: u64) {
        self.commits.retain(|number| *number <= at);
        self.checkpoints.retain(|number| *number <= at);
    }
}
