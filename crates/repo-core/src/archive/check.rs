//! Verification of a whole repository: what lies in the store, then the trees of its snapshots.
//!
//! Subtrees without damage are remembered by their 16-byte keys and not walked again, so the walk
//! costs about the distinct tree nodes; damaged ones are walked for every snapshot, because each
//! file and snapshot that damage costs is named. The set of sound nodes is bounded: a repository
//! with more distinct nodes than it holds is walked correctly and more slowly.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::vec::IntoIter;

use repo_format::tree::{Child, Entry, Node};
use repo_format::{BlobId, BlobKey, BlobKind, Content, Extent, PackId, SnapshotId};
use repo_format::{decode_extents, limits};

use crate::error::{Error, Result};
use crate::limits::{LOSS_FILES_MAX, LOSS_SNAPSHOTS_MAX, LOSSES_MAX, SOUND_NODES_MAX};
use crate::progress::{Finding, Progress};
use crate::repository::{Blob, CheckOptions, CheckReport, Examined, Repository, finding_or_fail};

impl Repository {
    /// Verifies the repository: log, keys, index, packs and every tree of every snapshot, and the
    /// data of packs as far as `options` say.
    ///
    /// Damage is reported in the findings, by object, and for lost blobs by file and snapshot; the
    /// check goes on after it. An error means that checking was not possible.
    pub async fn check(
        &self,
        options: &CheckOptions,
        progress: Arc<dyn Progress>,
    ) -> Result<CheckReport> {
        let examined = self.examine(options, progress).await?;
        self.blocking(move |_| walk_snapshots(examined)).await
    }
}

fn walk_snapshots(mut examined: Examined) -> Result<CheckReport> {
    let mut report = std::mem::take(&mut examined.report);
    let state = Arc::clone(&examined.state);
    let findings = Arc::clone(&examined.findings);
    let count = state.snapshots.len() as u64;
    findings.progress().start("snapshots", None, Some(count));
    let mut walker = Walker {
        examined: &examined,
        sound: HashSet::new(),
        losses: Losses::default(),
        snapshot: SnapshotId([0; 32]),
        path: Vec::new(),
        stack: Vec::new(),
    };
    // Newest first: what was written last matters most.
    for known in state.snapshots.iter().rev() {
        walker.snapshot = known.snapshot.id();
        walker.walk(known.snapshot.root.subtree)?;
        report.snapshots += 1;
        findings.progress().advance(0, 1);
    }
    let losses = walker.losses;
    losses.tell(&mut |finding| findings.add(finding));
    findings.progress().finish();
    report.findings = findings.take();
    Ok(report)
}

struct Walker<'a> {
    examined: &'a Examined,
    /// Nodes and lists below which nothing is damaged.
    sound: HashSet<BlobKey>,
    losses: Losses,
    snapshot: SnapshotId,
    path: Vec<u8>,
    stack: Vec<Frame>,
}

/// A node or list in work.
struct Frame {
    /// Remembered as sound when nothing below is damaged.
    key: Option<BlobKey>,
    damaged: bool,
    /// Length of the path of the directory or file it belongs to.
    base: usize,
    /// Interior nodes above it in the same directory.
    depth: u8,
    items: Items,
}

enum Items {
    Entries(IntoIter<Entry>),
    Children(IntoIter<Child>),
    Extents(u8, IntoIter<Extent>),
}

enum Item {
    Entry(Box<Entry>),
    Child(Child),
    Extent(u8, Extent),
}

impl Items {
    fn next(&mut self) -> Option<Item> {
        match self {
            Self::Entries(entries) => entries.next().map(|entry| Item::Entry(Box::new(entry))),
            Self::Children(children) => children.next().map(Item::Child),
            Self::Extents(level, extents) => {
                extents.next().map(|extent| Item::Extent(*level, extent))
            }
        }
    }
}

