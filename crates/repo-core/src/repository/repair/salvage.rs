//! Taking segments out of a pack whose directory is lost.
//!
//! The clear magic and length before each segment lead from one to the next; behind a place where
//! they do not, the next magic is searched. A find counts only when it opens under the pack's key
//! and its own offset, so chance and malice cost time only, and that is limited.

use std::collections::HashSet;
use std::sync::Arc;

use repo_format::commit::IndexRef;
use repo_format::pack::{self, SEGMENT_MAGIC, SEGMENT_PREFIX_LEN};
use repo_format::{BlobKind, HEADER_LEN, PackId, TAG_LEN, Texture, limits};

use super::{Repair, Stored};
use crate::error::{Error, Result};
use crate::limits::RESYNC_WINDOW;
use crate::progress::Finding;
use crate::repository::check::finding_or_fail;
use crate::repository::index::{IndexSet, SegmentAddress};
use crate::repository::segments::{DecodedSegment, ReadBuffers};
use crate::repository::session::{Encoder, SegmentWriter, Session};
use crate::repository::storage::Storage;

/// Bytes read in vain are at most so many times the length of the pack.
const VAIN: u64 = 4;

/// What was taken out of harmed packs.
#[derive(Default)]
pub(super) struct Salvage {
    /// Segments stored anew, by pack and offset.
    pub(super) segments: HashSet<(PackId, u32)>,
    pub(super) indexes: Vec<IndexRef>,
    pub(super) bytes: u64,
}

/// Stores chunks anew.
struct Writer<'a> {
    session: &'a Session,
    encoder: Encoder,
    data: SegmentWriter,
    tree: SegmentWriter,
    stored: u64,
}

impl Salvage {
    /// Goes through all harmed packs. A pass leaves chunks whose bases lie in them to the next one.
    /// Returns the blobs stored anew.
    pub(super) fn pass(
        &mut self,
        repair: &mut Repair<'_>,
        index: &Arc<IndexSet>,
        harmed: &[Stored],
        again: bool,
    ) -> Result<u64> {
        let inner = &repair.repository.inner;
        let dry_run = repair.options.dry_run;
        let session = Session::new(
            repair.session,
            Arc::clone(&inner.ring),
            inner.storage.clone(),
            Arc::clone(index),
            inner.config.pack_size,
            dry_run,
        );
        let size = inner.config.segment_size;
        let mut writer = Writer {
            session: &session,
            encoder: Encoder::new(repair.options.level)?,
            data: SegmentWriter::new(BlobKind::Data, Texture::Mixed, size),
            tree: SegmentWriter::new(BlobKind::Tree, Texture::Mixed, size),
            stored: 0,
        };
        for (id, size) in harmed {
            if let Err(error) = self.pack(repair, index, &mut writer, (*id, *size), again) {
                let why = finding_or_fail(error)?;
                if !again {
                    let message = format!("{}: nothing of it can be read: {why}", pack::path(id));
                    repair.find(Finding::damage(None, message));
                }
            }
            if !again {
                repair.progress.advance(*size, 1);
            }
        }
        writer.data.flush(&session, &mut writer.encoder)?;
        writer.tree.flush(&session, &mut writer.encoder)?;
        let stored = writer.stored;
        let written = session.finish()?;
        self.bytes += written.bytes;
        self.indexes.extend(written.indexes);
        Ok(stored)
    }

    fn pack(
        &mut self,
        repair: &Repair<'_>,
        index: &IndexSet,
        writer: &mut Writer<'_>,
        (id, size): Stored,
        again: bool,
    ) -> Result<()> {
        // Without the header no segment opens.
        repair.reader.opener(&id)?;
        let (mut buffers, mut decoded) = (ReadBuffers::default(), DecodedSegment::default());
        scan(repair.reader.storage(), id, size, &mut |address, sealed| {
            repair.proceed()?;
            let place = (id, address.offset);
            if self.segments.contains(&place) {
                return Ok(true);
            }
            let reader = &repair.reader;
            match reader.decode_sealed(index, address, sealed, &mut buffers, &mut decoded) {
                Ok(_) => {
                    writer.store(&decoded)?;
                    self.segments.insert(place);
                    Ok(true)
                }
                // It opened, and its base may be found by the end of this pass.
                Err(Error::MissingBlob { .. }) => {
                    if again && repair.options.dry_run {
                        self.segments.insert(place);
                    }
                    Ok(true)
                }
                Err(error) => {
                    let why = finding_or_fail(error)?;
                    tracing::debug!(why, offset = address.offset, "no segment here");
                    Ok(false)
                }
            }
        })
    }
}

