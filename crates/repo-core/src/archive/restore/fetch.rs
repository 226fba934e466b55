//! From wanted parts to bytes in files: find the chunks, read packs in order with few long reads,
//! decode each segment once, verify each chunk, write.

use std::sync::{Mutex, PoisonError};

use rayon::prelude::{
    IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator, ParallelSlice,
};
use repo_format::pack::{self, SEGMENT_PREFIX_LEN};
use repo_format::{BlobKind, limits};

use crate::archive::restore::file::Part;
use crate::archive::restore::job::{Job, Scratch, chain};
use crate::archive::restore::limits::{GAP, READ_LOCAL, READ_REMOTE, READS_IN_FLIGHT};
use crate::archive::restore::window::Window;
use crate::error::{Error, Result};
use crate::repository::SegmentAddress;

/// A wanted part and where its chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    address: SegmentAddress,
    ordinal: u16,
    part: u32,
}

/// Neighbouring segments of one pack, read together.
struct Run<'p> {
    placed: &'p [Placed],
    start: u64,
    end: u64,
}

/// Fetches the parts of the window at `wanted` and delivers them to their files.
pub(super) fn run(job: &Job, window: &Window, wanted: &[usize]) {
    let mut placed: Vec<Placed> = wanted
        .par_chunks(256)
        .flat_map_iter(|wanted| locate(job, window, wanted))
        .collect();
    placed.sort_unstable();
    let Some(first) = placed.first() else {
        return;
    };
    let key = pack::path(&first.address.pack);
    let storage = &job.trees.repository().inner.storage;
    if storage.store().local_path(&key).is_some() {
        runs(&placed, READ_LOCAL)
            .par_iter()
            .with_max_len(1)
            .for_each(|run| local(job, window, run));
    } else {
        remote(job, window, &runs(&placed, READ_REMOTE));
    }
}

fn locate(job: &Job, window: &Window, wanted: &[usize]) -> Vec<Placed> {
    let mut placed = Vec::with_capacity(wanted.len());
    for at in wanted {
        let part = &window.parts[*at];
        let Some(id) = &part.id else { continue };
        match job.trees.index().find(&id.key()) {
            Ok(Some(location)) => placed.push(Placed {
                address: location.segment,
                ordinal: location.ordinal,
                part: u32::try_from(*at).unwrap_or(u32::MAX),
            }),
            Ok(None) => lost(job, window, part, None, &Error::MissingBlob { id: *id }),
            Err(error) => lost(job, window, part, None, &error),
        }
    }
    placed
}

/// Cuts the sorted parts where the gap to the next segment, or the read, would be too long.
fn runs(placed: &[Placed], read_max: u64) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    let mut first = 0;
    for (at, next) in placed.iter().enumerate() {
        let start = u64::from(next.address.offset).saturating_sub(SEGMENT_PREFIX_LEN as u64);
        let end = u64::from(next.address.offset) + u64::from(next.address.stored);
        // A segment longer than a read is a run of its own; its chunks still belong together.
        let same = at > 0 && placed[at - 1].address == next.address;
        if let Some(run) = runs.last_mut()
            && placed[first].address.pack == next.address.pack
            && (same || (start <= run.end + GAP && end <= run.start + read_max))
        {
            run.end = run.end.max(end);
            run.placed = &placed[first..=at];
            continue;
        }
        first = at;
        runs.push(Run {
            placed: &placed[at..=at],
            start,
            end,
        });
    }
    runs
}

fn local(job: &Job, window: &Window, run: &Run<'_>) {
    if job.stopped() {
        return;
    }
    job.with_scratch(|scratch| {
        let key = pack::path(&run.placed[0].address.pack);
        let mut sealed = std::mem::take(&mut scratch.sealed);
        let read = in_bounds(run).and_then(|()| {
            let storage = &job.trees.repository().inner.storage;
            storage.read(&key, run.start..run.end, &mut sealed)
        });
        process(job, window, run, (read, &mut sealed), scratch);
        scratch.sealed = sealed;
    });
}

/// Lengths come from an index object: they are capped before anything is allocated.
fn in_bounds(run: &Run<'_>) -> Result<()> {
    let max = (limits::SEGMENT_RAW_MAX as u64 * 2).max(READ_REMOTE + GAP);
    if run.end.saturating_sub(run.start) <= max {
        return Ok(());
    }
    Err(Error::object(
        pack::path(&run.placed[0].address.pack),
        repo_format::Error::Malformed {
            what: "segment",
            why: "its stored length is out of range",
        },
    ))
}

