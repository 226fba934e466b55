//! Objects of any place, by [`Location`]: heads, ranges, listings, writes.
//!
//! Calls block, and are for threads that may; requests run on the runtime the lake was made in. The
//! objects belong to others, so nothing is assumed of them but that a version of a table is immutable.

use std::collections::HashMap;
use std::io::{self, Read};
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
};
use repo_core::Timestamp;
use tokio::runtime::Handle;

use crate::error::{BoxError, Error, Result};
use crate::limits::{
    ANSWER_TIMEOUT, ATTEMPTS_MAX, READ_SIZE, REQUESTS_MAX, RETRY_DELAY, UPLOAD_PART,
};
use crate::location::Location;

/// What a store knows about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Where it is.
    pub location: Location,
    /// Its length in bytes.
    pub size: u64,
    /// The store's tag of its content, where there is one.
    pub etag: Option<String>,
    /// When it was written.
    pub modified: Timestamp,
}

/// A connection to one store.
#[derive(Clone)]
struct Client {
    store: Arc<dyn ObjectStore>,
    /// Made here, and not given by the caller.
    own: bool,
}

/// Access to objects of all stores. Clones share the connections.
#[derive(Clone)]
pub struct Lake {
    clients: Arc<Mutex<HashMap<String, Client>>>,
    options: Arc<Vec<(String, String)>>,
    runtime: Handle,
}

