//! The [`Store`]: the object operations everything above is written against.
//!
//! Each operation is one request where the store answers, and says in its doc what else it may
//! cost. Listing is in `list`, local durability in `local`, the create-only probe in `probe`.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutOptions, PutPayload,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::classify::{Context, Operation};
use crate::error::Error;
use crate::key;
use crate::limits::{ANSWER_TIMEOUT, LOCAL_WRITE, REQUESTS_MAX, UPLOAD_RATE_MIN};
use crate::local::LocalRoot;
use crate::lock::{Delete, Locking, Locks};
use crate::retry::{Patience, Retry};

/// What a store knows about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The object's key.
    pub key: String,
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored, by the store's own clock, in Unix milliseconds.
    pub modified_ms: i64,
}

/// How a create-only put ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// This call created the object.
    Created,
    /// An identical object was there: this call's own lost answer, or somebody else's twin.
    AlreadyThere,
}

/// A place that holds objects by key. Clones share the connection and its limits.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) location: Arc<str>,
    pub(crate) local: Option<Arc<LocalRoot>>,
    pub(crate) walked: bool,
    pub(crate) retry: Retry,
    pub(crate) patience: Patience,
    pub(crate) locks: Option<Arc<dyn Locks>>,
    pub(crate) locking: Option<Arc<Locking>>,
    permits: Arc<Semaphore>,
}

impl Store {
    /// Wraps any object store that lists its keys in order.
    ///
    /// Nothing is retried and no wait is bounded until [`Self::with_retry`] says so, and a
    /// store on a file system needs [`Self::with_walked_listing`].
    pub fn new(inner: Arc<dyn ObjectStore>, location: impl Into<String>) -> Self {
        Self {
            inner,
            location: Arc::from(location.into()),
            local: None,
            walked: false,
            retry: Retry {
                timeout: Duration::ZERO,
            },
            patience: Patience { bounded: false },
            locks: None,
            locking: None,
            permits: Arc::new(Semaphore::new(REQUESTS_MAX)),
        }
    }

    /// Asks an unavailable store again until `timeout` after the first attempt, and bounds every
    /// wait for an answer. Needs a tokio runtime with time enabled.
    #[must_use]
    pub fn with_retry(mut self, timeout: Duration) -> Self {
        self.retry = Retry { timeout };
        self.patience = Patience { bounded: true };
        self
    }

    /// Lists directory by directory and sorts each, for stores whose listing has no order.
    #[must_use]
    pub fn with_walked_listing(mut self) -> Self {
        self.walked = true;
        self
    }

    /// Where the store is, without user information or query.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The file that holds an object of a store opened by local path, whether or not it exists.
    #[must_use]
    pub fn local_path(&self, key: &str) -> Option<PathBuf> {
        let local = self.local.as_ref()?;
        let path = key::parse(key).ok()?;
        Some(local.file(path.as_ref()))
    }

    /// Reads a whole object of at most `max_len` bytes; a longer one is refused unread.
    pub async fn get(&self, key: &str, max_len: u64) -> Result<Bytes, Error> {
        let path = key::parse(key)?;
        self.retry
            .run(|| self.read_whole(&path, key, max_len))
            .await
    }

