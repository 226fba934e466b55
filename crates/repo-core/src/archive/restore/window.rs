//! Windows: what is planned, fetched and written together, in bounded memory.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rayon::prelude::{IntoParallelRefIterator, ParallelIterator};

use crate::archive::restore::existing;
use crate::archive::restore::fetch;
use crate::archive::restore::file::{FileWork, Part};
use crate::archive::restore::job::Job;
use crate::archive::restore::limits::{
    WINDOW_BYTES, WINDOW_FILES, WINDOW_HANDLES, WINDOW_PARTS, WINDOW_START,
};

/// How the parts of a unit are to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Not at all: the file is written from nothing.
    Fresh,
    /// As a whole small file that may stand in the target.
    Small,
    /// As a run of parts of a file that is open.
    Slice,
}

/// Parts of one file that one thread looks at.
struct Unit {
    file: u32,
    start: u32,
    end: u32,
    look: Look,
}

/// Files and parts planned together.
pub(super) struct Window {
    pub(super) files: Vec<Arc<FileWork>>,
    pub(super) parts: Vec<Part>,
    units: Vec<Unit>,
    bytes: u64,
    handles: usize,
    /// Powers of two by which it is smaller than the longest.
    smaller: u32,
}

fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Window {
    /// The first one.
    pub(super) fn first() -> Self {
        Self {
            files: Vec::new(),
            parts: Vec::new(),
            units: Vec::new(),
            bytes: 0,
            handles: 0,
            smaller: WINDOW_START,
        }
    }

    /// The one after this.
    pub(super) fn next(&self) -> Self {
        Self {
            smaller: self.smaller.saturating_sub(1),
            ..Self::first()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= WINDOW_BYTES >> self.smaller
            || self.parts.len() >= WINDOW_PARTS >> self.smaller
            || self.files.len() >= WINDOW_FILES >> self.smaller
            || self.handles >= WINDOW_HANDLES
    }

    /// Counts a large file that stays open while the window is at work.
    pub(super) fn count_handle(&mut self) {
        self.handles += 1;
    }

    /// Adds a file; the parts pushed next are its parts.
    pub(super) fn push_file(&mut self, file: &Arc<FileWork>) {
        self.files.push(Arc::clone(file));
    }

    pub(super) fn push_part(&mut self, offset: u64, extent: &repo_format::Extent) {
        self.bytes += extent.id.map_or(0, |_| extent.len);
        self.parts.push(Part {
            file: place(self.files.len() - 1),
            offset,
            len: extent.len,
            id: extent.id,
        });
    }

    /// Makes the parts since `start` a unit of work.
    pub(super) fn close_unit(&mut self, start: usize, look: Look) {
        self.units.push(Unit {
            file: place(self.files.len() - 1),
            start: place(start),
            end: place(self.parts.len()),
            look,
        });
    }

    pub(super) fn file(&self, part: &Part) -> &FileWork {
        &self.files[part.file as usize]
    }

    /// Compares, fetches and writes everything in it. Runs on the pool.
    pub(super) fn execute(self, job: &Job) {
        if job.stopped() {
            return;
        }
        let units: Vec<&[Unit]> = self.units.chunks(32).collect();
        let wanted: Vec<usize> = units
            .par_iter()
            .flat_map_iter(|units| self.look(job, units))
            .collect();
        if !wanted.is_empty() && !job.stopped() {
            fetch::run(job, &self, &wanted);
        }
    }

    fn look(&self, job: &Job, units: &[Unit]) -> Vec<usize> {
        let mut wanted = Vec::new();
        job.with_scratch(|scratch| {
            for unit in units {
                if job.failed() {
                    break;
                }
                let file = &self.files[unit.file as usize];
                let base = unit.start as usize;
                let parts = (base, &self.parts[base..unit.end as usize]);
                match unit.look {
                    Look::Fresh => existing::all(job, file, parts, &mut wanted),
                    Look::Small => existing::small(job, file, parts, scratch, &mut wanted),
                    Look::Slice => existing::slice(job, file, parts, scratch, &mut wanted),
                }
            }
        });
        wanted
    }
}

/// Lets a few windows be at work at once.
pub(super) struct Gate {
    free: Mutex<usize>,
    changed: Condvar,
}

/// The right of one window to be at work.
pub(super) struct Pass<'g>(&'g Gate);

impl Gate {
    pub(super) fn new(windows: usize) -> Self {
        Self {
            free: Mutex::new(windows),
            changed: Condvar::new(),
        }
    }

    pub(super) fn enter(&self) -> Pass<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self
                .changed
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Pass(self)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.changed.notify_one();
    }
}
