//! Messages about clusters of Postgres.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use repo_core::SnapshotRef;
use repo_postgres::wal::{Segment, TimelineWal};
use repo_postgres::{Description, Lsn, SizedRelation};
use serde::Serialize;

use crate::show;

/// A server that runs on a snapshot.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "pg_open")]
pub(crate) struct OpenedMessage<'a> {
    pub(crate) id: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: &'a str,
    pub(crate) pid: u32,
    pub(crate) duration_ms: u64,
}

impl Display for OpenedMessage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            host, port, user, ..
        } = self;
        writeln!(f, "psql -h {host} -p {port} -U {user} -d postgres")?;
        let took = show::duration(Duration::from_millis(self.duration_ms));
        write!(
            f,
            "it answers after {took}; Ctrl-C ends it and discards what it wrote"
        )
    }
}

/// A snapshot of a cluster.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "pg_snapshot")]
pub(crate) struct ClusterMessage<'a> {
    id: String,
    time: String,
    host: &'a str,
    pgdata: &'a str,
    system_identifier: &'a str,
    version: u32,
    timeline: u32,
    start_lsn: String,
    stop_lsn: String,
    standby: bool,
    checksums: bool,
    bytes: u64,
    databases: Vec<&'a str>,
    corrupt_pages: u64,
    #[serde(skip)]
    time_ms: i64,
}

impl<'a> ClusterMessage<'a> {
    pub(crate) fn new(known: &'a SnapshotRef, cluster: &'a Description) -> Self {
        let (snapshot, databases) = (&known.snapshot, cluster.databases.iter());
        Self {
            id: snapshot.id().to_hex(),
            time: show::utc_time(snapshot.time_ms),
            host: &snapshot.host,
            pgdata: &cluster.pgdata,
            system_identifier: &cluster.system_identifier,
            version: cluster.version,
            timeline: cluster.timeline,
            start_lsn: cluster.start_lsn.to_string(),
            stop_lsn: cluster.stop_lsn.to_string(),
            standby: cluster.standby,
            checksums: cluster.checksums,
            bytes: snapshot.stats.bytes,
            databases: databases.map(|database| database.name.as_str()).collect(),
            corrupt_pages: cluster.corrupt_pages.len() as u64,
            time_ms: snapshot.time_ms,
        }
    }

    /// The cells of a table.
    pub(crate) fn row(&self) -> Vec<String> {
        vec![
            self.id[..8].to_owned(),
            show::local_time(self.time_ms),
            format!("{}.{}", self.version / 10_000, self.version % 10_000),
            self.timeline.to_string(),
            self.start_lsn.clone(),
            self.stop_lsn.clone(),
            show::bytes(self.bytes),
            show::grouped(self.corrupt_pages),
        ]
    }
}

/// The archived WAL of one timeline of a cluster.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "pg_wal")]
pub(crate) struct WalMessage {
    system_identifier: String,
    timeline: u32,
    segment_size: u64,
    ranges: Vec<WalSpan>,
    /// What is missing between them.
    gaps: Vec<WalSpan>,
}

/// Segments that follow each other.
#[derive(Serialize)]
struct WalSpan {
    first: String,
    last: String,
    start_lsn: String,
    end_lsn: String,
    segments: u64,
}

impl WalSpan {
    fn new((first, last): (Segment, Segment), (start, end): (u64, u64), size: u64) -> Self {
        Self {
            segments: end.saturating_sub(start) / size.max(1),
            first: first.to_string(),
            last: last.to_string(),
            start_lsn: Lsn(start).to_string(),
            end_lsn: Lsn(end).to_string(),
        }
    }
}

impl WalMessage {
    pub(crate) fn new(wal: &TimelineWal) -> Self {
        let ranges = wal.ranges.iter();
        let gaps = wal.missing().zip(wal.gaps());
        Self {
            system_identifier: wal.system.to_string(),
            timeline: wal.timeline,
            segment_size: wal.segment_size,
            ranges: ranges
                .map(|range| {
                    let (segments, positions) =
                        ((range.first, range.last), (range.start, range.end));
                    WalSpan::new(segments, positions, wal.segment_size)
                })
                .collect(),
            gaps: gaps
                .map(|(segments, positions)| WalSpan::new(segments, positions, wal.segment_size))
                .collect(),
        }
    }

    /// The rows of a table: ranges, and gaps between them.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        for (at, range) in self.ranges.iter().enumerate() {
            if let Some(gap) = at.checked_sub(1).and_then(|before| self.gaps.get(before)) {
                rows.push(self.row(gap, "missing".to_owned()));
            }
            rows.push(self.row(range, show::grouped(range.segments)));
        }
        rows
    }

    fn row(&self, span: &WalSpan, segments: String) -> Vec<String> {
        vec![
            self.system_identifier.clone(),
            self.timeline.to_string(),
            span.first.clone(),
            span.last.clone(),
            segments,
        ]
    }
}

/// A relation in a snapshot of a cluster.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "pg_relation")]
pub(crate) struct RelationMessage<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    schema: &'a str,
    name: &'a str,
    kind: &'static str,
    bytes: u64,
    path: &'a str,
}

impl<'a> RelationMessage<'a> {
    pub(crate) fn new(sized: &'a SizedRelation) -> Self {
        let relation = &sized.relation;
        Self {
            database: relation.database.as_deref(),
            schema: &relation.schema,
            name: &relation.name,
            kind: match relation.kind.as_str() {
                "r" => "table",
                "i" => "index",
                "S" => "sequence",
                "t" => "toast",
                "m" => "materialized_view",
                _ => "other",
            },
            bytes: sized.bytes,
            path: &relation.path,
        }
    }

    /// The cells of a table.
    pub(crate) fn row(&self) -> Vec<String> {
        let text = |text: &str| show::path(text.as_bytes());
        vec![
            self.database.map_or("-".to_owned(), text),
            text(self.schema),
            text(self.name),
            self.kind.to_owned(),
            show::bytes(self.bytes),
            text(self.path),
        ]
    }
}
