//! Index objects made of what pack directories say.

use bytes::Bytes;
use repo_format::commit::IndexRef;
use repo_format::index::{self, Entry, PackRow, SegmentRow};
use repo_format::pack::DirectorySegment;
use repo_format::{PackId, SessionId};

use crate::error::{Error, Result};
use crate::limits::SESSION_ENTRIES_MAX;
use crate::repository::Repository;

/// Gathers packs and writes an index object whenever there is enough for one.
pub(super) struct Rows<'a> {
    repository: &'a Repository,
    session: SessionId,
    dry_run: bool,
    packs: Vec<PackRow>,
    segments: Vec<SegmentRow>,
    entries: Vec<Entry>,
    written: Vec<IndexRef>,
    bytes: u64,
}

impl<'a> Rows<'a> {
    pub(super) fn new(repository: &'a Repository, session: SessionId, dry_run: bool) -> Self {
        Self {
            repository,
            session,
            dry_run,
            packs: Vec::new(),
            segments: Vec::new(),
            entries: Vec::new(),
            written: Vec::new(),
            bytes: 0,
        }
    }

    pub(super) fn push(
        &mut self,
        id: PackId,
        size: u64,
        segments: &[DirectorySegment],
    ) -> Result<()> {
        let full = |_| Error::Internal {
            what: "index table",
        };
        let row = u32::try_from(self.packs.len()).map_err(full)?;
        self.packs.push(PackRow { id, size });
        for segment in segments {
            let number = u32::try_from(self.segments.len()).map_err(full)?;
            self.segments.push(SegmentRow {
                pack: row,
                offset: segment.place.offset,
                stored: segment.place.stored,
                raw: segment.chunks.iter().map(|(_, len)| len).sum(),
            });
            for (ordinal, (blob, _)) in segment.chunks.iter().enumerate() {
                self.entries.push(Entry {
                    key: blob.key(),
                    segment: number,
                    ordinal: u16::try_from(ordinal).map_err(full)?,
                });
            }
        }
        if self.entries.len() >= SESSION_ENTRIES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what has gathered.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let inner = &self.repository.inner;
        let (id, bytes) = index::encode(
            &inner.ring,
            self.session,
            &std::mem::take(&mut self.packs),
            &std::mem::take(&mut self.segments),
            &mut self.entries,
        )
        .map_err(Error::encode)?;
        let reference = IndexRef {
            id,
            size: bytes.len() as u64,
            entries: self.entries.len() as u64,
        };
        self.entries.clear();
        self.bytes += reference.size;
        self.written.push(reference);
        if !self.dry_run {
            let key = index::path(&id);
            let put = inner.storage.store().put_new(&key, Bytes::from(bytes));
            inner.storage.wait(put).map_err(Error::Store)?;
        }
        Ok(())
    }

    /// Index objects in the store; none in a dry run.
    pub(super) fn written(&self) -> &[IndexRef] {
        if self.dry_run { &[] } else { &self.written }
    }

    /// Takes in index objects written elsewhere.
    pub(super) fn adopt(&mut self, indexes: Vec<IndexRef>) {
        self.written.extend(indexes);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn into_written(self) -> Vec<IndexRef> {
        self.written
    }
}
