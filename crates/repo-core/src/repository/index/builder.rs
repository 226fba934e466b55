//! Making index objects out of others: entries are taken over one by one, tables are rebuilt.

use repo_format::commit::IndexRef;
use repo_format::index::{self, Entry, PackRow, SegmentRow};
use repo_format::{KeyRing, SessionId};

use bytes::Bytes;

use super::IndexObject;
use crate::error::{Error, Result};
use crate::repository::storage::Storage;

/// Tables and entries of one index object that is to be.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    pub(crate) packs: Vec<PackRow>,
    pub(crate) segments: Vec<SegmentRow>,
    pub(crate) entries: Vec<Entry>,
}

/// A row of an old table that has no place in the new one yet.
const ABSENT: u32 = u32::MAX;

impl IndexBuilder {
    /// Takes over the entries of `object` that `keep` wants, with the table rows they need. An
    /// entry that points outside of its tables is an error: its blob would be lost silently.
    pub(crate) fn take(
        &mut self,
        object: &IndexObject,
        mut keep: impl FnMut(u64, &Entry) -> bool,
    ) -> Result<()> {
        let tail = object.tail();
        let mut pack_rows = vec![ABSENT; tail.packs.len()];
        let mut segment_rows = vec![ABSENT; tail.segments.len()];
        let mut outcome = Ok(());
        object.each_entry(|at, entry| {
            if outcome.is_err() || !keep(at, &entry) {
                return;
            }
            if let Err(error) = object.locate(&entry) {
                outcome = Err(error);
                return;
            }
            let segment = &mut segment_rows[entry.segment as usize];
            if *segment == ABSENT {
                let old = tail.segments[entry.segment as usize];
                let pack = &mut pack_rows[old.pack as usize];
                if *pack == ABSENT {
                    *pack = row(self.packs.len());
                    self.packs.push(tail.packs[old.pack as usize]);
                }
                *segment = row(self.segments.len());
                self.segments.push(SegmentRow { pack: *pack, ..old });
            }
            self.entries.push(Entry {
                segment: *segment,
                ..entry
            });
        })?;
        outcome
    }

    /// Encodes the object and, unless it is for show, stores it. Its size counts either way.
    pub(crate) fn store(
        &mut self,
        storage: &Storage,
        ring: &KeyRing,
        session: SessionId,
        dry_run: bool,
    ) -> Result<IndexRef> {
        let (id, bytes) = index::encode(
            ring,
            session,
            &self.packs,
            &self.segments,
            &mut self.entries,
        )
        .map_err(Error::encode)?;
        let reference = IndexRef {
            id,
            size: bytes.len() as u64,
            entries: self.entries.len() as u64,
        };
        if !dry_run {
            let key = index::path(&id);
            let put = storage.store().put_new(&key, Bytes::from(bytes));
            storage.wait(put).map_err(Error::Store)?;
        }
        Ok(reference)
    }
}

/// Tables are far shorter than `u32::MAX` rows: an object holds four million entries at most.
fn row(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(ABSENT)
}
