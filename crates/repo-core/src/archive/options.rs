//! What a snapshot is asked to do, and what it reports.

use std::path::Path;
use std::sync::Arc;

use repo_format::{Snapshot, SnapshotId};

use crate::progress::Finding;

/// Which earlier snapshot unchanged files are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Parent {
    /// The newest one of the same host and paths.
    #[default]
    Auto,
    /// None: every file is read and compared with the whole repository.
    None,
    /// This one.
    Id(SnapshotId),
}

/// Says whether a path is left out; the second argument tells a directory.
pub type Exclude = Arc<dyn Fn(&Path, bool) -> bool + Send + Sync>;

/// Choices of one snapshot.
#[derive(Clone)]
pub struct SnapshotOptions {
    /// Host to record.
    pub host: String,
    /// User to record.
    pub user: String,
    /// Tags to record.
    pub tags: Vec<String>,
    /// Time to record instead of now, in milliseconds since 1970, UTC.
    pub time_ms: Option<i64>,
    /// Free text to record.
    pub description: Option<String>,
    /// zstd level, 1 to 22.
    pub level: i32,
    /// Where unchanged files are taken from.
    pub parent: Parent,
    /// Read every file, also those that look unchanged; the parent still serves as delta base.
    pub force: bool,
    /// What to leave out.
    pub exclude: Option<Exclude>,
    /// Leave out the content of directories with a valid `CACHEDIR.TAG`.
    pub exclude_caches: bool,
    /// Do not enter other file systems than those of the given paths.
    pub one_file_system: bool,
    /// Do everything but write.
    pub dry_run: bool,
    /// What to say in the log.
    pub action: String,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self {
            host: String::new(),
            user: String::new(),
            tags: Vec::new(),
            time_ms: None,
            description: None,
            level: 3,
            parent: Parent::Auto,
            force: false,
            exclude: None,
            exclude_caches: false,
            one_file_system: false,
            dry_run: false,
            action: "snapshot".to_owned(),
        }
    }
}

/// What came of a snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotReport {
    /// Name of the new snapshot; `None` after a dry run.
    pub id: Option<SnapshotId>,
    /// The record.
    pub snapshot: Snapshot,
    /// What could not be read, changed while read, or was skipped.
    pub findings: Vec<Finding>,
}
