//! The content of one file: what it is, how it is cut, holes, and the work split over threads.
//!
//! Small files are read and stored by one thread from start to end, large ones by all (`large`).

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use repo_chunker::{Plan, Policy, columnar};
use repo_format::tree::Entry;
use repo_format::{Content, Extent};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::archive::bases::Bases;
use crate::archive::large;
use crate::archive::lists::ContentWriter;
use crate::archive::run::Run;
use crate::archive::worker::{Chunk, Worker, Workers};
use crate::error::{Error, Result};
use crate::limits::{SMALL_FILE, WINDOW};

/// Bytes of a columnar file's end that are read to find its footer.
const TAIL: u64 = 64 << 10;
/// Bytes of a file's start that tell what it is.
const DETECT: usize = 64 << 10;

/// Bytes at any offset of a file that is being stored, for all threads at once.
pub trait ReadAt: Sync {
    /// Fills `buffer` from file offset `offset`; fewer bytes only at the end of the file, which
    /// may have moved since its size was told.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// An open local file.
impl ReadAt for BorrowedFd<'_> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut len = 0;
        while len < buffer.len() {
            match rustix::io::pread(self, &mut buffer[len..], offset + len as u64) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(len)
    }
}

/// A file to store.
pub(crate) struct FileSource<'f> {
    pub(crate) bytes: &'f dyn ReadAt,
    /// The path to show.
    pub(crate) path: &'f [u8],
    pub(crate) size: u64,
    /// Whom to ask where the holes are, when fewer blocks than bytes say that there may be some.
    pub(crate) holes: Option<BorrowedFd<'f>>,
    /// The parent's version.
    pub(crate) parent: Option<&'f Entry>,
}

/// What a file was found to hold.
pub(crate) struct Stored {
    pub(crate) content: Option<Content>,
    pub(crate) policy: Policy,
    /// Bytes read and holes, which is the length of the content.
    pub(crate) len: u64,
}

impl Stored {
    /// Puts what was stored into the entry of its file.
    pub(crate) fn describe(self, entry: &mut Entry) {
        entry.size = self.len;
        entry.content = self.content;
        entry.policy = Some(self.policy)
            .filter(|policy| *policy != Policy::Generic)
            .map(Policy::code);
    }
}

impl FileSource<'_> {
    fn error(&self, error: impl Into<io::Error>) -> Error {
        use std::os::unix::ffi::OsStrExt;
        Error::io("read", std::ffi::OsStr::from_bytes(self.path), error)
    }

    /// Fills `buffer` from file offset `offset`; fewer bytes only at the end of the file.
    pub(crate) fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.bytes
            .read_at(buffer, offset)
            .map_err(|error| self.error(error))
    }

    fn columnar_plan(&self) -> Result<Plan> {
        let mut want = TAIL.min(self.size);
        // Asked twice at most: the second answer knows the footer's length.
        for _ in 0..2 {
            let mut tail = vec![0; usize::try_from(want).unwrap_or(0)];
            let read = self.fill(&mut tail, self.size - want)?;
            tail.truncate(read);
            match columnar::footer(&tail, self.size) {
                columnar::Footer::Layout(layout) => return Ok(Plan::Columnar(layout)),
                columnar::Footer::NeedTail(more) if more <= self.size && more > want => want = more,
                _ => break,
            }
        }
        Ok(Plan::Generic)
    }
}

/// Stores a file's content.
pub(crate) fn read(
    run: &Run<'_>,
    workers: &Workers,
    worker: &mut Worker,
    file: &FileSource<'_>,
) -> Result<Stored> {
    if let Some(holes) = file.holes {
        return read_sparse(run, worker, file, holes);
    }
    let head = {
        let window = worker.window();
        let want = usize::try_from(file.size + 1).unwrap_or(WINDOW).min(WINDOW);
        file.fill(&mut window[..want], 0)?
    };
    let policy = Policy::detect(file.path, file.size, &worker.window()[..head.min(DETECT)]);
    let plan = match policy {
        Policy::Generic => Plan::Generic,
        Policy::Pages => Plan::Pages,
        Policy::Columnar => file.columnar_plan()?,
    };
    let mut list = ContentWriter::default();
    let len = if file.size > SMALL_FILE {
        workers.lend(run, worker)?;
        let len = large::read(run, workers, file, (policy, plan), &mut list);
        workers.take_back(worker);
        len?
    } else {
        let mut stream = Stream {
            policy,
            plan,
            parent: file.parent,
            offset: 0,
            held: head,
        };
        stream.run(run, worker, &mut list, |buffer, offset| {
            file.fill(buffer, offset)
        })?
    };
    let content = list.finish(&mut worker.sink(run))?;
    run.advance(0, 1);
    Ok(Stored {
        content,
        policy,
        len,
    })
}

/// A stream to store.
pub(crate) struct StreamSource<'f> {
    pub(crate) bytes: &'f mut dyn Read,
    /// The path to show, whose end helps to tell what it is.
    pub(crate) path: &'f [u8],
    /// Bytes to expect; 0 when that is not known.
    pub(crate) size: u64,
    /// The parent's version.
    pub(crate) parent: Option<&'f Entry>,
}

