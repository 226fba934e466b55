//! `repo table drill`: shows that a snapshot of tables can be restored, and how long that takes.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use repo_tables::{Location, TableRestore, choose_tables, drill_table};

use super::LakeArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::DrillMessage;
use crate::select::Filter;
use crate::show::{self, Stopwatch};

/// Arguments of `table drill`.
#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    /// Try SNAPSHOT: an id or `latest`.
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// Try these tables; without any, all.
    #[arg(value_name = "TABLE")]
    tables: Vec<String>,
    /// Restore below DIR, which must not exist; it is removed afterwards.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    #[command(flatten)]
    lake: LakeArgs,
    #[command(flatten)]
    filter: Filter,
    /// Look at the state after commit N, see `repo log`.
    #[arg(long, value_name = "N")]
    at: Option<u64>,
}

/// A directory of this drill's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(named: Option<PathBuf>) -> Result<Self, Failure> {
        let path = named.unwrap_or_else(|| {
            let name = format!("repo-drill-{}", std::process::id());
            std::env::temp_dir().join(name)
        });
        let shown = show::local_path(&path);
        // One that exists may hold what is not ours to remove.
        fs::create_dir(&path)
            .map_err(|error| Failure::because(format!("cannot make {shown}"), &error))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left can be removed by hand; the outcome of the drill stands.
        drop(fs::remove_dir_all(&self.0));
    }
}

pub(super) async fn run(context: &Context, args: DrillArgs) -> Result<Exit, Failure> {
    let lake = args.lake.lake(context);
    let repository = context.open_at(args.at).await?;
    let view = super::view(&repository, &args.snapshot, &args.filter)?;
    let tables = choose_tables(&view, &args.tables).await?;
    let scratch = Scratch::new(args.scratch)?;
    let shown = scratch.0.to_string_lossy();
    let below = Location::from_user(&shown)?;
    let mut differing = Vec::new();
    for table in tables {
        let clock = Stopwatch::start();
        let target = super::restore::place(Some(&below), &table)?;
        let restore = TableRestore {
            repository: &repository,
            view: &view,
            table: &table,
            target: &target,
            force: false,
        };
        let restored = restore.run(&lake, context.progress()).await;
        let restore_ms = clock.elapsed_ms();
        let outcome = match restored {
            Ok(_) => drill_table(&view, &lake, &table, &target).await,
            Err(error) => Err(error),
        };
        let outcome = outcome.map_err(Failure::from);
        if let Err(failure) = &outcome
            && failure.exit == Exit::Cancelled
        {
            return Err(failure.clone());
        }
        let message = DrillMessage::new(&table.name, restore_ms, outcome);
        context.output.show(&message)?;
        if message.differs() {
            differing.push(table.name);
        }
    }
    match differing.is_empty() {
        true => Ok(Exit::Ok),
        false => Err(Failure::failed(format!(
            "what was restored differs from what was saved: {}",
            differing.join(", ")
        ))),
    }
}
