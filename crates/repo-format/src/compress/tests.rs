use proptest::prelude::*;

use super::{Compressor, DICTIONARY_MAGIC, Decompressor, compress_with_base};
use crate::sample::{noise, text};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn contexts_are_reused_without_leaking_a_base(
        parts in proptest::collection::vec((any::<u64>(), 0usize..5000, any::<bool>()), 1..8),
    ) {
        let (mut compressor, mut decompressor) = (Compressor::new(3).unwrap(), Decompressor::new());
        let (mut payload, mut out) = (Vec::new(), Vec::new());
        for (seed, len, with_base) in parts {
            let (raw, base) = (text(seed % 100, len), text(seed % 100, 4000));
            let base = with_base.then_some(base.as_slice());
            match base {
                Some(base) => prop_assert!(
                    compress_with_base(&raw, base, &mut payload).unwrap()
                ),
                None => compressor.compress(&raw, &mut payload).unwrap(),
            }
            decompressor.decompress(&payload, raw.len(), base, &mut out).unwrap();
            prop_assert_eq!(&out, &raw);
        }
    }

    #[test]
    fn arbitrary_frames_never_panic_or_exceed_their_length(
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        raw_len in 0usize..4096,
    ) {
        let mut out = Vec::new();
        if Decompressor::new().decompress(&payload, raw_len, None, &mut out).is_ok() {
            prop_assert_eq!(out.len(), raw_len);
        }
    }
}

#[test]
fn a_frame_of_another_length_is_refused() {
    let raw = vec![0; 1 << 20];
    let mut payload = Vec::new();
    Compressor::new(3)
        .unwrap()
        .compress(&raw, &mut payload)
        .unwrap();
    assert!(payload.len() < 200);
    let mut out = Vec::new();
    let mut decompressor = Decompressor::new();
    for wrong in [0, 1, raw.len() - 1, raw.len() + 1] {
        assert!(
            decompressor
                .decompress(&payload, wrong, None, &mut out)
                .is_err()
        );
    }
    // A buffer with room to spare does not make a longer frame acceptable.
    out.reserve(2 << 20);
    assert!(
        decompressor
            .decompress(&payload, 10, None, &mut out)
            .is_err()
    );
}

#[test]
fn a_base_that_zstd_takes_for_a_dictionary_is_not_used() {
    let mut compressor = Compressor::new(3).unwrap();
    let mut payload = Vec::new();
    let raw = text(1, 1000);
    let magic = [&DICTIONARY_MAGIC[..], &noise(1, 1000)].concat();
    for base in [&magic[..], &[], &raw[..7]] {
        assert!(!compress_with_base(&raw, base, &mut payload).unwrap());
        compressor.compress(&raw, &mut payload).unwrap();
        let mut out = Vec::new();
        let refused = Decompressor::new().decompress(&payload, raw.len(), Some(base), &mut out);
        assert!(refused.is_err());
    }
}
