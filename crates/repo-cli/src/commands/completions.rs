//! `repo completions`: prints what a shell needs to complete commands.

use clap::{Args, CommandFactory as _};
use clap_complete::{Shell, generate};

use crate::args::Cli;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Print for this shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(output: &Output, args: &CompletionsArgs) -> Result<Exit, Failure> {
    // Into memory first: the generator panics when it cannot write.
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "repo", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Ok)
}
