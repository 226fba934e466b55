//! What a file is, from its name and its first bytes.
//!
//! A wrong answer costs deduplication, never correctness, so the checks are few: a name that only
//! that system gives, a header that only that system writes. Small files are always generic,
//! since they are one chunk under any policy.

use crate::columnar;

/// Files up to this many bytes are cut as generic.
const SMALL: u64 = 16 << 10;
/// Length of a Postgres page header.
const POSTGRES_HEADER: usize = 24;
/// Newest Postgres page layout; the older ones have not been written since 2006.
const POSTGRES_LAYOUT: u16 = 4;
/// InnoDB type of the first page of a tablespace, `FIL_PAGE_TYPE_FSP_HDR`.
const INNODB_FIRST: [u8; 2] = [0, 8];

/// How a file is cut, kept with its tree node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Content-defined cuts.
    Generic,
    /// A file of fixed pages that change in place: Postgres, SQLite, InnoDB, DuckDB.
    Pages,
    /// A file of compressed column pages: Parquet.
    Columnar,
}

impl Policy {
    /// Decides from the end of a path, the file's size and its first bytes.
    ///
    /// The last three components of `path`, separated by `/`, and 8 KiB of `head` are enough.
    pub fn detect(path: &[u8], size: u64, head: &[u8]) -> Self {
        if size <= SMALL {
            return Self::Generic;
        }
        if head.starts_with(columnar::MAGIC) {
            return Self::Columnar;
        }
        let pages = head.starts_with(b"SQLite format 3\0")
            || head.get(8..12) == Some(b"DUCK")
            || (postgres_path(path) && postgres_head(head))
            || (innodb_path(path) && innodb_head(head));
        if pages { Self::Pages } else { Self::Generic }
    }

    /// Returns the number that stands for the policy in a tree.
    pub fn code(self) -> u8 {
        match self {
            Self::Generic => 0,
            Self::Pages => 1,
            Self::Columnar => 2,
        }
    }

    /// Returns the policy a number stands for.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Generic),
            1 => Some(Self::Pages),
            2 => Some(Self::Columnar),
            _ => None,
        }
    }
}

/// Accepts `base/<oid>/<relation>`, `global/<relation>` and
/// `pg_tblspc/<oid>/PG_<version>/<oid>/<relation>`.
fn postgres_path(path: &[u8]) -> bool {
    let mut parts = path.rsplit(|byte| *byte == b'/');
    let (Some(name), Some(parent)) = (parts.next(), parts.next()) else {
        return false;
    };
    let place = parent == b"global"
        || (number(parent)
            && parts
                .next()
                .is_some_and(|top| top == b"base" || top.starts_with(b"PG_")));
    place && relation(name)
}

/// Accepts `<filenode>`, optionally with a fork (`_fsm`, `_vm`, `_init`), then a segment (`.1`).
fn relation(name: &[u8]) -> bool {
    let (stem, segment) = split(name, b'.');
    let (filenode, fork) = split(stem, b'_');
    number(filenode)
        && segment.is_none_or(number)
        && fork.is_none_or(|fork| matches!(fork, b"fsm" | b"vm" | b"init"))
}

fn split(bytes: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    match bytes.iter().position(|byte| *byte == at) {
        Some(place) => (&bytes[..place], Some(&bytes[place + 1..])),
        None => (bytes, None),
    }
}

fn number(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit)
}

/// Accepts a page header whose size and pointers agree, or a first page never written.
fn postgres_head(head: &[u8]) -> bool {
    let Some(header) = head.get(..POSTGRES_HEADER) else {
        return false;
    };
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let (lower, upper, special, version) = (word(12), word(14), word(16), word(18));
    let size = version & 0xff00;
    let written = version & 0xff == POSTGRES_LAYOUT
        && size.is_power_of_two()
        && usize::from(lower) >= POSTGRES_HEADER
        && lower <= upper
        && upper <= special
        && special <= size;
    written || head.iter().all(|byte| *byte == 0)
}

fn innodb_path(path: &[u8]) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    name.ends_with(b".ibd") || name.starts_with(b"ibdata")
}

/// Accepts the header of page 0 of a tablespace, which names the space twice.
fn innodb_head(head: &[u8]) -> bool {
    head.get(4..8) == Some(&[0; 4])
        && head.get(24..26) == Some(&INNODB_FIRST)
        && head.len() >= 42
        && head[34..38] == head[38..42]
}

#[cfg(test)]
mod tests;
