//! `repo pg check`: proves that what a server archives arrives, and says what is missing.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use clap::Args;
use repo_postgres::wal::{self, TimelineWal};
use serde::Serialize;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::show;

/// Arguments of `pg check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Talk to the server that this connection string names, as in "host=/run/postgresql user=me".
    /// [env: PGUSER, PGPASSWORD]
    #[arg(long, value_name = "DSN", default_value = "")]
    dsn: String,
    /// Wait so many seconds for the segment.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
}

/// The end of `pg check`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "pg_check")]
struct CheckMessage {
    system: String,
    segment: String,
    gaps: Vec<String>,
}

impl Display for CheckMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            system,
            segment,
            gaps,
        } = self;
        write!(f, "cluster {system} archives: {segment} arrived")?;
        for gap in gaps {
            write!(f, "\nmissing on timeline {gap}")?;
        }
        Ok(())
    }
}

pub(crate) async fn run(context: &Context, args: CheckArgs) -> Result<Exit, Failure> {
    let config = super::stream::config(context, &args.dsn)?;
    let repository = context.open().await?;
    let user = super::stream::user(context)?;
    let patience = Duration::from_secs(args.timeout);
    let checked = wal::check(&repository, &config, &user, patience).await?;
    let timelines = wal::ranges(&repository, Some(checked.system)).await?;
    let gaps: Vec<String> = timelines.iter().flat_map(gaps).collect();
    let missing = gaps.len() as u64;
    context.output.show(&CheckMessage {
        system: checked.system.to_string(),
        segment: checked.segment.to_string(),
        gaps,
    })?;
    match missing {
        0 => Ok(Exit::Ok),
        _ => {
            let gaps = show::count(missing, "gap");
            let message = format!("the archive has {gaps}: nothing is recovered across them");
            Err(Failure::new(Exit::Partly, message).hint("take a snapshot of the cluster now"))
        }
    }
}

/// The gaps of a timeline as text.
fn gaps(wal: &TimelineWal) -> impl Iterator<Item = String> {
    wal.missing()
        .map(|(first, last)| format!("{}: {first} to {last}", wal.timeline))
}
