//! One thread's buffers and open segments, and what it does with a chunk: name it, ask whether it
//! is new, and store it against a base or with its neighbours.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use repo_chunker::Policy;
use repo_format::{BlobId, BlobKind, Extent, Texture};

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
    window: Vec<u8>,
    encoder: Encoder,
    generic: SegmentWriter,
    pages: SegmentWriter,
    columnar: SegmentWriter,
    tree: SegmentWriter,
}

/// A chunk of a file.
pub(crate) struct Chunk<'c> {
    pub(crate) policy: Policy,
    /// Its offset in the file.
    pub(crate) offset: u64,
    /// It is the first of a column.
    pub(crate) starts_column: bool,
    pub(crate) bytes: &'c [u8],
}

impl Worker {
    fn new(run: &Run<'_>) -> Result<Self> {
        let config = &run.repository.inner.config;
        let (size, cell) = (config.segment_size, config.page_chunk);
        Ok(Self {
            window: Vec::new(),
            encoder: Encoder::new(run.options.level)?,
            generic: SegmentWriter::new(BlobKind::Data, Texture::Mixed, size),
            // A cell by itself, so that one cell is read back as the base of its next version.
            pages: SegmentWriter::new(BlobKind::Data, Texture::Pages, cell),
            columnar: SegmentWriter::new(BlobKind::Data, Texture::Mixed, size),
            tree: SegmentWriter::new(BlobKind::Tree, Texture::Mixed, size),
        })
    }

    /// Lends the window out, so that its bytes can be read while chunks are stored.
    pub(crate) fn take_window(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.window)
    }

    /// Gives the window back.
    pub(crate) fn put_window(&mut self, window: Vec<u8>) {
        self.window = window;
    }

    /// The window, `WINDOW` bytes long. Workers that only build trees never have one.
    pub(crate) fn window(&mut self) -> &mut [u8] {
        self.window.resize(WINDOW, 0);
        &mut self.window
    }

    /// Where this worker puts tree nodes and chunk lists.
    pub(crate) fn sink<'w>(&'w mut self, run: &'w Run<'_>) -> TreeSink<'w> {
        TreeSink {
            session: run.session,
            encoder: &mut self.encoder,
            writer: &mut self.tree,
        }
    }

    /// Stores a chunk of a file if the repository lacks it.
    pub(crate) fn chunk(
        &mut self,
        run: &Run<'_>,
        bases: &mut Bases,
        chunk: &Chunk<'_>,
    ) -> Result<Extent> {
        let session = run.session;
        let id = session.ring().blob_id(BlobKind::Data, chunk.bytes);
        let extent = Extent {
            len: chunk.bytes.len() as u64,
            id: Some(id),
        };
        if !session.claim(&id)? {
            bases.known(chunk.offset, &id);
            return Ok(extent);
        }
        run.bytes_new.fetch_add(extent.len, Ordering::Relaxed);
        if self.delta(run, bases, chunk, id)? {
            return Ok(extent);
        }
        let writer = match chunk.policy {
            Policy::Generic => &mut self.generic,
            Policy::Pages => &mut self.pages,
            Policy::Columnar => &mut self.columnar,
        };
        if chunk.starts_column {
            writer.part(session, &mut self.encoder)?;
        }
        writer.push(session, &mut self.encoder, id, chunk.bytes)?;
        Ok(extent)
    }

    /// Tries to store a chunk against the parent's version of it.
    fn delta(
        &mut self,
        run: &Run<'_>,
        bases: &mut Bases,
        chunk: &Chunk<'_>,
        id: BlobId,
    ) -> Result<bool> {
        // Compressed columns have nothing in common with their earlier version.
        if chunk.policy == Policy::Columnar || chunk.bytes.len() < DELTA_MIN {
            return Ok(false);
        }
        let Some(base) = bases.base(chunk.offset, chunk.bytes.len() as u64) else {
            return Ok(false);
        };
        let session = run.session;
        let segments = &run.repository.inner.segments;
        match segments.delta_base(session.index(), &base) {
            Ok((base, content)) => self.encoder.delta(session, id, chunk.bytes, base, &content),
            Err(error) => {
                tracing::debug!(%error, "storing a chunk without its base");
                Ok(false)
            }
        }
    }

    fn flush(&mut self, run: &Run<'_>) -> Result<()> {
        for writer in [
            &mut self.generic,
            &mut self.pages,
            &mut self.columnar,
            &mut self.tree,
        ] {
            writer.flush(run.session, &mut self.encoder)?;
        }
        Ok(())
    }
}

/// Workers not in use, never more than threads that asked for one at once, and buffers of large
/// files not in use: memory that was used before is faster than fresh memory.
#[derive(Default)]
pub(crate) struct Workers {
    idle: Mutex<Vec<Worker>>,
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl Workers {
    /// Runs `work` with a worker.
    pub(crate) fn with<T>(
        &self,
        run: &Run<'_>,
        work: impl FnOnce(&mut Worker) -> Result<T>,
    ) -> Result<T> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let mut worker = match idle {
            Some(worker) => worker,
            None => Worker::new(run)?,
        };
        let done = work(&mut worker);
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(worker);
        done
    }

    /// Makes `worker` available to others while its holder waits for them. What is left in its
    /// place holds nothing and must be given nothing.
    pub(crate) fn lend(&self, run: &Run<'_>, worker: &mut Worker) -> Result<()> {
        let lent = std::mem::replace(worker, Worker::new(run)?);
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(lent);
        Ok(())
    }

    /// Takes back a worker after `lend`.
    pub(crate) fn take_back(&self, worker: &mut Worker) {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        if let Some(idle) = idle {
            *worker = idle;
        }
    }

    /// A buffer of `WINDOW` bytes, with any content.
    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        self.buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_else(|| vec![0; WINDOW])
    }

    /// Gives a buffer back.
    pub(crate) fn give_buffer(&self, buffer: Vec<u8>) {
        self.buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(buffer);
    }

    /// Stores what stands in the open segments of all workers.
    pub(crate) fn flush(&self, run: &Run<'_>) -> Result<()> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter_mut().try_for_each(|worker| worker.flush(run))
    }
}
