//! What `repo pg info` says about archived WAL.

use repo_core::Repository;
use repo_postgres::wal;

use crate::context::Context;
use crate::exit::Failure;
use crate::message::WalMessage;
use crate::show;

/// Lists what there is of archived WAL, and what is missing in it.
pub(super) async fn list(
    context: &Context,
    repository: &Repository,
    apart: bool,
) -> Result<(), Failure> {
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
    let heading = ["Cluster", "Timeline", "WAL from", "To", "Segments"];
    for line in show::table(&heading, &["Timeline", "Segments"], &rows) {
        context.output.line(line)?;
    }
    Ok(())
}
