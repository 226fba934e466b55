//! Several files at once, large ones one at a time, the first failure ends all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::limits::{LARGE, WORKERS};

/// Lets one large file in at a time.
#[derive(Debug, Default)]
pub(super) struct Gate {
    large: Mutex<()>,
}

impl Gate {
    /// Waits until a file of so many bytes may be worked on. Of unknown length is small: it is capped anyway.
    pub(super) fn enter(&self, size: Option<u64>) -> Option<MutexGuard<'_, ()>> {
        let large = size.is_some_and(|size| size > LARGE);
        large.then(|| self.large.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Does the work of every item on some threads. The error is that of the item that failed first.
pub(crate) fn each<T: Sync, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<E>> = Mutex::new(None);
    let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    let run = || {
        while failed().is_none() {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            if let Err(error) = work(item) {
                failed().get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..WORKERS.min(items.len()) {
            scope.spawn(run);
        }
        run();
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
