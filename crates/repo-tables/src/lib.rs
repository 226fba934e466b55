//! Snapshots of lakehouse tables, Iceberg and Delta, and their restore to any place.
//!
//! [`iceberg`] knows which files an Iceberg table consists of and rewrites its metadata for another place,
//! through [`avro`], which edits containers without decoding what it does not change.

pub mod avro;
pub mod iceberg;
