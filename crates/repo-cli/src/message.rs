//! The objects of `--json`, one a line, and the same results as text.
//!
//! Every object has a `message_type`; `JSON.md` beside this crate documents all of them, and a test
//! holds the program to it. Times are RFC 3339 in UTC, sizes are bytes, ids are in full. A path that
//! is not UTF-8 appears in `path` with replacement characters and exactly, as hexadecimal bytes, in
//! `path_hex`; the same holds for `target` and `paths`.

use std::fmt::{self, Display, Formatter, Write as _};
use std::time::Duration;

use repo_core::{Entry, EntryType, Finding, Severity, Snapshot, SnapshotId, SnapshotRef};
use serde::Serialize;

use crate::show;

mod change;
mod copy;
mod find;
mod forget;
mod gc;
mod locks;
mod mount;
mod parity;
mod postgres;
mod repair;
mod repository;
mod table;
mod usage;

pub(crate) use change::{ChangeMessage, DiffSummary, PlanMessage, RestoreSummary};
pub(crate) use copy::{CopiedMessage, CopySummary};
pub(crate) use find::{FindSummary, FoundMessage};
pub(crate) use forget::{ForgetMessage, ForgetSummary};
pub(crate) use gc::{GcSummary, UndoSummary};
pub(crate) use locks::{LocksSummary, SnapshotLockMessage};
pub(crate) use mount::MountMessage;
pub(crate) use parity::ParitySummary;
pub(crate) use postgres::{ClusterMessage, OpenedMessage, RelationMessage, WalMessage};
pub(crate) use repair::RepairSummary;
pub(crate) use repository::{
    CheckSummary, CommitMessage, CoverageFields, CreatedMessage, KeyChangeMessage, KeyEpochMessage,
    KeyMessage, KeyRetirementMessage, KeyRotationMessage, StatsMessage, TagsMessage,
};
pub(crate) use usage::{SnapshotUsageMessage, SourceUsageMessage, TableUsageMessage, UsageMessage};

pub(crate) use table::{
    ArchivedMessage, DrillMessage, ExportedMessage, ManifestMessage, RegisteredMessage,
    SavedTableMessage, TableDiffMessage, TableRestoredMessage,
};

/// The end of a failed command, on standard error.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "error")]
pub(crate) struct ErrorMessage<'a> {
    pub(crate) code: u8,
    pub(crate) message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<&'a str>,
}

/// Something to know, on standard error.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "warning")]
pub(crate) struct WarningMessage<'a> {
    pub(crate) message: &'a str,
}

/// A path in an object.
#[derive(Serialize)]
pub(crate) struct PathFields {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl PathFields {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let (path, path_hex) = text_and_hex(bytes);
        Self { path, path_hex }
    }
}

fn text_and_hex(bytes: &[u8]) -> (String, Option<String>) {
    match str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (
            String::from_utf8_lossy(bytes).into_owned(),
            Some(hex(bytes)),
        ),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// A snapshot of the repository.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "snapshot")]
pub(crate) struct SnapshotMessage<'a> {
    id: String,
    time: String,
    host: &'a str,
    user: &'a str,
    paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paths_hex: Option<Vec<String>>,
    tags: &'a [String],
    protected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<String>,
    program: &'a str,
    #[serde(flatten)]
    counts: Counts,
}

impl<'a> From<&'a SnapshotRef> for SnapshotMessage<'a> {
    fn from(known: &'a SnapshotRef) -> Self {
        let snapshot = &known.snapshot;
        let exact: Vec<_> = snapshot
            .paths
            .iter()
            .map(|path| text_and_hex(&path.0))
            .collect();
        let paths_hex = exact.iter().any(|(_, hex)| hex.is_some());
        Self {
            id: snapshot.id().to_hex(),
            time: show::utc_time(snapshot.time_ms),
            host: &snapshot.host,
            user: &snapshot.user,
            paths: exact.into_iter().map(|(text, _)| text).collect(),
            paths_hex: paths_hex.then(|| snapshot.paths.iter().map(|path| hex(&path.0)).collect()),
            tags: &known.tags,
            protected: known.is_protected(),
            description: snapshot.description.as_deref(),
            parent: snapshot.parent.map(|id| id.to_hex()),
            source: snapshot.source.as_deref(),
            original: snapshot.original.map(|id| id.to_hex()),
            program: &snapshot.program,
            counts: Counts::of(snapshot),
        }
    }
}

