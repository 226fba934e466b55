//! What was decoded around a read, handed to the kernel unasked.
//!
//! A read of one page decodes the segment around it. Who reads at random comes back to other pages of
//! that segment when it is long gone from the bounded cache of this process; the page cache of the
//! kernel holds it for as long as memory is not wanted for something better.
//!
//! The kernel waits for pages that other requests are about to fill. A thread that serves requests
//! must therefore never hand over pages itself: all of them could wait for each other. One thread does
//! it that serves nothing; what it has no time for is left out.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use fuser::{INodeNo, Notifier};
use repo_core::FileReader;

use crate::limits::SPILL_QUEUE;

struct Place {
    ino: INodeNo,
    file: Arc<FileReader>,
    offset: u64,
}

/// Where the threads that serve requests leave what they have read around.
pub(super) struct Spill(SyncSender<Place>);

/// The other end of it.
pub(crate) struct Spilled(Receiver<Place>);

pub(super) fn channel() -> (Spill, Spilled) {
    let (sender, receiver) = sync_channel(SPILL_QUEUE);
    (Spill(sender), Spilled(receiver))
}

impl Spill {
    /// Has what is at hand around `offset` handed over. Never waits.
    pub(super) fn around(&self, ino: INodeNo, file: Arc<FileReader>, offset: u64) {
        // Full, it is not done; without the other end, the mount has ended.
        drop(self.0.try_send(Place { ino, file, offset }));
    }
}

impl Spilled {
    /// Hands over by a thread of its own, until the file system is dropped.
    pub(crate) fn serve(self, kernel: Notifier) -> io::Result<()> {
        let thread = std::thread::Builder::new().name("mount-spill".to_owned());
        let serve = move || {
            for Place { ino, file, offset } in self.0 {
                // Who reads there is told of failures.
                if let Ok(Some((start, bytes))) = file.at_hand(offset)
                    && let Err(error) = kernel.store(ino, start, &bytes)
                {
                    tracing::trace!(%error, "the kernel does not keep what is around a read");
                }
            }
        };
        thread.spawn(serve).map(drop)
    }
}
