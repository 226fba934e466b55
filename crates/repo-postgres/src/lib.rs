//! Snapshots of live Postgres clusters, their restore, and their archive of WAL.
//!
//! [`snapshot`] takes a backup of a running server through its own low-level API and stores the data
//! directory with the log that makes it consistent; [`restore`] makes a directory a cluster again that
//! is ready to start. What a snapshot knows of its cluster is its [`Description`].

mod control;
mod description;
mod error;
mod files;
mod limits;
mod lsn;
mod manifest;
mod open;
mod page;
mod postmaster;
mod relations;
mod restore;
mod server;
mod snapshot;
pub mod stream;
pub mod wal;

pub use description::{
    CorruptPage, DESCRIPTION_PATH, Database, Description, KIND, RELATIONS_PATH, Tablespace,
};
pub use error::{Error, Result};
pub use lsn::{Lsn, ParseLsnError, segment_name, segments};
pub use open::{Layer, Layers, OpenServer, Programs, ServerOptions, layers};
pub use relations::{Relation, SizedRelation, relations};
pub use restore::{Action, ClusterRestore, Recovery, Target, restore};
pub use server::Connection;
pub use snapshot::{Cluster, ClusterReport, snapshot};
