//! Many programs that write to one repository at once: all commit, and nothing is lost.

use std::collections::BTreeSet;

use repo_testkit::data::{fill_tree, random};
use repo_tests::program::{Home, Run};

/// Programs at once.
const WRITERS: u64 = 8;

#[test]
fn eight_writers_at_once_all_commit() {
    let home = Home::bare();
    home.ok(&["init", "--no-encryption", "--pack-size", "1MiB"]);
    let names: Vec<String> = (0..WRITERS)
        .map(|number| format!("data-{number}"))
        .collect();
    for (name, seed) in names.iter().zip(0..) {
        fill_tree(&home.path(name), seed, 20).expect("a tree");
        // What all of them have, and what each has alone.
        home.write(&format!("{name}/same"), random(99, 800_000));
        home.write(&format!("{name}/own"), random(100 + seed, 1_500_000));
    }
    for round in 1..=2 {
        let start = |name: &String| home.repo(&["snapshot", name]).spawn().expect("a start");
        let running: Vec<_> = names.iter().map(start).collect();
        for child in running {
            let output = child.wait_with_output().expect("a run");
            assert_eq!(Run::of(&output).expect(0).stderr, "");
        }
        let snapshots = home.json(&["snapshots"]);
        assert_eq!(snapshots.len(), names.len() * round);
        let log = home.json(&["log"]);
        let numbers: BTreeSet<_> = log
            .iter()
            .filter_map(|entry| entry["number"].as_u64())
            .collect();
        assert_eq!(numbers.len(), snapshots.len(), "a commit for each");
        for snapshot in &snapshots[snapshots.len() - names.len()..] {
            let path = snapshot["paths"][0].as_str().expect("a path");
            home.restores(snapshot["id"].as_str().expect("an id"), path.as_ref());
        }
    }
    home.ok(&["check", "--read-data"]);
}
