//! The repository: config, keys, log, index and packs in one store.
//!
//! Knows nothing of files and directories; `archive` puts those on top.

mod access;
mod attributes;
mod check;
mod directory;
mod forget;
mod gc;
mod history;
mod index;
mod keys;
mod locks;
mod log;
mod object;
mod parity;
mod repair;
mod retire;
mod rotate;
mod seen;
mod segments;
mod session;
mod state;
mod stats;
mod storage;
mod usage;

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use repo_chunker::Chunker;
use repo_format::commit::{Commit, SnapshotRef};
use repo_format::config::{self, Config, Features, Operation, PublicKeys};
use repo_format::{
    Cipher, ErrorKind, IndexId, KeyId, KeyRing, RepositoryId, Secrets, SessionId, keyslot, limits,
    random_array,
};
use repo_store::{Put, Store};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

pub use access::{Access, CreateOptions, Cutting, KeyInfo, LockFor, OpenOptions};
pub use attributes::AttributeChange;
pub use check::{CheckOptions, CheckReport, Coverage, ReadData};
pub use forget::{ForgetOptions, Forgotten};
pub use gc::{Amount, GcOptions, GcReport, MaxUnused, Reseal};
pub use history::LogEntry;
pub use parity::{ParityOptions, ParityReport};
pub use repair::{RepairOptions, RepairReport};
pub use retire::Retired;
pub use rotate::{KeyEpoch, RotateOptions, Rotated};
pub use stats::RepositoryStats;

pub(crate) use check::{Examined, finding_or_fail};
pub(crate) use gc::{Live, Mark, collect};
pub(crate) use index::{IndexBuilder, IndexObject, IndexSet, SegmentAddress};
pub(crate) use locks::LockLedger;
pub(crate) use repair::Recovered;
pub(crate) use segments::{Blob, DecodedSegment, ReadBuffers, SegmentReader};
pub(crate) use session::{Encoder, SegmentWriter, Session, Written};
pub(crate) use state::{Gone, State};
pub(crate) use storage::Storage;
pub(crate) use usage::{Marks, Sums, sums};

use crate::clock::now_ms;
use crate::error::{Error, Result};
use log::Log;
use seen::Seen;

/// An open repository. Cheap to clone; clones share caches and state.
///
/// ```
/// # use repo_core::{Access, CreateOptions, Repository, Store};
/// # #[tokio::main(flavor = "multi_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::open("memory://", &[])?;
/// let access = Access::password("correct horse");
/// let repo = Repository::create(store, &access, &CreateOptions::default()).await?;
/// assert!(repo.snapshots().is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Repository {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) storage: Storage,
    pub(crate) config: Config,
    config_hash: [u8; 32],
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) chunker: Arc<Chunker>,
    pub(crate) segments: SegmentReader,
    log: Log,
    state: RwLock<Arc<State>>,
    index: Mutex<Option<(u64, Arc<IndexSet>)>>,
    pool: OnceLock<rayon::ThreadPool>,
    unlocked: Mutex<Unlocked>,
    at: Option<u64>,
    create_only: bool,
}

/// What opened the repository.
#[derive(Clone, Default)]
struct Unlocked {
    /// The key slot.
    key: Option<KeyId>,
    /// Its password, to open it again after the keys were rotated.
    password: Option<Zeroizing<Vec<u8>>>,
}

impl Unlocked {
    fn new(key: KeyId, password: &[u8]) -> Self {
        Self {
            key: Some(key),
            password: Some(Zeroizing::new(password.to_vec())),
        }
    }
}

