use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{BLOCK_ENTRIES, Block, Entry, PackRow, SegmentRow, Tail, encode, path};
use crate::error::Error;
use crate::id::{BlobKey, IndexId, PackId};
use crate::pack::TRAILER_LEN;
use crate::sample::{CIPHERS, SESSION, noise, ring};
use crate::seal::{HEADER_LEN, ObjectKind, Opener, TAG_LEN};
use crate::secrets::{Cipher, KeyRing};

const PACKS: [PackRow; 1] = [PackRow {
    id: PackId([8; 32]),
    size: 1 << 20,
}];

fn segments(count: u32) -> Vec<SegmentRow> {
    let row = |number| SegmentRow {
        pack: 0,
        offset: 104 + number,
        stored: 100,
        raw: 1000,
    };
    (0..count).map(row).collect()
}

fn keys(count: usize) -> Vec<BlobKey> {
    let key = |bytes: &[u8]| BlobKey(bytes.try_into().unwrap());
    noise(count as u64, count * 16)
        .chunks_exact(16)
        .map(key)
        .collect()
}

struct Stored<'a> {
    opener: Opener,
    tail: Tail,
    bytes: &'a [u8],
}

impl<'a> Stored<'a> {
    fn open(ring: &KeyRing, id: &IndexId, bytes: &'a [u8]) -> Result<Self, Error> {
        let header = bytes.first_chunk::<HEADER_LEN>().unwrap();
        let opener = Opener::new(ring, ObjectKind::Index, &path(id), Some(id.0), header)?;
        let at = bytes.len() - TRAILER_LEN;
        let len = Tail::sealed_len(&bytes[at..], bytes.len() as u64)? as usize;
        let mut sealed = bytes[at - len..at].to_vec();
        let tail = Tail::open(&opener, bytes.len() as u64, &mut sealed)?;
        Ok(Self {
            opener,
            tail,
            bytes,
        })
    }

    fn block(&self, number: usize) -> Result<Vec<u8>, Error> {
        let (offset, len) = self.tail.block_range(number);
        let start = usize::try_from(offset).unwrap();
        let mut sealed = self.bytes[start..start + len].to_vec();
        Ok(self.opener.open(offset, &mut sealed)?.to_vec())
    }

    fn find(&self, key: &BlobKey) -> Result<Option<Entry>, Error> {
        let Some(number) = self.tail.block_of(key) else {
            return Ok(None);
        };
        Ok(Block::new(&self.block(number)?)?.find(key))
    }

    fn all(&self) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        for number in 0..self.tail.blocks() {
            entries.extend(Block::new(&self.block(number)?)?.iter());
        }
        Ok(entries)
    }
}

fn build(ring: &KeyRing, entries: &[Entry]) -> (IndexId, Vec<u8>) {
    encode(ring, SESSION, &PACKS, &segments(9), &mut entries.to_vec()).unwrap()
}

/// Everything the index answers is what a map answers, for `keys` and for as many that are not there.
fn same_as_a_map(cipher: Cipher, entries: &[Entry]) {
    let ring = ring(cipher);
    let mut model = BTreeMap::new();
    let mut sorted = entries.to_vec();
    sorted.sort_by_key(|e| (e.key, e.segment, e.ordinal));
    for entry in sorted {
        model.entry(entry.key).or_insert(entry);
    }
    let (id, bytes) = build(&ring, entries);
    let stored = Stored::open(&ring, &id, &bytes).unwrap();
    assert_eq!(stored.tail.entries, model.len() as u64);
    assert_eq!(stored.tail.blocks(), model.len().div_ceil(BLOCK_ENTRIES));
    assert_eq!(
        stored.all().unwrap(),
        model.values().copied().collect::<Vec<_>>()
    );
    for (key, entry) in &model {
        assert_eq!(stored.find(key).unwrap(), Some(*entry));
        assert!(stored.tail.locate(entry).is_some());
        let mut near = *key;
        near.0[15] ^= 1;
        assert_eq!(stored.find(&near).unwrap(), model.get(&near).copied());
    }
    for key in [BlobKey([0; 16]), BlobKey([255; 16])] {
        assert_eq!(stored.find(&key).unwrap(), model.get(&key).copied());
    }
}

fn entries(count: usize) -> Vec<Entry> {
    let entry = |(number, key)| Entry {
        key,
        segment: u32::try_from(number % 9).unwrap(),
        ordinal: u16::try_from(number).unwrap(),
    };
    keys(count).into_iter().enumerate().map(entry).collect()
}

