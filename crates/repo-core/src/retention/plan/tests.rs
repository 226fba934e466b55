use jiff::tz::TimeZone;
use proptest::prelude::*;
use repo_format::tree::{Entry, EntryType};
use repo_format::{Snapshot, SnapshotStats};

use super::*;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn known(time_ms: i64, host: &str, paths: &[&str], tags: &[&str]) -> SnapshotRef {
    let snapshot = Snapshot {
        time_ms,
        host: host.to_owned(),
        user: String::new(),
        paths: paths.iter().map(|&path| PathBytes(path.into())).collect(),
        root: Entry::new(b"", EntryType::Directory),
        parent: None,
        stats: SnapshotStats::default(),
        program: String::new(),
        description: None,
        source: None,
        duration_ms: 0,
        original: None,
    };
    SnapshotRef {
        snapshot: snapshot.into(),
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        protected: None,
    }
}

fn ms(text: &str) -> i64 {
    let time: jiff::Timestamp = text.parse().expect("a time");
    time.as_millisecond()
}

fn at(times: &[i64]) -> Vec<SnapshotRef> {
    times
        .iter()
        .map(|time| known(*time, "a", &[], &[]))
        .collect()
}

fn calendar() -> Calendar {
    Calendar::utc(i64::MAX)
}

/// The only group of a plan, newest first: times, and the reasons in words.
fn kept(snapshots: &[SnapshotRef], policy: &Policy, calendar: &Calendar) -> Vec<(i64, String)> {
    let plan = plan_forget(snapshots, policy, GroupBy::default(), calendar);
    assert!(plan.groups.len() < 2);
    let all = plan.groups.into_iter().flat_map(|group| group.snapshots);
    let kept = all.filter(PlannedSnapshot::is_kept).map(|planned| {
        let reasons: Vec<String> = planned.keep.iter().map(ToString::to_string).collect();
        (planned.known.snapshot.time_ms, reasons.join("; "))
    });
    kept.collect()
}

fn count(number: u32) -> Option<KeepCount> {
    Some(KeepCount::Newest(number))
}

fn span(text: &str) -> Option<KeepSpan> {
    Some(text.parse().expect("a span"))
}

#[track_caller]
fn assert_kept(
    snapshots: &[SnapshotRef],
    policy: &Policy,
    calendar: &Calendar,
    want: &[(&str, &str)],
) {
    let want: Vec<(i64, String)> = want
        .iter()
        .map(|(time, why)| (ms(time), (*why).to_owned()))
        .collect();
    assert_eq!(kept(snapshots, policy, calendar), want);
}

#[test]
fn nothing_is_planned_of_nothing() {
    let policy = Policy {
        last: count(1),
        ..Policy::default()
    };
    let plan = plan_forget(&[], &policy, GroupBy::default(), &calendar());
    assert_eq!(plan, ForgetPlan::default());
    assert_eq!(plan.emptied().count(), 0);
}

#[test]
fn an_empty_policy_keeps_everything() {
    let snapshots = at(&[1, 2]);
    let plan = plan_forget(
        &snapshots,
        &Policy::default(),
        GroupBy::default(),
        &calendar(),
    );
    assert_eq!(plan.removed().count(), 0);
    assert_eq!(plan.groups[0].snapshots[0].keep, [KeepReason::NoPolicy]);
}

#[test]
fn reasons_add_up_and_the_oldest_fills_a_count_that_is_left() {
    let times = [
        "2026-03-01T10:00:00Z",
        "2026-03-02T09:00:00Z",
        "2026-03-02T10:00:00Z",
        "2026-03-03T08:00:00Z",
        "2026-03-03T08:30:00Z",
    ];
    let snapshots = at(&times.map(ms));
    let policy = Policy {
        last: count(1),
        hourly: count(1),
        daily: count(2),
        weekly: Some(KeepCount::Unlimited),
        monthly: count(2),
        ..Policy::default()
    };
    assert_kept(
        &snapshots,
        &policy,
        &calendar(),
        &[
            (
                times[4],
                "last snapshot; hourly snapshot; daily snapshot; weekly snapshot; monthly snapshot",
            ),
            (times[2], "daily snapshot"),
            (times[0], "weekly snapshot; oldest monthly snapshot"),
        ],
    );
    // The count of days is used up, so the oldest is of no help.
    let policy = Policy {
        daily: count(2),
        ..Policy::default()
    };
    let daily = "daily snapshot";
    let want = [(times[4], daily), (times[2], daily)];
    assert_kept(&snapshots, &policy, &calendar(), &want);
}

