//! Archiving: the file that Postgres asks for, and those that wait behind it, in one commit.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use repo_core::{
    BuildOptions, Builder, Entry, EntryType, Parent, PathBytes, Quiet, Repository, SnapshotId,
    SnapshotOptions, Timestamp,
};

use crate::wal::archive::{self, KIND, Union};
use crate::wal::error::{Error, Result};
use crate::wal::limits::{BATCH_BYTES, BATCH_MAX, HEADS_MAX, PART, PUSH_ATTEMPTS};
use crate::wal::local::{self, Opened, Request, Sum, Summing};
use crate::wal::name::{Volume, WalFile};
use crate::wal::spool::Spool;

/// What a push did.
#[derive(Debug, Default)]
pub struct PushReport {
    /// Files that were stored, with those that were there already, in the order of their names.
    pub archived: Vec<WalFile>,
    /// Of them those that were there already.
    pub present: usize,
    /// Files ahead of their turn that were refused; Postgres will ask for them again.
    pub refused: Vec<(WalFile, Error)>,
}

/// Length and digest of what is in the log.
type Sums = BTreeMap<WalFile, (u64, Sum)>;

/// Pushes the file that is asked for and, with a spool to note it in, those that wait behind it.
/// An error is about the file that is asked for: it must not be taken for archived.
///
/// `options` say host, user, level and action; parent and time are those of the archive.
pub async fn push(
    repository: &Repository,
    request: &Request,
    spool: Option<&Spool>,
    options: &SnapshotOptions,
) -> Result<PushReport> {
    let mut report = PushReport::default();
    // Nothing but the file itself may make this call fail.
    Opened::open(request.path(request.file), request.file, request.system)?;
    let files = batch(request, spool, &mut report)?;
    let mut volumes: BTreeMap<Volume, Vec<WalFile>> = BTreeMap::new();
    for file in files {
        volumes.entry(file.volume()).or_default().push(file);
    }
    // The file that is asked for first: what waits behind it may be much.
    let first = request.file.volume();
    let own = volumes.remove_entry(&first);
    for (volume, files) in own.into_iter().chain(volumes) {
        let is_own = volume == first;
        let mut batch = Batch {
            repository,
            request,
            spool,
            options,
            volume,
            refused: Vec::new(),
        };
        let pushed = match batch.push(files).await {
            Ok(pushed) => pushed,
            Err(error) if is_own => return Err(error),
            Err(error) => {
                tracing::warn!(%volume, %error, "not archived ahead of its turn");
                break;
            }
        };
        for (file, error) in batch.refused {
            if file == request.file {
                return Err(error);
            }
            report.refused.push((file, error));
        }
        report.present += pushed.present;
        report.archived.extend(pushed.sums.into_keys());
    }
    Ok(report)
}

/// The file that is asked for and those that wait behind it, each one that is what it should be.
fn batch(
    request: &Request,
    spool: Option<&Spool>,
    report: &mut PushReport,
) -> Result<Vec<WalFile>> {
    let mut files = vec![request.file];
    let Some(spool) = spool else {
        return Ok(files);
    };
    let waiting = request.waiting(BATCH_MAX * 4)?;
    spool.retain_acknowledged(request, &waiting);
    let mut bytes = 0;
    for file in waiting {
        if files.len() >= BATCH_MAX || bytes >= BATCH_BYTES {
            break;
        }
        if spool.is_acknowledged(request.system, file) {
            continue;
        }
        match Opened::open(request.path(file), file, request.system) {
            Ok(opened) => {
                bytes += opened.metadata.len();
                files.push(file);
            }
            Err(error) => report.refused.push((file, error)),
        }
    }
    Ok(files)
}

/// Files of one volume on their way.
struct Batch<'a> {
    repository: &'a Repository,
    request: &'a Request,
    spool: Option<&'a Spool>,
    options: &'a SnapshotOptions,
    volume: Volume,
    refused: Vec<(WalFile, Error)>,
}

#[derive(Default)]
struct Pushed {
    sums: Sums,
    present: usize,
}

