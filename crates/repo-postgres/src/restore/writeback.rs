//! Writing back to the disk while files still come, so that little is left to wait for in the end.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::error::{Error, Result};

/// Rest between two rounds.
const PAUSE: Duration = Duration::from_millis(100);

/// A thread that writes file systems back again and again. Dropped, it stops and promises nothing.
pub(super) struct Writeback {
    stop: Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Writeback {
    /// Begins to write back the file systems that hold `places`, which need not exist yet.
    pub(super) fn begin<'p>(places: impl IntoIterator<Item = &'p Path>) -> Result<Self> {
        let held: Vec<_> = places.into_iter().map(nearest).collect::<Result<_>>()?;
        let (stop, stopped) = channel();
        let failed = |error| Error::io("start a thread for", Path::new("writing back"), error);
        let thread = Builder::new().name("writeback".to_owned());
        let thread = thread.spawn(move || run(&held, &stopped)).map_err(failed)?;
        Ok(Self { stop, thread })
    }

    /// Everything written before this call is on the disk after it, or it fails: also when a failure
    /// came earlier, which the kernel tells only once.
    pub(super) fn finish(self) -> Result<()> {
        if self.stop.send(()).is_err() {
            tracing::debug!("writing back has failed already");
        }
        self.thread.join().unwrap_or_else(|_| {
            let error = io::Error::other("its thread failed");
            Err(Error::io(
                "write back",
                Path::new("what is restored"),
                error,
            ))
        })
    }
}

fn run(held: &[(PathBuf, File)], stopped: &Receiver<()>) -> Result<()> {
    loop {
        let last = match stopped.recv_timeout(PAUSE) {
            Err(RecvTimeoutError::Timeout) => false,
            Ok(()) => true,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        for (place, directory) in held {
            rustix::fs::syncfs(directory)
                .map_err(|errno| Error::io("write back", place, io::Error::from(errno)))?;
        }
        if last {
            return Ok(());
        }
    }
}

/// The file system that `place` lies in or will lie in.
fn nearest(place: &Path) -> Result<(PathBuf, File)> {
    let mut at = place;
    loop {
        match (File::open(at), at.parent()) {
            (Ok(directory), _) => return Ok((place.to_owned(), directory)),
            (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => at = parent,
            (Err(error), _) => return Err(Error::io("open", at, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_comes_later_is_written_back() {
        let root = tempfile::tempdir().expect("a directory");
        let place = root.path().join("later/data");
        let writeback = Writeback::begin([place.as_path()]).expect("begun");
        std::fs::create_dir_all(&place).expect("made");
        std::fs::write(place.join("file"), "content").expect("written");
        writeback.finish().expect("written back");
        drop(Writeback::begin([root.path()]).expect("begun"));
        let file = place.join("file/below");
        assert!(Writeback::begin([file.as_path()]).is_err(), "in a file");
    }
}
