//! Snapshots as an object store, and as a file system that real programs read.

mod clients;
#[path = "../../examples/parquet.rs"]
#[expect(dead_code, reason = "the example is a program of its own, too")]
mod example;
mod fixture;
mod mount;
mod store;
