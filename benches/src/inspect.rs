//! Looking into many snapshots: `repo find` and `repo diff` against those of restic, on repositories with
//! the same history. Making that history takes most of the time, so it is kept for the next run.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use serde_json::Value;

use crate::data;
use crate::error::{Error, Result, io};
use crate::measure::{self, Usage};
use crate::stats::{median, ratio};

const PASSWORD: &str = "benchmark";
/// Most memory that any of the tasks may take, in bytes.
const PEAK_MAX: u64 = 160_000_000;

/// Choices of `inspect`.
#[derive(Args)]
pub(crate) struct Options {
    /// Directory for repositories.
    #[arg(long)]
    work: PathBuf,
    /// Tree that is saved.
    #[arg(long)]
    tree: PathBuf,
    /// Directory that `benches/peers/install.sh` filled.
    #[arg(long)]
    peers: PathBuf,
    /// Snapshots of it.
    #[arg(long, default_value_t = 100)]
    snapshots: u64,
    /// Files that change between two snapshots.
    #[arg(long, default_value_t = 100)]
    changes: usize,
    /// Runs of each task.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Pattern that many files match.
    #[arg(long, default_value = "*.json")]
    many: String,
    /// Pattern that few files match.
    #[arg(long, default_value = "Makefile")]
    few: String,
    /// The `repo` binary.
    #[arg(long, default_value = "target/release/repo")]
    repo_bin: PathBuf,
    /// Where `inspect.md` goes.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Repo,
    Restic,
}

impl Tool {
    const ALL: [Self; 2] = [Self::Repo, Self::Restic];

    fn name(self) -> &'static str {
        match self {
            Self::Repo => "repo",
            Self::Restic => "restic",
        }
    }
}

/// What is measured.
struct Task {
    name: String,
    /// Words of the command.
    words: [Vec<String>; 2],
    /// Largest part of the peer's time that it may take.
    target: f64,
}

struct Place<'o> {
    options: &'o Options,
    dir: PathBuf,
}

impl Place<'_> {
    fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    fn command<S: AsRef<str>>(&self, tool: Tool, words: &[S]) -> Command {
        let program = match tool {
            Tool::Repo => self.options.repo_bin.clone(),
            Tool::Restic => self.options.peers.join("bin/restic"),
        };
        let mut command = Command::new(program);
        let prefix = tool.name().to_uppercase();
        command
            .env(format!("{prefix}_REPOSITORY"), self.dir.join(tool.name()))
            .env(format!("{prefix}_PASSWORD"), PASSWORD)
            .env(
                format!("{prefix}_CACHE_DIR"),
                self.dir.join("cache").join(tool.name()),
            )
            .args(words.iter().map(AsRef::as_ref));
        command
    }

    /// Makes the history, unless an earlier run left the same one.
    fn prepare(&self) -> Result<()> {
        let options = self.options;
        let tree = fs::canonicalize(&options.tree).map_err(io("find", &options.tree))?;
        let wanted = format!(
            "{} {} {}\n",
            tree.display(),
            options.snapshots,
            options.changes
        );
        let mark = self.dir.join("made");
        if fs::read_to_string(&mark).is_ok_and(|made| made == wanted) {
            return Ok(());
        }
        data::remove(&self.dir)?;
        fs::create_dir_all(&self.dir).map_err(io("create", &self.dir))?;
        data::sync(&tree, &self.tree())?;
        let mut files = Vec::new();
        data::visit(&self.tree(), &mut |path| {
            if path.is_file() && !path.is_symlink() {
                files.push(path.to_path_buf());
            }
            Ok(())
        })?;
        files.sort();
        for tool in Tool::ALL {
            measure::untimed(self.command(tool, &["init"]))?;
        }
        let mut dice = 7_u64;
        for round in 0..options.snapshots {
            if round > 0 {
                change(&files, options.changes, round, &mut dice)?;
            }
            for (tool, verb) in [(Tool::Repo, "snapshot"), (Tool::Restic, "backup")] {
                let mut command = self.command(tool, &["--quiet", verb]);
                command.arg(self.tree());
                measure::untimed(command)?;
            }
        }
        data::write(&mark, wanted.as_bytes())
    }

    /// The ids of the last two snapshots, older first.
    fn last_two(&self, tool: Tool) -> Result<[String; 2]> {
        let said = measure::untimed(self.command(tool, &["snapshots", "--json"]))?;
        let path = self.dir.join(tool.name());
        let not_results = |source| Error::NotResults {
            path: path.clone(),
            source,
        };
        let mut found = Vec::new();
        // One prints a list, the other an object a line.
        for value in serde_json::Deserializer::from_slice(&said).into_iter::<Value>() {
            match value.map_err(not_results)? {
                Value::Array(list) => found.extend(list),
                other => found.push(other),
            }
        }
        let mut ids: Vec<(String, String)> = found
            .iter()
            .filter_map(|snapshot| {
                let id = snapshot["id"].as_str()?.to_owned();
                Some((snapshot["time"].as_str()?.to_owned(), id))
            })
            .collect();
        ids.sort();
        let mut last = ids.into_iter().rev().map(|(_, id)| id);
        match (last.next(), last.next()) {
            (Some(new), Some(old)) => Ok([old, new]),
            _ => Err(Error::NoState {
                path,
                state: "of two snapshots",
            }),
        }
    }

    fn tasks(&self) -> Result<Vec<Task>> {
        let find = |pattern: &str, what: &str| {
            let words = vec!["find".to_owned(), pattern.to_owned()];
            Task {
                name: format!("`find` of {what}"),
                words: [words.clone(), words],
                target: 0.2,
            }
        };
        let mut diff = Tool::ALL.map(|_| vec!["diff".to_owned()]);
        for (words, tool) in diff.iter_mut().zip(Tool::ALL) {
            words.extend(self.last_two(tool)?);
        }
        Ok(vec![
            find(&self.options.many, "many files"),
            find(&self.options.few, "few files"),
            Task {
                name: "`diff` of the last two".to_owned(),
                words: diff,
                target: 0.1,
            },
        ])
    }

    /// Runs a task several times with each tool, in turn.
    fn measure(&self, task: &Task) -> Result<[Vec<Usage>; 2]> {
        let mut used = [Vec::new(), Vec::new()];
        for run in 0..self.options.runs {
            // Who begins changes, too.
            for at in [run % 2, (run + 1) % 2] {
                let command = self.command(Tool::ALL[at], &task.words[at]);
                let log = self.dir.join(format!("{}.log", Tool::ALL[at].name()));
                used[at].push(measure::timed(command, &log)?);
            }
        }
        Ok(used)
    }
}

