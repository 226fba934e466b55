//! From a snapshot back to a cluster that is ready to start.
//!
//! `pg_control` goes first and comes last: without it no server starts, so what an interrupted
//! restore leaves is not taken for a cluster. Running it again carries on.

mod listing;
mod places;
mod recovery;
mod writeback;

use std::collections::HashSet;
use std::fs;
use std::io::{self, BufWriter};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repo_core::{
    Adapt, Content, Entry, EntryType, Extent, Progress, Repository, RestoreOptions, RestoreReport,
    SnapshotView,
};

use crate::description::{Description, PLACE};
use crate::error::{Error, Result};
use crate::files::{self, RelationFile};
use crate::manifest::{WalRange, Writer};
use crate::postmaster::refuse_running;
use places::Place;
pub use recovery::{Action, Recovery, Target};
use writeback::Writeback;

/// The file without which no server starts.
const CONTROL: &str = "global/pg_control";
/// What tells `pg_verifybackup` what there must be.
const MANIFEST: &str = "backup_manifest";
/// Databases that every cluster needs, however few are restored.
const ALWAYS: [&str; 3] = ["postgres", "template0", "template1"];

/// What to restore, and to where.
#[derive(Debug, Clone, Default)]
pub struct ClusterRestore {
    /// The data directory to make. What is right there already is kept, what does not belong to the
    /// snapshot is deleted.
    pub pgdata: PathBuf,
    /// Where tablespaces lay and where they are to lie.
    pub tablespaces: Vec<(PathBuf, PathBuf)>,
    /// Restore these databases only, all when empty. The files of others get their length and no
    /// content, so that the server starts and they can be dropped.
    pub databases: Vec<String>,
    /// What the server is to replay; without it, the log that is in the snapshot.
    pub recovery: Option<Recovery>,
    /// Take over directories that hold something else.
    pub force: bool,
    /// Write no `backup_manifest`, which spares reading all files again.
    pub no_manifest: bool,
}

/// Makes a directory the cluster of a snapshot.
///
/// Refuses a directory on which a server runs, and one that is neither empty nor a cluster. Damage
/// in the repository is a finding of the report; all else is restored.
pub async fn restore(
    repository: &Repository,
    view: &SnapshotView,
    request: &ClusterRestore,
    progress: Arc<dyn Progress>,
) -> Result<RestoreReport> {
    let description = Description::of(view).await?;
    let pgdata = std::path::absolute(&request.pgdata)
        .map_err(|error| Error::io("find", &request.pgdata, error))?;
    refuse_running(&pgdata)?;
    let places = places::find(&description, request, &pgdata)?;
    let keep = kept_databases(&description, &request.databases)?;
    if !request.force {
        refuse_strangers(view, &pgdata).await?;
    }
    remove_control(&pgdata)?;
    let wal = linked_wal(&pgdata);
    let apart = places.iter().map(|place| place.location.as_path());
    let apart = apart.chain(wal.as_deref());
    let writeback = Writeback::begin(apart.chain([pgdata.as_path()]))?;

    let work = Work {
        repository,
        view,
        progress,
        adapt: adapt(&places, wal.is_some(), keep),
    };
    let mut report = work.restore("", &pgdata, true).await?;
    if let Some(wal) = wal {
        add(&mut report, work.restore("pg_wal", &wal, true).await?);
    }
    let version = description.version_directory();
    for place in &places {
        place.link(&pgdata)?;
        let path = format!("pg_tblspc/{}/{version}", place.oid);
        let there = match view.entry(path.as_bytes()).await {
            Err(repo_core::Error::UnknownPath { .. }) => false,
            entry => entry?.kind == EntryType::Directory,
        };
        if there {
            let target = place.location.join(&version);
            add(&mut report, work.restore(&path, &target, true).await?);
        }
    }
    places::rewrite_map(&pgdata, &places)?;
    if let Some(recovery) = &request.recovery {
        recovery.write(&pgdata)?;
    }
    let manifest = match request.no_manifest {
        true => None,
        false => Some(begin_manifest(&pgdata, &description)?),
    };
    // All of it is on the disk before the file that makes it a cluster.
    writeback.finish()?;
    let control = work.restore(CONTROL, &pgdata.join("global"), false).await?;
    add(&mut report, control);
    if let Some(manifest) = manifest {
        end_manifest(&pgdata, manifest, &description)?;
    }
    sync(&pgdata)?;
    Ok(report)
}

/// What every part of a restore has in common.
struct Work<'w> {
    repository: &'w Repository,
    view: &'w SnapshotView,
    progress: Arc<dyn Progress>,
    adapt: Adapt,
}

impl Work<'_> {
    /// Restores what is at `path` in the snapshot; rules apply below it as they do below the root.
    async fn restore(&self, path: &str, target: &Path, delete: bool) -> Result<RestoreReport> {
        let adapt: Option<Adapt> = match path {
            CONTROL | "pg_wal" => None,
            "" => Some(Arc::clone(&self.adapt)),
            _ => {
                let (prefix, rules) = (path.to_owned().into_bytes(), Arc::clone(&self.adapt));
                Some(Arc::new(move |below: &[u8], entry: &mut Entry| {
                    rules(&[&prefix[..], b"/", below].concat(), entry)
                }))
            }
        };
        let options = RestoreOptions {
            delete,
            dry_run: false,
            verify: false,
            adapt,
        };
        let progress = Arc::clone(&self.progress);
        Ok(self
            .repository
            .restore(self.view, path.as_bytes(), target, &options, progress)
            .await?)
    }
}

