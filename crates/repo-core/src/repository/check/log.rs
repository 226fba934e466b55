//! Config, key slots and log.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use repo_format::commit::{self, CommitHash, LogName};
use repo_format::config::{self, Config};
use repo_format::keyslot::{self, Slot};
use repo_format::{ErrorKind, IndexId, KeyId, limits};

use super::Findings;
use crate::error::{Error, Result};
use crate::limits::LOG_FETCHES;
use crate::repository::{Repository, State};

/// The config is the one the repository was opened with, and every key slot decodes. What a slot
/// wraps is sealed under its password and cannot be verified without it.
pub(super) async fn check_config_and_keys(
    repository: &Repository,
    findings: &Findings,
) -> Result<()> {
    let store = repository.inner.storage.store();
    match store.get(config::PATH, limits::CONFIG_MAX).await {
        Ok(stored) if Config::hash(&stored) == repository.inner.config_hash => {}
        Ok(_) => findings.damage(format!(
            "{}: it is not the config the repository was opened with",
            config::PATH
        )),
        Err(error) => findings.unreadable(config::PATH, Error::Store(error))?,
    }
    let mut slots = 0;
    let mut listed = store.list(keyslot::PREFIX, None).await;
    while let Some(info) = listed.try_next().await.map_err(Error::Store)? {
        let id = info
            .key
            .strip_prefix(keyslot::PREFIX)
            .and_then(KeyId::from_hex);
        let Some(id) = id else {
            findings.note(format!("{}: not an object of this program", info.key));
            continue;
        };
        match store.get(&info.key, limits::CONFIG_MAX).await {
            Ok(stored) => {
                slots += 1;
                if let Err(why) = check_slot(repository, &id, &stored) {
                    findings.damage(format!("{}: {why}", info.key));
                }
            }
            // Removed by another client since the list.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => findings.unreadable(&info.key, Error::Store(error))?,
        }
    }
    if repository.encrypted() && slots == 0 {
        findings.damage(format!(
            "{}: there is no key slot: nobody can open the repository again",
            keyslot::PREFIX
        ));
    }
    Ok(())
}

fn check_slot(
    repository: &Repository,
    id: &KeyId,
    stored: &[u8],
) -> std::result::Result<(), String> {
    let slot = Slot::decode(stored).map_err(|error| error.to_string())?;
    if slot.id() != *id {
        return Err("it was stored under another name".to_owned());
    }
    if slot.config != repository.inner.config_hash {
        return Err("it belongs to another config".to_owned());
    }
    Ok(())
}

/// Names of the log's objects, up to the state that is checked.
#[derive(Default)]
struct Names {
    commits: Vec<u64>,
    checkpoints: Vec<u64>,
    /// There is a commit after that state.
    continued: bool,
}

async fn names(repository: &Repository, findings: &Findings) -> Result<Names> {
    let head = repository.head();
    let oldest = repository.state().oldest();
    let mut left = 0_u64;
    let mut names = Names::default();
    let mut listed = repository.inner.storage.store().list("log/", None).await;
    while let Some(info) = listed.try_next().await.map_err(Error::Store)? {
        match commit::parse_path(&info.key) {
            Some(LogName::Commit(number) | LogName::Checkpoint(number)) if number < oldest => {
                left += 1;
            }
            Some(LogName::Commit(number)) if number <= head => names.commits.push(number),
            Some(LogName::Checkpoint(number)) if number <= head => names.checkpoints.push(number),
            // Committed since the check began, or another state than the one that was opened.
            Some(LogName::Commit(number)) => names.continued |= number == head + 1,
            Some(LogName::Checkpoint(_)) => {}
            None => findings.note(format!("{}: not an object of this program", info.key)),
        }
    }
    if left > 0 {
        findings.note(format!(
            "log/: {left} objects of before commit {oldest} are left, with which the log begins since \
             keys were retired"
        ));
    }
    Ok(names)
}

