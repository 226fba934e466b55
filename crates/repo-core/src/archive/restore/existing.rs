//! Comparison with what the target holds: chunk by chunk along the snapshot's extents, by id.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use repo_format::tree::Entry;
use repo_format::{BlobKind, Content};
use rustix::fs::{Advice, FileType, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use crate::archive::restore::dir;
use crate::archive::restore::file::{FileWork, Part};
use crate::archive::restore::job::{Job, Mode, Scratch};
use crate::archive::restore::limits::COMPARE;
use crate::archive::restore::meta::{self, Subject};
use crate::archive::restore::remove;
use crate::error::Result;

/// Opens an existing file for reading, without leaving a trace in its access time where allowed.
pub(super) fn open(job: &Job, file: &FileWork) -> rustix::io::Result<File> {
    let quiet = OFlags::RDONLY | OFlags::NOATIME;
    let opened = match job.identity.privileged {
        true => match file.open_existing(quiet) {
            Err(Errno::PERM) => file.open_existing(OFlags::RDONLY),
            opened => opened,
        },
        false => file.open_existing(OFlags::RDONLY),
    };
    let opened = File::from(opened?);
    if job.mode == Mode::Verify {
        // What is still in memory only was written back before: now read what the disk holds.
        let _ = rustix::fs::fadvise(&opened, 0, None, Advice::DontNeed);
    }
    Ok(opened)
}

/// Compares a whole small file, `parts` of which are all of it, with what stands under its name.
/// Parts to write go to `wanted`, as places in `parts` counted from `base`.
pub(super) fn small(
    job: &Job,
    file: &FileWork,
    (base, parts): (usize, &[Part]),
    scratch: &mut Scratch,
    wanted: &mut Vec<usize>,
) {
    let found = match file.dir.handle().and_then(|fd| dir::stat(&fd, &file.name)) {
        Ok(found) => found,
        Err(error) => return give_up(job, file, parts, "open", error),
    };
    let Some(found) = found else {
        return fresh(job, file, (base, parts), wanted);
    };
    let regular = dir::is(&found, FileType::RegularFile);
    if regular && job.mode != Mode::Verify && file.untouched(&found, false) {
        return keep(job, file, parts);
    }
    // A link to a file outside would carry what is written here out of the target.
    if !regular || (found.st_nlink > 1 && job.mode != Mode::Verify) {
        return replace(job, file, (base, parts), wanted);
    }
    let opened = match open(job, file) {
        Ok(opened) => opened,
        Err(Errno::ACCESS | Errno::PERM | Errno::LOOP) => {
            return replace(job, file, (base, parts), wanted);
        }
        Err(error) => return give_up(job, file, parts, "open", error),
    };
    let before = wanted.len();
    compare(job, &opened, (base, parts), scratch, wanted);
    let differing = wanted.len() - before;
    let resized = u64::try_from(found.st_size) != Ok(file.size);
    if differing == 0 && !(resized && job.writes()) {
        file.keep_open(Arc::new(opened));
    } else if job.writes() {
        match file.open_existing(OFlags::RDWR) {
            Ok(writable) => {
                let writable = File::from(writable);
                clear_holes(job, file, &writable, (base, parts), wanted, before);
            }
            // Read-only, or a program that runs: a new file takes its place.
            Err(_) => {
                wanted.truncate(before);
                return replace(job, file, (base, parts), wanted);
            }
        }
    }
    settle(job, file, (base, parts), before, wanted);
}

/// A file that is what the snapshot read, untouched since.
fn keep(job: &Job, file: &FileWork, parts: &[Part]) {
    let data = parts.iter().filter(|part| part.id.is_some());
    job.count_kept(data.map(|part| part.len).sum());
    job.count_file();
    // Its parts are dealt with without completing it: there is nothing to change.
    file.set_lost();
    if parts.is_empty() {
        file.finish(job);
    } else {
        file.done(job, parts.len());
    }
}

/// Compares a run of parts of a file that is open.
pub(super) fn slice(
    job: &Job,
    file: &FileWork,
    (base, parts): (usize, &[Part]),
    scratch: &mut Scratch,
    wanted: &mut Vec<usize>,
) {
    let Some(opened) = file.opened() else {
        return file.done(job, parts.len());
    };
    let before = wanted.len();
    compare(job, &opened, (base, parts), scratch, wanted);
    if job.writes() {
        clear_holes(job, file, &opened, (base, parts), wanted, before);
    }
    settle(job, file, (base, parts), before, wanted);
}

/// Holes that hold data are dealt with at once; they leave `wanted`.
fn clear_holes(
    job: &Job,
    file: &FileWork,
    opened: &File,
    (base, parts): (usize, &[Part]),
    wanted: &mut Vec<usize>,
    from: usize,
) {
    let mut keep = from;
    for at in from..wanted.len() {
        let part = &parts[wanted[at] - base];
        if part.id.is_none() {
            file.clear(job, opened, part);
        } else {
            wanted[keep] = wanted[at];
            keep += 1;
        }
    }
    wanted.truncate(keep);
}

/// Counts what is right, and in a pass that does not write, tells what is not.
fn settle(
    job: &Job,
    file: &FileWork,
    (base, parts): (usize, &[Part]),
    before: usize,
    wanted: &mut Vec<usize>,
) {
    let data = |part: &Part| if part.id.is_some() { part.len } else { 0 };
    let all: u64 = parts.iter().map(data).sum();
    let differing: u64 = wanted[before..]
        .iter()
        .map(|at| data(&parts[at - base]))
        .sum();
    job.count_kept(all - differing);
    let differ = wanted.len() > before;
    if differ && file.set_changed() && job.mode == Mode::Verify {
        let part = &parts[wanted[before] - base];
        let message = format!("differs from the snapshot at byte {}", part.offset);
        job.damage(&file.dir, &file.name, message);
    }
    if !job.writes() {
        wanted.truncate(before);
    }
    let done = parts.len() - (wanted.len() - before);
    if parts.is_empty() {
        file.finish(job);
    } else if done > 0 {
        file.done(job, done);
    }
}

/// Takes all parts of a file that has nothing under its name.
pub(super) fn fresh(
    job: &Job,
    file: &FileWork,
    (base, parts): (usize, &[Part]),
    wanted: &mut Vec<usize>,
) {
    file.set_fresh();
    if job.mode == Mode::Verify && !file.lost() {
        file.set_lost();
        job.damage(&file.dir, &file.name, "is missing from the target");
    }
    all(job, file, (base, parts), wanted);
}

/// Takes all parts of a file that is written from nothing.
pub(super) fn all(
    job: &Job,
    file: &FileWork,
    (base, parts): (usize, &[Part]),
    wanted: &mut Vec<usize>,
) {
    if parts.is_empty() {
        return file.finish(job);
    }
    if !job.writes() {
        return file.done(job, parts.len());
    }
    for (at, part) in parts.iter().enumerate() {
        if part.id.is_some() {
            wanted.push(base + at);
        } else {
            file.leave_hole(job);
        }
    }
}

/// Removes what stands under the name and takes all parts.
fn replace(job: &Job, file: &FileWork, (base, parts): (usize, &[Part]), wanted: &mut Vec<usize>) {
    match job.mode {
        Mode::Write => match remove::one(job, &file.dir, &file.name) {
            Ok(()) => fresh(job, file, (base, parts), wanted),
            Err(error) => give_up(job, file, parts, "replace", error),
        },
        Mode::Plan => {
            file.set_changed();
            all(job, file, (base, parts), wanted);
        }
        Mode::Verify => {
            if file.set_changed() {
                job.damage(&file.dir, &file.name, "is not what the snapshot has");
            }
            all(job, file, (base, parts), wanted);
        }
    }
}

fn give_up(job: &Job, file: &FileWork, parts: &[Part], operation: &'static str, error: Errno) {
    file.set_lost();
    job.trouble(&file.dir, &file.name, operation, error);
    if parts.is_empty() {
        file.finish(job);
    } else {
        file.done(job, parts.len());
    }
}

/// Adds the parts that the open file does not hold to `wanted`. What cannot be read differs.
fn compare(
    job: &Job,
    opened: &File,
    (base, parts): (usize, &[Part]),
    scratch: &mut Scratch,
    wanted: &mut Vec<usize>,
) {
    let ring = &job.trees.repository().inner.ring;
    let buffer = &mut scratch.compare;
    let mut start = 0;
    while start < parts.len() {
        if parts[start].id.is_none() {
            if !is_hole(opened, &parts[start], buffer) {
                wanted.push(base + start);
            }
            start += 1;
            continue;
        }
        let mut end = start;
        let mut len = 0;
        while let Some(part) = parts.get(end)
            && part.id.is_some()
            && (end == start || len + part.len <= COMPARE as u64)
        {
            len += part.len;
            end += 1;
        }
        let read = fill(opened, parts[start].offset, len, buffer);
        let mut rest = &buffer[..read];
        for (at, part) in parts.iter().enumerate().take(end).skip(start) {
            let len = usize::try_from(part.len).unwrap_or(usize::MAX);
            let Some((bytes, after)) = rest.split_at_checked(len) else {
                // The file ends in this part: what follows is not there at all.
                wanted.extend(base + at..base + end);
                break;
            };
            rest = after;
            if part.id != Some(ring.blob_id(BlobKind::Data, bytes)) {
                wanted.push(base + at);
            }
        }
        start = end;
    }
}

/// Reads up to `len` bytes into the buffer's front. Returns how many there were.
fn fill(file: &File, offset: u64, len: u64, buffer: &mut Vec<u8>) -> usize {
    let len = usize::try_from(len).unwrap_or(0);
    if buffer.len() < len {
        buffer.resize(len.max(64 << 10), 0);
    }
    let mut read = 0;
    while read < len {
        match file.read_at(&mut buffer[read..len], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    read
}

/// Whether a range holds zeros only. A hole need not be read.
fn is_hole(file: &File, part: &Part, buffer: &mut Vec<u8>) -> bool {
    let end = part.offset + part.len;
    let mut at = part.offset;
    while at < end {
        match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => at = data,
            Err(Errno::NXIO) => return true,
            // No such notion here: read all of it.
            Err(_) => {}
        }
        if at >= end {
            return true;
        }
        let read = fill(file, at, (end - at).min(COMPARE as u64), buffer);
        if read == 0 {
            return true;
        }
        if buffer[..read].iter().any(|byte| *byte != 0) {
            return false;
        }
        at += read as u64;
    }
    true
}

/// Whether an open file is in every respect what the entry says; reads it to the end. For files
/// that may not be written in place.
pub(super) fn is_same(
    job: &Job,
    opened: &File,
    (entry, content): (&Entry, Option<&Content>),
    (file, stat): (&FileWork, &Stat),
) -> Result<bool> {
    let subject = Subject::Open(opened.as_fd());
    if u64::try_from(stat.st_size) != Ok(entry.size)
        || !meta::matches(job, &subject, &file.attributes, stat)
    {
        return Ok(false);
    }
    let Some(content) = content else {
        return Ok(true);
    };
    let mut differing = Vec::new();
    for extent in job.trees.extents(content, 0) {
        let (offset, extent) = extent?;
        let part = Part {
            file: 0,
            offset,
            len: extent.len,
            id: extent.id,
        };
        job.with_scratch(|scratch| compare(job, opened, (0, &[part]), scratch, &mut differing));
        if !differing.is_empty() || job.stopped() {
            return Ok(false);
        }
    }
    Ok(true)
}
