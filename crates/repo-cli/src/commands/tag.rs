//! `repo tag`: changes the tags and the protection of snapshots, in one commit.

use std::collections::BTreeSet;

use clap::Args;
use repo_core::{AttributeChange, SnapshotRef};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::TagsMessage;
use crate::select::{self, Filter, split_tags};
use crate::show;

/// Ids that the log names; of more it says how many.
const NAMED_MAX: usize = 8;

/// Arguments of `tag`.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Change these snapshots, ids or `latest`; without any, all that the filters let through.
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Add tags. May be repeated.
    #[arg(long, value_name = "TAG[,TAG]", required_unless_present_any = ["remove", "set", "protect", "unprotect"])]
    add: Vec<String>,
    /// Remove tags. May be repeated.
    #[arg(long, value_name = "TAG[,TAG]")]
    remove: Vec<String>,
    /// Replace all tags by these; an empty text leaves none. May be repeated.
    #[arg(long, value_name = "TAG[,TAG]", conflicts_with_all = ["add", "remove"])]
    set: Vec<String>,
    /// Protect them: `forget` leaves them whatever the policy says, and refuses to by name.
    #[arg(long, conflicts_with = "unprotect")]
    protect: bool,
    /// Lift the protection.
    #[arg(long)]
    unprotect: bool,
    #[command(flatten)]
    filter: Filter,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

impl TagArgs {
    /// Whether it only says what it would do.
    pub(crate) fn is_dry(&self) -> bool {
        self.dry_run
    }
}

pub(crate) async fn run(context: &Context, args: TagArgs) -> Result<Exit, Failure> {
    if args.snapshots.is_empty() && args.filter.is_empty() {
        return Err(Failure::usage(
            "name snapshots, or filter them by host, tag or path",
        ));
    }
    let repository = context.open().await?;
    let known = repository.snapshots();
    let mut changes = Vec::new();
    for chosen in select::choose(&known, &args.snapshots, &args.filter)? {
        if let Some(change) = change(chosen, &args) {
            changes.push((chosen, change));
        }
    }
    if !changes.is_empty() && !args.dry_run {
        let changes: Vec<_> = changes
            .iter()
            .map(|(chosen, change)| (chosen.snapshot.id(), change.clone()))
            .collect();
        let ids: Vec<String> = changes.iter().map(|(id, _)| show::short(id)).collect();
        let action = context.action(&format!("tag {}", show::some(&ids, NAMED_MAX)))?;
        repository.change_attributes(&changes, &action).await?;
    }
    for (chosen, change) in &changes {
        context.output.show(&TagsMessage {
            id: chosen.snapshot.id().to_hex(),
            tags: change.tags.as_ref().unwrap_or(&chosen.tags),
            protected: change.protected.unwrap_or(chosen.is_protected()),
        })?;
    }
    if changes.is_empty() && !context.output.is_json() {
        context.output.line("nothing changed")?;
    }
    Ok(Exit::Ok)
}

/// What is to change of a snapshot, if anything.
fn change(chosen: &SnapshotRef, args: &TagArgs) -> Option<AttributeChange> {
    let tags = changed(&chosen.tags, args);
    let protected = match (args.protect, args.unprotect) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let change = AttributeChange {
        tags: (tags != chosen.tags).then_some(tags),
        protected: protected.filter(|protected| *protected != chosen.is_protected()),
    };
    (change != AttributeChange::default()).then_some(change)
}

fn changed(before: &[String], args: &TagArgs) -> Vec<String> {
    fn each(lists: &[String]) -> impl Iterator<Item = String> {
        lists
            .iter()
            .flat_map(|list| split_tags(list))
            .map(str::to_owned)
    }
    let mut tags: BTreeSet<String> = if args.set.is_empty() {
        before.iter().cloned().chain(each(&args.add)).collect()
    } else {
        each(&args.set).collect()
    };
    for tag in each(&args.remove) {
        tags.remove(&tag);
    }
    tags.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(before: &[&str], add: &[&str], remove: &[&str], set: &[&str]) -> Vec<String> {
        let owned = |list: &[&str]| list.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>();
        let args = TagArgs {
            snapshots: Vec::new(),
            add: owned(add),
            remove: owned(remove),
            set: owned(set),
            protect: false,
            unprotect: false,
            filter: Filter::default(),
            dry_run: false,
        };
        changed(&owned(before), &args)
    }

    #[test]
    fn tags_are_added_removed_and_replaced() {
        assert_eq!(after(&["b"], &["a,c", "b"], &[], &[]), ["a", "b", "c"]);
        assert_eq!(after(&["a", "b"], &["c"], &["a,x"], &[]), ["b", "c"]);
        assert_eq!(after(&["a", "b"], &[], &[], &["z"]), ["z"]);
        assert!(after(&["a"], &[], &[], &[""]).is_empty());
    }
}
