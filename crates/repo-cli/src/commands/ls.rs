//! `repo ls`: lists a directory of a snapshot, or all below it.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use repo_core::{Entry, EntryType};

use crate::commands::pg::info;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::EntryMessage;
use crate::output::Output;
use crate::select::{Filter, Target};
use crate::show;

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// List SNAPSHOT, an id or `latest`, from PATH on.
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    target: OsString,
    /// List everything below too.
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Show mode, owner, size and time.
    #[arg(short, long)]
    long: bool,
    /// List the relations of a Postgres cluster instead of files: database, schema, name, size and
    /// first file. Below PATH, those with their first file there.
    #[arg(long, conflicts_with_all = ["recursive", "long"])]
    relations: bool,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: LsArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    let target = Target::parse(&args.target);
    let (view, path) = target.open(&repository, &args.filter).await?;
    if args.relations {
        info::list_relations(context, &view, &path).await?;
        return Ok(Exit::Ok);
    }
    let is_directory = view.entry(&path).await?.kind == EntryType::Directory;

    let failed = Arc::new(Mutex::new(None));
    let (output, long, base) = (context.output.clone(), args.long, path.clone());
    let reason = Arc::clone(&failed);
    let visit = move |name: &[u8], entry: &Entry| {
        let full = if is_directory {
            join(&base, name)
        } else {
            base.clone()
        };
        match list(&output, long, &full, entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                *reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
                ControlFlow::Break(())
            }
        }
    };
    view.walk(&path, args.recursive, Box::new(visit)).await?;
    let failure = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
    match failure {
        Some(failure) => Err(failure),
        None => Ok(Exit::Ok),
    }
}

fn join(base: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = base.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

fn list(output: &Output, long: bool, path: &[u8], entry: &Entry) -> Result<(), Failure> {
    if output.is_json() {
        output.message(&EntryMessage::new(path, entry))
    } else if long {
        output.line(long_line(path, entry))
    } else {
        output.line(name(path, entry))
    }
}

/// The path, with a slash after a directory.
fn name(path: &[u8], entry: &Entry) -> String {
    let mut text = show::path(path);
    if entry.kind == EntryType::Directory {
        text.push('/');
    }
    text
}

fn long_line(path: &[u8], entry: &Entry) -> String {
    let owner = |name: &Option<String>, id: u32| match name {
        Some(name) => show::path(name.as_bytes()),
        None => id.to_string(),
    };
    let size = match entry.kind {
        EntryType::Directory => entry.totals.unwrap_or_default().bytes,
        _ => entry.size,
    };
    let mut line = format!(
        "{}  {:<8}  {:<8}  {:>10}  {}  {}",
        show::mode(entry.kind, entry.mode),
        owner(&entry.user, entry.uid),
        owner(&entry.group, entry.gid),
        show::bytes(size),
        show::local_time(entry.mtime.seconds.saturating_mul(1000)),
        name(path, entry),
    );
    if let Some(target) = &entry.target {
        line.push_str(" -> ");
        line.push_str(&show::path(target));
    }
    line
}
