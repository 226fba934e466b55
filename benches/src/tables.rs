//! Lakehouse tables: `repo table` against restic, rustic and borg on the same directories. Two tables are saved
//! and restored to another place; then a table is worked on day by day, and each tool saves it after each day.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use clap::{Args, ValueEnum};

use crate::data::{self, Set};
use crate::error::{Error, Result, io};
use crate::measure::{self, Usage};
use crate::stats::{float, least, median, ratio};
use crate::tool::{Bench, Step, Tool};

/// Choices of `tables`.
#[derive(Args)]
pub(crate) struct Options {
    /// Directory for the tables, the repositories and restores.
    #[arg(long)]
    work: PathBuf,
    /// Directory that `benches/peers/install.sh` filled; its Python writes the tables.
    #[arg(long)]
    peers: PathBuf,
    /// Directory with the set `lakehouse`, where it was made; without it there is the year alone.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Tables of the set to save: directories in it.
    #[arg(long, value_delimiter = ',', default_values = ["orders", "warehouse"])]
    tables: Vec<String>,
    /// Times that the set is saved and restored by each tool.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Days of work.
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// Rows appended each day.
    #[arg(long, default_value_t = 20_000)]
    rows: u32,
    /// Writers of the table that is worked on.
    #[arg(long, value_delimiter = ',', default_values_t = Writer::ALL)]
    writers: Vec<Writer>,
    /// Tools to run.
    #[arg(long, value_delimiter = ',', default_values_t = [Tool::Restic, Tool::Rustic, Tool::Borg, Tool::Repo])]
    tools: Vec<Tool>,
    /// The `repo` binary.
    #[arg(long, default_value = "target/release/repo")]
    repo_bin: PathBuf,
    /// Where `tables.md` goes.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
}

/// Who writes the table of the year.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Writer {
    DeltaRs,
    Pyiceberg,
    Pyarrow,
    PyarrowCdc,
}

impl Writer {
    const ALL: [Self; 3] = [Self::DeltaRs, Self::Pyiceberg, Self::PyarrowCdc];

    fn name(self) -> &'static str {
        match self {
            Self::DeltaRs => "delta-rs",
            Self::Pyiceberg => "pyiceberg",
            Self::Pyarrow => "pyarrow",
            Self::PyarrowCdc => "pyarrow-cdc",
        }
    }
}

impl std::fmt::Display for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// One line of the table: a figure for each tool, in their order.
struct Row {
    work: String,
    unit: &'static str,
    figures: Vec<f64>,
}

/// Runs all work, prints the table and leaves it in the output directory.
pub(crate) fn all(options: &Options) -> Result<()> {
    fs::create_dir_all(&options.work).map_err(io("create", &options.work))?;
    let work = fs::canonicalize(&options.work).map_err(io("find", &options.work))?;
    let _alone = data::occupy(&work)?;
    let place = Place {
        options,
        dir: work.join("tables"),
    };
    let mut rows = Vec::new();
    if let Some(set) = &options.data {
        rows.extend(place.set(set)?);
    }
    for writer in &options.writers {
        rows.extend(place.year(*writer)?);
    }
    data::remove(&place.dir)?;
    let text = text(options, &rows);
    data::write(&options.out.join("tables.md"), text.as_bytes())?;
    data::print(&text)
}

struct Place<'o> {
    options: &'o Options,
    dir: PathBuf,
}

impl Place<'_> {
    /// The tools with fresh repositories for a tree.
    fn benches(&self, tree: &Path) -> Result<Vec<Bench>> {
        let mut benches = Vec::new();
        for tool in &self.options.tools {
            let bench = Bench {
                tool: *tool,
                program: match tool {
                    Tool::Repo => self.options.repo_bin.clone(),
                    peer => self.options.peers.join("bin").join(peer.name()),
                },
                dir: self.dir.join(tool.name()),
                tree: tree.to_path_buf(),
            };
            data::remove(&bench.dir)?;
            fs::create_dir_all(&bench.dir).map_err(io("create", &bench.dir))?;
            measure::untimed(bench.command(Step::Init))?;
            benches.push(bench);
        }
        Ok(benches)
    }

    /// Two tables, saved for the first time and restored elsewhere.
    fn set(&self, data: &Path) -> Result<Vec<Row>> {
        let set = data.join(Set::Lakehouse.name());
        let set = fs::canonicalize(&set).map_err(io("find", &set))?;
        // The place that the metadata of the Iceberg table names.
        let tree = set.join("live");
        data::remove(&tree)?;
        for table in &self.options.tables {
            data::sync(&set.join("A").join(table), &tree.join(table))?;
        }
        let tools = self.options.tools.len();
        let mut times = vec![(Vec::new(), Vec::new()); tools];
        for run in 0..self.options.runs {
            let benches = self.benches(&tree)?;
            for at in (0..tools).map(|at| (at + run) % tools) {
                let bench = &benches[at];
                data::warm(&tree)?;
                let saved = measure::timed(save(bench, "first"), &bench.dir.join("log"))?;
                let target = bench.target();
                fs::create_dir_all(&target).map_err(io("create", &target))?;
                let restored = measure::timed(restore(bench, "first"), &bench.dir.join("log"))?;
                data::remove(&target)?;
                say(bench, "first snapshot", saved);
                say(bench, "restore elsewhere", restored);
                times[at].0.push(saved.wall_s);
                times[at].1.push(restored.wall_s);
            }
        }
        data::remove(&tree)?;
        let row = |work: &str, times: Vec<&Vec<f64>>| Row {
            work: format!("{}: {work}", self.options.tables.join(", ")),
            unit: "s",
            figures: times
                .iter()
                .map(|times| median(times).unwrap_or(0.0))
                .collect(),
        };
        Ok(vec![
            row(
                "first snapshot",
                times.iter().map(|(saved, _)| saved).collect(),
            ),
            row(
                "restore elsewhere",
                times.iter().map(|(_, restored)| restored).collect(),
            ),
        ])
    }

    /// A year of work on one table, saved after each day.
    fn year(&self, writer: Writer) -> Result<Vec<Row>> {
        let days = self.dir.join("days");
        data::remove(&days)?;
        let benches = self.benches(&days.join("table"))?;
        let mut work = Work::start(self.options, writer, &days, &self.dir.join("writer.log"))?;
        let mut grown = vec![0.0; benches.len()];
        let mut took = vec![0.0; benches.len()];
        for day in 0..self.options.days {
            work.day()?;
            for (at, bench) in benches.iter().enumerate() {
                let before = data::extent(&bench.repository())?.bytes;
                let usage =
                    measure::timed(save(bench, &format!("day{day}")), &bench.dir.join("log"))?;
                grown[at] += float(data::extent(&bench.repository())?.bytes) - float(before);
                took[at] += usage.wall_s;
            }
            if day % 30 == 29 {
                eprintln!("{writer}: day {day}, {} rows", work.rows);
            }
        }
        for bench in benches.iter().filter(|bench| bench.tool == Tool::Repo) {
            // That the newest snapshot is the table is for the drill to say.
            measure::untimed(bench.own(&["table", "drill"]))?;
        }
        let work = format!("{} days of {writer}", self.options.days);
        Ok(vec![
            Row {
                work: format!("{work}: bytes added"),
                unit: "MB",
                figures: grown.iter().map(|bytes| bytes / 1e6).collect(),
            },
            Row {
                work: format!("{work}: time of all snapshots"),
                unit: "s",
                figures: took,
            },
        ])
    }
}

