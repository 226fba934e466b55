//! Copies into another repository.

use crate::driver::{Home, PASSWORD, noise, objects, of_type, tree};

/// A repository with a password and two snapshots, and an empty one with another password.
fn two() -> Home {
    let mut home = Home::encrypted();
    home.write("data/a", noise(1, 100_000));
    home.snapshot(["data", "--tag", "first"]);
    home.write("data/b", "second");
    home.snapshot(["data", "--tag", "last", "--host", "other"]);
    home.set("REPO_PASSWORD", "another");
    home.ok(["-r", "copies", "init"]);
    home.set("REPO_PASSWORD", PASSWORD);
    home.set("REPO_TO_PASSWORD", "another");
    home
}

#[test]
fn snapshots_are_copied_once_and_restore_the_same() {
    let mut home = two();
    let messages = home.json(["copy", "--to", "copies", "--tag", "first"]);
    assert_eq!(of_type(&messages, "copied").len(), 1);
    let said = home.ok(["copy", "--to", "copies"]);
    assert!(said.contains(" copied as "), "{said}");
    assert!(said.contains("1 snapshot copied to "), "{said}");
    assert!(said.contains(", 1 there already"), "{said}");
    let messages = home.json(["copy", "--to", "copies"]);
    let summary = messages.last().expect("a summary");
    assert_eq!(
        (&summary["copied"], &summary["present"]),
        (&0.into(), &2.into())
    );
    assert_eq!(summary["bytes_read"], 0);

    let originals = home.json(["snapshots"]);
    home.set("REPO_PASSWORD", "another");
    let copies = home.json(["-r", "copies", "snapshots"]);
    for (original, copy) in originals.iter().zip(&copies) {
        assert_eq!(copy["original"], original["id"]);
        for same in ["time", "host", "paths", "tags", "bytes"] {
            assert_eq!(copy[same], original[same], "{same}");
        }
    }
    home.ok(["-r", "copies", "restore", "latest", "target"]);
    assert_eq!(tree(&home.path("target")), tree(&home.path("data")));
    home.ok(["-r", "copies", "check", "--read-data"]);
    let log = home.ok(["-r", "copies", "log"]);
    assert!(log.contains("copy from "), "{log}");
}

#[test]
fn what_is_copied_can_be_named_and_tried() {
    let mut home = two();
    let said = home.ok(["copy", "--to", "copies", "-n"]);
    assert!(said.contains("dry run, nothing copied: "), "{said}");
    home.ok(["copy", "latest", "--to", "copies", "--host", "test-host"]);
    home.unset("REPO_TO_PASSWORD");
    home.write("secret", "another\n");
    let same = ["copy", "latest", "--host", "other", "--to", "copies"];
    let mut with_file = same.to_vec();
    with_file.extend(["--to-password-file", "secret"]);
    home.ok(&with_file);
    let mut with_command = same.to_vec();
    with_command.extend(["--to-password-command", "echo wrong"]);
    home.fails(12, &with_command);
    home.fails(1, ["copy", "--to", "copies", "--host", "nobody"]);
    home.fails(10, ["copy", "--to", "nowhere"]);
    home.fails(2, ["copy"]);
    let itself = home.fails(
        1,
        [
            "copy",
            "--to",
            "repository",
            "--to-password-command",
            "echo correct horse",
        ],
    );
    assert!(itself.contains("to itself"), "{itself}");
}

#[test]
fn damage_keeps_a_snapshot_from_being_copied_and_is_told() {
    let home = Home::plain();
    home.ok(["-r", "copies", "init", "--no-encryption"]);
    home.write("data/sound", "sound");
    home.snapshot(["data"]);
    home.write("data/victim", noise(6, 500_000));
    let bad = home.snapshot(["data"]);
    let packs = tree(&home.path("repository/packs"));
    let (name, bytes) = packs
        .into_iter()
        .max_by_key(|(_, bytes)| bytes.len())
        .expect("a pack");
    let mut harmed = bytes;
    harmed[200_000] ^= 1;
    let path = home.path("repository/packs").join(name);
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, harmed).expect("written");
    let run = home.run(["copy", "--to", "copies", "--json"]).expect(20);
    let messages = objects(&run.stdout);
    let findings = of_type(&messages, "finding");
    assert_eq!(findings[0]["path"], "victim");
    let told = findings[0]["message"].as_str().expect("text");
    assert!(told.contains(&bad), "{told}");
    let summary = messages.last().expect("a summary");
    assert_eq!(
        (&summary["copied"], &summary["failed"]),
        (&1.into(), &1.into())
    );
}

#[test]
fn a_repository_can_be_made_to_cut_like_another() {
    let mut home = two();
    home.set("REPO_FROM_PASSWORD", PASSWORD);
    home.set("REPO_PASSWORD", "third");
    home.ok([
        "-r",
        "alike",
        "init",
        "--copy-chunker-params-from",
        "repository",
    ]);
    home.set("REPO_PASSWORD", PASSWORD);
    home.set("REPO_TO_PASSWORD", "third");
    home.ok(["copy", "--to", "alike"]);
    home.set("REPO_PASSWORD", "third");
    let messages = home.json(["-r", "alike", "snapshot", "data", "--force"]);
    assert_eq!(messages.last().expect("a summary")["bytes_new"], 0);
}
