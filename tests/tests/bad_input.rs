//! Bad input to the real binary: one clear line, the documented code, and every object of the
//! repository as it was. What a command says of its arguments is in the tests of `repo-cli`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use repo_testkit::data::random;
use repo_tests::describe;
use repo_tests::program::{Home, Run, binary};

/// Codes that `repo --help` lists for a command that was not done.
const FAILED: i32 = 1;
const NO_REPOSITORY: i32 = 10;
const CONFLICT: i32 = 11;
const WRONG_PASSWORD: i32 = 12;
const DAMAGE: i32 = 20;

fn objects(home: &Home) -> BTreeMap<String, String> {
    describe::objects(&home.path("repository")).expect("a repository")
}

/// A snapshot of a small and of a large file, in a repository in clear.
fn sample() -> Home {
    let home = Home::plain();
    home.write("data/small", "small");
    home.write("data/large", random(1, 300_000));
    home.ok(&["snapshot", "data"]);
    home
}

#[test]
fn a_command_that_fails_changes_no_object() {
    let mut home = Home::new();
    home.ok(&["init"]);
    home.write("data/file", "x");
    home.write("in the way", "x");
    home.ok(&["snapshot", "data"]);
    home.set("REPO_NEW_PASSWORD", "new");
    let before = objects(&home);
    for (code, arguments) in [
        (CONFLICT, &["init"][..]),
        (FAILED, &["snapshot", "no such path"]),
        (FAILED, &["snapshot", "data", "--parent", "0123abcd"]),
        (FAILED, &["restore", "0123abcd", "target"]),
        (FAILED, &["restore", "latest:no/such/path", "target"]),
        (FAILED, &["restore", "latest", "in the way"]),
        (FAILED, &["cat", "latest:no/such/path"]),
        (FAILED, &["tag", "--add", "x", "0123abcd"]),
        (FAILED, &["key", "remove", "0123abcd"]),
        (FAILED, &["snapshot", "--stdin-from-command", "--", "false"]),
    ] {
        home.fails(code, arguments);
        assert_eq!(objects(&home), before, "{arguments:?}");
    }
    home.set("REPO_PASSWORD", "wrong");
    for arguments in [
        &["snapshots"][..],
        &["snapshot", "data"],
        &["restore", "latest", "target"],
        &["check"],
        &["key", "add"],
        &["tag", "--add", "x", "latest"],
    ] {
        let line = home.fails(WRONG_PASSWORD, arguments);
        assert!(line.contains("password"), "{line}");
        assert_eq!(objects(&home), before, "{arguments:?}");
    }
    assert!(!home.path("target").exists());
}

#[test]
fn what_is_not_a_repository_is_left_alone() {
    let home = Home::new();
    home.write("data/file", "x");
    home.write("repository/some/file", "not an object");
    let before = objects(&home);
    for arguments in [&["snapshots"][..], &["snapshot", "data"], &["check"]] {
        home.fails(NO_REPOSITORY, arguments);
    }
    // Its config is not one: then something is there, and it is damaged.
    for config in ["", "config = true\n", "REPOconf"] {
        home.write("repository/config", config);
        for arguments in [&["snapshots"][..], &["snapshot", "data"], &["check"]] {
            let line = home.fails(DAMAGE, arguments);
            assert!(line.contains("config"), "{line}");
        }
        home.fails(CONFLICT, &["init"]);
        fs::remove_file(home.path("repository/config")).expect("removed");
    }
    assert_eq!(objects(&home), before);
}

fn flipped(mut bytes: Vec<u8>) -> Vec<u8> {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bytes
}

fn truncated(bytes: Vec<u8>) -> Vec<u8> {
    let kept = bytes.len() / 2;
    bytes.into_iter().take(kept).collect()
}

