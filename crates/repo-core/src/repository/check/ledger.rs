//! Which pack was verified when, kept in the local cache.
//!
//! A file of records `pack id [32] | time i64`, little-endian, milliseconds since 1970; the last
//! one of a pack counts. It is replaced by what it says of packs that still exist when a check
//! begins, and grows while the check runs, so a check that is killed loses at most the packs in
//! work. A torn or foreign record names no pack of the repository. Losing the file costs reading
//! everything once more; two checks at once may lose what one of them notes.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use repo_format::PackId;

use crate::clock::now_ms;

const FILE: &str = "verified";
const RECORD: usize = PackId::LEN + 8;
/// Time of a pack that was found harmed.
const NEVER: i64 = i64::MIN;

/// Appends to the ledger of one repository.
pub(super) struct Ledger(Mutex<File>);

impl Ledger {
    /// Opens the ledger in `cache`. Tells for each of `packs`, which are in ascending order, when
    /// it was last verified; a time to come is none.
    pub(super) fn open(cache: &Path, packs: &[PackId]) -> io::Result<(Self, Vec<Option<i64>>)> {
        fs::create_dir_all(cache)?;
        let mut times = vec![None; packs.len()];
        match File::open(cache.join(FILE)) {
            Ok(file) => read(file, packs, &mut times)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let mut file = tempfile::NamedTempFile::new_in(cache)?;
        let mut all = Vec::with_capacity(packs.len() * RECORD);
        for (id, time) in packs.iter().zip(&times) {
            if let Some(time) = time {
                push(&mut all, id, *time);
            }
        }
        file.write_all(&all)?;
        let file = file.persist(cache.join(FILE))?;
        Ok((Self(Mutex::new(file)), times))
    }

    /// Notes that a pack was read now and is sound, or is not.
    pub(super) fn note(&self, id: &PackId, sound: bool) {
        let mut record = Vec::with_capacity(RECORD);
        push(&mut record, id, if sound { now_ms() } else { NEVER });
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&record) {
            tracing::warn!(%error, "could not note that a pack was verified");
        }
    }
}

fn push(out: &mut Vec<u8>, id: &PackId, time: i64) {
    out.extend_from_slice(&id.0);
    out.extend_from_slice(&time.to_le_bytes());
}

fn read(file: File, packs: &[PackId], times: &mut [Option<i64>]) -> io::Result<()> {
    let now = now_ms();
    let mut file = BufReader::new(file);
    let mut record = [0; RECORD];
    loop {
        match file.read_exact(&mut record) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        let (id, time) = record.split_at(PackId::LEN);
        let (Some(id), Some(time)) = (PackId::from_slice(id), time.first_chunk()) else {
            continue;
        };
        if let Ok(at) = packs.binary_search(&id) {
            let time = i64::from_le_bytes(*time);
            times[at] = (time != NEVER && time <= now).then_some(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> PackId {
        PackId([byte; 32])
    }

    #[test]
    fn the_last_record_of_a_pack_counts_and_others_go() {
        let place = tempfile::tempdir().unwrap();
        let cache = place.path().join("cache");
        let all = [id(1), id(2), id(3)];
        let (ledger, times) = Ledger::open(&cache, &all).unwrap();
        assert_eq!(times, [None; 3]);
        for (pack, sound) in [(id(1), true), (id(2), true), (id(2), false), (id(3), true)] {
            ledger.note(&pack, sound);
        }
        drop(ledger);
        let (_, times) = Ledger::open(&cache, &all[..2]).unwrap();
        assert!(times[0].is_some_and(|time| time <= now_ms()));
        assert_eq!(times[1], None);
        let (_, times) = Ledger::open(&cache, &all).unwrap();
        assert_eq!(times[2], None, "what is gone is forgotten");
    }

    #[test]
    fn a_torn_end_and_times_to_come_are_passed_over() {
        let place = tempfile::tempdir().unwrap();
        let mut bytes = Vec::new();
        push(&mut bytes, &id(1), 5);
        push(&mut bytes, &id(2), i64::MAX);
        push(&mut bytes, &id(9), 7);
        push(&mut bytes, &id(3), 9);
        bytes.truncate(bytes.len() - 1);
        fs::write(place.path().join(FILE), &bytes).unwrap();
        let all = [id(1), id(2), id(3)];
        let (ledger, times) = Ledger::open(place.path(), &all).unwrap();
        assert_eq!(times, [Some(5), None, None]);
        ledger.note(&id(3), true);
        drop(ledger);
        let (_, times) = Ledger::open(place.path(), &all).unwrap();
        assert!(times[2].is_some(), "records behind a torn one are read");
    }
}
