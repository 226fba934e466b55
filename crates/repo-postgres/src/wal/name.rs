//! Names of the files that Postgres archives, and the volumes of the repository they go to.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use crate::wal::error::{Error, Result};

/// A segment of WAL: its timeline and its place in the sequence, in the two parts of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// The timeline, from 1.
    pub timeline: u32,
    /// Upper half of the positions it holds.
    pub log: u32,
    /// Number of the segment within them.
    pub number: u32,
}

impl Segment {
    /// The segment of `timeline` that holds the position `lsn`.
    #[must_use]
    pub fn holding(timeline: u32, lsn: u64, segment_size: u64) -> Self {
        let low = lsn & u64::from(u32::MAX);
        Self {
            timeline,
            log: u32::try_from(lsn >> 32).unwrap_or(u32::MAX),
            number: u32::try_from(low / segment_size.max(1)).unwrap_or(u32::MAX),
        }
    }

    /// The first position it holds.
    #[must_use]
    pub fn start(&self, segment_size: u64) -> u64 {
        (u64::from(self.log) << 32).saturating_add(u64::from(self.number) * segment_size)
    }

    /// The next one of the same timeline; `None` at the end of all positions.
    #[must_use]
    pub fn next(&self, segment_size: u64) -> Option<Self> {
        let after = self.start(segment_size).checked_add(segment_size)?;
        Some(Self::holding(self.timeline, after, segment_size))
    }
}

impl Display for Segment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            timeline,
            log,
            number,
        } = self;
        write!(f, "{timeline:08X}{log:08X}{number:08X}")
    }
}

/// A file that Postgres archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalFile {
    /// What a timeline branched from. First in order, because nothing can be replayed without it.
    History(u32),
    /// A whole segment.
    Segment(Segment),
    /// The last segment of a timeline that ended in the midst of it.
    Partial(Segment),
    /// The label of a base backup that began in a segment, at an offset.
    Label(Segment, u32),
}

impl WalFile {
    /// The segment it belongs to.
    #[must_use]
    pub fn segment(&self) -> Option<Segment> {
        match *self {
            Self::History(_) => None,
            Self::Segment(segment) | Self::Partial(segment) | Self::Label(segment, _) => {
                Some(segment)
            }
        }
    }

    /// Whether it holds records of WAL.
    #[must_use]
    pub fn holds_wal(&self) -> bool {
        matches!(self, Self::Segment(_) | Self::Partial(_))
    }

    /// The volume it is kept in.
    #[must_use]
    pub fn volume(&self) -> Volume {
        match self.segment() {
            None => Volume::Histories,
            Some(segment) => Volume::Segments {
                timeline: segment.timeline,
                log: segment.log,
            },
        }
    }
}

impl Display for WalFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::History(timeline) => write!(f, "{timeline:08X}.history"),
            Self::Segment(segment) => segment.fmt(f),
            Self::Partial(segment) => write!(f, "{segment}.partial"),
            Self::Label(segment, offset) => write!(f, "{segment}.{offset:08X}.backup"),
        }
    }
}

impl FromStr for WalFile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| Error::Name {
            name: text.escape_default().to_string(),
        })
    }
}

fn parse(text: &str) -> Option<WalFile> {
    let (stem, kind) = text.split_once('.').unwrap_or((text, ""));
    if kind == "history" {
        return Some(WalFile::History(digits(stem)?));
    }
    let segment = Segment {
        timeline: digits(stem.get(..8)?)?,
        log: digits(stem.get(8..16)?)?,
        number: digits(stem.get(16..)?)?,
    };
    match kind {
        "" if stem.len() == text.len() => Some(WalFile::Segment(segment)),
        "partial" => Some(WalFile::Partial(segment)),
        _ => {
            let offset = kind.strip_suffix(".backup")?;
            Some(WalFile::Label(segment, digits(offset)?))
        }
    }
}

