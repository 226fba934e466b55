//! What the first page of a segment says about it.
//!
//! Servers on little-endian machines only; a segment of another one is refused by its magic.

use crate::wal::error::{Error, Result};
use crate::wal::name::{Segment, WalFile};

/// Length of the long header of a segment's first page, in bytes.
pub(crate) const HEADER_LEN: usize = 40;

/// Smallest and largest magic that is taken for WAL: those of Postgres 13 and of versions to come.
const MAGIC: std::ops::RangeInclusive<u16> = 0xD106..=0xD1FF;

/// Flag of a page that begins a segment.
const LONG_HEADER: u16 = 0x0002;

/// Lengths that Postgres allows.
const SEGMENT_SIZES: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 30);

/// The long header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Timeline that its first page was written on. A segment in which a timeline began is a copy
    /// of the one before up to there, so this can be an earlier timeline than that of the name.
    pub timeline: u32,
    /// First position.
    pub start: u64,
    /// The cluster.
    pub system: u64,
    /// Length of segments of the cluster, in bytes.
    pub segment_size: u64,
}

impl Header {
    /// Reads the header from the first bytes of a segment.
    pub fn parse(bytes: &[u8]) -> std::result::Result<Self, &'static str> {
        let bytes = bytes.get(..HEADER_LEN).ok_or("it is too short")?;
        if !MAGIC.contains(&u16_at(bytes, 0)) {
            return Err("it does not begin with WAL of Postgres 13 or newer");
        }
        if u16_at(bytes, 2) & LONG_HEADER == 0 {
            return Err("its first page is not the first of a segment");
        }
        let header = Self {
            timeline: u32_at(bytes, 4),
            start: u64_at(bytes, 8),
            system: u64_at(bytes, 24),
            segment_size: u64::from(u32_at(bytes, 32)),
        };
        let size = header.segment_size;
        if !size.is_power_of_two() || !SEGMENT_SIZES.contains(&size) {
            return Err("its header has an impossible segment size");
        }
        Ok(header)
    }

    /// Compares the header with the name and the length of the file it is from.
    pub fn matches(&self, segment: &Segment, len: u64) -> std::result::Result<(), &'static str> {
        if len != self.segment_size {
            return Err("its length is not that of a segment");
        }
        if self.start != segment.start(self.segment_size) {
            return Err("its first page is from another place in the WAL");
        }
        if self.timeline == 0 || self.timeline > segment.timeline {
            return Err("its first page is from another timeline");
        }
        Ok(())
    }
}

/// Whether `head`, the first bytes of a file of `len` bytes, can be what its name says, of `system`.
pub(crate) fn validate(file: WalFile, head: &[u8], len: u64, system: u64) -> Result<()> {
    let Some(segment) = file.segment().filter(|_| file.holds_wal()) else {
        return Ok(());
    };
    let refused = |why| Error::NotWal { file, why };
    let header = Header::parse(head).map_err(refused)?;
    header.matches(&segment, len).map_err(refused)?;
    if header.system != system {
        return Err(Error::OtherSystem {
            file,
            found: header.system,
            expected: system,
        });
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// Zeros where the slice ends, which the length check of the caller excludes.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let part = bytes.get(at..).and_then(|rest| rest.first_chunk());
    part.copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 1 << 20;

    fn header(timeline: u32, start: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&0xD110_u16.to_le_bytes());
        bytes.extend_from_slice(&LONG_HEADER.to_le_bytes());
        bytes.extend_from_slice(&timeline.to_le_bytes());
        bytes.extend_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(&7_u64.to_le_bytes());
        bytes.extend_from_slice(&(1_u32 << 20).to_le_bytes());
        bytes.extend_from_slice(&8192_u32.to_le_bytes());
        bytes
    }

    fn file(name: &str) -> WalFile {
        name.parse().expect("a name")
    }

    #[test]
    fn what_fits_its_name_is_accepted() {
        let segment = file("000000020000000000000003");
        for timeline in [1, 2] {
            let head = header(timeline, 3 * SIZE);
            assert!(validate(segment, &head, SIZE, 7).is_ok());
        }
        let partial = file("000000020000000000000003.partial");
        assert!(validate(partial, &header(2, 3 * SIZE), SIZE, 7).is_ok());
        assert!(validate(file("00000002.history"), b"", 0, 7).is_ok());
    }

    #[test]
    fn what_does_not_is_refused() {
        let segment = file("000000020000000000000003");
        let good = header(2, 3 * SIZE);
        let refused = |head: &[u8], len, system| validate(segment, head, len, system).is_err();
        assert!(refused(&good, SIZE, 8), "another cluster");
        assert!(refused(&good, SIZE - 1, 7), "cut");
        assert!(refused(&header(3, 3 * SIZE), SIZE, 7), "a later timeline");
        assert!(refused(&header(2, 4 * SIZE), SIZE, 7), "another place");
        assert!(refused(&good[..39], SIZE, 7), "short");
        assert!(refused(&[0; 64], SIZE, 7), "zeros");
        for at in [1, 2, 32] {
            let mut bytes = good.clone();
            bytes[at] ^= 0xFF;
            assert!(refused(&bytes, SIZE, 7), "a flip at {at}");
        }
    }
}
