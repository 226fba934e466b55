//! Messages about what differs: what a restore changes, and two snapshots compared.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use super::PathFields;
use crate::show;

/// A change that a restore made, or would make.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "restore_plan")]
pub(crate) struct PlanMessage {
    /// `create`, `update` or `delete`.
    action: &'static str,
    #[serde(flatten)]
    path: PathFields,
    #[serde(skip)]
    shown: String,
}

impl PlanMessage {
    pub(crate) fn new(action: &'static str, sign: char, path: &[u8]) -> Self {
        Self {
            action,
            path: PathFields::new(path),
            shown: format!("{sign} {}", show::path(path)),
        }
    }
}

impl Display for PlanMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The end of `restore`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "restore_summary")]
pub(crate) struct RestoreSummary {
    pub(crate) id: String,
    pub(crate) target: String,
    pub(crate) dry_run: bool,
    pub(crate) files: u64,
    pub(crate) directories: u64,
    pub(crate) bytes_written: u64,
    pub(crate) bytes_kept: u64,
    pub(crate) deleted: u64,
    pub(crate) verified: bool,
    pub(crate) duration_ms: u64,
}

impl Display for RestoreSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let done = if self.dry_run {
            "would restore"
        } else {
            "restored"
        };
        write!(
            f,
            "{done} {} to {}: {}, {} written, {} already there",
            &self.id[..8],
            self.target,
            show::count(self.files, "file"),
            show::bytes(self.bytes_written),
            show::bytes(self.bytes_kept),
        )?;
        if self.deleted > 0 {
            write!(f, ", {} deleted", show::grouped(self.deleted))?;
        }
        if self.verified {
            f.write_str(", verified")?;
        }
        write!(
            f,
            " in {}",
            show::duration(Duration::from_millis(self.duration_ms))
        )
    }
}

/// A path that differs between two snapshots.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "change")]
pub(crate) struct ChangeMessage {
    /// `added`, `removed`, `content`, `metadata` or `type`.
    change: &'static str,
    #[serde(flatten)]
    path: PathFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines_added: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lines_removed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip)]
    shown: String,
}

impl ChangeMessage {
    /// Adds how the text of the file differs.
    pub(crate) fn set_lines(&mut self, added: u64, removed: u64, patch: Option<&str>) {
        self.lines_added = Some(added);
        self.lines_removed = Some(removed);
        self.patch = patch.map(str::to_owned);
    }

    pub(crate) fn new(
        (change, sign): (&'static str, char),
        path: &[u8],
        sizes: (Option<u64>, Option<u64>),
    ) -> Self {
        Self {
            change,
            path: PathFields::new(path),
            size_before: sizes.0,
            size_after: sizes.1,
            lines_added: None,
            lines_removed: None,
            patch: None,
            shown: format!("{sign} {}", show::path(path)),
        }
    }
}

impl Display for ChangeMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The end of `diff`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "diff_summary")]
pub(crate) struct DiffSummary {
    pub(crate) added: u64,
    pub(crate) removed: u64,
    pub(crate) changed: u64,
    pub(crate) added_bytes: u64,
    pub(crate) removed_bytes: u64,
}

impl Display for DiffSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} added, {} removed, {} changed; {} more, {} less",
            show::grouped(self.added),
            show::grouped(self.removed),
            show::grouped(self.changed),
            show::bytes(self.added_bytes),
            show::bytes(self.removed_bytes),
        )
    }
}
