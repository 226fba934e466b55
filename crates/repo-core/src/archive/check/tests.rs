use repo_format::{BlobId, PackId, SnapshotId};

use super::Losses;
use crate::limits::{LOSS_FILES_MAX, LOSS_SNAPSHOTS_MAX};

fn told(losses: Losses) -> Vec<String> {
    let mut lines = Vec::new();
    losses.tell(&mut |finding| lines.push(finding.to_string()));
    lines
}

#[test]
fn losses_name_blob_pack_file_and_snapshots() {
    let (id, pack) = (BlobId([1; 32]), PackId([2; 32]));
    let (old, new) = (SnapshotId([3; 32]), SnapshotId([4; 32]));
    let mut losses = Losses::default();
    for snapshot in [old, old, new] {
        losses.add(id, b"a/b".to_vec(), snapshot, || {
            ("chunk", Some(pack), "damaged".to_owned())
        });
    }
    let expected = format!("a/b: chunk {id} in pack {pack} is damaged; snapshot {old}, {new}");
    assert_eq!(told(losses), [expected]);
}

#[test]
fn files_and_snapshots_beyond_the_limit_are_counted() {
    let id = BlobId([1; 32]);
    let mut losses = Losses::default();
    for file in 0..LOSS_FILES_MAX + 3 {
        let path = format!("{file:04}").into_bytes();
        losses.add(id, path, SnapshotId([0; 32]), || {
            ("chunk", None, "missing".to_owned())
        });
    }
    for snapshot in 1..=LOSS_SNAPSHOTS_MAX {
        let snapshot = SnapshotId([u8::try_from(snapshot).unwrap(); 32]);
        losses.add(id, b"0000".to_vec(), snapshot, || unreachable!());
    }
    let lines = told(losses);
    assert_eq!(lines.len(), LOSS_FILES_MAX + 1);
    assert!(lines[0].ends_with(" and 1 more"));
    assert!(lines[LOSS_FILES_MAX].contains("is used 3 more times"));
}
