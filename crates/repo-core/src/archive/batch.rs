//! Units of work between the walk, the workers and the tree, and the bound on how many there are.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use repo_format::tree::Entry;

use crate::archive::meta::Directory;

/// One step of the walk, in tree order.
pub(crate) enum Item {
    /// A directory begins; its entry lacks only the tree.
    Enter(Box<Entry>),
    /// The directory that began last ends.
    Leave,
    /// Something that is not a directory, to be read by a worker.
    Source(Source),
    /// What a worker made of a source; `None` when it could not be read.
    Done(Option<Box<Entry>>),
}

/// Something to read.
pub(crate) struct Source {
    pub(crate) directory: Arc<Directory>,
    pub(crate) name: Vec<u8>,
    /// What the parent snapshot has under the same path.
    pub(crate) parent: Option<Box<Entry>>,
}

/// Consecutive steps, processed by one worker and put back in order by number.
pub(crate) struct Batch {
    pub(crate) number: u64,
    pub(crate) items: Vec<Item>,
}

/// Counts batches between the walk and the tree, so that neither memory nor open directories grow
/// when one side is slow.
pub(crate) struct Permits {
    free: Mutex<Option<usize>>,
    changed: Condvar,
}

impl Permits {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            free: Mutex::new(Some(count)),
            changed: Condvar::new(),
        }
    }

    /// Waits for a permit. False after `close`.
    pub(crate) fn acquire(&self) -> bool {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match &mut *free {
                None => return false,
                Some(0) => {
                    free = self
                        .changed
                        .wait(free)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                Some(count) => {
                    *count -= 1;
                    return true;
                }
            }
        }
    }

    pub(crate) fn release(&self) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = &mut *free {
            *count += 1;
        }
        self.changed.notify_one();
    }

    /// Lets every waiter go: the work is to end.
    pub(crate) fn close(&self) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.changed.notify_all();
    }
}
