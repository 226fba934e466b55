//! Messages about retention locks.

use std::fmt::{self, Display, Formatter};

use repo_core::{LockMode, LocksReport, SnapshotLock};
use serde::Serialize;

use crate::show;

const DAY_MS: u64 = 86_400_000;

/// Until when a snapshot is safe.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "snapshot_lock")]
pub(crate) struct SnapshotLockMessage {
    id: String,
    time: String,
    locked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_until: Option<String>,
    weakest: String,
    #[serde(skip)]
    shown: String,
}

impl SnapshotLockMessage {
    pub(crate) fn new(found: &SnapshotLock, now_ms: i64) -> Self {
        let locked = found.until_ms.is_some_and(|until_ms| until_ms > now_ms);
        let state = match found.until_ms {
            Some(until_ms) if locked => format!("locked until {}", show::local_time(until_ms)),
            Some(until_ms) => format!(
                "no longer locked since {}: {}",
                show::local_time(until_ms),
                found.weakest
            ),
            None => format!("not locked: {}", found.weakest),
        };
        let time = show::local_time(found.time_ms);
        Self {
            id: found.id.to_hex(),
            time: show::utc_time(found.time_ms),
            locked,
            locked_until: found.until_ms.map(show::utc_time),
            weakest: found.weakest.clone(),
            shown: format!("snapshot {} of {time}: {state}", show::short(&found.id)),
        }
    }
}

impl Display for SnapshotLockMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The end of `check --locks`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "locks_summary")]
pub(crate) struct LocksSummary {
    snapshots: u64,
    locked: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock_for_ms: Option<u64>,
}

impl LocksSummary {
    pub(crate) fn new(report: &LocksReport) -> Self {
        let locked = report.snapshots.iter().filter(|found| {
            found
                .until_ms
                .is_some_and(|until_ms| until_ms > report.now_ms)
        });
        Self {
            snapshots: report.snapshots.len() as u64,
            locked: locked.count() as u64,
            mode: report.lock.map(|lock| match lock.mode {
                LockMode::Governance => "governance",
                LockMode::Compliance => "compliance",
            }),
            lock_for_ms: report.lock.map(|lock| lock.for_ms),
        }
    }
}

impl Display for LocksSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let snapshots = show::count(self.snapshots, "snapshot");
        write!(f, "{} of {snapshots} locked; ", show::grouped(self.locked))?;
        match (self.mode, self.lock_for_ms) {
            (Some(mode), Some(ms)) => {
                let hours = ms / (DAY_MS / 24);
                let time = match hours % 24 {
                    0 => format!("{} d", hours / 24),
                    _ => format!("{hours} h"),
                };
                write!(f, "the repository locks each for {time}, in {mode} mode")
            }
            _ => f.write_str("the repository locks nothing by itself"),
        }
    }
}
