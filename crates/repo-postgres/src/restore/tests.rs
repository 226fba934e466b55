//! What is left out and what is emptied on the way into a data directory.

use super::*;
use crate::description::Database;

fn description(names: &[(u32, &str)]) -> Description {
    let text = serde_json::json!({
        "format": 1, "system_identifier": "1", "version": 150_004, "catalog_version": 1,
        "timeline": 1, "start_lsn": "0/1", "stop_lsn": "0/2", "standby": false, "checksums": true,
        "block_size": 8192, "segment_blocks": 131_072, "wal_segment_size": 16_777_216,
        "pgdata": "/data", "wal": [], "tablespaces": [], "databases": [], "corrupt_pages": [],
    });
    let mut description = Description::parse(text.to_string().as_bytes()).expect("a description");
    description.databases = names
        .iter()
        .map(|(oid, name)| Database {
            oid: *oid,
            name: (*name).to_owned(),
        })
        .collect();
    description
}

#[test]
fn some_databases_are_always_kept() {
    let known = description(&[
        (1, "template1"),
        (4, "template0"),
        (5, "postgres"),
        (9, "a"),
        (10, "b"),
    ]);
    assert_eq!(kept_databases(&known, &[]).expect("all"), None);
    let kept = kept_databases(&known, &["b".to_owned()]).expect("some");
    assert_eq!(kept, Some(HashSet::from([1, 4, 5, 10])));
    let unknown = kept_databases(&known, &["c".to_owned()]);
    assert!(matches!(unknown, Err(Error::NoDatabase { .. })));
}

#[test]
fn files_of_other_databases_keep_their_length_only() {
    let rules = adapt(&[], false, Some(HashSet::from([1, 5])));
    let apply = |path: &str| {
        let name = path.rsplit('/').next().expect("a name");
        let mut entry = Entry::new(name.as_bytes(), EntryType::File);
        entry.size = 16_384;
        assert!(rules(path.as_bytes(), &mut entry), "{path}");
        entry.content
    };
    for kept in [
        "base/5/1259",
        "base/9/PG_VERSION",
        "base/9/pg_filenode.map",
        "global/1260",
        "pg_xact/0000",
    ] {
        assert_eq!(apply(kept), None, "{kept}");
    }
    for emptied in [
        "base/9/1259",
        "base/9/1259_fsm",
        "pg_tblspc/7/PG_15_1/9/2.1",
    ] {
        let content = apply(emptied).expect("a hole");
        assert_eq!(
            (content.len(), content.extents[0].id.is_none()),
            (16_384, true),
            "{emptied}"
        );
    }
}

#[test]
fn what_is_no_part_of_the_data_directory_is_passed_over() {
    let place = Place {
        oid: 16_400,
        old: PathBuf::from("/fast"),
        location: PathBuf::from("/slow"),
    };
    let rules = adapt(&[place], false, None);
    let mut entry = Entry::new(b"x", EntryType::Directory);
    for (path, wanted) in [
        (".repo", false),
        ("global/pg_control", false),
        ("pg_tblspc/16400", false),
        ("pg_tblspc/16401", true),
        ("pg_wal", true),
        ("base", true),
    ] {
        assert_eq!(rules(path.as_bytes(), &mut entry), wanted, "{path}");
    }
}
