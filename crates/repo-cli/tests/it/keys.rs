//! Passwords: where they come from, adding, removing, changing.

use crate::driver::{Home, PASSWORD, of_type, tree};

#[test]
fn every_source_of_a_password_opens_the_repository() {
    let mut home = Home::encrypted();
    home.unset("REPO_PASSWORD");
    home.write("secret", format!("{PASSWORD}\n"));
    home.ok(["snapshots", "--password-file", "secret"]);
    home.ok(["snapshots", "--password-command", "cat secret"]);
    home.set("REPO_PASSWORD_FILE", "secret");
    home.ok(["snapshots"]);
    home.unset("REPO_PASSWORD_FILE");
    home.set("REPO_PASSWORD_COMMAND", format!("echo {PASSWORD}"));
    home.ok(["snapshots"]);
    // What is nearer counts, so this one is not asked.
    home.set("REPO_PASSWORD", "wrong");
    home.fails(12, ["snapshots"]);
}

#[test]
fn a_wrong_or_missing_password_is_told_apart_from_a_missing_repository() {
    let mut home = Home::encrypted();
    home.set("REPO_PASSWORD", "wrong");
    let line = home.fails(12, ["snapshots"]);
    assert!(line.contains("opens no key"), "{line}");
    home.unset("REPO_PASSWORD");
    let line = home.fails(12, ["snapshots"]);
    assert!(line.contains("no password is given"), "{line}");
    assert!(line.contains("REPO_PASSWORD"), "{line}");
    home.fails(10, ["-r", "nowhere", "snapshots"]);
    home.fails(1, ["snapshots", "--password-file", "nowhere"]);
    home.fails(1, ["snapshots", "--password-command", "exit 4"]);
    home.fails(12, ["init", "-r", "new"]);
    assert!(!home.path("new").exists());
}

#[test]
fn a_password_for_a_repository_in_clear_is_refused() {
    let mut home = Home::plain();
    home.set("REPO_PASSWORD", PASSWORD);
    let line = home.fails(1, ["snapshots"]);
    assert!(line.contains("not encrypted"), "{line}");
    home.fails(
        2,
        ["init", "-r", "x", "--no-encryption", "--password-file", "f"],
    );
}