/// What a snapshot holds and cost.
#[derive(Serialize)]
struct Counts {
    files: u64,
    directories: u64,
    bytes: u64,
    files_changed: u64,
    bytes_new: u64,
    bytes_stored: u64,
    unread: u64,
    duration_ms: u64,
}

impl Counts {
    fn of(snapshot: &Snapshot) -> Self {
        let stats = snapshot.stats;
        Self {
            files: stats.files,
            directories: stats.directories,
            bytes: stats.bytes,
            files_changed: stats.files_changed,
            bytes_new: stats.bytes_new,
            bytes_stored: stats.bytes_stored,
            unread: stats.unread,
            duration_ms: snapshot.duration_ms,
        }
    }
}

/// The end of `snapshot`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "snapshot_summary")]
pub(crate) struct SnapshotSummary {
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(flatten)]
    counts: Counts,
}

impl SnapshotSummary {
    /// Sums up a snapshot; without an id it was a dry run.
    pub(crate) fn new(id: Option<SnapshotId>, snapshot: &Snapshot) -> Self {
        Self {
            dry_run: id.is_none(),
            id: id.map(|id| id.to_hex()),
            parent: snapshot.parent.map(|id| id.to_hex()),
            counts: Counts::of(snapshot),
        }
    }
}

impl Display for SnapshotSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        match &self.id {
            Some(id) => write!(f, "snapshot {} saved: ", &id[..8])?,
            None => f.write_str("dry run, nothing saved: ")?,
        }
        write!(
            f,
            "{}, {} ({} new, {} stored) in {}",
            show::count(counts.files, "file"),
            show::bytes(counts.bytes),
            show::bytes(counts.bytes_new),
            show::bytes(counts.bytes_stored),
            show::duration(Duration::from_millis(counts.duration_ms)),
        )
    }
}

/// An entry of a snapshot.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "entry")]
pub(crate) struct EntryMessage<'a> {
    #[serde(flatten)]
    path: PathFields,
    #[serde(rename = "type")]
    kind: &'static str,
    mode: u32,
    uid: u32,
    gid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    size: u64,
    mtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_hex: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    torn: bool,
}

impl<'a> EntryMessage<'a> {
    pub(crate) fn new(path: &[u8], entry: &'a Entry) -> Self {
        let (target, target_hex) = match entry.target.as_deref().map(text_and_hex) {
            Some((text, hex)) => (Some(text), hex),
            None => (None, None),
        };
        Self {
            path: PathFields::new(path),
            kind: kind_name(entry.kind),
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            user: entry.user.as_deref(),
            group: entry.group.as_deref(),
            size: entry.size,
            mtime: exact_time(entry.mtime),
            target,
            target_hex,
            torn: entry.torn == Some(true),
        }
    }
}

pub(crate) fn kind_name(kind: EntryType) -> &'static str {
    match kind {
        EntryType::File => "file",
        EntryType::Directory => "directory",
        EntryType::Symlink => "symlink",
        EntryType::Fifo => "fifo",
        EntryType::CharDevice => "char_device",
        EntryType::BlockDevice => "block_device",
    }
}

fn exact_time(time: repo_core::Timestamp) -> String {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    match jiff::Timestamp::new(time.seconds, nanos) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{} s", time.seconds),
    }
}

/// An observation made while working.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "finding")]
pub(crate) struct FindingMessage<'a> {
    severity: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    path: Option<PathFields>,
    message: &'a str,
    #[serde(skip)]
    shown: String,
}

impl<'a> From<&'a Finding> for FindingMessage<'a> {
    fn from(finding: &'a Finding) -> Self {
        let severity = match finding.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Damage => "damage",
        };
        let message = finding.message.as_str();
        Self {
            severity,
            path: finding.path.as_deref().map(PathFields::new),
            message,
            shown: match &finding.path {
                Some(path) => format!("{severity}: {}: {message}", show::path(path)),
                None => format!("{severity}: {message}"),
            },
        }
    }
}

impl Display for FindingMessage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests;
