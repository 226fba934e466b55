//! Files and directories on top of the repository: snapshot, read, restore, compare.

mod assemble;
mod bases;
mod batch;
mod check;
mod content;
mod copy;
mod diff;
mod gc;
mod ingest;
mod large;
mod lists;
mod locks;
mod meta;
mod options;
mod publish;
mod reach;
mod reader;
mod repair;
mod restore;
mod roots;
mod run;
mod snapshot;
mod tree;
mod undo;
mod view;
mod walk;
mod worker;

pub use copy::{CopiedSnapshot, CopyOptions, CopyReport};
pub use diff::{Change, ChangeKind, DiffTotals, VisitChange};
pub use locks::{LocksReport, SnapshotLock};
pub use options::{Exclude, Parent, SnapshotOptions, SnapshotReport};
pub use reader::{FileReader, Leaf, Reader};
pub use restore::{PlanAction, PlanLine, RestoreOptions, RestoreReport};
pub use snapshot::StreamEnd;
pub use undo::UndoReport;
pub use view::{SnapshotView, Visit};