impl Batch<'_> {
    async fn push(&mut self, files: Vec<WalFile>) -> Result<Pushed> {
        let mut wanted = files;
        let mut done = Pushed::default();
        for _ in 0..PUSH_ATTEMPTS {
            self.repository.refresh().await?;
            let union = Union::read(self.repository, self.request.system, self.volume).await;
            let union = match union {
                Err(error) if overtaken(&error) => continue,
                union => union?,
            };
            wanted = self.compare(wanted, &union, &mut done).await?;
            if wanted.is_empty() {
                return Ok(done);
            }
            let (id, sums) = match self.build(&wanted, &union).await {
                Err(error) if overtaken(&error) => continue,
                built => built?,
            };
            if !self.counts(id, &union, &sums).await? {
                continue;
            }
            self.acknowledge(&sums)?;
            done.sums.extend(sums);
            self.replace(id, &union).await;
            return Ok(done);
        }
        Err(Error::Overtaken {
            attempts: PUSH_ATTEMPTS,
        })
    }

    /// Takes out those that the archive holds, and those of which it holds other bytes.
    async fn compare(
        &mut self,
        files: Vec<WalFile>,
        union: &Union,
        done: &mut Pushed,
    ) -> Result<Vec<WalFile>> {
        let mut wanted = Vec::new();
        let mut present = Sums::new();
        let system = self.request.system;
        for file in files {
            let Some(found) = union.get(self.repository, file)? else {
                wanted.push(file);
                continue;
            };
            let opened = Opened::open(self.request.path(file), file, system)?;
            if found.equals(file, &opened).await? {
                let (path, opened) = (opened.path.clone(), opened.rewound()?);
                let sum = local::sum(opened.file);
                present.insert(file, sum.map_err(|error| Error::io("read", path, error))?);
            } else {
                self.refused.push((file, Error::Differs { file, system }));
            }
        }
        self.acknowledge(&present)?;
        done.present += present.len();
        done.sums.extend(present);
        Ok(wanted)
    }

    /// Commits the union with the files.
    async fn build(&self, files: &[WalFile], union: &Union) -> Result<(SnapshotId, Sums)> {
        let system = self.request.system;
        let what = BuildOptions {
            kind: KIND,
            paths: vec![PathBytes(self.volume.path(system).into_bytes())],
            restart: false,
        };
        let options = SnapshotOptions {
            parent: union.seen.last().map_or(Parent::None, |id| Parent::Id(*id)),
            ..self.options.clone()
        };
        let kept = union.entries();
        let new: Vec<_> = files
            .iter()
            .map(|file| (*file, self.request.path(*file)))
            .collect();
        let sums: Arc<Mutex<Sums>> = Arc::default();
        let stored = Arc::clone(&sums);
        let asked = self.request.file;
        let report = self
            .repository
            .build_snapshot::<Error, _>(what, &options, Arc::new(Quiet), move |builder| {
                for (file, entry) in &kept {
                    builder.put(file.to_string().as_bytes(), entry.clone())?;
                }
                builder.each(new.clone(), |(file, path)| {
                    let opened = match Opened::open(path, file, system) {
                        // Gone or changed since it was looked at; its own turn will tell.
                        Err(_) if file != asked => return Ok(()),
                        opened => opened?,
                    };
                    let sum = store(builder, opened, file)?;
                    let mut stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
                    stored.insert(file, sum);
                    Ok(())
                })
            })
            .await?;
        let id = report
            .id
            .ok_or(Error::Repository(repo_core::Error::Cancelled))?;
        let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((id, std::mem::take(&mut sums)))
    }

    /// Whether what was committed is what the archive holds from now on: no snapshot that is older
    /// and not part of it has other bytes of one of the files. Otherwise it is forgotten.
    async fn counts(&self, own: SnapshotId, union: &Union, sums: &Sums) -> Result<bool> {
        let (repository, system) = (self.repository, self.request.system);
        repository.refresh().await?;
        let heads = archive::heads(repository, system, self.volume);
        let Some(place) = heads.iter().position(|id| *id == own) else {
            // It went into another union already; what became of the files is seen there.
            return Ok(false);
        };
        let older = heads.iter().take(place);
        for id in older.filter(|id| !union.seen.contains(id)) {
            for (file, entry) in archive::list(&repository.view(id)?).await? {
                if !sums.contains_key(&file) {
                    continue;
                }
                let view = repository.view(id)?;
                let found = archive::Found { view, entry };
                let opened = Opened::open(self.request.path(file), file, system)?;
                if !found.equals(file, &opened).await? {
                    archive::forget(repository, &[own], &self.options.action).await?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Forgets what went into the newest union, once it is much. It can be done later as well, so
    /// nothing that goes wrong here makes a push fail.
    async fn replace(&self, own: SnapshotId, union: &Union) {
        let (repository, system) = (self.repository, self.request.system);
        let action = &self.options.action;
        let done = match self.volume {
            Volume::Segments { timeline, log } if union.seen.is_empty() => {
                archive::tidy(repository, system, (timeline, log), action).await
            }
            _ if union.seen.len() >= HEADS_MAX => {
                let mut heads = archive::heads(repository, system, self.volume);
                heads.retain(|id| *id != own && !union.seen.contains(id));
                if !heads.is_empty() {
                    return;
                }
                archive::forget(repository, &union.seen, action).await
            }
            _ => return,
        };
        if let Err(error) = done {
            tracing::warn!(volume = %self.volume, %error, "older snapshots stay");
        }
    }

    fn acknowledge(&self, sums: &Sums) -> Result<()> {
        let Some(spool) = self.spool else {
            return Ok(());
        };
        for (file, (len, sum)) in sums {
            // It is answered by the end of this call.
            if *file != self.request.file {
                spool.acknowledge(self.request.system, *file, *len, sum)?;
            }
        }
        Ok(())
    }
}

/// Whether another try, on the newest state, may succeed.
fn overtaken(error: &Error) -> bool {
    match error {
        Error::Repository(error) => matches!(
            error,
            repo_core::Error::Overtaken { .. } | repo_core::Error::UnknownSnapshot { .. }
        ),
        _ => false,
    }
}

/// Stores one file; gives length and digest of the bytes that were stored.
fn store(builder: &Builder<'_>, opened: Opened, file: WalFile) -> Result<(u64, Sum)> {
    let metadata = &opened.metadata;
    let mut entry = Entry::new(Vec::new(), EntryType::File);
    entry.mode = metadata.mode() & 0o7777;
    entry.uid = metadata.uid();
    entry.gid = metadata.gid();
    entry.size = metadata.len();
    entry.mtime = Timestamp {
        seconds: metadata.mtime(),
        nanos: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
    };
    let expected = metadata.len();
    let reader = BufReader::with_capacity(PART, &opened.file);
    let mut reader = Summing::new(reader);
    builder.store(file.to_string().as_bytes(), entry, &mut reader, None)?;
    let (len, sum) = reader.finish();
    if len != expected {
        let why = "it changed while it was read";
        return Err(Error::NotWal { file, why });
    }
    Ok((len, sum))
}
