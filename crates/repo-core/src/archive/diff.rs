//! What differs between two snapshots.
//!
//! Both trees are walked side by side, see [`pairs`], so the cost grows with the difference.

use std::collections::HashMap;
use std::ops::ControlFlow;

use repo_format::tree::{Entry, EntryType};
use repo_format::{BlobId, Content};

use crate::archive::pairs::{Next, pairs};
use crate::archive::tree::Trees;
use crate::archive::view::SnapshotView;
use crate::error::Result;
use crate::limits::DIFF_LISTS_MAX;
use crate::repository::Repository;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Path relative to the roots of the snapshots.
    pub path: Vec<u8>,
    /// In what the two differ.
    pub kind: ChangeKind,
    /// The entry of the first snapshot.
    pub before: Option<Entry>,
    /// The entry of the second.
    pub after: Option<Entry>,
}

/// Kinds of difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// Only the second snapshot has the path.
    Added,
    /// Only the first snapshot has the path.
    Removed,
    /// Both have it, as the same type of entry.
    Modified {
        /// Its bytes differ, or the target of a link, or the number of a device.
        content: bool,
        /// Its permissions, owner, modification time or extended attributes differ.
        metadata: bool,
    },
    /// It is another type of entry. What a directory held follows, as added or removed.
    TypeChanged,
}

/// Sums over all differences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffTotals {
    /// Entries only the second snapshot has.
    pub added: u64,
    /// Entries only the first snapshot has.
    pub removed: u64,
    /// Entries that differ.
    pub changed: u64,
    /// Bytes of added files, and of chunks that changed files have now and had not before.
    pub added_bytes: u64,
    /// Bytes of removed files, and of chunks that changed files have no more.
    pub removed_bytes: u64,
}

/// Called for each difference, in name order, a directory before what it holds.
pub type VisitChange = Box<dyn FnMut(Change) -> ControlFlow<()> + Send>;

impl Repository {
    /// Visits what differs between snapshot `a` and snapshot `b`, a directory added or removed
    /// with everything below it. Inode numbers and change times alone are no difference.
    ///
    /// The totals cover what was visited when the visitor stops early.
    pub async fn diff(
        &self,
        a: &SnapshotView,
        b: &SnapshotView,
        visit: VisitChange,
    ) -> Result<DiffTotals> {
        let roots = [a, b].map(|view| view.snapshot().root.subtree);
        self.blocking(move |repository| {
            let trees = Trees::open(repository)?;
            let mut diff = Diff {
                trees: &trees,
                visit,
                totals: DiffTotals::default(),
            };
            pairs(&trees, roots, &mut |path, before, after| {
                diff.compare(path, before, after)
            })?;
            Ok(diff.totals)
        })
        .await
    }
}

struct Diff<'a> {
    trees: &'a Trees,
    visit: VisitChange,
    totals: DiffTotals,
}

impl Diff<'_> {
    fn compare(
        &mut self,
        path: &[u8],
        before: Option<Entry>,
        after: Option<Entry>,
    ) -> Result<Next> {
        let kind = match (&before, &after) {
            (None, Some(entry)) => {
                self.totals.added += 1;
                self.totals.added_bytes += entry.size;
                Some(ChangeKind::Added)
            }
            (Some(entry), None) => {
                self.totals.removed += 1;
                self.totals.removed_bytes += entry.size;
                Some(ChangeKind::Removed)
            }
            (Some(before), Some(after)) => self.compare_both(before, after)?,
            (None, None) => None,
        };
        let Some(kind) = kind else {
            return Ok(Next::Into);
        };
        let flow = (self.visit)(Change {
            path: path.to_vec(),
            kind,
            before,
            after,
        });
        Ok(if flow.is_break() {
            Next::Stop
        } else {
            Next::Into
        })
    }

    fn compare_both(&mut self, before: &Entry, after: &Entry) -> Result<Option<ChangeKind>> {
        if before.kind != after.kind {
            self.totals.changed += 1;
            self.totals.removed_bytes += before.size;
            self.totals.added_bytes += after.size;
            return Ok(Some(ChangeKind::TypeChanged));
        }
        let content = content_differs(before, after);
        let metadata = metadata_differs(before, after);
        if !content && !metadata {
            return Ok(None);
        }
        self.totals.changed += 1;
        if content && before.kind == EntryType::File {
            let (removed, added) = compare_content(self.trees, before, after)?;
            self.totals.removed_bytes += removed;
            self.totals.added_bytes += added;
        }
        Ok(Some(ChangeKind::Modified { content, metadata }))
    }
}

