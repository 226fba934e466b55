//! Following bases: a delta may stand on a delta, and that one on another, down to a chunk that
//! stands by itself.
//!
//! Each step goes to a smaller depth, whatever stored bytes say, so hostile packs can make no
//! circle. What lies on the way is authentic but not compared with its id: who asked compares what
//! comes out in the end.

use std::ops::Deref;
use std::sync::Arc;

use repo_format::pack::SEGMENT_PREFIX_LEN;
use repo_format::segment::SegmentBody;
use repo_format::{Base, BlobId, TAG_LEN, limits};

use super::{Blob, DecodedSegment, ReadBuffers, SegmentReader};
use crate::error::{Error, Result};
use crate::repository::index::{IndexSet, Location, SegmentAddress};

/// Longest delta that is followed, as it is stored: a chunk that does not compress at all is shorter.
const LINK_MAX: usize = limits::CHUNK_MAX + (64 << 10);

/// Buffers one thread reuses while it follows bases.
#[derive(Default)]
pub(super) struct ChainBuffers {
    links: Vec<Vec<u8>>,
    contents: Vec<Vec<u8>>,
}

impl ChainBuffers {
    /// Takes back what is not needed any more.
    pub(super) fn give(&mut self, content: Content) {
        if let Content::Decoded(bytes) = content {
            self.contents.push(bytes);
        }
    }
}

/// The bytes of a base.
pub(super) enum Content {
    /// It stands by itself.
    Whole(Blob),
    /// It was decoded for this purpose.
    Decoded(Vec<u8>),
}

impl Deref for Content {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Whole(blob) => blob,
            Self::Decoded(bytes) => bytes,
        }
    }
}

/// One step down.
enum Link {
    Whole(Blob),
    Delta(Delta),
}

/// A delta that was read and opened.
struct Delta {
    address: SegmentAddress,
    /// Prefix, opened body, tag.
    bytes: Vec<u8>,
    base: Base,
}

impl Delta {
    fn body(&self) -> &[u8] {
        &self.bytes[SEGMENT_PREFIX_LEN..self.bytes.len() - TAG_LEN]
    }
}

/// The way down from a base.
struct Descent {
    /// From the base itself on.
    deltas: Vec<Delta>,
    /// What they stand on.
    root: BlobId,
    content: Blob,
}

impl SegmentReader {
    /// The bytes of a base, at a smaller depth than that of its delta.
    pub(super) fn content(
        &self,
        index: &IndexSet,
        base: &Base,
        buffers: &mut ReadBuffers,
    ) -> Result<Content> {
        let descent = self.descend(index, base, buffers)?;
        let mut content = Content::Whole(descent.content);
        for delta in descent.deltas.into_iter().rev() {
            let mut out = buffers.chain.contents.pop().unwrap_or_default();
            SegmentBody::parse(delta.body())
                .and_then(|body| body.decode(&mut buffers.decompressor, Some(&content), &mut out))
                .map_err(|source| self.bad(&delta.address, source))?;
            buffers.chain.links.push(delta.bytes);
            buffers
                .chain
                .give(std::mem::replace(&mut content, Content::Decoded(out)));
        }
        Ok(content)
    }

    /// The chunk at the end of the way down from `base`.
    pub(super) fn root(&self, index: &IndexSet, base: &Base) -> Result<BlobId> {
        let mut buffers = self.take();
        let descent = self.descend(index, base, &mut buffers);
        self.give(buffers);
        Ok(descent?.root)
    }

    /// Reads all that `base` stands on.
    fn descend(&self, index: &IndexSet, base: &Base, buffers: &mut ReadBuffers) -> Result<Descent> {
        let mut deltas = Vec::new();
        let mut base = *base;
        loop {
            match self.link(index, &base, buffers)? {
                Link::Delta(delta) => {
                    base = delta.base;
                    deltas.push(delta);
                }
                Link::Whole(content) => {
                    let root = base.id;
                    return Ok(Descent {
                        deltas,
                        root,
                        content,
                    });
                }
            }
        }
    }

    /// Whether the copy of `base` that a look-up finds lies at a smaller depth than its delta.
    pub(crate) fn holds(&self, index: &IndexSet, base: &Base) -> Result<bool> {
        let Some(at) = index.find(&base.id.key())? else {
            return Ok(false);
        };
        let mut buffers = self.take();
        let link = self.copy(index, &at, base, &mut buffers);
        self.give(buffers);
        Ok(link?.is_some())
    }

    /// A copy of the base at a smaller depth than that of its delta. The copy that a look-up finds
    /// is one, unless something is wrong with it or its pack: then any other is as good.
    fn link(&self, index: &IndexSet, base: &Base, buffers: &mut ReadBuffers) -> Result<Link> {
        let key = base.id.key();
        let missing = Error::MissingBlob { id: base.id };
        let Some(at) = index.find(&key)? else {
            return Err(missing);
        };
        let why = match self.copy(index, &at, base, buffers) {
            Ok(Some(link)) => return Ok(link),
            Ok(None) => missing,
            Err(error) => error,
        };
        let mut others = Vec::new();
        index.find_all(&key, |other| others.push(*other));
        for other in others.iter().filter(|other| other.segment != at.segment) {
            if let Ok(Some(link)) = self.copy(index, other, base, buffers) {
                return Ok(link);
            }
        }
        Err(why)
    }

    /// The copy at a place, unless it lies too deep.
    fn copy(
        &self,
        index: &IndexSet,
        at: &Location,
        base: &Base,
        buffers: &mut ReadBuffers,
    ) -> Result<Option<Link>> {
        let address = &at.segment;
        let damaged = || Error::DamagedBlob {
            id: base.id,
            pack: address.pack,
        };
        let whole = |segment: Arc<DecodedSegment>| {
            let range = segment.range(at.ordinal).ok_or_else(damaged)?;
            Ok(Some(Link::Whole(Blob { segment, range })))
        };
        if let Some(segment) = self.lookup(address) {
            return whole(segment);
        }
        let mut bytes = buffers.chain.links.pop().unwrap_or_default();
        self.fetch(index, address, &mut bytes)?;
        let body = self.open(address, &mut bytes[SEGMENT_PREFIX_LEN..])?;
        match body.base {
            None => {
                let mut segment = DecodedSegment::default();
                let decompressor = &mut buffers.decompressor;
                self.decode(address, &body, None, decompressor, &mut segment)?;
                buffers.chain.links.push(bytes);
                whole(self.keep(address, segment))
            }
            // All links of a way down are in memory at once.
            Some(_) if address.stored as usize > LINK_MAX => Err(damaged()),
            Some(below) if below.depth < base.depth => Ok(Some(Link::Delta(Delta {
                address: *address,
                bytes,
                base: below,
            }))),
            Some(_) => {
                buffers.chain.links.push(bytes);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests;
