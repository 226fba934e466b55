use proptest::prelude::*;

use super::{SegmentBody, SegmentEncoder};
use crate::codec::{Base, Codec};
use crate::compress::{Decompressor, Texture, compress_with_base};
use crate::cursor::push_varint;
use crate::error::Error;
use crate::id::BlobId;
use crate::limits::{CHUNK_MAX, DELTA_DEPTH_MAX, SEGMENT_CHUNKS_MAX};
use crate::sample::{noise, text};
use crate::secrets::BlobKind;

const BASE: Base = Base {
    id: BlobId([4; 32]),
    depth: 1,
};

/// Encodes, parses and decodes; returns the codec and the length of the body.
fn there_and_back(kind: BlobKind, chunks: &[&[u8]], texture: Texture) -> (Codec, usize) {
    let raw = chunks.concat();
    let lens: Vec<u32> = chunks.iter().map(|c| c.len().try_into().unwrap()).collect();
    let mut body = b"left over".to_vec();
    let mut encoder = SegmentEncoder::new(3).unwrap();
    let codec = encoder
        .encode(kind, texture, &lens, &raw, &mut body)
        .unwrap();
    let parsed = SegmentBody::parse(&body).unwrap();
    assert_eq!((parsed.codec, parsed.kind), (codec, kind));
    assert_eq!((&parsed.lens, parsed.raw_len), (&lens, raw.len()));
    let mut out = Vec::new();
    parsed
        .decode(&mut Decompressor::new(), None, &mut out)
        .unwrap();
    for (ordinal, chunk) in chunks.iter().enumerate() {
        assert_eq!(&out[parsed.range(ordinal).unwrap()], *chunk);
    }
    assert!(parsed.range(chunks.len()).is_none());
    (codec, body.len())
}

/// The body of `raw` against `base`, if the rule allows it; decoded and compared.
fn delta(raw: &[u8], base: &[u8]) -> Option<usize> {
    let mut encoder = SegmentEncoder::new(3).unwrap();
    let mut body = Vec::new();
    if !encoder.encode_delta(raw, BASE, base, &mut body).unwrap() {
        return None;
    }
    let parsed = SegmentBody::parse(&body).unwrap();
    assert_eq!((parsed.codec, parsed.base), (Codec::ZstdBase, Some(BASE)));
    let mut out = Vec::new();
    let mut decompressor = Decompressor::new();
    parsed
        .decode(&mut decompressor, Some(base), &mut out)
        .unwrap();
    assert_eq!(out, raw);
    assert!(parsed.decode(&mut decompressor, None, &mut out).is_err());
    Some(body.len())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_segment_is_decoded_as_encoded(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..20),
        tree in any::<bool>(),
        pages in any::<bool>(),
    ) {
        let kind = if tree { BlobKind::Tree } else { BlobKind::Data };
        let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
        let texture = if pages { Texture::Pages } else { Texture::Mixed };
        there_and_back(kind, &chunks, texture);
    }

    #[test]
    fn a_delta_is_at_most_half_of_a_fresh_segment(
        seed in any::<u32>(),
        len in 1usize..400_000,
        edits in proptest::collection::vec((any::<usize>(), 1usize..3000), 0..40),
        compressible in any::<bool>(),
    ) {
        let make = if compressible { text } else { noise };
        let base = make(u64::from(seed), len);
        let mut raw = base.clone();
        for (at, size) in edits {
            let at = at % len;
            let end = (at + size).min(len);
            let new = make(u64::from(seed) + at as u64 + 1_000_000, end - at);
            raw[at..end].copy_from_slice(&new);
        }
        if let Some(delta) = delta(&raw, &base) {
            let (_, fresh) = there_and_back(BlobKind::Data, &[&raw], Texture::Mixed);
            // Exact up to the first probe, and close to it beyond.
            let slack = if len <= super::PROBES[0] { 0 } else { fresh / 10 };
            prop_assert!(2 * delta <= fresh + slack + 16, "{delta} against {fresh}");
        }
    }

    #[test]
    fn arbitrary_bodies_never_panic(
        codec in 0u8..5,
        kind in 0u8..3,
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let body = [&[codec, kind][..], &rest].concat();
        if let Ok(parsed) = SegmentBody::parse(&body) {
            let mut out = Vec::new();
            let base = text(1, 1000);
            let base = parsed.base.map(|_| base.as_slice());
            if parsed.decode(&mut Decompressor::new(), base, &mut out).is_ok() {
                prop_assert_eq!(out.len(), parsed.raw_len);
            }
        }
    }
}

