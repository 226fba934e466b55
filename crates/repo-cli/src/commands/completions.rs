//! `repo completions`: prints what a shell needs to complete commands, and writes manual pages.

use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

use crate::args::Cli;
use crate::exit::{Exit, Failure};
use crate::file;
use crate::output::Output;
use crate::show;

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Print for this shell.
    #[arg(value_enum, required_unless_present = "man")]
    shell: Option<Shell>,
    /// Write manual pages of all commands into DIR.
    #[arg(long, value_name = "DIR", conflicts_with = "shell")]
    man: Option<PathBuf>,
}

pub(crate) fn run(output: &Output, args: &CompletionsArgs) -> Result<Exit, Failure> {
    if let Some(directory) = &args.man {
        let mut command = Cli::command();
        // Fills in what each command has from those above it.
        command.build();
        let count = pages(&command, "repo", directory)?;
        let directory = show::local_path(directory);
        output.line(format!(
            "{} written to {directory}",
            show::count(count, "page")
        ))?;
    }
    if let Some(shell) = args.shell {
        // Into memory first: the generator panics when it cannot write.
        let mut script = Vec::new();
        generate(shell, &mut Cli::command(), "repo", &mut script);
        output.line(String::from_utf8_lossy(&script).trim_end())?;
    }
    Ok(Exit::Ok)
}

/// Writes the page of a command and those below it.
fn pages(command: &Command, name: &str, directory: &Path) -> Result<u64, Failure> {
    let mut page = Vec::new();
    Man::new(command.clone())
        .render(&mut page)
        .map_err(|error| Failure::because("cannot write a manual page", &error))?;
    file::write(&directory.join(format!("{name}.1")), &page)?;
    let mut count = 1;
    for below in command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
    {
        count += pages(below, &format!("{name}-{}", below.get_name()), directory)?;
    }
    Ok(count)
}
