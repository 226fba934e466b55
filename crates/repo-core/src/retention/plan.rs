//! The plan: for each group of snapshots which stay, with the reasons, and which go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

use repo_format::commit::SnapshotRef;
use repo_format::{PathBytes, SnapshotId};

use crate::error::{Error, Result};
use crate::retention::calendar::Calendar;
use crate::retention::policy::{GroupBy, KeepCount, KeepSpan, Period, Policy};

/// What would be forgotten, and what stays and why.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ForgetPlan {
    /// Groups, by host, paths and tags. A plan by ids has only those that hold one of them.
    pub groups: Vec<ForgetGroup>,
}

impl ForgetPlan {
    /// The snapshots to forget.
    pub fn removed(&self) -> impl Iterator<Item = &PlannedSnapshot> {
        let all = self.groups.iter().flat_map(|group| &group.snapshots);
        all.filter(|planned| !planned.is_kept())
    }

    /// The groups of which nothing would be left.
    pub fn emptied(&self) -> impl Iterator<Item = &ForgetGroup> {
        self.groups
            .iter()
            .filter(|group| !group.snapshots.iter().any(PlannedSnapshot::is_kept))
    }
}

/// Snapshots that a policy is applied to together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgetGroup {
    /// What they have in common.
    pub key: GroupKey,
    /// Newest first; of equal times, the one committed last first.
    pub snapshots: Vec<PlannedSnapshot>,
}

/// What the snapshots of a group have in common. What was not grouped by is `None`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct GroupKey {
    /// The host.
    pub host: Option<String>,
    /// The paths, sorted.
    pub paths: Option<Vec<PathBytes>>,
    /// The tags, sorted.
    pub tags: Option<Vec<String>>,
}

impl GroupKey {
    fn new(known: &SnapshotRef, by: GroupBy) -> Self {
        let snapshot = &known.snapshot;
        Self {
            host: by.host.then(|| snapshot.host.clone()),
            paths: by.paths.then(|| {
                let mut paths = snapshot.paths.clone();
                paths.sort_unstable();
                paths
            }),
            tags: by.tags.then(|| known.tags.clone()),
        }
    }
}

impl Display for GroupKey {
    /// For example `host db, paths /etc, /home`. What is not UTF-8 appears as replacement characters.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(host) = &self.host {
            parts.push(format!("host {host}"));
        }
        if let Some(paths) = &self.paths {
            let text = |path: &PathBytes| String::from_utf8_lossy(&path.0).into_owned();
            let paths: Vec<String> = paths.iter().map(text).collect();
            parts.push(format!("paths {}", paths.join(", ")));
        }
        match self.tags.as_deref() {
            None => {}
            Some([]) => parts.push("no tags".to_owned()),
            Some(tags) => parts.push(format!("tags {}", tags.join(", "))),
        }
        if parts.is_empty() {
            return f.write_str("all snapshots");
        }
        f.write_str(&parts.join(", "))
    }
}

/// A snapshot and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSnapshot {
    /// The snapshot, as it was when the plan was made.
    pub known: SnapshotRef,
    /// Why it stays; without a reason it goes.
    pub keep: Vec<KeepReason>,
}

impl PlannedSnapshot {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.known.snapshot.id()
    }

    /// Whether it stays.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !self.keep.is_empty()
    }
}

/// Why a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepReason {
    /// It is protected.
    Protected,
    /// It has all tags of a list to keep.
    Tags(Vec<String>),
    /// It is one of the newest.
    Last,
    /// It is the newest of a period; `oldest` when it is only the oldest of all, and the count was
    /// not used up.
    Newest {
        /// Kind of period.
        period: Period,
        /// Not the newest of its period.
        oldest: bool,
    },
    /// It lies within a span.
    Within(KeepSpan),
    /// It lies within a span and is the newest of a period; `oldest` as in [`Self::Newest`].
    NewestWithin {
        /// Kind of period.
        period: Period,
        /// The span.
        span: KeepSpan,
        /// Not the newest of its period.
        oldest: bool,
    },
    /// No snapshot of the group was committed later, whatever the clocks said.
    CommittedLast,
    /// Its time has not come yet: some clock is wrong.
    Future,
    /// It is not one of those named.
    NotNamed,
    /// The policy has no rule.
    NoPolicy,
}

