//! Clusters of real servers: saved while they work, restored, started and asked.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use repo_tests::pgbench::{
    done, home, is_right, is_right_asked, loaded, mapping, restore, saved, snapshot, summary, work,
};
use repo_tests::postgres::{Place, Programs, Server};
use repo_tests::program::{Home, Run, text};
use repo_tests::server::pause;

/// Sessions in which a backup waits for its first checkpoint.
const BACKUP_STARTS: &str = "select count(*) from pg_stat_activity where application_name = 'repo' \
                             and query like '%pg_backup_start%' and state = 'active'";

fn count(home: &Home) -> usize {
    home.json(&["snapshots"]).len()
}

/// Takes a cluster apart: a file of it is gone, one cut off, one has other bytes, one is too many.
fn damage(data: &Path) {
    fs::remove_file(data.join("PG_VERSION")).expect("removed");
    let catalog = fs::read_dir(data.join("base/1")).expect("a database");
    let mut files: Vec<_> = catalog
        .map(|entry| entry.expect("a file").path())
        .filter(|path| fs::metadata(path).expect("a file").len() > 8192)
        .collect();
    files.sort_unstable();
    let open = |path: &Path| fs::File::options().write(true).open(path).expect("a file");
    open(&files[0]).set_len(8192).expect("cut off");
    open(&files[1])
        .write_all_at(&[0xA5; 5000], 4000)
        .expect("overwritten");
    fs::write(data.join("base/1/999999"), "stray").expect("a stray file");
    fs::create_dir(data.join("base/999999")).expect("a stray directory");
}

#[test]
fn a_cluster_at_work_comes_back_as_it_was() {
    for (programs, checksums) in Programs::all().iter().zip([true, false]) {
        let (home, place) = (home(), Place::new(programs));
        let mut server = loaded(&place, checksums);
        let load = server.background("pgbench", &["-n", "-c", "2", "-T", "300", "postgres"]);
        work(&server, 50);
        let first = saved(&home, server.data());
        work(&server, 200);
        let second = saved(&home, server.data());
        work(&server, 50);
        drop(load);
        server.stop();

        let check = |server: &Server<'_>| {
            let _done = server.client("pg_amcheck", &["--install-missing", "--all"]);
        };
        let (target, mapping) = (place.path("target"), mapping(&place, "moved"));
        home.ok(&restore(&first, &target, &mapping));
        let early = is_right_asked(&place, &target, check);
        // Over a cluster that has run since, and back over one that is damaged.
        home.ok(&restore(&second, &target, &mapping));
        let late = is_right_asked(&place, &target, check);
        assert!(early >= 50 && late >= early + 200, "{early} {late}");
        damage(&target);
        home.ok(&[&restore(&first, &target, &mapping)[..], &["--force"]].concat());
        assert!(
            !target.join("base/999999").exists(),
            "it does not belong there"
        );
        assert_eq!(is_right_asked(&place, &target, check), early);
        let own = fs::metadata(place.path("target/.repo"));
        assert!(own.is_err(), "what describes the snapshot is no part of it");
        relations_are_named(&home, &first);

        let known = home.json(&["pg", "info"]);
        assert_eq!(known.len(), 2);
        assert_eq!(known[0]["checksums"], checksums);
        let version = known[0]["version"].as_u64().expect("a number");
        assert_eq!(version / 10_000, u64::from(place.major()));
    }
}

/// By `pg info` and by `ls`, from its root and from a directory.
#[track_caller]
fn relations_are_named(home: &Home, snapshot: &str) {
    let all = home.json(&["pg", "info", snapshot, "--relations"]);
    let accounts = all
        .iter()
        .find(|relation| relation["name"] == "pgbench_accounts");
    let accounts = accounts.expect("a table");
    let place = (&accounts["database"], &accounts["schema"]);
    assert_eq!(place, (&"postgres".into(), &"public".into()));
    let path = accounts["path"].as_str().expect("text");
    assert!(path.starts_with("pg_tblspc/"), "{accounts}");
    let bytes = accounts["bytes"].as_u64().expect("a number");
    assert!(bytes > 20 << 20, "{accounts}");
    assert_eq!(home.json(&["ls", "--relations", snapshot]), all);
    let below = home.json(&["ls", "--relations", &format!("{snapshot}:pg_tblspc")]);
    assert!(
        below.len() < all.len() && below.contains(accounts),
        "{below:?}"
    );
    let one = home.json(&["ls", "--relations", &format!("{snapshot}:{path}")]);
    assert_eq!(one, std::slice::from_ref(accounts));
}

