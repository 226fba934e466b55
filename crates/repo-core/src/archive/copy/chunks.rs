//! Chunks on their way from one repository to another: read, verified, named anew, stored.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use repo_chunker::Policy;
use repo_format::{Base, BlobId, BlobKind, Texture};

use super::Failed;
use crate::archive::lists::TreeSink;
use crate::archive::tree::Trees;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::repository::{Blob, Encoder, Repository, SegmentAddress, SegmentWriter, Session};

/// A chunk to copy, and how the file it is of was cut.
#[derive(Debug, Clone, Copy)]
pub(in crate::archive) struct Wanted {
    pub(in crate::archive) id: BlobId,
    pub(in crate::archive) policy: Policy,
}

/// Copies chunks on all threads of the target's pool.
pub(in crate::archive) struct Chunks<'a> {
    source: Trees,
    target: &'a Repository,
    level: i32,
    progress: &'a dyn Progress,
    idle: Mutex<Vec<Worker>>,
    pub(in crate::archive) bytes_read: AtomicU64,
    pub(in crate::archive) bytes_new: AtomicU64,
}

/// One thread's open segments.
struct Worker {
    encoder: Encoder,
    generic: SegmentWriter,
    pages: SegmentWriter,
    columnar: SegmentWriter,
    tree: SegmentWriter,
}

impl<'a> Chunks<'a> {
    pub(in crate::archive) fn new(
        source: Trees,
        target: &'a Repository,
        level: i32,
        progress: &'a dyn Progress,
    ) -> Self {
        Self {
            source,
            target,
            level,
            progress,
            idle: Mutex::default(),
            bytes_read: AtomicU64::new(0),
            bytes_new: AtomicU64::new(0),
        }
    }

    /// Copies chunks and tells their ids in the target. Those of one segment of the source are
    /// copied by one thread, so that it is decoded once.
    pub(in crate::archive) fn copy(
        &self,
        session: &Session,
        wanted: &[Wanted],
    ) -> std::result::Result<Vec<(BlobId, BlobId)>, Failed> {
        let mut groups: Vec<Vec<Wanted>> = Vec::new();
        let mut places: HashMap<SegmentAddress, usize> = HashMap::new();
        for chunk in wanted {
            let at = match self.source.index().find(&chunk.id.key()) {
                Ok(Some(at)) => at,
                Ok(None) => {
                    let error = Error::MissingBlob { id: chunk.id };
                    return Err(Failed::Source(Some(chunk.id), error));
                }
                Err(error) => return Err(Failed::Source(Some(chunk.id), error)),
            };
            let group = *places.entry(at.segment).or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
            groups[group].push(*chunk);
        }
        let pool = self.target.pool()?;
        let copied: std::result::Result<Vec<Vec<(BlobId, BlobId)>>, Failed> = pool.install(|| {
            groups
                .par_iter()
                .map(|group| self.with(|worker| self.group(worker, session, group)))
                .collect()
        });
        Ok(copied?.concat())
    }

    fn group(
        &self,
        worker: &mut Worker,
        session: &Session,
        group: &[Wanted],
    ) -> std::result::Result<Vec<(BlobId, BlobId)>, Failed> {
        let mut copied = Vec::with_capacity(group.len());
        for wanted in group {
            if self.progress.cancelled() {
                return Err(Failed::Fatal(Error::Cancelled));
            }
            let read = self.read(&wanted.id);
            let (chunk, base) = read.map_err(|error| Failed::Source(Some(wanted.id), error))?;
            let len = chunk.len() as u64;
            self.bytes_read.fetch_add(len, Ordering::Relaxed);
            self.progress.advance(len, 0);
            let id = session.ring().blob_id(BlobKind::Data, &chunk);
            if session.claim(&id)? {
                self.bytes_new.fetch_add(len, Ordering::Relaxed);
                let delta = match base {
                    Some(base) => self.delta(worker, session, id, &chunk, &base.id)?,
                    None => false,
                };
                if !delta {
                    worker.push(session, wanted.policy, id, &chunk)?;
                }
            }
            copied.push((wanted.id, id));
        }
        Ok(copied)
    }

    fn read(&self, id: &BlobId) -> Result<(Blob, Option<Base>)> {
        let segments = &self.source.repository().inner.segments;
        segments.chunk_and_base(self.source.index(), id)
    }

    /// Stores a chunk against the copy of its base. A base that the target lacks, or has in this
    /// session only, is no base: it cannot be read back before the commit.
    fn delta(
        &self,
        worker: &mut Worker,
        session: &Session,
        id: BlobId,
        chunk: &[u8],
        base: &BlobId,
    ) -> Result<bool> {
        let Ok(base) = self.source.chunk(base) else {
            return Ok(false);
        };
        let base = session.ring().blob_id(BlobKind::Data, &base);
        let segments = &self.target.inner.segments;
        match segments.delta_base(session.index(), &base) {
            Ok((base, content)) => worker.encoder.delta(session, id, chunk, base, &content),
            Err(error) => {
                tracing::debug!(%error, "copying a chunk without its base");
                Ok(false)
            }
        }
    }

    /// Stores a chunk whose id is known, if the target lacks it.
    pub(in crate::archive) fn store_chunk(
        &self,
        session: &Session,
        id: BlobId,
        chunk: &[u8],
    ) -> Result<()> {
        if session.claim(&id)? {
            self.with(|worker| worker.push(session, Policy::Generic, id, chunk))?;
        }
        Ok(())
    }

    /// Stores a tree blob.
    pub(in crate::archive) fn store_tree(&self, session: &Session, blob: &[u8]) -> Result<BlobId> {
        self.with(|worker| {
            let mut sink = TreeSink {
                session,
                encoder: &mut worker.encoder,
                writer: &mut worker.tree,
            };
            sink.store(blob)
        })
    }

    /// Stores what stands in open segments.
    pub(in crate::archive) fn flush(&self, session: &Session) -> Result<()> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter_mut().try_for_each(|worker| worker.flush(session))
    }

    fn with<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut Worker) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let lock = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = lock().pop();
        let mut worker = match idle {
            Some(worker) => worker,
            None => Worker::new(self.target, self.level)?,
        };
        let done = work(&mut worker);
        lock().push(worker);
        done
    }
}

impl Worker {
    fn new(target: &Repository, level: i32) -> Result<Self> {
        let config = &target.inner.config;
        let (size, cell) = (config.segment_size, config.page_chunk);
        Ok(Self {
            encoder: Encoder::new(level)?,
            generic: SegmentWriter::new(BlobKind::Data, Texture::Mixed, size),
            // A cell by itself, so that one cell is read back as the base of its next version.
            pages: SegmentWriter::new(BlobKind::Data, Texture::Pages, cell),
            columnar: SegmentWriter::new(BlobKind::Data, Texture::Mixed, size),
            tree: SegmentWriter::new(BlobKind::Tree, Texture::Mixed, size),
        })
    }

    fn push(&mut self, session: &Session, policy: Policy, id: BlobId, chunk: &[u8]) -> Result<()> {
        let writer = match policy {
            Policy::Generic => &mut self.generic,
            Policy::Pages => &mut self.pages,
            Policy::Columnar => &mut self.columnar,
        };
        writer.push(session, &mut self.encoder, id, chunk)
    }

    fn flush(&mut self, session: &Session) -> Result<()> {
        for writer in [
            &mut self.generic,
            &mut self.pages,
            &mut self.columnar,
            &mut self.tree,
        ] {
            writer.flush(session, &mut self.encoder)?;
        }
        Ok(())
    }
}
