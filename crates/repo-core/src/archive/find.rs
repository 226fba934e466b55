//! Which versions of which paths match, and in which snapshots each of them is.
//!
//! Snapshots of one source are compared in time order, each with the one before it, so a subtree that
//! stays as it was is read once. Found versions are kept by path; when there are too many of them, the
//! last paths are left for another pass, which skips what was told already.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};

use repo_format::commit::SnapshotRef;
use repo_format::tree::{Entry, EntryType, Timestamp, Xattr};
use repo_format::{BlobId, BlobKind, Content, PathBytes, SnapshotId, encode_extents};

use crate::archive::pairs::{Next, pairs};
use crate::archive::tree::Trees;
use crate::error::{Error, Result};
use crate::limits::FIND_BYTES_MAX;
use crate::repository::Repository;

/// Says whether an entry at a path, relative to the root of its snapshot, is looked for.
pub type MatchEntry = Box<dyn FnMut(&[u8], &Entry) -> bool + Send>;

/// What is searched, and what for.
pub struct FindOptions {
    /// The snapshots to search.
    pub snapshots: Vec<SnapshotId>,
    /// What is looked for. Asked first.
    pub matches: MatchEntry,
    /// Only files with this content, or with a chunk or chunk list of this id, and directories with
    /// this tree: the first characters of the id, in lower-case hexadecimal.
    pub content: Option<String>,
}

/// Snapshots of the same host and paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundSource {
    /// Host that was read.
    pub host: String,
    /// Paths that were read.
    pub paths: Vec<PathBytes>,
    /// Those of its snapshots that were searched, oldest first.
    pub snapshots: Vec<SnapshotId>,
}

/// A path at which something was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Path relative to the root of the snapshots.
    pub path: Vec<u8>,
    /// Its matching versions, in the order in which they appeared.
    pub versions: Vec<FoundVersion>,
}

/// One state of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundVersion {
    /// What it is.
    pub kind: EntryType,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of last content change.
    pub mtime: Timestamp,
    /// Length of a file, in bytes.
    pub size: u64,
    /// Identity of the content of a file; absent when it is empty. Files of one repository with the
    /// same content, cut alike, have the same.
    pub content: Option<BlobId>,
    /// Target of a symbolic link.
    pub target: Option<Vec<u8>>,
    /// Device number of a device node.
    pub device: Option<u64>,
    xattrs: Vec<Xattr>,
    /// In which of the source's snapshots it is: ranges of their places, in order.
    pub snapshots: Vec<RangeInclusive<usize>>,
}

/// Called for each path, in name order, a directory before what it holds; one source after another.
pub type VisitFound = Box<dyn FnMut(&FoundSource, Found) -> ControlFlow<()> + Send>;

impl Repository {
    /// Searches snapshots for versions of paths. Memory grows neither with the snapshots nor with
    /// what is found.
    pub async fn find(&self, mut options: FindOptions, mut visit: VisitFound) -> Result<()> {
        let state = self.state();
        let mut known = Vec::with_capacity(options.snapshots.len());
        for id in &options.snapshots {
            let unknown = || Error::UnknownSnapshot { id: id.to_hex() };
            known.push(state.snapshot(id).cloned().ok_or_else(unknown)?);
        }
        self.blocking(move |repository| {
            let trees = Trees::open(repository)?;
            for (source, roots) in sources(known) {
                let mut search = Search::new(&trees, &mut options, FIND_BYTES_MAX);
                if search.source(&source, &roots, &mut visit)?.is_break() {
                    break;
                }
            }
            Ok(())
        })
        .await
    }

    /// Identity of the content of a file, see [`FoundVersion::content`]. No request.
    #[must_use]
    pub fn content_id(&self, entry: &Entry) -> Option<BlobId> {
        let content = entry.content.as_ref()?;
        Some(match content.extents.as_slice() {
            // A file of one chunk is that chunk.
            [only] if content.level == 0 && only.id.is_some() => only.id?,
            _ => self
                .inner
                .ring
                .blob_id(BlobKind::Tree, &encode_extents(content)),
        })
    }
}

