//! One client's way to the shared store.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::channel::oneshot;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, Result,
};

use super::turns::Late;
use super::{Fate, Inner};
use crate::recording::Verb;

/// A store whose requests wait for their client's turn. Clones are the same client.
#[derive(Debug, Clone)]
pub struct SimStore {
    inner: Arc<Inner>,
    client: usize,
    /// The life it was made in; shared by clones.
    life: Arc<AtomicU32>,
}

/// The right to do one request, given back when dropped. Waiting for it may be given up.
struct Turn<'a> {
    inner: &'a Inner,
    waits: Option<oneshot::Receiver<()>>,
    held: bool,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(waits) = &mut self.waits {
            waits.close();
            // It may have been given between the last look and now.
            self.held = matches!(waits.try_recv(), Ok(Some(())));
        }
        if self.held {
            self.inner.turns().release();
        }
    }
}

fn failed(what: &str, verb: Verb, path: &str) -> Error {
    Error::Generic {
        store: "SimStore",
        source: format!("simulated: {verb:?} {path} {what}").into(),
    }
}

/// Does late writes.
pub(super) async fn settle(inner: &Inner, late: Vec<Late>) {
    for write in late {
        match write {
            Late::Put(path, bytes) => {
                let options = PutOptions::from(PutMode::Create);
                let put = inner.memory.put_opts(&path, bytes.into(), options).await;
                if put.is_ok() && is_commit(&path) {
                    inner.committed(path.as_ref());
                }
            }
            // Somebody may have deleted it before.
            Late::Delete(path) => drop(inner.memory.delete(&path).await),
        }
    }
}

fn is_commit(path: &Path) -> bool {
    let path = path.as_ref();
    path.starts_with("log/") && !path.ends_with("checkpoint")
}

impl SimStore {
    pub(super) fn new(inner: Arc<Inner>, client: usize) -> Self {
        Self {
            inner,
            client,
            life: Arc::default(),
        }
    }

    /// The client has no more to ask. What it still asks fails.
    pub fn leave(&self) {
        self.inner.turns().leave(self.client);
    }

