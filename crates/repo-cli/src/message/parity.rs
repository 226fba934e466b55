//! Messages about parity.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use crate::show;

/// The end of `parity`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "parity_summary")]
pub(crate) struct ParitySummary {
    pub(crate) dry_run: bool,
    pub(crate) packs: u32,
    pub(crate) shards: u32,
    pub(crate) groups_kept: u64,
    pub(crate) groups_made: u64,
    pub(crate) packs_protected: u64,
    pub(crate) bytes_protected: u64,
    pub(crate) packs_unfit: u64,
    pub(crate) bytes_kept: u64,
    pub(crate) bytes_written: u64,
    pub(crate) deleted: u64,
    pub(crate) retained: u64,
    pub(crate) duration_ms: u64,
}

impl Display for ParitySummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            f.write_str("dry run, nothing written: ")?;
        }
        write!(
            f,
            "{} ({}) in {} of up to {}, any {} of which may be lost: {} made in {}; parity takes {}, \
             {} of it written now, {} deleted",
            show::count(self.packs_protected, "pack"),
            show::bytes(self.bytes_protected),
            show::count(self.groups_kept + self.groups_made, "group"),
            show::count(self.packs.into(), "pack"),
            self.shards,
            show::grouped(self.groups_made),
            show::duration(Duration::from_millis(self.duration_ms)),
            show::bytes(self.bytes_kept + self.bytes_written),
            show::bytes(self.bytes_written),
            show::count(self.deleted, "object"),
        )
    }
}
