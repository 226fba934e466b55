//! Files of relations, read with their checksums verified.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use repo_core::{LocalFile, ReadAt};

use crate::limits::{CORRUPT_MAX, PAGE_READS, READ_PAUSE};
use crate::lsn::Lsn;
use crate::page::{PAGE, State, inspect};

/// How pages of a cluster are verified.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    /// Pages in each file of a relation but the last.
    pub(super) segment_blocks: u32,
}

/// A page whose checksum stayed wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) path: Vec<u8>,
    pub(crate) block: u32,
    /// When it was written last, by its own header.
    pub(crate) written: Lsn,
}

/// A file up to the length that it had when it was opened. With `first_block` its pages are
/// verified.
pub(super) struct PagedFile<'f> {
    pub(super) file: &'f LocalFile,
    pub(super) path: &'f [u8],
    /// Number in the relation of the file's first page.
    pub(super) first_block: Option<u32>,
    pub(super) suspects: &'f Mutex<Vec<Suspect>>,
}

impl ReadAt for PagedFile<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.file.size().saturating_sub(offset);
        let len = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..len], offset)?;
        if let Some(first_block) = self.first_block {
            self.verify(&mut buffer[..read], offset, first_block)?;
        }
        Ok(read)
    }
}

impl PagedFile<'_> {
    /// Verifies each page that these bytes are a part of. Where a page had to be read again, the
    /// bytes become those of the last reading.
    fn verify(&self, bytes: &mut [u8], offset: u64, first_block: u32) -> io::Result<()> {
        let mut at = 0;
        while at < bytes.len() {
            let place = offset + at as u64;
            let within = usize::try_from(place % PAGE as u64).unwrap_or(0);
            let number = place / PAGE as u64;
            let len = (PAGE - within).min(bytes.len() - at);
            let part = &mut bytes[at..at + len];
            let block = first_block.wrapping_add(u32::try_from(number).unwrap_or(u32::MAX));
            match <&mut [u8; PAGE]>::try_from(&mut *part) {
                Ok(page) => self.settle(page, number, block)?,
                Err(_) => {
                    let mut page = [0; PAGE];
                    // What is no whole page is being added or removed by the server.
                    if self.file.read_at(&mut page, number * PAGE as u64)? == PAGE {
                        self.settle(&mut page, number, block)?;
                        part.copy_from_slice(&page[within..within + len]);
                    }
                }
            }
            at += len;
        }
        Ok(())
    }

    /// Reads a page until its checksum is right, or notes it.
    fn settle(&self, page: &mut [u8; PAGE], number: u64, block: u32) -> io::Result<()> {
        let mut state = inspect(page, block);
        for reading in 0..PAGE_READS {
            if state == State::Sound {
                return Ok(());
            }
            if reading > 0 {
                pause(READ_PAUSE);
            }
            let mut again = [0; PAGE];
            if self.file.read_at(&mut again, number * PAGE as u64)? < PAGE {
                // It was cut off meanwhile, and the log says so.
                return Ok(());
            }
            *page = again;
            state = inspect(page, block);
        }
        if let State::Wrong(written) = state {
            let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
            // A page can be read in two parts; some room for what the log makes whole.
            if suspects.len() < 4 * CORRUPT_MAX {
                suspects.push(Suspect {
                    path: self.path.to_vec(),
                    block,
                    written,
                });
            }
        }
        Ok(())
    }
}

/// Waits for a write of the server to end.
#[expect(
    clippy::disallowed_methods,
    reason = "the server is in the middle of a write, and nobody tells when it is done"
)]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}
