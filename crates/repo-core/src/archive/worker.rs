//! One thread's buffers and open segments, and what it does with a chunk: name it, ask whether it
//! is new, and store it against a base or with its neighbours.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use repo_chunker::Policy;
use repo_format::{BlobKind, Extent};

use crate::archive::bases::Bases;
use crate::archive::lists::TreeSink;
use crate::archive::run::Run;
use crate::error::Result;
use crate::limits::WINDOW;
use crate::repository::{Encoder, SegmentWriter};

/// Chunks shorter than this are not worth a delta: its place in pack and index costs as much.
const DELTA_MIN: usize = 512;

/// Reused by one thread at a time.
pub(crate) struct Worker {
    /// Bytes being cut.
    pub(crate) window: Vec<u8>,
    encoder: Encoder,
    generic: SegmentWriter,
    columnar: SegmentWriter,
    tree: SegmentWriter,
}

impl Worker {
    fn new(run: &Run<'_>) -> Result<Self> {
        let size = run.repository.inner.config.segment_size;
        Ok(Self {
            window: vec![0; WINDOW],
            encoder: Encoder::new(run.options.level)?,
            generic: SegmentWriter::new(BlobKind::Data, size),
            columnar: SegmentWriter::new(BlobKind::Data, size),
            tree: SegmentWriter::new(BlobKind::Tree, size),
        })
    }

    /// Where this worker puts tree nodes and chunk lists.
    pub(crate) fn sink<'w>(&'w mut self, run: &'w Run<'_>) -> TreeSink<'w> {
        TreeSink {
            session: run.session,
            encoder: &mut self.encoder,
            writer: &mut self.tree,
        }
    }

    /// Stores the chunk at `offset` of a file if the repository lacks it.
    pub(crate) fn chunk(
        &mut self,
        run: &Run<'_>,
        policy: Policy,
        bases: &mut Bases,
        offset: u64,
        chunk: &[u8],
    ) -> Result<Extent> {
        let session = run.session;
        let id = session.ring().blob_id(BlobKind::Data, chunk);
        let extent = Extent {
            len: chunk.len() as u64,
            id: Some(id),
        };
        if !session.claim(&id)? {
            bases.known(offset, &id);
            return Ok(extent);
        }
        run.bytes_new.fetch_add(extent.len, Ordering::Relaxed);
        // Compressed columns have nothing in common with their earlier version.
        if policy != Policy::Columnar
            && chunk.len() >= DELTA_MIN
            && let Some(base) = bases.base(offset, extent.len)
        {
            let segments = &run.repository.inner.segments;
            match segments.delta_base(session.index(), &base) {
                Ok((base_id, base)) => {
                    if self.encoder.delta(session, id, chunk, &base_id, &base)? {
                        return Ok(extent);
                    }
                }
                Err(error) => tracing::debug!(%error, "storing a chunk without its base"),
            }
        }
        let writer = if policy == Policy::Columnar {
            &mut self.columnar
        } else {
            &mut self.generic
        };
        writer.push(session, &mut self.encoder, id, chunk)?;
        Ok(extent)
    }

    fn flush(&mut self, run: &Run<'_>) -> Result<()> {
        for writer in [&mut self.generic, &mut self.columnar, &mut self.tree] {
            writer.flush(run.session, &mut self.encoder)?;
        }
        Ok(())
    }
}

/// Workers not in use. There are never more than threads that asked for one at once.
#[derive(Default)]
pub(crate) struct Workers(Mutex<Vec<Box<Worker>>>);

impl Workers {
    /// Runs `work` with a worker.
    pub(crate) fn with<T>(
        &self,
        run: &Run<'_>,
        work: impl FnOnce(&mut Worker) -> Result<T>,
    ) -> Result<T> {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut worker = match idle {
            Some(worker) => worker,
            None => Box::new(Worker::new(run)?),
        };
        let done = work(&mut worker);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(worker);
        done
    }

    /// Stores what stands in the open segments of all workers.
    pub(crate) fn flush(&self, run: &Run<'_>) -> Result<()> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter_mut().try_for_each(|worker| worker.flush(run))
    }
}