impl Display for KeepReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let oldest = |oldest: bool| if oldest { "oldest " } else { "" };
        match self {
            Self::Protected => f.write_str("protected"),
            Self::Tags(tags) => write!(f, "has tags {}", tags.join(",")),
            Self::Last => f.write_str("last snapshot"),
            Self::Newest { period, oldest: o } => {
                write!(f, "{}{} snapshot", oldest(*o), period.adjective())
            }
            Self::Within(span) => write!(f, "within {span}"),
            Self::NewestWithin {
                period,
                span,
                oldest: o,
            } => write!(f, "{}{} within {span}", oldest(*o), period.adjective()),
            Self::CommittedLast => f.write_str("committed last"),
            Self::Future => f.write_str("dated in the future"),
            Self::NotNamed => f.write_str("not named"),
            Self::NoPolicy => f.write_str("no policy"),
        }
    }
}

/// Applies a policy to each group of `snapshots`, which are in the order of their commits.
///
/// Protected snapshots stay. No wrong clock costs what a right one would have kept: where the policy
/// goes by time, a snapshot dated later than the calendar's present stays without being counted and
/// without a span reaching back from it, and the snapshot of each group that was committed last
/// stays whatever its date. So a present that is wrong itself can only make more snapshots stay.
#[must_use]
pub fn plan_forget(
    snapshots: &[SnapshotRef],
    policy: &Policy,
    group_by: GroupBy,
    calendar: &Calendar,
) -> ForgetPlan {
    let groups = grouped(snapshots, group_by);
    let planned = groups.into_iter().map(|(key, newest_last)| ForgetGroup {
        key,
        snapshots: apply(newest_last, policy, calendar),
    });
    ForgetPlan {
        groups: planned.collect(),
    }
}

/// Plans to forget the snapshots named, and no other. Fails for one that is not there or protected.
pub fn plan_forget_ids(
    snapshots: &[SnapshotRef],
    ids: &[SnapshotId],
    group_by: GroupBy,
) -> Result<ForgetPlan> {
    let mut unseen: BTreeSet<SnapshotId> = ids.iter().copied().collect();
    let mut plan = ForgetPlan::default();
    let named = unseen.clone();
    for (key, members) in grouped(snapshots, group_by) {
        let mut group = ForgetGroup {
            key,
            snapshots: Vec::new(),
        };
        for known in newest_first(members) {
            let id = known.snapshot.id();
            unseen.remove(&id);
            let mut keep = Vec::new();
            if !named.contains(&id) {
                keep.push(KeepReason::NotNamed);
            } else if known.is_protected() {
                return Err(Error::Protected { id: id.to_hex() });
            }
            let known = known.clone();
            group.snapshots.push(PlannedSnapshot { known, keep });
        }
        if !group.snapshots.iter().all(PlannedSnapshot::is_kept) {
            plan.groups.push(group);
        }
    }
    match unseen.first() {
        None => Ok(plan),
        Some(id) => Err(Error::UnknownSnapshot { id: id.to_hex() }),
    }
}

/// Groups, each in the order of commits.
fn grouped(snapshots: &[SnapshotRef], by: GroupBy) -> BTreeMap<GroupKey, Vec<&SnapshotRef>> {
    let mut groups: BTreeMap<GroupKey, Vec<&SnapshotRef>> = BTreeMap::new();
    for known in snapshots {
        groups
            .entry(GroupKey::new(known, by))
            .or_default()
            .push(known);
    }
    groups
}

fn newest_first(mut members: Vec<&SnapshotRef>) -> Vec<&SnapshotRef> {
    // Reversed before a sort that is stable: of equal times, the one committed last comes first.
    members.reverse();
    members.sort_by_key(|known| std::cmp::Reverse(known.snapshot.time_ms));
    members
}

