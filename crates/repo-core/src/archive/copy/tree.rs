//! Rewriting the trees of a snapshot with the ids of the target, children before parents.
//!
//! Works on a stack of its own: memory grows with the depth of the tree and the size of a node,
//! not with the number of entries.

use std::collections::HashMap;
use std::rc::Rc;
use std::vec::IntoIter;

use repo_chunker::Policy;
use repo_format::tree::{Entry, Node, NodeBuilder};
use repo_format::{BlobId, Content, encode_extents, limits};

use super::Failed;
use super::chunks::{Chunks, Wanted};
use super::known::{Contents, Directory, Known, Reference};
use crate::archive::tree::{Trees, too_deep};
use crate::error::Error;
use crate::progress::Progress;
use crate::repository::Session;

type Copied<T> = Result<T, Failed>;

/// Copies the trees of one snapshot.
pub(in crate::archive) struct Rewriter<'a> {
    pub(in crate::archive) source: &'a Trees,
    pub(in crate::archive) session: &'a Session,
    pub(in crate::archive) known: &'a mut Known,
    pub(in crate::archive) chunks: &'a Chunks<'a>,
    pub(in crate::archive) reference: Option<Reference>,
    pub(in crate::archive) progress: &'a dyn Progress,
    /// Where the work is; after a failure, where it failed.
    pub(in crate::archive) path: Vec<u8>,
}

/// A tree blob to copy.
struct Task {
    id: BlobId,
    /// The entry it belongs to, when that is another one than the task above belongs to.
    name: Option<Vec<u8>>,
    kind: Kind,
}

enum Kind {
    /// The node at the top of a directory, with those of an earlier version and its copy.
    Top(Option<(BlobId, BlobId)>),
    /// A node further down.
    Node(u8, Option<Rc<Directory>>),
    /// A chunk list.
    List(List),
}

#[derive(Clone)]
struct List {
    level: u8,
    offset: u64,
    len: u64,
    policy: Policy,
    before: Option<Contents>,
}

/// A tree blob in work.
struct Frame {
    id: BlobId,
    body: Body,
    tasks: IntoIter<Task>,
    /// Ids in the target of what the body names.
    done: HashMap<BlobId, BlobId>,
    /// Length of the path of what it belongs to.
    base: usize,
}

enum Body {
    Node(Node),
    List(Content),
}

/// What the body of a frame still needs.
#[derive(Default)]
struct Needs {
    done: HashMap<BlobId, BlobId>,
    wanted: HashMap<BlobId, Policy>,
    tasks: Vec<Task>,
}

