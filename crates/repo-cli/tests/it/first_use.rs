//! The two commands of a fresh machine: a default repository, made on first use.

use std::os::unix::fs::PermissionsExt as _;

use crate::driver::{Home, of_type, tree};

#[test]
fn the_first_snapshot_makes_a_repository_and_says_so_once() {
    let home = Home::new();
    home.write("data/a", "hello");
    let repository = home.text("home/.local/share/repo/default");
    let key = home.path("home/.local/share/repo/default.key");

    let first = home.run(["snapshot", "data"]).expect(0);
    let line = first.only_line();
    for said in [
        &repository,
        key.to_str().expect("UTF-8"),
        "keep a copy of the key",
    ] {
        assert!(line.contains(said), "{line}");
    }
    assert!(
        first.stdout.contains("saved: 1 file, 5 B"),
        "{}",
        first.stdout
    );
    let mode = std::fs::metadata(&key).expect("a key").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    home.ok(["snapshot", "data"]);
    assert!(home.ok(["snapshots"]).ends_with("2 snapshots\n"));
    home.ok(["restore", "latest", "target"]);
    assert_eq!(tree(&home.path("target")), tree(&home.path("data")));
}

#[test]
fn without_its_key_the_default_repository_does_not_open() {
    let home = Home::new();
    home.write("data/a", "hello");
    home.run(["snapshot", "data"]).expect(0);
    let key = home.path("home/.local/share/repo/default.key");
    let moved = home.path("moved.key");
    std::fs::rename(key, &moved).expect("moved");
    let line = home.fails(12, ["snapshot", "data"]);
    assert!(line.contains("no password is given"), "{line}");
    let moved = moved.to_str().expect("UTF-8");
    home.ok(["snapshots", "--password-file", moved]);
}

#[test]
fn init_makes_the_default_repository_too() {
    let home = Home::new();
    let stdout = home.ok(["init"]);
    assert!(stdout.contains("default.key: keep a copy"), "{stdout}");
    assert_eq!(home.ok(["snapshots"]).lines().last(), Some("0 snapshots"));
    let line = home.fails(11, ["init"]);
    assert!(line.contains("already exists"), "{line}");
}

#[test]
fn reading_makes_nothing() {
    let home = Home::new();
    for arguments in [
        &["snapshots"][..],
        &["check"],
        &["snapshot", "--dry-run", "."],
    ] {
        let line = home.fails(10, arguments);
        assert!(line.contains("no repository at"), "{line}");
    }
    let made = std::fs::read_dir(home.path("home")).expect("a directory");
    assert_eq!(made.count(), 0, "not even a cache");
}

#[test]
fn a_mistake_in_the_command_makes_nothing() {
    let home = Home::new();
    home.fails(2, ["snapshot", ".", "--exclude", "a["]);
    home.fails(1, ["snapshot", ".", "--exclude-from", "missing"]);
    assert!(!home.path("home/.local").exists());
}

#[test]
fn a_snapshot_does_not_hold_the_repository_it_goes_to() {
    let home = Home::new();
    home.write("home/mine", "mine");
    home.run(["snapshot", "home"]).expect(0);
    home.ok(["snapshot", "home"]);
    let entries = home.json(["ls", "-R", "latest"]);
    let paths: Vec<&str> = entries.iter().filter_map(|e| e["path"].as_str()).collect();
    assert!(paths.contains(&"mine"));
    assert!(paths.contains(&".local/share/repo/default.key"));
    assert!(!paths.contains(&".local/share/repo/default"), "{paths:?}");
    assert!(!paths.contains(&".cache/repo"), "{paths:?}");
}

#[test]
fn a_profile_names_repository_password_tags_and_patterns() {
    let mut home = Home::new();
    home.write("data/a", "a");
    home.write("data/a.tmp", "a");
    home.write("home/.config/repo/secret", "profile password\n");
    let settings = format!(
        "[profile.work]\nrepository = '{}'\npassword-file = 'secret'\ntags = ['nightly']\nexclude = ['*.tmp']\n",
        home.text("elsewhere")
    );
    home.write("home/.config/repo/config.toml", settings);
    home.run(["--profile", "work", "init"]).expect(0);
    home.set("REPO_PROFILE", "work");
    home.snapshot(["data"]);
    let messages = home.json(["snapshots", "--tag", "nightly"]);
    let snapshots = of_type(&messages, "snapshot");
    assert_eq!(snapshots.len(), 1);
    assert_eq!(snapshots[0]["files"], 1);
    home.set("REPO_PROFILE", "play");
    let line = home.fails(2, ["snapshots"]);
    assert!(line.contains("no profile play: it has work"), "{line}");
}

#[test]
fn help_version_and_completions_need_no_home() {
    let mut home = Home::new();
    home.unset("HOME");
    assert!(home.ok(["--help"]).contains("Exit codes:"));
    assert!(home.ok(["--version"]).starts_with("repo "));
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.ok(["completions", shell]).contains("snapshots"));
    }
    let line = home.fails(2, ["snapshots"]);
    assert!(line.contains("no repository is named"), "{line}");
}
