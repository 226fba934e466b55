//! A model of how writers and collectors share a repository without locks and clocks, small enough
//! to be checked over its whole state space. No crate needs it; its tests are the proof.
//!
//! # What is modelled
//!
//! Up to two writers, two collectors, and anybody who forgets snapshots, sweeps packs or deletes index
//! objects. Each sleeps as long as it likes between any two steps and can crash at each. The steps
//! are those of [`Action`]; each mirrors one request, or several of which nobody else can see the
//! middle:
//!
//! | step | in the repository |
//! |---|---|
//! | [`Action::Begin`] | open at commit N; what its index locates is reused, the rest is new |
//! | [`Action::PutPack`], [`Action::PutCopies`] | `put packs/..`, then `put index/..` |
//! | [`Action::Commit`] | `Log::commit`: a create-only put of N+1, or the fold of who was first and revalidation |
//! | [`Action::Plan`], [`Action::List`], [`Action::PutRepacked`] | the plan of gc: dead packs, a pack to repack, packs nobody names |
//! | [`Action::Condemn`] | gc's one commit: condemned packs, index objects removed and rewritten |
//! | [`Action::Delete`], [`Action::Swept`] | the sweep |
//! | [`Action::DeleteIndex`], [`Action::DeleteRewritten`] | a commit that removes index objects which no commit named, and their deletion |
//! | [`Action::Forget`] | a commit that removes a snapshot |
//!
//! After every step, all that is reachable from any snapshot, bases of deltas included, must be located
//! by a live index object in a pack that is there, and no live index object may be deleted or mention
//! a pack that is condemned or deleted. Landmarks (somebody stores again, gives up, starts over, ...)
//! must be reached, so that the model cannot hold by doing nothing.
//!
//! # The rules
//!
//! [`Rule`] names them. [`Protocol::without`] leaves one out, and then data is lost: a test for each.
//! Two of them are easily forgotten:
//!
//! - [`Rule::DropDangling`]. A dead delta in a pack that stays keeps its place in the index. If its base
//!   is collected, a later writer reuses the delta by its id, meets no conflict, and commits a
//!   snapshot that cannot be read. So a collector drops such a delta from the index with its base.
//! - [`Rule::RemoveBeforeDelete`]. The index object that a collector is about to commit mentions
//!   packs that live index objects mention too: nobody can tell it from what a crash left. So a commit
//!   says that it is removed before it is deleted, and its owner, if there is one, starts over.
//!
//! # What is left out, and why nothing is lost by it
//!
//! - Numbers and the history of the log. A process knows the state it has read and what was
//!   committed since; that is kept with the process, so the log may be of any length.
//! - Names of packs and of collectors, and packs that nobody can read any more beyond one of a
//!   kind: states that differ in these only are one.
//! - The step between a pack and its index object: only the deletion of index objects can tell, and
//!   it may happen at once. A crash between the two leaves a loose pack, like one before both.
//! - A sweeper's memory: a condemned pack stays condemned until it is gone, so a stale view of the
//!   list does no harm.
//! - Bytes, encryption, damage, readers of forgotten snapshots. The last may meet a missing pack.
//! - A collector that passes over packs nobody names: packs put after it listed them are the same.
//!
//! # Bounds
//!
//! Three blobs (a base, one that can be a delta against it, another), a snapshot a writer, and
//! [`Config::room`] for packs that the store holds or anybody names at the same time; a put that
//! finds no room waits. Within these the search ends when there is no new state. States are told
//! apart by 64-bit fingerprints.

mod canonical;
mod collector;
mod config;
mod place;
mod protocol;
mod state;
mod writer;

pub use config::{Config, Rule};
pub use place::{BASE, Blobs, DELTA, OTHER};
pub use protocol::{Action, Protocol};
pub use state::State;
