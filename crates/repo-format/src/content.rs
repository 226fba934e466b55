//! Content of one file: extents (chunks and holes) in file order, and the chunk lists that hold
//! them when there are many.
//!
//! ```text
//! content  level u8 | extent*
//! extent   varint (length * 2 + hole bit) | blob id [32] unless a hole
//! ```
//! At level 0 an id names a data chunk. At level n > 0 it names a chunk list, a blob of tree kind
//! whose bytes are a content of level n - 1, and the length is the sum of what it spans; holes
//! stand at level 0 only. Lists are split by content, so that a change rewrites few of them.

use crate::cursor::{Cursor, push_varint};
use crate::error::{Error, malformed};
use crate::id::BlobId;
use crate::limits::{CHUNK_MAX, DEPTH_MAX};

const WHAT: &str = "chunk list";

/// A run of bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes, never 0.
    pub len: u64,
    /// The chunk or chunk list; `None` is a hole.
    pub id: Option<BlobId>,
}

/// What a file holds, or one chunk list of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// 0: extents are chunks and holes. n: extents are chunk lists of level n - 1.
    pub level: u8,
    /// In file order.
    pub extents: Vec<Extent>,
}

impl Content {
    /// Bytes of the file this content spans. Decoded contents never overflow.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.extents.iter().map(|extent| extent.len).sum()
    }

    /// Whether it spans no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }
}

/// Encodes a content.
#[must_use]
pub fn encode_extents(content: &Content) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + content.extents.len() * 36);
    out.push(content.level);
    for extent in &content.extents {
        debug_assert!(extent.len <= i64::MAX as u64, "no reader would accept it");
        push_varint(&mut out, extent.len << 1 | u64::from(extent.id.is_none()));
        if let Some(id) = &extent.id {
            out.extend_from_slice(&id.0);
        }
    }
    out
}

/// Decodes a content.
pub fn decode_extents(bytes: &[u8]) -> Result<Content, Error> {
    let mut cursor = Cursor::new(WHAT, bytes);
    let level = cursor.u8()?;
    if level > DEPTH_MAX {
        return Err(malformed(WHAT, "it is nested too deep"));
    }
    let mut extents = Vec::with_capacity(cursor.remaining() / 33);
    let mut total = 0u64;
    while cursor.remaining() > 0 {
        let head = cursor.varint()?;
        let (len, hole) = (head >> 1, head & 1 == 1);
        let id = if hole {
            None
        } else {
            Some(BlobId(cursor.array()?))
        };
        if len == 0 || (level == 0 && !hole && len > CHUNK_MAX as u64) || (level > 0 && hole) {
            return Err(malformed(WHAT, "an extent's length is out of range"));
        }
        total = total
            .checked_add(len)
            .filter(|total| *total <= i64::MAX as u64)
            .ok_or_else(|| malformed(WHAT, "its length is out of range"))?;
        extents.push(Extent { len, id });
    }
    Ok(Content { level, extents })
}

#[cfg(test)]
mod tests;
