//! One run: every tool goes through the same steps over the same tree, in an order that rotates, and
//! each step leaves a record. A tool that fails drops out of that round; the others go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::data::{self, Case, Set};
use crate::error::{self, Error, Result, io};
use crate::machine::Machine;
use crate::measure;
use crate::stats::float;
use crate::tool::{Bench, Step, Tool};

/// Choices of `run`.
#[derive(Args)]
pub(crate) struct Options {
    /// Directory that holds the sets.
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Directory for the tree, repositories and restores; best on the same disk as the data.
    #[arg(long)]
    pub(crate) work: PathBuf,
    /// Directory that `benches/peers/install.sh` filled.
    #[arg(long)]
    pub(crate) peers: PathBuf,
    /// Sets to run.
    #[arg(long, value_delimiter = ',', default_values_t = Set::USUAL)]
    pub(crate) sets: Vec<Set>,
    /// Tools to run.
    #[arg(long, value_delimiter = ',', default_values_t = Tool::ALL)]
    pub(crate) tools: Vec<Tool>,
    /// How often each set is run; the report holds medians.
    #[arg(long, default_value_t = 3)]
    pub(crate) runs: u32,
    /// The `repo` binary.
    #[arg(long, default_value = "target/release/repo")]
    pub(crate) repo_bin: PathBuf,
    /// Where results, table and chart go.
    #[arg(long, default_value = "docs/bench")]
    pub(crate) out: PathBuf,
}

/// What one step of one tool took, and the size of the repository after it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) set: String,
    pub(crate) case: String,
    pub(crate) tool: Tool,
    pub(crate) run: u32,
    pub(crate) step: Step,
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_bytes: u64,
    pub(crate) repository_bytes: u64,
    pub(crate) index_bytes: u64,
}

/// Size of the trees of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) bytes_after: u64,
}

/// Everything that a run found out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) sizes: BTreeMap<String, Size>,
    pub(crate) records: Vec<Record>,
    /// Steps that failed and restores that were not what was backed up.
    pub(crate) failures: Vec<String>,
    /// Restores that are what the tool promises, and yet not quite the source.
    pub(crate) notes: Vec<String>,
}

impl Results {
    pub(crate) fn is_clean(&self) -> bool {
        self.failures.is_empty()
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).map_err(io("read", path))?;
        serde_json::from_slice(&text).map_err(|source| Error::NotResults {
            path: path.to_path_buf(),
            source,
        })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text =
            serde_json::to_vec_pretty(self).expect("names and finite numbers always serialise");
        data::write(path, &text)
    }

    /// Adds other results; a tool's records of a case replace those that are here.
    pub(crate) fn merge(&mut self, other: Self) {
        let newer = |old: &Record| {
            other
                .records
                .iter()
                .any(|new| new.case == old.case && new.tool == old.tool)
        };
        self.records.retain(|old| !newer(old));
        self.records.extend(other.records);
        self.machine = other.machine;
        self.versions.extend(other.versions);
        self.sizes.extend(other.sizes);
        self.failures.extend(other.failures);
        self.notes.extend(other.notes);
    }
}

/// Runs every tool over every set as often as asked.
pub(crate) fn all(options: &Options) -> Result<Results> {
    fs::create_dir_all(&options.work).map_err(io("create", &options.work))?;
    let work = fs::canonicalize(&options.work).map_err(io("find", &options.work))?;
    let _alone = data::occupy(&work)?;
    let mut results = Results {
        machine: Machine::here(),
        ..Results::default()
    };
    for &tool in &options.tools {
        let said = measure::untimed(tool.version(&program(options, tool)))?;
        let said = String::from_utf8_lossy(&said)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        results.versions.insert(tool.name().to_owned(), said);
    }
    for &set in &options.sets {
        for case in set.cases(&options.data)? {
            let (before, after) = (data::extent(&case.before)?, data::extent(&case.after)?);
            let size = Size {
                files: before.files,
                bytes: before.bytes,
                bytes_after: after.bytes,
            };
            results.sizes.insert(case.name.clone(), size);
            for run in 0..options.runs {
                round(options, &work, &case, run, &mut results)?;
            }
        }
    }
    data::remove(&work.join(DONE))?;
    data::remove(&work.join("tree"))?;
    Ok(results)
}

fn program(options: &Options, tool: Tool) -> PathBuf {
    match tool {
        Tool::Repo => options.repo_bin.clone(),
        _ => options.peers.join("bin").join(tool.name()),
    }
}

