//! Messages about the repository as a whole: its making, keys, log, sums and verification.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use crate::show;

/// A repository that was made.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "repository_created")]
pub(crate) struct CreatedMessage {
    pub(crate) id: String,
    pub(crate) location: String,
    pub(crate) encrypted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<String>,
}

impl Display for CreatedMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let how = if self.encrypted {
            "encrypted"
        } else {
            "not encrypted"
        };
        write!(
            f,
            "repository {} made at {}, {how}",
            &self.id[..8],
            self.location
        )?;
        match &self.key_file {
            Some(key_file) => write!(f, "; its key is in {key_file}: keep a copy of the key"),
            None => Ok(()),
        }
    }
}

/// The end of `check`.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "check_summary")]
pub(crate) struct CheckSummary {
    pub(crate) packs: u64,
    pub(crate) indexes: u64,
    pub(crate) snapshots: u64,
    pub(crate) blobs: u64,
    pub(crate) bytes_read: u64,
    pub(crate) damage: u64,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) coverage: Option<CoverageFields>,
    pub(crate) duration_ms: u64,
}

/// What is verified, when packs were read by their age.
#[derive(Serialize)]
pub(crate) struct CoverageFields {
    pub(crate) pack_bytes: u64,
    pub(crate) pack_bytes_verified: u64,
    pub(crate) packs_due: u64,
}

impl Display for CheckSummary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "checked {}, {}, {}, {}; read {} in {}: ",
            show::count(self.snapshots, "snapshot"),
            show::count(self.packs, "pack"),
            show::count(self.indexes, "index"),
            show::count(self.blobs, "blob"),
            show::bytes(self.bytes_read),
            show::duration(Duration::from_millis(self.duration_ms)),
        )?;
        if let Some(coverage) = &self.coverage {
            let hundred = u128::from(coverage.pack_bytes_verified) * 100;
            let percent = hundred
                .checked_div(coverage.pack_bytes.into())
                .unwrap_or(100);
            write!(
                f,
                "{} of {} ({percent} %) verified in time, {} due; ",
                show::bytes(coverage.pack_bytes_verified),
                show::bytes(coverage.pack_bytes),
                show::count(coverage.packs_due, "pack"),
            )?;
        }
        match self.damage {
            0 => f.write_str("no damage found"),
            _ => f.write_str("DAMAGED"),
        }
    }
}

/// A key slot.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "key")]
pub(crate) struct KeyMessage<'a> {
    pub(crate) id: String,
    pub(crate) created: String,
    pub(crate) label: &'a str,
    pub(crate) current: bool,
    pub(crate) memory_kib: u32,
    pub(crate) passes: u32,
    pub(crate) lanes: u32,
}

/// A key slot that was added or removed.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "key_change")]
pub(crate) struct KeyChangeMessage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) added: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) removed: Option<String>,
}

impl Display for KeyChangeMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (&self.added, &self.removed) {
            (Some(added), Some(removed)) => {
                write!(
                    f,
                    "key {} added, key {} removed",
                    &added[..8],
                    &removed[..8]
                )
            }
            (Some(added), None) => write!(f, "key {} added", &added[..8]),
            (None, Some(removed)) => write!(f, "key {} removed", &removed[..8]),
            (None, None) => f.write_str("no key changed"),
        }
    }
}

/// One generation of the master key.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "key_epoch")]
pub(crate) struct KeyEpochMessage {
    pub(crate) epoch: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first: Option<u64>,
    pub(crate) current: bool,
}

/// A rotation of the keys.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "key_rotation")]
pub(crate) struct KeyRotationMessage {
    pub(crate) epoch: u32,
    pub(crate) first: u64,
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) left: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<String>,
}

