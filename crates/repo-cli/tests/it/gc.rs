//! Reclaiming space and taking back, as a user does it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::driver::{Home, Run, noise, of_type, tree};

/// A user without rights.
const NOBODY: u32 = 65534;
/// No grace and no waste: what is dead goes at once.
const ALL: [&str; 7] = [
    "gc",
    "--max-unused",
    "0",
    "--reader-grace",
    "0",
    "--writer-grace",
    "0s",
];

/// Two snapshots that share half of their data; the older one is forgotten by commit 3.
fn forgotten() -> (Home, String) {
    let home = Home::plain();
    home.write("data/both", noise(1, 300_000));
    home.write("data/old", noise(2, 400_000));
    home.snapshot(["data"]);
    std::fs::remove_file(home.path("data/old")).expect("removed");
    home.write("data/new", noise(3, 100_000));
    let kept = home.snapshot(["data"]);
    home.ok(["forget", "--keep-last", "1"]);
    (home, kept)
}

fn stored(home: &Home) -> usize {
    let objects = tree(&home.path("repository"));
    let packs = objects.iter().filter(|(name, _)| !name.starts_with("log"));
    packs.map(|(_, content)| content.len()).sum()
}

fn summary(home: &Home, arguments: &[&str]) -> Value {
    let mut messages = home.json(arguments);
    messages.pop().expect("a summary")
}

#[track_caller]
fn restores(home: &Home, snapshot: &str, wanted: &Path) {
    let target = home.path("restored");
    if target.exists() {
        std::fs::remove_dir_all(&target).expect("removed");
    }
    home.ok(["restore", snapshot, "restored"]);
    assert_eq!(tree(&target), tree(wanted));
}

#[test]
fn what_is_forgotten_is_freed_when_the_grace_is_over() {
    let (home, kept) = forgotten();
    let before = stored(&home);

    let gentle = home.ok(["gc", "--max-unused", "0"]);
    assert!(gentle.contains("condemned  "), "{gentle}");
    assert!(gentle.contains("waiting    "), "{gentle}");
    assert!(gentle.contains("; a gc after 20"), "{gentle}");
    assert!(stored(&home) >= before, "nothing is deleted yet");
    let log = home.ok(["log", "-n", "1"]);
    assert!(log.contains("gc by tester@test-host; condemned "), "{log}");
    assert!(log.contains(" replaced by 1"), "{log}");

    let freed = home.ok(["prune", "--reader-grace", "0s"]);
    assert!(freed.starts_with("freed      "), "{freed}");
    assert!(!freed.contains("waiting"), "{freed}");
    assert!(stored(&home) + 380_000 < before, "{freed}");
    let log = home.ok(["log", "-n", "1"]);
    assert!(log.contains("; swept "), "{log}");
    let log = home.json(["log"]);
    assert_eq!(log[0]["swept"], log[1]["condemned"]);
    assert!(log[1]["condemned"].as_u64() > Some(0));

    let found = home.json(["check", "--read-data"]);
    assert!(of_type(&found, "finding").is_empty(), "{found:?}");
    restores(&home, &kept, &home.path("data"));
    let nothing = summary(&home, &ALL);
    for field in [
        "dead_packs",
        "repacked_packs",
        "freed_packs",
        "waiting_packs",
        "written_bytes",
    ] {
        assert_eq!(nothing[field], 0, "{nothing}");
    }
}

#[test]
fn a_dry_run_says_what_is_done_and_does_nothing() {
    for grace in ["0", "1d12h"] {
        let (home, _) = forgotten();
        let arguments = [
            "gc",
            "--max-unused",
            "0%",
            "--writer-grace",
            "0",
            "--reader-grace",
            grace,
        ];
        let before = tree(&home.path("repository"));
        let mut dry = summary(&home, &[&arguments[..], &["-n"]].concat());
        assert_eq!(tree(&home.path("repository")), before);
        assert_eq!(dry["dry_run"], true);
        let text = home.ok(arguments.iter().chain(&["--dry-run"]));
        assert!(text.starts_with("dry run, nothing done"), "{text}");

        let mut done = summary(&home, &arguments);
        for summary in [&mut dry, &mut done] {
            let fields = summary.as_object_mut().expect("an object");
            fields.remove("dry_run");
            // The present moves on between the two.
            let waits = fields.remove("waiting_until").is_some();
            assert_eq!(waits, grace != "0");
        }
        assert_eq!(dry, done);
        let freed: usize = ["freed_pack_bytes", "freed_index_bytes"]
            .map(|field| done[field].as_u64().expect("a number"))
            .iter()
            .map(|bytes| usize::try_from(*bytes).expect("small"))
            .sum();
        let written = usize::try_from(done["written_bytes"].as_u64().expect("a number"));
        let objects = before.iter().filter(|(name, _)| !name.starts_with("log"));
        let bytes: usize = objects.map(|(_, content)| content.len()).sum();
        assert_eq!(
            stored(&home),
            bytes + written.expect("small") - freed,
            "to the byte"
        );
    }
}