    /// Reads `range` of an object. Fewer bytes than that is an error, never an answer.
    ///
    /// The memory used is the length of the range: the caller bounds it. A range past the end
    /// costs a second request, to name the object's size.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let path = key::parse(key)?;
        if range.end < range.start {
            return Err(Error::Range {
                key: key.to_owned(),
                start: range.start,
                end: range.end,
            });
        }
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.retry
            .run(|| self.read_range(&path, key, range.clone()))
            .await
    }

    /// Creates an object, and never replaces one.
    ///
    /// When the store says that the key exists, the object is read and compared: identical bytes
    /// are a success, because a retry cannot tell its own lost answer from a twin's.
    /// On a local store the object and every directory above it are durable on return.
    pub async fn put_new(&self, key: &str, bytes: Bytes) -> Result<Put, Error> {
        let path = key::parse(key)?;
        self.retry
            .run(|| self.create_or_compare(&path, key, &bytes))
            .await
    }

    /// Asks for an object's size and time.
    pub async fn head(&self, key: &str) -> Result<ObjectInfo, Error> {
        let path = key::parse(key)?;
        let meta = self.retry.run(|| self.read_meta(&path, key)).await?;
        Ok(info(&meta, key.to_owned()))
    }

    /// Removes what crashed writers of a local store left below `prefix`, and says how many files.
    ///
    /// An object is written under a staged name that no listing shows; a crash leaves it there,
    /// at worst as a second link that keeps a deleted object's space. `before_ms` is by the
    /// store's clock, as in [`ObjectInfo`]: a writer whose staged file was taken fails, and loses
    /// nothing. Other stores have nothing to remove.
    pub async fn clean_staged(&self, prefix: &str, before_ms: i64) -> Result<u64, Error> {
        let root = key::parse_prefix(prefix)?.unwrap_or_default();
        let Some(local) = &self.local else {
            return Ok(0);
        };
        let before_ms = u64::try_from(before_ms).unwrap_or(0);
        let cleaned = local.clean_staged(root.as_ref(), before_ms).await;
        cleaned.map_err(|e| self.context(Operation::Delete, prefix).classify_io(e))
    }

    pub(crate) fn context<'a>(&'a self, operation: Operation, key: &'a str) -> Context<'a> {
        Context {
            operation,
            key,
            location: &self.location,
        }
    }

    pub(crate) async fn permit(&self) -> SemaphorePermit<'_> {
        let permit = self.permits.acquire().await;
        permit.expect("the semaphore is never closed")
    }

    async fn read_whole(&self, path: &Path, key: &str, max_len: u64) -> Result<Bytes, Error> {
        let (bytes, _) = self.read_version(path, key, max_len).await?;
        Ok(bytes)
    }

    /// The current version of an object, and its name where versions have one.
    async fn read_version(
        &self,
        path: &Path,
        key: &str,
        max_len: u64,
    ) -> Result<(Bytes, Option<String>), Error> {
        let _permit = self.permit().await;
        let mut result = self.request(path, key, GetOptions::new()).await?;
        let size = result.meta.size;
        let version = result.meta.version.take();
        if size > max_len {
            return Err(Error::TooLarge {
                key: key.to_owned(),
                location: Arc::clone(&self.location),
                size,
                max: max_len,
            });
        }
        Ok((self.collect(result, key, 0..size).await?, version))
    }

    async fn read_range(&self, path: &Path, key: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let permit = self.permit().await;
        let options = GetOptions::new().with_range(Some(GetRange::Bounded(range.clone())));
        match self.request(path, key, options).await {
            Ok(result) => self.collect(result, key, range).await,
            Err(error @ Error::NotFound { .. }) => Err(error),
            Err(error) => {
                drop(permit);
                // Each store refuses a range past the end in its own words; the size is plain.
                match self.read_meta(path, key).await {
                    Ok(meta) if meta.size < range.end => Err(Error::Short {
                        key: key.to_owned(),
                        location: Arc::clone(&self.location),
                        offset: range.start,
                        wanted: range.end - range.start,
                        got: meta.size.saturating_sub(range.start),
                    }),
                    _ => Err(error),
                }
            }
        }
    }

    pub(crate) async fn read_meta(&self, path: &Path, key: &str) -> Result<ObjectMeta, Error> {
        let _permit = self.permit().await;
        let result = self.request(path, key, GetOptions::new().with_head(true));
        Ok(result.await?.meta)
    }

    async fn request(
        &self,
        path: &Path,
        key: &str,
        options: GetOptions,
    ) -> Result<GetResult, Error> {
        let answer = self.inner.get_opts(path, options);
        let answer = self.patience.wait(ANSWER_TIMEOUT, answer).await;
        answer.map_err(|e| self.context(Operation::Read, key).classify(e))
    }

    /// The bytes of an answer, which must be those of `range`, no fewer and no more.
    async fn collect(
        &self,
        result: GetResult,
        key: &str,
        range: Range<u64>,
    ) -> Result<Bytes, Error> {
        let wanted = range.end - range.start;
        let short = |got: u64| Error::Short {
            key: key.to_owned(),
            location: Arc::clone(&self.location),
            offset: range.start,
            wanted,
            got,
        };
        let answered = result.range.end.saturating_sub(result.range.start);
        if result.range.start != range.start || answered != wanted {
            return Err(short(answered));
        }
        let failed = |e| self.context(Operation::Read, key).classify(e);
        let bytes = match result.payload {
            GetResultPayload::File(..) => result.bytes().await.map_err(failed)?,
            GetResultPayload::Stream(stream) => self.drain(stream, wanted).await.map_err(failed)?,
        };
        if bytes.len() as u64 != wanted {
            return Err(short(bytes.len() as u64));
        }
        Ok(bytes)
    }

    /// Collects a body, stopping once it is longer than it said.
    async fn drain(
        &self,
        mut stream: futures::stream::BoxStream<'static, object_store::Result<Bytes>>,
        wanted: u64,
    ) -> object_store::Result<Bytes> {
        let mut first = Bytes::new();
        let mut joined: Vec<u8> = Vec::new();
        let mut length = 0_u64;
        while length <= wanted {
            let next = async { stream.next().await.transpose() };
            let Some(part) = self.patience.wait(ANSWER_TIMEOUT, next).await? else {
                break;
            };
            length += part.len() as u64;
            if first.is_empty() && joined.is_empty() {
                first = part;
                continue;
            }
            if joined.is_empty() {
                joined.reserve_exact(usize::try_from(wanted).unwrap_or(0));
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(&part);
        }
        Ok(if joined.is_empty() {
            first
        } else {
            joined.into()
        })
    }

    async fn create_or_compare(&self, path: &Path, key: &str, bytes: &Bytes) -> Result<Put, Error> {
        let (put, version) = match self.create(path, key, bytes).await {
            Ok(version) => (Put::Created, version),
            Err(Error::Conflict { .. }) => {
                let version = self.compare(path, key, bytes).await?;
                (Put::AlreadyThere, version)
            }
            Err(error) => return Err(error),
        };
        self.lock_new(path, key, version.as_deref()).await?;
        if let Some(local) = &self.local {
            let settled = local.settle(path.as_ref(), put).await;
            settled.map_err(|e| self.context(Operation::Write, key).classify_io(e))?;
        }
        Ok(put)
    }

    /// One create-only request. Answers the version that was created, where there are versions.
    pub(crate) async fn create(
        &self,
        path: &Path,
        key: &str,
        bytes: &Bytes,
    ) -> Result<Option<String>, Error> {
        let _permit = self.permit().await;
        let payload = match &self.local {
            None => PutPayload::from_bytes(bytes.clone()),
            // Slices of the same memory: a local store writes each by itself.
            Some(_) => (0..bytes.len())
                .step_by(LOCAL_WRITE)
                .map(|at| bytes.slice(at..bytes.len().min(at + LOCAL_WRITE)))
                .collect(),
        };
        let put = self
            .inner
            .put_opts(path, payload, PutOptions::from(PutMode::Create));
        let done = self.patience.wait(upload_timeout(bytes), put).await;
        let done = done.map_err(|e| self.context(Operation::Write, key).classify(e))?;
        Ok(done.version)
    }

    /// Succeeds when the object holds exactly `bytes`, and answers which version does.
    async fn compare(
        &self,
        path: &Path,
        key: &str,
        bytes: &Bytes,
    ) -> Result<Option<String>, Error> {
        let context = self.context(Operation::Write, key);
        match self.read_version(path, key, bytes.len() as u64).await {
            Ok((found, version)) if found == *bytes => Ok(version),
            Ok(_) | Err(Error::TooLarge { .. }) => Err(context.conflict()),
            // A rival's create was still in flight (S3 answers 409), or the object went since.
            Err(Error::NotFound { .. }) => {
                Err(context.unavailable("the key is said to exist, but holds nothing".into()))
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn delete_once(&self, path: &Path, key: &str) -> Result<Delete, Error> {
        let context = self.context(Operation::Delete, key);
        let permit = self.permit().await;
        let deleting = self.inner.delete(path);
        let deleted = self.patience.wait(ANSWER_TIMEOUT, deleting).await;
        drop(permit);
        let outcome = match deleted.map_err(|e| context.classify(e)) {
            Ok(()) => Delete::Deleted,
            Err(Error::NotFound { .. }) => Delete::Missing,
            Err(error) => return Err(error),
        };
        if let Some(local) = &self.local {
            let synced = local.sync_parent(path.as_ref()).await;
            synced.map_err(|e| context.classify_io(e))?;
        }
        Ok(outcome)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.location).finish()
    }
}

pub(crate) fn info(meta: &ObjectMeta, key: String) -> ObjectInfo {
    ObjectInfo {
        key,
        size: meta.size,
        modified_ms: meta.last_modified.timestamp_millis(),
    }
}

fn upload_timeout(bytes: &Bytes) -> Duration {
    ANSWER_TIMEOUT + Duration::from_secs(bytes.len() as u64 / UPLOAD_RATE_MIN)
}