#[test]
fn what_does_not_shrink_is_stored_as_it_is() {
    let bytes = noise(1, 10_000);
    assert_eq!(
        there_and_back(BlobKind::Data, &[&bytes], Texture::Mixed).0,
        Codec::Raw
    );
    let zeros = vec![0; CHUNK_MAX];
    assert_eq!(
        there_and_back(BlobKind::Data, &[&zeros], Texture::Mixed).0,
        Codec::Zstd
    );
    assert_eq!(
        there_and_back(BlobKind::Data, &[&zeros], Texture::Pages).0,
        Codec::Zstd
    );
    assert_eq!(
        there_and_back(BlobKind::Tree, &[&[0]], Texture::Mixed).0,
        Codec::Raw
    );
}

#[test]
fn a_delta_is_used_only_where_it_saves() {
    let base = text(1, 300_000);
    let mut changed = base.clone();
    changed[150_000..150_100].copy_from_slice(&noise(1, 100));
    assert!(delta(&changed, &base).unwrap() < 400);
    // The same bytes are a delta of almost nothing; that they are a duplicate is the caller's to see.
    assert!(delta(&base.clone(), &base).unwrap() < 150);
    // Of a chunk of zeros the fresh form is smaller than the base's id.
    assert_eq!(delta(&vec![0; CHUNK_MAX], &base), None);
    assert_eq!(delta(&vec![0; CHUNK_MAX], &vec![0; CHUNK_MAX]), None);
    // An unrelated base gives nothing.
    assert_eq!(delta(&noise(1, 300_000), &noise(2, 300_000)), None);
    assert_eq!(delta(&text(1, 300_000), &noise(2, 300_000)), None);
    assert_eq!(delta(&[], &base), None);
    assert_eq!(delta(&[1], &base), None);
}

#[test]
fn an_incompressible_chunk_gains_most_from_a_delta() {
    let base = noise(1, CHUNK_MAX);
    let mut changed = base.clone();
    changed[5000..5100].fill(0);
    assert!(delta(&changed, &base).unwrap() < 2000);
}

#[test]
fn the_level_of_the_rest_does_not_spoil_a_delta() {
    for base in [noise(1, CHUNK_MAX), text(1, CHUNK_MAX)] {
        let mut changed = base.clone();
        for at in (100..CHUNK_MAX).step_by(64 << 10) {
            changed[at] ^= 1;
        }
        for level in [1, 3, 6, 12, 19] {
            let mut encoder = SegmentEncoder::new(level).unwrap();
            let mut body = Vec::new();
            let used = encoder.encode_delta(&changed, BASE, &base, &mut body);
            assert!(
                used.unwrap() && body.len() < 2000,
                "level {level}: {}",
                body.len()
            );
        }
    }
}

#[test]
fn a_base_that_zstd_takes_for_a_dictionary_is_not_used() {
    let mut base = vec![0x37, 0xa4, 0x30, 0xec];
    base.extend_from_slice(&noise(1, 100_000));
    let mut changed = base.clone();
    changed[50_000] ^= 1;
    assert_eq!(delta(&changed, &base), None);
    // As the chunk itself these bytes are nothing special.
    changed[0] = 0;
    assert!(delta(&base, &changed).is_some());
}

#[test]
fn a_delta_says_how_deep_it_lies() {
    let base = text(1, 50_000);
    let mut changed = base.clone();
    changed[100] ^= 1;
    let mut encoder = SegmentEncoder::new(3).unwrap();
    for depth in [1, 2, DELTA_DEPTH_MAX] {
        let against = Base { depth, ..BASE };
        let mut body = Vec::new();
        let used = encoder.encode_delta(&changed, against, &base, &mut body);
        assert!(used.unwrap());
        let parsed = SegmentBody::parse(&body).unwrap();
        assert_eq!(parsed.base, Some(against));
        assert_eq!(parsed.codec, against.codec());
        let mut out = Vec::new();
        parsed
            .decode(&mut Decompressor::new(), Some(&base), &mut out)
            .unwrap();
        assert_eq!(out, changed);
    }
}

