//! Finding the chunk a changed chunk is likely a new version of.

use std::collections::VecDeque;

use repo_format::tree::Entry;
use repo_format::{BlobId, Extent};

use crate::archive::tree::{Extents, Trees};

/// Parent extents looked at ahead of the present place.
const AHEAD: usize = 64;
/// Parent bytes kept behind the present place, because content may have moved back.
const BEHIND: u64 = 1 << 20;

/// Walks the parent's version of a file in step with the new one.
///
/// "The same place" is the same offset, moved by how far the last chunk found in both versions
/// moved: after an insertion the rest of a file lies further on.
pub(crate) struct Bases {
    extents: Option<Extents>,
    near: VecDeque<(u64, Extent)>,
    shift: i64,
}

impl Bases {
    /// Bases in the parent's version of a file, for chunks from `offset` on.
    pub(crate) fn new(trees: &Trees, parent: Option<&Entry>, offset: u64) -> Self {
        let content = parent.and_then(|entry| entry.content.as_ref());
        Self {
            extents: content.map(|content| trees.extents(content, offset)),
            near: VecDeque::new(),
            shift: 0,
        }
    }

    /// Tells that the chunk `id` of the repository stands at `offset`. If the parent has it near,
    /// what follows is expected to have moved as far.
    pub(crate) fn known(&mut self, offset: u64, id: &BlobId) {
        self.fill(offset);
        let found = self.near.iter().find(|(_, extent)| extent.id == Some(*id));
        if let Some((before, _)) = found {
            self.shift = before.wrapping_sub(offset).cast_signed();
        }
    }

    /// The parent's chunk at the place of the new chunk of `len` bytes at `offset`.
    pub(crate) fn base(&mut self, offset: u64, len: u64) -> Option<BlobId> {
        self.fill(offset);
        let middle = offset
            .saturating_add(len / 2)
            .saturating_add_signed(self.shift);
        self.near
            .iter()
            .rev()
            .find(|(start, _)| *start <= middle)
            .or_else(|| self.near.front())
            .and_then(|(_, extent)| extent.id)
    }

    fn fill(&mut self, offset: u64) {
        let place = offset.saturating_add_signed(self.shift);
        while let Some((start, extent)) = self.near.front()
            && start + extent.len + BEHIND < place
        {
            self.near.pop_front();
        }
        while self.near.len() < AHEAD
            || self
                .near
                .back()
                .is_some_and(|(start, extent)| start + extent.len <= place)
        {
            match self.extents.as_mut().and_then(Iterator::next) {
                Some(Ok(next)) => self.near.push_back(next),
                // An unreadable parent only costs deltas.
                Some(Err(_)) | None => {
                    self.extents = None;
                    return;
                }
            }
            if self.near.len() > 2 * AHEAD {
                self.near.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests;
