//! What a snapshot needs, and until when the store keeps it: renewal of locks before a commit, and
//! the report of `check --locks`.
//!
//! Packs are reached through the tree. A chunk may be stored against another one, so the packs with
//! the bases of a pack count with it, and the packs with the bases of those.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::vec::IntoIter;

use repo_format::commit::IndexRef;
use repo_format::tree::{Child, Entry, Node};
use repo_format::{BlobId, BlobKey, Content, Extent, PackId, SnapshotId, index, limits, pack};

use crate::archive::tree::{Entries, Trees, too_deep};
use crate::error::{Error, Result};
use crate::limits::SOUND_NODES_MAX;
use crate::progress::Progress;
use crate::repository::{LockFor, LockLedger, Repository, State, finding_or_fail};

/// Until when one snapshot is safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotLock {
    /// The snapshot.
    pub id: SnapshotId,
    /// When it was taken, in milliseconds since 1970, UTC.
    pub time_ms: i64,
    /// Until when the store keeps all that it needs, in milliseconds since 1970, UTC; absent when
    /// it keeps some object by no lock, or has lost it.
    pub until_ms: Option<i64>,
    /// The object, by its key, whose lock ends first.
    pub weakest: String,
}

/// What `check_locks` found.
#[derive(Debug, Clone, Default)]
pub struct LocksReport {
    /// What the repository promises.
    pub lock: Option<LockFor>,
    /// The time by the clock of this machine, in milliseconds since 1970, UTC.
    pub now_ms: i64,
    /// Every snapshot, in the order they were committed.
    pub snapshots: Vec<SnapshotLock>,
}

impl Repository {
    /// Asks the store until when it keeps each object, and says so of each snapshot: the end of
    /// the first lock that ends, over config, the key slot in use, log, index, and its packs.
    ///
    /// Requests: one an object, and two or three a pack for what its chunks are stored against.
    pub async fn check_locks(&self, progress: Arc<dyn Progress>) -> Result<LocksReport> {
        self.blocking(move |repository| report(repository, &*progress))
            .await
    }
}

/// Renews the locks of what a snapshot needs and somebody else has stored, before its commit.
///
/// `parent` is the tree compared with while the snapshot was taken: when everything in it is known
/// to be locked for long enough, only what differs is walked.
pub(crate) fn renew(
    repository: &Repository,
    trees: &Trees,
    state: &State,
    indexes: &[IndexRef],
    (root, parent): (Option<BlobId>, Option<BlobId>),
) -> Result<Option<LockLedger>> {
    let Some(lock) = repository.lock_for() else {
        return Ok(None);
    };
    let storage = &repository.inner.storage;
    let mut ledger = LockLedger::load(storage.store(), storage.cache());
    let promised = i64::try_from(lock.for_ms).unwrap_or(i64::MAX);
    let due_ms = crate::clock::now_ms().saturating_add(promised);
    let before = parent.and_then(|parent| {
        let known = ledger
            .tree(&parent)
            .filter(|until_ms| *until_ms >= due_ms)?;
        Some((parent, known))
    });
    let mut packs = HashSet::new();
    let mut reach = Reach::new(trees, |pack| {
        packs.insert(pack);
        Ok(i64::MAX)
    });
    reach.walk(root, before.map(|(parent, _)| parent))?;
    drop(reach);
    let sizes: HashMap<PackId, u64> = trees.index().packs().into_iter().collect();
    ledger.keep_bases(|id| sizes.contains_key(id));
    let packs = with_bases(repository, trees, &mut ledger, packs, &sizes)?;
    let until_ms = storage.wait(async {
        let mut keys = repository.common_objects(state).await?;
        keys.extend(repository.key_slots().await?);
        keys.extend(indexes.iter().map(|object| index::path(&object.id)));
        keys.extend(packs.iter().map(pack::path));
        repository.extend_locks(keys, due_ms).await
    })?;
    if let Some(root) = root {
        let inherited = before.map_or(i64::MAX, |(_, until_ms)| until_ms);
        ledger.learn_tree(&root, until_ms.min(inherited));
    }
    Ok(Some(ledger))
}

