//! WAL in the repository: finding a file, and committing a union of what a volume holds and what is
//! new.
//!
//! The oldest live snapshot of a volume that holds a name decides what its content is. Every union
//! takes entries over in that order, and snapshots are forgotten for a union only when none is older
//! than the union without being part of it; so the bytes that were once acknowledged stay those of the
//! oldest holder ([decision 0017](../../../../docs/decisions/0017-wal-archive.md)).

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use repo_core::{
    Entry, EntryType, ForgetOptions, GroupBy, Repository, Snapshot, SnapshotId, SnapshotView,
    plan_forget_ids,
};

use crate::wal::error::{Error, Result};
use crate::wal::limits::VOLUME_ENTRIES_MAX;
use crate::wal::name::{Volume, WalFile};

/// What snapshots of WAL record as their source.
pub const KIND: &str = "postgres-wal";

/// The system and the volume of a snapshot of WAL; `None` for every other snapshot.
#[must_use]
pub fn volume_of(snapshot: &Snapshot) -> Option<(u64, Volume)> {
    if snapshot.source.as_deref() != Some(KIND) {
        return None;
    }
    match snapshot.paths.as_slice() {
        [path] => Volume::parse_path(&path.0),
        _ => None,
    }
}

/// The live snapshots of a volume, in the order of their commits.
pub(crate) fn heads(repository: &Repository, system: u64, volume: Volume) -> Vec<SnapshotId> {
    let known = repository.snapshots().into_iter();
    let of_volume = known.filter(|known| volume_of(&known.snapshot) == Some((system, volume)));
    of_volume.map(|known| known.snapshot.id()).collect()
}

/// Whether the repository holds anything of a cluster's WAL.
#[must_use]
pub fn knows(repository: &Repository, system: u64) -> bool {
    let known = repository.snapshots();
    let mut volumes = known.iter().filter_map(|known| volume_of(&known.snapshot));
    volumes.any(|(of, _)| of == system)
}

/// A file of the archive.
pub(crate) struct Found {
    pub(crate) view: SnapshotView,
    pub(crate) entry: Entry,
}

/// Finds a file in the state that the repository knows.
pub(crate) async fn find(
    repository: &Repository,
    system: u64,
    file: WalFile,
) -> Result<Option<Found>> {
    for id in heads(repository, system, file.volume()) {
        let view = repository.view(&id)?;
        if let Some(entry) = entry_of(&view, file).await? {
            return Ok(Some(Found { view, entry }));
        }
    }
    Ok(None)
}

