//! What of a cluster's WAL is there, and what can go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use repo_core::{Repository, SnapshotId, SnapshotView};

use crate::description::Description;
use crate::wal::archive::{self, volume_of};
use crate::wal::error::{Error, Result};
use crate::wal::name::{Segment, Volume, WalFile};

/// The WAL of one timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineWal {
    /// The cluster.
    pub system: u64,
    /// The timeline.
    pub timeline: u32,
    /// Length of its segments, in bytes.
    pub segment_size: u64,
    /// What is there, in order, without overlaps. Between two of them there is a gap.
    pub ranges: Vec<WalRange>,
}

/// Segments that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalRange {
    /// The first one.
    pub first: Segment,
    /// The last one.
    pub last: Segment,
    /// First position.
    pub start: u64,
    /// First position after it.
    pub end: u64,
}

impl TimelineWal {
    /// The positions that are missing between the first and the last one there is.
    pub fn gaps(&self) -> impl Iterator<Item = (u64, u64)> {
        let following = self.ranges.iter().zip(self.ranges.iter().skip(1));
        following.map(|(before, after)| (before.end, after.start))
    }

    /// The first and the last segment of each gap.
    pub fn missing(&self) -> impl Iterator<Item = (Segment, Segment)> {
        let holding = |at| Segment::holding(self.timeline, at, self.segment_size);
        self.gaps()
            .map(move |(start, end)| (holding(start), holding(end.saturating_sub(1))))
    }

    /// Up to where the WAL can be replayed from a position; `None` when it is not there.
    #[must_use]
    pub fn reach(&self, from: u64) -> Option<u64> {
        let holds = |range: &&WalRange| range.start <= from && from < range.end;
        self.ranges.iter().find(holds).map(|range| range.end)
    }
}

impl Display for WalRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.first, self.last)
    }
}

/// What there is of the WAL of all clusters, or of one, by cluster and timeline.
///
/// Requests: the tree nodes of each volume, one for each 4 GiB as a rule.
pub async fn ranges(repository: &Repository, system: Option<u64>) -> Result<Vec<TimelineWal>> {
    let mut volumes: BTreeMap<(u64, Volume), Vec<SnapshotId>> = BTreeMap::new();
    for known in repository.snapshots() {
        if let Some((of, volume)) = volume_of(&known.snapshot)
            && system.is_none_or(|system| system == of)
        {
            let ids = volumes.entry((of, volume)).or_default();
            ids.push(known.snapshot.id());
        }
    }
    let mut timelines: Vec<TimelineWal> = Vec::new();
    for ((system, _), ids) in volumes {
        let mut segments = BTreeMap::new();
        for id in ids {
            for (file, entry) in archive::list(&repository.view(&id)?).await? {
                if let WalFile::Segment(segment) = file {
                    segments.insert(segment, entry.size);
                }
            }
        }
        for (segment, size) in segments {
            add(&mut timelines, system, segment, size);
        }
    }
    Ok(timelines)
}

/// Adds a segment that comes after all others.
fn add(timelines: &mut Vec<TimelineWal>, system: u64, segment: Segment, size: u64) {
    let start = segment.start(size);
    let range = WalRange {
        first: segment,
        last: segment,
        start,
        end: start.saturating_add(size),
    };
    match timelines.last_mut() {
        Some(last) if last.system == system && last.timeline == segment.timeline => {
            match last.ranges.last_mut() {
                Some(before) if before.end == start => {
                    before.last = segment;
                    before.end = range.end;
                }
                _ => last.ranges.push(range),
            }
        }
        _ => timelines.push(TimelineWal {
            system,
            timeline: segment.timeline,
            segment_size: size,
            ranges: vec![range],
        }),
    }
}

