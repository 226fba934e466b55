//! The figures that a run leaves for Prometheus.

use std::collections::BTreeMap;

use crate::driver::Home;

fn figures(home: &Home) -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(home.path("metrics.prom")).expect("a file");
    let mut figures = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (key, value) = line.rsplit_once(' ').expect("a value");
        // The location differs from run to run.
        let (name, labels) = key.split_once('{').expect("labels");
        let labels: Vec<&str> = labels.trim_end_matches('}').split("\",").collect();
        assert!(labels[0].starts_with("repository=\""), "{line}");
        let rest: Vec<&str> = labels[1..]
            .iter()
            .map(|l| l.trim_end_matches('"'))
            .collect();
        let short = rest.join(",").replace(&home.text(""), "");
        let value = value.parse().expect("a number");
        figures.insert(format!("{name} {short}"), value);
    }
    figures
}

const GOOD: &str = "repo_source_last_good_timestamp_seconds host=\"test-host,paths=\"data";
const OTHER: &str = "repo_source_last_good_timestamp_seconds host=\"test-host,paths=\"other";
const SUCCESS: &str = "repo_command_last_success_timestamp_seconds command=\"snapshot";

#[test]
fn a_failed_run_never_refreshes_a_good_time() {
    let mut home = Home::plain();
    home.set("REPO_METRICS_FILE", home.path("metrics.prom"));
    home.write("data/file", "text");
    home.write("other/file", "more text");
    home.snapshot(["data", "--time", "2026-03-01T10:00:00Z"]);
    home.snapshot(["other", "--time", "2026-03-01T11:00:00Z"]);
    let first = figures(&home);
    assert_eq!(first[GOOD], 1_772_359_200.0);
    assert_eq!(first[OTHER], 1_772_362_800.0);
    assert_eq!(first["repo_command_failures_total command=\"snapshot"], 0.0);
    let bytes = "repo_source_last_good_bytes host=\"test-host,paths=\"other";
    assert_eq!(first[bytes], 9.0);

    // Nothing to save, a wrong repository, and a wrong place: each says so and no more.
    home.fails(1, ["snapshot", "nowhere"]);
    let mut after = figures(&home);
    assert_eq!(after["repo_command_failures_total command=\"snapshot"], 1.0);
    assert_eq!(after["repo_command_exit_code command=\"snapshot"], 1.0);
    assert!(
        after["repo_command_last_run_timestamp_seconds command=\"snapshot"]
            >= first["repo_command_last_run_timestamp_seconds command=\"snapshot"]
    );
    for key in [GOOD, OTHER, SUCCESS] {
        assert_eq!(after[key], first[key], "{key}");
    }
    home.fails(10, ["-r", "missing", "snapshot", "data"]);
    home.fails(10, ["-r", "missing", "check"]);
    home.ok(["snapshots"]);
    after = figures(&home);
    for key in [GOOD, OTHER] {
        assert_eq!(after[key], first[key], "{key}");
    }
    assert!(!after.contains_key("repo_last_check_timestamp_seconds "));

    home.ok(["check", "-q"]);
    home.snapshot(["data", "--time", "2026-03-01T12:00:00Z"]);
    let last = figures(&home);
    assert_eq!(last[GOOD], 1_772_366_400.0);
    assert_eq!(last[OTHER], first[OTHER]);
    assert!(last.contains_key("repo_last_check_timestamp_seconds "));
    assert_eq!(last["repo_snapshots "], 3.0);
}

#[test]
fn dry_runs_are_not_counted_and_foreign_files_stay() {
    let home = Home::plain();
    home.write("data/file", "text");
    home.ok(["snapshot", "data", "--metrics-file", "metrics.prom"]);
    for dry in [&["gc"][..], &["parity"], &["repair", "index"]] {
        let mut arguments = dry.to_vec();
        arguments.extend(["--dry-run", "--metrics-file", "metrics.prom"]);
        home.ok(arguments);
    }
    let counted: Vec<String> = runs(&home).into_keys().collect();
    assert_eq!(counted, ["snapshot"]);

    home.write("notes", "not figures");
    let run = home.run(["snapshots", "--metrics-file", "notes"]).expect(0);
    assert!(
        run.only_line().contains("holds other things"),
        "{}",
        run.stderr
    );
    assert_eq!(
        std::fs::read(home.path("notes")).expect("a file"),
        b"not figures"
    );
}

/// Runs of each command as the file counts them, with those that failed.
fn runs(home: &Home) -> BTreeMap<String, (f64, f64)> {
    let figures = figures(home);
    let of = |family: &str, command: &str| {
        let key = format!("repo_command_{family}_total command=\"{command}");
        figures.get(&key).copied().expect("a figure")
    };
    let names = figures
        .keys()
        .filter_map(|key| key.strip_prefix("repo_command_runs_total command=\""));
    names
        .map(|name| (name.to_owned(), (of("runs", name), of("failures", name))))
        .collect()
}

#[test]
fn every_command_leaves_its_figures() {
    let mut home = Home::new();
    home.set("REPO_METRICS_FILE", home.path("metrics.prom"));
    home.set("REPO_REPOSITORY", home.path("r"));
    home.write("data/file", "text");
    home.write("data/more", "more text");
    let good: &[&[&str]] = &[
        &["init", "--no-encryption"],
        &["snapshot", "data", "-q"],
        &["snapshots"],
        &["ls", "latest"],
        &["cat", "latest:file"],
        &["dump", "latest", "-o", "out.tar"],
        &["find", "file"],
        &["restore", "latest", "target"],
        &["diff", "latest", "latest"],
        &["tag", "--add", "x", "latest"],
        &["stats"],
        &["log"],
        &["key", "list"],
        &["check", "-q"],
        &["repair", "index"],
        &["parity"],
        &["gc"],
        &["undo", "2"],
        &["forget", "--keep-last", "1"],
        &["completions", "bash"],
        &["pg", "info"],
    ];
    for arguments in good {
        home.run(*arguments).expect(0);
    }
    let failing: &[(i32, &[&str])] = &[
        (1, &["table", "manifest"]),
        (1, &["mount", "nowhere"]),
        (1, &["tui"]),
        (10, &["copy", "--to", "nowhere"]),
    ];
    for (code, arguments) in failing {
        home.run(*arguments).expect(*code);
    }
    let seen = runs(&home);
    let name = |arguments: &[&str]| match arguments[0] {
        "pg" | "table" => arguments.join(" "),
        first => first.to_owned(),
    };
    for arguments in good {
        assert_eq!(seen[&name(arguments)], (1.0, 0.0), "{arguments:?}");
    }
    for (_, arguments) in failing {
        assert_eq!(seen[&name(arguments)], (1.0, 1.0), "{arguments:?}");
    }
    assert_eq!(seen.len(), good.len() + failing.len());
}

#[test]
fn runs_at_the_same_time_are_all_counted() {
    let mut home = Home::plain();
    home.set("REPO_METRICS_FILE", home.path("metrics.prom"));
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = home.command(["snapshots", "-q"]);
            command.stdout(std::process::Stdio::null());
            command.spawn().expect("a run")
        })
        .collect();
    for mut child in children {
        assert!(child.wait().expect("an end").success());
    }
    assert_eq!(runs(&home)["snapshots"], (8.0, 0.0));
}
