//! Golden cut points: the same parameters, seed and bytes give the same chunks in every version.
//!
//! A changed vector means that repositories stop deduplicating against what they already hold.

use repo_chunker::columnar::{Footer, footer};
use repo_chunker::{Chunker, Params, Plan, Policy, Sizes};

const SEED: u64 = 0x5eed_0123_4567_89ab;
const PARQUET: &[u8] = include_bytes!("../fixtures/small.parquet");

/// Pseudo-random bytes by splitmix64, least significant byte first.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    });
    words.flatten().take(len).collect()
}

fn layout(file: &[u8]) -> Option<Plan> {
    match footer(file, file.len() as u64) {
        Footer::Layout(layout) => Some(Plan::Columnar(layout)),
        Footer::NeedTail(_) | Footer::Unusable => None,
    }
}

/// Sizes small enough for a fixture to have many chunks.
fn small() -> Params {
    let sizes = |min, avg, max| Sizes { min, avg, max };
    Params {
        generic: sizes(64, 256, 1024),
        columnar: sizes(512, 2048, 4096),
        page_chunk: 64 << 10,
    }
}

#[track_caller]
fn check(params: Params, seed: u64, plan: Plan, bytes: &[u8], expect: &[usize]) {
    let chunker = Chunker::new(params, seed).expect("sizes are valid");
    let mut cutter = chunker.cutter(plan);
    let mut cuts = Vec::new();
    let mut rest = bytes;
    while let Some(length) = cutter.next(rest, true) {
        cuts.push(length);
        rest = &rest[length..];
    }
    assert_eq!(cuts, expect);
}

#[test]
fn generic_default() {
    let expect = include!("generic_default.in");
    check(
        Params::default(),
        SEED,
        Plan::Generic,
        &noise(1 << 20),
        &expect,
    );
}

#[test]
fn generic_without_key() {
    let expect = include!("generic_without_key.in");
    check(
        Params::default(),
        0,
        Plan::Generic,
        &noise(1 << 20),
        &expect,
    );
}

#[test]
fn generic_zeros() {
    let expect = [262_144, 262_144, 262_144, 1];
    check(
        Params::default(),
        SEED,
        Plan::Generic,
        &[0; 3 * 262_144 + 1],
        &expect,
    );
}

#[test]
fn pages() {
    let bytes = noise((2 << 20) + 8192);
    check(
        Params::default(),
        SEED,
        Plan::Pages,
        &bytes,
        &[1 << 20, 1 << 20, 8192],
    );
    check(small(), SEED, Plan::Pages, &bytes[..65_537], &[65_536, 1]);
}

#[test]
fn parquet() {
    let head = &PARQUET[..8192];
    let policy = Policy::detect(b"t/small.parquet", PARQUET.len() as u64, head);
    assert_eq!(policy, Policy::Columnar);
    let expect = include!("parquet_default.in");
    check(
        Params::default(),
        SEED,
        layout(PARQUET).unwrap(),
        PARQUET,
        &expect,
    );
    let expect = include!("parquet_small.in");
    check(small(), SEED, layout(PARQUET).unwrap(), PARQUET, &expect);
}
