//! `pg_control`, the file that makes a directory a cluster.
//!
//! Its server writes it in place, so a reader can meet two states of it at once; its checksum tells.
//! Where the checksum lies differs by version: it covers all bytes before it, so it is found by what
//! it says.

/// Bytes of it that can hold anything; the rest is padding.
const USED: usize = 1024;
/// Where a checksum can lie at the earliest: behind what every version has.
const CHECKSUM_FROM: usize = 128;

/// What is read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Control {
    /// Number that a cluster gets when it is made and its standbys share.
    pub(crate) system_identifier: u64,
    /// Version of the file.
    pub(crate) version: u32,
    /// Version of the catalogs.
    pub(crate) catalog: u32,
}

impl Control {
    /// Reads it; `None` when no checksum in it is right.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let used = &bytes[..bytes.len().min(USED)];
        is_whole(used).then(|| {
            let word = |at: usize| {
                used.get(at..at + 4)
                    .and_then(|word| word.try_into().ok())
                    .map_or(0, u32::from_le_bytes)
            };
            Self {
                system_identifier: u64::from(word(4)) << 32 | u64::from(word(0)),
                version: word(8),
                catalog: word(12),
            }
        })
    }
}

/// Whether some word is the CRC-32C of all before it.
fn is_whole(used: &[u8]) -> bool {
    let Some(head) = used.get(..CHECKSUM_FROM) else {
        return false;
    };
    let mut sum = crc32c::crc32c(head);
    for word in used[CHECKSUM_FROM..].chunks_exact(4) {
        if word == sum.to_le_bytes() {
            return true;
        }
        sum = crc32c::crc32c_append(sum, word);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(at: usize) -> u8 {
        u8::try_from(at % 7 + 1).expect("small")
    }

    fn control(checksum_at: usize) -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        for (at, byte) in bytes[..checksum_at].iter_mut().enumerate() {
            *byte = self::byte(at);
        }
        let sum = crc32c::crc32c(&bytes[..checksum_at]);
        bytes[checksum_at..checksum_at + 4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    #[test]
    fn it_is_read_wherever_its_checksum_lies() {
        for at in [128, 288, 296, 508] {
            let read = Control::read(&control(at)).expect("a whole file");
            let word = |at: usize| u32::from_le_bytes([at, at + 1, at + 2, at + 3].map(byte));
            let high = u64::from(word(4)) << 32;
            assert_eq!(read.system_identifier, high | u64::from(word(0)));
            assert_eq!((read.version, read.catalog), (word(8), word(12)));
        }
    }

    #[test]
    fn half_written_is_not_whole() {
        let good = control(288);
        for at in [0, 17, 100, 287, 288, 291] {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert_eq!(Control::read(&bad), None, "{at}");
        }
        assert_eq!(Control::read(&good[..100]), None);
        assert_eq!(Control::read(&[]), None);
        assert_eq!(Control::read(&[0; 8192]), None);
    }
}
