//! Two trees side by side: what they hold at the same path, without reading what both share.
//!
//! In name order. Nodes that both hold are skipped unread, so the cost grows with the difference, in
//! directories of any size: nodes are split by content, and after a change the two sides soon come
//! to equal nodes again.

use std::vec::IntoIter;

use repo_format::tree::{Child, Entry, Node};
use repo_format::{BlobId, limits};

use crate::archive::tree::{Trees, too_deep};
use crate::error::Result;

/// Where a walk goes on after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Below it, where the two sides differ.
    Into,
    /// After everything below it.
    Past,
    /// Nowhere.
    Stop,
}

/// Told of each path at which the trees may differ, a directory before what it holds.
pub(crate) type VisitPair<'a> = dyn FnMut(&[u8], Option<Entry>, Option<Entry>) -> Result<Next> + 'a;

/// Walks the directories whose trees are `roots`. Entries that lie in equal nodes are not visited;
/// entries beside them are, though they may be equal.
pub(crate) fn pairs(
    trees: &Trees,
    roots: [Option<BlobId>; 2],
    visit: &mut VisitPair<'_>,
) -> Result<()> {
    let mut walk = Walk {
        trees,
        path: Vec::new(),
        stack: Vec::new(),
    };
    walk.descend(roots);
    walk.run(visit)
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
                    return Err(too_deep(&child.node));
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

struct Walk<'a> {
    trees: &'a Trees,
    path: Vec<u8>,
    stack: Vec<Frame>,
}

impl Walk<'_> {
    fn run(&mut self, visit: &mut VisitPair<'_>) -> Result<()> {
        while let Some(frame) = self.stack.last_mut() {
            self.path.truncate(frame.base);
            let what = step(&frame.sides);
            let [a, b] = &mut frame.sides;
            let (before, after) = match what {
                Step::Done => {
                    self.stack.pop();
                    continue;
                }
                Step::Skip => {
                    frame.sides.iter_mut().for_each(|side| drop(side.advance()));
                    continue;
                }
                Step::Expand(side) => {
                    frame.sides[side].expand(self.trees)?;
                    continue;
                }
                Step::Only(0) => (a.entry(), None),
                Step::Only(_) => (None, b.entry()),
                Step::Both => (a.entry(), b.entry()),
            };
            let Some(name) = before.as_ref().or(after.as_ref()).map(|entry| &entry.name) else {
                continue;
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
            let subtrees = [&before, &after].map(|entry| entry.as_ref().and_then(|e| e.subtree));
            match visit(&self.path, before, after)? {
                Next::Into => self.descend(subtrees),
                Next::Past => {}
                Next::Stop => return Ok(()),
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
}