#[test]
fn undo_brings_back_what_was_forgotten_until_it_is_swept() {
    let (home, kept) = forgotten();
    home.write("old/both", noise(1, 300_000));
    home.write("old/old", noise(2, 400_000));
    home.ok(["gc", "--max-unused", "0"]);
    let line = home.fails(1, ["undo", "2"]);
    assert!(line.contains("removed and changed no snapshot"), "{line}");
    home.fails(1, ["undo", "99"]);
    for wrong in ["0", "-1", "latest", ""] {
        home.fails(2, ["undo", wrong]);
    }

    let done = summary(&home, &["undo", "3"]);
    assert_eq!(done["undone"], 3);
    let back = done["restored"][0].as_str().expect("an id").to_owned();
    restores(&home, &back, &home.path("old"));
    restores(&home, &kept, &home.path("data"));
    let log = home.json(["log", "-n", "1"]);
    assert_eq!(log[0]["number"], done["commit"]);
    assert_eq!(log[0]["action"], "undo 3 by tester@test-host");
    home.fails(1, ["undo", "3"]);

    home.ok(["tag", "--add", "named", "--protect", &back]);
    let tagged = home.json(["log", "-n", "1"]);
    let number = tagged[0]["number"].to_string();
    let said = home.ok(["undo", &number]);
    assert!(said.contains(&format!("{} retagged", &back[..8])), "{said}");
    assert_eq!(
        home.json(["snapshots", "--tag", "named"]),
        Vec::<Value>::new()
    );

    home.ok(["forget", "--allow-empty", &back]);
    let number = home.json(["log", "-n", "1"])[0]["number"].to_string();
    home.ok(ALL);
    let line = home.fails(11, ["undo", &number]);
    assert!(line.contains("deleted"), "{line}");
    let found = home.json(["check", "--read-data"]);
    assert!(of_type(&found, "finding").is_empty(), "{found:?}");
}

#[test]
fn mistakes_are_one_line() {
    let home = Home::plain();
    for (option, values) in [
        ("--max-unused", &["101%", "-1", "half", "5%%", ""][..]),
        ("--max-repack-size", &["many", "-1", "1MB"]),
        ("--reader-grace", &["24", "1y", "-1h", "99999999w", ""]),
        ("--writer-grace", &["soon", "1.5h"]),
        ("--level", &["0", "20", "x"]),
    ] {
        for value in values {
            let line = home.fails(2, ["gc", &format!("{option}={value}")]);
            assert!(line.contains(option), "{line}");
        }
    }
    home.fails(2, ["gc", "packs"]);
    home.fails(10, ["gc", "-r", "nowhere"]);
    assert_eq!(home.json(["log"]), Vec::<Value>::new());
}

#[test]
fn two_at_once_lose_nothing_beside_writers() {
    let (home, kept) = forgotten();
    home.write("more/file", noise(9, 200_000));
    let start = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("a start")
    };
    let running = [
        start(&ALL),
        start(&["snapshot", "more"]),
        start(&ALL),
        start(&["snapshot", "data"]),
    ];
    for child in running {
        let output = child.wait_with_output().expect("a run");
        Run::of(output).expect(0);
    }
    home.ok(ALL);
    let found = home.json(["check", "--read-data"]);
    assert!(of_type(&found, "finding").is_empty(), "{found:?}");
    let snapshots = home.json(["snapshots"]);
    assert_eq!(snapshots.len(), 3);
    restores(&home, &kept, &home.path("data"));
    for known in &snapshots {
        let path = known["paths"][0].as_str().expect("a path");
        restores(&home, known["id"].as_str().expect("an id"), path.as_ref());
    }
}