impl Lake {
    /// Access with the options of `repo_store`'s clients. Makes no request; clients are made when a
    /// place of their store is first asked for.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(options: Vec<(String, String)>) -> Self {
        Self {
            clients: Arc::default(),
            options: Arc::new(options),
            runtime: Handle::current(),
        }
    }

    /// Uses `client` for everything in the store that `place` is in.
    pub fn set_client(&self, place: &Location, client: Arc<dyn ObjectStore>) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let given = Client {
            store: client,
            own: false,
        };
        clients.insert(place.store(), given);
    }

    fn client(&self, place: &Location) -> Result<Arc<dyn ObjectStore>> {
        let store = place.store();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&store) {
            return Ok(Arc::clone(&client.store));
        }
        let client = repo_store::open_client(&store, &self.options);
        let client = client.map_err(|error| failed("open", place, error))?;
        let own = Client {
            store: Arc::clone(&client),
            own: true,
        };
        clients.insert(store, own);
        Ok(client)
    }

    fn wait<T, F>(&self, operation: &'static str, place: &Location, request: F) -> Result<T>
    where
        F: AsyncFn() -> object_store::Result<T>,
    {
        self.runtime.block_on(self.ask(operation, place, request))
    }

    /// Makes a request, and makes it again when the store does not answer.
    async fn ask<T, F>(&self, operation: &'static str, place: &Location, request: F) -> Result<T>
    where
        F: AsyncFn() -> object_store::Result<T>,
    {
        let mut attempt = 1;
        loop {
            let source: BoxError = match tokio::time::timeout(ANSWER_TIMEOUT, request()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(object_store::Error::NotFound { .. })) => {
                    return Err(Error::NotFound {
                        url: place.to_string(),
                    });
                }
                Ok(Err(error @ object_store::Error::Generic { .. })) => error.into(),
                Ok(Err(error)) => return Err(failed(operation, place, error)),
                Err(_) => format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()).into(),
            };
            if attempt == ATTEMPTS_MAX {
                return Err(failed(operation, place, source));
            }
            tracing::debug!(%place, attempt, %source, "asking again");
            tokio::time::sleep(RETRY_DELAY * (1 << attempt)).await;
            attempt += 1;
        }
    }

    /// Size, tag and time of an object. One request.
    pub fn head(&self, place: &Location) -> Result<ObjectInfo> {
        let (client, path) = (self.client(place)?, path(place)?);
        let meta = self.wait("read", place, async || client.head(&path).await)?;
        Ok(info(place.clone(), &meta))
    }

    /// Asks for many objects at once; the answers are in the order of the places.
    pub fn heads(&self, places: &[Location]) -> Vec<Result<ObjectInfo>> {
        self.each(places, async |lake, place| {
            let (client, path) = (lake.client(place)?, path(place)?);
            let meta = lake.ask("read", place, async || client.head(&path).await);
            Ok(info(place.clone(), &meta.await?))
        })
    }

    /// Reads many small objects at once, whole, of at most `max` bytes each.
    pub fn read_many(&self, places: &[Location], max: u64) -> Vec<Result<Bytes>> {
        self.each(places, async |lake, place| lake.whole(place, max).await)
    }

    fn each<T>(
        &self,
        places: &[Location],
        ask: impl AsyncFn(&Self, &Location) -> Result<T>,
    ) -> Vec<Result<T>> {
        let ask = &ask;
        let requests = futures::stream::iter(places.iter().map(|place| ask(self, place)));
        let answers = requests.buffered(REQUESTS_MAX).collect();
        self.runtime.block_on(answers)
    }

    /// A whole object of at most `max` bytes. One request.
    pub fn read(&self, place: &Location, max: u64) -> Result<Bytes> {
        self.runtime.block_on(self.whole(place, max))
    }

    async fn whole(&self, place: &Location, max: u64) -> Result<Bytes> {
        let (client, path) = (self.client(place)?, path(place)?);
        let answer = self.ask("read", place, async || {
            let answer = client.get(&path).await?;
            match answer.meta.size {
                size if size > max => Ok(Err(size)),
                _ => answer.bytes().await.map(Ok),
            }
        });
        answer.await?.map_err(|size| Error::Size {
            url: place.to_string(),
            what: format!("has {size} bytes, more than the {max} allowed"),
        })
    }

    /// The bytes `range` of an object, clipped to its end. One request; none when it is empty.
    pub fn read_range(&self, place: &Location, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let (client, path) = (self.client(place)?, path(place)?);
        self.wait("read", place, async || {
            let range = Some(GetRange::Bounded(range.clone()));
            let options = GetOptions::new().with_range(range);
            client.get_opts(&path, options).await?.bytes().await
        })
    }

    /// Reads an object of `size` bytes from its start, a part a request.
    #[must_use]
    pub fn reader(&self, place: &Location, size: u64) -> LakeReader {
        LakeReader {
            lake: self.clone(),
            place: place.clone(),
            at: 0,
            size,
            part: Bytes::new(),
        }
    }

    /// Whether an object is a file of this machine that need not be asked for.
    pub(crate) fn file(&self, place: &Location) -> Option<std::path::PathBuf> {
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        match clients.get(&place.store()) {
            Some(client) if !client.own => None,
            _ => place.local(),
        }
    }

    /// Visits the objects below `prefix` until `visit` has enough, on object stores in order of their
    /// keys and a thousand a request. With `after`, only those whose key below `prefix` is greater.
    pub fn list(
        &self,
        prefix: &Location,
        after: Option<&str>,
        mut visit: impl FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> Result<()> {
        let (client, below) = (self.client(prefix)?, path(prefix)?);
        let mut objects = match after {
            None => client.list(Some(&below)),
            Some(after) => {
                let after = path(&prefix.join(after)?)?;
                client.list_with_offset(Some(&below), &after)
            }
        };
        loop {
            // The timer must be made inside of the runtime.
            let mut next = async || tokio::time::timeout(ANSWER_TIMEOUT, objects.next()).await;
            let meta = match self.runtime.block_on(next()) {
                Err(silent) => return Err(failed("list", prefix, silent)),
                Ok(None) => return Ok(()),
                Ok(Some(Err(object_store::Error::NotFound { .. }))) => return Ok(()),
                Ok(Some(Err(error))) => return Err(failed("list", prefix, error)),
                Ok(Some(Ok(meta))) => meta,
            };
            // What cannot be named, no table refers to.
            let Some(place) = place(prefix, &meta.location) else {
                continue;
            };
            if visit(info(place, &meta)).is_break() {
                return Ok(());
            }
        }
    }

    /// The directories and objects directly below `prefix`. One request for a thousand of them.
    pub fn children(&self, prefix: &Location) -> Result<(Vec<Location>, Vec<ObjectInfo>)> {
        let (client, below) = (self.client(prefix)?, path(prefix)?);
        let listed = self.wait("list", prefix, async || {
            client.list_with_delimiter(Some(&below)).await
        });
        let listed = match listed {
            Err(Error::NotFound { .. }) => return Ok((Vec::new(), Vec::new())),
            listed => listed?,
        };
        let directories = listed.common_prefixes.iter();
        let objects = listed.objects.iter();
        Ok((
            directories.filter_map(|path| place(prefix, path)).collect(),
            objects
                .filter_map(|meta| Some(info(place(prefix, &meta.location)?, meta)))
                .collect(),
        ))
    }

    /// Writes an object, in place of one that is there. On the local disk it is durable and whole
    /// from the moment it has its name, and has the time `modified`.
    pub fn write(
        &self,
        place: &Location,
        source: &mut dyn Read,
        modified: Option<Timestamp>,
    ) -> Result<u64> {
        let (client, path) = (self.client(place)?, path(place)?);
        let mut part = next_part(place, source)?;
        let mut size = part.len() as u64;
        if part.len() < UPLOAD_PART {
            self.wait("write", place, async || {
                let payload = PutPayload::from_bytes(part.clone());
                client.put(&path, payload).await
            })?;
        } else {
            let upload = self.wait("write", place, async || client.put_multipart(&path).await);
            let mut upload = upload?;
            while !part.is_empty() {
                let sent = self.runtime.block_on(upload.put_part(part.into()));
                let read = sent
                    .map_err(|error| failed("write", place, error))
                    .and_then(|()| next_part(place, source));
                part = match read {
                    Ok(part) => part,
                    Err(error) => {
                        // The parts sent are garbage; the store clears them up when this fails, too.
                        drop(self.runtime.block_on(upload.abort()));
                        return Err(error);
                    }
                };
                size += part.len() as u64;
            }
            let done = self.runtime.block_on(upload.complete());
            done.map_err(|error| failed("write", place, error))?;
        }
        if let (Some(local), Some(modified)) = (place.local(), modified) {
            set_modified(&local, modified).map_err(|error| failed("write", place, error))?;
        }
        Ok(size)
    }

    /// Writes an object of `size` bytes where none is. Says whether it did: somebody else may have been
    /// first. An object of many parts cannot be refused by its store, so it is looked for just before.
    pub fn create(&self, place: &Location, source: &mut dyn Read, size: u64) -> Result<bool> {
        if size >= UPLOAD_PART as u64 {
            return match self.head(place) {
                Err(Error::NotFound { .. }) => self.write(place, source, None).map(|_| true),
                there => there.map(|_| false),
            };
        }
        let (client, path) = (self.client(place)?, path(place)?);
        let part = next_part(place, source)?;
        self.wait("write", place, async || {
            let payload = PutPayload::from_bytes(part.clone());
            let options = PutOptions::from(PutMode::Create);
            match client.put_opts(&path, payload, options).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Deletes an object; that it is not there is as good.
    pub fn delete(&self, place: &Location) -> Result<()> {
        let (client, path) = (self.client(place)?, path(place)?);
        match self.wait("delete", place, async || client.delete(&path).await) {
            Err(Error::NotFound { .. }) => Ok(()),
            deleted => deleted,
        }
    }
}

impl std::fmt::Debug for Lake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lake")
    }
}

/// An object, read from start to end.
#[derive(Debug)]
pub struct LakeReader {
    lake: Lake,
    place: Location,
    at: u64,
    size: u64,
    part: Bytes,
}

impl LakeReader {
    /// The next bytes, at least one unless the object is at its end.
    pub fn next_part(&mut self) -> Result<Bytes> {
        if !self.part.is_empty() {
            return Ok(std::mem::take(&mut self.part));
        }
        let end = self.size.min(self.at.saturating_add(READ_SIZE));
        let part = self.lake.read_range(&self.place, self.at..end)?;
        if part.is_empty() && self.at < self.size {
            return Err(Error::Size {
                url: self.place.to_string(),
                what: format!("ends after {} of {} bytes", self.at, self.size),
            });
        }
        self.at += part.len() as u64;
        Ok(part)
    }
}

impl Read for LakeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.part.is_empty() {
            self.part = self.next_part().map_err(io::Error::other)?;
        }
        let length = buffer.len().min(self.part.len());
        buffer[..length].copy_from_slice(&self.part.split_to(length));
        Ok(length)
    }
}

