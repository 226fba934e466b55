use repo_format::{BlobId, Extent};

use super::Bases;

fn chunk(name: u8) -> BlobId {
    BlobId([name; 32])
}

/// The parent's version: chunks of 100 bytes called 0, 1, 2 and so on, and a hole in place of 5.
fn bases() -> Bases {
    let extent = |name| Extent {
        len: 100,
        id: (name != 5).then_some(chunk(name)),
    };
    Bases {
        extents: None,
        near: (0..20)
            .map(|name| (u64::from(name) * 100, extent(name)))
            .collect(),
        shift: 0,
    }
}

#[test]
fn the_base_is_what_stood_in_the_middle_of_the_place() {
    let mut bases = bases();
    assert_eq!(bases.base(0, 100), Some(chunk(0)));
    assert_eq!(bases.base(700, 100), Some(chunk(7)));
    assert_eq!(bases.base(740, 100), Some(chunk(7)));
    assert_eq!(bases.base(760, 100), Some(chunk(8)));
    assert_eq!(bases.base(500, 100), None, "a hole is no base");
    assert_eq!(
        bases.base(9000, 100),
        Some(chunk(19)),
        "past the end, the last"
    );
}

#[test]
fn after_an_insertion_the_place_moves_along() {
    let mut bases = bases();
    bases.known(1000, &chunk(7));
    assert_eq!(bases.base(1100, 100), Some(chunk(8)));
    // Found elsewhere in the repository: says nothing of this file.
    bases.known(1200, &chunk(99));
    assert_eq!(bases.base(1300, 100), Some(chunk(10)));
    // Something was removed as well.
    bases.known(1400, &chunk(15));
    assert_eq!(bases.base(1500, 100), Some(chunk(16)));
}

#[test]
fn no_offset_and_no_shift_overflows() {
    let mut bases = bases();
    bases.known(u64::MAX, &chunk(0));
    bases.base(u64::MAX, u64::MAX);
    bases.known(0, &chunk(19));
    bases.base(0, 1);
    let mut none = Bases {
        extents: None,
        near: std::collections::VecDeque::new(),
        shift: 0,
    };
    none.known(0, &chunk(1));
    assert_eq!(none.base(0, 100), None);
}
