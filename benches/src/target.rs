//! The rows of the report and what the project promises on each, as a ratio to the best peer.

use crate::run::Results;
use crate::stats::{float, median};
use crate::tool::{Step, Tool};

/// Peak memory that no command of `repo` may pass, in bytes.
pub(crate) const PEAK_BYTES_MAX: f64 = 160e6;

/// A line of the report: how long a step takes, or how much is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    Time(Step),
    Stored,
    Added,
}

impl Row {
    pub(crate) const ALL: [Self; 8] = [
        Self::Time(Step::Full),
        Self::Time(Step::Unchanged),
        Self::Time(Step::Incremental),
        Self::Time(Step::Restore),
        Self::Time(Step::RestoreInPlace),
        Self::Time(Step::Verify),
        Self::Stored,
        Self::Added,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Time(step) => step.name(),
            Self::Stored => "repository after full",
            Self::Added => "added by the incremental",
        }
    }

    /// The median over all runs, in seconds or bytes.
    pub(crate) fn value(self, results: &Results, case: &str, tool: Tool) -> Option<f64> {
        let stored = |run, wanted: Step| {
            let mut records = of(results, case, tool).filter(|record| record.run == run);
            records
                .find(|record| record.step == wanted)
                .map(|record| float(record.repository_bytes))
        };
        let values: Vec<f64> = match self {
            Self::Time(step) => of(results, case, tool)
                .filter(|record| record.step == step)
                .map(|record| record.wall_s)
                .collect(),
            Self::Stored => runs(results)
                .filter_map(|run| stored(run, Step::Full))
                .collect(),
            Self::Added => runs(results)
                .filter_map(|run| {
                    let before =
                        stored(run, Step::Unchanged).or_else(|| stored(run, Step::Full))?;
                    Some(stored(run, Step::Incremental)? - before)
                })
                .collect(),
        };
        median(&values)
    }

    /// The ratio to the best peer that is to be reached.
    pub(crate) fn target(self, case: &str) -> Option<f64> {
        let column = match case {
            "source" => 0,
            "postgres" => 1,
            "lakehouse" => 2,
            _ => return rewrite_target(self, case),
        };
        let row = match self {
            Self::Time(Step::Init) => return None,
            Self::Time(Step::Full) => [0.35, 0.6, 0.5],
            Self::Time(Step::Unchanged) => [0.25, 0.7, 0.8],
            Self::Time(Step::Incremental) => [0.35, 0.7, 0.7],
            Self::Time(Step::Restore) => [0.35, 0.6, 0.7],
            Self::Time(Step::RestoreInPlace) => [0.35, 0.7, 0.7],
            Self::Time(Step::Verify) => [0.7, 0.6, 0.6],
            Self::Stored => [0.75, 1.0, 1.0],
            Self::Added => [0.5, 0.45, 0.97],
        };
        row.get(column).copied()
    }
}

fn rewrite_target(row: Row, case: &str) -> Option<f64> {
    match (row, case) {
        (Row::Added, "zstd-plain, 1% deleted") => Some(0.6),
        (Row::Added, "zstd-cdc, 1% deleted") => Some(0.3),
        (Row::Added, "zstd-plain, compacted") => Some(0.75),
        (Row::Added, "zstd-cdc, compacted") => Some(0.55),
        _ => None,
    }
}

/// The records of one tool on one case.
pub(crate) fn of<'a>(
    results: &'a Results,
    case: &'a str,
    tool: Tool,
) -> impl Iterator<Item = &'a crate::run::Record> + use<'a> {
    results
        .records
        .iter()
        .filter(move |record| record.case == case && record.tool == tool)
}

fn runs(results: &Results) -> std::ops::Range<u32> {
    0..results
        .records
        .iter()
        .map(|record| record.run + 1)
        .max()
        .unwrap_or(0)
}
