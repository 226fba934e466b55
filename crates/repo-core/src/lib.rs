//! A deduplicating, compressed, encrypted backup repository for data platforms.
//!
//! `repository` keeps blobs in packs, an index to find them, and a log whose commits are the
//! database; `archive` puts files and directories on top. Everything an embedder needs is
//! re-exported here.
//!
//! ```
//! use std::sync::Arc;
//!
//! use repo_core::{Access, CreateOptions, Quiet, Repository, RestoreOptions, SnapshotOptions, Store};
//!
//! # #[tokio::main(flavor = "multi_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! # let (source, target) = (scratch.path().join("source"), scratch.path().join("target"));
//! # std::fs::create_dir(&source)?;
//! # std::fs::write(source.join("numbers.txt"), "one two three")?;
//! let store = Store::open("memory://", &[])?;
//! let access = Access::password("correct horse");
//! let repo = Repository::create(store, &access, &CreateOptions::default()).await?;
//!
//! // Snapshot a directory.
//! let options = SnapshotOptions::default();
//! let report = repo.snapshot_paths(&[source], &options, Arc::new(Quiet)).await?;
//! let id = report.id.ok_or("a dry run saves nothing")?;
//!
//! // Read a byte range of one file without reading the rest.
//! let view = repo.view(&id)?;
//! let file = view.entry(b"numbers.txt").await?;
//! assert_eq!(view.read(&file, 4..7).await?, b"two");
//!
//! // Restore everything.
//! let options = RestoreOptions::default();
//! repo.restore(&view, b"", &target, &options, Arc::new(Quiet)).await?;
//! assert_eq!(std::fs::read(target.join("numbers.txt"))?, b"one two three");
//! # Ok(())
//! # }
//! ```

mod archive;
mod clock;
mod error;
mod limits;
mod progress;
mod repository;
mod retention;

pub use archive::*;
pub use error::{Error, Result};
pub use progress::{Finding, Progress, Quiet, Severity};
pub use repo_format::commit::SnapshotRef;
pub use repo_format::tree::{Entry, EntryType, FileKey, Timestamp, Totals, Xattr};
pub use repo_format::{
    BlobId, Cipher, Content, ErrorKind, Extent, IndexId, KeyId, PackId, PathBytes, RepositoryId,
    Snapshot, SnapshotId, SnapshotStats,
};
pub use repo_store::{LockMode, Store};
pub use repository::{
    Access, Amount, AttributeChange, CheckOptions, CheckReport, Coverage, CreateOptions, Cutting,
    ForgetOptions, Forgotten, GcOptions, GcReport, KeyEpoch, KeyInfo, LockFor, LogEntry, MaxUnused,
    OpenOptions, ParityOptions, ParityReport, ReadData, RepairOptions, RepairReport, Repository,
    RepositoryStats, Reseal, Retired, RotateOptions, Rotated,
};
pub use retention::{
    Calendar, ForgetGroup, ForgetPlan, GroupBy, GroupKey, KeepCount, KeepReason, KeepSpan, Period,
    PlannedSnapshot, Policy, plan_forget, plan_forget_ids,
};