async fn entry_of(view: &SnapshotView, file: WalFile) -> Result<Option<Entry>> {
    match view.entry(file.to_string().as_bytes()).await {
        Ok(entry) if entry.kind == EntryType::File => Ok(Some(entry)),
        Ok(_) | Err(repo_core::Error::UnknownPath { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// All that a volume holds.
#[derive(Default)]
pub(crate) struct Union {
    /// The snapshots it was made of, in the order of their commits.
    pub(crate) seen: Vec<SnapshotId>,
    files: BTreeMap<WalFile, (SnapshotId, Entry)>,
}

impl Union {
    /// Reads the volume in the state that the repository knows.
    pub(crate) async fn read(repository: &Repository, system: u64, volume: Volume) -> Result<Self> {
        let mut union = Self {
            seen: heads(repository, system, volume),
            files: BTreeMap::new(),
        };
        for id in union.seen.clone() {
            for (file, entry) in list(&repository.view(&id)?).await? {
                union.files.entry(file).or_insert((id, entry));
            }
        }
        Ok(union)
    }

    /// The file as the archive has it.
    pub(crate) fn get(&self, repository: &Repository, file: WalFile) -> Result<Option<Found>> {
        let Some((id, entry)) = self.files.get(&file) else {
            return Ok(None);
        };
        Ok(Some(Found {
            view: repository.view(id)?,
            entry: entry.clone(),
        }))
    }

    /// Names and entries, to be taken over.
    pub(crate) fn entries(&self) -> Vec<(WalFile, Entry)> {
        let files = self.files.iter();
        files
            .map(|(file, (_, entry))| (*file, entry.clone()))
            .collect()
    }
}

/// The files of one snapshot of WAL. What else it holds was not put there by this program.
pub(crate) async fn list(view: &SnapshotView) -> Result<Vec<(WalFile, Entry)>> {
    let files: Arc<Mutex<Vec<(WalFile, Entry)>>> = Arc::default();
    let sink = Arc::clone(&files);
    let visit = move |path: &[u8], entry: &Entry| {
        let mut files = sink.lock().unwrap_or_else(PoisonError::into_inner);
        let name = std::str::from_utf8(path).ok();
        if let Some(Ok(file)) = name.map(str::parse)
            && entry.kind == EntryType::File
        {
            files.push((file, entry.clone()));
        }
        if files.len() < VOLUME_ENTRIES_MAX {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    view.walk(b"", false, Box::new(visit)).await?;
    let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut files))
}

/// Forgets these snapshots in one commit; those that are gone or protected do not matter.
pub(crate) async fn forget(
    repository: &Repository,
    ids: &[SnapshotId],
    action: &str,
) -> Result<()> {
    let known = repository.snapshots();
    let live: Vec<SnapshotId> = known
        .iter()
        .filter(|known| !known.is_protected())
        .map(|known| known.snapshot.id())
        .filter(|id| ids.contains(id))
        .collect();
    if live.is_empty() {
        return Ok(());
    }
    let by = GroupBy {
        host: false,
        paths: true,
        tags: false,
    };
    let plan = plan_forget_ids(&known, &live, by)?;
    let options = ForgetOptions { allow_empty: true };
    repository.forget(&plan, &options, action).await?;
    Ok(())
}

/// Forgets snapshots of volumes that are no longer written to, where a newer one holds the same.
/// Volumes of `system` on `timeline` before `log`.
pub(crate) async fn tidy(
    repository: &Repository,
    system: u64,
    (timeline, log): (u32, u32),
    action: &str,
) -> Result<()> {
    let mut volumes: BTreeMap<Volume, u32> = BTreeMap::new();
    for known in repository.snapshots() {
        match volume_of(&known.snapshot) {
            Some((
                of,
                volume @ Volume::Segments {
                    timeline: t,
                    log: l,
                },
            )) if of == system && t == timeline && l < log => {
                *volumes.entry(volume).or_default() += 1;
            }
            _ => {}
        }
    }
    for (volume, snapshots) in volumes {
        if snapshots > 1 {
            let contained = contained(repository, system, volume).await?;
            forget(repository, &contained, action).await?;
        }
    }
    Ok(())
}

/// The snapshots of a volume before its newest, if that holds all of them, the same.
async fn contained(
    repository: &Repository,
    system: u64,
    volume: Volume,
) -> Result<Vec<SnapshotId>> {
    let mut ids = heads(repository, system, volume);
    let Some(newest) = ids.pop() else {
        return Ok(ids);
    };
    let all: BTreeMap<WalFile, Entry> = list(&repository.view(&newest)?)
        .await?
        .into_iter()
        .collect();
    for id in &ids {
        for (file, entry) in list(&repository.view(id)?).await? {
            if all.get(&file).map(|now| (&now.content, now.size))
                != Some((&entry.content, entry.size))
            {
                return Ok(Vec::new());
            }
        }
    }
    Ok(ids)
}

impl Found {
    /// Whether the archive holds these bytes under the name.
    pub(crate) async fn equals(
        &self,
        file: WalFile,
        opened: &crate::wal::local::Opened,
    ) -> Result<bool> {
        use std::os::unix::fs::FileExt as _;
        let len = opened.metadata.len();
        crate::wal::local::check_len(file, self.entry.size)?;
        if len != self.entry.size {
            return Ok(false);
        }
        let mut at = 0;
        while at < len {
            let stored = self
                .view
                .read(&self.entry, at..at + crate::wal::limits::PART as u64)
                .await?;
            if stored.is_empty() {
                return Ok(false);
            }
            let mut local = vec![0; stored.len()];
            opened
                .file
                .read_exact_at(&mut local, at)
                .map_err(|error| Error::io("read", &opened.path, error))?;
            if local != stored {
                return Ok(false);
            }
            at += stored.len() as u64;
        }
        Ok(true)
    }
}