/// Where the oldest snapshot of each cluster begins to need WAL, but for snapshots that are about to
/// go.
async fn oldest_needed(
    repository: &Repository,
    going: &BTreeSet<SnapshotId>,
) -> Result<BTreeMap<u64, u64>> {
    let mut oldest = BTreeMap::new();
    for known in repository.snapshots() {
        let id = known.snapshot.id();
        if known.snapshot.source.as_deref() != Some(crate::description::KIND) || going.contains(&id)
        {
            continue;
        }
        let (system, start) = needs(&repository.view(&id)?).await?;
        let least = oldest.entry(system).or_insert(start);
        *least = start.min(*least);
    }
    Ok(oldest)
}

/// The cluster of a snapshot, and the first position it needs.
async fn needs(view: &SnapshotView) -> Result<(u64, u64)> {
    let unclear = || Error::Description {
        id: view.id().to_hex(),
    };
    let description = match Description::of(view).await {
        Err(crate::Error::Core(error)) => return Err(error.into()),
        Err(_) => return Err(unclear()),
        Ok(description) => description,
    };
    let system = description.system_identifier.parse();
    Ok((system.map_err(|_| unclear())?, description.start_lsn.0))
}

/// Snapshots of WAL that no snapshot of a cluster needs, once those in `going` are forgotten: their
/// volume ends before the oldest that stays begins. Of a cluster without any such snapshot all WAL
/// stays, as do history files. A description that cannot be read is an error.
pub async fn expired(
    repository: &Repository,
    going: &BTreeSet<SnapshotId>,
) -> Result<Vec<SnapshotId>> {
    let known = repository.snapshots();
    let mut volumes = known
        .iter()
        .filter_map(|known| Some((known.snapshot.id(), volume_of(&known.snapshot)?)))
        .peekable();
    if volumes.peek().is_none() {
        return Ok(Vec::new());
    }
    let oldest = oldest_needed(repository, going).await?;
    let is_over = |system: u64, volume: Volume| match (oldest.get(&system), volume) {
        (Some(start), Volume::Segments { log, .. }) => (u64::from(log) + 1) << 32 <= *start,
        _ => false,
    };
    let over = volumes.filter(|(_, (system, volume))| is_over(*system, *volume));
    Ok(over.map(|(id, _)| id).collect())
}

/// Forgets snapshots of WAL in one commit. Protected ones stay.
pub async fn expire(repository: &Repository, ids: &[SnapshotId], action: &str) -> Result<()> {
    archive::forget(repository, ids, action).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 16 << 20;

    fn timelines(names: &[(u64, &str)]) -> Vec<TimelineWal> {
        let mut timelines = Vec::new();
        for (system, name) in names {
            let file = name.parse::<WalFile>().expect("a name");
            let segment = file.segment().expect("a segment");
            add(&mut timelines, *system, segment, SIZE);
        }
        timelines
    }

    #[test]
    fn ranges_end_at_gaps_timelines_and_clusters() {
        let found = timelines(&[
            (1, "0000000100000000000000FE"),
            (1, "0000000100000000000000FF"),
            (1, "000000010000000100000000"),
            (1, "000000010000000100000002"),
            (1, "000000020000000100000003"),
            (2, "000000020000000100000004"),
        ]);
        assert_eq!(found.len(), 3);
        let first = &found[0];
        assert_eq!(first.ranges.len(), 2);
        assert_eq!(
            first.ranges[0].to_string(),
            "0000000100000000000000FE to 000000010000000100000000"
        );
        let gap = ((1 << 32) + SIZE, (1 << 32) + 2 * SIZE);
        assert_eq!(first.gaps().collect::<Vec<_>>(), [gap]);
        let missing = Segment::holding(1, gap.0, SIZE);
        assert_eq!(first.missing().collect::<Vec<_>>(), [(missing, missing)]);
        assert_eq!(first.reach(0xFE * SIZE), Some(gap.0));
        assert_eq!(first.reach(gap.0 - 1), Some(gap.0));
        assert_eq!(first.reach(gap.0), None);
        assert!(found[1..].iter().all(|found| found.gaps().next().is_none()));
    }
}
