use repo_format::tree::{Entry, EntryType, Timestamp};
use repo_format::{BlobId, Content, Extent};

use super::{balance, content_differs, metadata_differs, sums};

fn file(size: u64) -> Entry {
    Entry {
        mode: 0o644,
        uid: 1,
        gid: 1,
        size,
        ..Entry::new(b"f", EntryType::File)
    }
}

#[test]
fn what_is_never_restored_is_no_difference() {
    let before = file(3);
    let after = Entry {
        ctime: Some(Timestamp {
            seconds: 5,
            nanos: 0,
        }),
        inode: Some(9),
        user: Some("somebody".to_owned()),
        xattrs: Some(Vec::new()),
        ..file(3)
    };
    assert!(!content_differs(&before, &after));
    assert!(!metadata_differs(&before, &after));
    let chmod = Entry {
        mode: 0o600,
        ..file(3)
    };
    assert!(metadata_differs(&before, &chmod));
    assert!(content_differs(&before, &file(4)));
}

#[test]
fn chunks_on_both_sides_balance_wherever_they_lie() {
    let content = |ids: &[u8]| Content {
        level: 0,
        extents: ids
            .iter()
            .map(|id| Extent {
                len: u64::from(*id) * 10,
                id: (*id > 0).then_some(BlobId([*id; 32])),
            })
            .collect(),
    };
    let sides = [content(&[1, 2, 2, 3]), content(&[4, 3, 2, 5, 1])];
    let balance = balance(&sides);
    assert_eq!(sums(&balance), (20, 90));
}
