//! Garbage collection: what no snapshot needs is condemned in the log, and deleted later.
//!
//! No lock and no clock keeps it safe. A commit condemns packs and exchanges index objects; a
//! writer that relied on one of them learns so when it commits, and stores what it needs again.
//! The collector is bound by the same rule: a snapshot that won the race is read before the next
//! attempt, and what it needs is taken off the list. Deletion follows the commit, never precedes
//! it. Graces are for readers of forgotten snapshots and for the progress of slow writers.

mod bases;
mod collect;
mod live;
mod plan;
mod repack;
mod reseal;
mod rewrite;
mod sweep;

use crate::repository::ParityReport;

pub(crate) use collect::{Mark, collect};
pub(crate) use live::{Live, Place};

/// How much of the kept packs may be waste.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// Any amount: nothing is copied to make room.
    Unlimited,
    /// So many bytes.
    Bytes(u64),
    /// So many percent of the kept packs' bytes.
    Percent(f64),
}

/// How much of what older keys seal is sealed anew under the newest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reseal {
    /// Nothing for its own sake.
    #[default]
    No,
    /// Packs whose needed data is up to so many bytes together, but at least one; and all index objects.
    UpTo(u64),
    /// All.
    All,
}

/// Choices of one collection.
#[derive(Debug, Clone)]
pub struct GcOptions {
    /// Waste that may stay; 5 % by default.
    pub max_unused: MaxUnused,
    /// Most bytes to copy out of packs that hold both live and dead data; no limit by default.
    pub max_repack_bytes: Option<u64>,
    /// What is sealed anew after a rotation of the keys; nothing by default. Costs a small request for
    /// each pack. Not counted by the limits above.
    pub reseal: Reseal,
    /// Packs are deleted so long after they were condemned, in milliseconds, by the times the store
    /// gave the objects; a day by default. Spares readers that opened an earlier state.
    pub reader_grace_ms: i64,
    /// Objects no commit names are left alone while the run that wrote them stored something within
    /// this time, in milliseconds; a day by default. Spares slow writers extra work.
    pub writer_grace_ms: i64,
    /// Find out what would be done, to the byte, and do nothing.
    pub dry_run: bool,
    /// zstd level of what has to be compressed anew.
    pub level: i32,
    /// What the log says was done.
    pub action: String,
}

impl Default for GcOptions {
    fn default() -> Self {
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        Self {
            max_unused: MaxUnused::Percent(5.0),
            max_repack_bytes: None,
            reseal: Reseal::No,
            reader_grace_ms: DAY_MS,
            writer_grace_ms: DAY_MS,
            dry_run: false,
            level: 3,
            action: "gc".to_owned(),
        }
    }
}

/// Objects and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many.
    pub objects: u64,
    /// Their lengths together.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }

    fn of(bytes: impl IntoIterator<Item = u64>) -> Self {
        let mut amount = Self::default();
        bytes.into_iter().for_each(|bytes| amount.add(bytes));
        amount
    }
}

/// What a collection found and did; or would do, when it was for show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Blobs that snapshots reach.
    pub live_blobs: u64,
    /// Packs that stay.
    pub kept: Amount,
    /// Bytes in packs that stay and that nothing needs.
    pub unused_bytes: u64,
    /// Packs condemned because nothing in them is needed.
    pub dead: Amount,
    /// Packs condemned after what is needed was copied out of them.
    pub repacked: Amount,
    /// Those of them that were sealed under an older key; counted when they are looked for.
    pub resealed: Amount,
    /// Packs that stay and are sealed under an older key; counted when they are looked for.
    pub old_keys: Amount,
    /// Packs condemned that no commit had named: left by interrupted runs.
    pub abandoned: Amount,
    /// Packs and index objects written in exchange.
    pub written_bytes: u64,
    /// Index objects that are live no more.
    pub indexes_removed: u64,
    /// Index objects in their place.
    pub indexes_added: u64,
    /// Packs that were condemned and are deleted now.
    pub swept: Amount,
    /// Index objects deleted.
    pub swept_indexes: Amount,
    /// Packs that are condemned and wait for the readers' grace to end.
    pub waiting: Amount,
    /// When the last of these graces ends, by the clock of the store or of this machine, whichever
    /// is ahead; in milliseconds since 1970, UTC. A later run deletes them, nothing else does.
    pub waiting_until_ms: Option<i64>,
    /// Condemned packs and removed index objects that a retention lock of the store keeps.
    pub locked: Amount,
    /// When the last of these locks ends, in milliseconds since 1970, UTC, as far as known.
    pub locked_until_ms: Option<i64>,
    /// Condemned packs and removed index objects that the store did not let go for another reason.
    pub refused: Vec<(String, String)>,
    /// What was done for parity, where the repository has some. Packs that help to rebuild a damaged
    /// one wait, too.
    pub parity: Option<ParityReport>,
}