/// What of the tree is left out of the data directory, and what is changed on the way.
fn adapt(places: &[Place], wal_apart: bool, keep: Option<HashSet<u32>>) -> Adapt {
    let mut apart: HashSet<Vec<u8>> = places
        .iter()
        .map(|place| format!("pg_tblspc/{}", place.oid).into_bytes())
        .collect();
    apart.insert(PLACE.as_bytes().to_vec());
    apart.insert(CONTROL.as_bytes().to_vec());
    if wal_apart {
        apart.insert(b"pg_wal".to_vec());
    }
    Arc::new(move |path, entry| {
        if apart.contains(path) {
            return false;
        }
        if let Some(keep) = &keep
            && let Some(database) = files::database_of(path)
            && !keep.contains(&database)
            && entry.kind == EntryType::File
            && RelationFile::parse(&entry.name).is_some()
        {
            entry.content = (entry.size > 0).then(|| Content {
                level: 0,
                extents: vec![Extent {
                    len: entry.size,
                    id: None,
                }],
            });
        }
        true
    })
}

/// Where the log lies when the data directory has a link to it.
fn linked_wal(pgdata: &Path) -> Option<PathBuf> {
    let link = pgdata.join("pg_wal");
    let is_link = fs::symlink_metadata(&link).is_ok_and(|found| found.is_symlink());
    is_link
        .then(|| fs::canonicalize(&link).ok())
        .flatten()
        .filter(|place| place.is_dir())
}

/// Numbers of the databases to restore; `None` for all.
fn kept_databases(description: &Description, names: &[String]) -> Result<Option<HashSet<u32>>> {
    if names.is_empty() {
        return Ok(None);
    }
    let known = &description.databases;
    for name in names {
        if !known.iter().any(|database| database.name == *name) {
            return Err(Error::NoDatabase { name: name.clone() });
        }
    }
    let kept = known
        .iter()
        .filter(|database| ALWAYS.contains(&&*database.name) || names.contains(&database.name));
    Ok(Some(kept.map(|database| database.oid).collect()))
}

/// Fails when the directory holds something that a restore would delete and that is neither a
/// cluster nor what an interrupted restore left.
async fn refuse_strangers(view: &SnapshotView, pgdata: &Path) -> Result<()> {
    let listed = match fs::read_dir(pgdata) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("list", pgdata, error)),
    };
    if pgdata.join("PG_VERSION").is_file() {
        return Ok(());
    }
    for entry in listed {
        let name = entry
            .map_err(|error| Error::io("list", pgdata, error))?
            .file_name();
        match view.entry(name.as_bytes()).await {
            Ok(_) => {}
            Err(repo_core::Error::UnknownPath { .. }) => {
                return Err(Error::Occupied {
                    path: pgdata.to_owned(),
                });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Lists all files but the last one, which is not there yet.
fn begin_manifest(pgdata: &Path, description: &Description) -> Result<Writer<BufWriter<fs::File>>> {
    let path = pgdata.join(MANIFEST);
    let failed = |error| Error::io("write", &path, error);
    let out = BufWriter::new(create(&path, pgdata)?);
    let mut writer =
        Writer::new(out, description.version, &description.system_identifier).map_err(failed)?;
    listing::each_file(pgdata, |file| writer.file(file).map_err(failed))?;
    Ok(writer)
}

fn end_manifest(
    pgdata: &Path,
    mut writer: Writer<BufWriter<fs::File>>,
    description: &Description,
) -> Result<()> {
    let path = pgdata.join(MANIFEST);
    let failed = |error| Error::io("write", &path, error);
    let control = pgdata.join(CONTROL);
    // Lost by damage, it is a finding already.
    if control.is_file() {
        let control = listing::one_file(CONTROL.as_bytes().to_vec(), &control)?;
        writer.file(&control).map_err(failed)?;
    }
    let range = WalRange {
        timeline: description.timeline,
        start: description.start_lsn,
        end: description.stop_lsn,
    };
    writer.finish(range).map_err(failed)?;
    Ok(())
}

/// Makes a file anew that belongs to the owner of the data directory, readable by nobody else.
fn create(path: &Path, pgdata: &Path) -> Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    remove(path)?;
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| Error::io("create", path, error))?;
    own(path, pgdata)?;
    Ok(file)
}

/// Gives what was made at `path`, which may be a link, to the owner of the data directory.
fn own(path: &Path, pgdata: &Path) -> Result<()> {
    let failed = |error| Error::io("change the owner of", path, error);
    let owner = fs::metadata(pgdata).map_err(failed)?;
    let made = fs::symlink_metadata(path).map_err(failed)?;
    if (made.uid(), made.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid())).map_err(failed)
}

/// Removes what makes the directory a cluster, for good before anything else changes.
fn remove_control(pgdata: &Path) -> Result<()> {
    let path = pgdata.join(CONTROL);
    remove(&path)?;
    let global = path.parent().unwrap_or(pgdata);
    let synced = fs::File::open(global).and_then(|directory| directory.sync_all());
    match synced {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("write back", global, error))
        }
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Writes all that the file system of `place` holds back to the disk.
fn sync(place: &Path) -> Result<()> {
    let failed = |error| Error::io("write back", place, error);
    let directory = fs::File::open(place).map_err(failed)?;
    rustix::fs::syncfs(&directory).map_err(|error| failed(error.into()))
}

fn add(all: &mut RestoreReport, more: RestoreReport) {
    all.files += more.files;
    all.directories += more.directories;
    all.bytes_written += more.bytes_written;
    all.bytes_kept += more.bytes_kept;
    all.deleted += more.deleted;
    all.findings.extend(more.findings);
}

#[cfg(test)]
mod tests;
