//! Messages about what snapshots need and share.

use std::fmt::{self, Display, Formatter};

use repo_core::{PartUsage, SnapshotUsage, SourceUsage, Usage};
use serde::Serialize;

use super::text_and_hex;
use crate::show;

/// What is saved, and how.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "usage")]
pub(crate) struct UsageMessage {
    logical_bytes: u64,
    data_bytes: u64,
    data_stored: u64,
    delta_bytes: u64,
    delta_stored: u64,
    tree_bytes: u64,
    tree_stored: u64,
    unneeded_stored: u64,
    saved_by_deduplication: u64,
    saved_by_compression: u64,
    saved_by_deltas: u64,
}

impl UsageMessage {
    pub(crate) fn new(usage: &Usage) -> Self {
        Self {
            logical_bytes: usage.logical_bytes,
            data_bytes: usage.data_bytes,
            data_stored: usage.data_stored,
            delta_bytes: usage.delta_bytes,
            delta_stored: usage.delta_stored,
            tree_bytes: usage.tree_bytes,
            tree_stored: usage.tree_stored,
            unneeded_stored: usage.unneeded_stored,
            saved_by_deduplication: usage.saved_by_deduplication(),
            saved_by_compression: usage.saved_by_compression(),
            saved_by_deltas: usage.saved_by_deltas(),
        }
    }
}

impl Display for UsageMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let stored = self.data_stored + self.delta_stored;
        writeln!(
            f,
            "content     {}, distinct {}, stored in {}",
            show::bytes(self.logical_bytes),
            show::bytes(self.data_bytes),
            show::bytes(stored),
        )?;
        writeln!(
            f,
            "saved       {} by deduplication, {} by compression, {} by deltas",
            show::bytes(self.saved_by_deduplication),
            show::bytes(self.saved_by_compression),
            show::bytes(self.saved_by_deltas),
        )?;
        write!(
            f,
            "trees       {}, stored in {}\nunneeded    {}",
            show::bytes(self.tree_bytes),
            show::bytes(self.tree_stored),
            show::bytes(self.unneeded_stored),
        )
    }
}

/// What one snapshot alone needs.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "snapshot_usage")]
pub(crate) struct SnapshotUsageMessage {
    id: String,
    exclusive_bytes: u64,
    exclusive_stored: u64,
}

impl SnapshotUsageMessage {
    pub(crate) fn new(usage: &SnapshotUsage) -> Self {
        Self {
            id: usage.id.to_hex(),
            exclusive_bytes: usage.exclusive_bytes,
            exclusive_stored: usage.exclusive_stored,
        }
    }
}

/// What the snapshots of one host and paths need.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "source_usage")]
pub(crate) struct SourceUsageMessage<'a> {
    host: &'a str,
    paths: Vec<String>,
    snapshots: u64,
    logical_bytes: u64,
    exclusive_bytes: u64,
    exclusive_stored: u64,
}

impl<'a> SourceUsageMessage<'a> {
    pub(crate) fn new(usage: &'a SourceUsage) -> Self {
        let paths = usage.paths.iter().map(|path| text_and_hex(&path.0).0);
        Self {
            host: &usage.host,
            paths: paths.collect(),
            snapshots: usage.snapshots,
            logical_bytes: usage.logical_bytes,
            exclusive_bytes: usage.exclusive_bytes,
            exclusive_stored: usage.exclusive_stored,
        }
    }
}

/// What one table of the snapshots of one host and paths needs.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "table_usage")]
pub(crate) struct TableUsageMessage<'a> {
    host: &'a str,
    paths: Vec<String>,
    name: String,
    snapshots: u64,
    logical_bytes: u64,
    exclusive_bytes: u64,
    exclusive_stored: u64,
}

impl<'a> TableUsageMessage<'a> {
    pub(crate) fn new(usage: &'a PartUsage) -> Self {
        let paths = usage.paths.iter().map(|path| text_and_hex(&path.0).0);
        Self {
            host: &usage.host,
            paths: paths.collect(),
            name: String::from_utf8_lossy(&usage.name).into_owned(),
            snapshots: usage.snapshots,
            logical_bytes: usage.logical_bytes,
            exclusive_bytes: usage.exclusive_bytes,
            exclusive_stored: usage.exclusive_stored,
        }
    }
}
