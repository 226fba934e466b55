use proptest::prelude::*;

use super::{
    DirectorySegment, NewSegment, PackBuilder, SEGMENT_MAGIC, SEGMENT_PREFIX_LEN, SegmentPlace,
    TRAILER_LEN, TRAILER_MAGIC, decode_directory, encode_directory, open_directory, path, trailer,
};
use crate::codec::{Base, Codec};
use crate::compress::Decompressor;
use crate::error::Error;
use crate::id::{BlobId, PackId};
use crate::limits::{CHUNK_MAX, DELTA_DEPTH_MAX, PACK_MAX};
use crate::sample::{CIPHERS, SESSION, noise, ring, text};
use crate::seal::{HEADER_LEN, Header, ObjectKind, Opener, TAG_LEN};
use crate::secrets::{BlobKind, Cipher, KeyRing};
use crate::segment::{SegmentBody, SegmentEncoder};

/// A pack of a segment of two chunks, a tree, a delta, and a delta against that one, with the directory it should have.
fn pack(ring: &KeyRing) -> (PackId, Vec<u8>, Vec<DirectorySegment>) {
    let mut builder = PackBuilder::new(ring, SESSION, b"left over".to_vec()).unwrap();
    let mut encoder = SegmentEncoder::new(3).unwrap();
    let mut body = Vec::new();
    let (first, second, tree) = (text(1, 3000), noise(1, 10), text(2, 500));
    let mut changed = first.clone();
    changed[9] ^= 1;
    let id = |kind, bytes: &[u8]| ring.blob_id(kind, bytes);
    let mut push = |kind, chunks: &[&[u8]]| {
        let lens: Vec<u32> = chunks.iter().map(|c| c.len().try_into().unwrap()).collect();
        let raw = chunks.concat();
        let codec = encoder
            .encode(kind, crate::Texture::Mixed, &lens, &raw, &mut body)
            .unwrap();
        let ids: Vec<BlobId> = chunks.iter().map(|bytes| id(kind, bytes)).collect();
        let segment = NewSegment {
            body: &body,
            codec,
            kind,
            ids: &ids,
            lens: &lens,
            base: None,
        };
        builder.push(&segment).unwrap();
    };
    push(BlobKind::Data, &[&first, &second]);
    push(BlobKind::Tree, &[&tree]);
    let mut again = changed.clone();
    again[2000] ^= 1;
    for (depth, chunk, content) in [(1, &changed, &first), (2, &again, &changed)] {
        let base = Base {
            id: id(BlobKind::Data, content),
            depth,
        };
        let used = encoder.encode_delta(chunk, base, content, &mut body);
        assert!(used.unwrap());
        let segment = NewSegment {
            body: &body,
            codec: base.codec(),
            kind: BlobKind::Data,
            ids: &[id(BlobKind::Data, chunk)],
            lens: &[3000],
            base: Some(base),
        };
        builder.push(&segment).unwrap();
    }
    builder.finish().unwrap()
}

fn opener(ring: &KeyRing, id: &PackId, bytes: &[u8]) -> Result<Opener, Error> {
    let header = bytes.first_chunk::<HEADER_LEN>().unwrap();
    Opener::new(ring, ObjectKind::Pack, &path(id), Some(id.0), header)
}

fn directory(ring: &KeyRing, id: &PackId, bytes: &[u8]) -> Result<Vec<DirectorySegment>, Error> {
    let size = bytes.len() as u64;
    let at = bytes.len().saturating_sub(TRAILER_LEN);
    let len = trailer("pack", &bytes[at..], TRAILER_MAGIC, size)? as usize;
    let mut sealed = bytes[at - len..at].to_vec();
    open_directory(&opener(ring, id, bytes)?, size, &mut sealed)
}

/// Reads everything a pack holds and compares each blob with its id.
fn read_all(ring: &KeyRing, id: &PackId, bytes: &[u8]) -> Result<usize, Error> {
    let opener = opener(ring, id, bytes)?;
    let segments = directory(ring, id, bytes)?;
    let mut blobs: Vec<(BlobId, Vec<u8>)> = Vec::new();
    let mut decompressor = Decompressor::new();
    for segment in &segments {
        let start = segment.place.offset as usize;
        let mut sealed = bytes[start..start + segment.place.stored as usize].to_vec();
        let body = SegmentBody::parse(opener.open(start as u64, &mut sealed)?)?;
        let find = |base: Base| blobs.iter().find(|(known, _)| *known == base.id);
        let base = segment.base.and_then(find).map(|(_, bytes)| bytes.clone());
        let mut raw = Vec::new();
        body.decode(&mut decompressor, base.as_deref(), &mut raw)?;
        for (ordinal, (id, _)) in segment.chunks.iter().enumerate() {
            let chunk = &raw[body.range(ordinal).unwrap()];
            assert_eq!(ring.blob_id(segment.kind, chunk), *id);
            blobs.push((*id, chunk.to_vec()));
        }
    }
    Ok(blobs.len())
}

