//! `repo snapshots`: lists snapshots, oldest first.

use std::collections::BTreeMap;

use clap::Args;
use repo_core::SnapshotRef;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::SnapshotMessage;
use crate::select::Filter;
use crate::show;

/// Arguments of `snapshots`.
#[derive(Debug, Args)]
pub(crate) struct SnapshotsArgs {
    #[command(flatten)]
    filter: Filter,
    /// List the newest N of each host and paths only.
    #[arg(long, value_name = "N")]
    latest: Option<usize>,
    /// List the snapshots of the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: SnapshotsArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    let mut snapshots = repository.snapshots();
    snapshots.retain(|known| args.filter.matches(known));
    snapshots.sort_by_key(|known| known.snapshot.time_ms);
    if let Some(newest) = args.latest {
        snapshots = newest_of_each(snapshots, newest);
    }
    let output = &context.output;
    if output.is_json() {
        for known in &snapshots {
            output.message(&SnapshotMessage::from(known))?;
        }
        return Ok(Exit::Ok);
    }
    let rows: Vec<_> = snapshots.iter().map(row).collect();
    let heading = ["ID", "TIME", "HOST", "TAGS", "FILES", "SIZE", "PATHS"];
    for line in show::table(&heading, &["FILES", "SIZE"], &rows) {
        output.line(line)?;
    }
    output.line(show::count(rows.len() as u64, "snapshot"))?;
    Ok(Exit::Ok)
}

fn row(known: &SnapshotRef) -> Vec<String> {
    let snapshot = &known.snapshot;
    let mut paths: Vec<_> = snapshot
        .paths
        .iter()
        .map(|path| show::path(&path.0))
        .collect();
    if let Some(description) = &snapshot.description {
        paths.push(format!("({})", show::path(description.as_bytes())));
    }
    vec![
        show::short(&snapshot.id()),
        show::local_time(snapshot.time_ms),
        show::path(snapshot.host.as_bytes()),
        tags(known),
        show::grouped(snapshot.stats.files),
        show::bytes(snapshot.stats.bytes),
        paths.join(", "),
    ]
}

/// Its tags, and whether it is protected.
fn tags(known: &SnapshotRef) -> String {
    let tags = show::path(known.tags.join(",").as_bytes());
    match (known.is_protected(), tags.is_empty()) {
        (false, _) => tags,
        (true, true) => "[protected]".to_owned(),
        (true, false) => format!("{tags} [protected]"),
    }
}

/// Keeps the last `newest` of each host and paths, in the same order.
fn newest_of_each(snapshots: Vec<SnapshotRef>, newest: usize) -> Vec<SnapshotRef> {
    let mut kept = BTreeMap::new();
    let mut chosen: Vec<SnapshotRef> = Vec::new();
    for known in snapshots.into_iter().rev() {
        let group = (known.snapshot.host.clone(), known.snapshot.paths.clone());
        let count = kept.entry(group).or_insert(0);
        if *count < newest {
            *count += 1;
            chosen.push(known);
        }
    }
    chosen.reverse();
    chosen
}