#[test]
fn of_one_second_the_snapshot_committed_last_is_the_newest() {
    let snapshots = [
        known(5000, "a", &[], &["first"]),
        known(5000, "a", &[], &["second"]),
        known(4000, "a", &[], &[]),
    ];
    let policy = Policy {
        last: count(1),
        ..Policy::default()
    };
    let plan = plan_forget(&snapshots, &policy, GroupBy::default(), &calendar());
    let order = plan.groups[0].snapshots.iter().map(|planned| {
        let tags = planned.known.tags.concat();
        (tags, planned.keep.clone())
    });
    let want = [
        ("second".to_owned(), vec![KeepReason::Last]),
        ("first".to_owned(), vec![]),
        (String::new(), vec![KeepReason::CommittedLast]),
    ];
    assert_eq!(order.collect::<Vec<_>>(), want);
}

#[test]
fn no_wrong_clock_costs_the_snapshots_of_the_right_ones() {
    let (right, earlier) = ("2026-03-01T00:00:00Z", "2026-02-01T00:00:00Z");
    let (ahead, behind) = ("2099-01-01T00:00:00Z", "1970-01-02T00:00:00Z");
    let now = Calendar::utc(ms("2026-03-01T00:00:05Z"));
    for policy in [
        Policy {
            last: count(1),
            ..Policy::default()
        },
        Policy {
            within: span("1d"),
            ..Policy::default()
        },
    ] {
        let of_right = kept(&at(&[ms(earlier), ms(right)]), &policy, &now);
        let mut want = of_right.clone();
        want.insert(0, (ms(ahead), "dated in the future".to_owned()));
        let with_ahead = at(&[ms(earlier), ms(ahead), ms(right)]);
        assert_eq!(kept(&with_ahead, &policy, &now), want);
        let mut want = of_right;
        want.push((ms(behind), "committed last".to_owned()));
        let with_behind = at(&[ms(earlier), ms(right), ms(behind)]);
        assert_eq!(kept(&with_behind, &policy, &now), want);
        // The clock of the one who forgets went back: everything is in its future.
        let past = Calendar::utc(0);
        assert_eq!(kept(&with_ahead, &policy, &past).len(), 3);
    }
    // Tags have nothing to do with time.
    let policy = Policy {
        tags: vec![vec!["x".to_owned()]],
        ..Policy::default()
    };
    assert!(kept(&at(&[ms(ahead), ms(right)]), &policy, &now).is_empty());
}

#[test]
fn a_span_reaches_back_from_the_newest_and_ends_before_its_length() {
    let times = [
        "2025-12-31T12:00:00Z",
        "2026-02-21T12:00:00Z",
        "2026-02-22T12:00:00Z",
        "2026-02-22T12:00:01Z",
        "2026-03-01T12:00:00Z",
    ];
    let snapshots = at(&times.map(ms));
    let policy = Policy {
        within: span("7d"),
        within_yearly: span("1y"),
        within_hourly: span("1h"),
        ..Policy::default()
    };
    // Years later, the same are kept.
    for now in ["2026-03-01T12:00:00Z", "2040-01-01T00:00:00Z"] {
        let want = [
            (times[4], "within 7d; hourly within 1h; yearly within 1y"),
            (times[3], "within 7d"),
            (times[0], "yearly within 1y"),
        ];
        assert_kept(&snapshots, &policy, &Calendar::utc(ms(now)), &want);
    }
    let policy = Policy {
        within_monthly: span("1m"),
        ..Policy::default()
    };
    let want = [
        (times[4], "monthly within 1m"),
        (times[3], "monthly within 1m"),
    ];
    assert_kept(&snapshots, &policy, &calendar(), &want);
    let oldest = [
        (times[4], "monthly within 1m"),
        (times[3], "monthly within 1m"),
        (times[2], "oldest monthly within 1m"),
    ];
    assert_kept(&snapshots[2..], &policy, &calendar(), &oldest);
}

