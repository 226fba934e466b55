use proptest::prelude::{ProptestConfig, any, prop, proptest};

use super::test_file::{self, Page};
use super::thrift::Reader;
use super::{Footer, Range, footer, page};

const FIXTURE: &[u8] = include_bytes!("../../tests/fixtures/small.parquet");

fn ranges(file: &[u8]) -> Option<Vec<(u64, u64)>> {
    match footer(file, file.len() as u64) {
        Footer::Layout(layout) => Some(layout.ranges.iter().map(|r| (r.start, r.end)).collect()),
        Footer::NeedTail(_) => panic!("the whole file was given"),
        Footer::Unusable => None,
    }
}

fn file(columns: &[(u64, u64)]) -> Vec<u8> {
    let metadata = test_file::metadata(columns);
    let mut file = vec![0; 1000];
    file.extend_from_slice(&metadata);
    test_file::finish(file, metadata.len())
}

#[test]
fn fixture_is_pages_from_magic_to_index() {
    let Footer::Layout(layout) = footer(FIXTURE, FIXTURE.len() as u64) else {
        panic!("the fixture must be readable");
    };
    assert_eq!(layout.ranges.len(), 10, "five columns, two row groups");
    let mut at = 4;
    let mut pages = 0;
    for Range {
        start,
        end,
        compressed,
    } in layout.ranges
    {
        assert_eq!(start, at);
        assert!(compressed);
        while at < end {
            at += page::length(&FIXTURE[usize::try_from(at).unwrap()..]).unwrap();
            pages += 1;
        }
        assert_eq!(at, end, "pages must fill the column chunk");
    }
    assert!(pages > 30, "{pages}");
}

#[test]
fn tail_is_asked_for_once() {
    let len = FIXTURE.len() as u64;
    for given in [0, 7, 8, 100] {
        let Footer::NeedTail(need) = footer(&FIXTURE[FIXTURE.len() - given..], len) else {
            panic!("{given} bytes cannot be enough");
        };
        let tail = &FIXTURE[FIXTURE.len() - usize::try_from(need).unwrap()..];
        let second = footer(tail, len);
        assert!(matches!(second, Footer::Layout(_)), "{given}: {second:?}");
    }
}

#[test]
fn ranges_must_be_in_the_file_and_apart() {
    assert_eq!(
        ranges(&file(&[(4, 100), (104, 50)])),
        Some(vec![(4, 104), (104, 154)])
    );
    assert_eq!(
        ranges(&file(&[(104, 50), (4, 100)])),
        Some(vec![(4, 104), (104, 154)])
    );
    assert_eq!(ranges(&file(&[(4, 996)])), Some(vec![(4, 1000)]));
    for bad in [
        &[][..],
        &[(4, 0)],
        &[(0, 100)],
        &[(4, 997)],
        &[(4, 100), (103, 50)],
        &[(4, 100), (4, 100)],
        &[(i64::MAX as u64, i64::MAX as u64)],
    ] {
        assert_eq!(ranges(&file(bad)), None, "{bad:?}");
    }
}

#[test]
fn what_is_not_parquet_is_unusable() {
    assert_eq!(footer(&[], 0), Footer::Unusable);
    assert_eq!(footer(b"PAR1PAR1", 8), Footer::Unusable);
    assert_eq!(footer(&[0; 100], 100), Footer::Unusable);
    assert_eq!(footer(&[0; 100], 99), Footer::Unusable);
    assert_eq!(footer(b"\xff\xff\xff\xffPAR1", u64::MAX), Footer::Unusable);
    assert_eq!(footer(b"\x09\x00\x00\x00PAR1", 20), Footer::Unusable);
    assert_eq!(footer(b"\x08\x00\x00\x00PAR1", 20), Footer::NeedTail(16));
}

#[test]
fn nesting_and_counts_are_bounded() {
    // A struct in a struct without end, a list of lists, a list of more booleans than bytes.
    for hostile in [
        vec![0x1c; 1 << 20],
        vec![0x19; 1 << 20],
        vec![0x19, 0xf1, 0xff, 0xff, 0xff, 0x7f],
    ] {
        assert!(
            Reader::new(&hostile)
                .fields(|reader, _, kind| reader.skip(kind))
                .is_err()
        );
        assert!(page::length(&hostile).is_err());
        let file = test_file::finish([b"PAR1", &hostile[..]].concat(), hostile.len());
        assert_eq!(ranges(&file), None);
    }
}

#[test]
fn page_lengths() {
    for len in [0, 1, 63, 64, 70_000] {
        let page = Page::noise(1, len);
        let length = page.bytes().len();
        assert_eq!(page::length(page.bytes()), Ok(length as u64));
        assert_eq!(
            page::length(&page.bytes()[..length - len]),
            Ok(length as u64),
            "header only"
        );
        assert!(
            page::length(&page.bytes()[..length - len - 1]).is_err(),
            "cut header"
        );
    }
    assert!(
        page::length(&[0x15, 0, 0x15, 0, 0x15, 1, 0]).is_err(),
        "negative length"
    );
    assert!(
        page::length(&[0x15, 8, 0x15, 0, 0x15, 2, 0]).is_err(),
        "unknown page type"
    );
    assert!(page::length(&[0x15, 0, 0]).is_err(), "no length");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_metadata_is_read_or_refused(metadata in prop::collection::vec(any::<u8>(), 0..300)) {
        let len = metadata.len();
        let file = test_file::finish([b"PAR1", &metadata[..]].concat(), len);
        ranges(&file);
        page::length(&metadata).ok();
        Reader::new(&metadata).fields(|reader, _, kind| reader.skip(kind)).ok();
    }

    #[test]
    fn damaged_footers_are_read_or_refused(flips in prop::collection::vec((0usize..4000, any::<u8>()), 1..8)) {
        let mut file = FIXTURE.to_vec();
        let len = file.len();
        for (back, value) in flips {
            file[len - 1 - back] = value;
        }
        if let Some(ranges) = ranges(&file) {
            let mut at = 4;
            for (start, end) in ranges {
                assert!(at <= start && start < end && end < len as u64);
                at = end;
            }
        }
    }
}
