//! The real binary, killed at random moments: `repo snapshot`, `repo gc` and `repo restore`, on a
//! local disk and on a real S3 server.
//!
//! After each kill a check of all data is clean, a snapshot drawn at random restores as it was, and
//! the same command run again succeeds; at the end all snapshots restore, and a collection leaves
//! nothing that no commit names. `KILL_RUNS` sets how many runs there are, `KILL_SEED` the moments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use repo_testkit::Seaweed;
use repo_testkit::data::{Random, fill_tree, random};
use repo_tests::describe::{self, Described};
use repo_tests::moment::{now, wait};
use repo_tests::program::{Home, Run};

/// Runs of all stores together, unless `KILL_RUNS` says otherwise.
const RUNS: usize = 100;
/// Snapshots that are kept at most.
const KEPT_MAX: usize = 5;
/// A collection that leaves nothing for later.
const GC: [&str; 7] = [
    "gc",
    "--max-unused",
    "0",
    "--reader-grace",
    "0",
    "--writer-grace",
    "0",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Snapshot,
    Gc,
    Restore,
}

impl Operation {
    const ALL: [Self; 3] = [Self::Snapshot, Self::Gc, Self::Restore];

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Snapshot => &["snapshot", "data"],
            Self::Gc => &GC,
            Self::Restore => &["restore", "latest", "target", "--delete"],
        }
    }
}

/// How the runs of one operation ended.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    runs: usize,
    /// Killed before the end.
    killed: usize,
    /// Killed when something was written already.
    inside: usize,
    /// How long it takes when nobody kills it.
    duration: Duration,
}

/// A repository under fire, and what its snapshots must hold.
struct Scene {
    home: Home,
    random: Random,
    held: BTreeMap<String, Described>,
    counts: BTreeMap<Operation, Count>,
    changes: u64,
}

impl Scene {
    fn new(home: Home, seed: u64) -> Self {
        home.ok(&["init", "--no-encryption", "--pack-size", "1MiB"]);
        fill_tree(&home.path("data"), seed, 40).expect("a tree");
        let mut scene = Self {
            home,
            random: Random::new(seed),
            held: BTreeMap::new(),
            counts: BTreeMap::new(),
            changes: seed << 32,
        };
        for _ in 0..2 {
            scene.prepare(Operation::Snapshot);
            scene.finish(Operation::Snapshot);
        }
        for operation in Operation::ALL {
            scene.prepare(operation);
            scene.finish(operation);
        }
        scene
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.next_u64() % bound.max(1)
    }

    /// Makes work for the operation.
    fn prepare(&mut self, operation: Operation) {
        match operation {
            Operation::Snapshot => {
                for _ in 0..6 {
                    self.changes += 1;
                    let name = format!("data/changing-{}", self.below(8));
                    let length = 400_000 + self.random.below(900_000);
                    self.home.write(&name, random(self.changes, length));
                }
            }
            Operation::Gc => {
                let held: Vec<String> = self.held.keys().cloned().collect();
                let at = self.random.below(held.len());
                if held.len() > 2 {
                    self.home.ok(&["forget", &held[at]]);
                    self.held.remove(&held[at]);
                }
            }
            Operation::Restore => {
                let target = self.home.path("target");
                if self.below(2) == 0 && target.exists() {
                    fs::remove_dir_all(&target).expect("removed");
                }
                self.changes += 1;
                let content = random(self.changes, 300_000);
                self.home.write("target/changing-0", content);
            }
        }
    }

    /// Starts the operation and kills it after `delay`. Whether it was killed before its end.
    fn kill(&self, operation: Operation, delay: Duration) -> bool {
        let mut command = self.home.repo(operation.arguments());
        // What a killed program would have said is of no interest, and a full pipe must not hold it.
        let mut child = command.stdout(Stdio::null()).spawn().expect("a start");
        wait(delay);
        child.kill().expect("killed, or over");
        let output = child.wait_with_output().expect("a run");
        let killed = output.status.signal() == Some(9);
        if !killed {
            assert_eq!(Run::of(&output).expect(0).stderr, "");
        }
        killed
    }

    /// Runs the operation to its end, notes how long it took, and judges what it did.
    fn finish(&mut self, operation: Operation) {
        let clock = now();
        self.home.ok(operation.arguments());
        let took = clock.elapsed();
        self.counts.entry(operation).or_default().duration = took;
        match operation {
            Operation::Snapshot => self.note_snapshots(),
            Operation::Gc => {}
            Operation::Restore => {
                let latest = self.latest();
                same(&self.held[&latest], &self.home.path("target"));
            }
        }
    }

    fn listed(&self) -> Vec<String> {
        let snapshots = self.home.json(&["snapshots"]);
        let ids = snapshots.iter().map(|s| s["id"].as_str().expect("an id"));
        ids.map(str::to_owned).collect()
    }

    fn latest(&self) -> String {
        self.listed().pop().expect("a snapshot")
    }

    /// A snapshot that is there and was not before holds what the source holds.
    fn note_snapshots(&mut self) {
        let source = describe::tree(&self.home.path("data")).expect("the source");
        for id in self.listed() {
            self.held.entry(id).or_insert_with(|| source.clone());
        }
    }

