//! `repo forget`: takes snapshots out of the list, by a policy or by name, in one commit.

use clap::Args;
use repo_core::{
    Calendar, Error, ForgetGroup, ForgetOptions, ForgetPlan, Forgotten, GroupBy, KeepCount,
    KeepSpan, PlannedSnapshot, Policy, Repository, SnapshotId, plan_forget, plan_forget_ids,
};
use repo_postgres::wal;

use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::message::{ForgetMessage, ForgetSummary};
use crate::select::{self, Filter, split_tags};
use crate::show;

/// Ids that the log names; of more it says how many.
const NAMED_MAX: usize = 8;

/// Arguments of `forget`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
A snapshot stays when any --keep option keeps it. Of each group of snapshots the newest of a period \
stays for the newest N periods that have one; where that count is not used up, the oldest snapshot \
stays too. Periods are those of the local time zone (TZ). A SPAN such as 2y5m7d3h reaches back from \
the newest snapshot of the group. Protected snapshots, snapshots dated in the future and the one \
committed last stay whatever the policy says. WAL archived by `repo pg archive-push` stays as long as a \
snapshot of its cluster needs it. Stored data stays until it is collected.")]
pub(crate) struct ForgetArgs {
    /// Forget these snapshots, ids or `latest`, and no others.
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    #[command(flatten)]
    keep: KeepArgs,
    /// Apply the policy to each group of snapshots that have these in common: host, paths, tags.
    #[arg(long, value_name = "WHAT[,WHAT]", default_value = "host,paths")]
    group_by: GroupBy,
    /// Forget all snapshots of a group when none of them is kept.
    #[arg(long)]
    allow_empty: bool,
    #[command(flatten)]
    filter: Filter,
    /// Say what would be forgotten, and forget nothing.
    #[arg(short = 'n', long)]
    dry_run: bool,
}

impl ForgetArgs {
    /// Whether it only says what it would do.
    pub(crate) fn is_dry(&self) -> bool {
        self.dry_run
    }
}

/// The policy.
#[derive(Debug, Args)]
#[command(next_help_heading = "Policy")]
struct KeepArgs {
    /// Keep the newest N, or unlimited.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        conflicts_with = "snapshots"
    )]
    keep_last: Option<KeepCount>,
    /// Keep the newest of each of N hours.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        conflicts_with = "snapshots"
    )]
    keep_hourly: Option<KeepCount>,
    /// Keep the newest of each of N days.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        conflicts_with = "snapshots"
    )]
    keep_daily: Option<KeepCount>,
    /// Keep the newest of each of N weeks, from Monday.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        conflicts_with = "snapshots"
    )]
    keep_weekly: Option<KeepCount>,
    /// Keep the newest of each of N months.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        conflicts_with = "snapshots"
    )]
    keep_monthly: Option<KeepCount>,
    /// Keep the newest of each of N years.
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        conflicts_with = "snapshots"
    )]
    keep_yearly: Option<KeepCount>,
    /// Keep all within SPAN of the newest.
    #[arg(long, value_name = "SPAN", conflicts_with = "snapshots")]
    keep_within: Option<KeepSpan>,
    /// Keep the newest of each hour within SPAN.
    #[arg(long, value_name = "SPAN", conflicts_with = "snapshots")]
    keep_within_hourly: Option<KeepSpan>,
    /// Keep the newest of each day within SPAN.
    #[arg(long, value_name = "SPAN", conflicts_with = "snapshots")]
    keep_within_daily: Option<KeepSpan>,
    /// Keep the newest of each week within SPAN.
    #[arg(long, value_name = "SPAN", conflicts_with = "snapshots")]
    keep_within_weekly: Option<KeepSpan>,
    /// Keep the newest of each month within SPAN.
    #[arg(long, value_name = "SPAN", conflicts_with = "snapshots")]
    keep_within_monthly: Option<KeepSpan>,
    /// Keep the newest of each year within SPAN.
    #[arg(long, value_name = "SPAN", conflicts_with = "snapshots")]
    keep_within_yearly: Option<KeepSpan>,
    /// Keep all that have TAG; of tags joined by commas, all. May be repeated.
    #[arg(long, value_name = "TAG[,TAG]", conflicts_with = "snapshots")]
    keep_tag: Vec<String>,
}

impl KeepArgs {
    fn policy(&self) -> Policy {
        let list = |tags: &String| split_tags(tags).map(str::to_owned).collect();
        Policy {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within,
            within_hourly: self.keep_within_hourly,
            within_daily: self.keep_within_daily,
            within_weekly: self.keep_within_weekly,
            within_monthly: self.keep_within_monthly,
            within_yearly: self.keep_within_yearly,
            tags: self.keep_tag.iter().map(list).collect(),
        }
    }
}

