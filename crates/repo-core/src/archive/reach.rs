//! Visits every blob that trees reach, each node once if the visitor says so, on all cores.
//!
//! The stack holds ids only; nodes are read when they are popped. Depth first, so that it stays as
//! short as the nodes on one path are wide.

use std::sync::{Condvar, Mutex, PoisonError};

use repo_format::tree::Node;
use repo_format::{BlobId, BlobKind, Content};

use crate::archive::tree::Trees;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Told of each blob; says whether what lies below it is to be visited. Called from all threads.
pub(crate) type Visit<'a> = dyn Fn(BlobKind, &BlobId) -> Result<bool> + Sync + 'a;

enum Todo {
    Node(BlobId),
    List(BlobId, u8, u64),
}

#[derive(Default)]
struct Stack {
    todo: Vec<Todo>,
    /// Threads that may still push.
    busy: usize,
    failed: Option<Error>,
}

struct Reach<'a> {
    trees: &'a Trees,
    visit: &'a Visit<'a>,
    progress: &'a dyn Progress,
    stack: Mutex<Stack>,
    changed: Condvar,
}

/// Visits what the trees below `roots` reach. The first error ends it.
pub(crate) fn reach(
    trees: &Trees,
    roots: impl IntoIterator<Item = BlobId>,
    progress: &dyn Progress,
    visit: &Visit<'_>,
) -> Result<()> {
    let mut todo = Vec::new();
    for root in roots {
        if visit(BlobKind::Tree, &root)? {
            todo.push(Todo::Node(root));
        }
    }
    // Popped from the end: the oldest snapshot first.
    todo.reverse();
    let reach = Reach {
        trees,
        visit,
        progress,
        stack: Mutex::new(Stack {
            todo,
            ..Stack::default()
        }),
        changed: Condvar::new(),
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| reach.work());
        }
        reach.work();
    });
    let stack = reach.stack.into_inner();
    match stack.unwrap_or_else(PoisonError::into_inner).failed {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

impl Reach<'_> {
    fn work(&self) {
        let mut found = Vec::new();
        while let Some(todo) = self.pop() {
            let done = self.expand(&todo, &mut found);
            self.progress.advance(0, 1);
            let mut stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
            stack.busy -= 1;
            stack.todo.extend(found.drain(..).rev());
            if let Err(error) = done {
                stack.failed.get_or_insert(error);
            }
            drop(stack);
            self.changed.notify_all();
        }
    }

    fn pop(&self) -> Option<Todo> {
        let mut stack = self.stack.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if stack.failed.is_some() {
                return None;
            }
            if let Some(todo) = stack.todo.pop() {
                stack.busy += 1;
                return Some(todo);
            }
            if stack.busy == 0 {
                return None;
            }
            stack = self
                .changed
                .wait(stack)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn expand(&self, todo: &Todo, found: &mut Vec<Todo>) -> Result<()> {
        if self.progress.cancelled() {
            return Err(Error::Cancelled);
        }
        match todo {
            Todo::Node(id) => match self.trees.node(id)? {
                Node::Interior(children) => {
                    for child in children {
                        self.node(&child.node, found)?;
                    }
                }
                Node::Leaf(entries) => {
                    for entry in entries {
                        if let Some(subtree) = &entry.subtree {
                            self.node(subtree, found)?;
                        }
                        if let Some(content) = &entry.content {
                            self.content(content, found)?;
                        }
                    }
                }
            },
            Todo::List(id, level, len) => {
                self.content(&self.trees.list(id, *level, *len)?, found)?;
            }
        }
        Ok(())
    }

    fn node(&self, id: &BlobId, found: &mut Vec<Todo>) -> Result<()> {
        if (self.visit)(BlobKind::Tree, id)? {
            found.push(Todo::Node(*id));
        }
        Ok(())
    }

    fn content(&self, content: &Content, found: &mut Vec<Todo>) -> Result<()> {
        for extent in &content.extents {
            let Some(id) = &extent.id else { continue };
            if content.level == 0 {
                (self.visit)(BlobKind::Data, id)?;
            } else if (self.visit)(BlobKind::Tree, id)? {
                found.push(Todo::List(*id, content.level - 1, extent.len));
            }
        }
        Ok(())
    }
}
