//! `repo stats`: sums over the repository, what each snapshot needs, and growth as a chart.

mod chart;

use std::path::PathBuf;

use clap::Args;
use repo_core::{PathBytes, Repository, Snapshot, Usage};

use self::chart::{Point, svg};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::file;
use crate::message::{
    SnapshotUsageMessage, SourceUsageMessage, StatsMessage, TableUsageMessage, UsageMessage,
};
use crate::output::Output;
use crate::show;

/// Arguments of `stats`.
#[derive(Debug, Args)]
#[command(after_help = "\
What only one snapshot needs is what `repo gc` can free once it is forgotten.")]
pub(crate) struct StatsArgs {
    /// Find out what is saved, and what each source, table and snapshot alone needs; reads all trees.
    #[arg(short, long)]
    detail: bool,
    /// Draw growth over time into FILE.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: StatsArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    let stats = repository.stats().await?;
    context.output.show(&StatsMessage {
        id: repository.id().to_hex(),
        location: repository.location().to_owned(),
        encrypted: repository.encrypted(),
        snapshots: stats.snapshots,
        logical_bytes: stats.logical_bytes,
        blobs: stats.blobs,
        unique_bytes: stats.unique_bytes,
        packs: stats.packs,
        pack_bytes: stats.pack_bytes,
        indexes: stats.indexes,
        index_bytes: stats.index_bytes,
    })?;
    if args.detail {
        let usage = repository.usage(tables, context.progress()).await?;
        detail(context, &repository, &usage)?;
    }
    if let Some(path) = &args.svg {
        file::write(path, svg(&points(&repository)).as_bytes())?;
    }
    Ok(Exit::Ok)
}

/// Every snapshot, oldest first, and what was stored until then.
fn points(repository: &Repository) -> Vec<Point> {
    let mut snapshots = repository.snapshots();
    snapshots.sort_by_key(|known| known.snapshot.time_ms);
    let mut stored = 0;
    let point = |known: &repo_core::SnapshotRef| {
        let snapshot = &known.snapshot;
        stored += snapshot.stats.bytes_stored;
        Point {
            time_ms: snapshot.time_ms,
            source: (snapshot.host.clone(), snapshot.paths.clone()),
            bytes: snapshot.stats.bytes,
            stored,
        }
    };
    snapshots.iter().map(point).collect()
}

/// The tables in snapshots of tables, which are counted one by one.
fn tables(snapshot: &Snapshot) -> Option<&'static [u8]> {
    let holds = snapshot.source.as_deref() == Some(repo_tables::KIND);
    holds.then_some(repo_tables::TABLES.as_bytes())
}

fn detail(context: &Context, repository: &Repository, usage: &Usage) -> Result<(), Failure> {
    let output = &context.output;
    output.show(&UsageMessage::new(usage))?;
    if output.is_json() {
        for source in &usage.sources {
            output.message(&SourceUsageMessage::new(source))?;
        }
        for table in &usage.parts {
            output.message(&TableUsageMessage::new(table))?;
        }
        for snapshot in &usage.snapshots {
            output.message(&SnapshotUsageMessage::new(snapshot))?;
        }
        return Ok(());
    }
    let sources = usage.sources.iter().map(|source| {
        vec![
            show::path(source.host.as_bytes()),
            show::grouped(source.snapshots),
            show::bytes(source.logical_bytes),
            show::bytes(source.exclusive_bytes),
            show::bytes(source.exclusive_stored),
            paths(&source.paths),
        ]
    });
    let heading = ["HOST", "SNAPSHOTS", "FILES", "ALONE", "STORED", "PATHS"];
    table(output, &heading, sources.collect())?;
    let parts = usage.parts.iter().map(|part| {
        vec![
            show::path(&part.name),
            show::grouped(part.snapshots),
            show::bytes(part.logical_bytes),
            show::bytes(part.exclusive_bytes),
            show::bytes(part.exclusive_stored),
            show::path(part.host.as_bytes()),
            paths(&part.paths),
        ]
    });
    let heading = [
        "TABLE",
        "SNAPSHOTS",
        "FILES",
        "ALONE",
        "STORED",
        "HOST",
        "PATHS",
    ];
    table(output, &heading, parts.collect())?;
    let known = repository.snapshots();
    let snapshots = usage.snapshots.iter().filter_map(|usage| {
        let mut known = known.iter();
        let found = known.find(|known| known.snapshot.id() == usage.id)?;
        Some(vec![
            show::short(&usage.id),
            show::local_time(found.snapshot.time_ms),
            show::path(found.snapshot.host.as_bytes()),
            show::bytes(found.snapshot.stats.bytes),
            show::bytes(usage.exclusive_bytes),
            show::bytes(usage.exclusive_stored),
        ])
    });
    let heading = ["ID", "TIME", "HOST", "FILES", "ALONE", "STORED"];
    table(output, &heading, snapshots.collect())
}

fn paths(paths: &[PathBytes]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| show::path(&path.0)).collect();
    paths.join(", ")
}

/// Writes a table after an empty line, and nothing when it has no rows.
fn table(output: &Output, heading: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let right = ["SNAPSHOTS", "FILES", "ALONE", "STORED"];
    for line in show::table(heading, &right, &rows) {
        output.line(line)?;
    }
    Ok(())
}
