//! Clusters of real servers: saved while they work, restored, started and asked.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use repo_tests::postgres::{Place, Programs, Server};
use repo_tests::program::{Home, Run};
use repo_tests::server::pause;

/// Sums that pgbench keeps equal in every state that a transaction leaves.
const INVARIANT: &str = "select (select sum(abalance) from pgbench_accounts), \
                         (select sum(tbalance) from pgbench_tellers), \
                         (select sum(bbalance) from pgbench_branches), \
                         (select coalesce(sum(delta), 0) from pgbench_history)";

/// A home with a repository in clear that leads to servers of a place.
fn home() -> Home {
    let mut home = Home::plain();
    home.set("PGUSER", "postgres");
    home
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn snapshot(home: &Home, data: &Path) -> Run {
    home.run(&["--json", "pg", "snapshot", "--pgdata", text(data)])
}

/// Takes a snapshot that must succeed; gives its id.
#[track_caller]
fn saved(home: &Home, data: &Path) -> String {
    id_of(&snapshot(home, data).expect(0))
}

fn id_of(run: &Run) -> String {
    let last = run.stdout.lines().last().expect("a line");
    let summary: serde_json::Value = serde_json::from_str(last).expect("JSON");
    summary["id"].as_str().expect("an id").to_owned()
}

fn count(home: &Home) -> usize {
    home.json(&["snapshots"]).len()
}

/// Waits until the load has done `more` transactions from now on.
fn work(server: &Server<'_>, more: u64) {
    let done = || -> u64 {
        let rows = server.sql("select count(*) from pgbench_history");
        rows.parse().expect("a number")
    };
    let wanted = done() + more;
    while done() < wanted {
        pause();
    }
}

/// Verifies a restored cluster with the server's own tools and the invariants of its load; gives the
/// number of transactions that it holds.
#[track_caller]
fn is_right(place: &Place, data: &Path, databases: bool) -> u64 {
    place.run("pg_verifybackup", &[text(data)]);
    let server = place.start(data);
    let sums = server.sql(INVARIANT);
    let all: Vec<&str> = sums.split('|').collect();
    assert!(all.iter().all(|sum| *sum == all[0]), "{sums}");
    if databases {
        server.client("pg_amcheck", &["--install-missing", "--all"]);
    }
    let done = server.sql("select count(*) from pgbench_history");
    done.parse().expect("a number")
}

/// A cluster with a tablespace, an unlogged table, and the tables of pgbench.
fn loaded<'p>(place: &'p Place, checksums: bool) -> Server<'p> {
    let data = place.init("data", checksums);
    let server = place.start(&data);
    let fast = place.make("fast");
    server.sql(&format!(
        "create tablespace fast location '{}'",
        text(&fast)
    ));
    server.sql("create unlogged table passing as select generate_series(1, 1000) as a");
    server.client(
        "pgbench",
        &["-i", "-q", "-s", "2", "--tablespace=fast", "postgres"],
    );
    server
}

fn restore_to<'a>(snapshot: &'a str, target: &'a str, mapping: &'a str) -> Vec<&'a str> {
    vec![
        "pg",
        "restore",
        snapshot,
        target,
        "--tablespace-mapping",
        mapping,
    ]
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

        let target = place.path("target");
        let (old, new) = (place.path("fast"), place.path("moved"));
        let mapping = format!("{}={}", text(&old), text(&new));
        home.ok(&restore_to(&first, text(&target), &mapping));
        let early = is_right(&place, &target, true);
        // Over a cluster that has run since, and back.
        home.ok(&restore_to(&second, text(&target), &mapping));
        let late = is_right(&place, &target, true);
        assert!(early >= 50 && late >= early + 200, "{early} {late}");
        home.ok(&restore_to(&first, text(&target), &mapping));
        assert_eq!(is_right(&place, &target, false), early);
        assert_eq!(fs::read_link(target.join("pg_tblspc")).ok(), None);
        let label = fs::metadata(place.path("target/.repo"));
        assert!(
            label.is_err(),
            "what describes the snapshot is no part of the cluster"
        );

        let relations = home.json(&["pg", "info", &first, "--relations"]);
        let accounts = relations
            .iter()
            .find(|relation| relation["name"] == "pgbench_accounts");
        let accounts = accounts.expect("a table");
        assert_eq!(
            (&accounts["database"], &accounts["schema"]),
            (&"postgres".into(), &"public".into())
        );
        assert!(
            accounts["path"]
                .as_str()
                .expect("text")
                .starts_with("pg_tblspc/")
        );
        assert!(
            accounts["bytes"].as_u64().expect("a number") > 20 << 20,
            "{accounts}"
        );
        let known = home.json(&["pg", "info"]);
        assert_eq!(known.len(), 2);
        assert_eq!(known[0]["checksums"], checksums);
        assert_eq!(
            known[0]["version"].as_u64().expect("a number") / 10_000,
            u64::from(place.major())
        );
    }
}

