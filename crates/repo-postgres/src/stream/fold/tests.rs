use proptest::prelude::*;

use super::*;

/// A file of changes as servers write it.
fn file(blocks: &[(u32, u8)], truncated: u32) -> Vec<u8> {
    let mut bytes = MAGIC.to_le_bytes().to_vec();
    let count = u32::try_from(blocks.len()).expect("few");
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(&truncated.to_le_bytes());
    for (block, _) in blocks {
        bytes.extend_from_slice(&block.to_le_bytes());
    }
    if !blocks.is_empty() {
        bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
    }
    for (_, content) in blocks {
        bytes.extend_from_slice(&[*content; PAGE]);
    }
    bytes
}

fn read(bytes: &[u8]) -> io::Result<Changes> {
    Changes::read(&mut &bytes[..], bytes.len() as u64, 1000)
}

/// Folds with reads of `step` bytes.
fn folded(bytes: &[u8], earlier: &[u8], step: usize) -> Vec<u8> {
    let mut source = bytes;
    let changes = Changes::read(&mut source, bytes.len() as u64, 1000).expect("changes");
    let take = |range: Range<u64>| -> io::Result<Vec<u8>> {
        let at = |place: u64| usize::try_from(place).expect("small").min(earlier.len());
        Ok(earlier[at(range.start)..at(range.end)].to_vec())
    };
    let mut folded = Folded::new(&changes, &mut source, &take, earlier.len() as u64);
    let (mut whole, mut buffer) = (Vec::new(), vec![0; step]);
    loop {
        match folded.read(&mut buffer).expect("read") {
            0 => break,
            read => whole.extend_from_slice(&buffer[..read]),
        }
    }
    assert_eq!(whole.len() as u64, changes.len());
    assert!(source.is_empty(), "all blocks were read");
    whole
}

#[test]
fn files_of_changes_are_known_by_their_names() {
    for (path, whole) in [
        ("base/5/INCREMENTAL.16384.1", Some("base/5/16384.1")),
        ("INCREMENTAL.1", Some("1")),
        ("base/5/16384", None),
        ("INCREMENTAL.5/1", None),
    ] {
        let found = whole_path(path.as_bytes());
        assert_eq!(found.as_deref(), whole.map(str::as_bytes), "{path}");
    }
}

#[test]
fn a_label_is_made_that_of_a_full_backup() {
    let label = b"START WAL LOCATION: 0/2 (file 1)\nINCREMENTAL FROM LSN: 0/1\nLABEL: x\nINCREMENTAL FROM TLI: 1\n";
    assert_eq!(
        whole_label(label),
        b"START WAL LOCATION: 0/2 (file 1)\nLABEL: x\n"
    );
    assert_eq!(
        whole_label(b"LABEL: INCREMENTAL FROM LSN: "),
        b"LABEL: INCREMENTAL FROM LSN: "
    );
}

#[test]
fn what_is_no_file_of_changes_is_refused() {
    let good = file(&[(1, 1), (4, 2)], 5);
    assert!(read(&good).is_ok());
    assert!(
        read(&file(&[], 5))
            .expect("no changes")
            .is_none(5 * PAGE as u64)
    );
    let mut magic = good.clone();
    magic[0] ^= 1;
    let mut count = good.clone();
    count[4..8].fill(0xFF);
    for wrong in [
        magic,
        count,
        file(&[(4, 1), (1, 2)], 5),
        file(&[(1, 1), (1, 2)], 5),
        file(&[(1000, 1)], 5),
        file(&[], 1001),
        good[..good.len() - 1].to_vec(),
        good[..HEAD - 1].to_vec(),
        [&good[..], b"x"].concat(),
    ] {
        assert!(read(&wrong).is_err());
    }
}

proptest! {
    #[test]
    fn a_fold_is_block_by_block(
        earlier in proptest::collection::vec(1..100u8, 0..12),
        changed in proptest::collection::btree_map(0..16u32, 100..200u8, 0..8),
        truncated in 0..16u32,
        odd in 0..PAGE,
        step in 1..40_000usize,
    ) {
        let mut before: Vec<u8> = earlier.iter().flat_map(|content| [*content; PAGE]).collect();
        before.extend(std::iter::repeat_n(77, odd));
        let blocks: Vec<(u32, u8)> = changed.clone().into_iter().collect();
        let whole = folded(&file(&blocks, truncated), &before, step);
        let len = truncated.max(blocks.last().map_or(0, |(block, _)| block + 1));
        for block in 0..len {
            let kept = || (block < truncated).then(|| earlier.get(block as usize)).flatten();
            let wanted = changed.get(&block).or_else(kept).copied().unwrap_or(0);
            let at = block as usize * PAGE;
            prop_assert!(whole[at..at + PAGE].iter().all(|byte| *byte == wanted), "block {}", block);
        }
        prop_assert_eq!(whole.len(), len as usize * PAGE);
    }
}
