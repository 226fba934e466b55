//! Damaged repositories: found, named, and what is sound still restored.

use std::path::{Path, PathBuf};

use crate::driver::{Home, noise, objects, of_type, tree};

/// A repository with a snapshot of a file that is about to be damaged, and one that is not.
fn sample() -> (Home, String) {
    let home = Home::plain();
    home.write("data/sound", "sound");
    home.snapshot(["data"]);
    home.write("data/victim", noise(6, 500_000));
    let id = home.snapshot(["data"]);
    (home, id)
}

fn files(root: &Path) -> Vec<(PathBuf, u64)> {
    let files = tree(root).into_iter();
    files
        .map(|(name, content)| (root.join(name), content.len() as u64))
        .collect()
}

/// The pack with the incompressible file.
fn victim(home: &Home) -> PathBuf {
    let packs = files(&home.path("repository/packs"));
    let largest = packs.into_iter().max_by_key(|(_, length)| *length);
    largest.expect("a pack").0
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .expect("a name")
}

fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).expect("an object");
    bytes[offset] ^= 0x10;
    std::fs::remove_file(path).expect("writable");
    std::fs::write(path, bytes).expect("an object");
}

#[test]
fn a_flipped_byte_is_found_and_all_it_costs_is_named() {
    let (home, id) = sample();
    let pack = victim(&home);
    flip(&pack, 200_000);

    let run = home.run(["check", "--read-data"]).expect(20);
    let line = run.only_line();
    assert!(line.contains("the repository is damaged"), "{line}");
    for said in [name(&pack), "victim", &id[..8], "chunk"] {
        assert!(run.stdout.contains(said), "{said}: {}", run.stdout);
    }
    let json = home.run(["check", "--read-data", "--json"]).expect(20);
    let messages = objects(&json.stdout);
    let findings = of_type(&messages, "finding");
    assert!(
        findings
            .iter()
            .all(|finding| finding["severity"] == "damage")
    );
    let summary = messages.last().expect("a summary");
    assert_eq!(summary["damage"], findings.len());
    assert_eq!(objects(&json.stderr)[0]["code"], 20);
}

#[test]
fn a_restore_goes_on_past_damage_and_says_what_is_lost() {
    let (home, _) = sample();
    flip(&victim(&home), 200_000);
    let run = home.run(["restore", "latest", "target"]).expect(20);
    assert!(run.stderr.contains("damage: victim: "), "{}", run.stderr);
    let last = run.stderr.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("repo: the repository is damaged"),
        "{last}"
    );
    let sound = std::fs::read(home.path("target/sound")).expect("the sound file");
    assert_eq!(sound, b"sound");
    assert_ne!(
        std::fs::read(home.path("target/victim")).ok(),
        std::fs::read(home.path("data/victim")).ok()
    );
    home.fails(20, ["cat", "latest:victim"]);
    assert_eq!(home.ok(["cat", "latest:sound"]), "sound");
}

#[test]
fn a_missing_pack_is_found_without_reading_data() {
    let (home, id) = sample();
    let pack = victim(&home);
    std::fs::remove_file(&pack).expect("removed");
    let run = home.run(["check"]).expect(20);
    for said in [name(&pack), "victim", &id[..8]] {
        assert!(run.stdout.contains(said), "{said}: {}", run.stdout);
    }
    let run = home.run(["restore", "latest", "target"]).expect(20);
    assert!(run.stderr.contains("victim"), "{}", run.stderr);
}

#[test]
fn every_other_object_is_missed_too() {
    let (home, _) = sample();
    let root = home.path("repository");
    for (object, length) in files(&root) {
        let shown = object.display().to_string();
        if shown.contains("/packs/") || length < 64 {
            continue;
        }
        let good = std::fs::read(&object).expect("an object");
        for damage in ["flip", "truncate"] {
            match damage {
                "flip" => flip(&object, good.len() / 2),
                _ => std::fs::write(&object, &good[..good.len() / 2]).expect("an object"),
            }
            let run = home.run(["--no-cache", "check", "--read-data"]).expect(20);
            assert!(run.stderr.lines().count() == 1, "{shown}: {}", run.stderr);
            let told = format!("{}{}", run.stdout, run.stderr);
            let key = object.strip_prefix(&root).expect("below");
            assert!(
                told.contains(key.to_str().expect("UTF-8")) || told.contains(name(&object)),
                "{damage} {shown}: {told}"
            );
            std::fs::write(&object, &good).expect("an object");
        }
    }
    home.ok(["--no-cache", "check", "--read-data"]);
}

