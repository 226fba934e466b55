use repo_format::index::{Entry, PackRow, SegmentRow};
use repo_format::{BlobKey, PackId};

use super::Placed;

fn pack(name: u8) -> PackId {
    PackId([name; 32])
}

/// Packs 0 to 4, two segments in each, one blob in each segment; those in `open` are not finished.
fn placed(open: &[u8]) -> Placed {
    let mut placed = Placed {
        bytes: 7,
        ..Placed::default()
    };
    for name in 0..5 {
        let row = u32::from(name);
        placed.packs.push(PackRow {
            id: pack(name),
            size: 100,
        });
        if open.contains(&name) {
            placed.open.push((pack(name), row));
        }
    }
    // Threads add segments to packs in any order.
    for (number, row) in [3, 0, 4, 1, 2, 2, 0, 4, 3, 1].into_iter().enumerate() {
        let number = u32::try_from(number).unwrap_or_default();
        placed.segments.push(SegmentRow {
            pack: row,
            offset: number,
            stored: 1,
            raw: 1,
        });
        placed.entries.push(Entry {
            key: BlobKey([u8::try_from(number).unwrap_or_default(); 16]),
            segment: number,
            ordinal: 0,
        });
    }
    placed
}

/// Pack, offset and blob of everything placed.
fn facts(placed: &Placed) -> Vec<(PackId, u32, BlobKey)> {
    let facts = placed.entries.iter().map(|entry| {
        let segment = placed.segments[entry.segment as usize];
        let pack = placed.packs[segment.pack as usize];
        (pack.id, segment.offset, entry.key)
    });
    facts.collect()
}

#[test]
fn what_lies_in_open_packs_stays_and_nothing_is_lost() {
    for open in [&[][..], &[0], &[4], &[1, 3], &[0, 1, 2, 3, 4]] {
        let mut rest = placed(open);
        let all = facts(&rest);
        let part = rest.split_finished();
        let is_open = |pack: &PackId| open.contains(&pack.0[0]);
        assert!(facts(&part).iter().all(|(pack, ..)| !is_open(pack)));
        assert!(facts(&rest).iter().all(|(pack, ..)| is_open(pack)));
        let mut together = facts(&part);
        together.extend(facts(&rest));
        together.sort_unstable_by_key(|(_, offset, _)| *offset);
        assert_eq!(together, all, "{open:?}");
        assert_eq!((rest.packs.len(), rest.bytes), (open.len(), 7));
        for (id, row) in &rest.open {
            assert_eq!(rest.packs[*row as usize].id, *id);
        }
        assert!(part.open.is_empty());
        assert_eq!(rest.open.len(), open.len());
    }
}
