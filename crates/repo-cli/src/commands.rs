//! One module a command: its arguments, and what it asks of the library.

pub(crate) mod cat;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod copy;
pub(crate) mod diff;
pub(crate) mod dump;
pub(crate) mod find;
pub(crate) mod forget;
pub(crate) mod gc;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod log;
pub(crate) mod ls;
pub(crate) mod mount;
pub(crate) mod parity;
pub(crate) mod pg;
pub(crate) mod repair;
pub(crate) mod restore;
pub(crate) mod snapshot;
pub(crate) mod snapshots;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod tag;
pub(crate) mod tui;
pub(crate) mod undo;

use crate::args::Command;
use crate::context::Context;
use crate::exit::{Exit, Failure};

/// Runs a command to its end.
pub(crate) async fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Init(args) => init::run(context, args).await,
        Command::Snapshot(args) => snapshot::run(context, args).await,
        Command::Snapshots(args) => snapshots::run(context, args).await,
        Command::Ls(args) => ls::run(context, args).await,
        Command::Cat(args) => cat::run(context, args).await,
        Command::Mount(args) => mount::run(context, args).await,
        Command::Dump(args) => dump::run(context, args).await,
        Command::Find(args) => find::run(context, args).await,
        Command::Restore(args) => restore::run(context, args).await,
        Command::Diff(args) => diff::run(context, args).await,
        Command::Forget(args) => forget::run(context, args).await,
        Command::Copy(args) => copy::run(context, args).await,
        Command::Gc(args) => gc::run(context, args).await,
        Command::Undo(args) => undo::run(context, args).await,
        Command::Check(args) => check::run(context, args).await,
        Command::Repair(args) => repair::run(context, args).await,
        Command::Parity(args) => parity::run(context, args).await,
        Command::Key(args) => key::run(context, args).await,
        Command::Tag(args) => tag::run(context, args).await,
        Command::Stats(args) => stats::run(context, args).await,
        Command::Table(args) => table::run(context, args).await,
        Command::Pg(args) => pg::run(context, args).await,
        Command::Tui(args) => tui::run(context, args).await,
        Command::Log(args) => log::run(context, args).await,
        Command::Completions(args) => completions::run(&context.output, &args),
    }
}