#[test]
fn a_pack_is_read_as_written() {
    for cipher in CIPHERS {
        let ring = ring(cipher);
        let (id, bytes, segments) = pack(&ring);
        assert_eq!(directory(&ring, &id, &bytes).unwrap(), segments);
        assert_eq!(read_all(&ring, &id, &bytes).unwrap(), 5);
        let header = Header::parse(ObjectKind::Pack, &bytes).unwrap();
        assert_eq!((header.session, header.cipher), (SESSION, cipher));
        assert!(path(&id).starts_with(&format!("packs/{}/", &id.to_hex()[..2])));
    }
}

#[test]
fn segments_are_found_without_the_directory() {
    let ring = ring(Cipher::Aes256Gcm);
    let (id, bytes, segments) = pack(&ring);
    let opener = opener(&ring, &id, &bytes).unwrap();
    let mut at = HEADER_LEN;
    for segment in segments {
        assert_eq!(&bytes[at..at + 4], SEGMENT_MAGIC);
        let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        let start = at + SEGMENT_PREFIX_LEN;
        let mut sealed = bytes[start..start + len].to_vec();
        let body = SegmentBody::parse(opener.open(start as u64, &mut sealed).unwrap()).unwrap();
        let lens: Vec<u32> = segment.chunks.iter().map(|(_, len)| *len).collect();
        assert_eq!((body.lens, body.base), (lens, segment.base));
        at = start + len;
    }
}

#[test]
fn every_flip_of_what_is_read_is_detected() {
    let ring = ring(Cipher::ChaCha20Poly1305);
    let (id, bytes, segments) = pack(&ring);
    // The clear prefix of a segment is not needed to read it: check compares it, reading does not.
    let prefixes: Vec<usize> = segments
        .iter()
        .flat_map(|s| s.place.offset as usize - SEGMENT_PREFIX_LEN..s.place.offset as usize)
        .collect();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let read = read_all(&ring, &id, &damaged);
        assert_eq!(read.is_ok(), prefixes.contains(&(bit / 8)), "bit {bit}");
    }
}

#[test]
fn a_truncated_renamed_or_swapped_pack_is_refused() {
    let ring = ring(Cipher::Aes256Gcm);
    let (id, bytes, _) = pack(&ring);
    for len in HEADER_LEN..bytes.len() {
        assert!(
            directory(&ring, &id, &bytes[..len]).is_err(),
            "length {len}"
        );
    }
    let (other, others, _) = pack(&ring);
    assert_ne!(id, other);
    assert!(matches!(
        directory(&ring, &id, &others),
        Err(Error::Forged { .. })
    ));
    let crossed = [&bytes[..HEADER_LEN], &others[HEADER_LEN..]].concat();
    assert!(read_all(&ring, &id, &crossed).is_err());
}

#[test]
fn a_segment_opens_in_its_own_place_only() {
    let ring = ring(Cipher::Aes256Gcm);
    let (id, bytes, segments) = pack(&ring);
    let opener = opener(&ring, &id, &bytes).unwrap();
    for from in &segments {
        for to in &segments {
            let start = from.place.offset as usize;
            let mut sealed = bytes[start..start + from.place.stored as usize].to_vec();
            let opened = opener.open(u64::from(to.place.offset), &mut sealed);
            assert_eq!(opened.is_ok(), from == to);
        }
    }
}

#[test]
fn a_trailer_that_points_outside_is_refused() {
    let trailer_of = |len: u32, size| {
        let bytes = [&len.to_le_bytes()[..], TRAILER_MAGIC].concat();
        trailer("pack", &bytes, TRAILER_MAGIC, size)
    };
    assert_eq!(trailer_of(16, 120).unwrap(), 16);
    assert!(trailer_of(17, 120).is_err());
    assert!(trailer_of(15, 120).is_err());
    assert!(trailer_of(u32::MAX, 120).is_err());
    assert!(trailer_of(16, 0).is_err());
    assert!(trailer("pack", b"\x10\0\0\0rdi", TRAILER_MAGIC, 120).is_err());
    assert!(trailer("pack", b"\x10\0\0\0ridx", TRAILER_MAGIC, 120).is_err());
    assert!(trailer("pack", b"\x10\0\0\0rdir!", TRAILER_MAGIC, 121).is_err());
}

