//! Versions of files across snapshots.

use serde_json::Value;

use crate::driver::{Home, of_type};

/// Three snapshots: `a.conf` changes in the second and comes back in the third.
fn history() -> (Home, Vec<String>) {
    let home = Home::plain();
    let mut ids = Vec::new();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    for (round, content) in ["first", "the second", "first"].into_iter().enumerate() {
        for (name, content) in [("data/etc/a.conf", content), ("data/etc/b.txt", "same")] {
            let path = home.write(name, content);
            let file = std::fs::File::options().write(true).open(path);
            file.expect("a file").set_modified(time).expect("a time");
        }
        if round == 1 {
            home.write("data/deep/er/big", vec![0; 20_000]);
        }
        let hour = format!("2026-03-01T1{round}:00:00Z");
        ids.push(home.snapshot(["data", "--force", "--time", &hour]));
    }
    (home, ids)
}

fn rows(found: &[Value]) -> Vec<(String, u64, Vec<String>)> {
    let row = |found: &&Value| {
        let ids = found["snapshots"].as_array().expect("a list");
        let ids = ids.iter().map(|id| id.as_str().expect("an id").to_owned());
        let path = found["path"].as_str().expect("a path").to_owned();
        (path, found["size"].as_u64().expect("a size"), ids.collect())
    };
    of_type(found, "found").iter().map(row).collect()
}

#[test]
fn every_version_is_told_with_its_snapshots() {
    let (home, ids) = history();
    let found = home.json(["find", "*.conf"]);
    let path = "etc/a.conf".to_owned();
    let first = (path.clone(), 5, vec![ids[0].clone(), ids[2].clone()]);
    let second = (path, 10, vec![ids[1].clone()]);
    assert_eq!(rows(&found), [first, second]);
    let summary = found.last().expect("a summary");
    assert_eq!(summary["versions"], 2);
    assert_eq!(summary["snapshots"], 3);

    // The same, for a person.
    let text = home.ok(["find", "b.txt"]);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("test-host: /"), "{text}");
    assert_eq!(lines[1], "  etc/b.txt");
    let places = format!("in {}..{} (3 snapshots)", &ids[0][..8], &ids[2][..8]);
    assert!(lines[2].ends_with(&places), "{text}");
    assert_eq!(lines[3], "1 path, 1 version in 3 snapshots");
}

#[test]
fn everything_asked_for_must_hold() {
    let (home, ids) = history();
    let found = |arguments: &[&str]| {
        let mut all = vec!["find"];
        all.extend(arguments);
        let mut paths: Vec<String> = rows(&home.json(all)).into_iter().map(|row| row.0).collect();
        paths.dedup();
        paths
    };
    let conf = "etc/a.conf";
    assert_eq!(found(&["etc/*.conf"]), [conf]);
    assert_eq!(found(&["*/a.conf"]), [conf]);
    assert_eq!(found(&["deep/*"]), ["deep/er"]);
    assert_eq!(found(&["deep/**"]), ["deep/er", "deep/er/big"]);
    assert_eq!(found(&["A.CONF"]), [""; 0]);
    assert_eq!(found(&["-i", "A.CONF"]), [conf]);
    assert_eq!(found(&["--size", "+10k"]), ["deep/er/big"]);
    assert_eq!(found(&["--size", "-10", "*.conf"]), [conf]);
    assert_eq!(found(&["--size", "6..9"]), [""; 0]);
    assert_eq!(
        found(&["-t", "d", "--newer", "2000-01-01 00:00:00"]),
        ["deep", "deep/er", "etc"]
    );
    assert_eq!(found(&["--older", "365d"]), [conf, "etc/b.txt"]);
    assert_eq!(found(&["--newer", "365d", "-t", "f"]), ["deep/er/big"]);
    assert_eq!(found(&["big", "--snapshot", &ids[0]]), [""; 0]);
    assert_eq!(found(&["big", "--host", "another"]), [""; 0]);

    // By content: the id of one leads to its other copies.
    let one = home.json(["find", "a.conf", "--size", "5"]);
    let content = one[0]["content"].as_str().expect("an id");
    assert_eq!(found(&["--content", &content[..16]]), [conf]);
    home.fails(2, ["find", "--content", "abc"]);
    home.fails(2, ["find", "--size", "big"]);
    home.fails(2, ["find", "[a"]);
}
