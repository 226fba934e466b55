//! A directory of a snapshot as one stream: a tar or zip archive, written as it is read.
//!
//! Nothing seeks, so an archive goes into a pipe. Memory does not grow with content; what is kept of
//! each entry (names in a zip, hard links in a tar) is bounded by name.

mod tar;
mod zip;

use std::io::{self, Write};
use std::ops::ControlFlow;

use repo_format::tree::{Entry, EntryType};

use crate::archive::tree::Trees;
use crate::archive::view::{SnapshotView, copy_range, walk};
use crate::error::{Error, Result};

/// Form of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArchiveFormat {
    /// POSIX tar with extended headers: every name, size, owner, time to the nanosecond, attribute and
    /// hard link. Holes are written as zeros.
    Tar,
    /// ZIP, compressed: files, directories and symbolic links with their permissions and times.
    /// Hard links become files; devices and pipes are left out.
    Zip,
}

/// What an archive holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchiveReport {
    /// Entries written.
    pub entries: u64,
    /// Entries that the format has no place for.
    pub left_out: u64,
}

/// A stream that entries are added to, a directory before what it holds.
trait Archive {
    /// Adds an entry; says whether the format has a place for it.
    fn add(&mut self, trees: &Trees, path: &[u8], entry: &Entry) -> Result<bool>;
    /// Ends the archive.
    fn finish(&mut self) -> Result<()>;
}

impl SnapshotView {
    /// Writes what lies below the directory `path`, or the entry `path` under its own name, as an
    /// archive. Names in it are relative to `path`.
    pub async fn export(
        &self,
        path: &[u8],
        format: ArchiveFormat,
        out: Box<dyn Write + Send>,
    ) -> Result<ArchiveReport> {
        let (view, path) = (self.clone(), path.to_vec());
        self.repository()
            .blocking(move |repository| {
                let trees = Trees::open(repository)?;
                let entry = view.resolve(&trees, &path)?;
                let mut archive: Box<dyn Archive> = match format {
                    ArchiveFormat::Tar => Box::new(tar::Tar::new(out)),
                    ArchiveFormat::Zip => Box::new(zip::Zip::new(out)),
                };
                let report = write(&trees, &entry, &mut *archive)?;
                archive.finish()?;
                Ok(report)
            })
            .await
    }
}

fn write(trees: &Trees, entry: &Entry, archive: &mut dyn Archive) -> Result<ArchiveReport> {
    let mut report = ArchiveReport::default();
    let mut add = |path: &[u8], entry: &Entry| {
        match archive.add(trees, path, entry)? {
            true => report.entries += 1,
            false => report.left_out += 1,
        }
        Ok(())
    };
    if entry.kind != EntryType::Directory {
        add(&entry.name, entry)?;
        return Ok(report);
    }
    let mut added = Ok(());
    walk(trees, entry.subtree, true, &mut |path, entry| {
        added = add(path, entry);
        match added {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    added.map(|()| report)
}

fn output(error: io::Error) -> Error {
    Error::io("write", "the output", error)
}

/// Writes the content of a file, which must be as long as its entry says: what comes after it in an
/// archive stands at a place that depends on it.
fn content(trees: &Trees, entry: &Entry, out: &mut dyn Write) -> Result<()> {
    struct Count<'a>(&'a mut dyn Write, u64);
    impl Write for Count<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let written = self.0.write(bytes)?;
            self.1 += written as u64;
            Ok(written)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    let mut count = Count(out, 0);
    copy_range(trees, entry, 0..entry.size, &mut count)?;
    if count.1 == entry.size {
        return Ok(());
    }
    let what = format!("content of {}", String::from_utf8_lossy(&entry.name));
    let why = "it is shorter than its entry says";
    Err(Error::object(
        what,
        repo_format::Error::Malformed {
            what: "content",
            why,
        },
    ))
}

#[cfg(test)]
mod tests;