#[test]
fn only_what_changed_is_read_and_stored() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let server = loaded(&place, true);
    server.sql("vacuum analyze");
    server.sql("checkpoint");
    saved(&home, server.data());
    server.sql("update pgbench_branches set filler = 'x'");
    // Files that were just written are not trusted; a moment later they are.
    for _ in 0..3 {
        pause();
    }
    let run = snapshot(&home, server.data()).expect(0);
    let last = run.stdout.lines().last().expect("a line");
    let summary: serde_json::Value = serde_json::from_str(last).expect("JSON");
    let of = |field: &str| summary[field].as_u64().expect("a number");
    assert!(
        of("files") > 1000 && of("files_changed") < of("files") / 2,
        "{summary}"
    );
    assert!(of("bytes_stored") < 1 << 20, "{summary}");
}

#[test]
fn damaged_pages_are_told_by_relation_and_kept() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let server = loaded(&place, true);
    server.sql("checkpoint");
    let path = server.sql("select pg_relation_filepath('pgbench_accounts')");
    let file = server.data().join(&path);
    let file = fs::OpenOptions::new()
        .write(true)
        .open(file)
        .expect("the table");
    file.write_all_at(b"!", 5 * 8192 + 4000).expect("damage");
    file.write_all_at(b"!", 9 * 8192 + 4000).expect("damage");
    for _ in 0..2 {
        let run = home
            .run(&["pg", "snapshot", "--pgdata", text(server.data())])
            .expect(3);
        for block in [5, 9] {
            let wanted =
                format!("{path}: block {block} of postgres.public.pgbench_accounts is damaged");
            assert!(run.stderr.contains(&wanted), "{}", run.stderr);
        }
        assert!(
            run.stderr.contains("2 pages of the cluster damaged"),
            "{}",
            run.stderr
        );
        assert_eq!(
            run.stderr.matches(" is damaged").count(),
            2,
            "{}",
            run.stderr
        );
        // Unchanged since, so only what was recorded says that it must be read again.
        pause();
    }
    let known = home.json(&["pg", "info", "latest"]);
    assert_eq!(known[0]["corrupt_pages"], 2);
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
        let waiting = "select count(*) from pg_stat_activity where application_name = 'repo' \
                       and query like '%pg_backup_start%' and state = 'active'";
        while server.sql(waiting) == "0" {
            pause();
        }
        if kill_server {
            server.stop();
        } else {
            server.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'repo'");
        }
        let run = Run::of(&run.wait_with_output().expect("its end")).expect(1);
        assert!(
            run.only_line()
                .starts_with("the session with the Postgres server was lost"),
            "{}",
            run.stderr
        );
        assert_eq!(count(&home), 0);
    }
    let line = home.fails(1, &["pg", "snapshot", "--pgdata", text(&data)]);
    assert!(
        line.contains("connect") || line.contains("running cluster"),
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
    assert!(
        line.starts_with("the Postgres user may not start a backup"),
        "{line}"
    );
    assert_eq!(count(&home), 0);
    let id = saved(&home, server.data());
    let line = home.fails(1, &["pg", "restore", &id, data]);
    assert!(line.contains("a server runs on"), "{line}");
    // The old cluster has its tablespace there.
    let line = home.fails(1, &["pg", "restore", &id, text(&place.path("target"))]);
    assert!(line.contains("is neither empty nor a cluster"), "{line}");
    home.write("precious/letter", "dear");
    let mapping = format!(
        "{}={}",
        text(&place.path("fast")),
        text(&place.path("moved"))
    );
    let line = home.fails(1, &restore_to(&id, "precious", &mapping));
    assert!(line.contains("is neither empty nor a cluster"), "{line}");
    assert_eq!(
        fs::read(home.path("precious/letter")).expect("still there"),
        b"dear"
    );
    let line = home.fails(1, &restore_to(&id, "target", "/nowhere=/elsewhere"));
    assert!(
        line.contains("no tablespace of the snapshot lies at /nowhere"),
        "{line}"
    );
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
    let (target, mapping) = (
        place.path("target"),
        format!(
            "{}={}",
            text(&place.path("fast")),
            text(&place.path("moved"))
        ),
    );
    let mut arguments = restore_to(&id, text(&target), &mapping);
    arguments.extend(["--database", "wanted"]);
    home.ok(&arguments);
    let allocated = |name: &str| -> u64 {
        let relations = home.json(&["pg", "info", &id, "--relations"]);
        let path = relations
            .iter()
            .find(|relation| relation["database"] == name && relation["name"] == "pgbench_accounts")
            .and_then(|relation| relation["path"].as_str())
            .expect("a table");
        let found = fs::metadata(target.join(path)).expect("a file");
        assert!(found.len() > 10 << 20, "it has its length");
        std::os::unix::fs::MetadataExt::blocks(&found) * 512
    };
    assert!(allocated("wanted") > 10 << 20);
    assert_eq!(allocated("other"), 0);
    place.run("pg_verifybackup", &[text(&target)]);
    let restored = place.start(&target);
    let accounts = restored.query("wanted", "select count(*) from pgbench_accounts");
    assert_eq!(accounts.expect("an answer"), "100000");
    restored.sql("drop database other");
    let line = home.fails(
        1,
        &["pg", "restore", &id, "elsewhere", "--database", "none"],
    );
    assert!(line.contains("no database none"), "{line}");
}

