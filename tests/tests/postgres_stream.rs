//! Clusters whose servers send their files: over a socket and over TCP, all of them and changes only.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;

use repo_tests::postgres::{Programs, Server};
use repo_tests::program::{Run, objects, text};
use repo_tests::proxy::Proxy;
use repo_tests::site::{Site, configure, dsn, id, wait_until};
use serde_json::Value;
use wait4::Wait4;

/// Sums that pgbench keeps equal in every state that a transaction leaves.
const INVARIANT: &str = "select (select sum(abalance) from pgbench_accounts), \
                         (select sum(tbalance) from pgbench_tellers), \
                         (select sum(bbalance) from pgbench_branches), \
                         (select coalesce(sum(delta), 0) from pgbench_history)";
/// Bytes that a snapshot may take in memory.
const PEAK_MAX: u64 = 160 << 20;

/// A cluster with a tablespace, an unlogged table and the tables of pgbench.
fn loaded<'s>(site: &'s Site, settings: &str) -> Server<'s> {
    let data = site.place.init("data", true);
    configure(&data, settings);
    let server = site.place.start(&data);
    let fast = site.place.make("fast");
    server.sql(&format!(
        "create tablespace fast location '{}'",
        text(&fast)
    ));
    server.sql("create unlogged table passing as select generate_series(1, 1000) as a");
    server.client("pgbench", &["-i", "-q", "-s", "2", "postgres"]);
    server.sql("alter table pgbench_branches set tablespace fast");
    server
}

fn stream(dsn: &str) -> [&str; 6] {
    ["--json", "pg", "snapshot", "--stream", "--dsn", dsn]
}

/// Takes a snapshot that must succeed without a complaint; gives its summary.
#[track_caller]
fn streamed(site: &Site, dsn: &str) -> Value {
    objects(&site.ok(&stream(dsn))).pop().expect("a summary")
}

fn transactions(server: &Server<'_>, count: &str) {
    server.client("pgbench", &["-n", "-c", "2", "-t", count, "postgres"]);
}

/// Restores a snapshot to `target`, over what is there.
#[track_caller]
fn restore(site: &Site, snapshot: &str, target: &Path) {
    let at = |name: &str| text(&site.place.path(name)).to_owned();
    let mapping = format!("{}={}", at("fast"), at("moved"));
    let arguments = [
        "pg",
        "restore",
        snapshot,
        text(target),
        "--tablespace-mapping",
        &mapping,
    ];
    site.ok(&arguments);
    site.place.run("pg_verifybackup", &[text(target)]);
}

/// Starts a restored cluster, which must be sound and hold what `dump` says.
#[track_caller]
fn is_sound(site: &Site, target: &Path, dump: Option<&str>) {
    let server = site.place.start(target);
    assert!(
        dump.is_none_or(|dump| dumped(&server) == dump),
        "other rows"
    );
    assert_eq!(server.sql("select count(*) from passing"), "0");
    let sums = server.sql(INVARIANT);
    let all: Vec<&str> = sums.split('|').collect();
    assert!(all.iter().all(|sum| *sum == all[0]), "{sums}");
    server.client("pg_amcheck", &["--install-missing", "--all"]);
}