/// Lets every tool go through one case once.
fn round(
    options: &Options,
    work: &Path,
    case: &Case,
    run: u32,
    results: &mut Results,
) -> Result<()> {
    let mut tools: Vec<_> = options
        .tools
        .iter()
        .copied()
        .filter(|tool| tool.takes(case.set))
        .collect();
    let turn = usize::try_from(run).unwrap_or(0) % tools.len().max(1);
    tools.rotate_left(turn);
    for tool in tools {
        let bench = Bench {
            tool,
            program: program(options, tool),
            dir: work.join(tool.name()),
            tree: work.join("tree"),
        };
        let mut turn = Turn {
            bench,
            case,
            run,
            at: Step::Init,
            results: &mut *results,
        };
        if let Err(error) = turn.steps() {
            let step = turn.at.name();
            let line = format!("{}, {tool}, {step}: {}", case.name, error::chain(&error));
            eprintln!("{line}");
            results.failures.push(line);
        }
        retire(&work.join(tool.name()), &work.join(DONE))?;
        results.write(&work.join("results.json"))?;
    }
    Ok(())
}

/// Where the trees of turns that are over wait for the end.
const DONE: &str = "done";

/// Puts a directory aside instead of deleting it: ext4 does not use the inodes of files that were
/// deleted lately, and passes over each of them again for every file that the next tool creates.
fn retire(dir: &Path, done: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    fs::create_dir_all(done).map_err(io("create", done))?;
    let mut number = 0_u32;
    while done.join(number.to_string()).exists() {
        number += 1;
    }
    fs::rename(dir, done.join(number.to_string())).map_err(io("move", dir))
}

/// One tool's turn at one case.
struct Turn<'a> {
    bench: Bench,
    case: &'a Case,
    run: u32,
    /// The step that was begun last.
    at: Step,
    results: &'a mut Results,
}

impl Turn<'_> {
    fn steps(&mut self) -> Result<()> {
        data::remove(&self.bench.dir)?;
        for folder in [self.bench.dir.join("log"), self.bench.target()] {
            fs::create_dir_all(&folder).map_err(io("create", &folder))?;
        }
        data::sync(&self.case.before, &self.bench.tree)?;
        data::warm(&self.bench.tree)?;
        self.step(Step::Init)?;
        self.step(Step::Full)?;
        if self.case.set == Set::ParquetRewrites {
            // Only the bytes of a rewrite are of interest.
            data::sync(&self.case.after, &self.bench.tree)?;
            return self.step(Step::Incremental);
        }
        self.step(Step::Unchanged)?;
        self.step(Step::Restore)?;
        self.compare(Step::Restore)?;
        data::sync(&self.case.after, &self.bench.tree)?;
        self.step(Step::Incremental)?;
        self.step(Step::RestoreInPlace)?;
        self.compare(Step::RestoreInPlace)?;
        self.step(Step::Verify)
    }

    fn step(&mut self, step: Step) -> Result<()> {
        if !self.bench.tool.does(step) {
            return Ok(());
        }
        self.at = step;
        let log = self.bench.dir.join("log").join(step.name());
        let used = measure::timed(self.bench.command(step), &log)?;
        let record = Record {
            set: self.case.set.name().to_owned(),
            case: self.case.name.clone(),
            tool: self.bench.tool,
            run: self.run,
            step,
            wall_s: used.wall_s,
            cpu_s: used.cpu_s,
            peak_bytes: used.peak_bytes,
            repository_bytes: data::extent(&self.bench.repository())?.bytes,
            index_bytes: data::extent(&self.bench.repository().join("index"))?.bytes,
        };
        eprintln!(
            "{:24} {:10} {:20} {:8.2} s {:8.2} cpu s {:6.0} MB peak {:9.2} MB stored",
            record.case,
            record.tool.name(),
            step.name(),
            record.wall_s,
            record.cpu_s,
            float(record.peak_bytes) / 1e6,
            float(record.repository_bytes) / 1e6,
        );
        self.results.records.push(record);
        Ok(())
    }

    fn compare(&mut self, step: Step) -> Result<()> {
        let mut found = data::compare(&self.bench.tree, &self.bench.restored())?;
        let at = format!("{}, {}, {}", self.case.name, self.bench.tool, step.name());
        let left_out = found
            .wrong
            .extract_if(.., |line| self.bench.tool.leaves_out(line))
            .count();
        if left_out > 0 {
            let note = format!(
                "{at}: {left_out} files or directories that the server makes anew left out"
            );
            self.results.notes.push(note);
        }
        if let Some(first) = found.wrong.first() {
            self.results.failures.push(format!(
                "{at}: {} differences, the first: {first}",
                found.wrong.len()
            ));
        }
        if found.extra > 0 && self.bench.tool.leaves_extra() {
            self.results
                .notes
                .push(format!("{at}: {} deleted files left in place", found.extra));
        } else if found.extra > 0 {
            self.results
                .failures
                .push(format!("{at}: {} files too many", found.extra));
        }
        Ok(())
    }
}