#[test]
fn a_killed_restore_starts_no_server_and_carries_on() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let mut server = loaded(&place, true);
    let id = saved(&home, server.data());
    server.stop();
    let (target, mapping) = (
        place.path("target"),
        format!(
            "{}={}",
            text(&place.path("fast")),
            text(&place.path("moved"))
        ),
    );
    let arguments = restore_to(&id, text(&target), &mapping);
    let mut run = home.repo(&arguments).spawn().expect("a run");
    while !target.join("base").exists() && run.try_wait().expect("its state").is_none() {
        std::thread::yield_now();
    }
    run.kill().expect("killed");
    let ended = run.wait().expect("its end");
    if !ended.success() {
        assert!(
            !target.join("global/pg_control").exists(),
            "no server may start on half a cluster"
        );
    }
    home.ok(&arguments);
    is_right(&place, &target, false);
}

#[test]
fn a_standby_is_a_source() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let server = loaded(&place, true);
    let id = saved(&home, server.data());
    let (standby, mapping) = (
        place.path("standby"),
        format!(
            "{}={}",
            text(&place.path("fast")),
            text(&place.path("moved"))
        ),
    );
    home.ok(&restore_to(&id, text(&standby), &mapping));
    let settings = fs::OpenOptions::new()
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
    while second.sql("select count(*) from pgbench_history") != "100" {
        pause();
    }
    server.sql("checkpoint");
    let id = saved(&home, second.data());
    let known = home.json(&["pg", "info", &id]);
    assert_eq!(known[0]["standby"], true);
    second.stop();
    let (target, mapping) = (
        place.path("target"),
        format!(
            "{}={}",
            text(&place.path("moved")),
            text(&place.path("third"))
        ),
    );
    home.ok(&restore_to(&id, text(&target), &mapping));
    let done = is_right(&place, &target, false);
    assert!(done <= 100, "{done}");
}