#[test]
fn only_what_changed_is_read_and_stored() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let server = loaded(&place, true);
    server.sql("vacuum analyze");
    server.sql("checkpoint");
    let _first = saved(&home, server.data());
    // Files that were just written are not trusted; a moment later they are.
    let settled = || {
        server.sql("checkpoint");
        for _ in 0..3 {
            pause();
        }
        summary(&snapshot(&home, server.data()).expect(0))
    };
    let of = |summary: &serde_json::Value, field: &str| summary[field].as_u64().expect("a number");
    let _written_just_now = settled();
    let idle = settled();
    assert!(of(&idle, "files") > 900, "{idle}");
    // The log, what describes the snapshot, and what the server writes at each checkpoint.
    assert!(of(&idle, "files_changed") < 20, "{idle}");
    assert!(of(&idle, "bytes_stored") < 100 << 10, "{idle}");

    // One row in each of a hundred pages of 3,280.
    server.sql("update pgbench_accounts set abalance = 7 where aid % 2000 = 0");
    let sparse = settled();
    assert!(of(&sparse, "files_changed") < 40, "{sparse}");
    // The pages alone are 1.6 MB, and pages of the log as many.
    assert!(of(&sparse, "bytes_stored") < 200 << 10, "{sparse}");
}

#[test]
fn damaged_pages_are_told_by_relation_and_kept() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let mut server = loaded(&place, true);
    server.sql("checkpoint");
    let path = server.sql("select pg_relation_filepath('pgbench_accounts')");
    let file = server.data().join(&path);
    let table = fs::File::options().write(true).open(&file);
    let table = table.expect("the table");
    for block in [5, 9] {
        table
            .write_all_at(b"!", block * 8192 + 4000)
            .expect("damage");
    }
    for _ in 0..2 {
        let run = home
            .run(&["pg", "snapshot", "--pgdata", text(server.data())])
            .expect(3);
        for block in [5, 9] {
            let wanted =
                format!("{path}: block {block} of postgres.public.pgbench_accounts is damaged");
            assert!(run.stderr.contains(&wanted), "{}", run.stderr);
        }
        let end = "2 pages of the cluster damaged";
        assert!(run.stderr.contains(end), "{}", run.stderr);
        let told = run.stderr.matches(" is damaged").count();
        assert_eq!(told, 2, "{}", run.stderr);
        // Unchanged since, so only what was recorded says that it must be read again.
        pause();
    }
    let known = home.json(&["pg", "info", "latest"]);
    assert_eq!(known[0]["corrupt_pages"], 2);
    server.stop();
    let target = place.path("target");
    home.ok(&restore("latest", &target, &mapping(&place, "moved")));
    let (kept, found) = (fs::read(target.join(&path)), fs::read(&file));
    assert!(kept.expect("a file") == found.expect("a file"), "as it was");
}

#[test]
fn a_lost_session_leaves_no_snapshot() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let mut server = loaded(&place, true);
    let data = server.data().to_owned();
    // Its first checkpoint would take minutes: nothing is read before the session is gone.
    let slowly = [
        "pg",
        "snapshot",
        "--spread-checkpoint",
        "--pgdata",
        text(&data),
    ];
    for kill_server in [false, true] {
        server.sql("update pgbench_accounts set abalance = 0");
        let run = home.repo(&slowly).spawn().expect("a run");
        while server.sql(BACKUP_STARTS) == "0" {
            pause();
        }
        if kill_server {
            server.kill();
        } else {
            server.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'repo'");
        }
        let run = Run::of(&run.wait_with_output().expect("its end")).expect(1);
        let line = run.only_line();
        let lost = "the session with the Postgres server was lost";
        assert!(line.starts_with(lost), "{line}");
        assert_eq!(count(&home), 0);
    }
    let line = home.fails(1, &["pg", "snapshot", "--pgdata", text(&data)]);
    assert!(line.contains("cannot connect"), "{line}");
    server.run_again();
    place.run("pg_ctl", &["stop", "-w", "-D", text(&data)]);
    let line = home.fails(1, &["pg", "snapshot", "--pgdata", text(&data)]);
    assert!(
        line.contains("is not the data directory of a running cluster"),
        "{line}"
    );
}

