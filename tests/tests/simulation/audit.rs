//! What an undisturbed client finds in a store.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::memory::InMemory;
use repo_core::{
    Access, CheckOptions, Entry, EntryType, GcOptions, MaxUnused, OpenOptions, Quiet, ReadData,
    Repository, Severity, SnapshotId, SnapshotView, Store,
};

use super::clients::Ledger;
use super::world::{Files, World};

pub(crate) type Outcome<T = ()> = Result<T, String>;

pub(crate) async fn open(memory: InMemory) -> Outcome<Repository> {
    let store = Store::new(Arc::new(memory), "memory");
    Repository::open(store, &Access::Plain, &OpenOptions::default())
        .await
        .map_err(|error| format!("open: {error:?}"))
}

/// Reads every file of a snapshot.
pub(crate) async fn read(view: &SnapshotView) -> Result<Files, repo_core::Error> {
    let found = Arc::new(Mutex::new(Vec::<(Vec<u8>, Entry)>::new()));
    let seen = Arc::clone(&found);
    let visit = move |path: &[u8], entry: &Entry| {
        if entry.kind == EntryType::File {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push((path.to_vec(), entry.clone()));
        }
        ControlFlow::Continue(())
    };
    view.walk(b"", true, Box::new(visit)).await?;
    let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    let mut files = Files::new();
    for (path, entry) in found {
        let bytes = view.read(&entry, 0..entry.size).await?;
        files.insert(path, bytes);
    }
    Ok(files)
}

/// Whether what was read of a snapshot is the version it says it holds.
pub(crate) fn compare(world: &World, view: &SnapshotView, files: &Files) -> Outcome {
    let id = view.id().to_hex();
    let said = view.snapshot().description.as_deref().unwrap_or_default();
    let version = said.parse::<usize>().ok();
    let Some(wanted) = version.and_then(|version| world.versions.get(version)) else {
        return Err(format!("snapshot {id} has the description {said:?}"));
    };
    if wanted == files {
        return Ok(());
    }
    let names: BTreeSet<_> = wanted.keys().chain(files.keys()).collect();
    let differ = names
        .into_iter()
        .filter(|name| wanted.get(*name) != files.get(*name))
        .map(|name| name.escape_ascii().to_string());
    let differ: Vec<String> = differ.collect();
    Err(format!("WRONG BYTES in snapshot {id}: {differ:?}"))
}

/// Every snapshot of the newest state is whole.
pub(crate) async fn all_whole(world: &World, memory: InMemory) -> Outcome<Repository> {
    let repository = open(memory).await?;
    for known in repository.snapshots() {
        let id = known.snapshot.id();
        let view = repository
            .view(&id)
            .map_err(|error| format!("view: {error:?}"))?;
        let files = read(&view)
            .await
            .map_err(|error| format!("LOST snapshot {}: {error:?}", id.to_hex()))?;
        compare(world, &view, &files)?;
    }
    Ok(repository)
}

/// What a check with all data finds, without notes unless asked for.
async fn checked(repository: &Repository, notes: bool) -> Outcome {
    let options = CheckOptions {
        read_data: ReadData::All,
    };
    let report = repository.check(&options, Arc::new(Quiet)).await;
    let report = report.map_err(|error| format!("check: {error:?}"))?;
    let told = report.findings.iter();
    let told: Vec<String> = told
        .filter(|finding| notes || finding.severity != Severity::Note)
        .map(ToString::to_string)
        .collect();
    if told.is_empty() {
        return Ok(());
    }
    Err(format!("check tells {told:#?}"))
}

/// The log says what the clients were told, and nothing nobody asked for.
async fn told_right(repository: &Repository, ledger: &Ledger) -> Outcome {
    let log = repository.log(usize::MAX).await;
    let log = log.map_err(|error| format!("log: {error:?}"))?;
    let added: BTreeSet<SnapshotId> = log.iter().flat_map(|entry| entry.added.clone()).collect();
    let removed: BTreeSet<SnapshotId> =
        log.iter().flat_map(|entry| entry.removed.clone()).collect();
    if let Some(id) = ledger.committed.difference(&added).next() {
        return Err(format!("no commit adds snapshot {}", id.to_hex()));
    }
    if let Some(id) = removed.difference(&ledger.to_forget).next() {
        return Err(format!("nobody forgot snapshot {}", id.to_hex()));
    }
    if let Some(id) = ledger.forgotten.difference(&removed).next() {
        return Err(format!("no commit forgets snapshot {}", id.to_hex()));
    }
    let there = repository.snapshots();
    let there: BTreeSet<SnapshotId> = there.iter().map(|known| known.snapshot.id()).collect();
    for id in &ledger.committed {
        if !there.contains(id) && !removed.contains(id) {
            return Err(format!("snapshot {} is not there", id.to_hex()));
        }
    }
    Ok(())
}

/// The end of a seed: all is whole and right, and a collector that nobody disturbs leaves nothing
/// that is of no use.
pub(crate) async fn at_the_end(world: &World, memory: &InMemory, ledger: &Ledger) -> Outcome {
    let repository = all_whole(world, memory.clone()).await?;
    checked(&repository, false).await?;
    told_right(&repository, ledger).await?;
    let options = GcOptions {
        max_unused: MaxUnused::Bytes(0),
        // By whatever times the objects have.
        reader_grace_ms: 0,
        writer_grace_ms: 0,
        ..GcOptions::default()
    };
    let collected = repository.gc(&options, Arc::new(Quiet)).await;
    collected.map_err(|error| format!("the last collection: {error:?}"))?;
    let repository = all_whole(world, memory.clone()).await?;
    checked(&repository, true).await
}
