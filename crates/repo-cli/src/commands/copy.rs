//! `repo copy`: copies snapshots into another repository.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use repo_core::{CopyOptions, CopyReport, Repository, Severity};

use crate::args::{LevelArgs, key_value};
use crate::context::{self, Context};
use crate::exit::{Exit, Failure};
use crate::message::{CopiedMessage, CopySummary};
use crate::other::Named;
use crate::select::{self, Filter};
use crate::show::{self, Stopwatch};

/// Arguments of `copy`.
#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    /// Copy these snapshots, ids or `latest`; without any, all that the filters let through.
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Copy into the repository at LOCATION, which must exist.
    #[arg(long, value_name = "LOCATION")]
    to: OsString,
    /// Read the password of that repository from the first line of FILE.
    /// [env: REPO_TO_PASSWORD_FILE, REPO_TO_PASSWORD]
    #[arg(long, value_name = "FILE", conflicts_with = "to_password_command")]
    to_password_file: Option<PathBuf>,
    /// Read it from the output of a shell COMMAND. [env: REPO_TO_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND")]
    to_password_command: Option<OsString>,
    /// Set an option of that repository's store, as in aws_region=eu-central-1. May be repeated.
    #[arg(long = "to-option", value_name = "KEY=VALUE", value_parser = key_value)]
    to_options: Vec<(String, String)>,
    #[command(flatten)]
    compression: LevelArgs,
    #[command(flatten)]
    filter: Filter,
    /// Read all, and write nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl CopyArgs {
    /// Whether it only says what it would do.
    pub(crate) fn is_dry(&self) -> bool {
        self.dry_run
    }
}

pub(crate) async fn run(context: &Context, args: CopyArgs) -> Result<Exit, Failure> {
    let other = context.other(Named {
        option: "--to",
        variables: "REPO_TO_PASSWORD",
        location: &args.to,
        password_file: args.to_password_file.clone(),
        password_command: args.to_password_command.clone(),
        options: &args.to_options,
    })?;
    let repository = context.open().await?;
    let known = repository.snapshots();
    let chosen: Vec<_> = select::choose(&known, &args.snapshots, &args.filter)?
        .into_iter()
        .map(|known| known.snapshot.id())
        .collect();
    if chosen.is_empty() && !known.is_empty() {
        return Err(Failure::failed(
            "no snapshot matches the host, tag or path asked for",
        ));
    }
    let target = other.open().await?;
    let from = show::path(repository.location().as_bytes());
    let options = CopyOptions {
        level: args.compression.level,
        dry_run: args.dry_run,
        action: context.action(&format!("copy from {from}"))?,
    };
    let clock = Stopwatch::start();
    let report = repository.copy_to(&target, &chosen, &options, context.progress());
    conclude(context, &target, args.dry_run, &clock, &report.await?)
}

fn conclude(
    context: &Context,
    target: &Repository,
    dry_run: bool,
    clock: &Stopwatch,
    report: &CopyReport,
) -> Result<Exit, Failure> {
    context.show_findings(&report.findings)?;
    for copied in &report.copied {
        context.output.show(&CopiedMessage {
            source: copied.source.to_hex(),
            target: copied.target.map(|id| id.to_hex()),
        })?;
    }
    context.output.show(&CopySummary {
        target: target.location().to_owned(),
        dry_run,
        copied: report.copied.len() as u64,
        present: report.present.len() as u64,
        failed: report.failed.len() as u64,
        bytes_read: report.bytes_read,
        bytes_new: report.bytes_new,
        bytes_stored: report.bytes_stored,
        duration_ms: clock.elapsed_ms(),
    })?;
    match context::count(&report.findings, Severity::Damage) {
        0 => Ok(Exit::Ok),
        _ => {
            let lost = show::count(report.failed.len() as u64, "snapshot");
            let message = format!("the repository is damaged: {lost} could not be copied");
            Err(Failure::new(Exit::Damage, message).hint("`repo check` says what is affected"))
        }
    }
}
