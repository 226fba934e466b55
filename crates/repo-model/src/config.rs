//! What is checked: configurations, and the rules that can be left out.

use crate::place::Blobs;

/// Who takes part, what there is at first, and what is written.
#[derive(Debug, Clone)]
pub struct Config {
    /// Writers, two at most.
    pub writers: usize,
    /// Whether a writer begins again after a crash, and when its snapshot was forgotten.
    pub again: bool,
    /// Collectors, two at most. Each collects again and again.
    pub collectors: usize,
    /// The packs there are at first: blobs, and whether one is a delta.
    pub packs: Vec<(Blobs, bool)>,
    /// Whether one index object is for all of them, or each has its own.
    pub one_index: bool,
    /// The blobs of the snapshot there is at first, and of each writer's.
    pub snapshots: [Blobs; 3],
    /// Whether writers store deltas.
    pub deltas: bool,
    /// Whether collectors repack.
    pub repack: bool,
    /// Whether a collector lists the packs some time after it has read the state, and not at once.
    pub list_late: bool,
    /// How many packs the store and the processes know at a time, eight at most. A step that needs
    /// a further one waits.
    pub room: usize,
}

/// A rule of the protocol. Without any one of them data is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A writer that finds commits of a collector before its own looks again for all it needs.
    Revalidate,
    /// It does so against all that was condemned since the state it began with, swept or not.
    RememberCondemned,
    /// It holds its own packs to the same rule.
    CheckOwnPacks,
    /// A collector keeps the bases of what it keeps.
    CloseOverBases,
    /// A collector that finds snapshots before its own commit takes what they need off its list.
    SettleAgain,
    /// A collector leaves no delta in the index whose base it drops, though no snapshot needs it.
    DropDangling,
    /// An index object that no commit names is deleted only after a commit has said so, and a writer
    /// whose own it was begins again.
    RemoveBeforeDelete,
    /// Packs are deleted after the commit that condemns them.
    CommitBeforeSweep,
}
