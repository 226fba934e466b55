//! Messages about copies.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use crate::show;

/// A snapshot that was copied.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "copied")]
pub(crate) struct CopiedMessage {
    pub(crate) source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
}

impl Display for CopiedMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let source = &self.source[..8];
        match &self.target {
            Some(target) => write!(f, "snapshot {source} copied as {}", &target[..8]),
            None => write!(f, "snapshot {source} would be copied"),
        }
    }
}

/// The end of `copy`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "copy_summary")]
pub(crate) struct CopySummary {
    pub(crate) target: String,
    pub(crate) dry_run: bool,
    pub(crate) copied: u64,
    pub(crate) present: u64,
    pub(crate) failed: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_new: u64,
    pub(crate) bytes_stored: u64,
    pub(crate) duration_ms: u64,
}

impl Display for CopySummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.dry_run {
            f.write_str("dry run, nothing copied: ")?;
        }
        write!(
            f,
            "{} copied to {}, {} there already",
            show::count(self.copied, "snapshot"),
            self.target,
            show::grouped(self.present),
        )?;
        if self.failed > 0 {
            write!(f, ", {} NOT COPIED", show::grouped(self.failed))?;
        }
        write!(
            f,
            "; {} read, {} new, {} stored in {}",
            show::bytes(self.bytes_read),
            show::bytes(self.bytes_new),
            show::bytes(self.bytes_stored),
            show::duration(Duration::from_millis(self.duration_ms)),
        )
    }
}