pub(crate) fn content_differs(before: &Entry, after: &Entry) -> bool {
    match before.kind {
        EntryType::File => before.size != after.size || before.content != after.content,
        EntryType::Symlink => before.target != after.target,
        EntryType::CharDevice | EntryType::BlockDevice => before.device != after.device,
        EntryType::Directory | EntryType::Fifo => false,
    }
}

pub(crate) fn metadata_differs(before: &Entry, after: &Entry) -> bool {
    let owner = |entry: &Entry| (entry.mode, entry.uid, entry.gid, entry.mtime);
    // A name that only one side could look up says nothing.
    let named = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
    let xattrs = |entry: &Entry| entry.xattrs.clone().filter(|list| !list.is_empty());
    owner(before) != owner(after)
        || named(&before.user, &after.user)
        || named(&before.group, &after.group)
        || xattrs(before) != xattrs(after)
}

/// Lengths and counts of ids, positive where `before` has more of them.
type Balance = HashMap<BlobId, (i64, u64)>;

/// Bytes of chunks that only `before` has and that only `after` has. Chunk lists that both have
/// are not read; of files too different to hold the difference, whole lists are counted.
fn compare_content(trees: &Trees, before: &Entry, after: &Entry) -> Result<(u64, u64)> {
    let mut sides = [before, after].map(|entry| entry.content.clone().unwrap_or_default());
    // The ends of files of different depth: only the deeper one is opened.
    while sides[0].level != sides[1].level {
        let deeper = usize::from(sides[0].level < sides[1].level);
        sides[deeper] = open_lists(trees, &sides[deeper])?;
    }
    loop {
        let balance = balance(&sides);
        let level = sides[0].level;
        let lists = balance
            .values()
            .map(|(count, _)| count.unsigned_abs())
            .sum::<u64>();
        if level == 0 || lists > DIFF_LISTS_MAX {
            return Ok(sums(&balance));
        }
        for (side, sign) in sides.iter_mut().zip([1, -1]) {
            let mut left: HashMap<BlobId, i64> = balance
                .iter()
                .map(|(id, (count, _))| (*id, count * sign))
                .collect();
            side.extents.retain(|extent| {
                let count = extent.id.and_then(|id| left.get_mut(&id));
                count.is_some_and(|count| {
                    *count -= 1;
                    *count >= 0
                })
            });
            *side = open_lists(trees, side)?;
        }
    }
}

fn balance(sides: &[Content; 2]) -> Balance {
    let mut balance = Balance::new();
    for (side, sign) in sides.iter().zip([1, -1]) {
        for extent in &side.extents {
            let Some(id) = extent.id else { continue };
            let (count, len) = balance.entry(id).or_insert((0, extent.len));
            *count += sign;
            *len = extent.len;
        }
    }
    balance.retain(|_, (count, _)| *count != 0);
    balance
}

fn sums(balance: &Balance) -> (u64, u64) {
    let mut sums = (0, 0);
    for (count, len) in balance.values() {
        let bytes = count.unsigned_abs() * len;
        if *count > 0 {
            sums.0 += bytes;
        } else {
            sums.1 += bytes;
        }
    }
    sums
}

/// The contents of all lists of `content`, one level down.
fn open_lists(trees: &Trees, content: &Content) -> Result<Content> {
    let mut below = Content {
        level: content.level.saturating_sub(1),
        extents: Vec::new(),
    };
    for extent in &content.extents {
        if let Some(id) = &extent.id {
            let list = trees.list(id, below.level, extent.len)?;
            below.extents.extend(list.extents);
        }
    }
    Ok(below)
}

#[cfg(test)]
mod tests;
