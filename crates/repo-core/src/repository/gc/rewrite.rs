//! Index objects without what is gone: entries of condemned packs, of blobs stored anew, and of
//! dead deltas, whose bases may be going.
//!
//! Each new object is the union of whole old ones, so a pack stays described by one object.

use std::collections::BTreeSet;
use std::sync::Arc;

use repo_format::commit::IndexRef;
use repo_format::{IndexId, PackId, SessionId};

use super::live::{Known, Live, Share};
use super::{GcOptions, Reseal};
use crate::error::{Error, Result};
use crate::limits::{MERGE_AT, SESSION_ENTRIES_MAX};
use crate::repository::Repository;
use crate::repository::index::IndexBuilder;

/// What a commit does to the index.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    pub(super) removed: Vec<IndexId>,
    pub(super) added: Vec<IndexRef>,
}

/// What becomes of one object.
struct Verdict<'a> {
    /// Its number in the order that objects are asked.
    number: usize,
    known: &'a Known,
    shares: Vec<Share>,
    stale: bool,
}

impl Verdict<'_> {
    fn small(&self) -> bool {
        self.known.object.tail().entries < SESSION_ENTRIES_MAX as u64 / 8
    }
}

/// Writes the objects that replace those of `live` once the packs of `going` are condemned, and those
/// of older keys if `options` say so.
pub(super) fn rewrite(
    repository: &Repository,
    session: SessionId,
    live: &Live,
    going: &BTreeSet<PackId>,
    options: &GcOptions,
) -> Result<Rewritten> {
    let newest = repository.inner.ring.sealing();
    let reseal = options.reseal != Reseal::No;
    let mut verdicts = Vec::new();
    // Oldest first, as the log names them.
    for (number, known) in live.objects().iter().enumerate().rev() {
        let mut verdict = judge(number, known, going)?;
        verdict.stale |= reseal && known.object.epoch() < newest;
        verdicts.push(verdict);
    }
    let small = verdicts.iter().filter(|verdict| verdict.small()).count();
    verdicts.retain(|verdict| verdict.stale || (small >= MERGE_AT && verdict.small()));
    let mut rewritten = Rewritten::default();
    let mut builder = IndexBuilder::default();
    for verdict in verdicts {
        let object = &verdict.known.object;
        let entries = usize::try_from(object.tail().entries).unwrap_or(usize::MAX);
        if !builder.entries.is_empty() && builder.entries.len() + entries > SESSION_ENTRIES_MAX {
            rewritten.store(repository, session, &mut builder, options.dry_run)?;
        }
        take(&mut builder, live, &verdict, going)?;
        rewritten.removed.push(object.id());
    }
    if !builder.entries.is_empty() {
        rewritten.store(repository, session, &mut builder, options.dry_run)?;
    }
    Ok(rewritten)
}

impl Rewritten {
    fn store(
        &mut self,
        repository: &Repository,
        session: SessionId,
        builder: &mut IndexBuilder,
        dry_run: bool,
    ) -> Result<()> {
        let inner = &repository.inner;
        let mut builder = std::mem::take(builder);
        let added = builder.store(&inner.storage, &inner.ring, session, dry_run)?;
        self.added.push(added);
        Ok(())
    }
}

fn judge<'a>(number: usize, known: &'a Known, going: &BTreeSet<PackId>) -> Result<Verdict<'a>> {
    let tail = known.object.tail();
    let shares = known.shares()?;
    let mut stale = tail.packs.iter().any(|pack| going.contains(&pack.id))
        || shares
            .iter()
            .any(|share| share.entries == 1 && share.needed == 0);
    if !stale {
        known
            .object
            .each_entry(|at, _| stale = stale || known.moved(at))?;
    }
    Ok(Verdict {
        number,
        known,
        shares,
        stale,
    })
}

fn take(
    builder: &mut IndexBuilder,
    live: &Live,
    verdict: &Verdict<'_>,
    going: &BTreeSet<PackId>,
) -> Result<()> {
    let known = verdict.known;
    let object = Arc::clone(&known.object);
    let tail = object.tail();
    let mut lost = false;
    let mut unread = None;
    let mut buffer = Vec::new();
    builder.take(&object, |at, entry| {
        let goes = tail
            .locate(entry)
            .is_some_and(|(pack, _)| going.contains(&pack.id));
        let needed = known.needed(at) && !known.moved(at);
        lost = lost || (goes && needed);
        // Dead chunks beside live ones in a segment stay known: they tell how much of it is waste,
        // and a snapshot that has them again need not store them.
        let beside = verdict
            .shares
            .get(entry.segment as usize)
            .is_some_and(|share| share.entries > 1 && share.needed > 0);
        if goes || known.moved(at) || !(needed || beside) {
            return false;
        }
        let superseded = live.is_superseded(verdict.number, &entry.key, &mut buffer);
        superseded.map_or_else(
            |error| {
                unread.get_or_insert(error);
                false
            },
            |superseded| !superseded,
        )
    })?;
    if let Some(error) = unread {
        return Err(error);
    }
    if lost {
        return Err(Error::Internal {
            what: "a pack was to be condemned that is needed",
        });
    }
    Ok(())
}
