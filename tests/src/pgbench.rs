//! A cluster under the load of pgbench, and what holds in every state that a transaction leaves.

use std::path::Path;

use serde_json::Value;

use crate::postgres::{Place, Server};
use crate::program::{Home, Run, text};
use crate::server::pause;

/// Sums that pgbench keeps equal.
const INVARIANT: &str = "select (select sum(abalance) from pgbench_accounts), \
                         (select sum(tbalance) from pgbench_tellers), \
                         (select sum(bbalance) from pgbench_branches), \
                         (select coalesce(sum(delta), 0) from pgbench_history)";

/// A home with a repository in clear, and the name of the servers' superuser.
#[must_use]
pub fn home() -> Home {
    let mut home = Home::plain();
    home.set("PGUSER", "postgres");
    home
}

/// Takes a snapshot of the cluster that runs in `data`.
#[must_use]
pub fn snapshot(home: &Home, data: &Path) -> Run {
    home.run(&["--json", "pg", "snapshot", "--pgdata", text(data)])
}

/// What a snapshot said at its end.
#[must_use]
#[track_caller]
pub fn summary(run: &Run) -> Value {
    let last = run.stdout.lines().last().expect("a line");
    serde_json::from_str(last).expect("JSON")
}

/// Takes a snapshot that must succeed; gives its id.
#[must_use]
#[track_caller]
pub fn saved(home: &Home, data: &Path) -> String {
    let summary = summary(&snapshot(home, data).expect(0));
    summary["id"].as_str().expect("an id").to_owned()
}

/// The arguments that restore a snapshot with the tablespace as [`mapping`] says.
#[must_use]
pub fn restore<'a>(snapshot: &'a str, target: &'a Path, mapping: &'a str) -> [&'a str; 5] {
    ["pg", "restore", snapshot, text(target), mapping]
}

/// Transactions that a server has done.
#[must_use]
#[track_caller]
pub fn done(server: &Server<'_>) -> u64 {
    let rows = server.sql("select count(*) from pgbench_history");
    rows.parse().expect("a number")
}

/// Waits until the load has done `more` transactions from now on.
#[track_caller]
pub fn work(server: &Server<'_>, more: u64) {
    let wanted = done(server) + more;
    while done(server) < wanted {
        pause();
    }
}

/// A running cluster with a tablespace in `fast`, an unlogged table, and the tables of pgbench.
#[must_use]
#[track_caller]
pub fn loaded(place: &Place, checksums: bool) -> Server<'_> {
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

/// The option that restores the tablespace of [`loaded`] to `to`.
#[must_use]
pub fn mapping(place: &Place, to: &str) -> String {
    let (old, new) = (place.path("fast"), place.path(to));
    format!("--tablespace-mapping={}={}", text(&old), text(&new))
}

/// Verifies a restored cluster with its manifest, starts it, and compares the sums of its load;
/// gives the number of transactions that it holds.
#[track_caller]
pub fn is_right(place: &Place, data: &Path) -> u64 {
    is_right_asked(place, data, |_| {})
}

/// As [`is_right`], with `ask` called while the server runs.
#[track_caller]
pub fn is_right_asked(place: &Place, data: &Path, ask: impl Fn(&Server<'_>)) -> u64 {
    place.run("pg_verifybackup", &[text(data)]);
    let server = place.start(data);
    let sums = server.sql(INVARIANT);
    let all: Vec<&str> = sums.split('|').collect();
    assert!(all.iter().all(|sum| *sum == all[0]), "{sums}");
    ask(&server);
    done(&server)
}
