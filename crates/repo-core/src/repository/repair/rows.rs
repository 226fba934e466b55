//! Index objects made of what pack directories say.

use std::collections::HashSet;

use repo_format::commit::IndexRef;
use repo_format::index::{Entry, PackRow, SegmentRow};
use repo_format::pack::DirectorySegment;
use repo_format::{PackId, SessionId};

use crate::error::{Error, Result};
use crate::limits::SESSION_ENTRIES_MAX;
use crate::repository::{Gone, IndexBuilder, IndexSet, Repository};

/// Gathers packs and writes an index object whenever there is enough for one.
pub(super) struct Rows<'a> {
    repository: &'a Repository,
    session: SessionId,
    dry_run: bool,
    builder: IndexBuilder,
    written: Vec<IndexRef>,
    bytes: u64,
}

impl<'a> Rows<'a> {
    pub(super) fn new(repository: &'a Repository, session: SessionId, dry_run: bool) -> Self {
        Self {
            repository,
            session,
            dry_run,
            builder: IndexBuilder::default(),
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
        if segments.is_empty() {
            return Ok(());
        }
        let row = u32::try_from(self.builder.packs.len()).map_err(full)?;
        self.builder.packs.push(PackRow { id, size });
        for segment in segments {
            let number = u32::try_from(self.builder.segments.len()).map_err(full)?;
            self.builder.segments.push(SegmentRow {
                pack: row,
                offset: segment.place.offset,
                stored: segment.place.stored,
                raw: segment.chunks.iter().map(|(_, len)| len).sum(),
            });
            for (ordinal, (blob, _)) in segment.chunks.iter().enumerate() {
                self.builder.entries.push(Entry {
                    key: blob.key(),
                    segment: number,
                    ordinal: u16::try_from(ordinal).map_err(full)?,
                });
            }
        }
        if self.builder.entries.len() >= SESSION_ENTRIES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what has gathered.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.builder.entries.is_empty() {
            return Ok(());
        }
        let inner = &self.repository.inner;
        let (session, dry_run) = (self.session, self.dry_run);
        let mut builder = std::mem::take(&mut self.builder);
        let written = builder.store(&inner.storage, &inner.ring, session, dry_run)?;
        self.bytes += written.size;
        self.written.push(written);
        Ok(())
    }

    /// Writes an index object again without what it says of some packs.
    pub(super) fn without(&mut self, reference: &IndexRef, packs: &HashSet<PackId>) -> Result<()> {
        let inner = &self.repository.inner;
        let references = std::slice::from_ref(reference);
        let none = Gone::default();
        let index = IndexSet::open(&inner.storage, &inner.ring, references, none, None)?;
        let mut builder = IndexBuilder::default();
        for object in index.objects() {
            builder.take(&object, |_, entry| {
                let row = object.tail().locate(entry);
                row.is_some_and(|(pack, _)| !packs.contains(&pack.id))
            })?;
        }
        if !builder.entries.is_empty() {
            let (session, dry_run) = (self.session, self.dry_run);
            let written = builder.store(&inner.storage, &inner.ring, session, dry_run)?;
            self.bytes += written.size;
            self.written.push(written);
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