/// Every object, flipped, cut and removed: nothing wrong is restored in silence, `check` finds it,
/// and neither command changes anything. That the newest commit is gone the cache tells.
#[test]
fn a_damaged_object_is_never_restored_in_silence() {
    let home = sample();
    home.write("data/added", random(2, 50_000));
    home.ok(&["snapshot", "data"]);
    let place = home.path("repository");
    let wanted = describe::tree(&home.path("data")).expect("the source");
    let names: Vec<String> = objects(&home).into_keys().collect();
    for name in &names {
        let path = place.join(name);
        let good = fs::read(&path).expect("an object");
        for (harm, bytes) in [
            ("flip", Some(flipped(good.clone()))),
            ("truncate", Some(truncated(good.clone()))),
            ("remove", None),
        ] {
            replace(&path, bytes.as_deref());
            let before = objects(&home);
            let what = format!("{harm} {name}");
            let check = home.run(&["check", "--read-data"]);
            let code = match (name.as_str(), harm) {
                ("config", "remove") => NO_REPOSITORY,
                _ => DAMAGE,
            };
            assert_eq!(check.code, Some(code), "{what}: {check:?}");
            let _line = check.only_line();
            let restore = home.run(&["restore", "latest", "target"]);
            match restore.code {
                // What is damaged was not needed.
                Some(0) => {
                    let found = describe::tree(&home.path("target")).expect("the target");
                    assert_eq!(describe::differences(&wanted, &found), [""; 0], "{what}");
                }
                found => {
                    assert_eq!(found, Some(code), "{what}: {restore:?}");
                    assert!(!restore.stderr.contains("panicked"), "{what}: {restore:?}");
                }
            }
            assert_eq!(objects(&home), before, "{what}");
            replace(&path, Some(&good));
            if home.path("target").exists() {
                fs::remove_dir_all(home.path("target")).expect("removed");
            }
        }
    }
    home.restores("latest", &home.path("data"));
    home.ok(&["check", "--read-data"]);
}

fn replace(path: &Path, bytes: Option<&[u8]>) {
    if path.exists() {
        fs::remove_file(path).expect("removed");
    }
    if let Some(bytes) = bytes {
        fs::write(path, bytes).expect("an object");
    }
}

/// Runs a shell script with file systems of its own, which end with it; `$1` is the program.
/// `None` where this user may not mount any.
#[expect(
    clippy::print_stdout,
    reason = "who reads the log of a test learns what it left out"
)]
fn with_mounts(home: &Home, script: &str) -> Option<Run> {
    let permitted = |command: &mut Command| command.output().is_ok_and(|out| out.status.success());
    let own = if rustix::process::geteuid().is_root() {
        &["--mount"][..]
    } else {
        &["--mount", "--user", "--map-root-user"]
    };
    let trial = "mount -t tmpfs -o size=1m tmpfs /tmp";
    if !permitted(home.command("unshare").args(own).args(["sh", "-c", trial])) {
        println!("not run: this user may not mount file systems");
        return None;
    }
    let mut command = home.command("unshare");
    command.args(own);
    command.args(["sh", "-euc", script, "sh"]).arg(binary());
    Some(Run::of(&command.output().expect("a run")))
}

/// The outcome that a script kept of a run under a name.
fn kept(home: &Home, name: &str) -> Run {
    let read = |ending: &str| fs::read_to_string(home.path(&format!("{name}.{ending}")));
    Run {
        code: read("code").expect("a code").trim().parse().ok(),
        stdout: read("out").expect("standard output"),
        stderr: read("err").expect("standard error"),
    }
}

/// `run NAME ARGUMENT...` in a script keeps what the program says and how it ends.
const KEEP: &str = r#"
program=$1
run() {
    name=$1
    shift
    code=0
    "$program" "$@" >"$name.out" 2>"$name.err" || code=$?
    echo "$code" >"$name.code"
}
"#;

/// Every object of the first description is in the second as it was. What a failed snapshot left
/// beside them no commit names.
#[track_caller]
fn assert_kept(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    for (name, told) in before {
        assert_eq!(after.get(name), Some(told), "{name}");
    }
    for name in after.keys().filter(|name| !before.contains_key(*name)) {
        let loose = name.starts_with("packs/") || name.starts_with("index/");
        assert!(loose, "{name}");
    }
}

