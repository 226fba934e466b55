//! What snapshots hold, share and occupy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use repo_format::commit::SnapshotRef;
use repo_format::{BlobId, PathBytes, Snapshot, SnapshotId};

use crate::archive::reach::reach;
use crate::archive::tree::Trees;
use crate::error::{Error, Result};
use crate::limits::USAGE_SNAPSHOTS_MAX;
use crate::progress::Progress;
use crate::repository::{Marks, Repository, Sums, sums};

/// What a repository holds and occupies, to the byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sum of the sizes of all files of all snapshots, in bytes.
    pub logical_bytes: u64,
    /// Raw length of distinct chunks of files that snapshots need, in bytes; each counts once.
    pub data_bytes: u64,
    /// What those stored by themselves or with their neighbours take in packs, in bytes.
    pub data_stored: u64,
    /// Raw length of those of them that are stored against another chunk, in bytes.
    pub delta_bytes: u64,
    /// What these take in packs, in bytes.
    pub delta_stored: u64,
    /// Raw length of distinct trees, in bytes.
    pub tree_bytes: u64,
    /// What they take in packs, in bytes.
    pub tree_stored: u64,
    /// What blobs take in packs that no snapshot needs, in bytes.
    pub unneeded_stored: u64,
    /// Every snapshot, oldest first.
    pub snapshots: Vec<SnapshotUsage>,
    /// Every source, by host and paths.
    pub sources: Vec<SourceUsage>,
    /// Every part of those sources that have parts, by source and name.
    pub parts: Vec<PartUsage>,
}

impl Usage {
    /// Bytes not stored because they were there already, or are holes.
    #[must_use]
    pub fn saved_by_deduplication(&self) -> u64 {
        self.logical_bytes.saturating_sub(self.data_bytes)
    }

    /// Bytes of chunks that compression saves, apart from deltas.
    #[must_use]
    pub fn saved_by_compression(&self) -> u64 {
        let raw = self.data_bytes.saturating_sub(self.delta_bytes);
        raw.saturating_sub(self.data_stored)
    }

    /// Bytes of chunks that storing them against others saves.
    #[must_use]
    pub fn saved_by_deltas(&self) -> u64 {
        self.delta_bytes.saturating_sub(self.delta_stored)
    }
}

/// What one snapshot alone needs: what forgetting it would let a collection free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotUsage {
    /// The snapshot.
    pub id: SnapshotId,
    /// Raw length of chunks that only it needs, in bytes.
    pub exclusive_bytes: u64,
    /// What these, and trees that only it needs, take in packs, in bytes.
    pub exclusive_stored: u64,
}

/// What the snapshots of one host and paths need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceUsage {
    /// Host that was read.
    pub host: String,
    /// Paths that were read.
    pub paths: Vec<PathBytes>,
    /// Its snapshots.
    pub snapshots: u64,
    /// Sum of the sizes of all files of all of them, in bytes.
    pub logical_bytes: u64,
    /// Raw length of chunks that only this source needs, in bytes.
    pub exclusive_bytes: u64,
    /// What these, and trees that only it needs, take in packs, in bytes.
    pub exclusive_stored: u64,
}

/// What one part of the snapshots of a source needs, as a table does in snapshots of tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartUsage {
    /// Host that was read.
    pub host: String,
    /// Paths that were read.
    pub paths: Vec<PathBytes>,
    /// Name of the part.
    pub name: Vec<u8>,
    /// Snapshots it is in.
    pub snapshots: u64,
    /// Sum of the sizes of its files in all of them, in bytes.
    pub logical_bytes: u64,
    /// Raw length of chunks that only this part needs, in bytes.
    pub exclusive_bytes: u64,
    /// What these, and trees that only it needs, take in packs, in bytes.
    pub exclusive_stored: u64,
}

/// The directory of a snapshot in which each entry is a part of its own; nothing when it has no parts.
pub type PartsOf = fn(&Snapshot) -> Option<&'static [u8]>;

impl Repository {
    /// Finds out what every snapshot needs and shares. Reads all trees and the directories of all
    /// packs, no content; takes about 5 bytes of memory a blob. When there are parts it does so twice.
    pub async fn usage(&self, parts: PartsOf, progress: Arc<dyn Progress>) -> Result<Usage> {
        self.blocking(move |repository| usage(repository, parts, &*progress))
            .await
    }
}

/// What is counted as one: the tree of a snapshot or of a part of it, and the source it belongs to.
struct Unit {
    root: Option<BlobId>,
    source: usize,
}

/// Whose snapshots a source has, and which of their parts it is.
type SourceKey<'k> = (&'k String, &'k Vec<PathBytes>, Option<Vec<u8>>);

fn source_key(known: &SnapshotRef) -> SourceKey<'_> {
    (&known.snapshot.host, &known.snapshot.paths, None)
}

/// Counts what each unit and each source alone needs.
fn count(trees: &Trees, units: &[Unit], progress: &dyn Progress) -> Result<Sums> {
    if units.len() > USAGE_SNAPSHOTS_MAX {
        let what = format!("more than {USAGE_SNAPSHOTS_MAX} snapshots cannot be told apart");
        return Err(Error::Invalid { what });
    }
    let sources = units.iter().map(|unit| unit.source).collect();
    let marks = Marks::new(trees.index(), sources);
    progress.start("trees", None, None);
    for (at, unit) in units.iter().enumerate() {
        reach(trees, unit.root, progress, &|_, id| marks.need(id, at))?;
    }
    progress.finish();
    sums(trees.repository(), trees.index(), &marks, progress)
}

