//! Reading through a mount: `repo mount` against those of its peers, on one tree and one large file, by
//! the same system calls. A peer that cannot mount is left out and named.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use crate::data;
use crate::error::{Error, Result, io};
use crate::measure;
use crate::stats::{float, least, median, ratio};

const PAGE: u64 = 8192;
/// A task that takes longer is done once.
const LONG_S: f64 = 60.0;
/// A listing that takes longer is stopped.
const STOP_S: u32 = 120;
const PASSWORD: &str = "benchmark";

/// Choices of `mount`.
#[derive(Args)]
pub(crate) struct Options {
    /// Directory for repositories and mounts.
    #[arg(long)]
    work: PathBuf,
    /// Tree of many small files.
    #[arg(long)]
    tree: PathBuf,
    /// Large file.
    #[arg(long)]
    large: PathBuf,
    /// Directory that `benches/peers/install.sh` filled.
    #[arg(long)]
    peers: PathBuf,
    /// How often each task is done by each tool, in turn; the table holds medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Reads of 8 KiB at random.
    #[arg(long, default_value_t = 4_000)]
    reads: u64,
    /// The `repo` binary.
    #[arg(long, default_value = "target/release/repo")]
    repo_bin: PathBuf,
    /// Where `mount.md` goes.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
}

/// A tool that mounts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mounter {
    Repo,
    Restic,
    Rustic,
}

/// What one task took: seconds, processor seconds of the tool, and its peak memory since it mounted.
#[derive(Clone, Copy)]
struct Took {
    wall_s: f64,
    cpu_s: f64,
    peak_bytes: u64,
}

struct Place<'o> {
    options: &'o Options,
    dir: PathBuf,
    tree: PathBuf,
    large: PathBuf,
}

impl Mounter {
    const ALL: [Self; 3] = [Self::Repo, Self::Restic, Self::Rustic];

    fn name(self) -> &'static str {
        match self {
            Self::Repo => "repo",
            Self::Restic => "restic",
            Self::Rustic => "rustic",
        }
    }
}

impl Place<'_> {
    fn command(&self, tool: Mounter, words: &[&str]) -> Command {
        let program = match tool {
            Mounter::Repo => self.options.repo_bin.clone(),
            peer => self.options.peers.join("bin").join(peer.name()),
        };
        let mut command = Command::new(program);
        let prefix = tool.name().to_uppercase();
        let place = self.dir.join(tool.name());
        command
            .env(format!("{prefix}_REPOSITORY"), place)
            .env(format!("{prefix}_PASSWORD"), PASSWORD)
            .env("XDG_CACHE_HOME", self.dir.join("cache"))
            .env("REPO_CACHE_DIR", self.dir.join("cache/repo"))
            .args(words);
        command
    }

    fn work(&self, task: Task, root: &Path) -> Result<()> {
        match task {
            Task::InOrder => read_in_order(&below(root, &self.large)),
            Task::AtRandom => read_at_random(&below(root, &self.large), self.options.reads),
            Task::List => list(&below(root, &self.tree)),
        }
    }

    fn save(&self, tool: Mounter) -> Result<()> {
        measure::untimed(self.command(tool, &["init"]))?;
        let verb = if tool == Mounter::Repo {
            "snapshot"
        } else {
            "backup"
        };
        let mut command = self.command(tool, &[verb]);
        // Whole paths: restic stores others as they are given.
        command.arg(&self.tree).arg(&self.large);
        measure::untimed(command).map(drop)
    }

    /// Mounts afresh, so that neither the kernel nor the tool has anything at hand, and does `task`.
    fn one(&self, tool: Mounter, task: impl FnOnce(&Path) -> Result<()>) -> Result<Took> {
        let target = self.dir.join("mount");
        let mut command = self.command(tool, &["mount"]);
        command.arg(&target).stdin(Stdio::null());
        let latest = match tool {
            Mounter::Repo | Mounter::Restic => target.join("snapshots/latest"),
            Mounter::Rustic => {
                // One snapshot: its lists are named otherwise.
                command.arg("latest");
                target.clone()
            }
        };
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let program = PathBuf::from(command.get_program());
        let mut server = Server {
            child: command.spawn().map_err(io("start", &program))?,
            target: target.clone(),
        };
        server.serves(&latest)?;
        let before = server.cpu_s()?;
        let begun = now();
        task(&latest)?;
        Ok(Took {
            wall_s: begun.elapsed().as_secs_f64(),
            cpu_s: server.cpu_s()? - before,
            peak_bytes: server.peak_bytes()?,
        })
    }
}