impl Rewriter<'_> {
    /// Copies the tree below a root and tells its id in the target.
    pub(in crate::archive) fn root(&mut self, root: Option<BlobId>) -> Copied<Option<BlobId>> {
        let Some(root) = root else { return Ok(None) };
        let before = self.reference.as_ref().map(Reference::roots);
        if let Some((_, copy)) = before.filter(|(id, _)| *id == root) {
            return Ok(Some(copy));
        }
        if let Some(known) = self.known.get(&root) {
            return Ok(Some(known));
        }
        let task = Task {
            id: root,
            name: None,
            kind: Kind::Top(before),
        };
        let mut stack = vec![self.open(task)?];
        while let Some(frame) = stack.last_mut() {
            if self.progress.cancelled() {
                return Err(Failed::Fatal(Error::Cancelled));
            }
            self.path.truncate(frame.base);
            if let Some(task) = frame.tasks.next() {
                if let Some(known) = self.known.get(&task.id) {
                    frame.done.insert(task.id, known);
                } else {
                    let frame = self.open(task)?;
                    stack.push(frame);
                }
                continue;
            }
            let Some(frame) = stack.pop() else { break };
            let (id, target) = (frame.id, self.close(frame)?);
            self.known.put(id, target);
            match stack.last_mut() {
                Some(above) => above.done.insert(id, target),
                None => return Ok(Some(target)),
            };
        }
        Err(Failed::Fatal(Error::Internal { what: "copy" }))
    }

    /// Reads a tree blob, copies the chunks it names and lists the tree blobs it names.
    fn open(&mut self, task: Task) -> Copied<Frame> {
        if let Some(name) = &task.name {
            self.enter(name);
        }
        let base = self.path.len();
        let mut needs = Needs::default();
        let body = match task.kind {
            Kind::Top(before) => {
                let node = self.source.node(&task.id).map_err(Failed::source)?;
                let directory = match (&self.reference, before) {
                    (Some(reference), Some(before)) => {
                        Some(reference.directory(before, self.known))
                    }
                    _ => None,
                };
                self.look_into(&node, 0, directory.as_ref(), &mut needs);
                Body::Node(node)
            }
            Kind::Node(depth, directory) => {
                if depth > limits::DEPTH_MAX {
                    return Err(Failed::source(too_deep(&task.id)));
                }
                let node = self.source.node(&task.id).map_err(Failed::source)?;
                self.look_into(&node, depth, directory.as_ref(), &mut needs);
                Body::Node(node)
            }
            Kind::List(list) => {
                let content = self.source.list(&task.id, list.level, list.len);
                let content = content.map_err(Failed::source)?;
                self.look_through(&content, &list, None, &mut needs);
                Body::List(content)
            }
        };
        let wanted: Vec<Wanted> = in_order(&body)
            .filter_map(|id| {
                let policy = needs.wanted.remove(id)?;
                Some(Wanted { id: *id, policy })
            })
            .collect();
        let copied = self.chunks.copy(self.session, &wanted);
        for (id, target) in copied.map_err(|failed| self.in_file(&body, failed))? {
            self.known.put(id, target);
            needs.done.insert(id, target);
        }
        Ok(Frame {
            id: task.id,
            body,
            tasks: needs.tasks.into_iter(),
            done: needs.done,
            base,
        })
    }

    /// Adds the file of a chunk that cannot be read to the path.
    fn in_file(&mut self, body: &Body, failed: Failed) -> Failed {
        if let (Failed::Source(Some(id), _), Body::Node(Node::Leaf(entries))) = (&failed, body) {
            let holds = |entry: &&Entry| {
                let mut extents = entry.content.iter().flat_map(|content| &content.extents);
                extents.any(|extent| extent.id == Some(*id))
            };
            if let Some(entry) = entries.iter().find(holds) {
                self.enter(&entry.name);
            }
        }
        failed
    }

    fn enter(&mut self, name: &[u8]) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
    }

    fn look_into(
        &mut self,
        node: &Node,
        depth: u8,
        directory: Option<&Rc<Directory>>,
        needs: &mut Needs,
    ) {
        match node {
            Node::Interior(children) => needs.tasks.extend(children.iter().map(|child| Task {
                id: child.node,
                name: None,
                kind: Kind::Node(depth + 1, directory.cloned()),
            })),
            Node::Leaf(entries) => {
                for entry in entries {
                    self.look_at(entry, directory, needs);
                }
            }
        }
    }

    fn look_at(&mut self, entry: &Entry, directory: Option<&Rc<Directory>>, needs: &mut Needs) {
        let named = entry.content.iter().flat_map(|content| &content.extents);
        let mut ids = named.filter_map(|extent| extent.id).chain(entry.subtree);
        if ids.all(|id| self.settle(&id, needs)) {
            return;
        }
        let before = match (&self.reference, directory) {
            (Some(reference), Some(directory)) => reference.entry(directory, &entry.name),
            _ => None,
        };
        if let Some(subtree) = entry.subtree
            && !self.settle(&subtree, needs)
        {
            let before = before.as_ref();
            let nodes = before.and_then(|(a, b)| a.subtree.zip(b.subtree));
            needs.tasks.push(Task {
                id: subtree,
                name: Some(entry.name.clone()),
                kind: Kind::Top(nodes),
            });
        }
        if let Some(content) = &entry.content {
            let before = before.and_then(|(a, b)| a.content.zip(b.content));
            let list = List {
                level: content.level,
                offset: 0,
                len: content.len(),
                policy: entry
                    .policy
                    .and_then(Policy::from_code)
                    .unwrap_or(Policy::Generic),
                before: before.map(Rc::new),
            };
            self.look_through(content, &list, Some(&entry.name), needs);
        }
    }

    /// Lists what a content, or a list of it, names and the target is not known to have.
    fn look_through(
        &mut self,
        content: &Content,
        list: &List,
        name: Option<&Vec<u8>>,
        needs: &mut Needs,
    ) {
        let mut ids = content.extents.iter().filter_map(|extent| extent.id);
        if ids.all(|id| self.settle(&id, needs)) {
            return;
        }
        if let (Some(reference), Some(before)) = (&self.reference, &list.before) {
            let range = list.offset..list.offset.saturating_add(list.len);
            reference.contents(before, &range, content.level, self.known);
        }
        let mut offset = list.offset;
        for extent in &content.extents {
            if let Some(id) = extent.id
                && !self.settle(&id, needs)
            {
                if content.level == 0 {
                    needs.wanted.insert(id, list.policy);
                } else {
                    let below = List {
                        level: content.level - 1,
                        offset,
                        len: extent.len,
                        ..list.clone()
                    };
                    needs.tasks.push(Task {
                        id,
                        name: name.cloned(),
                        kind: Kind::List(below),
                    });
                }
            }
            offset = offset.saturating_add(extent.len);
        }
    }

    /// Whether the id in the target is known; keeps it if so, because the map may drop it.
    fn settle(&mut self, id: &BlobId, needs: &mut Needs) -> bool {
        if needs.done.contains_key(id) {
            return true;
        }
        let known = self.known.get(id);
        if let Some(known) = known {
            needs.done.insert(*id, known);
        }
        known.is_some()
    }

    /// Stores the blob with the target's ids.
    fn close(&self, frame: Frame) -> Copied<BlobId> {
        let done = &frame.done;
        let blob = match frame.body {
            Body::List(mut content) => {
                rename(&mut content, done)?;
                encode_extents(&content)
            }
            Body::Node(Node::Interior(children)) => {
                let mut builder = NodeBuilder::default();
                for mut child in children {
                    child.node = renamed(&child.node, done)?;
                    builder.push_child(&child);
                }
                builder.take_interior()
            }
            Body::Node(Node::Leaf(entries)) => {
                let mut builder = NodeBuilder::default();
                for mut entry in entries {
                    if let Some(subtree) = &mut entry.subtree {
                        *subtree = renamed(subtree, done)?;
                    }
                    if let Some(content) = &mut entry.content {
                        rename(content, done)?;
                    }
                    builder.push_entry(&entry);
                }
                builder.take_leaf()
            }
        };
        Ok(self.chunks.store_tree(self.session, &blob)?)
    }
}

/// The ids of chunks that a body names, in order of their place.
fn in_order(body: &Body) -> Box<dyn Iterator<Item = &BlobId> + '_> {
    match body {
        Body::Node(Node::Interior(_)) => Box::new(std::iter::empty()),
        Body::Node(Node::Leaf(entries)) => Box::new(
            entries
                .iter()
                .filter_map(|entry| entry.content.as_ref())
                .filter(|content| content.level == 0)
                .flat_map(|content| content.extents.iter().filter_map(|e| e.id.as_ref())),
        ),
        Body::List(content) => Box::new(content.extents.iter().filter_map(|e| e.id.as_ref())),
    }
}

fn rename(content: &mut Content, done: &HashMap<BlobId, BlobId>) -> Copied<()> {
    for id in content.extents.iter_mut().filter_map(|e| e.id.as_mut()) {
        *id = renamed(id, done)?;
    }
    Ok(())
}

fn renamed(id: &BlobId, done: &HashMap<BlobId, BlobId>) -> Copied<BlobId> {
    let known = done.get(id).copied();
    known.ok_or(Failed::Fatal(Error::Internal { what: "copy" }))
}
