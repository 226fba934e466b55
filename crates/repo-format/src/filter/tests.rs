use std::collections::BTreeSet;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::KeyFilter;
use crate::id::BlobKey;
use crate::sample::noise;

fn stored(keys: &BTreeSet<[u8; 16]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    KeyFilter::build(keys.iter().copied().map(BlobKey)).encode(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn no_key_that_is_there_is_denied(keys in btree_set(any::<[u8; 16]>(), 0..400)) {
        let filter = KeyFilter::decode(&stored(&keys)).unwrap();
        for key in keys {
            prop_assert!(filter.may_contain(&BlobKey(key)));
        }
    }

    #[test]
    fn a_hostile_descriptor_never_reads_outside(
        seed in any::<u64>(),
        segment in 0u32..20,
        segments in 0u32..9,
        slack in 0usize..3,
        keys in vec(any::<[u8; 16]>(), 1..20),
    ) {
        let segment = 1u32 << segment.min(18);
        let count = (segments * segment).min(1 << 20);
        let len = (count + 2 * segment) as usize + slack;
        let mut bytes = seed.to_le_bytes().to_vec();
        bytes.extend_from_slice(&segment.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.resize(16 + len, 0xa5);
        if let Ok(filter) = KeyFilter::decode(&bytes) {
            for key in keys {
                let _ = filter.may_contain(&BlobKey(key));
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..80), key in any::<[u8; 16]>()) {
        if let Ok(filter) = KeyFilter::decode(&bytes) {
            let _ = filter.may_contain(&BlobKey(key));
        }
    }
}

#[test]
fn keys_that_share_their_hash_are_kept_apart_from_none() {
    let mut keys = BTreeSet::new();
    for last in 0..50 {
        let mut key = [1; 16];
        key[15] = last;
        keys.insert(key);
    }
    let filter = KeyFilter::decode(&stored(&keys)).unwrap();
    assert!(keys.iter().all(|key| filter.may_contain(&BlobKey(*key))));
}

#[test]
fn it_is_small_and_rarely_wrong() {
    let keys: BTreeSet<[u8; 16]> = noise(1, 16 * 20_000)
        .chunks_exact(16)
        .map(|key| key.try_into().unwrap())
        .collect();
    let bytes = stored(&keys);
    assert!(bytes.len() * 8 < keys.len() * 10, "{} bytes", bytes.len());
    let filter = KeyFilter::decode(&bytes).unwrap();
    let wrong = noise(2, 16 * 20_000)
        .chunks_exact(16)
        .filter(|key| filter.may_contain(&BlobKey((*key).try_into().unwrap())))
        .count();
    assert!(wrong < 160, "{wrong} of 20000");
}

#[test]
fn no_bytes_are_the_filter_that_says_maybe() {
    let filter = KeyFilter::decode(&[]).unwrap();
    assert!(filter.may_contain(&BlobKey([0; 16])));
}

/// The look-up as `docs/format.md` gives it, for whoever reads an index without the `xorf` crate.
fn as_documented(bytes: &[u8], key: &[u8; 16]) -> bool {
    let u64_at = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let u32_at = |at: usize| u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
    let (seed, l, c, f) = (u64_at(bytes), u32_at(8), u32_at(12), &bytes[16..]);
    let mut h = u64_at(key).wrapping_add(seed);
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^= h >> 33;
    let a = u64::try_from((u128::from(h) * u128::from(c)) >> 64).unwrap();
    let (b, c) = ((a + l) ^ ((h >> 18) & (l - 1)), (a + 2 * l) ^ (h & (l - 1)));
    let at = |place: u64| f[usize::try_from(place).unwrap()];
    (h ^ (h >> 32)).to_le_bytes()[0] == at(a) ^ at(b) ^ at(c)
}

#[test]
fn the_documented_look_up_is_the_one_used() {
    for count in [1, 5, 200, 3000] {
        let keys: BTreeSet<[u8; 16]> = noise(7, 16 * count)
            .chunks_exact(16)
            .map(|key| key.try_into().unwrap())
            .collect();
        let bytes = stored(&keys);
        let filter = KeyFilter::decode(&bytes).unwrap();
        for key in noise(8, 16_000).chunks_exact(16) {
            let key: [u8; 16] = key.try_into().unwrap();
            assert_eq!(
                as_documented(&bytes, &key),
                filter.may_contain(&BlobKey(key))
            );
        }
        assert!(keys.iter().all(|key| as_documented(&bytes, key)));
    }
}