/// Remembers what [`renew`] learned, and what was locked since.
pub(crate) fn remember(repository: &Repository, ledger: Option<LockLedger>) {
    let storage = &repository.inner.storage;
    if let Some(ledger) = ledger {
        ledger.save(storage.store(), storage.cache());
    }
}

fn report(repository: &Repository, progress: &dyn Progress) -> Result<LocksReport> {
    let state = repository.state();
    let trees = Trees::open(repository)?;
    let storage = &repository.inner.storage;
    let sizes: HashMap<PackId, u64> = trees.index().packs().into_iter().collect();
    progress.start("locks", None, Some(sizes.len() as u64));
    let mut common = Bound::default();
    let mut packs = HashMap::with_capacity(sizes.len());
    storage.wait(async {
        let mut keys = repository.common_objects(&state).await?;
        keys.extend(repository.own_key_slot());
        let meet = |key: &str, until_ms: Option<i64>| {
            common = common.clone().min(Bound::of(until_ms, key));
        };
        repository.read_locks(keys, meet).await?;
        let keys = sizes.keys().map(pack::path).collect();
        let meet = |key: &str, until_ms: Option<i64>| {
            if let Some(id) = key.rsplit('/').next().and_then(PackId::from_hex) {
                packs.insert(id, until_ms.unwrap_or(i64::MIN));
            }
        };
        repository.read_locks(keys, meet).await
    })?;
    let mut ledger = LockLedger::load(storage.store(), storage.cache());
    let mut weakest = HashMap::with_capacity(packs.len());
    for (id, until_ms) in &packs {
        let mut least = (*until_ms, *id);
        // What is lost has no bases to be read.
        if *until_ms > i64::MIN {
            let own = HashSet::from([*id]);
            for base in with_bases(repository, &trees, &mut ledger, own, &sizes)? {
                least = least.min((packs.get(&base).copied().unwrap_or(i64::MIN), base));
            }
        }
        weakest.insert(*id, least);
        progress.advance(0, 1);
    }
    progress.finish();
    let mut reach = Reach::new(&trees, |id| {
        Ok(weakest.get(&id).map_or(i64::MIN, |(until_ms, _)| *until_ms))
    });
    let mut snapshots = Vec::with_capacity(state.snapshots.len());
    for known in &state.snapshots {
        let until_ms = reach.walk(known.snapshot.root.subtree, None)?;
        let of_packs = match reach.weakest.get(&until_ms) {
            Some(id) => {
                let (_, id) = weakest.get(id).copied().unwrap_or((until_ms, *id));
                Bound::of(Some(until_ms), &pack::path(&id))
            }
            None => Bound::default(),
        };
        let bound = common.clone().min(of_packs);
        snapshots.push(SnapshotLock {
            id: known.snapshot.id(),
            time_ms: known.snapshot.time_ms,
            until_ms: Some(bound.until_ms).filter(|until_ms| *until_ms > i64::MIN),
            weakest: bound.key,
        });
    }
    Ok(LocksReport {
        lock: repository.lock_for(),
        now_ms: crate::clock::now_ms(),
        snapshots,
    })
}

/// The end of the lock that ends first, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Bound {
    until_ms: i64,
    key: String,
}

impl Default for Bound {
    fn default() -> Self {
        Self {
            until_ms: i64::MAX,
            key: String::new(),
        }
    }
}

impl Bound {
    fn of(until_ms: Option<i64>, key: &str) -> Self {
        Self {
            until_ms: until_ms.unwrap_or(i64::MIN),
            key: key.to_owned(),
        }
    }
}

