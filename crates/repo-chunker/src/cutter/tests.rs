use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::Plan;
use crate::columnar::test_file::{self, Page};
use crate::columnar::{Footer, footer};
use crate::{CHUNK_MAX, Chunker, Params, Sizes};

const MIN: usize = 256;
const MAX: usize = 4096;
const GRID: usize = 64 << 10;

fn chunker() -> Chunker {
    let sizes = |min, avg, max| Sizes { min, avg, max };
    let params = Params {
        generic: sizes(256, 1024, 4096),
        columnar: sizes(256, 1024, 4096),
        page_chunk: 64 << 10,
    };
    Chunker::new(params, 7).unwrap()
}

/// Cuts with everything in view.
fn one_shot(chunker: &Chunker, plan: &Plan, bytes: &[u8]) -> Vec<usize> {
    windows(chunker, plan, bytes, &mut std::iter::repeat(usize::MAX))
}

/// Cuts while windows grow by the given steps, as a reader that fills a buffer would.
fn windows(
    chunker: &Chunker,
    plan: &Plan,
    bytes: &[u8],
    steps: &mut impl Iterator<Item = usize>,
) -> Vec<usize> {
    let mut cutter = chunker.cutter(plan.clone());
    let (mut at, mut seen, mut cuts) = (0, 0, Vec::new());
    loop {
        let window = &bytes[at..seen];
        match cutter.next(window, seen == bytes.len()) {
            Some(length) => {
                assert!(0 < length && length <= CHUNK_MAX && length <= window.len());
                at += length;
                cuts.push(length);
            }
            None if seen == bytes.len() => break,
            None => {
                assert!(window.len() < CHUNK_MAX, "a full window must be answered");
                seen = seen.saturating_add(steps.next().unwrap()).min(bytes.len());
            }
        }
    }
    assert_eq!(at, bytes.len(), "chunks must cover the file");
    cuts
}

fn columnar(file: &[u8]) -> Plan {
    match footer(file, file.len() as u64) {
        Footer::Layout(layout) => Plan::Columnar(layout),
        other => panic!("{other:?}"),
    }
}

/// Counts the chunks of `new` that are not in `old`.
fn changed(chunker: &Chunker, old: (&Plan, &[u8]), new: (&Plan, &[u8])) -> usize {
    let chunks = |(plan, bytes): (&Plan, &[u8])| {
        let mut at = 0;
        let cut = one_shot(chunker, plan, bytes).into_iter().map(|length| {
            at += length;
            bytes[at - length..at].to_vec()
        });
        cut.collect::<std::collections::HashSet<_>>()
    };
    chunks(new).difference(&chunks(old)).count()
}

fn pages(seed: u64, count: usize, len_max: usize) -> Vec<Page> {
    let bytes = test_file::noise(seed, 2 * count);
    let lengths = bytes
        .chunks(2)
        .map(|pair| usize::from(pair[0]) << 8 | usize::from(pair[1]));
    lengths
        .enumerate()
        .map(|(index, length)| Page::noise(seed ^ index as u64, length % len_max))
        .collect()
}

#[test]
fn boundary_sizes() {
    let chunker = chunker();
    let noise = test_file::noise(1, 2 * CHUNK_MAX + 1);
    for plan in [Plan::Generic, Plan::Pages] {
        for len in [
            0,
            1,
            MIN - 1,
            MIN,
            MIN + 1,
            MAX,
            MAX + 1,
            GRID - 1,
            GRID,
            GRID + 1,
        ] {
            let cuts = one_shot(&chunker, &plan, &noise[..len]);
            assert_eq!(cuts.is_empty(), len == 0);
            let one = match plan {
                Plan::Pages => GRID,
                _ => MIN,
            };
            assert!(cuts.len() == 1 || len == 0 || len > one, "{len}: {cuts:?}");
            let most = match plan {
                Plan::Pages => GRID,
                _ => MAX,
            };
            assert!(cuts.len() > 1 || len <= most, "{len}: {cuts:?}");
        }
    }
    for plan in [Plan::Generic, Plan::Pages] {
        assert_eq!(chunker.cutter(plan.clone()).next(&[], false), None);
        assert_eq!(chunker.cutter(plan.clone()).next(&[0; MIN], false), None);
        assert!(
            chunker
                .cutter(plan)
                .next(&noise[..CHUNK_MAX], false)
                .is_some()
        );
    }
}

#[test]
fn zeros_are_cut_at_the_greatest_length() {
    let chunker = chunker();
    assert_eq!(
        one_shot(&chunker, &Plan::Generic, &vec![0; 3 * MAX]),
        [MAX; 3]
    );
}

#[test]
fn seed_moves_the_cuts() {
    let noise = test_file::noise(1, 1 << 20);
    let cuts = |seed| {
        one_shot(
            &Chunker::new(Params::default(), seed).unwrap(),
            &Plan::Generic,
            &noise,
        )
    };
    assert_ne!(cuts(1), cuts(2));
}

