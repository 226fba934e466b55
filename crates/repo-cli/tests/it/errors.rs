//! Bad input: one clear line, the documented code, and the repository as it was.

use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;

use crate::driver::{Home, Run, noise, objects, of_type, tree};

#[test]
fn a_place_without_a_repository_is_ten() {
    let home = Home::new();
    home.write("other/file", "not a repository");
    for location in ["nowhere", "other", "memory://"] {
        for command in [&["snapshots"][..], &["snapshot", "other"], &["check"]] {
            let line = home.fails(10, ["-r", location].iter().chain(command));
            assert!(line.contains("no repository at"), "{line}");
            assert!(line.contains(location), "{line}");
        }
    }
    assert!(!home.path("nowhere").exists());
}

#[test]
fn what_a_snapshot_does_not_hold_is_named() {
    let home = Home::plain();
    let line = home.fails(1, ["ls", "latest"]);
    assert!(line.contains("the repository has no snapshot"), "{line}");
    home.write("data/a", "a");
    let id = home.snapshot(["data"]);
    for (arguments, said) in [
        (&["ls", "deadbeef"][..], "deadbeef"),
        (&["cat", "latest:no/such"], "no/such"),
        (&["ls", "latest:no"], &id),
        (&["restore", "feedface", "target"], "feedface"),
        (&["diff", "latest", "cafebabe"], "cafebabe"),
        (&["tag", "--add", "x", "badc0ffe"], "badc0ffe"),
        (&["snapshot", "data", "--parent", "abadcafe"], "abadcafe"),
        (
            &["ls", "latest", "--host", "elsewhere"],
            "no snapshot matches",
        ),
        (&["ls", "abc"], "abc is too short"),
        (&["ls", "newest"], "newest"),
    ] {
        let line = home.fails(1, arguments);
        assert!(line.contains(said), "{arguments:?}: {line}");
    }
    assert_eq!(home.json(["snapshots"]).len(), 1);
}

#[test]
fn a_wrong_command_line_is_two() {
    let home = Home::plain();
    for arguments in [
        &[][..],
        &["frobnicate"],
        &["snapshot"],
        &["snapshot", "a", "--level", "0"],
        &["snapshot", "a", "--time", "yesterday"],
        &["check", "--read-data", "--read-data-subset", "10%"],
        &["check", "--read-data-subset", "200%"],
        &["-r", "", "snapshots"],
        &["init", "--cipher", "rot13"],
        &["key"],
        &["--option", "novalue", "snapshots"],
        &["-q", "-v", "snapshots"],
    ] {
        home.fails(2, arguments);
    }
}

#[test]
fn a_source_that_does_not_exist_is_named_and_nothing_is_saved() {
    let home = Home::plain();
    home.write("data/a", "a");
    for arguments in [
        &["snapshot", "nowhere"][..],
        &["snapshot", "data", "nowhere"],
    ] {
        let line = home.fails(1, arguments);
        assert!(line.contains("nowhere"), "{line}");
        assert!(line.contains("No such file"), "{line}");
    }
    assert!(home.json(["snapshots"]).is_empty());
}

#[test]
fn a_source_that_cannot_be_read_is_three_and_the_rest_is_saved() {
    const NOBODY: u32 = 65_534;
    let mut home = Home::plain();
    home.write("data/readable", "r");
    let secret = home.write("data/secret", "s");
    home.write("data/closed/x", "x");
    for (path, mode) in [(secret, 0o000), (home.path("data/closed"), 0o000)] {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).expect("a mode");
    }
    // Permissions do not bind the superuser, so a superuser runs it as nobody.
    let superuser = rustix::process::geteuid().is_root();
    if superuser {
        home.use_copied_binary();
        hand_over(&home.path(""), NOBODY);
    }
    let run = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        if superuser {
            command.uid(NOBODY).gid(NOBODY);
        }
        Run::of(command.output().expect("a run"))
    };
    let text = run(&["snapshot", "data"]).expect(3);
    assert!(text.stdout.contains(" saved: "), "{}", text.stdout);
    let lines: Vec<&str> = text.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].starts_with("warning: ") && lines[0].contains("/data/closed: "),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("warning: ") && lines[1].contains("/data/secret: "),
        "{lines:?}"
    );
    assert!(
        lines[2].starts_with("repo: 2 sources could not be read"),
        "{lines:?}"
    );

    // It is not a good one.
    run(&["snapshot", "data", "--metrics-file", "m.prom"]).expect(3);
    let figures = std::fs::read_to_string(home.path("m.prom")).expect("a file");
    assert!(
        figures.contains("repo_source_last_unread_files{"),
        "{figures}"
    );
    assert!(!figures.contains("last_good"), "{figures}");
    assert!(!figures.contains("last_success"), "{figures}");

    let json = run(&["snapshot", "data", "--json"]).expect(3);
    let messages = objects(&json.stdout);
    assert_eq!(of_type(&messages, "finding").len(), 2);
    assert_eq!(of_type(&messages, "snapshot_summary")[0]["unread"], 2);
    assert_eq!(objects(&json.stderr)[0]["code"], 3);

    run(&["restore", "latest", "target"]).expect(0);
    let restored = tree(&home.path("target"));
    assert_eq!(restored.len(), 1, "{restored:?}");
    assert_eq!(restored[std::path::Path::new("readable")], b"r");

    let locked = std::fs::Permissions::from_mode(0o500);
    std::fs::set_permissions(home.path("target"), locked).expect("a mode");
    let line = run(&["restore", "latest", "target/below"])
        .expect(1)
        .only_line();
    assert!(line.contains("target/below"), "{line}");
    assert!(line.contains("Permission denied"), "{line}");
}

