//! Reading sources: one entry each, files cut into chunks and stored as they are read.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use repo_format::tree::{Entry, EntryType};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::archive::batch::{Batch, Item, Source};
use crate::archive::content::{self, FileSource};
use crate::archive::meta;
use crate::archive::run::Run;
use crate::archive::worker::{Worker, Workers};
use crate::clock::now_ms;
use crate::error::{Error, Result};

/// A file changed so recently that its clock may not have moved since is read again next time.
const RACY_MS: i64 = 100;

/// Replaces the sources of a batch by what they are.
pub(crate) fn process(run: &Run<'_>, workers: &Workers, batch: &mut Batch) {
    let done = workers.with(run, |worker| {
        for item in &mut batch.items {
            if run.stopped() {
                return Ok(());
            }
            if let Item::Source(source) = item {
                let entry = read_source(run, workers, worker, source)?;
                *item = Item::Done(entry.map(Box::new));
            }
        }
        Ok(())
    });
    if let Err(error) = done {
        run.fail(error);
    }
}

/// The entry of one source; `None`, with a finding, when it cannot be read.
fn read_source(
    run: &Run<'_>,
    workers: &Workers,
    worker: &mut Worker,
    source: &mut Source,
) -> Result<Option<Entry>> {
    let path = || source.directory.path_of(&source.name);
    let stat = match source.directory.stat(&source.name) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => {
            run.unread(&path(), "vanished before it was read");
            return Ok(None);
        }
        Err(error) => {
            run.unread(&path(), format!("cannot stat: {error}"));
            return Ok(None);
        }
    };
    let Some(kind) = meta::entry_type(&stat) else {
        run.note(&path(), "socket skipped");
        return Ok(None);
    };
    if kind == EntryType::Directory {
        run.unread(&path(), "became a directory while the tree was walked");
        return Ok(None);
    }
    let parent = source.parent.take();
    let same = parent
        .as_ref()
        .is_some_and(|parent| meta::unchanged(parent, kind, &stat));
    if same && !run.options.force {
        run.advance(meta::size(&stat), 1);
        return Ok(parent.map(|parent| *parent));
    }
    run.files_changed.fetch_add(1, Ordering::Relaxed);
    let entry = match kind {
        EntryType::File => read_file(run, workers, worker, source, parent.as_deref(), &stat)?,
        _ => describe(run, source, kind, &stat),
    };
    if kind != EntryType::File {
        run.advance(0, 1);
    }
    Ok(entry)
}

/// A symlink, FIFO or device.
fn describe(run: &Run<'_>, source: &Source, kind: EntryType, stat: &Stat) -> Option<Entry> {
    let directory = &source.directory;
    let mut entry = meta::entry(&source.name, kind, stat, &run.names);
    if kind == EntryType::Symlink {
        match rustix::fs::readlinkat(&directory.fd, source.name.as_slice(), Vec::new()) {
            Ok(target) => entry.target = Some(target.into_bytes()),
            Err(error) => {
                let path = directory.path_of(&source.name);
                run.unread(&path, format!("cannot read link: {error}"));
                return None;
            }
        }
    }
    match meta::xattrs_of_entry(directory, &source.name) {
        Ok(xattrs) => entry.xattrs = xattrs,
        Err(error) => {
            let path = directory.path_of(&source.name);
            run.unread(&path, format!("cannot read attributes: {error}"));
        }
    }
    Some(entry)
}

fn read_file(
    run: &Run<'_>,
    workers: &Workers,
    worker: &mut Worker,
    source: &Source,
    parent: Option<&Entry>,
    seen: &Stat,
) -> Result<Option<Entry>> {
    let path = || source.directory.path_of(&source.name);
    let (fd, stat) = match open(source, seen) {
        Ok(open) => open,
        Err(error) => {
            let message = match error {
                Errno::NOENT => "vanished before it was read".to_owned(),
                error => format!("cannot open: {error}"),
            };
            run.unread(&path(), message);
            return Ok(None);
        }
    };
    let mut entry = meta::entry(&source.name, EntryType::File, &stat, &run.names);
    // Asked before the content is read: a change during a long read may bear the same time still.
    if is_racy(&stat) {
        entry.ctime = None;
    }
    match meta::xattrs_of_file(fd.as_fd()) {
        Ok(xattrs) => entry.xattrs = xattrs,
        Err(error) => run.unread(&path(), format!("cannot read attributes: {error}")),
    }
    let sparse = u64::try_from(stat.st_blocks).unwrap_or(0) * 512 < meta::size(&stat);
    let file = FileSource {
        bytes: &fd.as_fd(),
        path: &path(),
        size: meta::size(&stat),
        holes: sparse.then(|| fd.as_fd()),
        parent: parent.filter(|parent| parent.kind == EntryType::File),
    };
    let read = match content::read(run, workers, worker, &file) {
        Ok(read) => read,
        Err(Error::Io { source, .. }) => {
            run.unread(file.path, format!("cannot read: {source}"));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    read.describe(&mut entry);
    if changed(fd.as_fd(), &stat, entry.size) {
        run.unread(file.path, "changed while it was read");
        entry.torn = Some(true);
    }
    Ok(Some(entry))
}

/// Whether something could change now without a trace in its times.
pub(super) fn is_racy(stat: &Stat) -> bool {
    let age_ms = now_ms() - stat.st_ctime * 1000 - (stat.st_ctime_nsec / 1_000_000).cast_signed();
    age_ms < RACY_MS
}

/// Opens a file for reading and makes sure it is the regular file that was seen: another kind may
/// have taken its place, and opening a FIFO without `NONBLOCK` would wait for a writer.
fn open(source: &Source, seen: &Stat) -> rustix::io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(
        &source.directory.fd,
        source.name.as_slice(),
        flags,
        Mode::empty(),
    )?;
    let stat = rustix::fs::fstat(&fd)?;
    if meta::entry_type(&stat) != meta::entry_type(seen) {
        return Err(Errno::NOENT);
    }
    Ok((fd, stat))
}

/// Whether the file is not what it was when it was opened. What cannot be asked counts as changed.
pub(super) fn changed(fd: BorrowedFd<'_>, before: &Stat, read: u64) -> bool {
    let Ok(after) = rustix::fs::fstat(fd) else {
        return true;
    };
    meta::size(&after) != read
        || meta::mtime(&after) != meta::mtime(before)
        || meta::size(before) != read
}