/// Roots of trees, oldest first.
type Roots = Vec<Option<BlobId>>;

/// Snapshots by source, oldest first, each once.
fn sources(mut known: Vec<SnapshotRef>) -> Vec<(FoundSource, Roots)> {
    known.sort_by_key(|known| (known.snapshot.time_ms, known.snapshot.id()));
    known.dedup_by_key(|known| known.snapshot.id());
    let mut sources: BTreeMap<(String, Vec<PathBytes>), (Vec<SnapshotId>, Roots)> = BTreeMap::new();
    for known in known {
        let snapshot = &known.snapshot;
        let key = (snapshot.host.clone(), snapshot.paths.clone());
        let (ids, roots) = sources.entry(key).or_default();
        ids.push(snapshot.id());
        roots.push(snapshot.root.subtree);
    }
    let source = |((host, paths), (snapshots, roots))| {
        let source = FoundSource {
            host,
            paths,
            snapshots,
        };
        (source, roots)
    };
    sources.into_iter().map(source).collect()
}

/// The end of a version that is still there.
const OPEN: usize = usize::MAX;

/// What a version takes beside its path, and a path beside its versions, in bytes; measured.
const COST: usize = 256;

/// The search of one source.
struct Search<'a> {
    trees: &'a Trees,
    options: &'a mut FindOptions,
    bytes_max: usize,
    /// By path with `/` as NUL, which sorts as trees do.
    found: BTreeMap<Vec<u8>, Vec<FoundVersion>>,
    bytes: usize,
    /// Paths before it were told already.
    from: Option<Vec<u8>>,
    /// It, and paths after it, are left for the next pass.
    until: Option<Vec<u8>>,
}

impl<'a> Search<'a> {
    fn new(trees: &'a Trees, options: &'a mut FindOptions, bytes_max: usize) -> Self {
        Self {
            trees,
            options,
            bytes_max,
            found: BTreeMap::new(),
            bytes: 0,
            from: None,
            until: None,
        }
    }

