//! A large file: one thread reads and cuts it, because a cut depends on the one before, and every
//! thread names, compresses and stores the windows already cut.
//!
//! Windows are stored in any order as threads become free, and their extents are listed in the
//! order of the file. The thread that cuts goes on until enough windows wait, then stores windows
//! itself, so that no thread waits for the slowest of a round.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use repo_chunker::{Cutter, Plan, Policy};
use repo_format::Extent;

use crate::archive::bases::Bases;
use crate::archive::content::FileSource;
use crate::archive::lists::ContentWriter;
use crate::archive::run::Run;
use crate::archive::worker::{Chunk, Workers};
use crate::error::{Error, Result};
use crate::limits::{WINDOW, WINDOWS_AHEAD};

/// Stores a large file and lists its chunks. Returns the length that was read.
pub(crate) fn read(
    run: &Run<'_>,
    workers: &Workers,
    file: &FileSource<'_>,
    (policy, plan): (Policy, Plan),
    list: &mut ContentWriter,
) -> Result<u64> {
    let pipe = Pipe {
        run,
        workers,
        file,
        policy,
        state: Mutex::default(),
        changed: Condvar::new(),
    };
    let mut windows = Windows {
        file,
        workers,
        cutter: run.repository.inner.chunker.cutter(plan),
        remainder: Vec::new(),
        number: 0,
        offset: 0,
        last: false,
    };
    rayon::scope(|scope| {
        let done = pipe.feed(&mut windows, list, || scope.spawn(|_| pipe.help()));
        // After a failure, what nobody has begun is not begun any more.
        pipe.lock().waiting.clear();
        done
    })?;
    Ok(windows.offset)
}

/// A part of a file, cut and ready to store.
struct Window {
    number: u64,
    buffer: Vec<u8>,
    offset: u64,
    /// Length of each chunk, and whether it starts a column.
    cuts: Vec<(usize, bool)>,
}

/// Reads a file window by window and cuts it.
struct Windows<'r> {
    file: &'r FileSource<'r>,
    workers: &'r Workers,
    cutter: Cutter<'r>,
    remainder: Vec<u8>,
    number: u64,
    offset: u64,
    last: bool,
}

impl Windows<'_> {
    /// The next window; `None` at the end of the file.
    fn next(&mut self) -> Result<Option<Window>> {
        if self.last && self.remainder.is_empty() {
            return Ok(None);
        }
        let mut buffer = self.workers.take_buffer();
        let held = self.remainder.len();
        buffer[..held].copy_from_slice(&self.remainder);
        self.remainder.clear();
        let read = self
            .file
            .fill(&mut buffer[held..], self.offset + held as u64)?;
        let filled = held + read;
        self.last = filled < WINDOW;
        let (mut used, mut cuts) = (0, Vec::new());
        loop {
            let starts_column = self.cutter.starts_column();
            let Some(len) = self.cutter.next(&buffer[used..filled], self.last) else {
                break;
            };
            cuts.push((len, starts_column));
            used += len;
        }
        self.remainder.extend_from_slice(&buffer[used..filled]);
        let window = Window {
            number: self.number,
            buffer,
            offset: self.offset,
            cuts,
        };
        self.number += 1;
        self.offset += used as u64;
        Ok(Some(window))
    }
}

/// Windows between the thread that cuts and those that store.
struct Pipe<'r> {
    run: &'r Run<'r>,
    workers: &'r Workers,
    file: &'r FileSource<'r>,
    policy: Policy,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Window>,
    /// Extents of windows that were stored before one that comes earlier in the file.
    stored: BTreeMap<u64, Result<Vec<Extent>>>,
}

impl Pipe<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the file through. `call` asks for a thread that takes one window.
    fn feed(
        &self,
        windows: &mut Windows<'_>,
        list: &mut ContentWriter,
        call: impl Fn(),
    ) -> Result<()> {
        let (mut listed, mut ended) = (0, false);
        loop {
            while let Some(extents) = self.next_stored(listed) {
                self.list(list, extents?)?;
                listed += 1;
            }
            if self.run.stopped() {
                return Err(Error::Cancelled);
            }
            if !ended && windows.number - listed < WINDOWS_AHEAD {
                match windows.next()? {
                    Some(window) => {
                        self.lock().waiting.push_back(window);
                        call();
                    }
                    None => ended = true,
                }
            } else if ended && listed == windows.number {
                return Ok(());
            } else if !self.store_one() {
                self.wait_for(listed);
            }
        }
    }

    fn next_stored(&self, number: u64) -> Option<Result<Vec<Extent>>> {
        self.lock().stored.remove(&number)
    }

    fn list(&self, list: &mut ContentWriter, extents: Vec<Extent>) -> Result<()> {
        self.workers.with(self.run, |worker| {
            let mut sink = worker.sink(self.run);
            extents
                .into_iter()
                .try_for_each(|extent| list.push(extent, &mut sink))
        })
    }

    /// Waits for a window that another thread is storing.
    fn wait_for(&self, number: u64) {
        let mut state = self.lock();
        while !state.stored.contains_key(&number) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What a thread that was called does: the window may be taken by now.
    fn help(&self) {
        self.store_one();
    }

    /// Stores the first window that waits. False when none does.
    fn store_one(&self) -> bool {
        let Some(window) = self.lock().waiting.pop_front() else {
            return false;
        };
        let mut report = Report {
            pipe: self,
            number: window.number,
            stored: Err(Error::Internal { what: "window" }),
        };
        report.stored = self.store(&window);
        self.workers.give_buffer(window.buffer);
        true
    }

    fn store(&self, window: &Window) -> Result<Vec<Extent>> {
        let run = self.run;
        self.workers.with(run, |worker| {
            let mut bases = Bases::new(run.trees, self.file.parent, window.offset);
            let mut extents = Vec::with_capacity(window.cuts.len());
            let mut at = 0;
            for (len, starts_column) in &window.cuts {
                let chunk = Chunk {
                    policy: self.policy,
                    offset: window.offset + at as u64,
                    starts_column: *starts_column,
                    bytes: &window.buffer[at..at + len],
                };
                extents.push(worker.chunk(run, &mut bases, &chunk)?);
                at += len;
            }
            run.advance(at as u64, 0);
            Ok(extents)
        })
    }
}

/// Tells the thread that cuts what came of a window, even when storing it panicked: it would wait
/// for ever.
struct Report<'p, 'r> {
    pipe: &'p Pipe<'r>,
    number: u64,
    stored: Result<Vec<Extent>>,
}

impl Drop for Report<'_, '_> {
    fn drop(&mut self) {
        let stored = std::mem::replace(&mut self.stored, Ok(Vec::new()));
        self.pipe.lock().stored.insert(self.number, stored);
        self.pipe.changed.notify_one();
    }
}