#[test]
fn boundaries_of_a_block() {
    for count in [0, 1, 2, 185, 186, 187, 371, 372, 373, 2000] {
        same_as_a_map(Cipher::Aes256Gcm, &entries(count));
    }
    for cipher in CIPHERS {
        same_as_a_map(cipher, &entries(187));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_index_answers_as_a_map_does(
        // Few distinct keys, so that repeats and shared hashes occur.
        list in proptest::collection::vec((any::<u16>(), any::<bool>(), 0u32..9, any::<u16>()), 0..600),
    ) {
        let entry = |(key, last, segment, ordinal): (u16, bool, u32, u16)| {
            let mut bytes = [0; 16];
            bytes[6..8].copy_from_slice(&(key % 512).to_le_bytes());
            bytes[15] = u8::from(last);
            Entry { key: BlobKey(bytes), segment, ordinal }
        };
        let list: Vec<Entry> = list.into_iter().map(entry).collect();
        same_as_a_map(Cipher::None, &list);
    }

    #[test]
    fn arbitrary_tails_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Tail::decode(&bytes).is_ok();
        if let Ok(block) = Block::new(&bytes) {
            let _ = block.find(&BlobKey([128; 16])).is_some();
        }
    }

    #[test]
    fn a_damaged_tail_never_panics(
        count in 0usize..400,
        at in any::<usize>(),
        byte in any::<u8>(),
        key in any::<[u8; 16]>(),
    ) {
        let mut sorted = entries(count);
        sorted.sort_by_key(|entry| entry.key);
        let mut raw = Vec::new();
        super::push_tail(&PACKS, &segments(3), &sorted, &mut raw).unwrap();
        prop_assert!(Tail::decode(&raw).is_ok());
        let at = at % raw.len();
        raw[at] = byte;
        if let Ok(tail) = Tail::decode(&raw) {
            tail.block_of(&BlobKey(key)).map(|number| tail.block_range(number));
        }
        prop_assert!(Tail::decode(&raw[..at]).is_err());
    }
}

#[test]
fn every_flip_and_truncation_is_detected() {
    let ring = ring(Cipher::Aes256Gcm);
    let (id, bytes) = build(&ring, &entries(190));
    let read = |bytes: &[u8]| Stored::open(&ring, &id, bytes).and_then(|stored| stored.all());
    assert_eq!(read(&bytes).unwrap().len(), 190);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(read(&damaged).is_err(), "byte {at}");
    }
    for len in HEADER_LEN + TRAILER_LEN..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "length {len}");
    }
}

#[test]
fn a_renamed_or_swapped_index_is_refused() {
    let ring = ring(Cipher::Aes256Gcm);
    let ((one, bytes), (two, others)) = (build(&ring, &entries(400)), build(&ring, &entries(400)));
    assert_ne!(one, two);
    assert!(Stored::open(&ring, &one, &others).is_err());
    // Two full blocks exchanged: each opens in its own place only.
    let sealed = BLOCK_ENTRIES * 22 + TAG_LEN;
    let mut swapped = bytes;
    swapped[HEADER_LEN..HEADER_LEN + 2 * sealed].rotate_left(sealed);
    let stored = Stored::open(&ring, &one, &swapped).unwrap();
    assert!(stored.block(0).is_err() && stored.block(1).is_err());
}

#[test]
fn rows_that_point_outside_are_refused() {
    let tail = |packs: &[PackRow], segments: &[SegmentRow]| {
        let mut raw = Vec::new();
        super::push_tail(packs, segments, &[], &mut raw).unwrap();
        Tail::decode(&raw).is_ok()
    };
    let good = segments(1)[0];
    assert!(tail(&PACKS, &[good]));
    assert!(!tail(&[], &[good]));
    assert!(!tail(&PACKS, &[SegmentRow { pack: 1, ..good }]));
    assert!(!tail(
        &PACKS,
        &[SegmentRow {
            offset: u32::MAX,
            stored: u32::MAX,
            ..good
        }]
    ));
    assert!(!tail(
        &PACKS,
        &[SegmentRow {
            raw: (8 << 20) + 1,
            ..good
        }]
    ));
    assert!(!tail(
        &[PackRow {
            size: u64::MAX,
            ..PACKS[0]
        }],
        &[]
    ));
    let ring = ring(Cipher::None);
    let outside = Entry {
        key: BlobKey([1; 16]),
        segment: 9,
        ordinal: 0,
    };
    let (id, bytes) = build(&ring, &[outside]);
    let stored = Stored::open(&ring, &id, &bytes).unwrap();
    assert!(stored.tail.locate(&outside).is_none());
}

#[test]
fn a_block_is_made_of_entries() {
    assert!(Block::new(&[0; 21]).is_err());
    assert!(Block::new(&[]).unwrap().find(&BlobKey([0; 16])).is_none());
}