/// Reads ahead of the threads that decode, because a request to a distant store takes longer than
/// the work on its answer.
fn remote(job: &Job, window: &Window, runs: &[Run<'_>]) {
    use futures::StreamExt;
    let repository = job.trees.repository();
    let storage = &repository.inner.storage;
    let requests: Vec<(usize, String, std::ops::Range<u64>)> = runs
        .iter()
        .enumerate()
        .filter(|(_, run)| in_bounds(run).is_ok())
        .map(|(at, run)| {
            (
                at,
                pack::path(&run.placed[0].address.pack),
                run.start..run.end,
            )
        })
        .collect();
    for run in runs {
        if let Err(error) = in_bounds(run) {
            job.with_scratch(|scratch| {
                process(job, window, run, (Err(error), &mut Vec::new()), scratch);
            });
        }
    }
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let store = storage.store().clone();
    let fetcher = storage.runtime().spawn(async move {
        let answers = futures::stream::iter(requests).map(|(at, key, range)| {
            let store = store.clone();
            async move { (at, store.get_range(&key, range).await) }
        });
        let mut answers = std::pin::pin!(answers.buffered(READS_IN_FLIGHT));
        while let Some(answer) = answers.next().await {
            if sender.send(answer).await.is_err() {
                return;
            }
        }
    });
    let answers = Mutex::new(receiver);
    let next = || {
        let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        storage.wait(answers.recv())
    };
    // Each thread waits for an answer when it has time to work on it, so that few are in memory.
    rayon::broadcast(|_| {
        while let Some((at, answer)) = next() {
            if job.stopped() {
                return;
            }
            job.with_scratch(|scratch| {
                let mut sealed = std::mem::take(&mut scratch.sealed);
                let read = answer.map_err(Error::Store).map(|bytes| {
                    sealed.clear();
                    sealed.extend_from_slice(&bytes);
                });
                process(job, window, &runs[at], (read, &mut sealed), scratch);
                scratch.sealed = sealed;
            });
        }
    });
    fetcher.abort();
}

/// Decodes each segment of a run that was read, and delivers its chunks.
fn process(
    job: &Job,
    window: &Window,
    run: &Run<'_>,
    (read, sealed): (Result<()>, &mut Vec<u8>),
    scratch: &mut Scratch,
) {
    let segments = &job.trees.repository().inner.segments;
    let index = job.trees.index();
    let whole = read.is_ok();
    let mut failure = read.err();
    let several = run.placed.first().map(|p| p.address) != run.placed.last().map(|p| p.address);
    for placed in run.placed.chunk_by(|a, b| a.address == b.address) {
        if job.failed() {
            return;
        }
        let address = &placed[0].address;
        let decoded = if whole {
            let start =
                usize::try_from(u64::from(address.offset) - run.start).unwrap_or(usize::MAX);
            let body = start
                .checked_add(address.stored as usize)
                .and_then(|end| sealed.get_mut(start..end));
            match body {
                Some(body) => segments
                    .decode_sealed(
                        index,
                        address,
                        body,
                        &mut scratch.read,
                        &mut scratch.segment,
                    )
                    .map(drop),
                None => Err(Error::Internal { what: "read range" }),
            }
        } else if several {
            // What is wrong may concern one segment only, for example the end of a cut pack.
            segments
                .read(index, address, &mut scratch.read, &mut scratch.segment)
                .map(drop)
        } else {
            Err(failure.take().unwrap_or(Error::Internal { what: "read" }))
        };
        match decoded {
            Ok(()) => deliver(job, window, placed, scratch),
            Err(error) => {
                for placed in placed {
                    let part = &window.parts[placed.part as usize];
                    lost(job, window, part, Some(address), &error);
                }
            }
        }
    }
}

/// Hands the chunks of a decoded segment to their files, each verified first.
fn deliver(job: &Job, window: &Window, placed: &[Placed], scratch: &Scratch) {
    let ring = &job.trees.repository().inner.ring;
    let segment = &scratch.segment;
    let mut verified = None;
    for placed in placed {
        let part = &window.parts[placed.part as usize];
        let Some(id) = part.id else { continue };
        let bytes = segment
            .range(placed.ordinal)
            .and_then(|range| segment.raw.get(range))
            .filter(|bytes| bytes.len() as u64 == part.len)
            .filter(|bytes| {
                verified == Some((placed.ordinal, id)) || ring.blob_id(BlobKind::Data, bytes) == id
            });
        match bytes {
            Some(bytes) => {
                verified = Some((placed.ordinal, id));
                window.file(part).deliver(job, part, bytes);
            }
            None => {
                let pack = placed.address.pack;
                let error = Error::DamagedBlob { id, pack };
                lost(job, window, part, Some(&placed.address), &error);
            }
        }
    }
}

/// A chunk that cannot be had from where it should be: looked for once more, then reported.
fn lost(job: &Job, window: &Window, part: &Part, known: Option<&SegmentAddress>, error: &Error) {
    let Some(id) = &part.id else { return };
    let file = window.file(part);
    if let Some(blob) = job.look_again(id, known)
        && blob.len() as u64 == part.len
    {
        return file.deliver(job, part, &blob);
    }
    let at = known.map_or_else(String::new, |address| format!(" in pack {}", address.pack));
    let message = format!(
        "chunk {id}{at} cannot be restored, {} bytes at {} are left as zeros: {}",
        part.len,
        part.offset,
        chain(error)
    );
    job.damage(&file.dir, &file.name, message);
    file.leave_gap(job, part);
}

#[cfg(test)]
mod tests {
    use repo_format::PackId;

    use super::*;

    fn placed(pack: u8, offset: u32, stored: u32, ordinal: u16) -> Placed {
        Placed {
            address: SegmentAddress {
                pack: PackId([pack; 32]),
                offset,
                stored,
                raw: stored,
            },
            ordinal,
            part: 0,
        }
    }

    #[test]
    fn a_segment_is_read_once_however_long_it_is() {
        let long = [0, 1, 2].map(|ordinal| placed(1, 104, 3 << 20, ordinal));
        let found = runs(&long, READ_LOCAL);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].placed.len(), 3);
        assert_eq!((found[0].start, found[0].end), (96, 104 + (3 << 20)));
    }

    #[test]
    fn neighbours_are_read_together_up_to_the_limit_and_within_one_pack() {
        let parts = [
            placed(1, 104, 1000, 0),
            placed(1, 2000, 1000, 0),
            placed(1, 2000 + (1 << 20), 1000, 0),
            placed(2, 104, 1000, 0),
        ];
        let lens: Vec<usize> = runs(&parts, READ_LOCAL)
            .iter()
            .map(|run| run.placed.len())
            .collect();
        assert_eq!(lens, [2, 1, 1]);
    }
}
