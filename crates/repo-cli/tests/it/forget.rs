//! Forgetting and protecting, as a user does it.

use serde_json::{Value, json};

use crate::driver::{Home, of_type};

/// Snapshots of three days, two on the last; oldest first.
fn days() -> (Home, Vec<String>) {
    let home = Home::plain();
    home.write("data/a", "a");
    let times = ["01T10", "02T10", "03T10", "03T12"];
    let ids = times.map(|time| {
        let time = format!("2026-03-{time}:00:00Z");
        home.snapshot(["data", "--time", &time])
    });
    (home, ids.into())
}

fn left(home: &Home) -> Vec<String> {
    let snapshots = home.json(["snapshots"]);
    let ids = snapshots.iter().map(|s| s["id"].as_str().expect("an id"));
    ids.map(str::to_owned).collect()
}

#[test]
fn a_policy_says_what_it_keeps_and_why_before_and_when_it_is_done() {
    let (home, ids) = days();
    let policy = ["forget", "--keep-daily", "2", "--keep-last=1"];
    let dry = home.ok(policy.iter().chain(&["-n"]));
    let lines: Vec<&str> = dry.lines().collect();
    assert_eq!(
        lines[0],
        format!(
            "host test-host, paths {}: keep 2, remove 2",
            home.text("data")
        )
    );
    assert!(lines[1].starts_with("ACTION  ID "), "{dry}");
    for (line, action, id, why) in [
        (2, "keep", &ids[3], "last snapshot, daily snapshot"),
        (3, "remove", &ids[2], ""),
        (4, "keep", &ids[1], "daily snapshot"),
        (5, "remove", &ids[0], ""),
    ] {
        assert!(lines[line].starts_with(action), "{dry}");
        assert!(lines[line].contains(&id[..8]), "{dry}");
        assert!(lines[line].ends_with(why), "{dry}");
    }
    let last = lines.last().expect("a summary");
    assert_eq!(*last, "dry run, nothing forgotten: 2 snapshots would be");
    assert_eq!(left(&home), ids);

    let messages = home.json(policy);
    let planned = of_type(&messages, "forget");
    assert_eq!(planned.len(), 4);
    assert_eq!(
        planned[0]["reasons"],
        json!(["last snapshot", "daily snapshot"])
    );
    assert_eq!(planned[1]["action"], "remove");
    assert_eq!(planned[1]["group_paths"], json!([home.text("data")]));
    let summary = messages.last().expect("a summary");
    assert_eq!(
        (&summary["removed"], &summary["commit"]),
        (&json!(2), &json!(5))
    );
    assert_eq!(left(&home), [ids[1].as_str(), &ids[3]]);
    let log = home.ok(["log", "-n", "1"]);
    let named = format!(
        "forget {} {} by tester@test-host; removed",
        &ids[2][..8],
        &ids[0][..8]
    );
    assert!(log.contains(&named), "{log}");
    assert!(home.ok(policy).ends_with("no snapshot forgotten\n"));
    // Earlier states still have them.
    assert_eq!(home.json(["snapshots", "--at", "4"]).len(), 4);
}

#[test]
fn without_a_policy_or_names_nothing_is_forgotten() {
    let (home, ids) = days();
    for arguments in [
        &["forget"][..],
        &["forget", "--allow-empty"],
        &["forget", "--host", "test-host"],
        &["forget", "--keep-last", "0"],
        &["forget", "--keep-within", "0d"],
        &["forget", "--keep-tag", ","],
        &["forget", "--keep-last", "-2"],
        &["forget", "--keep-daily", "many"],
        &["forget", "--keep-within", "7w"],
        &["forget", "--keep-last", "1", "--group-by", "user"],
        &["forget", "--keep-last", "1", "latest"],
    ] {
        home.fails(2, arguments);
    }
    let line = home.fails(1, ["forget", "badc0ffe"]);
    assert!(line.contains("badc0ffe"), "{line}");
    assert_eq!(left(&home), ids);
    home.ok(["forget", "--keep-last", "-1"]);
    home.ok([
        "forget",
        "--keep-yearly",
        "unlimited",
        "--keep-within",
        "10d",
    ]);
    assert_eq!(left(&home), ids);
}

