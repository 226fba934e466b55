//! Tests of tables against their formats and their readers, in one binary.

mod avro;
mod avro_writer;
mod place;
mod readers;
