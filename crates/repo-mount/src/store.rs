//! A snapshot as a read-only object store: its files are objects, their paths the locations.
//!
//! Only regular files are objects; links and devices have no content of their own. A name that
//! cannot stand in a location (bytes that are no UTF-8, control characters) is percent-encoded
//! there, and found by its encoded form. Locations that a program encoded are found, too.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use repo_core::{Entry, EntryType, FileReader, Reader, SnapshotView};

use crate::limits::{LIST_PAGE, STREAM_PIECE};
use crate::location;

const STORE: &str = "snapshot";

/// The files of one snapshot as objects. Cheap to clone; clones share caches.
///
/// Writes are refused with [`Error::NotSupported`]. The entity tag of each object is the snapshot's
/// id, for nothing in it ever changes.
#[derive(Clone)]
pub struct SnapshotStore {
    inner: Arc<Inner>,
}

struct Inner {
    reader: Reader,
    root: Entry,
    tag: String,
}

impl SnapshotStore {
    /// The files of `view`, read through `reader`, which other snapshots may share.
    #[must_use]
    pub fn new(reader: Reader, view: &SnapshotView) -> Self {
        let inner = Inner {
            reader,
            root: view.snapshot().root.clone(),
            tag: view.id().to_hex(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Runs `work` where it may wait for the repository.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> repo_core::Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await?;
        done.map_err(failed)
    }

    async fn entry(&self, location: &Path) -> Result<Option<Entry>> {
        let location = location.clone();
        self.blocking(move |inner| inner.find(&location)).await
    }
}

impl Inner {
    fn find(&self, location: &Path) -> repo_core::Result<Option<Entry>> {
        let mut entry = self.root.clone();
        for part in location.parts() {
            if entry.kind != EntryType::Directory {
                return Ok(None);
            }
            let literal = part.as_ref().as_bytes();
            let found = match self.child(&entry, literal)? {
                Some(found) => Some(found),
                None => match location::decoded(literal) {
                    Some(name) => self.child(&entry, &name)?,
                    None => None,
                },
            };
            match found {
                Some(found) => entry = found,
                None => return Ok(None),
            }
        }
        Ok(Some(entry))
    }

    fn child(&self, directory: &Entry, name: &[u8]) -> repo_core::Result<Option<Entry>> {
        let leaf = self.reader.leaf_of(directory, name)?;
        Ok(leaf.and_then(|leaf| {
            let at = leaf.position(name)?;
            leaf.entries().get(at).cloned()
        }))
    }

    fn meta(&self, location: Path, entry: &Entry) -> ObjectMeta {
        ObjectMeta {
            location,
            last_modified: modified(entry),
            size: entry.size,
            e_tag: Some(self.tag.clone()),
            version: None,
        }
    }
}

fn modified(entry: &Entry) -> DateTime<Utc> {
    let time = entry.mtime;
    // Times beyond what the calendar holds are shown as the epoch.
    DateTime::from_timestamp(time.seconds, time.nanos).unwrap_or_default()
}

fn failed(error: repo_core::Error) -> Error {
    Error::Generic {
        store: STORE,
        source: Box::new(error),
    }
}

fn refused() -> Error {
    Error::NotSupported {
        source: "a snapshot cannot be changed".into(),
    }
}

fn not_found(location: &Path) -> Error {
    Error::NotFound {
        path: location.to_string(),
        source: "the snapshot has no such file".into(),
    }
}

/// The bytes `range` of a file, piece by piece.
fn pieces(file: FileReader, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
    let state = (Arc::new(file), range);
    stream::try_unfold(state, |(file, range)| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let left = range.end - range.start;
        let len = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(STREAM_PIECE);
        let source = Arc::clone(&file);
        let read = tokio::task::spawn_blocking(move || source.read(range.start, len));
        let piece = read.await?.map_err(failed)?;
        if piece.is_empty() {
            return Err(failed(repo_core::Error::Internal { what: "range" }));
        }
        let next = range.start + piece.len() as u64..range.end;
        Ok(Some((piece, (file, next))))
    })
    .boxed()
}

#[async_trait]
impl ObjectStore for SnapshotStore {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(refused())
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(refused())
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let entry = self.entry(location).await?;
        let entry = entry.filter(|entry| entry.kind == EntryType::File);
        let entry = entry.ok_or_else(|| not_found(location))?;
        if options.version.is_some() {
            let source = "objects of a snapshot have one version".into();
            return Err(Error::NotSupported { source });
        }
        let meta = self.inner.meta(location.clone(), &entry);
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            None => 0..meta.size,
            Some(range) => range.as_range(meta.size).map_err(|source| Error::Generic {
                store: STORE,
                source: Box::new(source),
            })?,
        };
        let payload = match options.head {
            true => stream::empty().boxed(),
            false => pieces(
                self.inner.reader.file(&entry).map_err(failed)?,
                range.clone(),
            ),
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(payload),
            meta,
            range,
            attributes: object_store::Attributes::default(),
            extensions: object_store::Extensions::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        locations
            .map(|location| location.and_then(|_| Err(refused())))
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let walk = async move {
            let top = store.entry(&prefix).await?;
            let walk = Walk {
                open: top.map(|top| (prefix, top, 0)).into_iter().collect(),
            };
            Ok::<_, Error>(stream::try_unfold(
                (store, walk),
                |(store, mut walk)| async {
                    if walk.open.is_empty() {
                        return Ok(None);
                    }
                    let step = move |inner: &Inner| walk.page(inner).map(|page| (page, walk));
                    let (page, walk) = store.blocking(step).await?;
                    let page = stream::iter(page.into_iter().map(Ok));
                    Ok::<_, Error>(Some((page, (store, walk))))
                },
            ))
        };
        let pages = stream::once(walk).flat_map(|pages| match pages {
            Ok(pages) => pages.boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        });
        pages
            .flat_map(|page| match page {
                Ok(page) => page.boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix = prefix.cloned().unwrap_or_default();
        let Some(top) = self.entry(&prefix).await? else {
            return Ok(ListResult {
                common_prefixes: Vec::new(),
                objects: Vec::new(),
                extensions: object_store::Extensions::default(),
            });
        };
        self.blocking(move |inner| {
            let (mut common_prefixes, mut objects) = (Vec::new(), Vec::new());
            let mut ordinal = 0;
            while let Some((first, leaf)) = inner.reader.leaf_at(&top, ordinal)? {
                for entry in leaf.entries() {
                    let location = location::join(&prefix, &entry.name);
                    match entry.kind {
                        EntryType::File => objects.push(inner.meta(location, entry)),
                        EntryType::Directory if holds_files(entry) => {
                            common_prefixes.push(location);
                        }
                        _ => {}
                    }
                }
                ordinal = first + leaf.entries().len() as u64;
            }
            Ok(ListResult {
                common_prefixes,
                objects,
                extensions: object_store::Extensions::default(),
            })
        })
        .await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(refused())
    }
}

/// Object stores have no empty directories.
fn holds_files(directory: &Entry) -> bool {
    directory.totals.is_none_or(|totals| totals.files > 0)
}

/// A listing under way: directories not yet done, each with the number of its next entry.
struct Walk {
    open: Vec<(Path, Entry, u64)>,
}

impl Walk {
    fn page(&mut self, inner: &Inner) -> repo_core::Result<Vec<ObjectMeta>> {
        let mut page = Vec::new();
        while let Some((prefix, directory, next)) = self.open.last_mut() {
            if page.len() >= LIST_PAGE {
                break;
            }
            let found = match directory.kind {
                EntryType::Directory => inner.reader.leaf_at(directory, *next)?,
                _ => None,
            };
            let Some((first, leaf)) = found else {
                self.open.pop();
                continue;
            };
            let mut below = None;
            let from = usize::try_from(*next - first).unwrap_or(usize::MAX);
            for entry in leaf.entries().iter().skip(from) {
                *next += 1;
                let location = location::join(prefix, &entry.name);
                match entry.kind {
                    EntryType::File => page.push(inner.meta(location, entry)),
                    EntryType::Directory => {
                        below = Some((location, entry.clone(), 0));
                        break;
                    }
                    _ => {}
                }
            }
            self.open.extend(below);
        }
        Ok(page)
    }
}

impl fmt::Display for SnapshotStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "snapshot {}", self.inner.tag)
    }
}

impl fmt::Debug for SnapshotStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotStore")
            .field("snapshot", &self.inner.tag)
            .finish_non_exhaustive()
    }
}
