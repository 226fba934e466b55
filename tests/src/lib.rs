//! Shared parts of the end-to-end tests: running the real binary, describing what lies in a
//! directory, and what the golden repositories hold.

pub mod describe;
pub mod golden;
pub mod moment;
pub mod pgbench;
pub mod postgres;
pub mod program;
pub mod proxy;
pub mod server;
pub mod site;
pub mod sources;
