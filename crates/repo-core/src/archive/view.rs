//! One snapshot, open for reading: entries, listings, and byte ranges of files.

use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use repo_format::commit::SnapshotRef;
use repo_format::tree::{Entry, EntryType};
use repo_format::{BlobId, Snapshot, SnapshotId};

use crate::archive::tree::Trees;
use crate::error::{Error, Result};
use crate::repository::Repository;

/// A snapshot of an open repository.
#[derive(Clone)]
pub struct SnapshotView {
    repository: Repository,
    id: SnapshotId,
    known: Arc<SnapshotRef>,
}

/// Called for each entry with its path relative to the root of the walk.
pub type Visit = Box<dyn FnMut(&[u8], &Entry) -> ControlFlow<()> + Send>;

impl Repository {
    /// Opens the snapshot `id` of the newest state known. No request.
    pub fn view(&self, id: &SnapshotId) -> Result<SnapshotView> {
        let state = self.state();
        let known = state
            .snapshot(id)
            .ok_or_else(|| Error::UnknownSnapshot { id: id.to_hex() })?;
        Ok(SnapshotView {
            repository: self.clone(),
            id: *id,
            known: Arc::new(known.clone()),
        })
    }
}

impl SnapshotView {
    /// Name of the snapshot.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    pub(crate) fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Its record.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.known.snapshot
    }

    /// Its tags.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.known.tags
    }

    /// The entry at `path` (components separated by `/`; empty for the root).
    pub async fn entry(&self, path: &[u8]) -> Result<Entry> {
        let (view, path) = (self.clone(), path.to_vec());
        self.repository
            .blocking(move |repository| view.resolve(&Trees::open(repository)?, &path))
            .await
    }

    pub(crate) fn resolve(&self, trees: &Trees, path: &[u8]) -> Result<Entry> {
        let mut entry = self.known.snapshot.root.clone();
        for name in path.split(|byte| *byte == b'/') {
            if name.is_empty() || name == b"." {
                continue;
            }
            let found = match entry.kind {
                EntryType::Directory => trees.find(entry.subtree, name)?,
                _ => None,
            };
            entry = found.ok_or_else(|| Error::UnknownPath {
                path: String::from_utf8_lossy(path).into_owned(),
                snapshot: self.id.to_hex(),
            })?;
        }
        Ok(entry)
    }

    /// Visits what lies below `path` in name order, depth first, or `path` itself when it is not
    /// a directory. Memory grows with depth, not with the number of entries.
    pub async fn walk(&self, path: &[u8], recursive: bool, mut visit: Visit) -> Result<()> {
        let (view, path) = (self.clone(), path.to_vec());
        self.repository
            .blocking(move |repository| {
                let trees = Trees::open(repository)?;
                let entry = view.resolve(&trees, &path)?;
                if entry.kind != EntryType::Directory {
                    let _ = visit(&entry.name, &entry);
                    return Ok(());
                }
                walk(&trees, entry.subtree, recursive, &mut |path, entry| {
                    visit(path, entry)
                })
            })
            .await
    }

    /// The bytes `range` of the file `entry`, clipped to its end. Reads only the segments that
    /// hold them.
    pub async fn read(&self, entry: &Entry, range: Range<u64>) -> Result<Vec<u8>> {
        let entry = entry.clone();
        self.repository
            .blocking(move |repository| {
                let mut out = Vec::new();
                copy_range(&Trees::open(repository)?, &entry, range, &mut out)?;
                Ok(out)
            })
            .await
    }

    /// Writes the whole content of the file `entry` to `out`.
    pub async fn write_to(&self, entry: &Entry, mut out: Box<dyn Write + Send>) -> Result<()> {
        let entry = entry.clone();
        self.repository
            .blocking(move |repository| {
                let range = 0..entry.size;
                copy_range(&Trees::open(repository)?, &entry, range, &mut out)?;
                out.flush()
                    .map_err(|error| Error::io("write", "the output", error))
            })
            .await
    }
}

/// Depth-first walk in name order. The visitor's path is relative to `root`.
pub(crate) fn walk(
    trees: &Trees,
    root: Option<BlobId>,
    recursive: bool,
    visit: &mut dyn FnMut(&[u8], &Entry) -> ControlFlow<()>,
) -> Result<()> {
    let mut stack = vec![(0, trees.entries(root))];
    let mut path: Vec<u8> = Vec::new();
    while let Some((base, entries)) = stack.last_mut() {
        path.truncate(*base);
        let Some(entry) = entries.next() else {
            stack.pop();
            continue;
        };
        let entry = entry?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&entry.name);
        if visit(&path, &entry).is_break() {
            return Ok(());
        }
        if recursive && entry.kind == EntryType::Directory {
            let base = path.len();
            stack.push((base, trees.entries(entry.subtree)));
        }
    }
    Ok(())
}

/// Writes the bytes `range` of the file `entry`, clipped to its end, to `out`.
pub(crate) fn copy_range(
    trees: &Trees,
    entry: &Entry,
    range: Range<u64>,
    out: &mut dyn Write,
) -> Result<()> {
    if entry.kind != EntryType::File {
        return Err(Error::WrongType {
            path: String::from_utf8_lossy(&entry.name).into_owned(),
            wanted: "file",
        });
    }
    let write = |out: &mut dyn Write, bytes: &[u8]| {
        out.write_all(bytes)
            .map_err(|error| Error::io("write", "the output", error))
    };
    let end = range.end.min(entry.size);
    let Some(content) = entry.content.as_ref().filter(|_| range.start < end) else {
        return Ok(());
    };
    for extent in trees.extents(content, range.start) {
        let (offset, extent) = extent?;
        if offset >= end {
            break;
        }
        let from = range.start.saturating_sub(offset);
        let to = (end - offset).min(extent.len);
        match &extent.id {
            Some(id) => {
                let chunk = trees.chunk(id)?;
                let part = usize::try_from(from)
                    .ok()
                    .zip(usize::try_from(to).ok())
                    .and_then(|(from, to)| chunk.get(from..to))
                    .ok_or_else(|| {
                        Error::object(
                            format!("chunk {id}"),
                            repo_format::Error::Malformed {
                                what: "chunk",
                                why: "it is shorter than its extent",
                            },
                        )
                    })?;
                write(out, part)?;
            }
            None => {
                const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
                let mut left = to - from;
                while left > 0 {
                    let part = left.min(ZEROS.len() as u64);
                    write(out, &ZEROS[..usize::try_from(part).unwrap_or(ZEROS.len())])?;
                    left -= part;
                }
            }
        }
    }
    Ok(())
}
