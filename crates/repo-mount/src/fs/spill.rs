//! What was decoded around a read, handed to the kernel unasked.
//!
//! A read of one page decodes the segment around it. Who reads at random comes back to other pages of
//! that segment when it is long gone from the bounded cache of this process; the page cache of the
//! kernel holds it for as long as memory is not wanted for something better.
//!
//! The kernel waits for pages that other requests are about to fill. A thread that serves requests
//! must therefore never hand over pages itself: all of them could wait for each other. One thread does
//! it that serves nothing; what it has no time for is left out. No signal ends that wait, so a process
//! that is killed in it is gone only when its connection is aborted, which the guard of the mount does.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use fuser::{INodeNo, Notifier};
use repo_core::FileReader;

use crate::limits::SPILL_QUEUE;

struct Place {
    ino: INodeNo,
    file: Arc<FileReader>,
    offset: u64,
}

/// Where the threads that serve requests leave what they have read around. Closed at first.
#[derive(Clone, Default)]
pub(crate) struct Spill(Arc<Mutex<Option<SyncSender<Place>>>>);

/// The thread that hands over, as long as this is held.
pub(crate) struct Spilling {
    spill: Spill,
    thread: Option<JoinHandle<()>>,
}

impl Spill {
    /// Has what is at hand around `offset` handed over. Never waits.
    pub(super) fn around(&self, ino: INodeNo, file: Arc<FileReader>, offset: u64) {
        if let Some(queue) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // Full, it is not done.
            drop(queue.try_send(Place { ino, file, offset }));
        }
    }

    /// Hands over from now on.
    pub(crate) fn open(&self, kernel: Notifier) -> io::Result<Spilling> {
        let (sender, receiver) = sync_channel(SPILL_QUEUE);
        let thread = Builder::new().name("mount-spill".to_owned());
        let thread = thread.spawn(move || hand_over(&receiver, &kernel))?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        Ok(Spilling {
            spill: self.clone(),
            thread: Some(thread),
        })
    }
}

fn hand_over(queue: &Receiver<Place>, kernel: &Notifier) {
    for Place { ino, file, offset } in queue {
        // Who reads there is told of failures.
        if let Ok(Some((start, bytes))) = file.at_hand(offset)
            && let Err(error) = kernel.store(ino, start, &bytes)
        {
            tracing::trace!(%error, "the kernel does not keep what is around a read");
        }
    }
}

impl Drop for Spilling {
    /// Waits for what is under way, while the pages that it waits for are still served.
    fn drop(&mut self) {
        let lock = self.spill.0.lock();
        drop(lock.unwrap_or_else(PoisonError::into_inner).take());
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::debug!("the thread that hands pages to the kernel failed");
        }
    }
}
