//! Passwords: where they come from, adding, removing, changing.

use crate::driver::{Home, PASSWORD};

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

    let keys = home.json(["key", "list"]);
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
