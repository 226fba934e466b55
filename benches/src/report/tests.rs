//! The report on made-up records.

use super::*;
use crate::run::{Record, Size};

/// Records of one tool on the source set: wall seconds and stored bytes of each step.
fn records(tool: Tool, run: u32, steps: &[(Step, f64, u64)]) -> Vec<Record> {
    let record = |&(step, wall_s, repository_bytes): &(Step, f64, u64)| Record {
        set: "source".to_owned(),
        case: "source".to_owned(),
        tool,
        run,
        step,
        wall_s,
        cpu_s: 2.0 * wall_s,
        peak_bytes: 50_000_000,
        repository_bytes,
        index_bytes: 1_000_000,
    };
    steps.iter().map(record).collect()
}

/// Two peers over two runs, and `repo` over as many.
pub(crate) fn example() -> Results {
    let mut results = Results::default();
    for (run, extra) in [(0, 0.0), (1, 2.0)] {
        let rows = [
            (Step::Full, 9.0 + extra, 200_000_000),
            (Step::Incremental, 1.0, 203_000_000),
        ];
        results.records.extend(records(Tool::Restic, run, &rows));
        let rows = [
            (Step::Full, 19.0 + extra, 180_000_000),
            (Step::Incremental, 4.0, 182_000_000),
        ];
        results.records.extend(records(Tool::Borg, run, &rows));
        let rows = [
            (Step::Full, 2.0 + extra, 90_000_000),
            (Step::Incremental, 0.5, 91_500_000),
        ];
        results.records.extend(records(Tool::Repo, run, &rows));
    }
    results.sizes.insert(
        "source".to_owned(),
        Size {
            files: 3,
            bytes: 500_000_000,
            bytes_after: 510_000_000,
        },
    );
    results
}

#[test]
fn medians_and_the_best_peer() {
    let results = example();
    let full = Row::Time(Step::Full);
    assert_eq!(full.value(&results, "source", Tool::Repo), Some(3.0));
    assert_eq!(best_peer(&results, "source", full), Some(10.0));
    assert_eq!(against_best(&results, "source", full), Some(0.3));
    assert_eq!(best_peer(&results, "source", Row::Stored), Some(180e6));
    assert_eq!(against_best(&results, "source", Row::Stored), Some(0.5));
    assert_eq!(best_peer(&results, "source", Row::Added), Some(2e6));
    assert_eq!(against_best(&results, "source", Row::Added), Some(0.75));
    assert_eq!(
        against_best(&results, "source", Row::Time(Step::Verify)),
        None
    );
}

#[test]
fn the_table_has_ratio_target_and_verdict() {
    let text = markdown(&example());
    for line in [
        "| wall clock, stored bytes | restic | borg | repo | ratio | target |",
        "| full snapshot | **10.00 s** | 20.00 s | 3.00 s | 0.30x | 0.35x: met |",
        "| repository after full | 200 MB | **180 MB** | 90.00 MB | 0.50x | 0.75x: met |",
        "| added by the incremental | 3.00 MB | **2.00 MB** | 1.50 MB | 0.75x | 0.5x: **missed** |",
        "| full snapshot | 20.00 s, 50.00 MB | 40.00 s, 50.00 MB | 6.00 s, 50.00 MB |",
        "Peak memory of `repo`: at most 50.00 MB (incremental snapshot), target 160 MB: met. \
         Its index after full: 1.00 MB, 0.200 % of the source.",
    ] {
        assert!(
            text.lines().any(|have| have == line),
            "no line {line}\n{text}"
        );
    }
}

#[test]
fn without_repo_the_target_is_a_quantity() {
    let mut results = example();
    results.records.retain(|record| record.tool != Tool::Repo);
    let text = markdown(&results);
    assert!(
        text.contains("| full snapshot | **10.00 s** | 20.00 s | | 0.35x = 3.50 s |"),
        "{text}"
    );
    assert!(!text.contains("chart.svg"));
}

#[test]
fn merged_records_replace_those_of_the_same_tool_and_case() {
    let mut results = example();
    let newer = records(Tool::Repo, 0, &[(Step::Full, 1.0, 1)]);
    results.merge(Results {
        records: newer,
        ..Results::default()
    });
    assert_eq!(
        results
            .records
            .iter()
            .filter(|record| record.tool == Tool::Repo)
            .count(),
        1
    );
    assert_eq!(
        Row::Time(Step::Full).value(&results, "source", Tool::Repo),
        Some(1.0)
    );
    assert_eq!(
        Row::Time(Step::Full).value(&results, "source", Tool::Restic),
        Some(10.0)
    );
}