/// The packs, those with their bases, with theirs, and so on. Of bases below one that is lost or
/// damaged nothing is known; the packs themselves must be whole.
fn with_bases(
    repository: &Repository,
    trees: &Trees,
    ledger: &mut LockLedger,
    packs: HashSet<PackId>,
    sizes: &HashMap<PackId, u64>,
) -> Result<HashSet<PackId>> {
    let mut found = packs.clone();
    let mut open: Vec<PackId> = packs.iter().copied().collect();
    while let Some(next) = open.pop() {
        let below = match base_packs(repository, trees, ledger, &next, sizes) {
            Err(error) if !packs.contains(&next) => {
                let why = finding_or_fail(error)?;
                tracing::debug!(why, pack = %next, "its bases are not known");
                continue;
            }
            below => below?,
        };
        open.extend(below.into_iter().filter(|base| found.insert(*base)));
    }
    Ok(found)
}

/// Packs with the bases of a pack, from memory or from its directory.
fn base_packs(
    repository: &Repository,
    trees: &Trees,
    ledger: &mut LockLedger,
    id: &PackId,
    sizes: &HashMap<PackId, u64>,
) -> Result<Vec<PackId>> {
    if let Some(known) = ledger.bases(id) {
        // A base that was moved since lies elsewhere: then the directory is read again.
        if known.iter().all(|base| sizes.contains_key(base)) {
            return Ok(known);
        }
    }
    let size = sizes.get(id).copied().unwrap_or(0);
    let mut found = HashSet::new();
    for base in repository.pack_bases(id, size)? {
        // A dead chunk may be stored against one that is gone.
        if let Some(at) = trees.index().find(&base.key())? {
            found.insert(at.segment.pack);
        }
    }
    found.remove(id);
    let found: Vec<PackId> = found.into_iter().collect();
    ledger.learn_bases(id, &found);
    Ok(found)
}

/// A walk over all blobs of a tree, which asks until when each pack is locked.
struct Reach<'a, F> {
    trees: &'a Trees,
    until: F,
    /// Nodes and lists that were walked, with the least below them. Bounded: past it they are
    /// walked again.
    known: HashMap<BlobKey, i64>,
    /// A pack for each time that was met.
    weakest: HashMap<i64, PackId>,
    stack: Vec<Frame>,
}

/// A directory in work.
struct Frame {
    /// Its tree, when all of it is walked.
    key: Option<BlobKey>,
    least: i64,
    nodes: Vec<IntoIter<Child>>,
    leaf: IntoIter<Entry>,
    /// The same directory in a tree whose objects need no look.
    before: Option<Entries>,
    ahead: Option<Entry>,
}

impl Frame {
    /// The entry of the earlier tree with this name. Names are asked for in order.
    fn earlier(&mut self, name: &[u8]) -> Result<Option<Entry>> {
        let Some(before) = &mut self.before else {
            return Ok(None);
        };
        loop {
            if self.ahead.is_none() {
                self.ahead = before.next().transpose()?;
            }
            match &self.ahead {
                Some(ahead) if ahead.name.as_slice() < name => self.ahead = None,
                Some(ahead) if ahead.name == name => return Ok(self.ahead.take()),
                _ => return Ok(None),
            }
        }
    }
}

impl<'a, F: FnMut(PackId) -> Result<i64>> Reach<'a, F> {
    fn new(trees: &'a Trees, until: F) -> Self {
        Self {
            trees,
            until,
            known: HashMap::new(),
            weakest: HashMap::new(),
            stack: Vec::new(),
        }
    }

