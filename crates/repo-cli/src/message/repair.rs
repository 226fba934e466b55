//! Messages about repairs.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use crate::show;

/// The end of `repair`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "repair_summary")]
pub(crate) struct RepairSummary {
    pub(crate) dry_run: bool,
    pub(crate) indexes: u64,
    pub(crate) indexes_removed: u64,
    pub(crate) indexes_added: u64,
    pub(crate) packs: u64,
    pub(crate) packs_indexed: u64,
    pub(crate) packs_harmed: u64,
    pub(crate) packs_replaced: u64,
    pub(crate) blobs_salvaged: u64,
    pub(crate) blobs_recovered: u64,
    pub(crate) bytes_stored: u64,
    pub(crate) damage: u64,
    pub(crate) duration_ms: u64,
}

impl Display for RepairSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            f.write_str("dry run, nothing written: ")?;
        }
        write!(
            f,
            "looked at {} and {}: {} replaced by {}, {} entered, {} harmed and {} of these replaced, \
             {} salvaged, {} recovered, {} stored in {}",
            show::count(self.indexes, "index object"),
            show::count(self.packs, "pack"),
            show::count(self.indexes_removed, "index object"),
            show::grouped(self.indexes_added),
            show::count(self.packs_indexed, "pack"),
            show::grouped(self.packs_harmed),
            show::grouped(self.packs_replaced),
            show::count(self.blobs_salvaged, "blob"),
            show::grouped(self.blobs_recovered),
            show::bytes(self.bytes_stored),
            show::duration(Duration::from_millis(self.duration_ms)),
        )
    }
}