    /// Whether the client crashed: all its requests fail.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.inner.turns().deaths(self.client) != self.life.load(Ordering::SeqCst)
    }

    /// The client after a crash, started anew. What the dead one still asks fails.
    #[must_use]
    pub fn revived(&self) -> Self {
        let deaths = self.inner.turns().deaths(self.client);
        Self {
            inner: Arc::clone(&self.inner),
            client: self.client,
            life: Arc::new(AtomicU32::new(deaths)),
        }
    }

    /// Waits for the turn and draws what becomes of the request.
    async fn turn(&self, verb: Verb, path: &str) -> Result<(Turn<'_>, Fate)> {
        if self.is_dead() {
            return Err(failed("of a dead client", verb, path));
        }
        let mut turn = Turn {
            inner: &self.inner,
            waits: None,
            held: false,
        };
        {
            let mut turns = self.inner.turns();
            if turns.has_left(self.client) {
                return Err(failed("of a client that left", verb, path));
            }
            turn.waits = turns.ask(self.client);
        }
        if let Some(waits) = &mut turn.waits {
            let given = waits.await;
            turn.waits = None;
            if given.is_err() {
                return Err(failed("of a client that left", verb, path));
            }
        }
        turn.held = true;
        if self.is_dead() {
            return Err(failed("of a dead client", verb, path));
        }
        let late = self.inner.turns().take_late(false);
        settle(&self.inner, late).await;
        let fate = self.inner.turns().fate(self.client, verb, path);
        match fate {
            Fate::Failed => Err(failed("not done", verb, path)),
            Fate::CrashBefore => {
                self.inner.turns().die(self.client);
                Err(failed("not done, crash", verb, path))
            }
            fate => Ok((turn, fate)),
        }
    }

    /// The answer of a request that was done, or what is told in its place.
    fn answer<T>(&self, fate: Fate, verb: Verb, path: &str, answer: Result<T>) -> Result<T> {
        match fate {
            Fate::Lost => Err(failed("answer lost", verb, path)),
            Fate::CrashAfter => {
                self.inner.turns().die(self.client);
                Err(failed("answer lost, crash", verb, path))
            }
            _ => answer,
        }
    }

    async fn pass<T>(
        &self,
        verb: Verb,
        path: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let (_turn, fate) = self.turn(verb, path).await?;
        let answer = work.await;
        self.answer(fate, verb, path, answer)
    }

    /// The next objects below a prefix.
    async fn page(&self, prefix: Option<&Path>, after: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        let shown = prefix.map_or("", Path::as_ref);
        let memory = &self.inner.memory;
        let work = async {
            let list = match after {
                None => memory.list(prefix),
                Some(after) => memory.list_with_offset(prefix, after),
            };
            list.take(self.inner.plan.page).try_collect().await
        };
        let mut page: Vec<ObjectMeta> = self.pass(Verb::List, shown, work).await?;
        let mut turns = self.inner.turns();
        for meta in &mut page {
            turns.tell_time(meta);
        }
        Ok(page)
    }

    /// Asks page by page, so that others can write and delete in between.
    fn pages(
        &self,
        prefix: Option<&Path>,
        after: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let start = (self.clone(), prefix.cloned(), Some(after.cloned()));
        stream::try_unfold(start, |(store, prefix, at)| async move {
            let Some(after) = at else {
                return Ok::<_, Error>(None);
            };
            let page = store.page(prefix.as_ref(), after.as_ref()).await?;
            let full = page.len() == store.inner.plan.page;
            let last = page.last().map(|meta| meta.location.clone());
            let next = last.filter(|_| full).map(Some);
            let objects = stream::iter(page.into_iter().map(Ok));
            Ok(Some((objects, (store, prefix, next))))
        })
        .try_flatten()
        .boxed()
    }
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStore({})", self.inner.memory)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for SimStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let path = location.as_ref();
        let (_turn, fate) = self.turn(Verb::Put, path).await?;
        let memory = &self.inner.memory;
        let bytes = Bytes::from(payload);
        if fate == Fate::Late {
            let late = Late::Put(location.clone(), bytes);
            self.inner.turns().delay(late);
            return Err(failed("no answer in time", Verb::Put, path));
        }
        let payload = PutPayload::from_bytes(bytes.clone());
        let mut answer = memory.put_opts(location, payload, opts.clone()).await;
        if answer.is_ok() && is_commit(location) {
            self.inner.committed(path);
        }
        if fate == Fate::Twice {
            answer = memory.put_opts(location, bytes.into(), opts).await;
        }
        self.answer(fate, Verb::Put, path, answer)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let work = self.inner.memory.put_multipart_opts(location, opts);
        self.pass(Verb::PutMultipart, location.as_ref(), work).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let verb = if options.head { Verb::Head } else { Verb::Get };
        let work = self.inner.memory.get_opts(location, options);
        let mut found = self.pass(verb, location.as_ref(), work).await?;
        self.inner.turns().tell_time(&mut found.meta);
        Ok(found)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let work = self.inner.memory.get_ranges(location, ranges);
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
                    let path = location.as_ref();
                    let (_turn, fate) = this.turn(Verb::Delete, path).await?;
                    if fate == Fate::Late {
                        this.inner.turns().delay(Late::Delete(location.clone()));
                        return Err(failed("no answer in time", Verb::Delete, path));
                    }
                    let mut answer = this.inner.memory.delete(&location).await;
                    if fate == Fate::Twice {
                        answer = this.inner.memory.delete(&location).await;
                    }
                    this.answer(fate, Verb::Delete, path, answer)?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.pages(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let shown = prefix.map_or("", Path::as_ref);
        let work = self.inner.memory.list_with_delimiter(prefix);
        let mut found = self.pass(Verb::ListDirectory, shown, work).await?;
        let mut turns = self.inner.turns();
        for meta in &mut found.objects {
            turns.tell_time(meta);
        }
        Ok(found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let work = self.inner.memory.copy_opts(from, to, options);
        self.pass(Verb::Copy, from.as_ref(), work).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let work = self.inner.memory.rename_opts(from, to, options);
        self.pass(Verb::Rename, from.as_ref(), work).await
    }
}