/// Stores a stream. The footer of a columnar file comes last, so such a file is cut as generic
/// content.
pub(crate) fn read_stream(
    run: &Run<'_>,
    worker: &mut Worker,
    source: StreamSource<'_>,
) -> Result<Stored> {
    let StreamSource { bytes, path, .. } = source;
    let mut fill = |buffer: &mut [u8]| {
        let mut len = 0;
        while len < buffer.len() {
            match bytes.read(&mut buffer[len..]) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    use std::os::unix::ffi::OsStrExt;
                    return Err(Error::io("read", std::ffi::OsStr::from_bytes(path), error));
                }
            }
        }
        Ok(len)
    };
    let held = fill(worker.window())?;
    let size = source.size.max(held as u64);
    let (policy, plan) = match Policy::detect(path, size, &worker.window()[..held.min(DETECT)]) {
        Policy::Pages => (Policy::Pages, Plan::Pages),
        Policy::Generic | Policy::Columnar => (Policy::Generic, Plan::Generic),
    };
    let mut stream = Stream {
        policy,
        plan,
        parent: source.parent,
        offset: 0,
        held,
    };
    let mut list = ContentWriter::default();
    let len = stream.run(run, worker, &mut list, |buffer, _| fill(buffer))?;
    let content = list.finish(&mut worker.sink(run))?;
    run.advance(0, 1);
    Ok(Stored {
        content,
        policy,
        len,
    })
}

/// Bytes cut and stored by one thread, window by window.
struct Stream<'f> {
    policy: Policy,
    plan: Plan,
    parent: Option<&'f Entry>,
    offset: u64,
    /// Bytes already in the window.
    held: usize,
}

impl Stream<'_> {
    /// Runs to the end of the input. `fill` reads at an offset and returns less than it was asked
    /// for at the end only. Returns the offset of the end.
    fn run(
        &mut self,
        run: &Run<'_>,
        worker: &mut Worker,
        list: &mut ContentWriter,
        mut fill: impl FnMut(&mut [u8], u64) -> Result<usize>,
    ) -> Result<u64> {
        let chunker = &run.repository.inner.chunker;
        let mut cutter = chunker.cutter(self.plan.clone());
        let mut bases = Bases::new(run.trees, self.parent, self.offset);
        let mut last = false;
        loop {
            if !last && self.held < WINDOW {
                let at = self.offset + self.held as u64;
                let read = fill(&mut worker.window()[self.held..], at)?;
                self.held += read;
                last = self.held < WINDOW;
            }
            let window = worker.take_window();
            let mut used = 0;
            let done = loop {
                let starts_column = cutter.starts_column();
                let Some(len) = cutter.next(&window[used..self.held], last) else {
                    break Ok(());
                };
                let chunk = Chunk {
                    policy: self.policy,
                    offset: self.offset,
                    starts_column,
                    bytes: &window[used..used + len],
                };
                let stored = worker
                    .chunk(run, &mut bases, &chunk)
                    .and_then(|extent| list.push(extent, &mut worker.sink(run)));
                if let Err(error) = stored {
                    break Err(error);
                }
                used += len;
                self.offset += len as u64;
            };
            worker.put_window(window);
            done?;
            run.advance(used as u64, 0);
            worker.window().copy_within(used..self.held, 0);
            self.held -= used;
            if run.stopped() {
                return Err(Error::Cancelled);
            }
            if last && self.held == 0 {
                return Ok(self.offset);
            }
        }
    }
}

/// Holes become extents without a chunk; each run of data is cut by itself.
fn read_sparse(
    run: &Run<'_>,
    worker: &mut Worker,
    file: &FileSource<'_>,
    holes: BorrowedFd<'_>,
) -> Result<Stored> {
    let mut list = ContentWriter::default();
    let mut at = 0;
    while at < file.size {
        let data = match rustix::fs::seek(holes, SeekFrom::Data(at)) {
            Ok(data) => data.min(file.size),
            Err(Errno::NXIO) => file.size,
            // The file system cannot tell: all is data.
            Err(Errno::INVAL | Errno::NOTSUP) => at,
            Err(error) => return Err(file.error(error)),
        };
        if data > at {
            let hole = Extent {
                len: data - at,
                id: None,
            };
            list.push(hole, &mut worker.sink(run))?;
        }
        if data >= file.size {
            at = file.size;
            break;
        }
        let end = match rustix::fs::seek(holes, SeekFrom::Hole(data)) {
            Ok(end) => end.min(file.size),
            Err(Errno::INVAL | Errno::NOTSUP) => file.size,
            Err(error) => return Err(file.error(error)),
        };
        let mut stream = Stream {
            policy: Policy::Generic,
            plan: Plan::Generic,
            parent: file.parent,
            offset: data,
            held: 0,
        };
        at = stream.run(run, worker, &mut list, |buffer, offset| {
            let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            let want = buffer.len().min(left);
            file.fill(&mut buffer[..want], offset)
        })?;
        if at < end {
            // Truncated meanwhile; the caller sees that it changed.
            break;
        }
    }
    let content = list.finish(&mut worker.sink(run))?;
    run.advance(0, 1);
    Ok(Stored {
        content,
        policy: Policy::Generic,
        len: at,
    })
}
