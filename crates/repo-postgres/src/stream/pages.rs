//! Pages of relations, verified on their way into the repository.

use std::io::{self, Read};

use crate::files::{self, RelationFile};
use crate::limits::CORRUPT_MAX;
use crate::page::{PAGE, State, inspect};
use crate::snapshot::Suspect;

/// Number of the first page in the file of a relation; `None` for other files.
pub(super) fn first_block(path: &[u8], segment_blocks: u32) -> Option<u32> {
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    let (directory, name) = (&path[..slash], &path[slash + 1..]);
    let file = RelationFile::parse(name).filter(|_| files::holds_relations(directory))?;
    file.segment.checked_mul(segment_blocks)
}

/// A reader that notes pages whose checksum is wrong. The server has read such a page twice.
pub(super) struct Verified<'v> {
    source: &'v mut dyn Read,
    path: &'v [u8],
    block: u32,
    page: Box<[u8; PAGE]>,
    held: usize,
    suspects: &'v mut Vec<Suspect>,
}

impl<'v> Verified<'v> {
    /// Reads the file at `path`, whose first page is block `block` of its relation.
    pub(super) fn new(
        source: &'v mut dyn Read,
        path: &'v [u8],
        block: u32,
        suspects: &'v mut Vec<Suspect>,
    ) -> Self {
        Self {
            source,
            path,
            block,
            page: Box::new([0; PAGE]),
            held: 0,
            suspects,
        }
    }

    fn look(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (some, rest) = bytes.split_at(bytes.len().min(PAGE - self.held));
            self.page[self.held..self.held + some.len()].copy_from_slice(some);
            self.held += some.len();
            bytes = rest;
            if self.held < PAGE {
                return;
            }
            self.held = 0;
            if let State::Wrong(written) = inspect(&self.page, self.block)
                && self.suspects.len() < 4 * CORRUPT_MAX
            {
                self.suspects.push(Suspect {
                    path: self.path.to_vec(),
                    block: self.block,
                    written,
                });
            }
            self.block = self.block.wrapping_add(1);
        }
    }
}

impl Read for Verified<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.look(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_is_looked_at_however_it_is_read() {
        // Zeros are sound, other pages here have no right checksum.
        let mut bytes = vec![0; 5 * PAGE + 100];
        for page in [1, 3] {
            bytes[page * PAGE + 4] = 7;
        }
        for step in [1000, PAGE, 3 * PAGE + 1] {
            let (mut suspects, mut source) = (Vec::new(), &bytes[..]);
            let mut verified = Verified::new(&mut source, b"base/5/1.1", 100, &mut suspects);
            let mut buffer = vec![0; step];
            while verified.read(&mut buffer).expect("read") > 0 {}
            let blocks: Vec<u32> = suspects.iter().map(|suspect| suspect.block).collect();
            assert_eq!(blocks, [101, 103], "{step}");
        }
        assert_eq!(first_block(b"base/5/1.1", 100), Some(100));
        assert_eq!(first_block(b"base/5/PG_VERSION", 100), None);
        assert_eq!(first_block(b"base/5/1.4000000000", u32::MAX), None);
    }
}