#[test]
fn passwords_are_added_removed_and_changed() {
    let mut home = Home::encrypted();
    home.set("REPO_NEW_PASSWORD", "second");
    let added = home.json(["key", "add", "--label", "spare"]);
    let second = added[0]["added"].as_str().expect("an id").to_owned();
    home.unset("REPO_NEW_PASSWORD");

    let listed = home.json(["key", "list"]);
    let keys = of_type(&listed, "key");
    assert_eq!(keys.len(), 2);
    let spare = keys.iter().find(|key| key["id"] == second.as_str());
    assert_eq!(spare.expect("the new key")["label"], "spare");
    assert_eq!(spare.expect("the new key")["current"], false);
    assert!(home.ok(["key", "list"]).contains("(in use)"));

    home.set("REPO_PASSWORD", "second");
    home.write("third", "third\n");
    let stdout = home.ok(["key", "change", "--new-password-file", "third"]);
    assert!(
        stdout.contains(&format!("key {} removed", &second[..8])),
        "{stdout}"
    );
    home.fails(12, ["snapshots"]);
    home.set("REPO_PASSWORD", "third");
    home.ok(["snapshots"]);

    let keys = home.json(["key", "list"]);
    let other = keys.iter().find(|key| key["current"] == false);
    let other = other.expect("the first key")["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    home.ok(["key", "remove", &other[..8]]);
    home.set("REPO_PASSWORD", PASSWORD);
    home.fails(12, ["snapshots"]);
    home.set("REPO_PASSWORD", "third");
    let last = home.json(["key", "list"])[0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let line = home.fails(1, ["key", "remove", &last]);
    assert!(line.contains("last one"), "{line}");
    home.fails(1, ["key", "remove", "ffffffff"]);
    home.fails(12, ["key", "add"]);
}

#[test]
fn both_ciphers_and_clear_text_hold_data() {
    for arguments in [
        &["--cipher", "aes-256-gcm"][..],
        &["--cipher", "chacha20-poly1305"],
        &["--no-encryption"],
    ] {
        let mut home = Home::new();
        home.set("REPO_REPOSITORY", home.path("repository"));
        if arguments[0] == "--cipher" {
            home.set("REPO_PASSWORD", PASSWORD);
        }
        let made = ["init", "--pack-size", "8MiB", "--key-label", "me"];
        let made = if arguments[0] == "--cipher" {
            &made[..]
        } else {
            &made[..3]
        };
        home.run(made.iter().chain(arguments)).expect(0);
        home.write("data/a", "content");
        home.snapshot(["data"]);
        assert_eq!(home.ok(["cat", "latest:a"]), "content");
        let encrypted = home.json(["stats"])[0]["encrypted"] == true;
        assert_eq!(encrypted, arguments[0] == "--cipher");
    }
}

/// Both keys lose the old secret, and the log its start; snapshot `id` stays what it is.
fn retires_the_old_key(home: &Home, id: &str) {
    let retire = ["key", "retire", "--other-password-file", "other"];
    let commits = home.json(["log"]).len();
    let retired = home.json(retire);
    assert_eq!(
        (&retired[0]["epochs"], &retired[0]["kept"]),
        (&serde_json::json!([1]), &0.into())
    );
    assert_eq!(retired[0]["removed"].as_array().map(Vec::len), Some(2));
    let begins = retired[0]["begins"].as_u64().expect("a number");
    assert_eq!(begins, commits as u64 + 1);
    assert!(retired[0]["log_objects"].as_u64() >= Some(begins - 1));
    let line = home.fails(1, ["ls", "latest", "--at", "1"]);
    assert!(
        line.contains(&format!("begins with commit {begins}")),
        "{line}"
    );
    home.fails(1, ["undo", "1"]);
    let stdout = home.ok(retire);
    assert!(
        stdout.starts_with("no older key is left; the log begins"),
        "{stdout}"
    );
    let listed = home.json(["key", "list"]);
    assert_eq!(of_type(&listed, "key_epoch").len(), 1);
    home.snapshot(["data"]);
    home.ok(["check", "--read-data"]);
    assert_eq!(home.ok(["cat", &format!("{id}:a")]), "before");
}

#[test]
fn keys_are_rotated_and_old_data_is_sealed_anew() {
    let mut home = Home::encrypted();
    home.write("data/a", "before");
    let id = home.snapshot(["data"]);
    home.write("other", "of another\n");
    home.set("REPO_NEW_PASSWORD", "of another");
    let other = home.json(["key", "add", "--label", "another"]);
    let other = other[0]["added"].as_str().expect("an id").to_owned();

    // No password is left behind unasked.
    home.write("new", "new\n");
    let rotate = ["key", "rotate", "--new-password-file", "new"];
    let line = home.fails(1, rotate);
    assert!(line.contains(&other), "{line}");
    assert!(line.contains("--other-password-file"), "{line}");
    home.write("wrong", "no password of any key\n");
    let with = |file: &'static str| rotate.into_iter().chain(["--other-password-file", file]);
    home.fails(12, with("wrong"));
    home.fails(2, rotate.into_iter().chain(["--keep-password"]));

    let stdout = home.ok(with("other"));
    assert!(
        stdout
            .starts_with("key epoch 2 seals what is stored from commit 2 on; 2 keys replaced by 2"),
        "{stdout}"
    );
    home.fails(12, ["snapshots"]);
    home.set("REPO_PASSWORD", "of another");
    home.ok(["snapshots"]);
    home.set("REPO_PASSWORD", "new");
    let listed = home.json(["key", "list"]);
    assert_eq!(of_type(&listed, "key").len(), 2);
    let epochs = of_type(&listed, "key_epoch");
    assert_eq!(epochs.len(), 2);
    assert_eq!(
        (&epochs[0]["epoch"], &epochs[0]["current"]),
        (&1.into(), &false.into())
    );
    assert_eq!(
        (&epochs[1]["first"], &epochs[1]["current"]),
        (&2.into(), &true.into())
    );
    assert!(
        home.ok(["key", "list"])
            .contains("seals what is stored now")
    );

    let line = home.fails(1, ["key", "retire", "--other-password-file", "other"]);
    assert!(
        line.contains("still needed") && line.contains("--reseal"),
        "{line}"
    );
    home.write("data/b", "after");
    home.snapshot(["data"]);
    let gc = [
        "gc",
        "--reader-grace",
        "0",
        "--writer-grace",
        "0",
        "--reseal",
    ];
    let in_parts = home.json(gc.into_iter().chain(["1"]));
    assert_eq!(in_parts[0]["resealed_packs"], 1);
    assert_eq!(in_parts[0]["old_key_packs"], 1);
    let stdout = home.ok(gc);
    assert!(stdout.contains("resealed   1 pack"), "{stdout}");
    assert!(!stdout.contains("old keys"), "{stdout}");
    let again = home.json(gc.into_iter().chain(["all"]));
    assert_eq!(
        (&again[0]["resealed_packs"], &again[0]["written_bytes"]),
        (&0.into(), &0.into())
    );
    assert_eq!(home.ok(["cat", &format!("{id}:a")]), "before");
    home.ok(["check", "--read-data"]);

    retires_the_old_key(&home, &id);

    // Who has lost the other password drops its key.
    home.ok(["key", "rotate", "--keep-password", "--drop-others"]);
    home.ok(["snapshots"]);
    home.set("REPO_PASSWORD", "of another");
    home.fails(12, ["snapshots"]);
}

#[test]
fn a_generated_key_is_rotated_too() {
    let home = Home::new();
    home.write("data/a", "hello");
    home.run(["snapshot", "data"]).expect(0);
    let file = home.path("home/.local/share/repo/default.key");
    let next = home.path("home/.local/share/repo/default.key.next");
    let read = |path| std::fs::read_to_string(path).expect("a key");
    let first = read(&file);
    home.write("new", "new\n");
    let line = home.fails(1, ["key", "rotate", "--new-password-file", "new"]);
    assert!(line.contains("default.key"), "{line}");

    let stdout = home.ok(["key", "rotate"]);
    assert!(stdout.contains("default.key: keep a copy"), "{stdout}");
    assert_ne!(read(&file), first);
    assert!(!next.exists());
    home.ok(["snapshot", "data"]);
    home.write("first", &first);
    home.fails(12, ["snapshots", "--password-file", "first"]);

    // Stopped after the rotation and before the new key had its place.
    std::fs::rename(&file, &next).expect("moved");
    std::fs::write(&file, &first).expect("written");
    home.ok(["restore", "latest", "target"]);
    assert_eq!(tree(&home.path("target")), tree(&home.path("data")));
    assert!(!next.exists());
    assert_ne!(read(&file), first);

    // Stopped before the rotation: the next one uses the key that is there already.
    let kept = read(&file);
    home.write("home/.local/share/repo/default.key.next", "5eed\n");
    home.ok(["snapshots"]);
    assert_eq!(read(&file), kept);
    home.ok(["key", "rotate"]);
    assert_eq!(read(&file), "5eed\n");
    home.ok(["key", "rotate", "--keep-password"]);
    assert_eq!(read(&file), "5eed\n");
    home.ok(["check", "--read-data"]);
}

#[test]
fn a_repository_in_clear_has_no_keys_to_rotate() {
    let home = Home::plain();
    let line = home.fails(1, ["key", "rotate", "--keep-password"]);
    assert!(line.contains("is not encrypted and has no keys"), "{line}");
    assert_eq!(home.json(["key", "list"]).len(), 0);
}