    /// The least over all blobs of the tree, but for what `before` has in the same place.
    fn walk(&mut self, root: Option<BlobId>, before: Option<BlobId>) -> Result<i64> {
        self.stack.clear();
        let mut least = i64::MAX;
        if root != before
            && let Some(root) = root
        {
            least = self.enter(&root, before)?.unwrap_or(least);
        }
        while let Some(frame) = self.stack.last_mut() {
            if let Some(entry) = frame.leaf.next() {
                let earlier = frame.earlier(&entry.name)?;
                let found = self.entry(&entry, earlier.as_ref())?;
                self.meet(found);
            } else if let Some(children) = frame.nodes.last_mut() {
                match children.next() {
                    Some(child) => {
                        let found = self.node(&child.node)?;
                        self.meet(found);
                    }
                    None => drop(frame.nodes.pop()),
                }
            } else if let Some(done) = self.stack.pop() {
                if let Some(key) = done.key {
                    self.learn(key, done.least);
                }
                least = done.least;
                self.meet(least);
            }
        }
        Ok(least)
    }

    fn meet(&mut self, until_ms: i64) {
        if let Some(frame) = self.stack.last_mut() {
            frame.least = frame.least.min(until_ms);
        }
    }

    fn learn(&mut self, key: BlobKey, until_ms: i64) {
        if self.known.len() < SOUND_NODES_MAX {
            self.known.insert(key, until_ms);
        }
    }

    /// Goes into a directory, or answers what is known of it.
    fn enter(&mut self, root: &BlobId, before: Option<BlobId>) -> Result<Option<i64>> {
        if let Some(known) = self.known.get(&root.key()) {
            return Ok(Some(*known));
        }
        self.stack.push(Frame {
            key: before.is_none().then(|| root.key()),
            least: i64::MAX,
            nodes: Vec::new(),
            leaf: Vec::new().into_iter(),
            before: before.map(|before| self.trees.entries(Some(before))),
            ahead: None,
        });
        let found = self.node(root)?;
        self.meet(found);
        Ok(None)
    }

    /// Opens a node of the directory in work.
    fn node(&mut self, id: &BlobId) -> Result<i64> {
        let until_ms = self.blob(id)?;
        let node = self.trees.node(id)?;
        let Some(frame) = self.stack.last_mut() else {
            return Ok(until_ms);
        };
        match node {
            Node::Leaf(entries) => frame.leaf = entries.into_iter(),
            Node::Interior(_) if frame.nodes.len() > usize::from(limits::DEPTH_MAX) => {
                return Err(too_deep(id));
            }
            Node::Interior(children) => frame.nodes.push(children.into_iter()),
        }
        Ok(until_ms)
    }

    fn entry(&mut self, entry: &Entry, earlier: Option<&Entry>) -> Result<i64> {
        let mut least = i64::MAX;
        let same = |content: &Content| earlier.and_then(|e| e.content.as_ref()) == Some(content);
        if let Some(content) = entry.content.as_ref().filter(|content| !same(content)) {
            least = self.content(content)?;
        }
        let before = earlier.and_then(|earlier| earlier.subtree);
        if let Some(subtree) = entry.subtree.filter(|subtree| before != Some(*subtree)) {
            least = least.min(self.enter(&subtree, before)?.unwrap_or(i64::MAX));
        }
        Ok(least)
    }

    fn content(&mut self, content: &Content) -> Result<i64> {
        let mut least = i64::MAX;
        let mut lists: Vec<(u8, IntoIter<Extent>)> =
            vec![(content.level, content.extents.clone().into_iter())];
        while let Some((level, extents)) = lists.last_mut() {
            let level = *level;
            let Some(extent) = extents.next() else {
                lists.pop();
                continue;
            };
            let Some(id) = &extent.id else { continue };
            least = least.min(self.blob(id)?);
            if level > 0 {
                let list = self.trees.list(id, level - 1, extent.len)?;
                lists.push((list.level, list.extents.into_iter()));
            }
        }
        Ok(least)
    }

    fn blob(&mut self, id: &BlobId) -> Result<i64> {
        let at = self.trees.index().find(&id.key())?;
        let pack = at.ok_or(Error::MissingBlob { id: *id })?.segment.pack;
        let until_ms = (self.until)(pack)?;
        self.weakest.entry(until_ms).or_insert(pack);
        Ok(until_ms)
    }
}