fn apply(members: Vec<&SnapshotRef>, policy: &Policy, calendar: &Calendar) -> Vec<PlannedSnapshot> {
    let by_time = policy.keeps_by_time();
    let committed_last = members.last().map(|known| known.snapshot.id());
    let sorted = newest_first(members);
    let is_future = |known: &SnapshotRef| by_time && calendar.is_future(known.snapshot.time_ms);
    let future = sorted.iter().take_while(|known| is_future(known)).count();
    let mut rules = Rules::new(policy, calendar, sorted.get(future).copied());
    let planned = sorted.iter().enumerate().map(|(at, known)| {
        let mut keep = Vec::new();
        if known.is_protected() {
            keep.push(KeepReason::Protected);
        }
        if policy.is_empty() {
            keep.push(KeepReason::NoPolicy);
        }
        let lists = policy.tags.iter().filter(|tags| !tags.is_empty());
        let all_there = lists.filter(|tags| tags.iter().all(|tag| known.tags.contains(tag)));
        keep.extend(all_there.cloned().map(KeepReason::Tags));
        if at < future {
            keep.push(KeepReason::Future);
        } else {
            let is_oldest = at + 1 == sorted.len();
            rules.look_at(known.snapshot.time_ms, is_oldest, &mut keep);
        }
        if keep.is_empty() && by_time && committed_last == Some(known.snapshot.id()) {
            keep.push(KeepReason::CommittedLast);
        }
        let known = (*known).clone();
        PlannedSnapshot { known, keep }
    });
    planned.collect()
}

/// The rules of a policy that go by time, on their way from the newest snapshot to the oldest.
struct Rules<'p> {
    calendar: &'p Calendar,
    last: Option<KeepCount>,
    within: Option<(KeepSpan, i64)>,
    periods: Vec<PeriodRule>,
}

/// Keeps the newest of each period, while the count lasts or as far as the span reaches.
struct PeriodRule {
    period: Period,
    extent: Extent,
    /// The period of the snapshot kept last.
    bucket: Option<i64>,
}

#[derive(Clone, Copy)]
enum Extent {
    Count(KeepCount),
    /// A span, and the time that all it reaches lies after.
    Span(KeepSpan, i64),
}

impl<'p> Rules<'p> {
    /// Spans reach back from `newest`.
    fn new(policy: &Policy, calendar: &'p Calendar, newest: Option<&SnapshotRef>) -> Self {
        let newest = newest.map_or(i64::MAX, |known| known.snapshot.time_ms);
        let reach = |span: KeepSpan| (span, calendar.before(newest, span));
        let mut periods = Vec::new();
        for period in Period::ALL {
            let count = policy.count(period).map(Extent::Count);
            let span = policy.span(period).map(reach);
            let extents = count.into_iter();
            for extent in extents.chain(span.map(|(span, after)| Extent::Span(span, after))) {
                periods.push(PeriodRule {
                    period,
                    extent,
                    bucket: None,
                });
            }
        }
        Self {
            calendar,
            last: policy.last(),
            within: policy.within().map(reach),
            periods,
        }
    }

    fn look_at(&mut self, time_ms: i64, is_oldest: bool, keep: &mut Vec<KeepReason>) {
        if let Some((span, after)) = self.within
            && time_ms > after
        {
            keep.push(KeepReason::Within(span));
        }
        if take(&mut self.last) {
            keep.push(KeepReason::Last);
        }
        for rule in &mut self.periods {
            keep.extend(rule.look_at(self.calendar, time_ms, is_oldest));
        }
    }
}

impl PeriodRule {
    fn look_at(
        &mut self,
        calendar: &Calendar,
        time_ms: i64,
        is_oldest: bool,
    ) -> Option<KeepReason> {
        let period = self.period;
        let reaches = match self.extent {
            Extent::Count(count) => !count.is_none(),
            Extent::Span(_, after) => time_ms > after,
        };
        let bucket = calendar.bucket(period, time_ms);
        // Compared by order: where the clocks go back over midnight, a day is met twice.
        let is_newest = self.bucket.is_none_or(|kept| bucket < kept);
        if !reaches || !(is_newest || is_oldest) {
            return None;
        }
        self.bucket = Some(bucket);
        let oldest = !is_newest;
        Some(match &mut self.extent {
            Extent::Count(count) => {
                use_one(count);
                KeepReason::Newest { period, oldest }
            }
            Extent::Span(span, _) => KeepReason::NewestWithin {
                period,
                span: *span,
                oldest,
            },
        })
    }
}

fn take(count: &mut Option<KeepCount>) -> bool {
    match count {
        Some(count) if !count.is_none() => {
            use_one(count);
            true
        }
        _ => false,
    }
}

fn use_one(count: &mut KeepCount) {
    if let KeepCount::Newest(left) = count {
        *left = left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests;
