//! Files of changes, which servers send since version 17, folded over the file as the parent has it.
//!
//! A file of changes is `INCREMENTAL.<file>`: four bytes that say what it is, the number of blocks it
//! has, the length in blocks up to which blocks of the earlier file may be taken, the numbers of its
//! blocks in order, and, where there are any, zeros up to the next whole block and the blocks. All
//! numbers are 32 bits, little-endian. What is in neither is zeros.

use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use crate::page::PAGE;

/// What a file of changes begins with.
const MAGIC: u32 = 0xD3AE_1F0D;
/// What the names of files of changes begin with.
const PREFIX: &[u8] = b"INCREMENTAL.";
/// Bytes before the numbers of blocks.
const HEAD: usize = 12;
/// Bytes of the earlier file that are read at once.
const SPAN: u64 = 1 << 20;
/// Lines of `backup_label` that only a backup of changes has: no server starts with them.
const LABEL_LINES: [&[u8]; 2] = [b"INCREMENTAL FROM LSN: ", b"INCREMENTAL FROM TLI: "];

/// The path of the file that the file of changes at `path` is for; `None` for other files.
pub(super) fn whole_path(path: &[u8]) -> Option<Vec<u8>> {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    let (directory, name) = path.split_at(slash.map_or(0, |at| at + 1));
    let name = name.strip_prefix(PREFIX)?;
    Some([directory, name].concat())
}

/// The label of a backup of changes as that of a full one.
pub(super) fn whole_label(label: &[u8]) -> Vec<u8> {
    label
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !LABEL_LINES.iter().any(|left| line.starts_with(left)))
        .flatten()
        .copied()
        .collect()
}

/// Which blocks of a file changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Changes {
    /// Numbers in the file, ascending.
    blocks: Vec<u32>,
    /// Blocks of the earlier file from here on do not count.
    truncated: u32,
}

impl Changes {
    /// Reads what precedes the blocks in a file of `size` bytes. A file of a relation has at most
    /// `blocks_max` blocks.
    pub(super) fn read(source: &mut dyn Read, size: u64, blocks_max: u32) -> io::Result<Self> {
        let mut head = [0; HEAD];
        source.read_exact(&mut head)?;
        let [magic, count, truncated] = [0, 4, 8]
            .map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        if magic != MAGIC {
            return Err(bad("a file of changes does not begin as one"));
        }
        if count > blocks_max || truncated > blocks_max {
            return Err(bad("a file of changes has too many blocks"));
        }
        let mut blocks = Vec::new();
        let mut number = [0; 4];
        for _ in 0..count {
            source.read_exact(&mut number)?;
            let block = u32::from_le_bytes(number);
            if block >= blocks_max || blocks.last().is_some_and(|last| *last >= block) {
                return Err(bad("blocks of a file of changes are out of order"));
            }
            blocks.push(block);
        }
        let listed = (HEAD + 4 * blocks.len()) as u64;
        let begin = match blocks.len() {
            0 => listed,
            _ => listed.next_multiple_of(PAGE as u64),
        };
        let padding = begin - listed;
        if io::copy(&mut source.take(padding), &mut io::sink())? != padding
            || size != begin + blocks.len() as u64 * PAGE as u64
        {
            return Err(bad("a file of changes has not the length that it says"));
        }
        Ok(Self { blocks, truncated })
    }

    /// Length of the file, in bytes.
    pub(super) fn len(&self) -> u64 {
        let after = self.blocks.last().map_or(0, |last| last + 1);
        u64::from(after.max(self.truncated)) * PAGE as u64
    }

    /// Whether the file is what it was, when that has this length.
    pub(super) fn is_none(&self, earlier: u64) -> bool {
        self.blocks.is_empty() && self.len() == earlier
    }
}

/// A reader of the whole file.
pub(super) struct Folded<'f> {
    changes: &'f Changes,
    /// The changed blocks, in order.
    source: &'f mut dyn Read,
    /// Reads the earlier file.
    earlier: &'f dyn Fn(Range<u64>) -> io::Result<Vec<u8>>,
    /// Where bytes of the earlier file end to count.
    kept: u64,
    /// The next changed block, by its place in the list.
    next: usize,
    at: u64,
    held: Vec<u8>,
    used: usize,
}

impl<'f> Folded<'f> {
    /// `size` is the length of the earlier file, of which whole blocks count.
    pub(super) fn new(
        changes: &'f Changes,
        source: &'f mut dyn Read,
        earlier: &'f dyn Fn(Range<u64>) -> io::Result<Vec<u8>>,
        size: u64,
    ) -> Self {
        let whole = size - size % PAGE as u64;
        Self {
            changes,
            source,
            earlier,
            kept: whole.min(u64::from(changes.truncated) * PAGE as u64),
            next: 0,
            at: 0,
            held: Vec::new(),
            used: 0,
        }
    }

    /// Where the changed block after this place begins, or the file ends.
    fn unchanged_to(&self) -> u64 {
        match self.changes.blocks.get(self.next) {
            Some(block) => u64::from(*block) * PAGE as u64,
            None => self.changes.len(),
        }
    }

    fn changed(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let within = usize::try_from(self.at % PAGE as u64).unwrap_or(0);
        let wanted = buffer.len().min(PAGE - within);
        let read = self.source.read(&mut buffer[..wanted])?;
        if read == 0 && wanted > 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if within + read == PAGE {
            self.next += 1;
        }
        Ok(read)
    }

    /// Bytes of the earlier file up to `end`.
    fn copied(&mut self, buffer: &mut [u8], end: u64) -> io::Result<usize> {
        if self.used == self.held.len() {
            self.held = (self.earlier)(self.at..end.min(self.at + SPAN))?;
            self.used = 0;
        }
        let left = self.held.get(self.used..).unwrap_or_default();
        if left.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let read = left.len().min(buffer.len());
        buffer[..read].copy_from_slice(&left[..read]);
        self.used += read;
        Ok(read)
    }
}

impl Read for Folded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.changes.len() || buffer.is_empty() {
            return Ok(0);
        }
        let until = self.unchanged_to();
        let read = if self.at >= until {
            self.changed(buffer)?
        } else if self.at < self.kept {
            let end = until.min(self.kept);
            self.copied(buffer, end)?
        } else {
            let left = usize::try_from(until - self.at).unwrap_or(usize::MAX);
            let read = left.min(buffer.len());
            buffer[..read].fill(0);
            read
        };
        self.at += read as u64;
        Ok(read)
    }
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
