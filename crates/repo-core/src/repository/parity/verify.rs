//! Verification of parity, as a part of a check.

use std::collections::BTreeSet;

use repo_format::parity::{self, BLOCK, block_place};
use repo_format::{PackId, TAG_LEN};

use super::catalog::{Catalog, Group, Shard, opener};
use crate::error::{Error, Result};
use crate::limits::PARITY_SPAN_BLOCKS;
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::check::{Findings, finding_or_fail};

/// Reads the tables of all parity objects, and on request every block. Damage is a finding, though no
/// snapshot needs parity; what of the `live` packs is not protected is a note, where something is.
/// Returns the bytes read. Blocks.
pub(crate) fn verify(
    repository: &Repository,
    findings: &Findings,
    live: &BTreeSet<PackId>,
    all: bool,
) -> Result<u64> {
    let mut catalog = Catalog::read(repository, |_| false)?;
    if catalog.is_empty() {
        return Ok(0);
    }
    let bytes = if all {
        read_all(repository, &mut catalog, findings.progress())?
    } else {
        0
    };
    for (key, why) in &catalog.unreadable {
        findings.damage(named(key, why));
    }
    let broken = |group: &&Group| !group.is_whole() && !group.shards.is_empty();
    for group in catalog.groups.values().filter(broken) {
        let key = group.keys().into_iter().next().unwrap_or_default();
        let (there, of) = (group.shards.len(), group.table.shards);
        findings.note(format!(
            "{key}: only {there} of the {of} parity objects of its group are whole"
        ));
    }
    let sound = catalog.sound(live, |_| true);
    let members = sound.iter().filter_map(|id| catalog.groups.get(id));
    let covered: BTreeSet<PackId> = members.flat_map(Group::packs).collect();
    let open = live.difference(&covered).count();
    if open > 0 {
        findings.note(format!("packs/: {open} packs are in no whole parity group"));
    }
    Ok(bytes)
}

/// What is wrong with an object, with its name.
pub(super) fn named(key: &str, why: &str) -> String {
    if why.contains(key) {
        why.to_owned()
    } else {
        format!("{key}: {why}")
    }
}

/// Opens every block of every parity object. Those with damage leave their groups and are among what
/// is unreadable. Returns the bytes read.
pub(super) fn read_all(
    repository: &Repository,
    catalog: &mut Catalog,
    progress: &dyn Progress,
) -> Result<u64> {
    let shards = || {
        catalog
            .groups
            .values()
            .flat_map(|group| group.shards.values())
    };
    let bytes = shards().map(|shard| shard.size).sum();
    progress.start("parity", Some(bytes), Some(shards().count() as u64));
    let mut damaged = Vec::new();
    for (id, group) in &catalog.groups {
        for (number, shard) in &group.shards {
            if let Some(why) = damage_of(repository, group, shard, progress)? {
                damaged.push((*id, *number, parity::path(&shard.id), why));
            }
            progress.advance(shard.size, 1);
        }
    }
    progress.finish();
    for (id, number, key, why) in damaged {
        if let Some(group) = catalog.groups.get_mut(&id) {
            group.shards.remove(&number);
        }
        catalog.unreadable.push((key, why));
    }
    Ok(bytes)
}

/// What is wrong with the blocks of a shard.
fn damage_of(
    repository: &Repository,
    group: &Group,
    shard: &Shard,
    progress: &dyn Progress,
) -> Result<Option<String>> {
    let inner = &repository.inner;
    let key = parity::path(&shard.id);
    let len = group.table.shard_len();
    let mut bad = Vec::new();
    let mut read = || {
        let opener = opener(&inner.storage, &inner.ring, &shard.id)?;
        let (blocks, mut at) = (parity::blocks(len), 0);
        let mut span = Vec::new();
        while at < blocks {
            if progress.cancelled() {
                return Err(Error::Cancelled);
            }
            let behind = blocks.min(at + PARITY_SPAN_BLOCKS);
            let range = block_place(len, at).start..block_place(len, behind - 1).end;
            inner.storage.read(&key, range, &mut span)?;
            for (block, part) in (at..).zip(span.chunks_mut(BLOCK + TAG_LEN)) {
                if opener.open(block_place(len, block).start, part).is_err() {
                    bad.push(block);
                }
            }
            at = behind;
        }
        Ok::<(), Error>(())
    };
    match read() {
        Ok(()) => {}
        // Others superseded it since it was listed.
        Err(error) if error.is_lost() => return Ok(None),
        Err(error) => return finding_or_fail(error).map(Some),
    }
    Ok(bad.first().map(|first| {
        let count = bad.len();
        format!("{count} of its blocks fail authentication, the first is block {first}")
    }))
}