    fn source(
        &mut self,
        source: &FoundSource,
        roots: &Roots,
        visit: &mut VisitFound,
    ) -> Result<ControlFlow<()>> {
        loop {
            self.pass(roots)?;
            for (key, mut versions) in std::mem::take(&mut self.found) {
                close(&mut versions, roots.len());
                let path = key.iter().map(|byte| if *byte == 0 { b'/' } else { *byte });
                let found = Found {
                    path: path.collect(),
                    versions,
                };
                if visit(source, found).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            self.bytes = 0;
            match self.until.take() {
                Some(key) => self.from = Some(key),
                None => return Ok(ControlFlow::Continue(())),
            }
        }
    }

    /// Compares each snapshot with the one before it.
    fn pass(&mut self, roots: &Roots) -> Result<()> {
        let trees = self.trees;
        let mut before = None;
        for (at, root) in roots.iter().enumerate() {
            pairs(trees, [before, *root], &mut |path, before, after| {
                self.pair(at, path, before.as_ref(), after.as_ref())
            })?;
            before = *root;
        }
        Ok(())
    }

    fn pair(
        &mut self,
        at: usize,
        path: &[u8],
        before: Option<&Entry>,
        after: Option<&Entry>,
    ) -> Result<Next> {
        let slash = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
        let key: Vec<u8> = path.iter().map(slash).collect();
        if self.is_in_range(&key) {
            let matched = |search: &mut Self, entry: Option<&Entry>| match entry {
                Some(entry) => search.matches(path, entry),
                None => Ok(false),
            };
            let was = matched(self, before)?;
            let is = matched(self, after)?;
            let after = after.filter(|_| is).map(|entry| self.version(entry));
            self.note(at, &key, was, after);
        }
        Ok(self.below(key))
    }

    fn matches(&mut self, path: &[u8], entry: &Entry) -> Result<bool> {
        if !(self.options.matches)(path, entry) {
            return Ok(false);
        }
        let Some(wanted) = &self.options.content else {
            return Ok(true);
        };
        let starts = |id: Option<&BlobId>| id.is_some_and(|id| id.to_hex().starts_with(wanted));
        if starts(entry.subtree.as_ref())
            || starts(self.trees.repository().content_id(entry).as_ref())
        {
            return Ok(true);
        }
        match &entry.content {
            Some(content) => holds(self.trees, content, wanted),
            None => Ok(false),
        }
    }

    fn version(&self, entry: &Entry) -> FoundVersion {
        FoundVersion {
            kind: entry.kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            size: entry.size,
            content: self.trees.repository().content_id(entry),
            target: entry.target.clone(),
            device: entry.device,
            xattrs: entry.xattrs.clone().unwrap_or_default(),
            snapshots: Vec::new(),
        }
    }

    /// From snapshot `at` on the path has this version, or none.
    fn note(&mut self, at: usize, key: &[u8], was: bool, version: Option<FoundVersion>) {
        if was && let Some(versions) = self.found.get_mut(key) {
            close(versions, at);
        }
        let Some(mut version) = version else { return };
        let added = key.len() + COST + version.target.as_ref().map_or(0, Vec::len);
        let versions = self.found.entry(key.to_vec()).or_default();
        let same = versions.iter_mut().find(|known| is_same(known, &version));
        match same {
            Some(known) => match known.snapshots.last_mut() {
                // Only what lies below a directory has changed.
                Some(last) if *last.end() + 1 == at => *last = *last.start()..=OPEN,
                _ => {
                    known.snapshots.push(at..=OPEN);
                    self.bytes += size_of::<RangeInclusive<usize>>();
                }
            },
            None => {
                version.snapshots.push(at..=OPEN);
                versions.push(version);
                self.bytes += added;
            }
        }
        if self.bytes > self.bytes_max {
            self.shed();
        }
    }

    /// Leaves the last paths for the next pass.
    fn shed(&mut self) {
        let enough = self.bytes_max / 4 * 3;
        while self.bytes > enough && self.found.len() > 1 {
            let Some((key, versions)) = self.found.pop_last() else {
                return;
            };
            for version in &versions {
                let runs = version.snapshots.len() - 1;
                let target = version.target.as_ref().map_or(0, Vec::len);
                self.bytes -= key.len() + COST + target + runs * size_of::<RangeInclusive<usize>>();
            }
            self.until = Some(key);
        }
    }

    fn is_in_range(&self, key: &[u8]) -> bool {
        self.from.as_deref().is_none_or(|from| key >= from)
            && self.until.as_deref().is_none_or(|until| key < until)
    }

    /// Whether anything below a path is in range.
    fn below(&self, mut key: Vec<u8>) -> Next {
        key.push(0);
        if self.until.as_ref().is_some_and(|until| key >= *until) {
            return Next::Past;
        }
        if let Some(last) = key.last_mut() {
            // Every path below is less than this.
            *last = 1;
        }
        match &self.from {
            Some(from) if key <= *from => Next::Past,
            _ => Next::Into,
        }
    }
}

/// Ends what was there before snapshot `at`.
fn close(versions: &mut [FoundVersion], at: usize) {
    for version in versions {
        if let Some(last) = version.snapshots.last_mut()
            && *last.end() == OPEN
        {
            *last = *last.start()..=at - 1;
        }
    }
}

/// Whether two versions differ in nothing but the snapshots they are in.
fn is_same(known: &FoundVersion, other: &FoundVersion) -> bool {
    let content = |version: &FoundVersion| (version.kind, version.size, version.content);
    let place = |version: &FoundVersion| (version.mode, version.uid, version.gid, version.mtime);
    content(known) == content(other)
        && place(known) == place(other)
        && known.device == other.device
        && known.target == other.target
        && known.xattrs == other.xattrs
}

/// Whether a content has a chunk or chunk list whose id begins so.
fn holds(trees: &Trees, content: &Content, wanted: &str) -> Result<bool> {
    let mut open = vec![content.clone()];
    while let Some(content) = open.pop() {
        for extent in &content.extents {
            let Some(id) = &extent.id else { continue };
            if id.to_hex().starts_with(wanted) {
                return Ok(true);
            }
            if content.level > 0 {
                open.push(trees.list(id, content.level - 1, extent.len)?);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