fn usage(repository: &Repository, parts: PartsOf, progress: &dyn Progress) -> Result<Usage> {
    let state = repository.state();
    let mut known: Vec<_> = state.snapshots.iter().collect();
    known.sort_by_key(|known| (known.snapshot.time_ms, known.snapshot.id()));
    let keys: BTreeSet<SourceKey<'_>> = known.iter().map(|known| source_key(known)).collect();
    let keys: BTreeMap<SourceKey<'_>, usize> = keys.into_iter().zip(0..).collect();
    let units: Vec<Unit> = known
        .iter()
        .map(|known| Unit {
            root: known.snapshot.root.subtree,
            source: keys[&source_key(known)],
        })
        .collect();
    let trees = Trees::open(repository)?;
    let sums = count(&trees, &units, progress)?;

    let mut sources: Vec<SourceUsage> = keys
        .keys()
        .zip(&sums.sources)
        .map(|((host, paths, _), bytes)| SourceUsage {
            host: (*host).clone(),
            paths: (*paths).clone(),
            snapshots: 0,
            logical_bytes: 0,
            exclusive_bytes: bytes.data,
            exclusive_stored: bytes.stored,
        })
        .collect();
    for (known, unit) in known.iter().zip(&units) {
        sources[unit.source].snapshots += 1;
        sources[unit.source].logical_bytes += known.snapshot.stats.bytes;
    }
    let snapshots = known.iter().zip(&sums.snapshots);
    Ok(Usage {
        logical_bytes: known.iter().map(|known| known.snapshot.stats.bytes).sum(),
        data_bytes: sums.data_raw + sums.delta_raw,
        data_stored: sums.data_stored,
        delta_bytes: sums.delta_raw,
        delta_stored: sums.delta_stored,
        tree_bytes: sums.tree_raw,
        tree_stored: sums.tree_stored,
        unneeded_stored: sums.unneeded.stored,
        snapshots: snapshots
            .map(|(known, bytes)| SnapshotUsage {
                id: known.snapshot.id(),
                exclusive_bytes: bytes.data,
                exclusive_stored: bytes.stored,
            })
            .collect(),
        sources,
        parts: part_usage(&trees, &known, parts, progress)?,
    })
}

/// A part of one snapshot.
struct Part<'k> {
    source: SourceKey<'k>,
    root: Option<BlobId>,
    bytes: u64,
}

/// The parts of all snapshots; a snapshot without parts is one by itself, without a name.
fn parts_of<'k>(trees: &Trees, known: &[&'k SnapshotRef], of: PartsOf) -> Result<Vec<Part<'k>>> {
    let mut found = Vec::new();
    for known in known {
        let snapshot = &known.snapshot;
        let source = |name| (&snapshot.host, &snapshot.paths, name);
        let Some(directory) = of(snapshot) else {
            found.push(Part {
                source: source(None),
                root: snapshot.root.subtree,
                bytes: snapshot.stats.bytes,
            });
            continue;
        };
        let directory = trees.find(snapshot.root.subtree, directory)?;
        for entry in trees.entries(directory.and_then(|directory| directory.subtree)) {
            let entry = entry?;
            found.push(Part {
                root: entry.subtree,
                bytes: entry.totals.unwrap_or_default().bytes,
                source: source(Some(entry.name)),
            });
        }
    }
    Ok(found)
}

fn part_usage(
    trees: &Trees,
    known: &[&SnapshotRef],
    of: PartsOf,
    progress: &dyn Progress,
) -> Result<Vec<PartUsage>> {
    if !known.iter().any(|known| of(&known.snapshot).is_some()) {
        return Ok(Vec::new());
    }
    let parts = parts_of(trees, known, of)?;
    let keys: BTreeSet<&SourceKey<'_>> = parts.iter().map(|part| &part.source).collect();
    let keys: BTreeMap<&SourceKey<'_>, usize> = keys.into_iter().zip(0..).collect();
    let unit = |part: &Part<'_>| Unit {
        root: part.root,
        source: keys[&part.source],
    };
    let units: Vec<Unit> = parts.iter().map(unit).collect();
    let sums = count(trees, &units, progress)?;
    let mut usage: Vec<PartUsage> = keys
        .keys()
        .zip(&sums.sources)
        .map(|((host, paths, name), bytes)| PartUsage {
            host: (*host).clone(),
            paths: (*paths).clone(),
            name: name.clone().unwrap_or_default(),
            snapshots: 0,
            logical_bytes: 0,
            exclusive_bytes: bytes.data,
            exclusive_stored: bytes.stored,
        })
        .collect();
    for (part, unit) in parts.iter().zip(&units) {
        usage[unit.source].snapshots += 1;
        usage[unit.source].logical_bytes += part.bytes;
    }
    // What has no parts was counted for what it shares with them.
    let mut named = keys.keys().map(|(_, _, name)| name.is_some());
    usage.retain(|_| named.next().unwrap_or(false));
    Ok(usage)
}
