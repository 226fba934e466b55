//! Clusters whose server, snapshot or restore is killed at random moments: nothing that was saved is
//! lost, and the same command run again completes what it was to do.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use repo_testkit::data::Random;
use repo_tests::moment::{now, wait};
use repo_tests::pgbench::{home, is_right, loaded, mapping, restore, saved, work};
use repo_tests::postgres::{Background, Place, Programs, Server};
use repo_tests::program::{Home, Run, text};
use repo_tests::server::pause;

/// Runs of each kind that are killed before their end.
const KILLS: u32 = 8;
/// Runs of each kind at most.
const RUNS_MAX: u32 = 64;

/// Random moments of a run. How long one takes is learned from those that were over before.
struct Moments {
    random: Random,
    over: Duration,
    runs: u32,
    inside: u32,
}

impl Moments {
    /// Of a run that takes as long as `once`.
    fn of<T>(once: impl FnOnce() -> T) -> (Self, T) {
        let start = now();
        let done = once();
        let moments = Self {
            random: Random::new(1),
            over: start.elapsed(),
            runs: 0,
            inside: 0,
        };
        (moments, done)
    }

    /// When to kill the next run, until there were enough.
    fn next(&mut self) -> Option<Duration> {
        if self.inside == KILLS {
            return None;
        }
        assert!(self.runs < RUNS_MAX, "only {} killed inside", self.inside);
        self.runs += 1;
        let part = u32::try_from(self.random.below(1000)).expect("a thousandth");
        Some(self.over / 1000 * part)
    }

    fn ended(&mut self, was_killed: bool) {
        if was_killed {
            self.inside += 1;
        } else {
            self.over = self.over / 4 * 3;
        }
    }
}

/// Starts a program and kills it after `delay`. Whether that was before its end.
fn killed(mut command: Command, delay: Duration) -> bool {
    let mut child = command.stdout(Stdio::null()).spawn().expect("a start");
    wait(delay);
    child.kill().expect("killed, or over");
    let output = child.wait_with_output().expect("a run");
    output.status.code().is_none()
}

fn ids(home: &Home) -> Vec<String> {
    let known = home.json(&["snapshots"]);
    let ids = known.iter().map(|snapshot| snapshot["id"].as_str());
    ids.map(|id| id.expect("an id").to_owned()).collect()
}

/// A load that outlives what is done beside it.
fn load(server: &Server<'_>) -> Background {
    server.background("pgbench", &["-n", "-c", "2", "-T", "300", "postgres"])
}

#[test]
fn a_killed_snapshot_leaves_neither_a_snapshot_nor_a_backup() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let mut server = loaded(&place, true);
    let load = load(&server);
    let data = server.data().to_owned();
    let save = ["pg", "snapshot", "--pgdata", text(&data)];
    let (mut moments, first) = Moments::of(|| saved(&home, &data));
    let mut known = vec![first];
    while let Some(moment) = moments.next() {
        work(&server, 20);
        let was_killed = killed(home.repo(&save), moment);
        moments.ended(was_killed);
        let now = ids(&home);
        let more = now.len() - known.len();
        assert!(more <= 1 && now.starts_with(&known), "{known:?} {now:?}");
        assert!(was_killed || more == 1, "it ended well");
        known = now;
        // The server learns from the connection that nobody is there any more.
        let left = "select (select count(*) from pg_stat_activity where application_name = 'repo') \
                    + (select count(*) from pg_replication_slots)";
        while server.sql(left) != "0" {
            pause();
        }
    }
    home.ok(&["check", "--read-data"]);
    let last = saved(&home, &data);
    drop(load);
    server.stop();
    let (target, mapping) = (place.path("target"), mapping(&place, "moved"));
    for snapshot in [&last, &known[0]] {
        home.ok(&restore(snapshot, &target, &mapping));
        let _done = is_right(&place, &target);
    }
}

#[test]
fn a_killed_restore_starts_no_server_and_carries_on() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let mut server = loaded(&place, true);
    let old = saved(&home, server.data());
    server.client("pgbench", &["-n", "-t", "500", "postgres"]);
    let new = saved(&home, server.data());
    server.stop();
    let (target, mapping) = (place.path("target"), mapping(&place, "moved"));
    let (mut moments, _) = Moments::of(|| home.ok(&restore(&old, &target, &mapping)));
    // Into nothing, and over the other cluster.
    let mut over = true;
    while let Some(moment) = moments.next() {
        over = !over;
        if !over {
            for directory in [&target, &place.path("moved")] {
                fs::remove_dir_all(directory).expect("removed");
            }
        }
        let (snapshot, done) = if over { (&new, 500) } else { (&old, 0) };
        let arguments = restore(snapshot, &target, &mapping);
        let was_killed = killed(home.repo(&arguments), moment);
        moments.ended(was_killed);
        if was_killed && !over && target.join("global/pg_control").exists() {
            // It comes last: only the manifest may be missing.
            for name in ["PG_VERSION", "backup_label", "global/pg_filenode.map"] {
                assert!(target.join(name).exists(), "{name}");
            }
        }
        home.ok(&arguments);
        place.run("pg_verifybackup", &[text(&target)]);
        if moments.inside % 4 == 3 {
            assert_eq!(is_right(&place, &target), done);
        }
    }
}

#[test]
fn a_killed_server_costs_its_snapshot_and_no_other() {
    let (home, place) = (home(), Place::new(&Programs::installed()));
    let mut server = loaded(&place, true);
    let data = server.data().to_owned();
    let save = ["pg", "snapshot", "--pgdata", text(&data)];
    let (mut moments, first) = Moments::of(|| saved(&home, &data));
    let mut known = vec![first];
    while let Some(moment) = moments.next() {
        let load = load(&server);
        work(&server, 20);
        let run = home.repo(&save).spawn().expect("a run");
        wait(moment);
        server.kill();
        drop(load);
        let run = Run::of(&run.wait_with_output().expect("its end"));
        let now = ids(&home);
        let was_lost = run.code != Some(0);
        moments.ended(was_lost);
        if was_lost {
            let line = run.expect(1).only_line();
            let told = [
                "the session with the Postgres server was lost",
                "cannot connect",
            ];
            assert!(told.iter().any(|told| line.contains(told)), "{line}");
            assert_eq!(now, known);
        } else {
            // All of it was copied before; the rest needs no server.
            assert_eq!(now.len(), known.len() + 1);
        }
        known = now;
        server.run_again();
    }
    home.ok(&["check", "--read-data"]);
    let last = saved(&home, &data);
    server.stop();
    let (target, mapping) = (place.path("target"), mapping(&place, "moved"));
    for snapshot in [&last, &known[0]] {
        home.ok(&restore(snapshot, &target, &mapping));
        let _done = is_right(&place, &target);
    }
}
