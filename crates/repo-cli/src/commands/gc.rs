//! `repo gc`: reclaims the space of what no snapshot needs.

use clap::Args;
use repo_core::{Error, Finding, GcOptions, GcReport, MaxUnused, Reseal, Severity};

use crate::args::byte_size;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::GcSummary;
use crate::{output, show, when};

/// Refused objects that are named to a person; of more it says how many.
const NAMED_MAX: usize = 5;

/// Arguments of `gc`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
What no snapshot needs is condemned by a commit, and deleted by the first gc that runs when the \
readers' grace is over. Until then `repo undo N` brings a forgotten snapshot back. Snapshots may be \
taken and restored meanwhile, and other gcs may run, on any host. A signal ends it early: what was \
done is committed, and the next one goes on from there; a second signal ends it at once. \
Durations are as in 36h, 7d or 1d12h.")]
pub(crate) struct GcArgs {
    /// Let so much of the packs be unused: a share as in 5%, a size as in 2GiB, or unlimited.
    #[arg(long, value_name = "N%|SIZE|unlimited", default_value = "5%", value_parser = max_unused)]
    max_unused: MaxUnused,
    /// Copy at most SIZE out of packs that are used in part.
    #[arg(long, value_name = "SIZE", value_parser = byte_size)]
    max_repack_size: Option<u64>,
    /// After `repo key rotate`, seal anew what older keys seal: all of it, or packs with up to SIZE of
    /// data, but at least one. Costs a small request for each pack.
    #[arg(long, value_name = "all|SIZE", num_args = 0..=1, default_missing_value = "all",
          value_parser = reseal)]
    reseal: Option<Reseal>,
    /// Keep condemned packs so long for readers that opened the repository before.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = when::duration)]
    reader_grace: i64,
    /// Leave alone what a run that is not in the log stored within this time.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = when::duration)]
    writer_grace: i64,
    /// Compress what has to be compressed anew at zstd level N, 1 (fast) to 19 (small).
    #[arg(
        long,
        value_name = "N",
        default_value_t = 3,
        value_parser = clap::value_parser!(i32).range(1..=19)
    )]
    level: i32,
    /// Say what would be done, and do nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl GcArgs {
    /// Whether it only says what it would do.
    pub(crate) fn is_dry(&self) -> bool {
        self.dry_run
    }
}

fn max_unused(text: &str) -> Result<MaxUnused, String> {
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    let expected = || "expected a share such as 5%, a size such as 2GiB, or unlimited".to_owned();
    match text.strip_suffix('%') {
        Some(percent) => match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(MaxUnused::Percent(percent)),
            _ => Err("expected a percentage from 0 to 100".to_owned()),
        },
        None => byte_size(text)
            .map(MaxUnused::Bytes)
            .map_err(|_| expected()),
    }
}

fn reseal(text: &str) -> Result<Reseal, String> {
    match text {
        "all" => Ok(Reseal::All),
        size => byte_size(size)
            .map(Reseal::UpTo)
            .map_err(|_| "expected all, or a size such as 2GiB".to_owned()),
    }
}

pub(crate) async fn run(context: &Context, args: GcArgs) -> Result<Exit, Failure> {
    let repository = context.open().await?;
    let options = GcOptions {
        max_unused: args.max_unused,
        max_repack_bytes: args.max_repack_size,
        reseal: args.reseal.unwrap_or_default(),
        reader_grace_ms: args.reader_grace,
        writer_grace_ms: args.writer_grace,
        dry_run: args.dry_run,
        level: args.level,
        action: context.action("gc")?,
    };
    let progress = context.progress();
    // What it has copied becomes of use with the commit that follows.
    context.cancel.take_time();
    let report = repository.gc(&options, progress).await.map_err(failure)?;
    show_refused(context, &report)?;
    let parity = report.parity.as_ref();
    context.show_findings(parity.map_or(&[], |parity| &parity.findings))?;
    context.output.show(&GcSummary::new(&report, &options))?;
    let unfit = parity.map_or(0, |parity| parity.packs_unfit);
    Ok(match (unfit, report.refused.len()) {
        (0, 0) => Exit::Ok,
        (0, _) => Exit::Partly,
        // What helps to rebuild them stays.
        _ => Exit::Damage,
    })
}

fn failure(error: Error) -> Failure {
    let cancelled = matches!(error, Error::Cancelled);
    let failure = Failure::from(error);
    if cancelled {
        return failure.hint("what was done is kept, and the next `repo gc` goes on from there");
    }
    failure
}

/// Says which objects stay though they are due: all in JSON, the first of them to a person.
fn show_refused(context: &Context, report: &GcReport) -> Result<(), Failure> {
    let json = context.output.is_json();
    let shown = if json { usize::MAX } else { NAMED_MAX };
    let findings: Vec<Finding> = report
        .refused
        .iter()
        .take(shown)
        .map(|(key, why)| Finding {
            severity: Severity::Warning,
            path: Some(key.clone().into_bytes()),
            message: format!("not deleted: {why}"),
        })
        .collect();
    context.show_findings(&findings)?;
    let more = report.refused.len().saturating_sub(shown) as u64;
    if more > 0 {
        output::to_stderr(&format!(
            "warning: and {} more",
            show::count(more, "object")
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_keys_are_left_all_at_once_or_in_parts() {
        assert_eq!(reseal("all"), Ok(Reseal::All));
        assert_eq!(reseal("2GiB"), Ok(Reseal::UpTo(2 << 30)));
        for text in ["", "some", "-1", "5%"] {
            assert!(reseal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn waste_is_a_share_a_size_or_any() {
        for (text, waste) in [
            ("unlimited", Some(MaxUnused::Unlimited)),
            ("5%", Some(MaxUnused::Percent(5.0))),
            ("0.5 %", Some(MaxUnused::Percent(0.5))),
            ("0%", Some(MaxUnused::Percent(0.0))),
            ("0", Some(MaxUnused::Bytes(0))),
            ("2GiB", Some(MaxUnused::Bytes(2 << 30))),
            ("101%", None),
            ("-1%", None),
            ("NaN%", None),
            ("%", None),
            ("", None),
            ("half", None),
        ] {
            assert_eq!(max_unused(text).ok(), waste, "{text}");
        }
    }
}
