//! Listing in key order, resumable and bounded.
//!
//! Object stores list in order, page by page; that order is checked as it passes. A file system
//! has none: there, one directory at a time is read whole, sorted, and descended into, so memory
//! is bounded by the largest directory of each level, not by the store.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};

use crate::classify::{Context, Operation};
use crate::error::Error;
use crate::key;
use crate::limits::{ANSWER_TIMEOUT, LIST_DEPTH_MAX};
use crate::retry::Backoff;
use crate::store::{ObjectInfo, Store, info};

impl Store {
    /// Lists the objects below `prefix` with keys after `after`, in byte order of their keys.
    ///
    /// A prefix is whole segments (`log`, `packs/ab`) or empty for everything; a prefix under
    /// which nothing is stored lists nothing. Keys this program cannot have written are listed
    /// as the store spells them. The stream ends after its first error. Some servers sort `a/b`
    /// before `a-b`, which is an error when seen: keep no directory beside a name that continues
    /// its own with `-` or `.`. A network store answers
    /// up to 1,000 objects a request; a local one is asked once per directory.
    #[expect(
        clippy::unused_async,
        reason = "listing may come to ask before it streams"
    )]
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> BoxStream<'_, Result<ObjectInfo, Error>> {
        let root = match key::parse_prefix(prefix) {
            Ok(root) => root,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        let listing = Listing {
            store: self.clone(),
            prefix: prefix.to_owned(),
            root,
            after: after.map(ToOwned::to_owned),
            backoff: None,
            at: At::Start,
        };
        stream::unfold(listing, |mut listing| async move {
            let item = listing.next().await?;
            if item.is_err() {
                listing.at = At::End;
            }
            Some((item, listing))
        })
        .boxed()
    }
}

struct Listing {
    store: Store,
    prefix: String,
    root: Option<Path>,
    /// The last key listed, or where the caller wants to start.
    after: Option<String>,
    /// Present between an error and the next object.
    backoff: Option<Backoff>,
    at: At,
}

enum At {
    Start,
    Stream {
        stream: BoxStream<'static, object_store::Result<ObjectMeta>>,
        last: Option<String>,
    },
    /// What is left of each directory on the way down, smallest name last.
    Walk(Vec<Vec<Entry>>),
    End,
}

/// An object, or a directory to be read when its turn comes.
struct Entry {
    /// The key, with a slash at the end for a directory, which sorts it among its siblings.
    name: String,
    item: Item,
}

enum Item {
    Object(ObjectMeta),
    Directory(Path),
}

impl Listing {
    async fn next(&mut self) -> Option<Result<ObjectInfo, Error>> {
        loop {
            let error = match self.step().await {
                Ok(Some(meta)) => {
                    let name = meta.location.as_ref().to_owned();
                    if self.passed(&name) {
                        continue;
                    }
                    self.after = Some(name.clone());
                    self.backoff = None;
                    return Some(Ok(info(&meta, name)));
                }
                Ok(None) => return None,
                Err(error) => error,
            };
            let retry = self.store.retry;
            let backoff = self.backoff.get_or_insert_with(|| retry.start());
            if !backoff.again(&error).await {
                return Some(Err(error));
            }
            // Begin anew behind the last key that came.
            self.at = At::Start;
        }
    }

    fn passed(&self, name: &str) -> bool {
        self.after.as_deref().is_some_and(|after| name <= after)
    }

    /// The next object as the store tells it, or nothing at the end.
    async fn step(&mut self) -> Result<Option<ObjectMeta>, Error> {
        if matches!(self.at, At::Start) {
            self.at = self.begin().await?;
        }
        let context = Context {
            operation: Operation::List,
            key: &self.prefix,
            location: &self.store.location,
        };
        match &mut self.at {
            At::Start | At::End => Ok(None),
            At::Stream { stream, last } => {
                let next = async { stream.next().await.transpose() };
                let next = self.store.patience.wait(ANSWER_TIMEOUT, next).await;
                let Some(meta) = next.map_err(|e| context.classify(e))? else {
                    return Ok(None);
                };
                let name = meta.location.as_ref();
                if last.as_deref().is_some_and(|last| name <= last) {
                    return Err(Error::Unordered {
                        key: name.to_owned(),
                        location: Arc::clone(&self.store.location),
                    });
                }
                *last = Some(name.to_owned());
                Ok(Some(meta))
            }
            At::Walk(levels) => loop {
                let Some(level) = levels.last_mut() else {
                    return Ok(None);
                };
                let Some(entry) = level.pop() else {
                    levels.pop();
                    continue;
                };
                match entry.item {
                    Item::Object(meta) => return Ok(Some(meta)),
                    Item::Directory(directory) if levels.len() < LIST_DEPTH_MAX => {
                        let below = self
                            .store
                            .children(Some(&directory), self.after.as_deref())
                            .await
                            .map_err(|e| context.classify(e))?;
                        levels.push(below);
                    }
                    // Deeper than anything stored here: a loop of links, or somebody else's.
                    Item::Directory(_) => {}
                }
            },
        }
    }

    async fn begin(&mut self) -> Result<At, Error> {
        let context = self.store.context(Operation::List, &self.prefix);
        if self.store.walked {
            let children = self
                .store
                .children(self.root.as_ref(), self.after.as_deref());
            let top = children.await.map_err(|e| context.classify(e))?;
            return Ok(At::Walk(vec![top]));
        }
        let stream = match &self.after {
            None => self.store.inner.list(self.root.as_ref()),
            Some(after) => {
                let after = Path::parse(after).map_err(|_| Error::Key { key: after.clone() })?;
                self.store
                    .inner
                    .list_with_offset(self.root.as_ref(), &after)
            }
        };
        Ok(At::Stream { stream, last: None })
    }
}

impl Store {
    /// One directory's entries that may hold keys past `after`, smallest name last.
    async fn children(
        &self,
        directory: Option<&Path>,
        after: Option<&str>,
    ) -> object_store::Result<Vec<Entry>> {
        let found = self.inner.list_with_delimiter(directory);
        let found = self.patience.wait(ANSWER_TIMEOUT, found).await?;
        let directories = found.common_prefixes.into_iter().map(|path| Entry {
            name: format!("{path}/"),
            item: Item::Directory(path),
        });
        let objects = found.objects.into_iter().map(|meta| Entry {
            name: meta.location.as_ref().to_owned(),
            item: Item::Object(meta),
        });
        let ahead = |entry: &Entry| {
            after.is_none_or(|after| {
                let holds_later =
                    matches!(entry.item, Item::Directory(_)) && after.starts_with(&entry.name);
                entry.name.as_str() > after || holds_later
            })
        };
        let mut entries: Vec<_> = directories.chain(objects).filter(ahead).collect();
        entries.sort_unstable_by(|a, b| b.name.cmp(&a.name));
        Ok(entries)
    }
}
