//! Acceptance tests: the real binary, as a person or a script runs it.
//!
//! Each test has a home directory of its own, so nothing of the machine's user is read or written.

mod copies;
mod damage;
mod driver;
mod dump;
mod errors;
mod files;
mod find;
mod first_use;
mod forget;
mod gc;
mod json;
mod keys;
mod lists;
mod manual;
mod metrics;
mod mount;
mod restore;
mod stats;
mod streams;
mod tables;
mod tui;
mod wal;