#[test]
fn unchanged_pages_stay_chunks_wherever_they_move() {
    let chunker = chunker();
    let tail = pages(2, 60, 3000);
    let file = |first: &[Page]| test_file::build(&[&[first, &tail[..]].concat()]);
    let (old, new) = (file(&pages(3, 5, 900)), file(&pages(4, 9, 900)));
    let count = changed(&chunker, (&columnar(&old), &old), (&columnar(&new), &new));
    assert!(count < 20, "{count} chunks changed");
}

#[test]
fn large_pages_are_split_and_small_ones_grouped() {
    let chunker = chunker();
    let large = test_file::build(&[&[Page::noise(1, 50_000)]]);
    let cuts = one_shot(&chunker, &columnar(&large), &large);
    assert!(
        cuts.len() > 12 && cuts.iter().all(|cut| *cut <= MAX),
        "{cuts:?}"
    );

    let small: Vec<Page> = (0..1000).map(|seed| Page::noise(seed, 20)).collect();
    let small = test_file::build(&[&small]);
    let cuts = one_shot(&chunker, &columnar(&small), &small);
    assert!(cuts.len() < small.len() / 512, "{cuts:?}");

    let columns: Vec<Vec<Page>> = (0..500).map(|seed| vec![Page::noise(seed, 90)]).collect();
    let columns: Vec<&[Page]> = columns.iter().map(Vec::as_slice).collect();
    let tiny = test_file::build(&columns);
    let cuts = one_shot(&chunker, &columnar(&tiny), &tiny);
    assert!(cuts.len() < tiny.len() / 512, "{cuts:?}");
}

#[test]
fn middle_sized_pages_are_chunks() {
    let pages: Vec<Page> = (0..5).map(|seed| Page::noise(seed, 2000)).collect();
    let file = test_file::build(&[&pages]);
    let cuts = one_shot(&chunker(), &columnar(&file), &file);
    let expect: Vec<usize> = pages.iter().map(|page| page.bytes().len()).collect();
    assert_eq!(cuts[0], 4, "magic");
    assert_eq!(cuts[1..6], expect);
}

#[test]
fn layout_of_another_file_is_safe() {
    let file = test_file::build(&[&pages(1, 50, 3000), &pages(2, 50, 3000)]);
    let plan = columnar(&file);
    let noise = test_file::noise(5, 2 * file.len());
    for bytes in [&noise[..], &file[..file.len() / 2], &file[..5], &[]] {
        one_shot(&chunker(), &plan, bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_windows_give_the_same_cuts(
        seed in any::<u64>(),
        len in 0usize..300_000,
        steps in prop::collection::vec(1usize..70_000, 1..20),
        kind in 0u8..3,
    ) {
        let chunker = chunker();
        let noise = test_file::noise(seed, len);
        let (plan, bytes) = match kind {
            0 => (Plan::Generic, noise),
            1 => (Plan::Pages, noise),
            _ => {
                let file = test_file::build(&[&pages(seed, len / 3000, 6000), &pages(!seed, 9, 100_000)]);
                (columnar(&file), file)
            }
        };
        let expect = one_shot(&chunker, &plan, &bytes);
        assert_eq!(windows(&chunker, &plan, &bytes, &mut steps.into_iter().cycle()), expect);
    }

    #[test]
    fn big_files_do_not_depend_on_windows(seed in any::<u64>(), step in 1usize..3_000_000) {
        let chunker = Chunker::new(Params::default(), seed).unwrap();
        let file = test_file::build(&[&pages(seed, 70, 65_000), &[Page::noise(seed, 1_500_000)]]);
        for plan in [columnar(&file), Plan::Generic, Plan::Pages] {
            let expect = one_shot(&chunker, &plan, &file);
            assert_eq!(windows(&chunker, &plan, &file, &mut std::iter::repeat(step)), expect);
        }
    }

    #[test]
    fn an_edit_changes_few_chunks(seed in any::<u64>(), at in 0usize..400_000, edit in prop::collection::vec(any::<u8>(), 1..100)) {
        let chunker = chunker();
        let old = test_file::noise(seed, 400_000);
        let new = [&old[..at], &edit, &old[at..]].concat();
        let count = changed(&chunker, (&Plan::Generic, &old), (&Plan::Generic, &new));
        assert!(count < 24, "{count} chunks changed");
    }

    #[test]
    fn broken_files_are_still_covered(seed in any::<u64>(), flips in prop::collection::vec((any::<usize>(), any::<u8>()), 1..50)) {
        let chunker = chunker();
        let mut file = test_file::build(&[&pages(seed, 40, 5000), &pages(!seed, 40, 50)]);
        let plan = columnar(&file);
        for (at, value) in flips {
            let len = file.len();
            file[at % len] = value;
        }
        one_shot(&chunker, &plan, &file);
        if let Footer::Layout(layout) = footer(&file, file.len() as u64) {
            one_shot(&chunker, &Plan::Columnar(layout), &file);
        }
    }
}
