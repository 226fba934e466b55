//! Restoring: elsewhere, in place, in part, and what is only planned.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use crate::driver::{Home, noise, of_type, tree};

fn sample() -> Home {
    let home = Home::plain();
    home.write("data/a", noise(5, 200_000));
    home.write("data/dir/b", "b");
    home.write("data/dir/deep/c", "c");
    home.snapshot(["data"]);
    home
}

#[test]
fn a_root_goes_straight_into_the_target() {
    let home = sample();
    let stdout = home.ok(["restore", "latest", "target"]);
    assert!(stdout.starts_with("restored "), "{stdout}");
    assert!(stdout.contains(": 3 files, "), "{stdout}");
    assert_eq!(tree(&home.path("target")), tree(&home.path("data")));
}

#[test]
fn a_directory_of_the_snapshot_can_be_restored_alone() {
    let home = sample();
    home.ok(["restore", "latest:dir", "target"]);
    assert_eq!(tree(&home.path("target")), tree(&home.path("data/dir")));
}

#[test]
fn in_place_only_what_differs_is_written() {
    let home = sample();
    home.ok(["restore", "latest", "target"]);
    let inode = |name: &str| std::fs::metadata(home.path(name)).expect("a file").ino();
    let kept = inode("target/a");
    let again = home.json(["restore", "latest", "target"]);
    let summary = again.last().expect("a summary");
    assert_eq!(summary["bytes_written"], 0);
    assert_eq!(summary["bytes_kept"], 200_002);

    home.write("target/dir/b", "another");
    home.write("target/extra/x", "x");
    let plan = home.json(["restore", "latest", "target", "--delete", "--dry-run"]);
    let planned: Vec<_> = of_type(&plan, "restore_plan")
        .iter()
        .map(|line| (line["action"].as_str(), line["path"].as_str()))
        .collect();
    assert!(
        planned.contains(&(Some("update"), Some("dir/b"))),
        "{planned:?}"
    );
    assert!(
        planned.contains(&(Some("delete"), Some("extra"))),
        "{planned:?}"
    );
    assert!(
        !planned.iter().any(|(_, path)| *path == Some("a")),
        "{planned:?}"
    );
    assert!(
        home.path("target/extra/x").exists(),
        "a plan changes nothing"
    );

    home.ok(["restore", "latest", "target"]);
    assert!(
        home.path("target/extra/x").exists(),
        "deleting is asked for"
    );
    home.ok(["restore", "latest", "target", "--delete", "--verify"]);
    assert_eq!(tree(&home.path("target")), tree(&home.path("data")));
    assert!(!home.path("target/extra").exists());
    assert_eq!(inode("target/a"), kept);
}

#[test]
fn metadata_and_special_files_come_back() {
    let home = Home::plain();
    let file = home.write("data/file", "x");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("a mode");
    symlink("../nowhere", home.path("data/link")).expect("a link");
    std::fs::hard_link(&file, home.path("data/hard")).expect("a hard link");
    home.snapshot(["data"]);
    let before = std::fs::metadata(&file).expect("a file");
    home.ok(["restore", "latest", "target"]);
    let after = std::fs::metadata(home.path("target/file")).expect("a file");
    assert_eq!(after.mode(), before.mode());
    assert_eq!(
        (after.mtime(), after.mtime_nsec()),
        (before.mtime(), before.mtime_nsec())
    );
    assert_eq!(after.nlink(), 2);
    let link = std::fs::read_link(home.path("target/link")).expect("a link");
    assert_eq!(link.to_str(), Some("../nowhere"));
}

#[test]
fn a_target_that_cannot_be_is_one_line() {
    let home = sample();
    home.write("file", "x");
    let line = home.fails(1, ["restore", "latest", "file/below"]);
    assert!(line.contains("file/below"), "{line}");
    let line = home.fails(1, ["restore", "latest:dir/none", "target"]);
    assert!(line.contains("dir/none"), "{line}");
    assert!(!home.path("target").exists());
}
