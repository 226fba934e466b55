//! Positions in the write-ahead log, and the names of its segments.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A byte position in the write-ahead log, written as `16/B374D848`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// A text that is no position in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a position in the log")]
pub struct ParseLsnError(String);

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |text: &str| {
            let digits =
                (1..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
            digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
        };
        text.split_once('/')
            .and_then(|(high, low)| Some(Self(part(high)? << 32 | part(low)?)))
            .ok_or_else(|| ParseLsnError(text.to_owned()))
    }
}

impl Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Lsn {
    /// Number of the segment that holds this position. `segment_size` is in bytes, not 0.
    #[must_use]
    pub fn segment(self, segment_size: u32) -> u64 {
        self.0 / u64::from(segment_size)
    }
}

/// Name of a segment's file: timeline, then the number in two parts.
#[must_use]
pub fn segment_name(timeline: u32, segment: u64, segment_size: u32) -> String {
    let per_id = (1u64 << 32) / u64::from(segment_size);
    format!(
        "{timeline:08X}{:08X}{:08X}",
        segment / per_id,
        segment % per_id
    )
}

/// Numbers of the segments that hold the log from `start` to `stop`, which is not part of it.
#[must_use]
pub fn segments(start: Lsn, stop: Lsn, segment_size: u32) -> std::ops::RangeInclusive<u64> {
    let last = Lsn(stop.0.saturating_sub(1).max(start.0));
    start.segment(segment_size)..=last.segment(segment_size)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_are_written_as_the_server_does() {
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        assert_eq!("0/2000028".parse(), Ok(Lsn(0x200_0028)));
        for bad in [
            "",
            "/",
            "0",
            "0/",
            "0/123456789",
            "0/G",
            "+1/2",
            "1/2/3",
            "0/+1",
        ] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn segments_have_the_names_of_their_files() {
        const MIB16: u32 = 16 << 20;
        assert_eq!(segment_name(1, 2, MIB16), "000000010000000000000002");
        assert_eq!(segment_name(3, 256, MIB16), "000000030000000100000000");
        assert_eq!(segment_name(1, 0x1_0000_0005 / 4096, 1 << 20).len(), 24);
        let range = |a: u64, b: u64| segments(Lsn(a), Lsn(b), MIB16);
        assert_eq!(range(0x200_0028, 0x200_0138), 2..=2);
        assert_eq!(range(0x200_0028, 0x300_0000), 2..=2);
        assert_eq!(range(0x200_0028, 0x300_0001), 2..=3);
        assert_eq!(range(0x200_0000, 0x200_0000), 2..=2);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(at: u64) {
            prop_assert_eq!(Lsn(at).to_string().parse(), Ok(Lsn(at)));
            let json = serde_json::to_string(&Lsn(at)).expect("JSON");
            prop_assert_eq!(serde_json::from_str::<Lsn>(&json).expect("a position"), Lsn(at));
        }
    }
}