/// The writer at work, which does a day's for each line it reads.
struct Work {
    child: Child,
    said: BufReader<ChildStdout>,
    name: &'static str,
    log: PathBuf,
    /// Rows after the last day, as it says.
    rows: String,
}

impl Work {
    fn start(options: &Options, writer: Writer, dir: &Path, log: &Path) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/days.py");
        let python = options.peers.join("venv/bin/python");
        let told = File::create(log).map_err(io("create", log))?;
        let mut command = Command::new(&python);
        command.arg(script).arg(dir);
        command.args([writer.name(), &options.rows.to_string()]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(told);
        let mut child = command.spawn().map_err(io("start", &python))?;
        let ended = || Error::Writer {
            writer: writer.name().to_owned(),
            log: log.to_path_buf(),
        };
        let said = BufReader::new(child.stdout.take().ok_or_else(ended)?);
        Ok(Self {
            child,
            said,
            name: writer.name(),
            log: log.to_path_buf(),
            rows: String::new(),
        })
    }

    fn day(&mut self) -> Result<()> {
        let asked = self
            .child
            .stdin
            .as_mut()
            .map(|stdin| stdin.write_all(b"\n"));
        self.rows.clear();
        let answered = self.said.read_line(&mut self.rows);
        self.rows.truncate(self.rows.trim_end().len());
        match (asked, answered) {
            (Some(Ok(())), Ok(_)) if !self.rows.is_empty() => Ok(()),
            _ => Err(Error::Writer {
                writer: self.name.to_owned(),
                log: self.log.clone(),
            }),
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It ends with its input; there is nobody to tell that it did not.
        drop(self.child.wait());
    }
}

fn save(bench: &Bench, name: &str) -> Command {
    match bench.tool {
        Tool::Repo => {
            let mut command = bench.own(&["table", "snapshot"]);
            command.arg(&bench.tree);
            command
        }
        Tool::Borg => bench.borg_archive("create", name),
        _ => bench.command(Step::Incremental),
    }
}

fn restore(bench: &Bench, name: &str) -> Command {
    match bench.tool {
        Tool::Repo => {
            let mut command = bench.own(&["table", "restore", "latest", "--to"]);
            command.arg(bench.target());
            command
        }
        Tool::Borg => {
            let mut command = bench.borg_archive("extract", name);
            command.current_dir(bench.target());
            command
        }
        _ => bench.command(Step::Restore),
    }
}

fn say(bench: &Bench, work: &str, usage: Usage) {
    eprintln!(
        "{:8} {work:20} {:8.2} s {:6} MB",
        bench.tool.name(),
        usage.wall_s,
        usage.peak_bytes / 1_000_000
    );
}

fn text(options: &Options, rows: &[Row]) -> String {
    let mut text = format!(
        "# Lakehouse tables\n\n\
         `repo table` against the same directories saved as files. Times are medians of {} runs, bytes and times of the \
         days are sums; {} rows are appended a day. The last column is `repo` in units of the smallest peer.\n\n| work |",
        options.runs, options.rows
    );
    for tool in &options.tools {
        text.push_str(&format!(" {tool} |"));
    }
    text.push_str(" ratio |\n|---|");
    text.push_str(&"---|".repeat(options.tools.len() + 1));
    text.push('\n');
    for row in rows {
        text.push_str(&format!("| {} |", row.work));
        for figure in &row.figures {
            text.push_str(&format!(" {figure:.2} {} |", row.unit));
        }
        let of = |ours: bool| {
            let tools = options.tools.iter().zip(&row.figures);
            let figures = tools.filter(move |(tool, _)| (**tool == Tool::Repo) == ours);
            least(figures.map(|(_, figure)| *figure))
        };
        let ratio = of(true)
            .zip(of(false))
            .and_then(|(ours, best)| ratio(ours, best));
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}x"));
        text.push_str(&format!(" {ratio} |\n"));
    }
    text
}
