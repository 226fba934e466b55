//! Making the parity of one group: reads its packs side by side, a span of each at a time.

use rayon::iter::{
    IndexedParallelIterator as _, IntoParallelRefMutIterator as _, ParallelIterator as _,
};
use repo_format::parity::{self, BLOCK, Coder, Member, ShardBuilder, Table};
use repo_format::{PackId, SessionId, pack, random_array};

use crate::error::{Error, Result};
use crate::limits::{PARITY_BUFFER, PARITY_SPAN_BLOCKS};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::repository::check::finding_or_fail;

/// A pack to be protected.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) id: PackId,
    pub(super) size: u64,
    /// What its blocks hashed to when parity was made of it before; empty when it never was.
    pub(super) hashes: Vec<[u8; 32]>,
}

/// What came of a group.
pub(super) enum Made {
    /// Its shards are stored: their bytes.
    Stored(u64),
    /// The pack at this place cannot be protected, and why.
    Unfit(usize, String),
}

/// Stores the shards of a group of `wanted` packs.
pub(super) fn make(
    repository: &Repository,
    session: SessionId,
    wanted: &[Wanted],
    (width, shards): (u32, u32),
    progress: &dyn Progress,
) -> Result<Made> {
    let members = wanted.iter().map(|pack| Member {
        id: pack.id,
        size: pack.size,
        hashes: pack.hashes.clone(),
    });
    let mut table = Table {
        group: random_array().map_err(Error::encode)?,
        width,
        shards,
        shard: 0,
        members: members.collect(),
    };
    let each = PARITY_BUFFER / table.shard_len().max(1);
    let each = u32::try_from(each).unwrap_or(u32::MAX).clamp(1, shards);
    let mut bytes = 0;
    let mut from = 0;
    while from < shards {
        let to = shards.min(from.saturating_add(each));
        let made = match pass(repository, session, &mut table, (from, to), progress)? {
            Ok(made) => made,
            Err((at, why)) => return Ok(Made::Unfit(at, why)),
        };
        for (shard, builder) in (from..to).zip(made) {
            table.shard = shard;
            let (id, object) = builder.finish(&table).map_err(Error::encode)?;
            let key = parity::path(&id);
            bytes += object.len() as u64;
            let storage = &repository.inner.storage;
            let put = storage.store().put_new(&key, object.into());
            storage.wait(put).map_err(Error::Store)?;
        }
        from = to;
    }
    Ok(Made::Stored(bytes))
}

/// A pack that cannot be read as it should be.
type Unfit = (usize, String);

/// Builds shards `from` to `to`, and fills in or compares the hashes of the table.
fn pass(
    repository: &Repository,
    session: SessionId,
    table: &mut Table,
    (from, to): (u32, u32),
    progress: &dyn Progress,
) -> Result<std::result::Result<Vec<ShardBuilder>, Unfit>> {
    let len = table.shard_len();
    let ring = &repository.inner.ring;
    let mut builders = Vec::new();
    for _ in from..to {
        builders.push(ShardBuilder::new(ring, session, len).map_err(Error::encode)?);
    }
    let coder = Coder::new(table.members.len(), table.shards as usize);
    let mut coder = coder.map_err(Error::encode)?;
    let mut parts = vec![Vec::new(); table.members.len()];
    let span = PARITY_SPAN_BLOCKS * BLOCK as u64;
    let mut start = 0;
    while start < len {
        if progress.cancelled() {
            return Err(Error::Cancelled);
        }
        let end = len.min(start + span);
        let read: Vec<Result<()>> = repository.pool()?.install(|| {
            let members = table.members.par_iter_mut();
            members
                .zip(parts.par_iter_mut())
                .map(|(member, part)| fill(repository, member, (start, end), part))
                .collect()
        });
        for (at, read) in read.into_iter().enumerate() {
            if let Err(error) = read {
                return Ok(Err((at, finding_or_fail(error)?)));
            }
        }
        let coded = coder.encode(&parts, |shard, parity| {
            let wanted = shard.checked_sub(from as usize);
            match wanted.and_then(|at| builders.get_mut(at)) {
                Some(builder) => builder.push(parity),
                None => Ok(()),
            }
        });
        coded.map_err(Error::encode)?;
        let read = |member: &Member| member.size.min(end).saturating_sub(start);
        if from == 0 {
            progress.advance(table.members.iter().map(read).sum(), 0);
        }
        start = end;
    }
    Ok(Ok(builders))
}

/// Reads `start..end` of a pack, with zeros behind its end, and remembers the hashes of its blocks.
/// A block that hashed to something else before is damaged.
fn fill(
    repository: &Repository,
    member: &mut Member,
    (start, end): (u64, u64),
    part: &mut Vec<u8>,
) -> Result<()> {
    let key = pack::path(&member.id);
    part.clear();
    let stop = member.size.min(end);
    let malformed = |why| {
        let what = "pack";
        Error::object(key.clone(), repo_format::Error::Malformed { what, why })
    };
    if start < stop {
        repository.inner.storage.read(&key, start..stop, part)?;
        if part.len() as u64 != stop - start {
            return Err(malformed("it is shorter than the index says"));
        }
    }
    let first = usize::try_from(start / BLOCK as u64).unwrap_or(usize::MAX);
    for (number, block) in (first..).zip(part.chunks(BLOCK)) {
        let hash = parity::block_hash(block);
        match member.hashes.get(number) {
            None => member.hashes.push(hash),
            Some(known) if *known == hash => {}
            Some(_) => return Err(malformed("it is not what its parity was made of")),
        }
    }
    let len = usize::try_from(end - start).map_err(|_| Error::Internal { what: "span" })?;
    part.resize(len, 0);
    Ok(())
}