#[test]
fn the_hour_that_is_repeated_is_two_and_the_short_day_is_one() {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
    let europe = Calendar::new(zone, i64::MAX);
    let autumn = ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"];
    let policy = Policy {
        hourly: count(2),
        ..Policy::default()
    };
    let hourly = "hourly snapshot";
    let want = [(autumn[1], hourly), (autumn[0], hourly)];
    assert_kept(&at(&autumn.map(ms)), &policy, &europe, &want);
    // 22:30 UTC is the next day there, in the summer.
    let spring = [
        "2026-03-28T23:10:00Z",
        "2026-03-29T21:50:00Z",
        "2026-03-29T22:30:00Z",
    ];
    let policy = Policy {
        daily: count(2),
        ..Policy::default()
    };
    let daily = "daily snapshot";
    let want = [(spring[2], daily), (spring[1], daily)];
    assert_kept(&at(&spring.map(ms)), &policy, &europe, &want);
}

#[test]
fn tags_and_protection_keep_whatever_the_counts_say() {
    let mut snapshots = vec![
        known(DAY, "a", &[], &["x", "y"]),
        known(2 * DAY, "a", &[], &["x"]),
        known(3 * DAY, "a", &[], &[]),
        known(4 * DAY, "a", &[], &[]),
    ];
    snapshots[2].protected = Some(true);
    let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let policy = Policy {
        last: count(1),
        tags: vec![list(&["x", "y"]), list(&["z"]), list(&[])],
        ..Policy::default()
    };
    let want = [
        (4 * DAY, "last snapshot"),
        (3 * DAY, "protected"),
        (DAY, "has tags x,y"),
    ]
    .map(|(time, why)| (time, why.to_owned()));
    assert_eq!(kept(&snapshots, &policy, &calendar()), want);
}

#[test]
fn groups_have_their_own_newest() {
    let snapshots = [
        known(1, "a", &["/x", "/y"], &["t"]),
        known(2, "a", &["/y", "/x"], &[]),
        known(3, "a", &["/x"], &["t"]),
        known(4, "b", &["/x"], &[]),
    ];
    let policy = Policy {
        last: count(1),
        ..Policy::default()
    };
    for (by, groups, removed) in [
        (
            "host,paths",
            vec![
                "host a, paths /x",
                "host a, paths /x, /y",
                "host b, paths /x",
            ],
            vec![1],
        ),
        ("host", vec!["host a", "host b"], vec![2, 1]),
        ("tags", vec!["no tags", "tags t"], vec![2, 1]),
        ("", vec!["all snapshots"], vec![3, 2, 1]),
    ] {
        let by = by.parse().expect("a grouping");
        let plan = plan_forget(&snapshots, &policy, by, &calendar());
        let keys: Vec<String> = plan
            .groups
            .iter()
            .map(|group| group.key.to_string())
            .collect();
        assert_eq!(keys, groups);
        let times: Vec<i64> = plan.removed().map(|p| p.known.snapshot.time_ms).collect();
        assert_eq!(times, removed, "{by:?}");
        assert_eq!(plan.emptied().count(), 0);
    }
}