#[test]
fn a_group_is_emptied_only_on_demand() {
    let (home, ids) = days();
    let named: Vec<&str> = ids.iter().map(String::as_str).collect();
    for arguments in [
        [&["forget"], &named[..]].concat(),
        vec!["forget", "--keep-tag", "x"],
        vec!["forget", "--keep-tag", "x", "--dry-run"],
    ] {
        let run = home.run(&arguments).expect(1);
        let line = run.only_line();
        assert!(
            line.starts_with("no snapshot would be left of host test-host"),
            "{line}"
        );
        assert!(line.contains("hint: --allow-empty"), "{line}");
        assert!(run.stdout.contains("remove"), "{}", run.stdout);
    }
    assert_eq!(left(&home), ids);
    // Another group may go by name when only it is meant.
    home.write("other/b", "b");
    home.snapshot(["other"]);
    home.fails(1, ["forget", "latest"]);
    let stdout = home.ok(["forget", "latest", "--allow-empty"]);
    assert!(
        stdout.ends_with("1 snapshot forgotten by commit 6\n"),
        "{stdout}"
    );
    assert_eq!(left(&home), ids);
    let stdout = home.ok(["forget", &ids[0][..8], &ids[0]]);
    assert!(stdout.contains(": remove 1\n"), "{stdout}");
    assert_eq!(left(&home), ids[1..]);
}

#[test]
fn filters_and_groups_narrow_what_a_policy_is_applied_to() {
    let (home, ids) = days();
    home.write("other/b", "b");
    let other = home.snapshot(["other", "--time", "2026-03-01T00:00:00Z", "--tag", "t"]);
    let kept = |messages: &[Value]| {
        let planned = of_type(messages, "forget");
        let kept = planned.into_iter().filter(|m| m["action"] == "keep");
        kept.map(|m| m["id"].clone()).collect::<Vec<_>>()
    };
    let dry = |arguments: &[&str]| {
        let all = ["forget", "--dry-run", "--keep-last", "1"];
        kept(&home.json(all.iter().chain(arguments)))
    };
    assert_eq!(dry(&[]), [ids[3].as_str(), &other]);
    assert_eq!(dry(&["--tag", "t"]), [other.as_str()]);
    assert_eq!(dry(&["--path", "data"]), [ids[3].as_str()]);
    assert!(dry(&["--host", "far"]).is_empty());
    // The one committed last stays though its time is not the newest of the one group.
    assert_eq!(dry(&["--group-by", ""]), [ids[3].as_str(), &other]);
    assert_eq!(dry(&["--group-by", "tags"]), [ids[3].as_str(), &other]);
}

#[test]
fn a_protected_snapshot_stays_until_its_protection_is_lifted() {
    let (home, ids) = days();
    let first = &ids[0];
    let stdout = home.ok(["tag", "--protect", "--add", "audit", first]);
    assert_eq!(
        stdout,
        format!("snapshot {}: audit, protected\n", &first[..8])
    );
    assert_eq!(home.ok(["tag", "--protect", first]), "nothing changed\n");
    let table = home.ok(["snapshots"]);
    assert_eq!(table.matches("audit [protected]").count(), 1, "{table}");
    home.ok(["tag", "--remove", "audit", first]);
    assert_eq!(home.json(["snapshots"])[0]["protected"], true);
    assert!(
        home.ok(["log", "-n", "2"])
            .contains(&format!("; protected {}", &first[..8]))
    );

    let line = home.fails(1, ["forget", first, &ids[1]]);
    assert!(
        line.starts_with(&format!("snapshot {first} is protected")),
        "{line}"
    );
    assert!(line.contains("`repo tag --unprotect`"), "{line}");
    let messages = home.json(["forget", "--keep-last", "1"]);
    let planned = of_type(&messages, "forget");
    assert_eq!(planned[3]["reasons"], json!(["protected"]));
    assert_eq!(left(&home), [first.as_str(), &ids[3]]);

    let stdout = home.ok(["tag", "--unprotect", first]);
    assert_eq!(stdout, format!("snapshot {}: no tags\n", &first[..8]));
    home.ok(["forget", first]);
    assert_eq!(left(&home), [ids[3].as_str()]);
    home.fails(2, ["tag", "--protect", "--unprotect", "latest"]);
}
