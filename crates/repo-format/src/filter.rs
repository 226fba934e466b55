//! BinaryFuse8 filter over blob keys: answers "certainly not in this index object".
//!
//! Stored as `seed u64 | segment length u32 | segment count length u32 | fingerprints`, the
//! fields of the `xorf` crate's descriptor (Graf and Lemire, "Binary Fuse Filters", 2022).

use xorf::{BinaryFuse8, Filter};

use crate::cursor::Cursor;
use crate::error::{Error, malformed};
use crate::id::BlobKey;

const WHAT: &str = "index filter";

/// A set of blob keys with false positives (0.4 %) and no false negatives; about 9 bits a key.
pub struct KeyFilter(Option<BinaryFuse8>);

impl KeyFilter {
    /// Builds a filter of sorted keys. Falls back to a filter that answers "maybe" to all when
    /// construction fails, which needs an improbable run of bad seeds.
    #[must_use]
    pub fn build(keys: impl Iterator<Item = BlobKey>) -> Self {
        let mut hashes: Vec<u64> = keys.map(|key| hash(&key)).collect();
        hashes.dedup();
        Self(BinaryFuse8::try_from(hashes.as_slice()).ok())
    }

    /// `false` only when `key` is certainly not in the set.
    #[must_use]
    pub fn may_contain(&self, key: &BlobKey) -> bool {
        self.0
            .as_ref()
            .is_none_or(|filter| filter.contains(&hash(key)))
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        if let Some(filter) = &self.0 {
            out.extend_from_slice(&filter.descriptor.seed.to_le_bytes());
            out.extend_from_slice(&filter.descriptor.segment_length.to_le_bytes());
            out.extend_from_slice(&filter.descriptor.segment_count_length.to_le_bytes());
            out.extend_from_slice(&filter.fingerprints);
        }
    }

    /// Decodes what `encode` wrote; an empty slice is the filter that answers "maybe". The
    /// descriptor is checked so that no look-up can index past the fingerprints.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        let mut cursor = Cursor::new(WHAT, bytes);
        let seed = cursor.u64()?;
        let segment_length = cursor.u32()?;
        let segment_count_length = cursor.u32()?;
        let fingerprints = cursor.take(cursor.remaining())?;
        let spans = u64::from(segment_count_length) + 2 * u64::from(segment_length);
        if !segment_length.is_power_of_two()
            || segment_length > 1 << 18
            || segment_count_length == 0
            || !segment_count_length.is_multiple_of(segment_length)
            || spans != fingerprints.len() as u64
        {
            return Err(malformed(WHAT, "its descriptor does not fit its size"));
        }
        Ok(Self(Some(BinaryFuse8 {
            descriptor: xorf::Descriptor {
                seed,
                segment_length,
                segment_length_mask: segment_length - 1,
                segment_count_length,
            },
            fingerprints: fingerprints.into(),
        })))
    }
}

/// Keys are already uniform, so their first eight bytes serve as hash.
fn hash(key: &BlobKey) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&key.0[..8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
