//! The cutter of one file: a window of bytes in, the length of the next chunk out.
//!
//! Every decision is a function of the bytes from the chunk's start, at most [`CHUNK_MAX`] of
//! them, and of the offset, never of how much more the caller happens to hold. So any way of
//! reading a file gives the same chunks.

use crate::columnar::{Layout, Walk};
use crate::{CHUNK_MAX, Chunker};

/// How one file is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Content-defined cuts.
    Generic,
    /// A fixed grid from offset 0.
    Pages,
    /// Page edges inside the column chunks of a Parquet file.
    Columnar(Layout),
}

/// Cuts one file from offset 0 to its end.
#[derive(Debug)]
pub struct Cutter<'a> {
    chunker: &'a Chunker,
    state: State,
}

#[derive(Debug)]
enum State {
    Generic,
    Pages,
    Columnar(Walk),
}

impl<'a> Cutter<'a> {
    pub(crate) fn new(chunker: &'a Chunker, plan: Plan) -> Self {
        let state = match plan {
            Plan::Generic => State::Generic,
            Plan::Pages => State::Pages,
            Plan::Columnar(layout) => State::Columnar(Walk::new(layout)),
        };
        Self { chunker, state }
    }

    /// Returns whether the next chunk starts a column chunk, where content changes its nature: a
    /// good place to start compressing anew.
    pub fn starts_column(&self) -> bool {
        match &self.state {
            State::Generic | State::Pages => false,
            State::Columnar(walk) => walk.starts_range(),
        }
    }

    /// Returns the length, from 1 to [`CHUNK_MAX`], of the chunk at the start of `window`.
    ///
    /// `window` holds the bytes from the end of the previous chunk on; `last` says that the file
    /// ends where it ends. `None` means that `window` is too short to decide, or, with `last`,
    /// that it is empty. A window of [`CHUNK_MAX`] bytes or more is always enough. After `Some`
    /// the next window must start that many bytes later; after `None` at the same place.
    pub fn next(&mut self, window: &[u8], last: bool) -> Option<usize> {
        let params = self.chunker.params();
        let need = match self.state {
            State::Generic => params.generic.max as usize,
            State::Pages => params.page_chunk as usize,
            State::Columnar(_) => CHUNK_MAX,
        };
        if window.is_empty() || (window.len() < need && !last) {
            return None;
        }
        let bytes = &window[..window.len().min(need)];
        let length = match &mut self.state {
            State::Generic => self.chunker.generic.cut(&self.chunker.gear, bytes),
            State::Pages => bytes.len(),
            State::Columnar(walk) => walk.cut(&self.chunker.columnar, &self.chunker.gear, bytes),
        };
        debug_assert!(length > 0 && length <= bytes.len());
        Some(length)
    }
}

#[cfg(test)]
mod tests;
