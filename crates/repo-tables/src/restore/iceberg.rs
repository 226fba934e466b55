//! Restores Iceberg tables: at their own place with the bytes they had, at another with its locations in
//! every file that holds some.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repo_core::{Progress, RestoreOptions, Severity};

use super::moving::{Mode, Moving};
use super::write::Ready;
use super::{Identity, RestoredTable, TableRestore};
use crate::discover::format;
use crate::error::{Error, Result};
use crate::iceberg::{engine, version_of};
use crate::lake::Lake;
use crate::location::Location;
use crate::record::{FileRecord, TABLES};
use crate::table::{FileKind, Format};

impl TableRestore<'_> {
    pub(super) async fn iceberg(
        &self,
        lake: &Lake,
        files: Vec<FileRecord>,
        identity: Identity,
        progress: Arc<dyn Progress>,
    ) -> Result<RestoredTable> {
        let (view, table, target) = (self.view.clone(), self.table.clone(), self.target.clone());
        let (lake, force) = (lake.clone(), self.force);
        let runtime = tokio::runtime::Handle::current();
        let opened = Arc::clone(&progress);
        let (moving, ready) = on_thread(target.clone(), move || {
            let mode = Mode::Write { force };
            let moving = Moving::open(
                lake, runtime, view, table, target, files, identity, mode, opened,
            )?;
            let ready = moving.clear()?;
            Ok((moving, ready))
        })
        .await?;
        let fresh = ready == Ready::Fresh && moving.is_below();
        let local = self
            .target
            .local()
            .filter(|path| fresh && moving.lake.file(self.target).is_some() && !path.exists());
        match local {
            Some(path) => self.iceberg_local(moving, &path, progress).await,
            None => on_thread(self.target.clone(), move || moving.run()).await,
        }
    }

    /// Restores on this machine's disk: the repository's own restore writes what keeps its bytes.
    async fn iceberg_local(
        &self,
        mut moving: Moving,
        target: &Path,
        progress: Arc<dyn Progress>,
    ) -> Result<RestoredTable> {
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(self.refuse("it cannot replace the root of a file system"));
        };
        // A run that was stopped may have left it, and this one carries on.
        let hidden = parent.join(format!(".{}.repo-restore", name.to_string_lossy()));
        std::fs::create_dir_all(&hidden).map_err(|error| self.unwritten(error))?;
        moving.written = Some(Location::from_user(&hidden.to_string_lossy())?);
        let (mut written, mut kept) = (0, 0);
        for (part, below) in [
            ("table", hidden.clone()),
            ("outside", hidden.join("outside")),
        ] {
            let Some(skipped) = moving.rewritten_below(part) else {
                continue;
            };
            let restored = self
                .part(part, &below, skipped, Arc::clone(&progress))
                .await?;
            written += restored.0;
            kept += restored.1;
        }
        let mut restored = on_thread(self.target.clone(), move || moving.finish()).await?;
        std::fs::rename(&hidden, target).map_err(|error| self.unwritten(error))?;
        restored.bytes_written += written;
        restored.bytes_kept += kept;
        Ok(restored)
    }

    /// Restores a part of the table's directory but for the paths `skipped`; bytes written and kept.
    async fn part(
        &self,
        part: &str,
        below: &PathBuf,
        skipped: HashSet<Vec<u8>>,
        progress: Arc<dyn Progress>,
    ) -> Result<(u64, u64)> {
        std::fs::create_dir_all(below).map_err(|error| self.unwritten(error))?;
        let source = format!("{TABLES}/{}/{part}", self.table.name);
        let options = RestoreOptions {
            // What a stopped run of another version left.
            delete: true,
            adapt: Some(Arc::new(move |path, _| !skipped.contains(path))),
            ..RestoreOptions::default()
        };
        let restoring =
            self.repository
                .restore(self.view, source.as_bytes(), below, &options, progress);
        let report = restoring.await?;
        let bad = report
            .findings
            .iter()
            .find(|finding| finding.severity > Severity::Note);
        match bad {
            Some(finding) => Err(Error::Object {
                operation: "restore",
                url: self.target.to_string(),
                source: finding.to_string().into(),
            }),
            None => Ok((report.bytes_written, report.bytes_kept)),
        }
    }

    fn unwritten(&self, error: std::io::Error) -> Error {
        Error::Object {
            operation: "write",
            url: self.target.to_string(),
            source: error.into(),
        }
    }
}

/// Runs what blocks on a thread that may.
pub(crate) async fn on_thread<T: Send + 'static>(
    place: Location,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Object {
        operation: "restore",
        url: place.to_string(),
        source: error.into(),
    })?
}

impl Moving {
    /// Makes sure that nothing else is in the way.
    fn clear(&self) -> Result<Ready> {
        match format(&self.lake, &self.target)?.0 {
            None => Ok(Ready::Fresh),
            Some(Format::Delta) => Err(Error::Unsupported {
                table: self.table.name.clone(),
                reason: format!(
                    "{} is a Delta table, which it does not replace",
                    self.target
                ),
            }),
            Some(Format::Iceberg) => {
                if self.mode != (Mode::Write { force: true }) {
                    self.check_same()?;
                }
                Ok(Ready::Occupied)
            }
        }
    }

    /// Refuses unless the table there is the same one, at this version or an older one.
    fn check_same(&self) -> Result<()> {
        let there = match engine::open(&self.lake, &self.target) {
            Ok(there) => there,
            Err(error @ (Error::Object { .. } | Error::Repository(_))) => return Err(error),
            Err(_) => return Err(self.occupied("is a table that cannot be read")),
        };
        if there.table_uuid() != self.new_uuid() {
            return Err(self.occupied("is another table"));
        }
        let ours = self.new_metadata()?;
        let version = |metadata: &str| version_of(metadata).unwrap_or(0);
        let newer = version(there.place()) > version(&ours.to_string());
        let same = Location::parse(there.place())? == ours;
        if newer || (!same && version(there.place()) == version(&ours.to_string())) {
            return Err(self.occupied("is a newer version of the table"));
        }
        Ok(())
    }

    /// Removes metadata of a table that is being replaced, so that nothing takes it for the current one.
    pub(super) fn remove_stale(&self) -> Result<()> {
        let mut ours = HashSet::new();
        for file in self.files.values() {
            if file.kind == FileKind::Metadata {
                ours.insert(self.place(file)?);
            }
        }
        let objects = engine::objects(&self.lake, &self.target.join("metadata")?)?;
        for place in objects.into_keys() {
            if version_of(&place.to_string()).is_some() && !ours.contains(&place) {
                self.lake.delete(&place)?;
            }
        }
        Ok(())
    }

    fn occupied(&self, what: &'static str) -> Error {
        Error::Occupied {
            url: self.target.to_string(),
            what,
        }
    }
}
