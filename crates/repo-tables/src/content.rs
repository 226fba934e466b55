//! The bytes of one object while it is being stored: in memory, on this machine's disk, or in windows.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use repo_core::ReadAt;

use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::limits::READ_SIZE;
use crate::location::Location;

/// Windows of one object kept: one for each thread that works on it, and the end.
const WINDOWS_MAX: usize = 4;

/// An object that is being stored.
pub(crate) struct Content<'l> {
    place: &'l Location,
    bytes: Origin<'l>,
    /// The object was not there when it was asked for.
    vanished: AtomicBool,
}

enum Origin<'l> {
    Memory(Bytes),
    Local(File),
    Remote {
        lake: &'l Lake,
        size: u64,
        windows: Mutex<Vec<(u64, Bytes)>>,
    },
}

impl<'l> Content<'l> {
    /// An object that was read already.
    pub(crate) fn held(place: &'l Location, bytes: Bytes) -> Self {
        Self {
            place,
            bytes: Origin::Memory(bytes),
            vanished: AtomicBool::new(false),
        }
    }

    /// Opens an object. On this machine an open file stays readable when it is deleted.
    pub(crate) fn open(lake: &'l Lake, place: &'l Location, size: u64) -> Result<Self> {
        let bytes = match lake.file(place) {
            Some(path) => Origin::Local(File::open(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Error::NotFound {
                    url: place.to_string(),
                },
                _ => Error::Object {
                    operation: "read",
                    url: place.to_string(),
                    source: error.into(),
                },
            })?),
            None => Origin::Remote {
                lake,
                size,
                windows: Mutex::default(),
            },
        };
        Ok(Self {
            place,
            bytes,
            vanished: AtomicBool::new(false),
        })
    }

    /// Whether the object was deleted while it was read.
    pub(crate) fn vanished(&self) -> bool {
        self.vanished.load(Ordering::Relaxed)
    }

    fn window(&self, lake: &Lake, size: u64, number: u64) -> io::Result<Bytes> {
        let start = number * READ_SIZE;
        let end = size.min(start.saturating_add(READ_SIZE));
        lake.read_range(self.place, start..end).map_err(|error| {
            if matches!(error, Error::NotFound { .. }) {
                self.vanished.store(true, Ordering::Relaxed);
            }
            io::Error::other(error)
        })
    }
}

impl ReadAt for Content<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let (at, rest) = (offset + done as u64, &mut buffer[done..]);
            let read = match &self.bytes {
                Origin::Memory(bytes) => copy(bytes, at, rest),
                Origin::Local(file) => match file.read_at(rest, at) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read?,
                },
                Origin::Remote {
                    lake,
                    size,
                    windows,
                } => {
                    let number = at / READ_SIZE;
                    let lock = || windows.lock().unwrap_or_else(PoisonError::into_inner);
                    let known = lock().iter().find(|(known, _)| *known == number).cloned();
                    let window = match known {
                        Some((_, window)) => window,
                        None if at >= *size => Bytes::new(),
                        None => {
                            let window = self.window(lake, *size, number)?;
                            let mut kept = lock();
                            if kept.len() >= WINDOWS_MAX {
                                kept.remove(0);
                            }
                            kept.push((number, window.clone()));
                            window
                        }
                    };
                    copy(&window, at % READ_SIZE, rest)
                }
            };
            if read == 0 {
                break;
            }
            done += read;
        }
        Ok(done)
    }
}

fn copy(from: &[u8], at: u64, to: &mut [u8]) -> usize {
    let at = usize::try_from(at).unwrap_or(usize::MAX).min(from.len());
    let length = to.len().min(from.len() - at);
    to[..length].copy_from_slice(&from[at..at + length]);
    length
}
