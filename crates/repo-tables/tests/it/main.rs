//! Tests of tables against their formats and their readers, in one binary.

mod avro;
mod avro_writer;
mod broken;
mod moves;
mod place;
mod readers;
mod scale;
mod table_writer;

use std::alloc::System;

use cap::Cap;

/// Counts what is allocated, for the test of scale.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);
