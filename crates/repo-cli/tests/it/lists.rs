//! What is shown of a repository: snapshots, entries, differences, tags, sums, log.

use serde_json::Value;

use crate::driver::{Home, of_type};

fn paths(messages: &[Value]) -> Vec<&str> {
    let paths = messages
        .iter()
        .filter_map(|message| message["path"].as_str());
    paths.collect()
}

#[test]
fn snapshots_are_listed_and_filtered() {
    let home = Home::plain();
    home.write("data/a", "a");
    home.write("other/b", "b");
    let time = |hour: &str| format!("2026-03-01T{hour}:00:00Z");
    let first = home.snapshot(["data", "--time", &time("10"), "--tag", "x,y"]);
    let third = home.snapshot(["other", "--time", &time("12"), "--host", "far"]);
    let second = home.snapshot(["data", "--time", "2026-03-01 11:00:00", "--tag", "x"]);

    let ids = |arguments: &[&str]| -> Vec<String> {
        let messages = home.json(["snapshots"].iter().chain(arguments));
        let ids = messages
            .iter()
            .map(|m| m["id"].as_str().expect("an id").to_owned());
        ids.collect()
    };
    assert_eq!(ids(&[]), [first.as_str(), &second, &third], "by time");
    assert_eq!(ids(&["--host", "far"]), [third.as_str()]);
    assert_eq!(ids(&["--tag", "x"]), [first.as_str(), &second]);
    assert_eq!(ids(&["--tag", "x,y"]), [first.as_str()]);
    assert_eq!(ids(&["--path", "other"]), [third.as_str()]);
    assert_eq!(ids(&["--latest", "1"]), [second.as_str(), &third]);
    assert!(ids(&["--tag", "z"]).is_empty());

    let table = home.ok(["snapshots"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("ID "), "{table}");
    assert!(lines[1].starts_with(&first[..8]), "{table}");
    assert!(lines[1].contains("2026-03-01 10:00:00"), "{table}");
    assert!(lines[1].contains("x,y"), "{table}");
    assert_eq!(lines[4], "3 snapshots");

    // What `latest` means follows the filters.
    assert_eq!(home.ok(["ls", "latest"]), "b\n");
    assert_eq!(home.ok(["ls", "latest", "--host", "test-host"]), "a\n");
    assert_eq!(home.ok(["ls", &first[..4]]), "a\n");
}

#[test]
fn a_snapshot_says_what_it_cost() {
    let home = Home::plain();
    home.write("data/a", vec![7; 3 << 20]);
    let stdout = home.ok(["snapshot", "data"]);
    assert_eq!(stdout.lines().count(), 1);
    assert!(stdout.contains(" saved: 1 file, 3.0 MiB ("), "{stdout}");
    assert!(stdout.contains(" stored) in "), "{stdout}");

    let again = home.json(["snapshot", "data"]);
    assert_eq!(again[0]["bytes_new"], 0);
    assert!(again[0]["parent"].is_string());
    let forced = home.json(["snapshot", "data", "--force"]);
    assert_eq!(forced[0]["files_changed"], 1);
    assert_eq!(forced[0]["bytes_new"], 0);
    // A file is taken as unchanged without reading it once it is old enough for its times to tell.
    let unchanged = || home.json(["snapshot", "data"])[0]["files_changed"] == 0;
    assert!((0..1000).any(|_| unchanged()));
}

#[test]
fn a_dry_run_writes_nothing() {
    let home = Home::plain();
    home.write("data/a", "a");
    let messages = home.json(["snapshot", "data", "-n"]);
    assert_eq!(messages[0]["dry_run"], true);
    assert_eq!(messages[0]["files"], 1);
    let stdout = home.ok(["snapshot", "data", "--dry-run"]);
    assert!(
        stdout.starts_with("dry run, nothing saved: 1 file"),
        "{stdout}"
    );
    assert!(home.json(["snapshots"]).is_empty());
    assert!(!home.path("repository/packs").exists());
}

#[test]
fn directories_are_listed_from_any_path() {
    let home = Home::plain();
    home.write("data/dir/inner/c", "ccc");
    home.write("data/dir/b", "bb");
    home.write("data/a", "a");
    home.snapshot(["data"]);

    assert_eq!(home.ok(["ls", "latest"]), "a\ndir/\n");
    assert_eq!(home.ok(["ls", "latest:dir"]), "dir/b\ndir/inner/\n");
    assert_eq!(home.ok(["ls", "latest:/dir/b"]), "dir/b\n");
    assert_eq!(
        home.ok(["ls", "--recursive", "latest:dir/"]),
        "dir/b\ndir/inner/\ndir/inner/c\n"
    );
    // A path may be written as it was on the host.
    let on_host = format!("latest:{}", home.text("data/dir/inner"));
    assert_eq!(home.ok(["ls", &on_host]), "dir/inner/c\n");
    let long = home.ok(["ls", "-l", "latest:dir/b"]);
    assert!(long.starts_with("-rw-"), "{long}");
    assert!(long.contains(" 2 B "), "{long}");
    assert!(long.ends_with(" dir/b\n"), "{long}");
    let messages = home.json(["ls", "-R", "latest"]);
    assert_eq!(
        paths(&messages),
        ["a", "dir", "dir/b", "dir/inner", "dir/inner/c"]
    );
    assert_eq!(messages[0]["size"], 1);
}

#[test]
fn patterns_leave_files_out() {
    let home = Home::plain();
    for name in [
        "a.txt",
        "a.tmp",
        "keep.tmp",
        "cache/x",
        "sub/cache",
        "sub/b.log",
    ] {
        home.write(&format!("data/{name}"), "x");
    }
    home.write(
        "data/tagged/CACHEDIR.TAG",
        "Signature: 8a477f597d28d172789f06886806bc55\n",
    );
    home.write("data/tagged/x", "x");
    home.write("patterns", "# logs\n*.log\n");
    let root = home.text("data");
    let anchored = format!("{root}/a.txt");
    let arguments = [
        "data",
        "--exclude",
        "*.tmp",
        "--exclude",
        "!keep.tmp",
        "--exclude",
        "cache/",
        "--exclude-from",
        "patterns",
        "--exclude",
        &anchored,
        "--exclude-caches",
    ];
    home.snapshot(arguments);
    let messages = home.json(["ls", "-R", "latest"]);
    let listed = paths(&messages);
    assert!(listed.contains(&"keep.tmp"), "{listed:?}");
    assert!(listed.contains(&"sub/cache"), "{listed:?}");
    for left_out in ["a.tmp", "cache", "sub/b.log", "a.txt", "tagged/x"] {
        assert!(!listed.contains(&left_out), "{left_out}: {listed:?}");
    }
}

#[test]
fn several_paths_keep_their_places() {
    let home = Home::plain();
    home.write("one/a", "a");
    home.write("two/b", "b");
    home.snapshot(["one", "two/b"]);
    let one = home.text("one/a");
    let listed = home.ok(["ls", &format!("latest:{one}")]);
    assert_eq!(listed, format!("{}\n", one.trim_start_matches('/')));
    let two = home.text("two/b");
    assert_eq!(home.ok(["cat", &format!("latest:{two}")]), "b");
}

#[test]
fn snapshots_are_compared() {
    let home = Home::plain();
    for name in ["same", "content", "mode", "gone", "type"] {
        home.write(&format!("data/{name}"), name);
    }
    let from = home.snapshot(["data"]);
    home.write("data/content", "changed");
    home.write("data/new", "new");
    std::fs::remove_file(home.path("data/gone")).expect("removed");
    std::fs::remove_file(home.path("data/type")).expect("removed");
    std::fs::create_dir(home.path("data/type")).expect("a directory");
    let read_only = {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::Permissions::from_mode(0o400)
    };
    std::fs::set_permissions(home.path("data/mode"), read_only).expect("a mode");
    let to = home.snapshot(["data"]);

    let stdout = home.ok(["diff", &from[..8], &to[..8]]);
    let lines: Vec<&str> = stdout.lines().collect();
    for line in ["M content", "- gone", "U mode", "+ new", "T type"] {
        assert!(lines.contains(&line), "{line}: {stdout}");
    }
    assert!(!stdout.contains("same"), "{stdout}");
    let messages = home.json(["diff", &from, "latest"]);
    let changes = of_type(&messages, "change");
    let content = changes.iter().find(|change| change["path"] == "content");
    let content = content.expect("a change");
    assert_eq!(content["change"], "content");
    assert_eq!(content["size_before"], 7);
    let summary = messages.last().expect("a summary");
    assert_eq!(
        (&summary["added"], &summary["removed"]),
        (&1.into(), &1.into())
    );
    let same = home.json(["diff", &to, "latest"]);
    assert_eq!(same.len(), 1, "only the summary");
}

#[test]
fn tags_change_without_the_snapshot() {
    let home = Home::plain();
    home.write("data/a", "a");
    let first = home.snapshot(["data", "--tag", "old"]);
    let second = home.snapshot(["data"]);

    let stdout = home.ok(["tag", "--add", "b,a", "--remove", "old", &first[..8]]);
    assert_eq!(stdout, format!("snapshot {}: a, b\n", &first[..8]));
    assert_eq!(home.ok(["tag", "--add", "a", &first]), "nothing changed\n");
    let tags = |id: &str| {
        let messages = home.json(["snapshots"]);
        let found = messages.iter().find(|message| message["id"] == id);
        found.expect("the same id")["tags"].clone()
    };
    home.ok(["tag", "--set", "z", "--dry-run", "latest"]);
    assert_eq!(tags(&second), serde_json::json!([]));
    home.ok(["tag", "--set", "z", "latest"]);
    assert_eq!(tags(&second), serde_json::json!(["z"]));
    home.ok(["tag", "--set", "", "--tag", "a"]);
    assert_eq!(tags(&first), serde_json::json!([]));
    assert_eq!(tags(&second), serde_json::json!(["z"]));
    home.fails(2, ["tag", "--add", "x"]);
    home.fails(2, ["tag", "latest"]);
}

#[test]
fn sums_and_history_are_shown() {
    let home = Home::plain();
    home.write("data/a", vec![1; 100_000]);
    let id = home.snapshot(["data"]);
    home.ok(["tag", "--add", "t", "latest"]);

    let messages = home.json(["stats"]);
    assert_eq!(messages[0]["snapshots"], 1);
    assert_eq!(messages[0]["logical_bytes"], 100_000);
    assert!(home.ok(["stats"]).contains("snapshots   1, 97.7 KiB"));

    let log = home.json(["log"]);
    assert!(log.len() >= 2);
    assert_eq!(log[0]["retagged"][0], id.as_str());
    let first = log.iter().find(|commit| commit["added"][0] == id.as_str());
    let action = first.expect("the commit of the snapshot")["action"].clone();
    assert_eq!(action, "snapshot data by tester@test-host");
    assert_eq!(home.ok(["log", "-n", "1"]).lines().count(), 1);

    // The state before the tag can be looked at.
    let number = first.expect("a commit")["number"].to_string();
    let before = home.json(["snapshots", "--at", &number]);
    assert_eq!(before[0]["tags"], serde_json::json!([]));
}

#[test]
fn what_differs_inside_files_is_counted_and_shown() {
    let home = Home::plain();
    let lines: Vec<String> = (0..50).map(|line| format!("line {line}\n")).collect();
    home.write("data/text", lines.concat());
    home.write("data/binary", [0, 1, 2]);
    home.write("data/removed", "gone");
    let first = home.snapshot(["data"]);
    let mut changed = lines;
    changed[20] = "another\n".to_owned();
    changed.push("the end\n".to_owned());
    home.write("data/text", changed.concat());
    home.write("data/binary", [0, 1, 2, 3, 4]);
    home.write("data/new", "one\ntwo\n");
    std::fs::remove_file(home.path("data/removed")).expect("it was there");
    let second = home.snapshot(["data"]);

    let stat = home.ok(["diff", "--stat", &first, &second]);
    let lines: Vec<&str> = stat.lines().collect();
    assert_eq!(lines[0], "M binary  3 B -> 5 B");
    assert_eq!(lines[1], "+ new  2 lines ++");
    assert_eq!(lines[2], "- removed  1 line -");
    assert_eq!(lines[3], "M text  3 lines ++-");

    // Another program makes the second out of the first.
    let patch = home.ok(["diff", "-p", &first, &second]);
    assert!(
        patch.contains("+++ b/new\n@@ -0,0 +1,2 @@\n+one\n+two\n"),
        "{patch}"
    );
    home.ok(["restore", &first, "target"]);
    let mut child = std::process::Command::new("patch")
        .args(["-p1", "-s", "-E", "-d"])
        .arg(home.path("target"))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("patch is there");
    let mut stdin = child.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, patch.as_bytes()).expect("written");
    drop(stdin);
    assert!(child.wait().expect("an end").success());
    let mut made = crate::driver::tree(&home.path("target"));
    let mut expected = crate::driver::tree(&home.path("data"));
    for tree in [&mut made, &mut expected] {
        tree.remove(std::path::Path::new("binary"));
    }
    assert_eq!(made, expected);

    let messages = home.json(["diff", "-p", &first, &second]);
    assert_eq!(messages[1]["lines_added"], 2);
    assert_eq!(messages[0].get("patch"), None);
    assert!(
        messages[3]["patch"]
            .as_str()
            .expect("text")
            .starts_with("--- a/text\n+++ b/text\n@@")
    );
}
