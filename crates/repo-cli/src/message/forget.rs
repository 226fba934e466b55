//! Messages of `forget`.

use std::fmt::{self, Display, Formatter};

use repo_core::{GroupKey, PlannedSnapshot};
use serde::Serialize;

use super::{hex, text_and_hex};
use crate::show;

/// A snapshot and what becomes of it.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "forget")]
pub(crate) struct ForgetMessage<'a> {
    action: &'static str,
    id: String,
    time: String,
    tags: &'a [String],
    reasons: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_paths: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_paths_hex: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_tags: Option<&'a [String]>,
}

impl<'a> ForgetMessage<'a> {
    pub(crate) fn new(planned: &'a PlannedSnapshot, group: &'a GroupKey) -> Self {
        let exact = group.paths.as_ref().map(|paths| {
            let exact = paths.iter().map(|path| text_and_hex(&path.0));
            exact.collect::<Vec<_>>()
        });
        let needs_hex = exact.iter().flatten().any(|(_, hex)| hex.is_some());
        let paths_hex = group.paths.as_ref().filter(|_| needs_hex);
        Self {
            action: if planned.is_kept() { "keep" } else { "remove" },
            id: planned.id().to_hex(),
            time: show::utc_time(planned.known.snapshot.time_ms),
            tags: &planned.known.tags,
            reasons: planned.keep.iter().map(ToString::to_string).collect(),
            group_host: group.host.as_deref(),
            group_paths: exact.map(|paths| paths.into_iter().map(|(text, _)| text).collect()),
            group_paths_hex: paths_hex.map(|paths| paths.iter().map(|p| hex(&p.0)).collect()),
            group_tags: group.tags.as_deref(),
        }
    }
}

/// The end of `forget`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "forget_summary")]
pub(crate) struct ForgetSummary {
    pub(crate) dry_run: bool,
    pub(crate) groups: u64,
    pub(crate) kept: u64,
    pub(crate) removed: u64,
    pub(crate) gone: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wal_removed: Option<u64>,
}

impl Display for ForgetSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let removed = show::count(self.removed, "snapshot");
        match (self.dry_run, self.commit) {
            (true, _) => write!(f, "dry run, nothing forgotten: {removed} would be")?,
            (false, Some(commit)) => write!(f, "{removed} forgotten by commit {commit}")?,
            (false, None) => f.write_str("no snapshot forgotten")?,
        }
        if self.gone > 0 {
            write!(f, ", {} forgotten meanwhile", show::grouped(self.gone))?;
        }
        if let Some(wal) = self.wal_removed {
            let wal = show::count(wal, "snapshot");
            write!(f, "; {wal} of WAL that nothing needs any more")?;
        }
        Ok(())
    }
}
