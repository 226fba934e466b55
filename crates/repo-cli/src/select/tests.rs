use repo_core::{Entry, EntryType, PathBytes, Snapshot, SnapshotStats};

use super::*;

fn known(time_ms: i64, host: &str, path: &str, tags: &[&str]) -> SnapshotRef {
    SnapshotRef {
        snapshot: Snapshot {
            time_ms,
            host: host.to_owned(),
            user: String::new(),
            paths: vec![PathBytes(path.into())],
            root: Entry::new(b"", EntryType::Directory),
            parent: None,
            stats: SnapshotStats::default(),
            program: String::new(),
            description: None,
            source: None,
            duration_ms: 0,
            original: None,
        }
        .into(),
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        protected: None,
    }
}

fn some() -> Vec<SnapshotRef> {
    vec![
        known(10, "a", "/home", &["x", "y"]),
        known(30, "b", "/home", &["x"]),
        known(20, "a", "/etc", &[]),
    ]
}

fn filter(hosts: &[&str], tags: &[&str], paths: &[&str]) -> Filter {
    let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    Filter {
        hosts: owned(hosts),
        tags: owned(tags),
        paths: paths.iter().map(PathBuf::from).collect(),
    }
}

#[test]
fn filters_narrow_what_latest_means() {
    let snapshots = some();
    for (filter, time) in [
        (filter(&[], &[], &[]), Some(30)),
        (filter(&["a"], &[], &[]), Some(20)),
        (filter(&["a", "b"], &[], &[]), Some(30)),
        (filter(&[], &["x"], &[]), Some(30)),
        (filter(&[], &["x,y"], &[]), Some(10)),
        (filter(&[], &["x,y", "x"], &[]), Some(30)),
        (filter(&[], &[], &["/etc"]), Some(20)),
        (filter(&[], &[], &["/home/"]), Some(30)),
        (filter(&["b"], &[], &["/etc"]), None),
    ] {
        let found = find(&snapshots, LATEST, &filter).ok();
        assert_eq!(
            found.map(|known| known.snapshot.time_ms),
            time,
            "{filter:?}"
        );
    }
}

#[test]
fn prefixes_find_one_snapshot() {
    let snapshots = some();
    let none = Filter::default();
    for wanted in &snapshots {
        let id = wanted.snapshot.id().to_hex();
        for name in [&id[..], &id[..8], &id[..4], &id.to_ascii_uppercase()] {
            assert_eq!(find(&snapshots, name, &none), Ok(wanted));
        }
    }
}

#[test]
fn what_is_not_found_is_named() {
    let snapshots = some();
    let none = Filter::default();
    for (name, said) in [
        ("abc", "snapshot id abc is too short"),
        ("00000000", "no snapshot 00000000"),
        ("newest", "no snapshot newest: neither latest nor"),
        ("", "neither latest nor"),
    ] {
        let failure = find(&snapshots, name, &none).expect_err(name);
        assert!(failure.message.contains(said), "{}", failure.message);
    }
    let empty = find(&[], LATEST, &none).expect_err("no snapshot");
    assert_eq!(empty.message, "the repository has no snapshot");
    let filtered = find(&snapshots, LATEST, &filter(&["z"], &[], &[]));
    assert!(filtered.expect_err("filtered").message.contains("matches"));
}

#[test]
fn an_ambiguous_prefix_lists_what_it_could_mean() {
    // Enough snapshots that two share four digits, whatever the ids are.
    let many: Vec<_> = (0..70_000).map(|time| known(time, "h", "/", &[])).collect();
    let mut seen = std::collections::BTreeMap::new();
    let shared = many.iter().find_map(|known| {
        let id = known.snapshot.id().to_hex();
        let prefix = id[..4].to_owned();
        seen.insert(prefix.clone(), id).map(|other| (prefix, other))
    });
    let (prefix, one) = shared.expect("more snapshots than prefixes");
    let failure = find(&many, &prefix, &Filter::default()).expect_err("ambiguous");
    assert!(
        failure.message.contains("is ambiguous: "),
        "{}",
        failure.message
    );
    assert!(failure.message.contains(&one), "{}", failure.message);
}

#[test]
fn targets_are_split_at_the_first_colon() {
    for (text, snapshot, path) in [
        ("latest", "latest", ""),
        ("latest:", "latest", ""),
        ("ab12:/etc/a:b", "ab12", "/etc/a:b"),
        ("latest:dir/", "latest", "dir/"),
    ] {
        let target = Target::parse(OsStr::new(text));
        assert_eq!(target.snapshot, snapshot);
        assert_eq!(target.path, path.as_bytes());
    }
    assert_eq!(Target::parse(OsStr::from_bytes(b"a:\xff")).path, b"\xff");
}

#[test]
fn local_paths_are_compared_as_they_are_recorded() {
    assert_eq!(recorded(Path::new("/a/./b/../c/")), Path::new("/a/c"));
    assert_eq!(recorded(Path::new("/../..")), Path::new("/"));
    assert!(recorded(Path::new("a")).is_absolute());
}

#[test]
fn paths_are_taken_from_the_root_of_the_snapshot() {
    assert_eq!(normal(b"/etc//./fstab/"), b"etc/fstab");
    assert_eq!(normal(b"/"), b"");
    for (path, root, relative) in [
        ("/home/me/a", "/home/me", Some("a")),
        ("/home/me", "/home/me", Some("")),
        ("/home/meat", "/home/me", None),
        ("a", "/home/me", None),
    ] {
        let found = relative_to(path.as_bytes(), root.as_bytes());
        assert_eq!(found.as_deref(), relative.map(str::as_bytes));
    }
}