#[test]
fn a_segment_no_reader_would_accept_is_not_written() {
    let ring = ring(Cipher::Aes256Gcm);
    let good = NewSegment {
        body: b"not looked at",
        codec: Codec::Raw,
        kind: BlobKind::Data,
        ids: &[BlobId([1; 32])],
        lens: &[3],
        base: None,
    };
    let finish = |segment: &NewSegment<'_>| {
        let mut builder = PackBuilder::new(&ring, SESSION, Vec::new()).unwrap();
        builder.push(segment)?;
        builder.finish().map(|_| ())
    };
    finish(&good).unwrap();
    let base = |depth| {
        let id = BlobId([2; 32]);
        Some(Base { id, depth })
    };
    let long = [u32::try_from(CHUNK_MAX).unwrap() + 1];
    let bad = [
        NewSegment {
            lens: &[1, 2],
            ..good
        },
        NewSegment {
            ids: &[],
            lens: &[],
            ..good
        },
        NewSegment { lens: &[0], ..good },
        NewSegment {
            lens: &long,
            ..good
        },
        NewSegment {
            base: base(1),
            ..good
        },
        NewSegment {
            codec: Codec::ZstdBase,
            base: base(2),
            ..good
        },
        NewSegment {
            codec: Codec::ZstdChain,
            base: base(1),
            ..good
        },
        NewSegment {
            codec: Codec::ZstdChain,
            base: base(u8::MAX),
            ..good
        },
        NewSegment {
            codec: Codec::ZstdBase,
            ..good
        },
        NewSegment {
            codec: Codec::ZstdBase,
            base: base(1),
            kind: BlobKind::Tree,
            ..good
        },
        NewSegment { body: b"", ..good },
    ];
    for segment in bad {
        assert!(finish(&segment).is_err(), "{segment:?}");
    }
}

#[test]
fn an_empty_pack_has_an_empty_directory() {
    let ring = ring(Cipher::Aes256Gcm);
    let builder = PackBuilder::new(&ring, SESSION, Vec::new()).unwrap();
    assert!(builder.is_empty());
    assert_eq!(builder.len(), HEADER_LEN);
    let (id, bytes, _) = builder.finish().unwrap();
    assert_eq!(directory(&ring, &id, &bytes).unwrap(), []);
}

fn segments() -> impl Strategy<Value = Vec<DirectorySegment>> {
    let one = (
        proptest::collection::vec((any::<[u8; 32]>(), 1u32..1000), 1..6),
        17u32..5000,
        0u8..4,
        2u8..=DELTA_DEPTH_MAX,
        any::<bool>(),
    );
    proptest::collection::vec(one, 0..8).prop_map(|list| {
        let mut end = u32::try_from(HEADER_LEN).unwrap();
        type Row = (Vec<([u8; 32], u32)>, u32, u8, u8, bool);
        let segment = |(mut chunks, stored, codec, deep, tree): Row| {
            let offset = end + 8;
            end = offset + stored;
            let codec = Codec::from_code(codec).unwrap();
            let delta = codec.is_delta();
            if delta {
                chunks.truncate(1);
            }
            DirectorySegment {
                place: SegmentPlace { offset, stored },
                codec,
                kind: if tree && !delta {
                    BlobKind::Tree
                } else {
                    BlobKind::Data
                },
                base: delta.then(|| Base {
                    id: BlobId(chunks[0].0),
                    depth: if codec == Codec::ZstdBase { 1 } else { deep },
                }),
                chunks: chunks
                    .into_iter()
                    .map(|(id, len)| (BlobId(id), len))
                    .collect(),
            }
        };
        list.into_iter().map(segment).collect()
    })
}

fn end_of(segments: &[DirectorySegment]) -> u64 {
    segments.last().map_or(HEADER_LEN as u64, |last| {
        u64::from(last.place.offset) + u64::from(last.place.stored)
    })
}

proptest! {
    #[test]
    fn a_directory_is_decoded_as_encoded(segments in segments()) {
        let raw = encode_directory(&segments).unwrap();
        let end = end_of(&segments);
        prop_assert!(decode_directory(&raw, end + 1).is_err());
        prop_assert!(decode_directory(&raw, end - 1).is_err());
        for len in 0..raw.len() {
            prop_assert!(decode_directory(&raw[..len], end).is_err());
        }
        prop_assert_eq!(decode_directory(&raw, end).unwrap(), segments);
    }

    #[test]
    fn a_damaged_directory_is_another_one_or_none(
        segments in segments(),
        at in any::<usize>(),
        byte in any::<u8>(),
    ) {
        let mut raw = encode_directory(&segments).unwrap();
        let at = at % raw.len();
        raw[at] = byte;
        if let Ok(decoded) = decode_directory(&raw, end_of(&segments)) {
            prop_assert_eq!(encode_directory(&decoded).unwrap(), raw);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        raw in proptest::collection::vec(any::<u8>(), 0..300),
        end in any::<u64>(),
    ) {
        let _ = decode_directory(&raw, end).is_ok();
        let _ = super::open_envelope("test", &raw, 1 << 16).is_ok();
    }
}

#[test]
fn a_size_no_pack_has_is_refused() {
    let ring = ring(Cipher::None);
    let (id, bytes, _) = pack(&ring);
    let opener = opener(&ring, &id, &bytes).unwrap();
    for size in [0, TAG_LEN as u64, PACK_MAX + 1, u64::MAX] {
        assert!(open_directory(&opener, size, &mut [0; 40]).is_err());
    }
}
