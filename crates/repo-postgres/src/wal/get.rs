//! Fetching archived files, and segments ahead of their turn.

use std::io::BufWriter;
use std::path::Path;

use repo_core::Repository;

use crate::wal::archive::{self, Found};
use crate::wal::error::{Error, Result};
use crate::wal::header::{self, HEADER_LEN};
use crate::wal::limits::PART;
use crate::wal::local::{Staged, check_len};
use crate::wal::name::WalFile;
use crate::wal::spool::Spool;

/// Puts an archived file at `target`. False when the archive certainly does not hold it.
///
/// The file gets its name when it is whole and durable.
pub async fn fetch(
    repository: &Repository,
    system: u64,
    file: WalFile,
    target: &Path,
) -> Result<bool> {
    let Some(found) = archive::find(repository, system, file).await? else {
        return Ok(false);
    };
    let staged = Staged::create(target)?;
    write(&found, system, file, staged).await?;
    Ok(true)
}

/// Fetches up to `ahead` segments that follow `file` into the spool, as far as there are any, and
/// deletes what is there of others.
pub async fn fetch_ahead(
    repository: &Repository,
    system: u64,
    file: WalFile,
    spool: &Spool,
    ahead: usize,
) -> Result<()> {
    let WalFile::Segment(mut segment) = file else {
        return Ok(());
    };
    let Some(found) = archive::find(repository, system, file).await? else {
        return Ok(());
    };
    let size = found.entry.size;
    let mut wanted = Vec::new();
    while wanted.len() < ahead {
        let Some(next) = segment.next(size) else {
            break;
        };
        segment = next;
        wanted.push(WalFile::Segment(next));
    }
    spool.retain_fetched(system, &wanted);
    for file in wanted {
        if spool.is_fetched(system, file) {
            continue;
        }
        let Some(found) = archive::find(repository, system, file).await? else {
            break;
        };
        let staged = spool.stage_fetched(system, file)?;
        write(&found, system, file, staged).await?;
    }
    Ok(())
}

async fn write(found: &Found, system: u64, file: WalFile, staged: Staged) -> Result<()> {
    let entry = &found.entry;
    check_len(file, entry.size)?;
    let head = found.view.read(entry, 0..HEADER_LEN as u64).await?;
    header::validate(file, &head, entry.size, system)?;
    let out = BufWriter::with_capacity(PART, staged.file()?);
    found
        .view
        .write_to(entry, Box::new(out))
        .await
        .map_err(Error::Repository)?;
    staged.finish()
}
