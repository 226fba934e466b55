//! An object as a Parquet reader wants it: anywhere, in windows that adjacent pages share.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length};
use parquet::file::serialized_reader::SerializedFileReader;

use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::location::Location;

/// Opens a Parquet file. The reader trusts places and lengths in a footer, so they are checked here.
pub(crate) fn open(
    lake: &Lake,
    place: &Location,
    size: u64,
) -> Result<SerializedFileReader<Windows>> {
    let file = SerializedFileReader::new(Windows::new(lake, place, size))
        .map_err(|error| Error::undecodable(place, "it cannot be read as Parquet", error))?;
    let inside = |start: i64, length: i64| {
        let end = start
            .checked_add(length)
            .and_then(|end| u64::try_from(end).ok());
        start >= 0 && length >= 0 && end.is_some_and(|end| end <= size)
    };
    for group in file.metadata().row_groups() {
        let sane = group.columns().iter().all(|column| {
            let data = column.data_page_offset();
            // The length is that of all pages, and the dictionary is the first of them.
            let start = column
                .dictionary_page_offset()
                .map_or(data, |at| at.min(data));
            inside(start, column.compressed_size())
                && inside(data, 0)
                && column.num_values() >= 0
                && column.uncompressed_size() >= 0
        });
        if !sane || group.num_rows() < 0 {
            return Err(Error::malformed(place, "its footer points past its end"));
        }
    }
    Ok(file)
}

/// Bytes of a window: small checkpoints are one request.
const WINDOW: u64 = 4 << 20;

/// Windows kept: each column that is read side by side has one, and some are left.
const WINDOWS_MAX: usize = 24;

/// An object in windows of which the last used are kept.
#[derive(Clone)]
pub(crate) struct Windows(Arc<Shared>);

struct Shared {
    lake: Lake,
    place: Location,
    size: u64,
    /// By number, the last used at the end.
    kept: Mutex<Vec<(u64, Bytes)>>,
}

impl Windows {
    fn new(lake: &Lake, place: &Location, size: u64) -> Self {
        Self(Arc::new(Shared {
            lake: lake.clone(),
            place: place.clone(),
            size,
            kept: Mutex::default(),
        }))
    }

    /// The bytes from `at` to the end of its window.
    fn from(&self, at: u64) -> Result<Bytes> {
        let number = at / WINDOW;
        let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let window = match kept.iter().position(|(known, _)| *known == number) {
            Some(place) => kept.remove(place).1,
            None => {
                let end = self.0.size.min((number + 1) * WINDOW);
                self.0
                    .lake
                    .read_range(&self.0.place, number * WINDOW..end)?
            }
        };
        if kept.len() >= WINDOWS_MAX {
            kept.remove(0);
        }
        kept.push((number, window.clone()));
        let skip = usize::try_from(at % WINDOW).unwrap_or(usize::MAX);
        Ok(window.slice(skip.min(window.len())..))
    }
}

impl Length for Windows {
    fn len(&self) -> u64 {
        self.0.size
    }
}

impl ChunkReader for Windows {
    type T = WindowReader;

    fn get_read(&self, start: u64) -> Result<WindowReader, ParquetError> {
        Ok(WindowReader {
            windows: self.clone(),
            at: start,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.0.size) {
            return Err(ParquetError::EOF("a part lies past the end".to_owned()));
        }
        let external = |error: Error| ParquetError::External(Box::new(error));
        let first = self.from(start).map_err(external)?;
        if first.len() >= length {
            return Ok(first.slice(..length));
        }
        let mut joined = BytesMut::with_capacity(length);
        joined.extend_from_slice(&first);
        while joined.len() < length {
            let next = self.from(start + joined.len() as u64).map_err(external)?;
            if next.is_empty() {
                return Err(ParquetError::EOF("the file became shorter".to_owned()));
            }
            let wanted = next.len().min(length - joined.len());
            joined.extend_from_slice(&next[..wanted]);
        }
        Ok(joined.freeze())
    }
}

/// A window reader at a position.
pub(crate) struct WindowReader {
    windows: Windows,
    at: u64,
}

impl Read for WindowReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.windows.0.size {
            return Ok(0);
        }
        let bytes = self.windows.from(self.at).map_err(io::Error::other)?;
        let length = buffer.len().min(bytes.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.at += length as u64;
        Ok(length)
    }
}