/// Every commit is there; those since the newest checkpoint, or all, open and form a chain that
/// ends in the state that is checked.
pub(super) async fn check_log(
    repository: &Repository,
    findings: &Findings,
    everything: bool,
) -> Result<()> {
    let names = names(repository, findings).await?;
    let head = repository.head();
    let oldest = repository.state().oldest();
    let mut next = oldest;
    for number in names.commits.iter().copied().chain([head + 1]) {
        match number.saturating_sub(next) {
            0 => {}
            1 => findings.damage(format!("{}: missing", commit::path(next))),
            count => findings.damage(format!(
                "{} to {}: {count} commits are missing",
                commit::path(next),
                commit::path(number - 1)
            )),
        }
        next = number + 1;
    }
    let mut sums: Vec<(u64, CommitHash)> = Vec::new();
    for number in names.checkpoints.iter().rev() {
        let path = commit::checkpoint_path(*number);
        let stored = repository.inner.storage.store();
        let opened = match stored.get(&path, limits::COMMIT_MAX).await {
            Ok(stored) => commit::open_checkpoint(&repository.inner.ring, *number, &stored)
                .map_err(|source| Error::object(path.clone(), source)),
            Err(error) => Err(Error::Store(error)),
        };
        match opened {
            Ok(sum) => {
                sums.push((sum.number, sum.hash));
                if !everything {
                    break;
                }
            }
            Err(error) => findings.unreadable(&path, error)?,
        }
    }
    // What the first commit of a log that was cut continues is not there any more.
    let first = (oldest == 1).then_some((0, CommitHash::default()));
    let start = if everything {
        first
    } else {
        sums.first().copied().or(first)
    };
    check_chain(repository, findings, names.commits, start, &sums).await?;
    if repository.inner.at.is_some() && names.continued {
        check_next(repository, findings, head + 1).await?;
    }
    Ok(())
}

/// A commit that cannot be read ends the log for everybody; it is looked for by opening the state
/// before it.
async fn check_next(repository: &Repository, findings: &Findings, number: u64) -> Result<()> {
    if let Err(error) = repository.inner.log.read(number).await {
        findings.unreadable(&commit::path(number), error)?;
    }
    Ok(())
}

async fn check_chain(
    repository: &Repository,
    findings: &Findings,
    commits: Vec<u64>,
    start: Option<(u64, CommitHash)>,
    sums: &[(u64, CommitHash)],
) -> Result<()> {
    let store = repository.inner.storage.store();
    let state = repository.state();
    let wanted = commits
        .into_iter()
        .filter(|number| start.is_none_or(|(start, _)| *number > start));
    let mut fetched = stream::iter(wanted)
        .map(|number| async move {
            let stored = store.get(&commit::path(number), limits::COMMIT_MAX).await;
            (number, stored)
        })
        .buffered(LOG_FETCHES);
    let mut before = start;
    while let Some((number, stored)) = fetched.next().await {
        findings.proceed()?;
        let path = commit::path(number);
        let opened = match stored {
            Ok(stored) => commit::open(&repository.inner.ring, number, &stored)
                .map(|commit| (commit, commit::hash(&stored)))
                .map_err(|source| Error::object(path.clone(), source)),
            Err(error) => Err(Error::Store(error)),
        };
        let (commit, hash) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                findings.unreadable(&path, error)?;
                before = None;
                continue;
            }
        };
        if before.is_some_and(|(last, hash)| last + 1 == number && commit.previous != hash) {
            findings.damage(format!("{path}: it does not continue the commit before it"));
        }
        if number == state.number && hash != state.hash {
            findings.damage(format!("{path}: it is not the commit that was opened"));
        }
        if sums.iter().any(|(sum, of)| *sum == number && *of != hash) {
            let sum = commit::checkpoint_path(number);
            findings.damage(format!("{sum}: it sums up another log"));
        }
        before = Some((number, hash));
    }
    Ok(())
}

/// Index objects that no commit names.
pub(super) async fn note_loose_indexes(
    repository: &Repository,
    state: &State,
    findings: &Findings,
) -> Result<()> {
    let live: HashSet<IndexId> = state.indexes.iter().map(|index| index.id).collect();
    let mut listed = repository.inner.storage.store().list("index/", None).await;
    let mut loose = 0u64;
    while let Some(info) = listed.try_next().await.map_err(Error::Store)? {
        let id = info.key.strip_prefix("index/").and_then(IndexId::from_hex);
        if id.is_none_or(|id| !live.contains(&id)) {
            loose += 1;
        }
    }
    if loose > 0 {
        findings.note(format!(
            "index/: {loose} objects are not referenced: replaced, left by an interrupted run, or \
             being written now"
        ));
    }
    Ok(())
}