impl Walker<'_> {
    fn walk(&mut self, root: Option<BlobId>) -> Result<()> {
        self.path.clear();
        self.stack.clear();
        if let Some(root) = root {
            self.enter_node(&root, 0)?;
        }
        while let Some(frame) = self.stack.last_mut() {
            self.path.truncate(frame.base);
            let depth = frame.depth;
            match frame.items.next() {
                None => self.leave(),
                Some(Item::Entry(entry)) => self.entry(*entry)?,
                Some(Item::Child(child)) => self.enter_node(&child.node, depth + 1)?,
                Some(Item::Extent(level, extent)) => self.extent(level, &extent)?,
            }
        }
        Ok(())
    }

    fn leave(&mut self) {
        let Some(frame) = self.stack.pop() else {
            return;
        };
        if frame.damaged {
            if let Some(above) = self.stack.last_mut() {
                above.damaged = true;
            }
        } else if let Some(key) = frame.key.filter(|_| self.sound.len() < SOUND_NODES_MAX) {
            self.sound.insert(key);
        }
    }

    fn entry(&mut self, entry: Entry) -> Result<()> {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(&entry.name);
        if let Some(subtree) = &entry.subtree {
            self.examined.findings.proceed()?;
            return self.enter_node(subtree, 0);
        }
        let Some(content) = entry.content else {
            if entry.kind == repo_format::tree::EntryType::File && entry.size > 0 {
                self.malformed("the file has a size and no content");
            }
            return Ok(());
        };
        if content.len() != entry.size {
            self.malformed("the content is not as long as the file");
        }
        self.push(
            None,
            0,
            Items::Extents(content.level, content.extents.into_iter()),
        );
        Ok(())
    }

    fn extent(&mut self, level: u8, extent: &Extent) -> Result<()> {
        let Some(id) = &extent.id else {
            return Ok(());
        };
        if level > 0 {
            return self.enter_list(id, level - 1, extent.len);
        }
        if let Err(pack) = self.examined.locate(id)? {
            let why = match pack {
                Some(_) => "damaged",
                None => "missing",
            };
            self.lose("chunk", id, pack, why);
        }
        Ok(())
    }

    fn enter_node(&mut self, id: &BlobId, depth: u8) -> Result<()> {
        if self.sound.contains(&id.key()) {
            return Ok(());
        }
        let node = self.read(id).and_then(|bytes| {
            if depth > limits::DEPTH_MAX {
                return Err(malformed("tree node", "it is nested too deep"));
            }
            Node::decode(&bytes).map_err(|source| Error::object("tree node", source))
        });
        match node {
            Ok(Node::Leaf(entries)) => {
                self.push(Some(id.key()), depth, Items::Entries(entries.into_iter()));
            }
            Ok(Node::Interior(children)) => {
                self.push(Some(id.key()), depth, Items::Children(children.into_iter()));
            }
            Err(error) => self.lose_tree("tree node", id, error)?,
        }
        Ok(())
    }

    fn enter_list(&mut self, id: &BlobId, level: u8, len: u64) -> Result<()> {
        if self.sound.contains(&id.key()) {
            return Ok(());
        }
        let list = self.read(id).and_then(|bytes| {
            let content: Content =
                decode_extents(&bytes).map_err(|source| Error::object("chunk list", source))?;
            if content.level != level || content.len() != len {
                return Err(malformed(
                    "chunk list",
                    "it does not span what its parent says",
                ));
            }
            Ok(content)
        });
        match list {
            Ok(list) => {
                let items = Items::Extents(level, list.extents.into_iter());
                self.push(Some(id.key()), 0, items);
            }
            Err(error) => self.lose_tree("chunk list", id, error)?,
        }
        Ok(())
    }

    fn read(&self, id: &BlobId) -> Result<Blob> {
        let examined = self.examined;
        examined.reader.blob(&examined.index, BlobKind::Tree, id)
    }

    fn push(&mut self, key: Option<BlobKey>, depth: u8, items: Items) {
        self.stack.push(Frame {
            key,
            damaged: false,
            base: self.path.len(),
            depth,
            items,
        });
    }

    fn lose_tree(&mut self, what: &'static str, id: &BlobId, error: Error) -> Result<()> {
        let why = match &error {
            Error::MissingBlob { .. } => "missing".to_owned(),
            _ => String::new(),
        };
        let told = finding_or_fail(error)?;
        let why = if why.is_empty() {
            format!("damaged: {told}")
        } else {
            why
        };
        let pack = match self.examined.locate(id)? {
            Ok(pack) => Some(pack),
            Err(pack) => pack,
        };
        self.lose(what, id, pack, &why);
        Ok(())
    }

    fn lose(&mut self, what: &'static str, id: &BlobId, pack: Option<PackId>, why: &str) {
        self.mark();
        let path = self.shown_path();
        self.losses
            .add(*id, path, self.snapshot, || (what, pack, why.to_owned()));
    }

    fn malformed(&mut self, why: &str) {
        self.mark();
        let message = format!("{why} (snapshot {})", self.snapshot);
        let path = self.shown_path();
        self.examined
            .findings
            .add(Finding::damage(Some(&path), message));
    }

    fn mark(&mut self) {
        if let Some(frame) = self.stack.last_mut() {
            frame.damaged = true;
        }
    }

    fn shown_path(&self) -> Vec<u8> {
        if self.path.is_empty() {
            b"/".to_vec()
        } else {
            self.path.clone()
        }
    }
}