/// Appends a line to so many of the files.
fn change(files: &[PathBuf], count: usize, round: u64, dice: &mut u64) -> Result<()> {
    for _ in 0..count {
        *dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = usize::try_from(*dice >> 33).unwrap_or(0) % files.len().max(1);
        let Some(path) = files.get(at) else { continue };
        let file = fs::OpenOptions::new().append(true).open(path);
        let mut file = file.map_err(io("open", path))?;
        writeln!(file, "change {round}").map_err(io("write", path))?;
    }
    Ok(())
}

/// Medians of times, and the highest peak.
fn summary(used: &[Usage]) -> Usage {
    let of = |field: fn(&Usage) -> f64| -> f64 {
        let values: Vec<f64> = used.iter().map(field).collect();
        median(&values).unwrap_or(0.0)
    };
    Usage {
        wall_s: of(|used| used.wall_s),
        cpu_s: of(|used| used.cpu_s),
        peak_bytes: used.iter().map(|used| used.peak_bytes).max().unwrap_or(0),
    }
}

/// Measures both tools, prints the table and leaves it in the output directory; whether all targets
/// are met.
pub(crate) fn all(options: &Options) -> Result<bool> {
    fs::create_dir_all(&options.work).map_err(io("create", &options.work))?;
    let work = fs::canonicalize(&options.work).map_err(io("find", &options.work))?;
    let _alone = data::occupy(&work)?;
    let place = Place {
        options,
        dir: work.join("inspect"),
    };
    place.prepare()?;
    let files = data::extent(&place.tree())?.files;
    let mut rows = String::new();
    let mut met = true;
    for task in place.tasks()? {
        let [ours, peer] = place.measure(&task)?.map(|used| summary(&used));
        let part = ratio(ours.wall_s, peer.wall_s).unwrap_or(f64::INFINITY);
        met &= part <= task.target && ours.peak_bytes <= PEAK_MAX;
        let cell = |used: &Usage| {
            let peak = used.peak_bytes / 1_000_000;
            format!("{:.2} s, {:.2} cpu s, {peak} MB", used.wall_s, used.cpu_s)
        };
        rows.push_str(&format!(
            "| {} | {} | {} | {part:.2}x | {:.1}x |\n",
            task.name,
            cell(&ours),
            cell(&peer),
            task.target
        ));
    }
    let text = format!(
        "# Looking into snapshots\n\n{} snapshots of {files} files, {} of them changed between two. Medians of {} \
         runs in turn, highest peak of memory; no more than {} MB are allowed. Patterns: `{}` and `{}`.\n\n\
         | work | repo | restic | time | target |\n|---|---|---|---|---|\n{rows}\nMade by `{}`.\n",
        options.snapshots,
        options.changes,
        options.runs,
        PEAK_MAX / 1_000_000,
        options.many,
        options.few,
        "repo-benches inspect --work DIR --peers DIR --tree data/source/A",
    );
    data::write(&options.out.join("inspect.md"), text.as_bytes())?;
    data::print(&text)?;
    Ok(met)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_has_the_middle_time_and_the_highest_peak() {
        let used = [(3.0, 10), (1.0, 30), (2.0, 20)].map(|(wall_s, peak_bytes)| Usage {
            wall_s,
            cpu_s: wall_s,
            peak_bytes,
        });
        let told = summary(&used);
        assert_eq!((told.wall_s, told.peak_bytes), (2.0, 30));
        assert_eq!(summary(&[]).peak_bytes, 0);
    }

    #[test]
    fn changes_are_spread_and_add_lines() {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<PathBuf> = (0..50).map(|at| dir.path().join(at.to_string())).collect();
        for file in &files {
            fs::write(file, "line\n").unwrap();
        }
        change(&files, 40, 3, &mut 7).unwrap();
        let changed = files
            .iter()
            .filter(|file| fs::read_to_string(file).unwrap().ends_with("change 3\n"));
        assert!(changed.count() > 20);
        assert_eq!(data::extent(dir.path()).unwrap().files, 50);
    }
}
