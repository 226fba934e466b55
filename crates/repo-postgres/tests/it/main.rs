//! Tests of the adapter against repositories in memory.

mod wal;