impl Repository {
    /// Creates a repository in an empty place of `store`.
    ///
    /// Requests: a probe of create-only puts (four), the key slot, the config, and one list; with a
    /// password one more list, and a get and a delete for each slot that a stopped creation left.
    /// The config is what makes the repository: until it exists there is none.
    pub async fn create(store: Store, access: &Access, options: &CreateOptions) -> Result<Self> {
        let exists = || Error::AlreadyExists {
            location: store.location().to_owned(),
        };
        match store.get(config::PATH, limits::CONFIG_MAX).await {
            Ok(_) => return Err(exists()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::Store(error)),
        }
        if options.lock.is_some() && !store.can_lock().await.map_err(Error::Store)? {
            let location = store.location().to_owned();
            return Err(Error::CannotLock { location });
        }
        let create_only = store.probe_create_only().await.map_err(Error::Store)?;
        let secrets = options.secrets()?;
        let config = new_config(access, options, &secrets)?;
        let bytes = config.encode();
        // What would be refused when read must not be written.
        Config::decode(&bytes).map_err(|source| Error::object(config::PATH, source))?;
        let config_hash = Config::hash(&bytes);
        let store = locks::locking(store.clone(), &config);
        let mut unlocked = Unlocked::default();
        if let Access::Password(password) = access {
            let (id, slot) = wrap(&secrets, password, config_hash, &options.label).await?;
            store
                .put_new(&keyslot::path(&id), slot)
                .await
                .map_err(Error::Store)?;
            unlocked = Unlocked::new(id, password);
        }
        match store.put_new(config::PATH, Bytes::from(bytes)).await {
            Ok(Put::Created | Put::AlreadyThere) => {}
            Err(error) if error.kind() == ErrorKind::Conflict => {
                // Another creation was first: the slot belongs to no repository.
                if let Some(id) = &unlocked.key {
                    drop(keys::delete(&store, id).await);
                }
                return Err(exists());
            }
            Err(error) => return Err(Error::Store(error)),
        }
        if unlocked.key.is_some() {
            keys::clear_leftovers(&store, config_hash).await;
        }
        let open = OpenOptions::default();
        Self::assemble(
            store,
            config,
            config_hash,
            secrets,
            (unlocked, create_only),
            &open,
        )
        .await
    }

    /// Opens the repository in `store`.
    ///
    /// Requests: config, one list and one get per key slot, and the log since its newest
    /// checkpoint. After a rotation of the keys that was stopped, the log is read once more for each
    /// slot the password opens.
    pub async fn open(store: Store, access: &Access, options: &OpenOptions) -> Result<Self> {
        let location = store.location().to_owned();
        let (config, config_hash) = access::read_config(&store).await?;
        let store = locks::locking(store, &config);
        let secrets = match (&config.public, access) {
            (Some(public), Access::Plain) => {
                let secrets = public.secrets();
                secrets.map_err(|source| Error::object(config::PATH, source))?
            }
            (Some(_), Access::Password(_)) => return Err(Error::NotEncrypted { location }),
            (None, Access::Plain) => return Err(Error::PasswordNeeded { location }),
            (None, Access::Password(password)) => {
                let known = (config, config_hash);
                return rotate::open(store, known, password, options).await;
            }
        };
        let unlocked = Unlocked::default();
        Self::assemble(
            store,
            config,
            config_hash,
            secrets,
            (unlocked, true),
            options,
        )
        .await
    }

    async fn assemble(
        store: Store,
        config: Config,
        config_hash: [u8; 32],
        secrets: Secrets,
        (unlocked, create_only): (Unlocked, bool),
        options: &OpenOptions,
    ) -> Result<Self> {
        let cipher = config
            .cipher()
            .map_err(|source| Error::object(config::PATH, source))?;
        let ring = KeyRing::new(config.repository, cipher, secrets)
            .map_err(|source| Error::object(config::PATH, source))?;
        let ring = Arc::new(ring);
        let chunker =
            Chunker::new(access::chunker_params(&config), ring.gear_seed()).map_err(|error| {
                Error::Invalid {
                    what: error.to_string(),
                }
            })?;
        let cache = options
            .cache_dir
            .as_ref()
            .map(|dir| dir.join(&config.repository.to_hex()[..32]));
        let storage = Storage::new(store.clone(), Handle::current(), cache);
        let log = Log::new(store, Arc::clone(&ring));
        let seen = storage.cache().and_then(Seen::load);
        let state = log.load(options.at, seen).await?;
        ring.settle();
        let repository = Self {
            inner: Arc::new(Inner {
                segments: SegmentReader::new(storage.clone(), Arc::clone(&ring)),
                storage,
                config,
                config_hash,
                ring,
                chunker: Arc::new(chunker),
                log,
                state: RwLock::new(Arc::new(state)),
                index: Mutex::new(None),
                pool: OnceLock::new(),
                unlocked: Mutex::new(unlocked),
                at: options.at,
                create_only,
            }),
        };
        repository.remember();
        Ok(repository)
    }