#[test]
fn ids_are_forgotten_and_nothing_else() {
    let mut snapshots = vec![
        known(1, "a", &[], &[]),
        known(2, "a", &[], &[]),
        known(3, "b", &[], &[]),
        known(4, "c", &[], &[]),
    ];
    snapshots[1].protected = Some(true);
    let id = |at: usize| snapshots[at].snapshot.id();
    let plan = |ids: &[SnapshotId]| plan_forget_ids(&snapshots, ids, GroupBy::default());
    let made = plan(&[id(0), id(2), id(0)]).expect("a plan");
    let removed: Vec<SnapshotId> = made.removed().map(PlannedSnapshot::id).collect();
    assert_eq!(removed, [id(0), id(2)]);
    assert_eq!(
        made.groups.len(),
        2,
        "groups without any named are left out"
    );
    assert_eq!(made.groups[0].snapshots[0].keep, [KeepReason::NotNamed]);
    let emptied: Vec<String> = made.emptied().map(|group| group.key.to_string()).collect();
    assert_eq!(emptied, ["host b, paths "]);
    let protected = plan(&[id(0), id(1)]).expect_err("it is protected");
    assert!(matches!(protected, Error::Protected { id: named } if named == id(1).to_hex()));
    let unknown = plan(&[SnapshotId([7; 32]), id(0)]).expect_err("it is not there");
    assert!(matches!(unknown, Error::UnknownSnapshot { .. }));
}

/// The date of a day since 1970, by counting.
fn date(day: i64) -> (i64, i64) {
    let (mut year, mut left) = (1970, day);
    loop {
        let leap = i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
        if left < 365 + leap {
            let months = [31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            let mut month = 0;
            while left >= months[month] {
                left -= months[month];
                month += 1;
            }
            return (year, i64::try_from(month).expect("twelve"));
        }
        left -= 365 + leap;
        year += 1;
    }
}

fn bucket(period: Period, time: i64) -> (i64, i64) {
    let day = time.div_euclid(DAY);
    match period {
        Period::Hour => (time.div_euclid(HOUR), 0),
        Period::Day => (day, 0),
        // The first of January 1970 was a Thursday.
        Period::Week => ((day + 3).div_euclid(7), 0),
        Period::Month => date(day),
        Period::Year => (date(day).0, 0),
    }
}

/// What a policy keeps, rule by rule, of positions in a list that is sorted newest first.
fn naive(times: &[i64], policy: &Policy) -> BTreeSet<usize> {
    let newest_of = |period: Period, members: &[usize]| {
        let mut newest: BTreeMap<(i64, i64), usize> = BTreeMap::new();
        for at in members.iter().rev() {
            newest.insert(bucket(period, times[*at]), *at);
        }
        newest.into_values().rev().collect::<Vec<usize>>()
    };
    let limit = |count: KeepCount| match count {
        KeepCount::Newest(number) => number as usize,
        KeepCount::Unlimited => usize::MAX,
    };
    let all: Vec<usize> = (0..times.len()).collect();
    let oldest = times.len() - 1;
    let reach = |span: KeepSpan| {
        let length = i64::from(span.days) * DAY + i64::from(span.hours) * HOUR;
        let within = |at: &usize| times[*at] > times[0] - length;
        all.iter().copied().filter(within).collect::<Vec<usize>>()
    };
    let mut kept = BTreeSet::new();
    if let Some(count) = policy.last {
        kept.extend(all.iter().copied().take(limit(count)));
    }
    if let Some(span) = policy.within {
        kept.extend(reach(span));
    }
    for period in Period::ALL {
        if let Some(count) = policy.count(period) {
            let newest = newest_of(period, &all);
            if newest.len() < limit(count) {
                kept.insert(oldest);
            }
            kept.extend(newest.into_iter().take(limit(count)));
        }
        if let Some(span) = policy.span(period) {
            let members = reach(span);
            kept.extend(members.last().filter(|at| **at == oldest));
            kept.extend(newest_of(period, &members));
        }
    }
    kept
}

fn counts() -> impl Strategy<Value = Option<KeepCount>> {
    prop_oneof![
        3 => Just(None),
        4 => (0..6u32).prop_map(|number| Some(KeepCount::Newest(number))),
        1 => Just(Some(KeepCount::Unlimited)),
    ]
}

fn spans() -> impl Strategy<Value = Option<KeepSpan>> {
    let some = (0..400u32, 0..50u32).prop_map(|(days, hours)| KeepSpan {
        days,
        hours,
        ..KeepSpan::default()
    });
    prop_oneof![3 => Just(None), 1 => some.prop_map(Some)]
}

fn policies() -> impl Strategy<Value = Policy> {
    let counts = [(); 6].map(|()| counts());
    let spans = [(); 6].map(|()| spans());
    (counts, spans).prop_map(|(counts, spans)| {
        let [last, hourly, daily, weekly, monthly, yearly] = counts;
        let [
            within,
            within_hourly,
            within_daily,
            within_weekly,
            within_monthly,
            within_yearly,
        ] = spans;
        Policy {
            last,
            hourly,
            daily,
            weekly,
            monthly,
            yearly,
            within,
            within_hourly,
            within_daily,
            within_weekly,
            within_monthly,
            within_yearly,
            tags: Vec::new(),
        }
    })
}

/// Times over some hours, some weeks or some years, in the order of commits.
fn times() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![0..3 * HOUR, 0..3 * DAY, 0..200 * DAY];
    proptest::collection::vec(step, 1..40).prop_map(|steps| {
        let mut time = 0;
        let after = |step| {
            time += step;
            time
        };
        steps.into_iter().map(after).collect()
    })
}

