//! `repo diff`: compares two snapshots.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use repo_core::{Change, ChangeKind};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::{ChangeMessage, DiffSummary};
use crate::select::{self, Filter};

/// Arguments of `diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Signs: + added, - removed, M content changed, U only metadata changed, T another type.")]
pub(crate) struct DiffArgs {
    /// Compare from this snapshot, an id or `latest`.
    #[arg(value_name = "FROM")]
    from: String,
    /// Compare to this snapshot, an id or `latest`.
    #[arg(value_name = "TO")]
    to: String,
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
    let failed = Arc::new(Mutex::new(None));
    let (output, reason) = (context.output.clone(), Arc::clone(&failed));
    let visit = move |change: Change| match output.show(&message(&change)) {
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
    context.output.show(&DiffSummary {
        added: totals.added,
        removed: totals.removed,
        changed: totals.changed,
        added_bytes: totals.added_bytes,
        removed_bytes: totals.removed_bytes,
    })?;
    Ok(Exit::Ok)
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
