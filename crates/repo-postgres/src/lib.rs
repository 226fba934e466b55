//! Snapshots of live Postgres clusters, their restore, and their archive of WAL.

pub mod stream;
pub mod wal;