proptest! {
    #[test]
    fn a_policy_keeps_what_its_rules_keep_one_by_one(times in times(), policy in policies()) {
        prop_assume!(!policy.is_empty());
        let plan = plan_forget(&at(&times), &policy, GroupBy::default(), &calendar());
        let newest_first: Vec<i64> = times.iter().rev().copied().collect();
        let snapshots = &plan.groups[0].snapshots;
        let planned = snapshots.iter().map(|p| p.known.snapshot.time_ms);
        prop_assert_eq!(&planned.collect::<Vec<_>>(), &newest_first);
        let kept = snapshots.iter().enumerate().filter(|(_, p)| p.is_kept());
        let kept: BTreeSet<usize> = kept.map(|(at, _)| at).collect();
        prop_assert_eq!(kept, naive(&newest_first, &policy));
    }

    #[test]
    fn what_was_kept_is_kept_again_and_something_always_is(
        times in proptest::collection::vec(0..900 * DAY, 1..40),
        policy in policies(),
        now in 0..900 * DAY,
    ) {
        let now = Calendar::utc(now);
        let mut snapshots = at(&times);
        let plan = plan_forget(&snapshots, &policy, GroupBy::default(), &now);
        prop_assert_eq!(plan.emptied().count(), 0);
        let removed: BTreeSet<SnapshotId> = plan.removed().map(PlannedSnapshot::id).collect();
        let last = snapshots[snapshots.len() - 1].snapshot.id();
        prop_assert!(!removed.contains(&last));
        snapshots.retain(|known| !removed.contains(&known.snapshot.id()));
        let again = plan_forget(&snapshots, &policy, GroupBy::default(), &now);
        prop_assert_eq!(again.removed().count(), 0);
    }

    #[test]
    fn an_earlier_present_only_keeps_more(
        times in proptest::collection::vec(0..900 * DAY, 1..40),
        policy in policies(),
        present in (0..900 * DAY, 0..900 * DAY),
    ) {
        let snapshots = at(&times);
        let removed = |now| -> BTreeSet<SnapshotId> {
            let calendar = Calendar::utc(now);
            let plan = plan_forget(&snapshots, &policy, GroupBy::default(), &calendar);
            plan.removed().map(PlannedSnapshot::id).collect()
        };
        let (early, late) = (present.0.min(present.1), present.0.max(present.1));
        prop_assert!(removed(early).is_subset(&removed(late)));
    }
}
