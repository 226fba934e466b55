//! What differs between two snapshots.
//!
//! Both trees are walked side by side in name order. Nodes that both hold are skipped unread, so
//! the cost grows with the difference, in directories of any size: nodes are split by content, and
//! after a change the two sides soon come to equal nodes again.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::vec::IntoIter;

use repo_format::tree::{Child, Entry, EntryType, Node};
use repo_format::{BlobId, Content, limits};

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
            let mut diff = Diff {
                trees: Trees::open(repository)?,
                visit,
                totals: DiffTotals::default(),
                path: Vec::new(),
                stack: Vec::new(),
            };
            diff.run(roots)?;
            Ok(diff.totals)
        })
        .await
    }
}

/// The rest of one side of a directory: nodes not read yet and entries.
struct Side {
    stack: Vec<IntoIter<Child>>,
    leaf: IntoIter<Entry>,
    front: Option<Item>,
}

enum Item {
    Node(Child),
    Entry(Box<Entry>),
}

impl Side {
    fn new(root: Option<BlobId>) -> Self {
        // Nothing is known of a root yet, so it counts as larger than any other node.
        let front = root.map(|node| {
            Item::Node(Child {
                last: Vec::new(),
                node,
                entries: u64::MAX,
            })
        });
        Self {
            stack: Vec::new(),
            leaf: Vec::new().into_iter(),
            front,
        }
    }

    /// Makes the next item the front.
    fn advance(&mut self) -> Option<Item> {
        let taken = self.front.take();
        if let Some(entry) = self.leaf.next() {
            self.front = Some(Item::Entry(Box::new(entry)));
            return taken;
        }
        while let Some(children) = self.stack.last_mut() {
            if let Some(child) = children.next() {
                self.front = Some(Item::Node(child));
                break;
            }
            self.stack.pop();
        }
        taken
    }

    fn entry(&mut self) -> Option<Entry> {
        match self.advance() {
            Some(Item::Entry(entry)) => Some(*entry),
            _ => None,
        }
    }

    /// Replaces the node in front by what it holds.
    fn expand(&mut self, trees: &Trees) -> Result<()> {
        let Some(Item::Node(child)) = self.front.take() else {
            return Ok(());
        };
        match trees.node(&child.node)? {
            Node::Leaf(entries) => self.leaf = entries.into_iter(),
            Node::Interior(children) => {
                if self.stack.len() >= usize::from(limits::DEPTH_MAX) {
                    return Err(crate::archive::tree::too_deep(&child.node));
                }
                self.stack.push(children.into_iter());
            }
        }
        self.advance();
        Ok(())
    }
}

/// A directory in work: both sides, and the length of its path.
struct Frame {
    base: usize,
    sides: [Side; 2],
}

/// What the fronts of two sides call for.
enum Step {
    Done,
    Skip,
    Expand(usize),
    Only(usize),
    Both,
}

fn step(sides: &[Side; 2]) -> Step {
    match (&sides[0].front, &sides[1].front) {
        (None, None) => Step::Done,
        (Some(Item::Node(a)), Some(Item::Node(b))) => {
            if a.node == b.node {
                Step::Skip
            } else {
                // The smaller one may be equal to something in the larger one.
                Step::Expand(usize::from(a.entries < b.entries))
            }
        }
        (Some(Item::Node(_)), _) => Step::Expand(0),
        (_, Some(Item::Node(_))) => Step::Expand(1),
        (Some(Item::Entry(_)), None) => Step::Only(0),
        (None, Some(Item::Entry(_))) => Step::Only(1),
        (Some(Item::Entry(a)), Some(Item::Entry(b))) => match a.name.cmp(&b.name) {
            std::cmp::Ordering::Less => Step::Only(0),
            std::cmp::Ordering::Equal => Step::Both,
            std::cmp::Ordering::Greater => Step::Only(1),
        },
    }
}

struct Diff {
    trees: Trees,
    visit: VisitChange,
    totals: DiffTotals,
    path: Vec<u8>,
    stack: Vec<Frame>,
}

impl Diff {
    fn run(&mut self, roots: [Option<BlobId>; 2]) -> Result<()> {
        self.descend(roots);
        while let Some(frame) = self.stack.last_mut() {
            self.path.truncate(frame.base);
            let what = step(&frame.sides);
            let [a, b] = &mut frame.sides;
            let flow = match what {
                Step::Done => {
                    self.stack.pop();
                    continue;
                }
                Step::Skip => {
                    frame.sides.iter_mut().for_each(|side| drop(side.advance()));
                    continue;
                }
                Step::Expand(side) => {
                    frame.sides[side].expand(&self.trees)?;
                    continue;
                }
                Step::Only(0) => {
                    let entry = a.entry();
                    self.compare(entry, None)?
                }
                Step::Only(_) => {
                    let entry = b.entry();
                    self.compare(None, entry)?
                }
                Step::Both => {
                    let (before, after) = (a.entry(), b.entry());
                    self.compare(before, after)?
                }
            };
            if flow.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn descend(&mut self, roots: [Option<BlobId>; 2]) {
        if roots[0] != roots[1] {
            self.stack.push(Frame {
                base: self.path.len(),
                sides: roots.map(Side::new),
            });
        }
    }

    fn compare(&mut self, before: Option<Entry>, after: Option<Entry>) -> Result<ControlFlow<()>> {
        let Some(name) = before.as_ref().or(after.as_ref()).map(|entry| &entry.name) else {
            return Ok(ControlFlow::Continue(()));
        };
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        let subtrees = [&before, &after].map(|entry| entry.as_ref().and_then(|e| e.subtree));
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
        let mut flow = ControlFlow::Continue(());
        if let Some(kind) = kind {
            flow = (self.visit)(Change {
                path: self.path.clone(),
                kind,
                before,
                after,
            });
        }
        self.descend(subtrees);
        Ok(flow)
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
            let (removed, added) = compare_content(&self.trees, before, after)?;
            self.totals.removed_bytes += removed;
            self.totals.added_bytes += added;
        }
        Ok(Some(ChangeKind::Modified { content, metadata }))
    }
}

fn content_differs(before: &Entry, after: &Entry) -> bool {
    match before.kind {
        EntryType::File => before.size != after.size || before.content != after.content,
        EntryType::Symlink => before.target != after.target,
        EntryType::CharDevice | EntryType::BlockDevice => before.device != after.device,
        EntryType::Directory | EntryType::Fifo => false,
    }
}

fn metadata_differs(before: &Entry, after: &Entry) -> bool {
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
