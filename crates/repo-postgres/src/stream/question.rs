//! What a server is asked for a backup, and how its short answers are read.

use crate::description::Database;
use crate::lsn::Lsn;
use crate::stream::about::{cell, unclear};
use crate::stream::backup::StreamOptions;
use crate::stream::client::{Client, Mode, Row};
use crate::stream::error::Result;

/// The question for a backup with all WAL that it needs.
pub(super) fn command(version: u32, fast: bool, changes: bool) -> String {
    if version >= 150_000 {
        let checkpoint = if fast { "fast" } else { "spread" };
        let changes = if changes { ", INCREMENTAL" } else { "" };
        return format!(
            "BASE_BACKUP (LABEL 'repo', CHECKPOINT '{checkpoint}', WAL, TABLESPACE_MAP, MANIFEST 'yes'{changes})"
        );
    }
    let fast = if fast { "FAST " } else { "" };
    format!("BASE_BACKUP LABEL 'repo' {fast}WAL TABLESPACE_MAP MANIFEST 'yes'")
}

/// A position in the WAL and its timeline.
pub(super) fn position(rows: &[Row]) -> Result<(Lsn, u32)> {
    let at = cell(rows, 0, 0).and_then(|text| text.parse().ok());
    let timeline = cell(rows, 0, 1).and_then(|text| text.parse().ok());
    at.zip(timeline).ok_or_else(unclear)
}

/// Tablespaces in the order in which they come, with their places; the data directory has no number.
pub(super) fn spaces(rows: &[Row]) -> Result<Vec<(Option<u32>, Option<String>)>> {
    let mut spaces = Vec::new();
    for row in rows {
        let oid = match row.first().cloned().flatten() {
            Some(oid) => Some(oid.parse().map_err(|_| unclear())?),
            None => None,
        };
        spaces.push((oid, row.get(1).cloned().flatten()));
    }
    Ok(spaces)
}

/// The databases, and whether they accept sessions.
pub(super) fn databases(from: &StreamOptions) -> Result<Vec<(Database, bool)>> {
    let mut client = Client::connect(&from.config, &from.user, Mode::Sql)?;
    let sql = "SELECT oid::text, datname, datallowconn::text FROM pg_database ORDER BY oid";
    let rows = client.query("list its databases", sql)?;
    (0..rows.len())
        .map(|at| {
            let oid = cell(&rows, at, 0).and_then(|oid| oid.parse().ok());
            let database = Database {
                oid: oid.ok_or_else(unclear)?,
                name: cell(&rows, at, 1).ok_or_else(unclear)?,
            };
            Ok((database, cell(&rows, at, 2).as_deref() == Some("true")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_is_asked_in_its_words() {
        assert!(command(140_009, true, false).contains("'repo' FAST WAL"));
        assert!(!command(130_000, false, false).contains("FAST"));
        assert!(command(150_000, true, false).starts_with("BASE_BACKUP (LABEL"));
        let changes = command(180_000, false, true);
        assert!(changes.contains("CHECKPOINT 'spread'") && changes.ends_with(", INCREMENTAL)"));
    }
}
