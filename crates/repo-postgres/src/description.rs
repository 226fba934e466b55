//! What a snapshot says about the cluster it was taken of.
//!
//! Two files below `.repo/` in the snapshot, which a restore leaves out: `postgres.json`, one object
//! with the fields of [`Description`], and `relations.jsonl`, one [`Relation`](crate::Relation) a
//! line. Fields may be added; a reader skips those that it does not know.

use std::path::PathBuf;

use repo_core::SnapshotView;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits::DESCRIPTION_MAX;
use crate::lsn::Lsn;

/// Directory of the snapshot that is not part of the cluster.
pub(crate) const PLACE: &str = ".repo";
/// Path of the description in a snapshot.
pub const DESCRIPTION_PATH: &str = ".repo/postgres.json";
/// Path of the list of relations in a snapshot.
pub const RELATIONS_PATH: &str = ".repo/relations.jsonl";
/// Kind of source that snapshots of clusters record.
pub const KIND: &str = "postgres";

/// Version of the description that is written and read.
const FORMAT: u32 = 1;

/// A cluster at the time of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// Version of this object, 1.
    pub format: u32,
    /// Number of the cluster and its standbys, in decimal; it does not fit into a double.
    pub system_identifier: String,
    /// Version of the server, as in 150004 for 15.4.
    pub version: u32,
    /// Version of the catalogs, as in 202209061.
    pub catalog_version: u32,
    /// Timeline of the backup.
    pub timeline: u32,
    /// Where recovery begins.
    pub start_lsn: Lsn,
    /// Up to where the log must be replayed for the files to be consistent.
    pub stop_lsn: Lsn,
    /// The server was a standby.
    pub standby: bool,
    /// Pages have checksums.
    pub checksums: bool,
    /// Length of a page, in bytes.
    pub block_size: u32,
    /// Pages in a file of a relation.
    pub segment_blocks: u32,
    /// Length of a segment of the log, in bytes.
    pub wal_segment_size: u32,
    /// The data directory.
    pub pgdata: String,
    /// Segments of the log that the snapshot holds, by name and in order.
    pub wal: Vec<String>,
    /// Tablespaces besides the two that lie in the data directory.
    pub tablespaces: Vec<Tablespace>,
    /// Databases, by the catalog.
    pub databases: Vec<Database>,
    /// Pages whose checksum is wrong, at most 10,000.
    pub corrupt_pages: Vec<CorruptPage>,
}

/// A tablespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    /// Its number, which names its link in `pg_tblspc`.
    pub oid: u32,
    /// Where it lay; absent when inside of the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<PathBuf>,
}

/// A database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its number, which names its directories.
    pub oid: u32,
    /// Its name.
    pub name: String,
}

/// A page whose checksum is wrong and whose bytes were kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CorruptPage {
    /// The file, relative to the data directory.
    pub path: String,
    /// The block of the relation.
    pub block: u32,
    /// Database, schema and name of the relation where the catalog told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<String>,
}

impl Description {
    /// The version of the format that this program writes.
    pub(crate) const FORMAT: u32 = FORMAT;

    /// Reads the description of a snapshot.
    pub async fn of(view: &SnapshotView) -> Result<Self> {
        let not_ours = || Error::NotPostgres {
            id: view.id().to_hex(),
        };
        if view.snapshot().source.as_deref() != Some(KIND) {
            return Err(not_ours());
        }
        let entry = match view.entry(DESCRIPTION_PATH.as_bytes()).await {
            Ok(entry) => entry,
            Err(repo_core::Error::UnknownPath { .. }) => return Err(not_ours()),
            Err(error) => return Err(error.into()),
        };
        if entry.size > DESCRIPTION_MAX {
            return Err(bad("it is too long"));
        }
        Self::parse(&view.read(&entry, 0..entry.size).await?)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let read: Self = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        if read.format != FORMAT {
            return Err(bad(format!("format {} is not known", read.format)));
        }
        let sane = read.segment_blocks > 0
            && read.wal_segment_size.is_power_of_two()
            && read.wal_segment_size >= 1 << 20;
        if !sane {
            return Err(bad("its sizes are out of range"));
        }
        Ok(read)
    }

    /// The bytes to store.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| bad(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Directory of this version in each tablespace, as in `PG_15_202209061`.
    #[must_use]
    pub fn version_directory(&self) -> String {
        format!("PG_{}_{}", self.version / 10_000, self.catalog_version)
    }
}

fn bad(why: impl Into<String>) -> Error {
    Error::Description {
        path: DESCRIPTION_PATH,
        why: why.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn sample() -> Description {
        Description {
            format: FORMAT,
            system_identifier: "7710640135549631227".to_owned(),
            version: 150_004,
            catalog_version: 202_209_061,
            timeline: 1,
            start_lsn: Lsn(0x200_0028),
            stop_lsn: Lsn(0x200_0138),
            standby: false,
            checksums: true,
            block_size: 8192,
            segment_blocks: 131_072,
            wal_segment_size: 16 << 20,
            pgdata: "/data".to_owned(),
            wal: vec!["000000010000000000000002".to_owned()],
            tablespaces: vec![Tablespace {
                oid: 16_400,
                location: Some(PathBuf::from("/fast")),
            }],
            databases: vec![Database {
                oid: 5,
                name: "postgres".to_owned(),
            }],
            corrupt_pages: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = sample().to_bytes().expect("JSON");
        assert_eq!(Description::parse(&bytes).expect("read"), sample());
        assert!(String::from_utf8_lossy(&bytes).contains("\"start_lsn\": \"0/2000028\""));
        assert_eq!(sample().version_directory(), "PG_15_202209061");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let with = |change: fn(&mut Description)| {
            let mut changed = sample();
            change(&mut changed);
            Description::parse(&changed.to_bytes().expect("JSON"))
        };
        assert!(with(|d| d.format = 2).is_err());
        assert!(with(|d| d.wal_segment_size = 0).is_err());
        assert!(with(|d| d.segment_blocks = 0).is_err());
        assert!(Description::parse(b"{}").is_err());
        assert!(Description::parse(b"").is_err());
    }
}
