//! The project's own commands, run as `cargo xtask COMMAND`.
//!
//! `ci` is the whole gate, `quick` the part of it that answers within a minute, `tidy` the rules that
//! the compiler and clippy do not know, `sim` runs more seeds of the simulation than the gate does, and
//! `fuzz` runs the targets of the separate workspace `fuzz/`.

mod fuzz;
mod gate;
mod licenses;
mod process;
mod report;
mod session;
mod sim;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use report::{complain, say};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  ci                           the whole gate, in order; stops at the first failure
  quick                        fmt, tidy, clippy and unit tests of the lower floors
  tidy                         floors, owners, sizes, reachable modules, links, ...
  licenses                     licenses of all packages against deny.toml
  session                      runs the session in README.md
  fuzz [TARGET] [--seconds N]  runs one or every fuzz target, 60 seconds each by default
  sim [--seeds N] [--from K]   runs seeds of the simulation, a million from 0 by default
  sim --seed S                 runs one seed again";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&root(), &arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(&message);
            ExitCode::FAILURE
        }
    }
}

/// The workspace root: this package is one level below it.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or(package.clone(), Path::to_path_buf)
}

fn run(root: &Path, arguments: &[&str]) -> Result<(), String> {
    match arguments {
        ["ci"] => gate::ci(root),
        ["quick"] => gate::quick(root),
        ["tidy"] => tidy::run(root),
        ["licenses"] => licenses::run(root),
        ["session"] => session::run(root),
        ["sim", rest @ ..] => sim::run(root, &sim::Request::parse(rest)?),
        ["fuzz", rest @ ..] => fuzz::run(root, &fuzz::Request::parse(rest)?),
        ["help" | "--help" | "-h"] => {
            say(USAGE);
            Ok(())
        }
        [] => Err(USAGE.to_owned()),
        other => Err(format!("unknown command: {}\n{USAGE}", other.join(" "))),
    }
}