/// Eight hexadecimal digits as Postgres writes them.
fn digits(text: &str) -> Option<u32> {
    let written = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
    if text.len() != 8 || !text.bytes().all(written) {
        return None;
    }
    u32::from_str_radix(text, 16).ok()
}

/// Files that are one snapshot together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Volume {
    /// All history files of a cluster.
    Histories,
    /// What belongs to 4 GiB of a timeline.
    Segments {
        /// The timeline.
        timeline: u32,
        /// Upper half of the positions.
        log: u32,
    },
}

impl Volume {
    /// The path that snapshots of this volume record.
    #[must_use]
    pub fn path(&self, system: u64) -> String {
        format!("/postgres/{system}/wal/{self}")
    }

    /// The system and the volume that a recorded path means.
    #[must_use]
    pub fn parse_path(path: &[u8]) -> Option<(u64, Self)> {
        let path = std::str::from_utf8(path).ok()?.strip_prefix("/postgres/")?;
        let (system, name) = path.split_once("/wal/")?;
        let volume = match name {
            "history" => Self::Histories,
            _ if name.len() == 16 => Self::Segments {
                timeline: digits(name.get(..8)?)?,
                log: digits(name.get(8..)?)?,
            },
            _ => return None,
        };
        Some((system.parse().ok()?, volume))
    }
}

impl Display for Volume {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Histories => f.write_str("history"),
            Self::Segments { timeline, log } => write!(f, "{timeline:08X}{log:08X}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: Segment = Segment {
        timeline: 2,
        log: 0xAB,
        number: 0xFF,
    };

    #[test]
    fn names_are_those_of_postgres() {
        for (text, file) in [
            ("00000002000000AB000000FF", WalFile::Segment(SEGMENT)),
            (
                "00000002000000AB000000FF.partial",
                WalFile::Partial(SEGMENT),
            ),
            (
                "00000002000000AB000000FF.00000028.backup",
                WalFile::Label(SEGMENT, 0x28),
            ),
            ("0000000A.history", WalFile::History(10)),
        ] {
            assert_eq!(text.parse::<WalFile>().ok(), Some(file), "{text}");
            assert_eq!(file.to_string(), text);
        }
    }

    #[test]
    fn other_names_are_refused() {
        for text in [
            "",
            ".",
            "00000002000000AB000000F",
            "00000002000000AB000000FF0",
            "00000002000000AB000000FF.",
            "00000002000000ab000000ff",
            "00000002000000AB000000FF.partial.partial",
            "00000002000000AB000000FF.28.backup",
            "../../00000002000000AB00",
            "0000000A.history.ready",
            "A.history",
            "+0000002000000AB000000FF",
            "0000000200000\u{e4}0AB00000FF",
        ] {
            assert!(text.parse::<WalFile>().is_err(), "{text}");
        }
    }

    #[test]
    fn segments_follow_each_other() {
        let size = 16 << 20;
        let next = SEGMENT.next(size).expect("there is one");
        assert_eq!(next.to_string(), "00000002000000AC00000000");
        assert_eq!(next.start(size), 0xAC << 32);
        assert_eq!(Segment::holding(2, (0xAC << 32) - 1, size), SEGMENT);
        let last = Segment::holding(1, u64::MAX, size);
        assert_eq!(last.next(size), None);
    }

    #[test]
    fn volumes_are_known_by_their_paths() {
        for file in [WalFile::History(3), WalFile::Segment(SEGMENT)] {
            let volume = file.volume();
            let path = volume.path(7);
            assert_eq!(Volume::parse_path(path.as_bytes()), Some((7, volume)));
        }
        assert_eq!(
            WalFile::Segment(SEGMENT).volume().to_string(),
            "00000002000000AB"
        );
        for path in [
            "/postgres/7/wal/",
            "/postgres/x/wal/history",
            "/home",
            "/postgres/7/data",
        ] {
            assert_eq!(Volume::parse_path(path.as_bytes()), None, "{path}");
        }
    }
}
