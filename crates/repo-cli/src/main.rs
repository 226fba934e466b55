//! The `repo` command: a thin face of `repo-core`.
//!
//! Owns the start and the end of the program: arguments, signals, the runtime, and the one line and
//! exit code of a failure. What commands do is in [`commands`].

mod args;
mod commands;
mod context;
mod environment;
mod exclude;
mod exit;
mod file;
mod key_file;
mod location;
mod logging;
mod message;
mod metrics;
mod other;
mod output;
mod password;
mod profile;
mod progress;
mod record;
mod select;
mod show;
mod stream;
mod when;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use clap::error::ErrorKind;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Cli, Command};
use crate::commands::pg::archive::exit_of;
use crate::context::{Cancel, Context};
use crate::environment::Environment;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Threads for what waits on the store; the library has its own for what computes.
const ASYNC_THREADS: usize = 2;

/// How long a command that was asked to stop may take before it is left alone.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    say_panics_in_one_line();
    raise_open_files();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse(&error, &arguments),
    };
    let json = cli.globals.json;
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(mut failure) => {
            failure.exit = exit_of(&arguments, failure.exit);
            output::report(&failure, json);
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    let environment = Environment::of_process();
    logging::start(cli.globals.verbose, &environment)?;
    let output = Output::new(cli.globals.json);
    let file = cli.globals.metrics_file.clone();
    let file = file.or_else(|| environment.path("REPO_METRICS_FILE"));
    let metrics = metrics::Run::start(&cli, file);
    let ended = match cli.command {
        // Needs no repository, settings or home.
        Command::Completions(args) => {
            keep(metrics, None, commands::completions::run(&output, &args))
        }
        command => {
            match Context::new(cli.globals, environment, output.clone(), Cancel::default()) {
                Ok(context) => {
                    let ended = execute(&context, command);
                    keep(metrics, Some(&context), ended)
                }
                Err(failure) => keep(metrics, None, Err(failure)),
            }
        }
    };
    // Results come before the line that says what is wrong, and count as much.
    output.flush()?;
    ended
}

/// Keeps the figures of a run that ended so. That they cannot be kept is said, and no reason to fail:
/// what was asked for is done or not.
fn keep(
    metrics: Option<metrics::Run>,
    context: Option<&Context>,
    ended: Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    if let Some(Err(failure)) = metrics.map(|run| run.finish(context, &ended)) {
        output::to_stderr(&failure.line());
    }
    ended
}

fn execute(context: &Context, command: Command) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ASYNC_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::because("cannot start threads", &error))?;
    let ended = runtime.block_on(until_signal(context, command));
    // Threads may still wait on the network or a pipe. They end with the process: shutting the
    // runtime down under them would only make them fail on the way.
    std::mem::forget(runtime);
    ended
}

/// Runs a command. At the first signal it is asked to stop; it is dropped at the second, when it does
/// not look at what it is asked, and when it takes too long for nothing. Nothing is lost by that: a
/// commit is one object, which is whole or absent.
async fn until_signal(context: &Context, command: Command) -> Result<Exit, Failure> {
    let handler =
        |kind| signal(kind).map_err(|error| Failure::because("cannot handle signals", &error));
    let mut interrupt = handler(SignalKind::interrupt())?;
    let mut terminate = handler(SignalKind::terminate())?;
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let mut command = std::pin::pin!(commands::run(context, command));
    tokio::select! {
        biased;
        ended = &mut command => return ended,
        () = next() => context.cancel.ask(),
    }
    if !context.cancel.is_graceful() {
        return Err(Failure::cancelled());
    }
    tokio::select! {
        biased;
        ended = &mut command => ended,
        () = next() => Err(Failure::cancelled()),
        () = tokio::time::sleep(STOP_PATIENCE), if !context.cancel.takes_time() => {
            Err(Failure::cancelled())
        }
    }
}

/// What clap says in several lines, in one; help and version as they are.
fn refuse(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let shown = Output::new(false);
        let ended = shown
            .line(error.render().to_string().trim_end())
            .and_then(|()| shown.flush());
        return match ended {
            Ok(()) => Exit::Ok.into(),
            Err(failure) => failure.exit.into(),
        };
    }
    let json = arguments.iter().any(|argument| argument == "--json");
    let mut failure = usage(error);
    failure.exit = exit_of(arguments, failure.exit);
    output::report(&failure, json);
    failure.exit.into()
}

fn usage(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let paragraphs: Vec<&str> = text.split("\n\n").collect();
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            "no command is given"
        }
        _ => paragraphs.first().map_or("", |first| first.trim()),
    };
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let tip = paragraphs
        .iter()
        .find_map(|part| part.trim().strip_prefix("tip: "));
    Failure::usage(message).hint(tip.unwrap_or("`repo --help` and `repo COMMAND --help` explain"))
}

/// A walk holds a descriptor for each level of the tree and some for work on its way; the usual
/// soft limit is for programs that `select`. Where it cannot be raised, deep trees are reported.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        // Refused raises leave the limit as it was.
        setrlimit(Resource::Nofile, raised).ok();
    }
}

/// A defect of the program ends it with one line, whichever thread meets it.
fn say_panics_in_one_line() {
    std::panic::set_hook(Box::new(|panic| {
        let place = match panic.location() {
            Some(location) => format!(" ({}:{})", location.file(), location.line()),
            None => String::new(),
        };
        let reason = panic.payload_as_str().unwrap_or("unknown");
        let failure =
            Failure::failed(format!("internal error: {reason}{place}")).hint("please report this");
        output::to_stderr(&failure.line());
        let arguments: Vec<OsString> = std::env::args_os().collect();
        let exit = exit_of(&arguments, Exit::Failed);
        std::process::exit(i32::from(exit as u8));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: &[&str]) -> Failure {
        usage(&Cli::try_parse_from(arguments).expect_err("refused"))
    }

    #[test]
    fn mistakes_are_told_in_one_line() {
        for (arguments, said) in [
            (&["repo"][..], "no command is given"),
            (&["repo", "key"], "no command is given"),
            (&["repo", "snapshot"], "not provided: <PATH>..."),
            (&["repo", "snapsot"], "unrecognized subcommand 'snapsot'"),
            (&["repo", "stats", "--jsn"], "unexpected argument '--jsn'"),
            (
                &["repo", "check", "--read-data-subset", "0"],
                "invalid value '0'",
            ),
            (
                &["repo", "snapshot", "--level", "99", "a"],
                "invalid value '99'",
            ),
        ] {
            let failure = refusal(arguments);
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(said), "{}", failure.message);
            assert!(!failure.line().contains('\n'), "{}", failure.line());
        }
    }
}