fn malformed(what: &'static str, why: &'static str) -> Error {
    Error::object(what, repo_format::Error::Malformed { what, why })
}

/// Lost blobs, with the files and snapshots that use them.
#[derive(Default)]
struct Losses {
    blobs: BTreeMap<BlobId, Loss>,
    more: HashSet<BlobKey>,
}

struct Loss {
    what: &'static str,
    pack: Option<PackId>,
    why: String,
    files: Vec<(Vec<u8>, Vec<SnapshotId>, u64)>,
    more_uses: u64,
}

impl Losses {
    fn add(
        &mut self,
        id: BlobId,
        path: Vec<u8>,
        snapshot: SnapshotId,
        describe: impl FnOnce() -> (&'static str, Option<PackId>, String),
    ) {
        if self.blobs.len() >= LOSSES_MAX && !self.blobs.contains_key(&id) {
            if self.more.len() < SOUND_NODES_MAX {
                self.more.insert(id.key());
            }
            return;
        }
        let loss = self.blobs.entry(id).or_insert_with(|| {
            let (what, pack, why) = describe();
            Loss {
                what,
                pack,
                why,
                files: Vec::new(),
                more_uses: 0,
            }
        });
        let at = loss.files.iter().position(|(known, ..)| *known == path);
        let Some(at) = at else {
            if loss.files.len() < LOSS_FILES_MAX {
                loss.files.push((path, vec![snapshot], 0));
            } else {
                loss.more_uses += 1;
            }
            return;
        };
        let (_, snapshots, more) = &mut loss.files[at];
        if snapshots.last() == Some(&snapshot) {
            // The same chunk again in the same file.
        } else if snapshots.len() < LOSS_SNAPSHOTS_MAX {
            snapshots.push(snapshot);
        } else {
            *more += 1;
        }
    }

    /// One finding for each file that a lost blob costs.
    fn tell(self, tell: &mut dyn FnMut(Finding)) {
        for (id, loss) in self.blobs {
            let pack = loss
                .pack
                .map(|pack| format!(" in pack {pack}"))
                .unwrap_or_default();
            let blob = format!("{} {id}{pack}", loss.what);
            for (path, snapshots, more) in loss.files {
                let names: Vec<String> = snapshots.iter().map(SnapshotId::to_hex).collect();
                let mut message = format!("{blob} is {}; snapshot {}", loss.why, names.join(", "));
                if more > 0 {
                    message.push_str(&format!(" and {more} more"));
                }
                tell(Finding::damage(Some(&path), message));
            }
            if loss.more_uses > 0 {
                let uses = loss.more_uses;
                let message = format!("{blob} is used {uses} more times, in files not listed");
                tell(Finding::damage(None, message));
            }
        }
        if !self.more.is_empty() {
            let more = self.more.len();
            let message = format!("{more} more chunks or tree nodes are lost");
            tell(Finding::damage(None, message));
        }
    }
}

#[cfg(test)]
mod tests;
