//! How sizes, times, durations, ids and paths look to a person.
//!
//! Sizes are in binary units with one decimal, times local. A path that is not printable is shown
//! with escapes, so that no file name can move the cursor or pass for another line.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use repo_core::{EntryType, SnapshotId};

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A number of bytes: `17 B`, `1.2 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    if count < 1024 {
        return format!("{count} B");
    }
    // In tenths of a unit and rounded, so that 1023.96 KiB is shown as 1.0 MiB.
    let mut scale = 1024u128;
    let mut unit = 0;
    let tenths = |scale: u128| (u128::from(count) * 10 + scale / 2) / scale;
    while tenths(scale) >= 10_240 && unit + 1 < UNITS.len() {
        scale *= 1024;
        unit += 1;
    }
    let tenths = tenths(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// A count with its noun: `1 file`, `12,000 files`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = match (number, noun) {
        (1, _) => "",
        (_, "index") => "es",
        (_, "entry") => return format!("{} entries", grouped(number)),
        _ => "s",
    };
    format!("{} {noun}{plural}", grouped(number))
}

/// Digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration: `0.31 s`, `12.5 s`, `3:05 min`, `2:03:05 h`.
pub(crate) fn duration(duration: Duration) -> String {
    let (seconds, tenths) = (duration.as_secs(), duration.subsec_millis() / 100);
    match seconds {
        0..10 => format!("{seconds}.{:02} s", duration.subsec_millis() / 10),
        10..60 => format!("{seconds}.{tenths} s"),
        60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        _ => format!(
            "{}:{:02}:{:02} h",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        ),
    }
}

/// A point in time in the local zone: `2026-03-01 14:05:09`.
pub(crate) fn local_time(time_ms: i64) -> String {
    match Timestamp::from_millisecond(time_ms) {
        Ok(time) => time
            .to_zoned(TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string(),
        Err(_) => format!("{time_ms} ms"),
    }
}

/// A point in time as RFC 3339 in UTC, for machines.
pub(crate) fn utc_time(time_ms: i64) -> String {
    match Timestamp::from_millisecond(time_ms) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{time_ms} ms"),
    }
}

/// The first eight characters of a snapshot's id.
pub(crate) fn short(id: &SnapshotId) -> String {
    let mut hex = id.to_hex();
    hex.truncate(8);
    hex
}

/// The first `max` of a list, and how many more there are.
pub(crate) fn some(list: &[String], max: usize) -> String {
    let mut text = list[..list.len().min(max)].join(" ");
    if list.len() > max {
        let more = grouped((list.len() - max) as u64);
        text.push_str(&format!(" and {more} more"));
    }
    text
}

/// Bytes of a path for a person: what is not printable, and `\`, as escapes.
pub(crate) fn path(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() || is_invisible(c) {
                text.extend(c.escape_default());
            } else {
                text.push(c);
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _infallible = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// A local path for a person.
pub(crate) fn local_path(place: &Path) -> String {
    path(place.as_os_str().as_encoded_bytes())
}

/// Marks that turn the direction of text or have no width.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Type and permissions as `ls -l` writes them: `drwxr-xr-x`.
pub(crate) fn mode(kind: EntryType, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        EntryType::File => '-',
        EntryType::Directory => 'd',
        EntryType::Symlink => 'l',
        EntryType::Fifo => 'p',
        EntryType::CharDevice => 'c',
        EntryType::BlockDevice => 'b',
    });
    for (shift, special, letters) in [(6, 0o4000, "Ss"), (3, 0o2000, "Ss"), (0, 0o1000, "Tt")] {
        let bits = mode >> shift & 7;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push_str(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => "-",
            (false, true) => "x",
            (true, false) => &letters[..1],
            (true, true) => &letters[1..],
        });
    }
    text
}

/// Rows under a heading, in columns as wide as their widest cell; columns named in `right` are
/// aligned to the right.
pub(crate) fn table(heading: &[&str], right: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let heading_row: Vec<String> = heading.iter().map(|&cell| cell.to_owned()).collect();
    let all = || std::iter::once(&heading_row).chain(rows);
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| {
            let cells = all().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for ((cell, width), name) in row.iter().zip(&widths).zip(heading) {
            let padding = " ".repeat(width - cell.chars().count());
            if right.contains(name) {
                line.push_str(&padding);
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&padding);
            }
            line.push_str("  ");
        }
        line.truncate(line.trim_end().len());
        line
    };
    all().map(line).collect()
}

/// Measures how long something takes, to be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "what is measured is only shown")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed_ms(self) -> u64 {
        u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests;