#[test]
fn a_full_disk_is_one_line_and_costs_nothing() {
    let home = Home::plain();
    home.write("data/small", "small");
    home.write("data/medium", random(5, 2 << 20));
    home.write("large/file", random(3, 24 << 20));
    let script = format!(
        "{KEEP}
        mount -t tmpfs -o size=12m tmpfs repository
        run init init --no-encryption --pack-size 1MiB
        run first snapshot data
        cp -r repository before
        run full snapshot large
        cp -r repository after
        run check check --read-data
        run again snapshot data
        mkdir target
        mount -t tmpfs -o size=1m tmpfs target
        run restore restore latest:small target
        run target restore latest target
        "
    );
    fs::remove_dir_all(home.path("repository")).expect("removed");
    fs::create_dir(home.path("repository")).expect("a directory");
    let Some(run) = with_mounts(&home, &script) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{run:?}");
    let full = kept(&home, "full").expect(FAILED);
    let line = full.only_line();
    assert!(line.contains("no space left"), "{line}");
    for name in ["init", "first", "check", "again", "restore"] {
        assert_eq!(kept(&home, name).expect(0).stderr, "", "{name}");
    }
    let described = |name: &str| describe::objects(&home.path(name)).expect("a repository");
    assert_kept(&described("before"), &described("after"));
    let line = kept(&home, "target").expect(FAILED).only_line();
    assert!(
        line.contains("target") && line.contains("No space left"),
        "{line}"
    );
}

#[test]
fn a_file_system_that_is_read_only_is_one_line() {
    let home = sample();
    fs::create_dir(home.path("target")).expect("a directory");
    let before = objects(&home);
    let script = format!(
        "{KEEP}
        cp -r repository copy
        mount -t tmpfs tmpfs repository
        cp -r copy/. repository
        mount -o remount,bind,ro repository
        mount -t tmpfs -o ro tmpfs target
        run snapshot snapshot data
        run tag tag --add x latest
        run check check --read-data
        run elsewhere restore latest elsewhere
        run restore restore latest target
        run init init --no-encryption -r target/new
        cp -r repository after
        "
    );
    let Some(run) = with_mounts(&home, &script) else {
        return;
    };
    assert_eq!(run.code, Some(0), "{run:?}");
    for name in ["snapshot", "tag", "init"] {
        let line = kept(&home, name).expect(FAILED).only_line();
        assert!(line.contains("read-only"), "{name}: {line}");
    }
    let line = kept(&home, "restore").expect(FAILED).only_line();
    assert!(line.contains("Read-only"), "{line}");
    // What only reads needs nothing else.
    for name in ["check", "elsewhere"] {
        let _done = kept(&home, name).expect(0);
    }
    let wanted = describe::tree(&home.path("data")).expect("the source");
    let found = describe::tree(&home.path("elsewhere")).expect("the target");
    assert_eq!(describe::differences(&wanted, &found), [""; 0]);
    let after = describe::objects(&home.path("after")).expect("a repository");
    assert_eq!(after, before);
}

/// Needs no right to mount anything: a limit on the size of files stands for the disk's end.
#[test]
fn a_write_that_is_cut_short_is_one_line_and_costs_nothing() {
    let home = sample();
    let before = objects(&home);
    home.write("data/larger", random(4, 4 << 20));
    // In units of 512 or 1024 bytes, whichever shell it is.
    let script = format!(
        "{KEEP}
        trap '' XFSZ
        ulimit -f 1024
        run cut snapshot data
        run restore restore latest target
        "
    );
    let mut command = home.command("sh");
    command.args(["-euc", &script, "sh"]).arg(binary());
    let run = Run::of(&command.output().expect("a run"));
    assert_eq!(run.code, Some(0), "{run:?}");
    let _line = kept(&home, "cut").expect(FAILED).only_line();
    assert_kept(&before, &objects(&home));
    let _done = kept(&home, "restore").expect(0);
    home.ok(&["check", "--read-data"]);
    home.ok(&["snapshot", "data"]);
    home.restores("latest", &home.path("data"));
}
