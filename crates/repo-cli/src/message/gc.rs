//! Messages of `gc` and `undo`.

use std::fmt::{self, Display, Formatter};

use repo_core::{Amount, GcOptions, GcReport, Reseal};
use serde::Serialize;

use crate::show;

/// Ids that a line names; of more it says how many.
const NAMED_MAX: usize = 8;

/// The end of `gc`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "gc_summary")]
pub(crate) struct GcSummary {
    dry_run: bool,
    live_blobs: u64,
    dead_packs: u64,
    dead_bytes: u64,
    repacked_packs: u64,
    repacked_bytes: u64,
    abandoned_packs: u64,
    abandoned_bytes: u64,
    written_bytes: u64,
    indexes_removed: u64,
    indexes_added: u64,
    freed_packs: u64,
    freed_pack_bytes: u64,
    freed_indexes: u64,
    freed_index_bytes: u64,
    waiting_packs: u64,
    waiting_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_until: Option<String>,
    locked_objects: u64,
    locked_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked_until: Option<String>,
    kept_packs: u64,
    kept_bytes: u64,
    unused_bytes: u64,
    refused: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    resealing: Option<ResealingFields>,
    #[serde(skip)]
    shown: String,
}

/// What was sealed anew, when that was asked for.
#[derive(Serialize)]
struct ResealingFields {
    resealed_packs: u64,
    resealed_bytes: u64,
    old_key_packs: u64,
    old_key_bytes: u64,
}

impl GcSummary {
    pub(crate) fn new(report: &GcReport, options: &GcOptions) -> Self {
        let resealing = ResealingFields {
            resealed_packs: report.resealed.objects,
            resealed_bytes: report.resealed.bytes,
            old_key_packs: report.old_keys.objects,
            old_key_bytes: report.old_keys.bytes,
        };
        Self {
            dry_run: options.dry_run,
            live_blobs: report.live_blobs,
            dead_packs: report.dead.objects,
            dead_bytes: report.dead.bytes,
            repacked_packs: report.repacked.objects,
            repacked_bytes: report.repacked.bytes,
            abandoned_packs: report.abandoned.objects,
            abandoned_bytes: report.abandoned.bytes,
            written_bytes: report.written_bytes,
            indexes_removed: report.indexes_removed,
            indexes_added: report.indexes_added,
            freed_packs: report.swept.objects,
            freed_pack_bytes: report.swept.bytes,
            freed_indexes: report.swept_indexes.objects,
            freed_index_bytes: report.swept_indexes.bytes,
            waiting_packs: report.waiting.objects,
            waiting_bytes: report.waiting.bytes,
            waiting_until: report.waiting_until_ms.map(show::utc_time),
            locked_objects: report.locked.objects,
            locked_bytes: report.locked.bytes,
            locked_until: report.locked_until_ms.map(show::utc_time),
            kept_packs: report.kept.objects,
            kept_bytes: report.kept.bytes,
            unused_bytes: report.unused_bytes,
            refused: report.refused.len() as u64,
            resealing: (options.reseal != Reseal::No).then_some(resealing),
            shown: lines(report, options.dry_run),
        }
    }
}

impl Display for GcSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn packs(amount: Amount) -> String {
    let (count, bytes) = (
        show::count(amount.objects, "pack"),
        show::bytes(amount.bytes),
    );
    format!("{count}, {bytes}")
}

/// One line for each thing that there is something to say about.
fn lines(report: &GcReport, dry_run: bool) -> String {
    let mut lines = Vec::new();
    if dry_run {
        lines.push("dry run, nothing done; it would be:".to_owned());
    }
    let condemned = [
        (report.dead, "of no use"),
        (report.repacked, "copied in part"),
        (report.abandoned, "left by runs that did not end"),
    ];
    for (amount, why) in condemned
        .into_iter()
        .filter(|(amount, _)| amount.objects > 0)
    {
        lines.push(format!("condemned  {} ({why})", packs(amount)));
    }
    if report.written_bytes > 0 {
        let copied = show::bytes(report.written_bytes);
        lines.push(format!(
            "written    {copied} of packs and index in exchange"
        ));
    }
    if report.resealed.objects > 0 {
        let resealed = packs(report.resealed);
        lines.push(format!("resealed   {resealed}, under the newest key"));
    }
    let freed = show::bytes(report.swept.bytes + report.swept_indexes.bytes);
    let swept = show::count(report.swept.objects, "pack");
    let indexes = show::count(report.swept_indexes.objects, "index object");
    lines.push(format!("freed      {freed} ({swept}, {indexes})"));
    if let Some(until) = report.waiting_until_ms {
        let waiting = packs(report.waiting);
        let until = show::local_time(until);
        lines.push(format!(
            "waiting    {waiting}; a gc after {until} frees them all"
        ));
    }
    if let Some(until) = report.locked_until_ms {
        let locked = show::count(report.locked.objects, "object");
        let bytes = show::bytes(report.locked.bytes);
        let until = show::local_time(until);
        lines.push(format!(
            "locked     {locked}, {bytes}, by the store; the last lock ends {until}"
        ));
    }
    let unused = show::bytes(report.unused_bytes);
    lines.push(format!(
        "kept       {}, of which {unused} unused",
        packs(report.kept)
    ));
    if report.old_keys.objects > 0 {
        let old = packs(report.old_keys);
        lines.push(format!(
            "old keys   {old}; a gc with --reseal seals them anew"
        ));
    }
    if !report.refused.is_empty() {
        let refused = show::count(report.refused.len() as u64, "object");
        lines.push(format!(
            "refused    {refused}: due, and the store does not delete them"
        ));
    }
    lines.join("\n")
}

/// The end of `undo`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "undo_summary")]
pub(crate) struct UndoSummary {
    pub(crate) undone: u64,
    pub(crate) restored: Vec<String>,
    pub(crate) retagged: Vec<String>,
    pub(crate) commit: u64,
}

impl Display for UndoSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "commit {} undone by commit {}: ",
            self.undone, self.commit
        )?;
        let changes = [("back", &self.restored), ("retagged", &self.retagged)];
        let mut first = true;
        for (what, ids) in changes.into_iter().filter(|(_, ids)| !ids.is_empty()) {
            let ids: Vec<String> = ids.iter().map(|id| id[..8].to_owned()).collect();
            let separator = if first { "" } else { "; " };
            write!(f, "{separator}{} {what}", show::some(&ids, NAMED_MAX))?;
            first = false;
        }
        Ok(())
    }
}
