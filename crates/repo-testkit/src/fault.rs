//! A store that records every request and fails the ones it is told to.
//!
//! Three faults, which combine: from request `left` on nothing is done (a crash, or a dead
//! network); one request is done but its answer is lost; one put stores half and fails. And one
//! request may wait until something else has happened.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};

use crate::recording::{Recording, Verb};

/// Passes requests on until told otherwise. Clones share counts and faults.
#[derive(Debug, Clone)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Plan>,
    recording: Recording,
}

/// What happens before a request is done.
type Meanwhile = Box<dyn FnOnce() + Send>;

/// Request numbers, `u64::MAX` for never.
struct Plan {
    asked: AtomicU64,
    puts: AtomicU64,
    left: AtomicU64,
    lost: AtomicU64,
    torn: AtomicU64,
    waits: Mutex<Option<(u64, Meanwhile)>>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("asked", &self.asked)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

/// What becomes of an admitted request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Lost,
    Torn,
}

impl FaultStore {
    /// Answers the first `left` requests and fails the rest, undone; `u64::MAX` fails none.
    pub fn new(inner: Arc<dyn ObjectStore>, left: u64) -> Self {
        Self {
            inner,
            plan: Arc::new(Plan {
                asked: AtomicU64::new(0),
                puts: AtomicU64::new(0),
                left: AtomicU64::new(left),
                lost: AtomicU64::new(u64::MAX),
                torn: AtomicU64::new(u64::MAX),
                waits: Mutex::new(None),
            }),
            recording: Recording::default(),
        }
    }

    /// Answers everything, over a store in memory: for request budgets.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Arc::new(InMemory::new()), u64::MAX)
    }

    /// Does request number `k` (from 0, of any kind), but answers it with an error.
    #[must_use]
    pub fn losing_answer(self, k: u64) -> Self {
        self.plan.lost.store(k, Ordering::SeqCst);
        self
    }

    /// Stores only the first half of put number `k` (from 0, puts only) and fails it.
    #[must_use]
    pub fn tearing_put(self, k: u64) -> Self {
        self.plan.torn.store(k, Ordering::SeqCst);
        self
    }

    /// Has the request after the next `skip` ones wait for `meanwhile`, which must not use this store.
    pub fn wait(&self, skip: u64, meanwhile: impl FnOnce() + Send + 'static) {
        let number = self.plan.asked.load(Ordering::SeqCst) + skip;
        let mut waits = self
            .plan
            .waits
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *waits = Some((number, Box::new(meanwhile)));
    }

    /// Whether nothing waits for a request that is still to come.
    #[must_use]
    pub fn has_waited(&self) -> bool {
        let waits = self
            .plan
            .waits
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        waits.is_none()
    }

    /// Does nothing more from now on, as if the network went away.
    pub fn stop(&self) {
        self.plan.left.store(0, Ordering::SeqCst);
    }

    /// Ends all faults, as if the network came back.
    pub fn heal(&self) {
        for fault in [&self.plan.left, &self.plan.lost, &self.plan.torn] {
            fault.store(u64::MAX, Ordering::SeqCst);
        }
    }

    /// The requests seen, answered or not.
    #[must_use]
    pub fn recording(&self) -> Recording {
        self.recording.clone()
    }

    /// Number of requests of one kind seen, answered or not.
    #[must_use]
    pub fn count(&self, verb: Verb) -> usize {
        self.recording.count(verb)
    }

    fn admit(&self, verb: Verb, path: &str) -> Result<Fate> {
        self.recording.add(verb, path);
        let plan = &self.plan;
        let number = plan.asked.fetch_add(1, Ordering::SeqCst);
        let put = match verb {
            Verb::Put => plan.puts.fetch_add(1, Ordering::SeqCst),
            _ => u64::MAX,
        };
        let mut waits = plan.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let due = waits.take_if(|(at, _)| *at <= number);
        drop(waits);
        if let Some((_, meanwhile)) = due {
            meanwhile();
        }
        if number >= plan.left.load(Ordering::SeqCst) {
            return Err(injected("not done", verb, path));
        }
        if verb == Verb::Put && put == plan.torn.load(Ordering::SeqCst) {
            return Ok(Fate::Torn);
        }
        if number == plan.lost.load(Ordering::SeqCst) {
            return Ok(Fate::Lost);
        }
        Ok(Fate::Answered)
    }

    /// Runs one request through admission.
    async fn pass<T>(
        &self,
        verb: Verb,
        path: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let fate = self.admit(verb, path)?;
        let outcome = work.await;
        match fate {
            Fate::Answered => outcome,
            Fate::Lost | Fate::Torn => Err(injected("answer lost", verb, path)),
        }
    }

    fn pass_list(
        &self,
        path: &str,
        list: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.admit(Verb::List, path) {
            Ok(Fate::Answered) => list,
            Ok(Fate::Lost | Fate::Torn) => failed_list(injected("answer lost", Verb::List, path)),
            Err(error) => failed_list(error),
        }
    }
}

fn failed_list(error: Error) -> BoxStream<'static, Result<ObjectMeta>> {
    stream::once(async move { Err(error) }).boxed()
}

fn injected(what: &str, verb: Verb, path: &str) -> Error {
    Error::Generic {
        store: "FaultStore",
        source: format!("injected fault: {verb:?} {path} {what}").into(),
    }
}

fn shown(prefix: Option<&Path>) -> &str {
    prefix.map_or("", Path::as_ref)
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for FaultStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let path = location.as_ref();
        match self.admit(Verb::Put, path)? {
            Fate::Answered => self.inner.put_opts(location, payload, opts).await,
            Fate::Lost => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(injected("answer lost", Verb::Put, path))
            }
            Fate::Torn => {
                let whole = Bytes::from(payload);
                let half = PutPayload::from_bytes(whole.slice(..whole.len() / 2));
                // What tears a put does not ask whether it was conditional.
                let torn = PutOptions::from(PutMode::Overwrite);
                self.inner.put_opts(location, half, torn).await?;
                Err(injected("torn", Verb::Put, path))
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let work = self.inner.put_multipart_opts(location, opts);
        self.pass(Verb::PutMultipart, location.as_ref(), work).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let verb = if options.head { Verb::Head } else { Verb::Get };
        let work = self.inner.get_opts(location, options);
        self.pass(verb, location.as_ref(), work).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let work = self.inner.get_ranges(location, ranges);
        self.pass(Verb::Get, location.as_ref(), work).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        locations
            .and_then(move |location| {
                let this = this.clone();
                async move {
                    let path = location.clone();
                    let one = stream::once(async move { Ok(location) }).boxed();
                    let work = this.inner.delete_stream(one).try_collect::<Vec<_>>();
                    this.pass(Verb::Delete, path.as_ref(), work).await?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pass_list(shown(prefix), self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pass_list(shown(prefix), self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let work = self.inner.list_with_delimiter(prefix);
        self.pass(Verb::ListDirectory, shown(prefix), work).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let work = self.inner.copy_opts(from, to, options);
        self.pass(Verb::Copy, from.as_ref(), work).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let work = self.inner.rename_opts(from, to, options);
        self.pass(Verb::Rename, from.as_ref(), work).await
    }
}