impl Display for KeyRotationMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "key epoch {} seals what is stored from commit {} on; {} replaced by {}",
            self.epoch,
            self.first,
            show::count(self.removed.len() as u64, "key"),
            self.added.len(),
        )?;
        if !self.left.is_empty() {
            let left: Vec<String> = self.left.iter().map(|id| id[..8].to_owned()).collect();
            write!(f, "; left as they are: {}", left.join(", "))?;
        }
        match &self.key_file {
            Some(key_file) => write!(f, "; the new key is in {key_file}: keep a copy of the key"),
            None => Ok(()),
        }
    }
}

/// The end of older master keys.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "key_retirement")]
pub(crate) struct KeyRetirementMessage {
    pub(crate) epochs: Vec<u32>,
    pub(crate) begins: u64,
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) log_objects: u64,
    pub(crate) kept: u64,
}

impl Display for KeyRetirementMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.begins == 0 {
            return f.write_str("there is no older key to retire");
        }
        match self.epochs.as_slice() {
            [] => f.write_str("no older key is left")?,
            [one] => write!(f, "key epoch {one} retired")?,
            epochs => {
                let epochs: Vec<String> = epochs.iter().map(u32::to_string).collect();
                write!(f, "key epochs {} retired", epochs.join(", "))?;
            }
        }
        write!(
            f,
            "; the log begins with commit {}, {} of before deleted",
            self.begins,
            show::count(self.log_objects, "object"),
        )?;
        match self.kept {
            0 => Ok(()),
            kept => write!(
                f,
                "; the store keeps {}, which an older key or password still opens",
                show::count(kept, "object")
            ),
        }
    }
}

/// The tags and protection of a snapshot after a change.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "tags")]
pub(crate) struct TagsMessage<'a> {
    pub(crate) id: String,
    pub(crate) tags: &'a [String],
    pub(crate) protected: bool,
}

impl Display for TagsMessage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tags = match self.tags {
            [] => "no tags".to_owned(),
            tags => tags.join(", "),
        };
        let protected = if self.protected { ", protected" } else { "" };
        write!(f, "snapshot {}: {tags}{protected}", &self.id[..8])
    }
}

/// Sums over the repository.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "stats")]
pub(crate) struct StatsMessage {
    pub(crate) id: String,
    pub(crate) location: String,
    pub(crate) encrypted: bool,
    pub(crate) snapshots: u64,
    pub(crate) logical_bytes: u64,
    pub(crate) blobs: u64,
    pub(crate) unique_bytes: u64,
    pub(crate) packs: u64,
    pub(crate) pack_bytes: u64,
    pub(crate) indexes: u64,
    pub(crate) index_bytes: u64,
}

impl Display for StatsMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let how = if self.encrypted {
            "encrypted"
        } else {
            "not encrypted"
        };
        writeln!(
            f,
            "repository  {} at {}, {how}",
            &self.id[..8],
            self.location
        )?;
        writeln!(
            f,
            "snapshots   {}, {} in all files",
            show::grouped(self.snapshots),
            show::bytes(self.logical_bytes)
        )?;
        writeln!(
            f,
            "unique      {} in {}",
            show::bytes(self.unique_bytes),
            show::count(self.blobs, "blob")
        )?;
        writeln!(
            f,
            "packs       {} in {}",
            show::bytes(self.pack_bytes),
            show::count(self.packs, "pack")
        )?;
        write!(
            f,
            "index       {} in {}",
            show::bytes(self.index_bytes),
            show::count(self.indexes, "object")
        )
    }
}

/// An entry of the log.
#[derive(Serialize)]
#[serde(tag = "message_type", rename = "commit")]
pub(crate) struct CommitMessage {
    pub(crate) number: u64,
    pub(crate) time: String,
    pub(crate) action: String,
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    pub(crate) retagged: Vec<String>,
    pub(crate) protected: Vec<String>,
    pub(crate) unprotected: Vec<String>,
    pub(crate) indexes_added: usize,
    pub(crate) indexes_removed: usize,
    pub(crate) condemned: usize,
    pub(crate) swept: usize,
    #[serde(skip)]
    pub(crate) shown: String,
}

impl Display for CommitMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}
