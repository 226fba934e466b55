//! `repo tag`: changes the tags of snapshots, in one commit.

use std::collections::BTreeSet;

use clap::Args;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::TagsMessage;
use crate::select::{self, Filter, split_tags};
use crate::show;

/// Arguments of `tag`.
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Change these snapshots, ids or `latest`; without any, all that the filters let through.
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Add tags. May be repeated.
    #[arg(long, value_name = "TAG[,TAG]", required_unless_present_any = ["remove", "set"])]
    add: Vec<String>,
    /// Remove tags. May be repeated.
    #[arg(long, value_name = "TAG[,TAG]")]
    remove: Vec<String>,
    /// Replace all tags by these; an empty text leaves none. May be repeated.
    #[arg(long, value_name = "TAG[,TAG]", conflicts_with_all = ["add", "remove"])]
    set: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Say what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
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
        let tags = changed(&chosen.tags, &args);
        if tags != chosen.tags {
            changes.push((chosen.snapshot.id(), tags));
        }
    }
    if !changes.is_empty() && !args.dry_run {
        let ids: Vec<String> = changes.iter().map(|(id, _)| show::short(id)).collect();
        let action = context.action(&format!("tag {}", ids.join(" ")))?;
        repository.retag(&changes, &action).await?;
    }
    for (id, tags) in &changes {
        let id = id.to_hex();
        context.output.show(&TagsMessage { id, tags })?;
    }
    if changes.is_empty() && !context.output.is_json() {
        context.output.line("no tag changed")?;
    }
    Ok(Exit::Ok)
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
