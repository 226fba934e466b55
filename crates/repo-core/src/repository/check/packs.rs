//! Packs: that they are there, agree with the index, and hold the bytes their directories say.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::TryStreamExt;
use repo_format::{PackId, limits, pack, random_array};

use super::ledger::Ledger;
use super::pipeline::{Depth, Examination, run};
use super::{CheckOptions, CheckReport, Coverage, Damage, Findings, ReadData};
use crate::clock::{Stopwatch, now_ms};
use crate::error::{Error, Result};
use crate::limits::CHECK_NOTES_MAX;
use crate::repository::Repository;
use crate::repository::index::IndexSet;
use crate::repository::segments::SegmentReader;

/// What the index says about one pack, and what the store does.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackFacts {
    pub(super) id: PackId,
    /// Length by the index.
    pub(super) size: u64,
    /// Length by the store; absent when the store has no such pack.
    pub(super) stored: Option<u64>,
    /// Entries of the index that point into it.
    pub(super) entries: u64,
    /// Whether `entries` is exact.
    pub(super) countable: bool,
}

/// What [`check`] hands back.
pub(super) struct Done {
    pub(super) index: Arc<IndexSet>,
    pub(super) reader: Arc<SegmentReader>,
    pub(super) damage: Damage,
    pub(super) report: CheckReport,
}

/// Compares the packs of the index with those of the store, reads their directories, and the data
/// of those that `options` choose.
pub(super) async fn check(
    repository: &Repository,
    options: &CheckOptions,
    findings: &Arc<Findings>,
    index: Arc<IndexSet>,
    mut facts: Vec<PackFacts>,
    mut report: CheckReport,
) -> Result<Done> {
    let inner = &repository.inner;
    findings
        .progress()
        .start("packs", None, Some(facts.len() as u64));
    let mut damage = Damage::default();
    compare(repository, findings, &mut facts, &mut damage).await?;
    facts.retain(|facts| facts.stored.is_some());
    let ids = facts.iter().map(|facts| facts.id).collect();
    let (ledger, times) = open_ledger(repository, options.read_data, ids).await?;
    let (read, mut rest) = choose(facts, &times, options.read_data)?;
    let mut examination = Examination::new(
        inner.storage.clone(),
        Arc::clone(&inner.ring),
        Arc::clone(&index),
        Arc::new(SegmentReader::new(
            inner.storage.clone(),
            Arc::clone(&inner.ring),
        )),
        Arc::clone(findings),
        damage,
    );
    examination.ledger = ledger;
    if let ReadData::Due {
        max_duration_ms: Some(ms),
        ..
    } = options.read_data
    {
        examination.deadline = Some((Stopwatch::start(), ms));
    }
    let examination = Arc::new(examination);
    run(repository, &examination, rest.clone(), Depth::Directory).await?;
    findings.progress().finish();
    if options.read_data != ReadData::No {
        let bytes = read.iter().map(|facts| facts.size).sum();
        let count = read.len() as u64;
        findings.progress().start("data", Some(bytes), Some(count));
        let begun = run(repository, &examination, read.clone(), Depth::Data).await?;
        let left = read.get(begun..).unwrap_or_default().to_vec();
        run(repository, &examination, left.clone(), Depth::Directory).await?;
        findings.progress().finish();
        if let ReadData::Due { .. } = options.read_data {
            let whole: u64 = read.iter().chain(&rest).map(|facts| facts.size).sum();
            report.coverage = Some(Coverage {
                bytes: whole,
                bytes_verified: whole - examination.unverified(&read, begun),
                packs_due: left.len() as u64,
            });
        }
        rest.extend(left);
    }
    // Chunks stored against a chunk that turned out to be lost are lost too, and so are those
    // stored against them. Where data was read they did not decode.
    let mut known = 0;
    for _ in 0..=limits::DELTA_DEPTH_MAX {
        let count = examination.damage().count();
        if count == known || rest.is_empty() {
            break;
        }
        known = count;
        run(repository, &examination, rest.clone(), Depth::Bases).await?;
    }
    report.bytes_read += examination.bytes_read.load(Ordering::Relaxed);
    Ok(Done {
        index,
        reader: Arc::clone(&examination.reader),
        damage: std::mem::take(&mut *examination.damage()),
        report,
    })
}

/// The ledger, and when each of the packs was last verified. Only a check by age needs one.
async fn open_ledger(
    repository: &Repository,
    read_data: ReadData,
    packs: Vec<PackId>,
) -> Result<(Option<Ledger>, Vec<Option<i64>>)> {
    let needed = matches!(read_data, ReadData::Due { .. });
    let none = vec![None; packs.len()];
    let cache = repository.inner.storage.cache().map(Path::to_path_buf);
    let Some(cache) = cache.filter(|_| read_data != ReadData::No) else {
        if needed {
            return Err(Error::Invalid {
                what: "without a cache nobody knows what was verified when".to_owned(),
            });
        }
        return Ok((None, none));
    };
    repository
        .blocking(move |_| match Ledger::open(&cache, &packs) {
            Ok((ledger, times)) => Ok((Some(ledger), times)),
            Err(error) if needed => Err(Error::io("use", cache.join("verified"), error)),
            Err(error) => {
                tracing::warn!(%error, "cannot note what is verified");
                Ok((None, none))
            }
        })
        .await
}

