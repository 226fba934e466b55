//! `repo diff`: compares two snapshots.

mod text;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use repo_core::{Change, ChangeKind, EntryType, SnapshotView};
use repo_tables::diff_tables;
use tokio::runtime::Handle;

use self::text::{Detail, Reader, TextChange, bar};
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::{ChangeMessage, DiffSummary, TableDiffMessage};
use crate::output::Output;
use crate::select::{self, Filter};
use crate::show;

/// Columns of the bars of `--stat`.
const BAR_WIDTH: u64 = 40;

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Signs: + added, - removed, M content changed, U only metadata changed, T another type.
Of two snapshots of tables it also says how each table differs.")]
pub(crate) struct DiffArgs {
    /// Compare from this snapshot, an id or `latest`.
    #[arg(value_name = "FROM")]
    from: String,
    /// Compare to this snapshot, an id or `latest`.
    #[arg(value_name = "TO")]
    to: String,
    /// Count lines added and removed in text files, and tell sizes of others.
    #[arg(long)]
    stat: bool,
    /// Show what changed inside text files of up to 4 MiB, as unified text.
    #[arg(short, long, conflicts_with = "stat")]
    patch: bool,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: DiffArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    let from = select::view(&repository, &args.from, &args.filter)?;
    let to = select::view(&repository, &args.to, &args.filter)?;
    let teller = Teller {
        output: context.output.clone(),
        detail: match (args.stat, args.patch) {
            (true, _) => Some(Detail::Counts),
            (_, true) => Some(Detail::Patch),
            _ => None,
        },
        reader: Reader {
            from: from.clone(),
            to: to.clone(),
            handle: Handle::current(),
        },
    };
    let failed = Arc::new(Mutex::new(None));
    let reason = Arc::clone(&failed);
    let visit = move |change: Change| match teller.tell(&change) {
        Ok(()) => ControlFlow::Continue(()),
        Err(failure) => {
            *reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
            ControlFlow::Break(())
        }
    };
    let totals = repository.diff(&from, &to, Box::new(visit)).await?;
    if let Some(failure) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(failure);
    }
    let holds_tables =
        |view: &SnapshotView| view.snapshot().source.as_deref() == Some(repo_tables::KIND);
    if holds_tables(&from) && holds_tables(&to) {
        for diff in diff_tables(&from, &to).await? {
            context.output.show(&TableDiffMessage { diff })?;
        }
    }
    context.output.show(&DiffSummary {
        added: totals.added,
        removed: totals.removed,
        changed: totals.changed,
        added_bytes: totals.added_bytes,
        removed_bytes: totals.removed_bytes,
    })?;
    Ok(Exit::Ok)
}

/// Says what differs, as it is found.
struct Teller {
    output: Output,
    detail: Option<Detail>,
    reader: Reader,
}

impl Teller {
    fn tell(&self, change: &Change) -> Result<(), Failure> {
        let text = match self.detail {
            Some(detail) => self.reader.compare(change, detail)?,
            None => None,
        };
        let mut message = message(change);
        if let Some(text) = &text {
            message.set_lines(text.added, text.removed, text.patch.as_deref());
        }
        if self.output.is_json() {
            return self.output.message(&message);
        }
        match (self.detail, text) {
            (Some(Detail::Counts), text) => match stat(change, text.as_ref()) {
                Some(stat) => self.output.line(format!("{message}  {stat}")),
                None => self.output.line(&message),
            },
            (
                _,
                Some(TextChange {
                    patch: Some(patch), ..
                }),
            ) => {
                self.output.line(&message)?;
                self.output.line(patch.trim_end_matches('\n'))
            }
            _ => self.output.line(&message),
        }
    }
}

/// How much of a file differs: lines of a text, sizes of what is none.
fn stat(change: &Change, text: Option<&TextChange>) -> Option<String> {
    if let Some(text) = text {
        let bar = bar(text.added, text.removed, BAR_WIDTH);
        let lines = show::count(text.added + text.removed, "line");
        return Some(format!("{lines} {bar}").trim_end().to_owned());
    }
    let changed = !matches!(change.kind, ChangeKind::Modified { content: false, .. });
    let mut sides = [&change.before, &change.after].into_iter().flatten();
    if !changed || sides.any(|entry| entry.kind != EntryType::File) {
        return None;
    }
    let size = |entry: &Option<repo_core::Entry>| match entry {
        Some(entry) => show::bytes(entry.size),
        None => "nothing".to_owned(),
    };
    Some(format!(
        "{} -> {}",
        size(&change.before),
        size(&change.after)
    ))
}

fn message(change: &Change) -> ChangeMessage {
    let kind = match change.kind {
        ChangeKind::Added => ("added", '+'),
        ChangeKind::Removed => ("removed", '-'),
        ChangeKind::Modified { content: true, .. } => ("content", 'M'),
        ChangeKind::Modified { content: false, .. } => ("metadata", 'U'),
        ChangeKind::TypeChanged => ("type", 'T'),
    };
    let size = |entry: &Option<repo_core::Entry>| entry.as_ref().map(|entry| entry.size);
    let sizes = (size(&change.before), size(&change.after));
    ChangeMessage::new(kind, &change.path, sizes)
}