/// All that the database holds, as text.
fn dumped(server: &Server<'_>) -> String {
    let dump = server.client("pg_dump", &["--no-unlogged-table-data", "postgres"]);
    // A word that is random in each dump.
    let lines = dump.lines().filter(|line| !line.contains("restrict "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_streamed_cluster_comes_back_as_it_was() {
    for programs in Programs::all() {
        let site = Site::new(&programs);
        let mut server = loaded(&site, "");
        let load = server.background("pgbench", &["-n", "-c", "2", "-T", "300", "postgres"]);
        wait_until("there is work", || {
            server.sql("select count(*) > 50 from pgbench_history") == "t"
        });
        let dsn = dsn(&server);
        // A child starts out with the peak of its parent, which this sets back.
        fs::write("/proc/self/clear_refs", "5").expect("the peak of this test set back");
        let mut first = site.repo(&stream(&dsn));
        first.stdout(Stdio::null()).stderr(Stdio::inherit());
        let used = first.spawn().expect("a start").wait4().expect("an end");
        assert!(used.status.success());
        let peak = used.rusage.maxrss;
        assert!(peak <= PEAK_MAX, "{} MiB", peak >> 20);
        drop(load);

        transactions(&server, "50");
        let proxy = Proxy::to(&server);
        let second = streamed(&site, &proxy.dsn());
        assert!(proxy.sent() > 40 << 20, "all files came: {}", proxy.sent());
        let stored = second["bytes_stored"].as_u64().expect("a number");
        assert!(stored < 4 << 20, "{second}");
        let dump = dumped(&server);
        server.stop();

        let known = site.json(&["pg", "info"]);
        assert_eq!(known.len(), 2);
        assert_eq!(known[1]["checksums"], true);
        let databases = known[1]["databases"].to_string();
        assert!(databases.contains("\"postgres\""), "{databases}");
        let target = site.place.path("target");
        let first = known[0]["id"].as_str().expect("an id");
        restore(&site, &id(&[second]), &target);
        is_sound(&site, &target, Some(&dump));
        restore(&site, first, &target);
        is_sound(&site, &target, None);
        let relations = site.json(&["pg", "info", first, "--relations"]);
        let accounts = relations
            .iter()
            .find(|relation| relation["name"] == "pgbench_accounts");
        assert_eq!(accounts.expect("a table")["database"], "postgres");
    }
}

#[test]
fn changes_are_folded_over_the_parent() {
    for programs in Programs::all() {
        let site = Site::new(&programs);
        if site.place.major() < 17 {
            continue;
        }
        let server = loaded(&site, "summarize_wal = on\n");
        server.sql("create table shrinks as select generate_series(1, 50000) as a");
        server.sql("create table goes as select generate_series(1, 50000) as a");
        let proxy = Proxy::to(&server);
        streamed(&site, &proxy.dsn());
        let all = proxy.sent();
        let target = site.place.path("target");
        for round in ["1", "2"] {
            transactions(&server, "100");
            server.sql("delete from shrinks where a > 1000");
            server.sql("vacuum shrinks");
            server.sql("drop table if exists goes");
            server.sql(&format!(
                "create table new{round} as select generate_series(1, 9000) as a"
            ));
            server.sql("insert into shrinks select generate_series(1, 60000)");
            let before = proxy.sent();
            let taken = streamed(&site, &proxy.dsn());
            let sent = proxy.sent() - before;
            // The log is sent, too.
            assert!(sent < 32 << 20 && sent * 2 < all, "{sent} of {all}");
            let dump = dumped(&server);
            restore(&site, &id(&[taken]), &target);
            is_sound(&site, &target, Some(&dump));
        }
        // Without them the server does not know what changed.
        let latest = site.json(&["pg", "info", "latest"]);
        let start = latest[0]["start_lsn"].as_str().expect("a position");
        let made = format!(
            "select count(*) > 0 from pg_available_wal_summaries() where start_lsn >= '{start}'"
        );
        wait_until("changes are summarized", || {
            server.sql("checkpoint");
            server.sql(&made) == "t"
        });
        for entry in fs::read_dir(server.data().join("pg_wal/summaries")).expect("summaries") {
            fs::remove_file(entry.expect("an entry").path()).expect("removed");
        }
        let run = site.run(&stream(&proxy.dsn())[1..]).expect(0);
        assert!(
            run.stderr.contains("all files are sent instead of changes"),
            "{run:?}"
        );
        let dump = dumped(&server);
        restore(&site, "latest", &target);
        is_sound(&site, &target, Some(&dump));
    }
}

#[test]
fn damaged_pages_are_told_by_relation() {
    let site = Site::new(&Programs::installed());
    let server = loaded(&site, "summarize_wal = on\n");
    server.sql("checkpoint");
    let path = server.sql("select pg_relation_filepath('pgbench_accounts')");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(server.data().join(&path))
        .expect("the table");
    file.write_all_at(b"!", 5 * 8192 + 4000).expect("damage");
    for _ in 0..2 {
        let run = site.run(&stream(&dsn(&server))[1..]).expect(3);
        let wanted = format!("{path}: block 5 of postgres.public.pgbench_accounts is damaged");
        assert!(run.stderr.contains(&wanted), "{}", run.stderr);
    }
    let known = site.json(&["pg", "info", "latest"]);
    assert_eq!(known[0]["corrupt_pages"], 1);
}

#[test]
fn a_connection_that_drops_leaves_no_snapshot() {
    let site = Site::new(&Programs::installed());
    let mut server = loaded(&site, "");
    let proxy = Proxy::to(&server);
    for bytes in [10, 5_000, 10 << 20] {
        proxy.cut_after(bytes);
        let line = site.fails(1, &stream(&proxy.dsn())[1..]);
        assert!(
            line.starts_with("the connection to the server broke"),
            "{line}"
        );
    }
    proxy.hold_after(10 << 20);
    let run = site
        .repo(&stream(&proxy.dsn())[1..])
        .spawn()
        .expect("a run");
    wait_until("much was sent", || proxy.is_holding());
    server.stop();
    proxy.release();
    let run = Run::of(&run.wait_with_output().expect("its end")).expect(1);
    let line = run.only_line();
    assert!(
        line.contains("the connection to the server broke") || line.contains("terminating"),
        "{line}"
    );
    let line = site.fails(1, &stream(&proxy.dsn())[1..]);
    assert!(
        line.contains("the connection to the server broke"),
        "{line}"
    );
    assert_eq!(site.json(&["snapshots"]).len(), 0);
}

#[test]
fn a_standby_that_is_promoted_meanwhile_leaves_no_snapshot() {
    let site = Site::new(&Programs::installed());
    let server = loaded(&site, "");
    let taken = streamed(&site, &dsn(&server));
    let standby = site.place.path("standby");
    restore(&site, &id(&[taken]), &standby);
    fs::write(standby.join("standby.signal"), "").expect("a signal");
    let second = site.place.start(&standby);
    assert_eq!(second.sql("select pg_is_in_recovery()"), "t");
    let proxy = Proxy::to(&second);
    proxy.hold_after(10 << 20);
    let run = site
        .repo(&stream(&proxy.dsn())[1..])
        .spawn()
        .expect("a run");
    wait_until("much was sent", || proxy.is_holding());
    second.sql("select pg_promote()");
    proxy.release();
    let run = Run::of(&run.wait_with_output().expect("its end")).expect(1);
    assert!(
        run.only_line()
            .contains("the standby was promoted during online backup"),
        "{run:?}"
    );
    assert_eq!(site.json(&["snapshots"]).len(), 1);
}