#[test]
fn what_the_store_keeps_is_named_and_deleted_later() {
    let (mut home, kept) = forgotten();
    home.ok(["gc", "--max-unused", "0", "--writer-grace", "0"]);
    let log = home.json(["log", "-n", "1"]);
    let condemned = log[0]["condemned"].as_u64().expect("a number");
    // Permissions do not bind the superuser, so a superuser runs it as nobody.
    let superuser = rustix::process::geteuid().is_root();
    if superuser {
        home.use_copied_binary();
    }
    let locked: Vec<_> = std::fs::read_dir(home.path("repository/packs"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let mode = |mode: u32| {
        for directory in &locked {
            let mode = Permissions::from_mode(mode);
            std::fs::set_permissions(directory, mode).expect("a mode");
        }
    };
    if superuser {
        crate::errors::hand_over(&home.path(""), NOBODY);
    }
    mode(0o555);
    let run = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        if superuser {
            command.uid(NOBODY).gid(NOBODY);
        }
        Run::of(command.output().expect("a run"))
    };
    let text = run(&ALL).expect(3);
    assert!(text.stdout.contains("refused "), "{}", text.stdout);
    let first = text.stderr.lines().next().expect("a line");
    assert!(first.starts_with("warning: packs/"), "{first}");
    assert!(first.contains("not deleted: "), "{first}");
    let json = run(&["--json", "gc", "--max-unused", "0", "--reader-grace", "0"]).expect(3);
    let messages = crate::driver::objects(&json.stdout);
    assert_eq!(of_type(&messages, "finding").len() as u64, condemned);
    let last = messages.last().expect("a summary");
    assert_eq!(last["refused"], json!(condemned));
    assert_eq!(last["freed_packs"], 0);

    mode(0o755);
    let done = run(&ALL).expect(0);
    assert_eq!(done.stderr, "");
    home.ok(["check", "--read-data"]);
    restores(&home, &kept, &home.path("data"));
}

/// Text of which a high level takes its time.
fn lines(file: u64) -> String {
    let numbers = noise(file, 900).into_iter().zip(noise(file + 7, 900));
    let lines =
        numbers.map(|(a, b)| format!("line {a} of file {file} holds {:x}\n", u64::from(b) << 30));
    lines.collect()
}

#[test]
fn a_signal_ends_it_early_and_what_was_done_stays() {
    let mut home = Home::new();
    home.set("REPO_REPOSITORY", home.path("repository"));
    home.ok(["init", "--no-encryption", "--pack-size", "1MiB"]);
    for file in 0..400 {
        home.write(
            &format!("data/{file}"),
            [lines(file).as_bytes(), &noise(file, 60_000)].concat(),
        );
    }
    home.snapshot(["data"]);
    for file in (1..400).step_by(2) {
        std::fs::remove_file(home.path(&format!("data/{file}"))).expect("removed");
    }
    let kept = home.snapshot(["data"]);
    home.ok(["forget", "--keep-last", "1"]);

    let packs = || {
        let objects = tree(&home.path("repository/packs")).into_keys();
        objects
            .filter(|name| !name.to_string_lossy().contains('#'))
            .count()
    };
    let before = packs();
    let mut command = home.command(["gc", "--max-unused", "0", "--level", "19"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("a start");
    while packs() == before {
        std::thread::yield_now();
    }
    kill_process(Pid::from_child(&child), Signal::INT).expect("a signal");
    let line = Run::of(child.wait_with_output().expect("an end"))
        .expect(130)
        .only_line();
    assert!(
        line.starts_with("cancelled; hint: what was done is kept"),
        "{line}"
    );

    let log = home.json(["log", "-n", "1"]);
    assert_eq!(log[0]["action"], "gc by tester@test-host");
    let done = log[0]["condemned"].as_u64().expect("a number");
    assert!(done > 0, "what was copied is committed");
    let rest = summary(&home, &["gc", "--max-unused", "0"]);
    assert!(
        rest["repacked_packs"].as_u64() > Some(0),
        "it was not done: {rest}"
    );
    home.ok(["check", "--read-data"]);
    restores(&home, &kept, &home.path("data"));
}
