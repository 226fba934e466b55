//! Snapshots as an object store, and as a file system that real programs read.

mod clients;
mod fixture;
mod mount;
mod store;