impl Writer<'_> {
    /// Stores the chunks of a segment in full: others may stand on them at any depth.
    fn store(&mut self, decoded: &DecodedSegment) -> Result<()> {
        let kind = decoded.kind.unwrap_or(BlobKind::Data);
        let mut start = 0;
        for end in &decoded.ends {
            let end = *end as usize;
            let blob = decoded.raw.get(start..end);
            let blob = blob.ok_or(Error::Internal { what: "segment" })?;
            start = end;
            let id = self.session.ring().blob_id(kind, blob);
            if !self.session.claim(&id)? {
                continue;
            }
            self.stored += 1;
            let writer = match kind {
                BlobKind::Data => &mut self.data,
                BlobKind::Tree => &mut self.tree,
            };
            writer.push(self.session, &mut self.encoder, id, blob)?;
        }
        Ok(())
    }
}

/// Visits what may be segments of a pack, in order: their place and sealed bytes. `visit` says
/// whether it was one.
fn scan(
    storage: &Storage,
    id: PackId,
    size: u64,
    visit: &mut dyn FnMut(&SegmentAddress, &mut [u8]) -> Result<bool>,
) -> Result<()> {
    let key = pack::path(&id);
    let size = size.min(limits::PACK_MAX);
    let (mut at, mut vain) = (HEADER_LEN as u64, 0);
    let (mut window, mut sealed) = (Vec::new(), Vec::new());
    while at + (SEGMENT_PREFIX_LEN as u64) < size && vain <= VAIN * size {
        let end = size.min(at + RESYNC_WINDOW);
        storage.read(&key, at..end, &mut window)?;
        let Some((offset, stored)) = prefix(&window) else {
            // The last bytes of the window may begin a prefix.
            at = if end == size {
                size
            } else {
                end - SEGMENT_PREFIX_LEN as u64 + 1
            };
            continue;
        };
        let start = at + offset as u64 + SEGMENT_PREFIX_LEN as u64;
        let behind = start + u64::from(stored);
        let place = u32::try_from(start).map_err(|_| Error::Internal { what: "pack" })?;
        let mut found = false;
        if behind <= size {
            storage.read(&key, start..behind, &mut sealed)?;
            let address = SegmentAddress {
                pack: id,
                offset: place,
                stored,
                raw: 0,
            };
            found = visit(&address, &mut sealed)?;
        }
        if found {
            at = behind;
        } else {
            vain += u64::from(stored).min(size);
            at += offset as u64 + 1;
        }
    }
    Ok(())
}

/// The first magic with a possible length behind it: its offset and the length.
fn prefix(window: &[u8]) -> Option<(usize, u32)> {
    let lengths = TAG_LEN + 1..=limits::SEGMENT_RAW_MAX * 2;
    window
        .windows(SEGMENT_PREFIX_LEN)
        .enumerate()
        .find_map(|(offset, prefix)| {
            let stored = prefix.strip_prefix(SEGMENT_MAGIC.as_slice())?;
            let stored = u32::from_le_bytes(*stored.first_chunk()?);
            lengths
                .contains(&(stored as usize))
                .then_some((offset, stored))
        })
}

#[cfg(test)]
mod tests {
    use super::prefix;

    #[test]
    fn a_prefix_is_a_magic_and_a_possible_length() {
        let mut window = b"..sgmt\0\0\0\0..sgmt\xff\xff\xff\xff.sgmt".to_vec();
        assert_eq!(prefix(&window), None);
        let offset = window.len() - 4;
        window.extend(17u32.to_le_bytes());
        assert_eq!(prefix(&window), Some((offset, 17)));
        assert_eq!(prefix(&window[..window.len() - 1]), None);
    }
}