pub(crate) async fn run(context: &Context, args: ForgetArgs) -> Result<Exit, Failure> {
    let policy = args.keep.policy();
    if args.snapshots.is_empty() && policy.is_empty() {
        return Err(Failure::usage(
            "name snapshots, or say with --keep options which to keep",
        ));
    }
    let repository = context.open().await?;
    let plan = plan(&repository, &args, &policy)?;
    let named = !args.snapshots.is_empty();
    for group in &plan.groups {
        show_group(context, group, named)?;
    }
    // Refused in a dry run as well: it says what would happen.
    if let Some(group) = plan.emptied().next().filter(|_| !args.allow_empty) {
        let group = group.key.to_string();
        return Err(Error::EmptiesGroup { group }.into());
    }
    let forgotten = if args.dry_run {
        Forgotten::default()
    } else {
        let options = ForgetOptions {
            allow_empty: args.allow_empty,
        };
        let action = context.action(&action(&plan))?;
        repository.forget(&plan, &options, &action).await?
    };
    let wal = expire_wal(context, &repository, &plan, args.dry_run).await?;
    let all = plan.groups.iter().map(|group| group.snapshots.len()).sum();
    let mut summary = summary(&args, &plan, all, &forgotten);
    summary.wal_removed = (wal > 0).then_some(wal);
    context.output.show(&summary)?;
    Ok(Exit::Ok)
}

/// Forgets WAL that no snapshot of a cluster needs any more; gives the number of snapshots of it.
async fn expire_wal(
    context: &Context,
    repository: &Repository,
    plan: &ForgetPlan,
    dry_run: bool,
) -> Result<u64, Failure> {
    let going = plan.removed().map(PlannedSnapshot::id).collect();
    let expired = match wal::expired(repository, &going).await {
        Ok(expired) => expired,
        Err(error) => {
            let failure = Failure::because("all archived WAL is kept", &error);
            context.warn(&failure.message);
            return Ok(0);
        }
    };
    if !dry_run && !expired.is_empty() {
        let action = context.action("forget WAL that no snapshot needs")?;
        wal::expire(repository, &expired, &action).await?;
    }
    Ok(expired.len() as u64)
}

fn plan(
    repository: &Repository,
    args: &ForgetArgs,
    policy: &Policy,
) -> Result<ForgetPlan, Failure> {
    let mut known = repository.snapshots();
    if args.snapshots.is_empty() {
        // Archived WAL goes when no snapshot of its cluster needs it.
        known.retain(|known| args.filter.matches(known) && !select::is_wal(known));
        return Ok(plan_forget(
            &known,
            policy,
            args.group_by,
            &Calendar::system(),
        ));
    }
    let mut ids: Vec<SnapshotId> = Vec::with_capacity(args.snapshots.len());
    for name in &args.snapshots {
        ids.push(select::find(&known, name, &args.filter)?.snapshot.id());
    }
    Ok(plan_forget_ids(&known, &ids, args.group_by)?)
}

fn action(plan: &ForgetPlan) -> String {
    let ids: Vec<String> = plan.removed().map(|p| show::short(&p.id())).collect();
    format!("forget {}", show::some(&ids, NAMED_MAX))
}

/// A group as a table; where snapshots are named, of those only.
fn show_group(context: &Context, group: &ForgetGroup, named: bool) -> Result<(), Failure> {
    let output = &context.output;
    let shown = || {
        let all = group.snapshots.iter();
        all.filter(|planned| !named || !planned.is_kept())
    };
    if output.is_json() {
        for planned in shown() {
            output.message(&ForgetMessage::new(planned, &group.key))?;
        }
        return Ok(());
    }
    let removed = shown().filter(|planned| !planned.is_kept()).count() as u64;
    let key = show::path(group.key.to_string().as_bytes());
    if named {
        output.line(format!("{key}: remove {}", show::grouped(removed)))?;
    } else {
        let kept = group.snapshots.len() as u64 - removed;
        let (kept, removed) = (show::grouped(kept), show::grouped(removed));
        output.line(format!("{key}: keep {kept}, remove {removed}"))?;
    }
    let rows: Vec<_> = shown().map(row).collect();
    for line in show::table(&["ACTION", "ID", "TIME", "TAGS", "REASONS"], &[], &rows) {
        output.line(line)?;
    }
    output.line("")
}

fn row(planned: &PlannedSnapshot) -> Vec<String> {
    let reasons: Vec<String> = planned.keep.iter().map(ToString::to_string).collect();
    let action = if planned.is_kept() { "keep" } else { "remove" };
    vec![
        action.to_owned(),
        show::short(&planned.id()),
        show::local_time(planned.known.snapshot.time_ms),
        show::path(planned.known.tags.join(",").as_bytes()),
        show::path(reasons.join(", ").as_bytes()),
    ]
}

fn summary(
    args: &ForgetArgs,
    plan: &ForgetPlan,
    all: usize,
    forgotten: &Forgotten,
) -> ForgetSummary {
    let planned = plan.removed().count();
    ForgetSummary {
        dry_run: args.dry_run,
        groups: plan.groups.len() as u64,
        kept: (all - planned) as u64,
        removed: if args.dry_run {
            planned as u64
        } else {
            forgotten.removed.len() as u64
        },
        gone: forgotten.gone.len() as u64,
        commit: forgotten.commit,
        wal_removed: None,
    }
}
