//! `repo pg info`: snapshots of clusters and their archived WAL, and which file of one is which table.

use clap::Args;
use repo_core::{Repository, SnapshotView};
use repo_postgres::{Description, KIND, wal};

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::{ClusterMessage, RelationMessage, WalMessage};
use crate::select::{self, Filter};
use crate::show;

/// Arguments of `pg info`.
#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// Look at SNAPSHOT only, an id or `latest`.
    #[arg(value_name = "SNAPSHOT", required_if_eq("relations", "true"))]
    snapshot: Option<String>,
    /// List the relations of the snapshot: database, schema, name and size.
    #[arg(long)]
    relations: bool,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: InfoArgs) -> Result<Exit, Failure> {
    let repository = context.open_at(args.at).await?;
    match &args.snapshot {
        Some(name) if args.relations => relations(context, &repository, name, &args.filter).await?,
        Some(name) => {
            snapshots(context, &repository, Some(name), &args.filter).await?;
        }
        None => {
            let some = snapshots(context, &repository, None, &args.filter).await?;
            archive(context, &repository, some).await?;
        }
    }
    Ok(Exit::Ok)
}

/// Lists snapshots; says whether there are any.
async fn snapshots(
    context: &Context,
    repository: &Repository,
    name: Option<&str>,
    filter: &Filter,
) -> Result<bool, Failure> {
    let known = repository.snapshots();
    let chosen = match name {
        Some(name) => vec![select::find(&known, name, filter)?],
        None => known
            .iter()
            .filter(|known| known.snapshot.source.as_deref() == Some(KIND))
            .filter(|known| filter.matches(known))
            .collect(),
    };
    let (mut rows, some) = (Vec::new(), !chosen.is_empty());
    for known in chosen {
        let view = repository.view(&known.snapshot.id())?;
        let description = Description::of(&view).await.map_err(super::failure)?;
        let message = ClusterMessage::new(known, &description);
        if context.output.is_json() {
            context.output.message(&message)?;
        } else {
            rows.push(message.row());
        }
    }
    if !context.output.is_json() {
        let heading = [
            "ID", "TIME", "VERSION", "TIMELINE", "START", "STOP", "SIZE", "DAMAGED",
        ];
        let right = ["TIMELINE", "SIZE", "DAMAGED"];
        for line in show::table(&heading, &right, &rows) {
            context.output.line(line)?;
        }
    }
    Ok(some)
}

/// Lists what there is of archived WAL, and what is missing in it.
async fn archive(context: &Context, repository: &Repository, apart: bool) -> Result<(), Failure> {
    let timelines = wal::ranges(repository, None).await?;
    let messages = timelines.iter().map(WalMessage::new);
    if context.output.is_json() {
        for message in messages {
            context.output.message(&message)?;
        }
        return Ok(());
    }
    let rows: Vec<_> = messages.flat_map(|message| message.rows()).collect();
    if rows.is_empty() {
        return Ok(());
    }
    if apart {
        context.output.line(String::new())?;
    }
    let heading = ["CLUSTER", "TIMELINE", "WAL FROM", "TO", "SEGMENTS"];
    for line in show::table(&heading, &["TIMELINE", "SEGMENTS"], &rows) {
        context.output.line(line)?;
    }
    Ok(())
}

async fn relations(
    context: &Context,
    repository: &Repository,
    name: &str,
    filter: &Filter,
) -> Result<(), Failure> {
    let view = select::view(repository, name, filter)?;
    list_relations(context, &view, b"").await
}

/// Lists the relations of a snapshot whose first file is at `below` or below it.
pub(crate) async fn list_relations(
    context: &Context,
    view: &SnapshotView,
    below: &[u8],
) -> Result<(), Failure> {
    let found = repo_postgres::relations(view)
        .await
        .map_err(super::failure)?;
    let wanted = found.iter().filter(|sized| {
        let rest = sized.relation.path.as_bytes().strip_prefix(below);
        rest.is_some_and(|rest| below.is_empty() || matches!(rest.first(), None | Some(b'/')))
    });
    let messages = wanted.map(RelationMessage::new);
    if context.output.is_json() {
        for message in messages {
            context.output.message(&message)?;
        }
        return Ok(());
    }
    let rows: Vec<_> = messages.map(|message| message.row()).collect();
    let heading = ["DATABASE", "SCHEMA", "NAME", "KIND", "SIZE", "PATH"];
    for line in show::table(&heading, &["SIZE"], &rows) {
        context.output.line(line)?;
    }
    Ok(())
}
