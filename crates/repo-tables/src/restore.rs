//! Makes a table of a snapshot again, at its own place or another.
//!
//! What a reader finds a table by is written last, after the files it leads to; on this machine's disk a
//! table that was not there appears in one step. Objects that are right already are kept. Nothing of
//! another table, or of a newer version, is overwritten unless that is asked for.

mod delta;
mod iceberg;
mod moving;
mod write;

pub(crate) use iceberg::on_thread;
pub(crate) use moving::{Mode, Moving, moved_place};
pub(crate) use write::same_bytes;

use std::path::Path;
use std::sync::Arc;

use repo_core::{Progress, Repository, RestoreOptions, Severity, SnapshotView};

use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::location::Location;
use crate::record::{FileRecord, TABLES, TableRecord};
use crate::saved::read_files;
use crate::table::Format;

/// What a restore of one table did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredTable {
    /// Where the table is now.
    pub target: Location,
    /// What a catalog would point to.
    pub metadata_location: Option<Location>,
    /// Files of it.
    pub files: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// Bytes that were right already.
    pub bytes_kept: u64,
}

/// Which identity an Iceberg table gets at another place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Identity {
    /// Another one, the same whenever the table is restored there: it lives beside the first.
    #[default]
    New,
    /// That of the table, which it replaces.
    Keep,
}

/// A table of a snapshot, and where it is to be.
pub struct TableRestore<'r> {
    /// The repository of the snapshot.
    pub repository: &'r Repository,
    /// The snapshot.
    pub view: &'r SnapshotView,
    /// The table.
    pub table: &'r TableRecord,
    /// Its place, which may be the one it had.
    pub target: &'r Location,
    /// Replace another table, or a newer version, that is there.
    pub force: bool,
}

impl TableRestore<'_> {
    /// Restores the table.
    pub async fn run(&self, lake: &Lake, progress: Arc<dyn Progress>) -> Result<RestoredTable> {
        self.run_as(lake, Identity::New, progress).await
    }

    /// Restores the table with an identity of choice.
    pub async fn run_as(
        &self,
        lake: &Lake,
        identity: Identity,
        progress: Arc<dyn Progress>,
    ) -> Result<RestoredTable> {
        let files = read_files(self.view, &self.table.name).await?;
        if self.table.format == Format::Iceberg {
            return self.iceberg(lake, files, identity, progress).await;
        }
        let in_place = Location::parse(&self.table.location)? == *self.target;
        let (inside, outside): (Vec<_>, Vec<_>) = files
            .into_iter()
            .partition(|file| file.path.starts_with("table/"));
        if let Some(file) = outside.first().filter(|_| !in_place) {
            return Err(self.refuse(&format!(
                "its log refers to {} outside of it, so that it works at its own place only",
                file.url
            )));
        }
        let job = self.job(lake, inside, outside)?;
        let ready = blocking(Arc::clone(&job), |job| job.clear()).await?;
        let restored = match (self.target.local(), job.outside.is_empty()) {
            (Some(path), true) if lake.file(self.target).is_some() => {
                self.local(&path, ready, progress).await?
            }
            _ => blocking(job, move |job| job.write(progress.as_ref())).await?,
        };
        Ok(restored)
    }

    fn job(
        &self,
        lake: &Lake,
        inside: Vec<FileRecord>,
        outside: Vec<FileRecord>,
    ) -> Result<Arc<write::Job>> {
        let mut files = Vec::with_capacity(inside.len() + outside.len());
        for file in inside {
            let below = file.path.strip_prefix("table/").unwrap_or_default();
            files.push((self.target.join(below)?, file));
        }
        let mut elsewhere = Vec::new();
        for file in outside {
            elsewhere.push((Location::parse(&file.url)?, file));
        }
        Ok(Arc::new(write::Job {
            lake: lake.clone(),
            runtime: tokio::runtime::Handle::current(),
            view: self.view.clone(),
            table: self.table.clone(),
            target: self.target.clone(),
            force: self.force,
            inside: files,
            outside: elsewhere,
        }))
    }

    /// Restores on this machine's disk, where the repository's own restore writes only what differs.
    async fn local(
        &self,
        target: &Path,
        ready: write::Ready,
        progress: Arc<dyn Progress>,
    ) -> Result<RestoredTable> {
        let failed = |error: std::io::Error| Error::Object {
            operation: "write",
            url: self.target.to_string(),
            source: error.into(),
        };
        let source = format!("{TABLES}/{}/table", self.table.name);
        let fresh = ready == write::Ready::Fresh && !target.exists();
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(self.refuse("it cannot replace the root of a file system"));
        };
        let written = match fresh {
            // A run that was stopped left it, and this one carries on.
            true => parent.join(format!(".{}.repo-restore", name.to_string_lossy())),
            false => target.to_owned(),
        };
        std::fs::create_dir_all(&written).map_err(failed)?;
        let options = RestoreOptions::default();
        let restoring =
            self.repository
                .restore(self.view, source.as_bytes(), &written, &options, progress);
        let report = restoring.await?;
        let bad = report
            .findings
            .iter()
            .find(|finding| finding.severity > Severity::Note);
        if let Some(finding) = bad {
            return Err(Error::Object {
                operation: "restore",
                url: self.target.to_string(),
                source: finding.to_string().into(),
            });
        }
        if fresh {
            std::fs::rename(&written, target).map_err(failed)?;
        }
        Ok(RestoredTable {
            target: self.target.clone(),
            metadata_location: None,
            files: report.files,
            bytes_written: report.bytes_written,
            bytes_kept: report.bytes_kept,
        })
    }

    fn refuse(&self, reason: &str) -> Error {
        Error::Unsupported {
            table: self.table.name.clone(),
            reason: reason.to_owned(),
        }
    }
}

/// Runs what blocks on a thread that may.
async fn blocking<T: Send + 'static>(
    job: Arc<write::Job>,
    work: impl FnOnce(&write::Job) -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(move || work(&job)).await;
    done.map_err(|error| Error::Object {
        operation: "restore",
        url: "a table".to_owned(),
        source: error.into(),
    })?
}
