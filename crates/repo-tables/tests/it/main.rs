//! Tests of tables against their formats, in one binary.

mod avro;
mod avro_writer;
