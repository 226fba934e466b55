//! The archive of WAL: files that Postgres hands over, kept in the repository by volumes of 4 GiB,
//! and given back to a server that recovers.
//!
//! Why it is as it is: [decision 0017](../../../../docs/decisions/0017-wal-archive.md).

mod archive;
mod check;
mod error;
mod get;
mod header;
mod limits;
mod local;
mod name;
mod push;
mod ranges;
mod spool;

pub use archive::{KIND, knows, volume_of};
pub use check::{Checked, check};
pub use error::{Error, Result};
pub use get::{fetch, fetch_ahead};
pub use header::Header;
pub use local::{Request, system_identifier};
pub use name::{Segment, Volume, WalFile};
pub use push::{PushReport, push};
pub use ranges::{TimelineWal, WalRange, expire, expired, ranges};
pub use spool::Spool;