/// A mounted tool; unmounted when it is dropped.
struct Server {
    child: Child,
    target: PathBuf,
}

impl Server {
    /// Waits until the newest snapshot is there.
    fn serves(&mut self, latest: &Path) -> Result<()> {
        for _ in 0..600 {
            if fs::read_dir(latest).is_ok_and(|mut names| names.next().is_some()) {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(Error::Command {
                    command: "mount".to_owned(),
                    status,
                    last: "it does not serve".to_owned(),
                });
            }
            pause();
        }
        let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
        Err(io("find", latest)(late))
    }

    fn status(&self, file: &str) -> Result<String> {
        let path = PathBuf::from(format!("/proc/{}/{file}", self.child.id()));
        fs::read_to_string(&path).map_err(io("read", &path))
    }

    fn cpu_s(&self) -> Result<f64> {
        let stat = self.status("stat")?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks = ticks.filter_map(|field| field.parse::<u64>().ok());
        Ok(float(ticks.sum()) / 100.0)
    }

    fn peak_bytes(&self) -> Result<u64> {
        let status = self.status("status")?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(kib.and_then(|kib| kib.parse().ok()).unwrap_or(0u64) << 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.target).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            // It is taken away when the tool ends, at the latest.
            self.child.kill().ok();
        }
        self.child.wait().ok();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the elapsed time of a task is what this measures"
)]
fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a foreign program does not tell when it serves"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(100));
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Lists all there is, or what there is until it is stopped.
fn list(tree: &Path) -> Result<()> {
    let mut command = Command::new("timeout");
    command
        .arg(STOP_S.to_string())
        .args(["ls", "-lR"])
        .arg(tree);
    match measure::untimed(command) {
        Err(Error::Command { status, .. }) if status.code() == Some(124) => Ok(()),
        listed => listed.map(drop),
    }
}

fn read_in_order(path: &Path) -> Result<()> {
    let mut file = File::open(path).map_err(io("open", path))?;
    let mut buffer = vec![0; 1 << 20];
    while file.read(&mut buffer).map_err(io("read", path))? > 0 {}
    Ok(())
}

fn read_at_random(path: &Path, reads: u64) -> Result<()> {
    let file = File::open(path).map_err(io("open", path))?;
    let pages = file.metadata().map_err(io("read", path))?.len() / PAGE;
    let mut page = [0; 8192];
    let mut state = 7_u64;
    for _ in 0..reads {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = (state >> 33) % pages.max(1) * PAGE;
        file.read_exact_at(&mut page, at)
            .map_err(io("read", path))?;
    }
    Ok(())
}

/// The tasks, in the order of the columns.
#[derive(Clone, Copy)]
enum Task {
    InOrder,
    AtRandom,
    List,
}

impl Task {
    const ALL: [Self; 3] = [Self::InOrder, Self::AtRandom, Self::List];

    /// How many times faster than the fastest peer `repo` is to be.
    fn target(self) -> f64 {
        match self {
            Self::InOrder | Self::AtRandom => 3.0,
            Self::List => 2.0,
        }
    }
}

/// What a tool took for each task, round by round.
struct Figures {
    tool: Mounter,
    took: [Vec<Took>; 3],
}