    /// Identity of the repository.
    #[must_use]
    pub fn id(&self) -> RepositoryId {
        self.inner.config.repository
    }

    /// Whether objects are encrypted.
    #[must_use]
    pub fn encrypted(&self) -> bool {
        self.inner.ring.cipher() != Cipher::None
    }

    /// How objects are sealed.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        self.inner.ring.cipher()
    }

    /// How it cuts files, for a repository that is to cut them alike.
    #[must_use]
    pub fn cutting(&self) -> Cutting {
        Cutting::of(&self.inner.config, &self.inner.ring)
    }

    /// Where it lies; without secrets.
    #[must_use]
    pub fn location(&self) -> &str {
        self.inner.storage.store().location()
    }

    /// Whether the store refused, when the repository was created, to overwrite an object. True
    /// for a repository that was opened, because the probe runs at creation only.
    #[must_use]
    pub fn create_only(&self) -> bool {
        self.inner.create_only
    }

    /// Number of the newest commit known.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.state().number
    }

    /// Reads commits that other writers have added since.
    pub async fn refresh(&self) -> Result<()> {
        if self.inner.at.is_some() {
            return Ok(());
        }
        let mut state = (*self.state()).clone();
        let caught_up = self.inner.log.catch_up(&mut state).await;
        if let Err(error) = caught_up {
            self.relearn(error).await?;
            self.inner.log.catch_up(&mut state).await?;
        }
        self.set_state(state);
        Ok(())
    }

    /// The snapshots, in the order they were committed.
    #[must_use]
    pub fn snapshots(&self) -> Vec<SnapshotRef> {
        self.state().snapshots.clone()
    }

    /// Commits what `build` makes of the newest state. See [`Log::commit`].
    pub(crate) async fn commit(
        &self,
        session: Option<SessionId>,
        action: &str,
        mut build: impl FnMut(&State) -> Result<Commit>,
    ) -> Result<()> {
        self.writable()?;
        let session = match session {
            Some(session) => session,
            None => new_session()?,
        };
        let mut state = (*self.state()).clone();
        let log = &self.inner.log;
        let mut done = log.commit(&mut state, session, action, &mut build).await;
        if let Err(error) = done {
            done = match self.relearn(error).await {
                Ok(()) => log.commit(&mut state, session, action, &mut build).await,
                Err(error) => Err(error),
            };
        }
        // A state that ends with a commit of this program is none before that one counts.
        if done.is_ok() {
            self.confirm(&state).await?;
            log.maybe_checkpoint(&state, session).await;
        }
        self.set_state(state);
        done
    }

    async fn confirm(&self, state: &State) -> Result<()> {
        let log = &self.inner.log;
        match log.confirm(state).await {
            Err(error) => {
                self.relearn(error).await?;
                log.confirm(state).await
            }
            confirmed => confirmed,
        }
    }

    /// One commit of the log.
    pub(crate) async fn commit_at(&self, number: u64) -> Result<Commit> {
        let state = self.state();
        if number < state.oldest() {
            return Err(log::before(number, &state));
        }
        self.inner.log.read(number).await
    }

    /// The state the log had at commit `number`; 0 is before the first.
    pub(crate) async fn state_at(&self, number: u64) -> Result<State> {
        if number == 0 && self.state().begins.is_none() {
            return Ok(State::default());
        }
        self.inner.log.load(Some(number), None).await
    }

    pub(crate) fn writable(&self) -> Result<()> {
        self.allowed(Operation::Write)
    }

    /// Whether this program may do `operation` here.
    pub(crate) fn allowed(&self, operation: Operation) -> Result<()> {
        if let Some(at) = self.inner.at {
            return Err(Error::ReadOnly { at });
        }
        self.lockable()?;
        self.inner
            .config
            .allows(operation)
            .map_err(|source| Error::Unsupported {
                location: self.location().to_owned(),
                source,
            })
    }

    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(
            &self
                .inner
                .state
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Takes over a newer state. One that another clone has overtaken meanwhile is dropped.
    fn set_state(&self, state: State) {
        let mut known = self
            .inner
            .state
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if state.number >= known.number {
            *known = Arc::new(state);
        }
        drop(known);
        self.remember();
    }

    fn remember(&self) {
        let state = self.state();
        if let (Some(cache), None) = (self.inner.storage.cache(), self.inner.at)
            && state.number > 0
        {
            let seen = Seen {
                number: state.number,
                hash: state.hash,
            };
            seen.store(cache);
        }
    }

    /// The index of the newest state known. Blocks; call it from a worker thread.
    pub(crate) fn index(&self) -> Result<Arc<IndexSet>> {
        Ok(self.state_and_index()?.1)
    }

    /// The newest state known and its index. Blocks; call it from a worker thread.
    pub(crate) fn state_and_index(&self) -> Result<(Arc<State>, Arc<IndexSet>)> {
        let state = self.state();
        let mut slot = self
            .inner
            .index
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((number, index)) = &*slot
            && *number == state.number
        {
            return Ok((state, Arc::clone(index)));
        }
        let index = Arc::new(IndexSet::open(
            &self.inner.storage,
            &self.inner.ring,
            &state.indexes,
            state.gone(),
            slot.as_ref().map(|(_, index)| &**index),
        )?);
        if self.inner.at.is_none() {
            let live = |id: &IndexId| state.indexes.iter().any(|live| live.id == *id);
            self.inner.storage.prune_cache(live);
        }
        *slot = Some((state.number, Arc::clone(&index)));
        Ok((state, index))
    }

    /// Reads the log once more; the index of the newest state when a collector has committed since.
    /// Blocks; call it from a worker thread.
    pub(crate) fn renewed(&self) -> Result<Option<Arc<IndexSet>>> {
        let before = self.state().number;
        let mut lost_at = None;
        loop {
            self.inner.storage.wait(self.refresh())?;
            let number = self.state().number;
            match self.state_and_index() {
                // Another clone of this handle may have read the log since the caller took its index.
                Ok((state, index)) => {
                    let newer = state.number > before || state.collected_after(0);
                    return Ok(newer.then_some(index));
                }
                // Collected after the log was read, if the log has gone on since.
                Err(error) if error.is_lost() && lost_at != Some(number) => lost_at = Some(number),
                Err(error) => return Err(error),
            }
        }
    }

    /// Threads for chunking, hashing and compression: one per core.
    pub(crate) fn pool(&self) -> Result<&rayon::ThreadPool> {
        if let Some(pool) = self.inner.pool.get() {
            return Ok(pool);
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .thread_name(|number| format!("repo-{number}"))
            .build()
            .map_err(|_| Error::Internal { what: "threads" })?;
        Ok(self.inner.pool.get_or_init(|| pool))
    }

    /// Runs blocking work of this repository off the async threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let repository = self.clone();
        tokio::task::spawn_blocking(move || work(&repository))
            .await
            .map_err(|_| Error::Internal { what: "worker" })?
    }
}

