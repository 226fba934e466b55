//! Talking to a server directly: a session of simple queries, and backups over the replication
//! protocol.

mod about;
mod archive;
mod backup;
mod client;
mod error;
mod files;
mod fold;
mod pages;
mod question;
mod tar;

pub use backup::{StreamOptions, StreamReport, snapshot};
pub use client::{Client, Mode, Row, parse_dsn};
pub use error::{Error, Result};
pub use tokio_postgres::Config;