fn next_part(place: &Location, source: &mut dyn Read) -> Result<Bytes> {
    let mut part = Vec::new();
    let read = source.take(UPLOAD_PART as u64).read_to_end(&mut part);
    read.map_err(|error| failed("write", place, error))?;
    Ok(part.into())
}

fn set_modified(path: &std::path::Path, modified: Timestamp) -> io::Result<()> {
    let seconds = Duration::from_secs(modified.seconds.unsigned_abs());
    let whole = match modified.seconds {
        0.. => SystemTime::UNIX_EPOCH.checked_add(seconds),
        _ => SystemTime::UNIX_EPOCH.checked_sub(seconds),
    };
    let nanos = Duration::from_nanos(modified.nanos.into());
    let Some(time) = whole.and_then(|time| time.checked_add(nanos)) else {
        return Ok(());
    };
    std::fs::File::options()
        .write(true)
        .open(path)?
        .set_modified(time)
}

fn path(place: &Location) -> Result<Path> {
    Path::parse(place.path()).map_err(|_| Error::Location {
        location: place.to_string(),
        reason: "no store has such a name",
    })
}

/// The place of what a listing of `prefix` names.
fn place(prefix: &Location, path: &Path) -> Option<Location> {
    let below = prefix.path();
    let path = path.as_ref();
    let relative = match below {
        "" => path,
        _ => path.strip_prefix(below)?.strip_prefix('/')?,
    };
    prefix.join(relative).ok()
}

fn info(location: Location, meta: &ObjectMeta) -> ObjectInfo {
    ObjectInfo {
        location,
        size: meta.size,
        etag: meta.e_tag.clone(),
        modified: Timestamp {
            seconds: meta.last_modified.timestamp(),
            nanos: meta.last_modified.timestamp_subsec_nanos().min(999_999_999),
        },
    }
}

fn failed(operation: &'static str, place: &Location, source: impl Into<BoxError>) -> Error {
    Error::Object {
        operation,
        url: place.to_string(),
        source: source.into(),
    }
}
