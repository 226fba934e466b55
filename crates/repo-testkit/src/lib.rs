//! Doubles, damage, data and servers for tests. Never a dependency of a shipped crate.
//!
//! The stores here decorate any `object_store`: [`FaultStore`] counts requests and fails chosen
//! ones, [`AppendOnly`] refuses deletes and overwrites, [`Overwriting`] lies about create-only
//! puts, [`MemoryLocks`] is a bucket with Object Lock, [`Sim`] interleaves and harms many clients
//! by a seed. [`damage`] spoils stored bytes, [`data`] makes files from a seed, [`conformance`] is the
//! contract every store must meet, [`Seaweed`] is a real S3 server for as long as a test runs, and
//! [`tool`] finds what else was installed for tests.

mod append_only;
pub mod conformance;
pub mod damage;
pub mod data;
mod decorator;
mod fault;
mod memory_locks;
mod overwriting;
mod recording;
mod seaweed;
mod sim;
mod tools;

pub use append_only::AppendOnly;
pub use fault::FaultStore;
pub use memory_locks::MemoryLocks;
pub use overwriting::Overwriting;
pub use recording::{Recording, Request, Verb};
pub use seaweed::Seaweed;
pub use sim::{Chances, Clock, Sim, SimPlan, SimStore};
pub use tools::tool;
