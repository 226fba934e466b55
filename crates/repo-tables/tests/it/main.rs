//! Tests of tables against their formats and their readers, in one binary. Some tables are made by hand,
//! so that every corner of a log can be had.

mod archive;
mod avro;
mod avro_writer;
mod broken;
mod checkpoints;
mod fixture;
mod history;
mod iceberg;
mod log;
mod meddling;
mod moves;
mod place;
mod readers;
mod restore;
mod scale;
mod server;
mod snapshot;
mod table_writer;

use std::alloc::System;

use cap::Cap;

/// Counts what is allocated, for the test of scale.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);