/// One pass over the listing and the packs of the index, both in name order.
async fn compare(
    repository: &Repository,
    findings: &Findings,
    facts: &mut [PackFacts],
    damage: &mut Damage,
) -> Result<()> {
    let state = repository.state();
    let unnamed = AtomicU64::new(0);
    let note = |key: &str, why: &str| {
        if unnamed.fetch_add(1, Ordering::Relaxed) < CHECK_NOTES_MAX {
            findings.note(format!("{key}: {why}"));
        }
    };
    let missing = |facts: &PackFacts, damage: &mut Damage| {
        if !state.condemned.contains_key(&facts.id) {
            findings.damage(format!("{}: missing", pack::path(&facts.id)));
            damage.packs.insert(facts.id, 0);
        }
    };
    let mut named = facts.iter_mut().peekable();
    let mut listed = repository.inner.storage.store().list("packs/", None).await;
    while let Some(info) = listed.try_next().await.map_err(Error::Store)? {
        findings.proceed()?;
        let id = info.key.rsplit('/').next().and_then(PackId::from_hex);
        let Some(id) = id.filter(|id| pack::path(id) == info.key) else {
            note(&info.key, "not an object of this program");
            continue;
        };
        while let Some(before) = named.next_if(|facts| facts.id < id) {
            missing(before, damage);
        }
        let Some(facts) = named.next_if(|facts| facts.id == id) else {
            if !state.condemned.contains_key(&id) {
                note(
                    &info.key,
                    "not referenced: left by an interrupted run, or being written now",
                );
            }
            continue;
        };
        facts.stored = Some(info.size);
        if facts.size != info.size {
            findings.damage(format!(
                "{}: {} bytes long, the index says {}",
                info.key, info.size, facts.size
            ));
            damage.packs.insert(id, info.size.min(facts.size));
        }
    }
    for rest in named {
        missing(rest, damage);
    }
    let more = unnamed.into_inner().saturating_sub(CHECK_NOTES_MAX);
    if more > 0 {
        findings.note(format!("packs/: {more} more objects are not referenced"));
    }
    Ok(())
}

/// The packs whose data is read, in order, and the others. `times` says when each was verified.
fn choose(
    facts: Vec<PackFacts>,
    times: &[Option<i64>],
    read_data: ReadData,
) -> Result<(Vec<PackFacts>, Vec<PackFacts>)> {
    let count = facts.len();
    let (wanted, offset) = match read_data {
        ReadData::No => (0, 0),
        ReadData::All => (count, 0),
        ReadData::Percent(percent) => {
            let random = u64::from_le_bytes(random_array().map_err(Error::encode)?);
            (share(count, percent), random)
        }
        ReadData::Due { older_than_ms, .. } => {
            return Ok(due(facts, times, older_than_ms));
        }
    };
    let (mut read, mut rest) = (Vec::new(), Vec::new());
    for (at, facts) in facts.into_iter().enumerate() {
        let list = if spread(at, count, wanted, offset) {
            &mut read
        } else {
            &mut rest
        };
        list.push(facts);
    }
    Ok((read, rest))
}

/// The packs not verified for so long, those verified longest ago first, and the others.
fn due(
    facts: Vec<PackFacts>,
    times: &[Option<i64>],
    older_than_ms: Option<u64>,
) -> (Vec<PackFacts>, Vec<PackFacts>) {
    let since = older_than_ms.map(|ms| now_ms().saturating_sub_unsigned(ms));
    let timed = facts.into_iter().zip(times.iter().copied());
    let (mut read, rest): (Vec<_>, Vec<_>) = timed.partition(|(_, time)| match (time, since) {
        (Some(time), Some(since)) => *time <= since,
        _ => true,
    });
    // A pack that was never verified comes first.
    read.sort_by_key(|(_, time)| *time);
    let plain = |list: Vec<(PackFacts, _)>| list.into_iter().map(|(facts, _)| facts).collect();
    (plain(read), plain(rest))
}

/// `percent` of `count`, rounded up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the product is positive and clipped to the count"
)]
fn share(count: usize, percent: f64) -> usize {
    ((count as f64 * percent / 100.0).ceil() as usize).min(count)
}

/// Whether place `at` of `count` is among the `wanted` that are evenly spread from `offset` on.
fn spread(at: usize, count: usize, wanted: usize, offset: u64) -> bool {
    let (at, count, wanted) = (at as u128, count as u128, wanted as u128);
    if wanted == 0 || at >= count {
        return false;
    }
    let place = (at + u128::from(offset)) % count;
    // Exactly `wanted` of all places step over a multiple of `count`.
    (place + 1) * wanted / count > place * wanted / count
}

#[cfg(test)]
mod tests {
    use super::{share, spread};

    #[test]
    fn a_share_is_rounded_up_and_spread_evenly() {
        for count in [1, 2, 3, 7, 100, 1001] {
            for percent in [0.01, 1.0, 33.3, 50.0, 99.9, 100.0] {
                let wanted = share(count, percent);
                assert!(wanted >= 1 && wanted <= count);
                for offset in [0, 1, 5, u64::MAX] {
                    let chosen: Vec<usize> = (0..count)
                        .filter(|at| spread(*at, count, wanted, offset))
                        .collect();
                    assert_eq!(chosen.len(), wanted, "{count} {percent} {offset}");
                    let widest = chosen.windows(2).map(|pair| pair[1] - pair[0]).max();
                    assert!(widest.unwrap_or(0) <= count / wanted + 1);
                }
            }
        }
        assert_eq!(share(1000, 100.0), 1000);
        assert_eq!(share(0, 50.0), 0);
    }
}