pub(crate) fn new_session() -> Result<SessionId> {
    random_array().map(SessionId).map_err(Error::encode)
}

async fn wrap(
    secrets: &Secrets,
    password: &[u8],
    config_hash: [u8; 32],
    label: &str,
) -> Result<(KeyId, Bytes)> {
    let (secrets, password, label) = (secrets.clone(), password.to_vec(), label.to_owned());
    let wrapped = tokio::task::spawn_blocking(move || {
        keyslot::wrap(&secrets, &password, config_hash, now_ms(), &label)
    });
    let (id, slot) = wrapped
        .await
        .map_err(|_| Error::Internal {
            what: "key derivation",
        })?
        .map_err(Error::encode)?;
    Ok((id, Bytes::from(slot)))
}

fn new_config(access: &Access, options: &CreateOptions, secrets: &Secrets) -> Result<Config> {
    let params = options.chunker_params();
    let (cipher, public) = match access {
        Access::Password(_) => (options.cipher.unwrap_or(Cipher::Aes256Gcm), None),
        Access::Plain => (Cipher::None, Some(PublicKeys::new(secrets))),
    };
    Ok(Config {
        version: config::VERSION,
        repository: RepositoryId(random_array().map_err(Error::encode)?),
        cipher: cipher.code(),
        created_ms: now_ms(),
        generic: access::stored_sizes(params.generic),
        columnar: access::stored_sizes(params.columnar),
        page_chunk: params.page_chunk,
        segment_size: options.segment_size(),
        pack_size: options.pack_size(),
        features: Features::default(),
        public,
        lock: options.lock.map(locks::stored),
    })
}
