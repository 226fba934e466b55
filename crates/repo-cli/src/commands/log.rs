//! `repo log`: what was done to the repository, newest first.

use clap::Args;
use repo_core::{LogEntry, SnapshotId};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::CommitMessage;
use crate::show;

/// Ids of a kind that a line names; of more it says how many.
const NAMED_MAX: usize = 20;

/// Arguments of `log`.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Show the newest N commits.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    number: usize,
}

pub(crate) async fn run(context: &Context, args: LogArgs) -> Result<Exit, Failure> {
    let repository = context.open().await?;
    for entry in repository.log(args.number).await? {
        context.output.show(&message(&entry))?;
    }
    Ok(Exit::Ok)
}

fn message(entry: &LogEntry) -> CommitMessage {
    let ids = |ids: &[SnapshotId]| ids.iter().map(SnapshotId::to_hex).collect();
    CommitMessage {
        number: entry.number,
        time: show::utc_time(entry.time_ms),
        action: entry.action.clone(),
        added: ids(&entry.added),
        removed: ids(&entry.removed),
        retagged: ids(&entry.retagged),
        protected: ids(&entry.protected),
        unprotected: ids(&entry.unprotected),
        indexes_added: entry.indexes_added,
        indexes_removed: entry.indexes_removed,
        condemned: entry.condemned,
        swept: entry.swept,
        shown: line(entry),
    }
}

fn line(entry: &LogEntry) -> String {
    let mut line = format!(
        "{:>6}  {}  {}",
        entry.number,
        show::local_time(entry.time_ms),
        show::path(entry.action.as_bytes())
    );
    let changes = [
        ("added", &entry.added),
        ("removed", &entry.removed),
        ("retagged", &entry.retagged),
        ("protected", &entry.protected),
        ("unprotected", &entry.unprotected),
    ];
    for (what, ids) in changes {
        if !ids.is_empty() {
            let ids: Vec<String> = ids.iter().map(show::short).collect();
            line.push_str(&format!("; {what} {}", show::some(&ids, NAMED_MAX)));
        }
    }
    let collected = [("condemned", entry.condemned), ("swept", entry.swept)];
    for (what, packs) in collected.into_iter().filter(|(_, packs)| *packs > 0) {
        line.push_str(&format!("; {what} {}", show::count(packs as u64, "pack")));
    }
    if entry.indexes_removed > 0 {
        let removed = show::count(entry.indexes_removed as u64, "index object");
        let added = show::grouped(entry.indexes_added as u64);
        line.push_str(&format!("; {removed} replaced by {added}"));
    }
    line
}