#[test]
fn what_may_not_be_done_is_refused() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let server = loaded(&place, false);
    let data = text(server.data());
    server.sql("create role nobody_much login");
    let line = home.fails(
        1,
        &[
            "pg",
            "snapshot",
            "--pgdata",
            data,
            "--dsn",
            "user=nobody_much",
        ],
    );
    let may_not = "the Postgres user may not start a backup";
    assert!(line.starts_with(may_not), "{line}");
    assert_eq!(count(&home), 0);
    let id = saved(&home, server.data());
    let line = home.fails(1, &["pg", "restore", &id, data]);
    assert!(line.contains("a server runs on"), "{line}");
    // The old cluster has its tablespace there.
    let line = home.fails(1, &["pg", "restore", &id, text(&place.path("target"))]);
    assert!(line.contains("is neither empty nor a cluster"), "{line}");
    home.write("precious/letter", "dear");
    let (precious, mapping) = (home.path("precious"), mapping(&place, "moved"));
    let line = home.fails(1, &restore(&id, &precious, &mapping));
    assert!(line.contains("is neither empty nor a cluster"), "{line}");
    let letter = fs::read(precious.join("letter"));
    assert_eq!(letter.expect("still there"), b"dear");
    let nowhere = "--tablespace-mapping=/nowhere=/elsewhere";
    let line = home.fails(1, &restore(&id, &home.path("target"), nowhere));
    let none = "no tablespace of the snapshot lies at /nowhere";
    assert!(line.contains(none), "{line}");
}

#[test]
fn one_database_comes_back_with_what_the_server_needs() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let mut server = loaded(&place, true);
    for name in ["wanted", "other"] {
        server.sql(&format!("create database {name}"));
        server.client("pgbench", &["-i", "-q", "-s", "1", name]);
    }
    let id = saved(&home, server.data());
    server.stop();
    let (target, mapping) = (place.path("target"), mapping(&place, "moved"));
    let wanted = ["--database", "wanted"];
    home.ok(&[&restore(&id, &target, &mapping)[..], &wanted].concat());
    let relations = home.json(&["pg", "info", &id, "--relations"]);
    let allocated = |name: &str| -> u64 {
        let path = relations
            .iter()
            .find(|relation| relation["database"] == name && relation["name"] == "pgbench_accounts")
            .and_then(|relation| relation["path"].as_str())
            .expect("a table");
        let found = fs::metadata(target.join(path)).expect("a file");
        assert!(found.len() > 10 << 20, "it has its length");
        found.blocks() * 512
    };
    assert!(allocated("wanted") > 10 << 20);
    assert_eq!(allocated("other"), 0);
    place.run("pg_verifybackup", &[text(&target)]);
    let restored = place.start(&target);
    let accounts = restored.query("wanted", "select count(*) from pgbench_accounts");
    assert_eq!(accounts.expect("an answer"), "100000");
    restored.sql("drop database other");
    // Where the tablespace of the restored one lies, there is no place for another.
    let (elsewhere, none) = (home.path("elsewhere"), ["--database", "none"]);
    let free = repo_tests::pgbench::mapping(&place, "free");
    let line = home.fails(1, &[&restore(&id, &elsewhere, &free)[..], &none].concat());
    assert!(line.contains("no database none"), "{line}");
}

/// What a server takes a setting of its files for, without starting.
fn setting(place: &Place, data: &Path, name: &str) -> String {
    let told = place.run("postgres", &["-D", text(data), "-C", name]);
    told.trim().to_owned()
}

