use proptest::prelude::*;

use super::{Content, Extent, decode_extents, encode_extents};
use crate::id::BlobId;
use crate::limits::{CHUNK_MAX, DEPTH_MAX};
use crate::sample;

proptest! {
    #[test]
    fn a_content_is_decoded_as_encoded(content in sample::content()) {
        let bytes = encode_extents(&content);
        let decoded = decode_extents(&bytes).unwrap();
        prop_assert_eq!(decoded.len(), content.extents.iter().map(|e| e.len).sum::<u64>());
        prop_assert_eq!(decoded, content);
    }

    #[test]
    fn arbitrary_bytes_are_one_content_or_none(
        level in 0u8..15,
        rest in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let bytes = [&[level][..], &rest].concat();
        if let Ok(content) = decode_extents(&bytes) {
            prop_assert_eq!(encode_extents(&content), bytes);
        }
    }
}

fn refused(level: u8, extents: &[(u64, Option<u8>)]) -> bool {
    let content = Content {
        level,
        extents: extents
            .iter()
            .map(|(len, id)| Extent {
                len: *len,
                id: id.map(|byte| BlobId([byte; 32])),
            })
            .collect(),
    };
    decode_extents(&encode_extents(&content)).is_err()
}

#[test]
fn edges_of_an_extent() {
    let max = CHUNK_MAX as u64;
    assert!(!refused(
        0,
        &[(max, Some(1)), (1, Some(2)), (max * 9, None)]
    ));
    assert!(refused(0, &[(max + 1, Some(1))]));
    assert!(refused(0, &[(0, Some(1))]));
    assert!(refused(0, &[(0, None)]));
    assert!(!refused(1, &[(max + 1, Some(1))]));
    assert!(refused(1, &[(1, None)]));
    assert!(!refused(DEPTH_MAX, &[(1, Some(1))]));
    assert!(refused(DEPTH_MAX + 1, &[(1, Some(1))]));
}

#[test]
fn a_length_that_overflows_is_refused() {
    let most = i64::MAX as u64;
    assert!(!refused(0, &[(most, None)]));
    assert!(refused(0, &[(most, None), (1, None)]));
    assert!(refused(0, &[(most, None), (most, None), (most, None)]));
}

#[test]
fn an_extent_cut_short_is_refused() {
    let content = Content {
        level: 0,
        extents: vec![Extent {
            len: 300,
            id: Some(BlobId([5; 32])),
        }],
    };
    let bytes = encode_extents(&content);
    assert!(decode_extents(&[]).is_err());
    for len in 2..bytes.len() {
        assert!(decode_extents(&bytes[..len]).is_err(), "length {len}");
    }
}
