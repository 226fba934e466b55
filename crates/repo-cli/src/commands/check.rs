//! `repo check`: verifies the repository, by its structure or by reading all data.

use clap::Args;
use repo_core::{CheckOptions, ReadData, Repository, Severity};

use crate::context::{self, Context};
use crate::exit::{Exit, Failure};
use crate::message::{
    CheckSummary, CoverageFields, FindingMessage, LocksSummary, SnapshotLockMessage,
};
use crate::show::{self, Stopwatch};
use crate::when;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Read, decrypt and compare all data too.
    #[arg(long)]
    read_data: bool,
    /// Read this part of the data, chosen at random each time, as in 10%.
    #[arg(
        long,
        value_name = "PERCENT",
        value_parser = percent,
        conflicts_with = "read_data"
    )]
    read_data_subset: Option<f64>,
    /// Of all data, read what was not verified on this machine for a time, as in 30d; what was
    /// verified longest ago comes first.
    #[arg(long, value_name = "TIME", value_parser = when::duration, requires = "read_data")]
    older_than: Option<i64>,
    /// Begin to read no pack after a time, as in 1h; the next check goes on with the rest.
    #[arg(long, value_name = "TIME", value_parser = when::duration, requires = "read_data")]
    max_duration: Option<i64>,
    /// Ask the store until when its retention locks keep each snapshot, and nothing else.
    #[arg(long, conflicts_with_all = ["read_data", "read_data_subset"])]
    locks: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("expected a percentage above 0 and up to 100".to_owned()),
    }
}

pub(crate) async fn run(context: &Context, args: CheckArgs) -> Result<Exit, Failure> {
    let repository = context.open().await?;
    if args.locks {
        return locks(context, &repository).await;
    }
    let read_data = match args.read_data_subset {
        Some(percent) => ReadData::Percent(percent),
        None if args.older_than.is_some() || args.max_duration.is_some() => ReadData::Due {
            older_than_ms: args.older_than.map(i64::unsigned_abs),
            max_duration_ms: args.max_duration.map(i64::unsigned_abs),
        },
        None if args.read_data => ReadData::All,
        None => ReadData::No,
    };
    let options = CheckOptions { read_data };
    let clock = Stopwatch::start();
    let report = repository.check(&options, context.progress()).await?;
    // Findings are what was asked for, so they are results.
    for finding in &report.findings {
        context.output.show(&FindingMessage::from(finding))?;
    }
    let damage = context::count(&report.findings, Severity::Damage);
    context.output.show(&CheckSummary {
        packs: report.packs,
        indexes: report.indexes,
        snapshots: report.snapshots,
        blobs: report.blobs,
        bytes_read: report.bytes_read,
        damage,
        coverage: report.coverage.map(|coverage| CoverageFields {
            pack_bytes: coverage.bytes,
            pack_bytes_verified: coverage.bytes_verified,
            packs_due: coverage.packs_due,
        }),
        duration_ms: clock.elapsed_ms(),
    })?;
    match damage {
        0 => Ok(Exit::Ok),
        _ => Err(Failure::new(
            Exit::Damage,
            format!(
                "the repository is damaged: {}",
                show::count(damage, "finding")
            ),
        )),
    }
}

async fn locks(context: &Context, repository: &Repository) -> Result<Exit, Failure> {
    let report = repository.check_locks(context.progress()).await?;
    for found in &report.snapshots {
        let message = SnapshotLockMessage::new(found, report.now_ms);
        context.output.show(&message)?;
    }
    context.output.show(&LocksSummary::new(&report))?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_percentages() {
        for (text, expected) in [
            ("10%", Some(10.0)),
            ("2.5", Some(2.5)),
            ("100%", Some(100.0)),
            ("0%", None),
            ("101", None),
            ("nan", None),
            ("1/10", None),
            ("", None),
        ] {
            assert_eq!(percent(text).ok(), expected, "{text}");
        }
    }
}
