//! Parquet: where the column chunks of a file are, and cuts at the page edges inside them.
//!
//! The footer names the column chunks; pages are found while cutting, from the header each page
//! starts with. Everything read here is untrusted: a footer that makes no sense is refused as a
//! whole, a page header that makes none turns the rest of its column chunk into plain bytes.

mod page;
#[cfg(test)]
pub(crate) mod test_file;
mod thrift;
mod walk;

pub(crate) use walk::Walk;

use thrift::{Kind, Malformed, Reader};

/// Magic at both ends of a file with a plain footer.
pub(crate) const MAGIC: &[u8; 4] = b"PAR1";
/// Footer length and magic at the end of a file.
const TRAILER: usize = 8;
/// Longest footer read; a longer one is cheaper to cut as plain bytes.
const FOOTER_MAX: u64 = 16 << 20;
/// Most column chunks of one file.
const RANGES_MAX: usize = 1 << 20;
/// Bytes of tail to ask for when not even the trailer is there.
const TAIL_GUESS: u64 = 64 << 10;

/// Column chunk ranges of one Parquet file, in order, without overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    ranges: Vec<Range>,
}

/// Bytes of one column chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u64,
    end: u64,
    /// Pages are compressed, so a changed page has nothing in common with the old one.
    compressed: bool,
}

/// What the tail of a file says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Footer {
    /// Where the column chunks are.
    Layout(Layout),
    /// The last so many bytes are needed.
    NeedTail(u64),
    /// Not Parquet, encrypted, or broken: cut as [`Plan::Generic`](crate::Plan::Generic).
    Unusable,
}

/// Reads the footer of a file of `len` bytes from `tail`, its last `tail.len()` bytes.
///
/// A tail of as many bytes as `NeedTail` asked for never gives `NeedTail` again.
/// Memory is bounded by the footer's own length, at most 16 MiB of it.
pub fn footer(tail: &[u8], len: u64) -> Footer {
    let least = (MAGIC.len() + TRAILER) as u64;
    if len < least || tail.len() as u64 > len {
        return Footer::Unusable;
    }
    let Some((rest, trailer)) = tail.split_last_chunk::<TRAILER>() else {
        return Footer::NeedTail(len.min(TAIL_GUESS));
    };
    let [a, b, c, d, magic @ ..] = *trailer;
    let size = u64::from(u32::from_le_bytes([a, b, c, d]));
    if &magic != MAGIC || size > FOOTER_MAX || size > len - least {
        return Footer::Unusable;
    }
    let Some(metadata) = usize::try_from(size)
        .ok()
        .and_then(|size| rest.len().checked_sub(size))
        .and_then(|start| rest.get(start..))
    else {
        return Footer::NeedTail(size + TRAILER as u64);
    };
    let data_end = len - size - TRAILER as u64;
    match layout(metadata, data_end) {
        Ok(layout) => Footer::Layout(layout),
        Err(Malformed) => Footer::Unusable,
    }
}

/// Reads `FileMetaData` and checks that its column chunks lie in order before `data_end`.
fn layout(metadata: &[u8], data_end: u64) -> Result<Layout, Malformed> {
    let mut ranges = Vec::new();
    let mut reader = Reader::new(metadata);
    reader.fields(|reader, id, kind| match (id, kind) {
        (4, Kind::List) => reader.structs(|reader| row_group(reader, &mut ranges)),
        _ => reader.skip(kind),
    })?;
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut at = MAGIC.len() as u64;
    for range in &ranges {
        if range.start < at || range.end > data_end {
            return Err(Malformed);
        }
        at = range.end;
    }
    ranges.retain(|range| range.start < range.end);
    if ranges.is_empty() {
        return Err(Malformed);
    }
    Ok(Layout { ranges })
}

fn row_group(reader: &mut Reader<'_>, ranges: &mut Vec<Range>) -> Result<(), Malformed> {
    reader.fields(|reader, id, kind| match (id, kind) {
        (1, Kind::List) => reader.structs(|reader| column_chunk(reader, ranges)),
        _ => reader.skip(kind),
    })
}

fn column_chunk(reader: &mut Reader<'_>, ranges: &mut Vec<Range>) -> Result<(), Malformed> {
    let mut elsewhere = false;
    let mut found = None;
    reader.fields(|reader, id, kind| match (id, kind) {
        (1, Kind::Binary) => {
            elsewhere = true;
            reader.skip(kind)
        }
        (3, Kind::Struct) => {
            found = Some(column_metadata(reader)?);
            Ok(())
        }
        _ => reader.skip(kind),
    })?;
    if let (false, Some(range)) = (elsewhere, found) {
        if ranges.len() >= RANGES_MAX {
            return Err(Malformed);
        }
        ranges.push(range);
    }
    Ok(())
}

fn column_metadata(reader: &mut Reader<'_>) -> Result<Range, Malformed> {
    let (mut codec, mut size, mut data, mut dictionary) = (0, None, None, None);
    reader.fields(|reader, id, kind| {
        match (id, kind) {
            (4, Kind::I32) => codec = reader.integer()?,
            (7, Kind::I64) => size = Some(reader.integer()?),
            (9, Kind::I64) => data = Some(reader.integer()?),
            (11, Kind::I64) => dictionary = Some(reader.integer()?).filter(|at| *at > 0),
            _ => reader.skip(kind)?,
        }
        Ok(())
    })?;
    let data = data.ok_or(Malformed)?;
    let start = dictionary.map_or(data, |dictionary| data.min(dictionary));
    let start = u64::try_from(start).map_err(|_| Malformed)?;
    let size = u64::try_from(size.ok_or(Malformed)?).map_err(|_| Malformed)?;
    Ok(Range {
        start,
        end: start.checked_add(size).ok_or(Malformed)?,
        compressed: codec != 0,
    })
}

#[cfg(test)]
mod tests;