#[test]
fn recovery_is_set_up_as_asked() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let mut server = loaded(&place, true);
    let id = saved(&home, server.data());
    server.stop();
    let (target, mapping) = (place.path("target"), mapping(&place, "moved"));
    home.ok(&restore(&id, &target, &mapping));
    let signal = target.join("recovery.signal");
    assert!(!signal.exists(), "the log of the snapshot is enough");
    for (option, value) in [
        ("time", "2026-01-02 03:04:05+01"),
        ("lsn", "1/2A000028"),
        ("xid", "4711"),
        ("name", "before it's done"),
    ] {
        let (option, name) = (
            format!("--target-{option}={value}"),
            format!("recovery_target_{option}"),
        );
        let more = [
            "--target-action=promote",
            "--target-timeline=1",
            "--target-exclusive",
        ];
        let all = [&restore(&id, &target, &mapping)[..], &[&option], &more].concat();
        home.ok(&all);
        assert!(signal.exists());
        assert_eq!(setting(&place, &target, &name), value);
        assert_eq!(
            setting(&place, &target, "recovery_target_action"),
            "promote"
        );
        assert_eq!(setting(&place, &target, "recovery_target_timeline"), "1");
        assert_eq!(setting(&place, &target, "recovery_target_inclusive"), "off");
        let command = setting(&place, &target, "restore_command");
        let (repository, end) = (home.path("repository"), " pg archive-get %f \"%p\"");
        assert!(
            command.contains(&format!("--repo {}", text(&repository))),
            "{command}"
        );
        assert!(command.ends_with(end), "{command}");
        place.run("pg_verifybackup", &[text(&target)]);
    }
    home.ok(&restore(&id, &target, &mapping));
    assert!(!signal.exists(), "it does not belong to the snapshot");
    assert_eq!(setting(&place, &target, "recovery_target_name"), "");
    assert!(is_right(&place, &target) == 0);
}

#[test]
fn a_standby_is_a_source() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let server = loaded(&place, true);
    let id = saved(&home, server.data());
    let standby = place.path("standby");
    home.ok(&restore(&id, &standby, &mapping(&place, "moved")));
    let settings = fs::File::options()
        .append(true)
        .open(standby.join("postgresql.auto.conf"));
    let line = format!(
        "primary_conninfo = 'host={} user=postgres'\n",
        server.options()[1]
    );
    std::io::Write::write_all(&mut settings.expect("the settings"), line.as_bytes())
        .expect("written");
    fs::write(standby.join("standby.signal"), "").expect("a signal");
    let mut second = place.start(&standby);
    assert_eq!(second.sql("select pg_is_in_recovery()"), "t");
    server.client("pgbench", &["-n", "-t", "100", "postgres"]);
    while done(&second) != 100 {
        pause();
    }
    server.sql("checkpoint");
    let id = saved(&home, second.data());
    let known = home.json(&["pg", "info", &id]);
    assert_eq!(known[0]["standby"], true);

    // One that is promoted while its backup waits for a restart point.
    server.client("pgbench", &["-n", "-t", "100", "postgres"]);
    server.sql("checkpoint");
    while done(&second) != 200 {
        pause();
    }
    let slowly = ["pg", "snapshot", "--spread-checkpoint", "--pgdata"];
    let slowly = [&slowly[..], &[text(second.data())]].concat();
    let run = home.repo(&slowly).spawn().expect("a run");
    while second.sql(BACKUP_STARTS) == "0" {
        pause();
    }
    second.sql("select pg_promote()");
    let run = Run::of(&run.wait_with_output().expect("its end")).expect(1);
    let line = run.only_line();
    assert!(line.contains("the standby was promoted"), "{line}");
    assert_eq!(count(&home), 2);
    second.stop();
    let target = place.path("target");
    let old = format!(
        "--tablespace-mapping={}={}",
        text(&place.path("moved")),
        text(&place.path("third"))
    );
    home.ok(&restore(&id, &target, &old));
    assert!(is_right(&place, &target) <= 100);
}