#[test]
fn what_was_verified_is_remembered_and_the_oldest_comes_first() {
    let (home, _) = sample();
    let due = |arguments: &[&str]| {
        let mut all = vec!["check", "--read-data"];
        all.extend(arguments);
        home.json(all).pop().expect("a summary")
    };
    let none = due(&["--max-duration", "0s"]);
    assert_eq!(none["pack_bytes_verified"], 0);
    assert!(none["packs_due"].as_u64().expect("a number") >= 2);
    let all = due(&["--older-than", "30d"]);
    assert_eq!(all["pack_bytes_verified"], all["pack_bytes"]);
    assert_eq!(all["packs_due"], 0);
    let read = all["bytes_read"].as_u64().expect("a number");
    let again = due(&["--older-than", "30d", "--max-duration", "1h"]);
    assert_eq!(again["pack_bytes_verified"], all["pack_bytes"]);
    assert!(again["bytes_read"].as_u64().expect("a number") < read / 10);
    // A check of everything counts too, and damage takes a pack off the list.
    home.write("data/new", noise(9, 50_000));
    home.snapshot(["data"]);
    home.ok(["check", "--read-data"]);
    assert_eq!(
        due(&["--older-than", "1d", "--max-duration", "0s"])["packs_due"],
        0
    );
    flip(&victim(&home), 200_000);
    for _ in 0..2 {
        let run = home
            .run(["check", "--read-data", "--older-than", "0s"])
            .expect(20);
        assert!(run.stdout.contains(" due; DAMAGED"), "{}", run.stdout);
    }
    let run = home
        .run(["check", "--read-data", "--older-than", "1d"])
        .expect(20);
    assert!(run.stdout.contains("DAMAGED"), "harmed packs stay due");
    home.fails(2, ["check", "--older-than", "1d"]);
    let line = home.fails(
        1,
        ["check", "--no-cache", "--read-data", "--older-than", "1d"],
    );
    assert!(line.contains("without a cache"), "{line}");
}

#[test]
fn a_damaged_index_and_a_damaged_directory_are_repaired() {
    let (home, _) = sample();
    let before = home.ok(["check", "--read-data"]);
    assert!(
        home.ok(["repair", "index"])
            .contains("0 index objects replaced by 0")
    );
    let (index, length) = files(&home.path("repository/index")).remove(0);
    flip(&index, usize::try_from(length).expect("small") / 2);
    let pack = victim(&home);
    let length = std::fs::metadata(&pack).expect("a pack").len();
    flip(&pack, usize::try_from(length).expect("small") - 20);
    home.run(["--no-cache", "check"]).expect(20);

    let dry = home.ok(["--no-cache", "repair", "index", "--dry-run"]);
    assert!(dry.starts_with("dry run, nothing written: "), "{dry}");
    home.run(["--no-cache", "check"]).expect(20);
    let done = home.ok(["--no-cache", "repair", "index"]);
    assert!(done.contains("1 harmed and 1 of these replaced"), "{done}");
    let after = home.ok(["--no-cache", "check", "--read-data"]);
    assert!(after.contains("note: packs/"), "{after}");
    assert!(before.contains("no damage found") && after.contains("no damage found"));
    home.ok(["--no-cache", "restore", "latest", "target"]);
    assert_eq!(tree(&home.path("target")), tree(&home.path("data")));
    assert!(pack.exists() && index.exists(), "nothing is deleted");
    assert!(home.ok(["log"]).contains("repair index"));
}

#[test]
fn damage_heals_by_parity_alone() {
    let (home, _) = sample();
    let dry = home.ok(["parity", "--shards", "1", "-n"]);
    assert!(dry.starts_with("dry run, nothing written: "), "{dry}");
    assert!(!home.path("repository/parity").exists());
    let made = home.ok(["parity", "--shards", "1"]);
    assert!(
        made.contains("in 1 group of up to 16 packs, any 1 of which"),
        "{made}"
    );
    home.fails(1, ["parity", "--packs", "33"]);
    let pack = victim(&home);
    flip(&pack, 200_000);
    home.run(["check", "--read-data"]).expect(20);
    // Another number of shards would make the group anew: what is damaged is not protected.
    home.run(["parity", "--shards", "2"]).expect(20);
    let dry = home.ok(["repair", "parity", "--dry-run"]);
    assert!(dry.contains("1 harmed and 1 of these replaced"), "{dry}");
    let messages = home.json(["repair", "parity"]);
    let summary = messages.last().expect("a summary");
    assert_eq!(
        (&summary["packs_replaced"], &summary["damage"]),
        (&1.into(), &0.into())
    );
    home.ok(["parity"]);
    home.ok(["check", "--read-data"]);
    home.ok(["restore", "latest", "target"]);
    assert_eq!(tree(&home.path("target")), tree(&home.path("data")));
    assert!(pack.exists(), "nothing is deleted");
    assert!(home.ok(["log"]).contains("repair parity"));
    let lost = victim(&home);
    std::fs::remove_file(&lost).expect("a pack");
    home.ok(["repair", "parity"]);
    home.ok(["check", "--read-data"]);
}

#[test]
fn lost_data_is_taken_from_another_repository() {
    let (mut home, _) = sample();
    home.set("REPO_TO_PASSWORD", "another");
    home.set("REPO_PASSWORD", "another");
    home.ok(["-r", "copies", "init"]);
    home.unset("REPO_PASSWORD");
    home.ok(["copy", "--to", "copies"]);
    flip(&victim(&home), 200_000);
    home.run(["check", "--read-data"]).expect(20);
    home.fails(2, ["repair"]);
    home.fails(
        12,
        [
            "repair",
            "--from",
            "copies",
            "--from-password-command",
            "echo no",
        ],
    );
    home.set("REPO_FROM_PASSWORD", "another");
    let dry = home.ok(["repair", "--from", "copies", "-n"]);
    assert!(dry.starts_with("dry run"), "{dry}");
    let messages = home.json(["repair", "--from", "copies"]);
    let summary = messages.last().expect("a summary");
    assert!(summary["blobs_recovered"].as_u64().expect("a number") > 0);
    assert_eq!(summary["packs_replaced"], 1);
    home.ok(["check", "--read-data"]);
    home.ok(["restore", "latest", "target"]);
    assert_eq!(tree(&home.path("target")), tree(&home.path("data")));
    assert!(home.ok(["log"]).contains("repair from "));
}
