//! The benchmark harness: makes the data sets, runs `repo` and the installed peers over them in turn,
//! and writes the table and the chart that `docs/bench/` holds. What is measured is whole processes;
//! benchmarks of single stages are beside this one, in `benches/benches/`.
#![expect(
    clippy::print_stderr,
    reason = "a command line tool tells its progress and its failures on standard error"
)]

mod chart;
mod chunks;
mod cluster;
mod data;
mod error;
mod inspect;
mod machine;
mod measure;
mod mount;
mod report;
mod run;
mod scale;
mod stats;
mod tables;
mod target;
mod tool;
mod writers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::data::Set;
use crate::error::Result;
use crate::run::Results;
use crate::tool::Tool;

/// Measures `repo` against other backup tools on the same data.
#[derive(Parser)]
#[command(name = "repo-benches")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes data sets, each as two states A and B.
    Data {
        /// Where the sets go, one directory each.
        #[arg(long)]
        data: PathBuf,
        /// Sets to make.
        #[arg(long, value_delimiter = ',', default_values_t = Set::USUAL)]
        sets: Vec<Set>,
        /// Directory that `benches/peers/install.sh` filled; its Python makes the tables.
        #[arg(long)]
        peers: Option<PathBuf>,
    },
    /// Runs every tool over every set and writes results, table and chart.
    Run(run::Options),
    /// Writes table and chart again from results of earlier runs.
    Report {
        /// Result files; those of one run are comparable, others only roughly.
        #[arg(required = true)]
        results: Vec<PathBuf>,
        /// Where the table and the chart go.
        #[arg(long, default_value = "docs/bench")]
        out: PathBuf,
    },
    /// Runs `repo` alone on trees of one, four and sixteen units, to show how its cost grows.
    Scale(scale::Options),
    /// Runs `repo` on a repository whose index names many chunks, to show the memory that it takes.
    Chunks(chunks::Options),
    /// Searches many snapshots and compares two, with `repo` and with restic.
    Inspect(inspect::Options),
    /// Saves one live Postgres cluster with each tool, through several kinds of load.
    Cluster(cluster::Options),
    /// Reads through mounts of `repo` and of its peers.
    Mount(mount::Options),
    /// Saves lakehouse tables as such, and a year of work on one, against the same directories as files.
    Tables(tables::Options),
    /// Runs several snapshots into one repository at once, against the same work in turn.
    Writers(writers::Options),
}

fn main() -> ExitCode {
    match act(Cli::parse().command) {
        Ok(clean) if clean => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("repo-benches: {}", error::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Carries out one command; false when it finished but some tool failed or restored something else.
fn act(command: Command) -> Result<bool> {
    match command {
        Command::Data { data, sets, peers } => {
            for set in sets {
                data::make(set, &data, peers.as_deref())?;
            }
            Ok(true)
        }
        Command::Run(options) => {
            let results = run::all(&options)?;
            write_report(&results, &options.out)?;
            Ok(results.is_clean())
        }
        Command::Report { results, out } => {
            let mut all = Results::default();
            for path in &results {
                all.merge(Results::read(path)?);
            }
            write_report(&all, &out)?;
            Ok(all.is_clean())
        }
        Command::Scale(options) => scale::all(&options).map(|()| true),
        Command::Chunks(options) => chunks::all(&options),
        Command::Cluster(options) => cluster::all(&options).map(|()| true),
        Command::Inspect(options) => inspect::all(&options),
        Command::Mount(options) => mount::all(&options).map(|()| true),
        Command::Tables(options) => tables::all(&options).map(|()| true),
        Command::Writers(options) => writers::all(&options),
    }
}

/// Leaves the results, the table and the chart in `out`, and prints the table.
fn write_report(results: &Results, out: &std::path::Path) -> Result<()> {
    let table = report::markdown(results);
    results.write(&out.join("results.json"))?;
    data::write(&out.join("README.md"), table.as_bytes())?;
    if results
        .records
        .iter()
        .any(|record| record.tool == Tool::Repo)
    {
        data::write(
            &out.join("chart.svg"),
            chart::of_results(results).svg().as_bytes(),
        )?;
    }
    data::print(&table)
}
