use repo_format::{BlobKey, PackId};

use super::{Damage, chain};
use crate::error::Error;
use crate::repository::index::{Location, SegmentAddress};

fn at(pack: u8, offset: u32, stored: u32) -> Location {
    Location {
        segment: SegmentAddress {
            pack: PackId([pack; 32]),
            offset,
            stored,
            raw: 1,
        },
        ordinal: 0,
    }
}

#[test]
fn damage_hits_what_lies_in_it() {
    let key = BlobKey([7; 16]);
    let mut damage = Damage::default();
    assert!(damage.is_empty());
    assert!(!damage.hits(&key, &at(1, 100, 50)));
    damage.packs.insert(PackId([1; 32]), 150);
    damage.segments.insert((PackId([2; 32]), 104));
    assert!(
        !damage.hits(&key, &at(1, 100, 50)),
        "it ends where the pack does"
    );
    assert!(damage.hits(&key, &at(1, 101, 50)));
    assert!(damage.hits(&key, &at(2, 104, 50)));
    assert!(!damage.hits(&key, &at(2, 105, 50)));
    damage.blobs.insert(key);
    assert!(damage.hits(&key, &at(3, 0, 1)));
    assert!(!damage.hits(&BlobKey([8; 16]), &at(3, 0, 1)));
}

#[test]
fn causes_are_told_in_one_line_and_once() {
    let source = repo_format::Error::Forged { what: "pack" };
    let said = source.to_string();
    let text = chain(&Error::object("packs/ab/abcd", source));
    assert_eq!(text, format!("packs/ab/abcd cannot be read: {said}"));
    assert!(!text.contains('\n'));
}