impl Figures {
    fn of(&self, task: Task, value: impl Fn(&Took) -> f64) -> f64 {
        let [in_order, at_random, list] = &self.took;
        let took = match task {
            Task::InOrder => in_order,
            Task::AtRandom => at_random,
            Task::List => list,
        };
        let values: Vec<f64> = took.iter().map(value).collect();
        median(&values).unwrap_or_default()
    }

    fn wall_s(&self, task: Task) -> f64 {
        self.of(task, |took| took.wall_s)
    }

    fn row(&self) -> String {
        let cells = Task::ALL.map(|task| {
            let cpu = self.of(task, |took| took.cpu_s);
            let peak = self.of(task, |took| float(took.peak_bytes >> 20));
            format!("{:.2} s, {cpu:.2} cpu s, {peak:.0} MiB", self.wall_s(task))
        });
        format!("| {} | {} |\n", self.tool.name(), cells.join(" | "))
    }
}

/// How many times faster `repo` is than the fastest peer, and whether that is what it is to be.
fn comparison(all: &[Figures]) -> Option<String> {
    let (ours, peers) = all.split_first()?;
    let cells = Task::ALL.map(|task| {
        let peer = least(peers.iter().map(|peer| peer.wall_s(task)));
        match peer.and_then(|peer| ratio(peer, ours.wall_s(task))) {
            Some(times) => {
                let met = if times >= task.target() {
                    "met"
                } else {
                    "missed"
                };
                format!("{times:.1}x, wanted {:.0}x: {met}", task.target())
            }
            None => "no peer".to_owned(),
        }
    });
    Some(format!("| repo is faster by | {} |\n", cells.join(" | ")))
}

/// Measures all tools that can mount, prints the table and leaves it in the output directory.
pub(crate) fn all(options: &Options) -> Result<()> {
    fs::create_dir_all(&options.work).map_err(io("create", &options.work))?;
    let work = fs::canonicalize(&options.work).map_err(io("find", &options.work))?;
    let _alone = data::occupy(&work)?;
    let dir = work.join("mount");
    let place = Place {
        options,
        dir,
        tree: fs::canonicalize(&options.tree).map_err(io("find", &options.tree))?,
        large: fs::canonicalize(&options.large).map_err(io("find", &options.large))?,
    };
    data::remove(&place.dir)?;
    let target = place.dir.join("mount");
    fs::create_dir_all(&target).map_err(io("create", &target))?;
    let mut rows = String::new();
    let mut figures = Vec::new();
    for tool in Mounter::ALL {
        if measure::untimed(place.command(tool, &["mount", "--help"])).is_err() {
            let name = tool.name();
            rows.push_str(&format!("| {name} | cannot mount as it is built | | |\n"));
            continue;
        }
        place.save(tool)?;
        let took = [const { Vec::new() }; 3];
        figures.push(Figures { tool, took });
    }
    for _ in 0..options.rounds {
        for Figures { tool, took } in &mut figures {
            for (task, took) in Task::ALL.into_iter().zip(took) {
                // What took very long is not done again.
                if took.last().is_none_or(|last: &Took| last.wall_s < LONG_S) {
                    took.push(place.one(*tool, |root| place.work(task, root))?);
                }
            }
        }
    }
    data::remove(&place.dir)?;
    let measured: String = figures.iter().map(Figures::row).collect();
    let compared = comparison(&figures).unwrap_or_default();
    let text = format!(
        "# Reading through a mount\n\nEach task on a fresh mount, tools in turn, medians of {} rounds (one where it took over a minute; a listing is stopped after {STOP_S} s): \
         time, processor time of the tool, its peak memory since it started.\n\n| tool | large file in order | {} reads of 8 KiB at \
         random | `ls -lR` of the tree |\n|---|---|---|---|\n{measured}{compared}{rows}",
        options.rounds, options.reads
    );
    data::write(&options.out.join("mount.md"), text.as_bytes())?;
    data::print(&text)
}