/// Gives a directory and all below it to another user.
pub(crate) fn hand_over(root: &std::path::Path, user: u32) {
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        chown(&path, Some(user), Some(user)).expect("a new owner");
        if path.is_dir() {
            let below = std::fs::read_dir(&path).expect("a directory");
            let below = below.map(|entry| entry.expect("an entry"));
            let links = below.filter(|entry| !entry.file_type().expect("a type").is_symlink());
            open.extend(links.map(|entry| entry.path()));
        }
    }
}

#[test]
fn a_store_that_refuses_to_be_written_is_one_line() {
    let home = Home::plain();
    home.write("data/a", "a");
    home.snapshot(["data"]);
    let before = home.json(["snapshots"]);
    // A file where a directory belongs: nobody can write there, not even the superuser.
    let packs = home.path("repository/packs");
    std::fs::rename(&packs, home.path("packs")).expect("moved");
    home.write("repository/packs", "in the way");
    home.write("data/b", "b");
    home.fails(1, ["snapshot", "data"]);
    std::fs::remove_file(&packs).expect("removed");
    std::fs::rename(home.path("packs"), &packs).expect("moved back");
    assert_eq!(home.json(["snapshots"]), before);
    home.ok(["check", "--read-data"]);
}

#[test]
fn a_disk_that_is_full_is_one_line() {
    let home = Home::plain();
    home.write("data/small", "small");
    home.snapshot(["data"]);
    home.write("data/large", noise(7, 1 << 20));
    // A limit on the length of files stands in for the disk: writing fails half-way just the same.
    let limited = |arguments: &str| {
        let script = format!("trap '' XFSZ; ulimit -f 100; exec \"$0\" {arguments}");
        let repo = home.command(["--version"]).get_program().to_owned();
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(script).arg(repo);
        let command = home.command(["--version"]);
        let variables = command.get_envs();
        shell.env_clear().current_dir(home.path(""));
        shell.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        Run::of(shell.output().expect("a run"))
    };
    let line = limited("snapshot data").expect(1).only_line();
    assert!(line.contains("packs/"), "{line}");
    assert_eq!(home.json(["snapshots"]).len(), 1);
    home.ok(["check", "--read-data"]);

    home.snapshot(["data"]);
    let run = limited("restore latest target").expect(1);
    assert!(run.stderr.contains("large"), "{}", run.stderr);
    home.ok(["restore", "latest", "target"]);
    assert_eq!(tree(&home.path("target")), tree(&home.path("data")));
}

#[test]
fn a_server_that_is_not_there_is_one_line() {
    let mut home = Home::new();
    for (name, value) in [
        ("REPO_REPOSITORY", "s3://bucket/backup"),
        ("AWS_ENDPOINT", "http://127.0.0.1:1"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "nowhere"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "do-not-show-this"),
    ] {
        home.set(name, value);
    }
    let line = home.fails(1, ["snapshots", "--option", "retry_timeout_s=0"]);
    assert!(line.contains("s3://bucket/backup"), "{line}");
    assert!(!line.contains("do-not-show-this"), "{line}");
    // Plain http must be wanted.
    home.unset("AWS_ALLOW_HTTP");
    let line = home.fails(1, ["snapshots"]);
    assert!(line.contains("allow_http"), "{line}");
}

#[test]
fn logs_go_to_standard_error_when_asked_for() {
    let home = Home::plain();
    home.write("data/a", "a");
    let stdout = home.run(["snapshot", "data", "-vvv"]).expect(0).stdout;
    assert!(stdout.contains(" saved: "), "{stdout}");
    home.fails(2, ["-r"]);
    let mut home = home;
    home.set("REPO_LOG", "repo=loud");
    let line = home.fails(2, ["snapshots"]);
    assert!(line.contains("REPO_LOG"), "{line}");
}