#[test]
fn a_wrong_base_gives_an_error_or_other_bytes_but_no_panic() {
    let base = text(1, 50_000);
    let mut changed = base.clone();
    changed[100] ^= 1;
    let mut body = Vec::new();
    let mut encoder = SegmentEncoder::new(3).unwrap();
    assert!(
        encoder
            .encode_delta(&changed, BASE, &base, &mut body)
            .unwrap()
    );
    let parsed = SegmentBody::parse(&body).unwrap();
    for wrong in [text(9, 50_000), noise(1, 50_000), text(1, 100), vec![0; 8]] {
        let mut out = Vec::new();
        if parsed
            .decode(&mut Decompressor::new(), Some(&wrong), &mut out)
            .is_ok()
        {
            assert_ne!(out, changed);
        }
    }
}

fn parses(codec: u8, kind: u8, lens: &[u64], rest: &[u8]) -> bool {
    let mut body = vec![codec, kind];
    push_varint(&mut body, lens.len() as u64);
    for len in lens {
        push_varint(&mut body, *len);
    }
    body.extend_from_slice(rest);
    SegmentBody::parse(&body).is_ok()
}

#[test]
fn limits_of_a_body() {
    let max = CHUNK_MAX as u64;
    assert!(parses(1, 0, &[max; 8], &[]));
    assert!(!parses(1, 0, &[max; 9], &[]));
    assert!(!parses(1, 0, &[max + 1], &[]));
    assert!(!parses(1, 0, &[0], &[]));
    assert!(!parses(1, 0, &[u64::MAX], &[]));
    assert!(!parses(1, 0, &[], &[]));
    assert!(parses(1, 0, &[1; SEGMENT_CHUNKS_MAX], &[]));
    assert!(!parses(1, 0, &[1; SEGMENT_CHUNKS_MAX + 1], &[]));
    assert!(parses(0, 1, &[2], &[1, 2]));
    assert!(!parses(0, 1, &[2], &[1]));
    assert!(!parses(0, 1, &[2], &[1, 2, 3]));
    assert!(parses(2, 0, &[2], &[0; 32]));
    assert!(!parses(2, 0, &[2], &[0; 31]));
    assert!(!parses(2, 0, &[2, 2], &[0; 32]));
    assert!(!parses(2, 1, &[2], &[0; 32]));
    let chain = |depth| [&[0; 32][..], &[depth]].concat();
    assert!(parses(3, 0, &[2], &chain(2)));
    assert!(parses(3, 0, &[2], &chain(DELTA_DEPTH_MAX)));
    assert!(!parses(3, 0, &[2], &chain(DELTA_DEPTH_MAX + 1)));
    assert!(!parses(3, 0, &[2], &chain(1)));
    assert!(!parses(3, 0, &[2], &chain(0)));
    assert!(!parses(3, 0, &[2], &[0; 32]));
    assert!(!parses(3, 0, &[2, 2], &chain(2)));
    assert!(!parses(3, 1, &[2], &chain(2)));
    assert!(!parses(4, 0, &[2], &chain(2)));
    assert!(!parses(0, 2, &[1], &[0]));
    // A count without its lengths allocates little and fails.
    assert!(SegmentBody::parse(&[0, 0, 0xff, 0xff, 0xff, 0x7f]).is_err());
}

/// What a compressor or memory that errs would leave must not be stored.
#[test]
fn what_does_not_decompress_to_what_it_was_is_never_stored() {
    let raw = text(1, 60_000);
    let base = text(2, 70_000);
    for base in [None, Some(&base[..])] {
        let mut encoder = SegmentEncoder::new(3).unwrap();
        match base {
            None => encoder
                .compressor
                .compress(&raw, &mut encoder.payload)
                .unwrap(),
            Some(base) => {
                let small = compress_with_base(&raw, base, &mut encoder.payload);
                assert!(small.unwrap());
            }
        }
        encoder.verify(&raw, base).unwrap();
        let mut wrong = raw.clone();
        wrong[1234] ^= 1;
        assert!(matches!(
            encoder.verify(&wrong, base),
            Err(Error::VerifyFailed)
        ));
        assert!(matches!(
            encoder.verify(&raw[1..], base),
            Err(Error::VerifyFailed)
        ));
        for at in (0..encoder.payload.len()).step_by(7) {
            encoder.payload[at] ^= 0x10;
            // A flip that the decompressor does not care about yields the same bytes.
            let same = encoder.verify(&raw, base).is_ok();
            assert!(!same || encoder.check == raw, "{at}");
            encoder.payload[at] ^= 0x10;
        }
        encoder.payload.truncate(encoder.payload.len() / 2);
        assert!(matches!(
            encoder.verify(&raw, base),
            Err(Error::VerifyFailed)
        ));
    }
}