    fn run(&mut self, operation: Operation) {
        self.prepare(operation);
        let before = self.written(operation);
        let duration = self.counts[&operation].duration;
        // The program needs a while to begin; of what follows every moment is as likely.
        let micros = u64::try_from(duration.as_micros()).expect("short");
        let delay = Duration::from_micros(micros / 4 + self.below(micros * 3 / 4));
        let killed = self.kill(operation, delay);
        let inside = killed && self.written(operation) != before;
        let count = self.counts.entry(operation).or_default();
        count.runs += 1;
        count.killed += usize::from(killed);
        count.inside += usize::from(inside);

        self.sound();
        if operation == Operation::Snapshot {
            self.note_snapshots();
        }
        let listed: BTreeSet<String> = self.listed().into_iter().collect();
        let held: BTreeSet<String> = self.held.keys().cloned().collect();
        assert_eq!(listed, held, "{operation:?} killed after {delay:?}");
        let ids: Vec<String> = held.into_iter().collect();
        let sample = ids[self.random.below(ids.len())].clone();
        self.restores(&sample);
        self.finish(operation);
        if self.held.len() > KEPT_MAX {
            self.prepare(Operation::Gc);
        }
    }

    /// What the operation writes to, as far as a test can see it from outside.
    fn written(&self, operation: Operation) -> Vec<String> {
        let place = match operation {
            Operation::Restore => self.home.path("target"),
            _ => self.home.path("repository"),
        };
        let mut found = Vec::new();
        if place.exists() {
            list(&place, &mut found);
        }
        found.sort();
        found
    }

    #[track_caller]
    fn sound(&self) {
        let run = self.home.run(&["check", "--read-data"]);
        let run = run.expect(0);
        assert!(!run.stdout.contains("damage: "), "{}", run.stdout);
    }

    #[track_caller]
    fn restores(&self, id: &str) {
        let target = self.home.path("restored");
        if target.exists() {
            fs::remove_dir_all(&target).expect("removed");
        }
        self.home.ok(&["restore", id, "restored"]);
        same(&self.held[id], &target);
    }

    /// All snapshots are whole, and a collection leaves nothing that no commit names.
    fn end(&self) {
        self.home.ok(&GC);
        for id in self.held.keys() {
            self.restores(id);
        }
        let check = self.home.ok(&["check", "--read-data"]);
        assert_eq!(check.lines().count(), 1, "nothing to note: {check}");
    }
}

#[track_caller]
fn same(wanted: &Described, target: &Path) {
    let found = describe::tree(target).expect("the target");
    let differences = describe::differences(wanted, &found);
    assert!(differences.is_empty(), "{differences:#?}");
}

/// Names and lengths of all files below a directory that nobody changes.
fn list(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        let facts = entry.metadata().expect("an entry");
        found.push(format!("{} {}", entry.path().display(), facts.len()));
        if facts.is_dir() {
            list(&entry.path(), found);
        }
    }
}

fn number(name: &str, otherwise: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text.parse().expect("a number"),
        Err(_) => otherwise,
    }
}

/// Kills `runs` times, in turn of every operation.
#[expect(
    clippy::print_stderr,
    reason = "how many kills landed where is the figure of this test"
)]
fn under_fire(scene: &mut Scene, runs: usize) {
    for run in 0..runs {
        scene.run(Operation::ALL[run % Operation::ALL.len()]);
    }
    scene.end();
    for (operation, count) in &scene.counts {
        eprintln!("{operation:?}: {count:?}");
    }
}

/// Kills that came too late, or before anything happened, show nothing: enough must not.
#[track_caller]
fn enough(scene: &Scene, inside: bool) {
    let all = |pick: fn(&Count) -> usize| scene.counts.values().map(pick).sum::<usize>();
    let (runs, killed) = (all(|c| c.runs), all(|c| c.killed));
    assert!(
        killed * 2 >= runs,
        "only {killed} of {runs} were killed in time"
    );
    let written = all(|c| c.inside);
    assert!(
        !inside || written * 5 >= runs,
        "only {written} of {runs} had written"
    );
}

#[test]
fn a_killed_program_costs_what_it_was_doing_on_a_local_disk() {
    let seed = number("KILL_SEED", 1) as u64;
    let mut scene = Scene::new(Home::bare(), seed);
    under_fire(&mut scene, number("KILL_RUNS", RUNS) * 3 / 4);
    enough(&scene, true);

    // What a writer had begun to write is no object, and goes when it is old enough.
    let staged = |scene: &Scene| {
        let files = scene.written(Operation::Snapshot);
        files.iter().filter(|file| file.contains('#')).count()
    };
    scene.home.write("repository/index/abc#1", "begun");
    for file in scene.written(Operation::Snapshot) {
        if let Some((path, _)) = file.rsplit_once(' ').filter(|_| file.contains('#')) {
            let long_ago = fs::File::open(path).expect("a file");
            long_ago
                .set_modified(std::time::UNIX_EPOCH)
                .expect("an earlier time");
        }
    }
    eprintln!("{} files were begun", staged(&scene));
    scene.home.ok(&GC);
    assert_eq!(staged(&scene), 0);
    scene.sound();
}

#[test]
fn a_killed_program_costs_what_it_was_doing_on_a_server() {
    let seed = number("KILL_SEED", 1) as u64;
    let server = Seaweed::start().expect("a SeaweedFS server");
    let mut home = Home::bare();
    home.set("REPO_REPOSITORY", server.location("kills"));
    for (name, value) in server.options() {
        home.set(&name.to_ascii_uppercase(), value);
    }
    let mut scene = Scene::new(home, seed + 1);
    under_fire(&mut scene, number("KILL_RUNS", RUNS) / 4);
    enough(&scene, false);
}
