//! Commits, the numbered entries of the log, and checkpoints, which sum up all before them.
//!
//! ```text
//! header [96] | sealed (nonce: 96): envelope of a CBOR map
//! ```
//! The store key (`log/` and 20 digits) is associated data, so a commit opens under its own number
//! only. Each commit holds BLAKE3 of the stored bytes of the one before.

use minicbor::{Decode, Encode};

use crate::codec::{decode_cbor, encode_cbor};
use crate::error::{Error, malformed};
use crate::id::{IndexId, PackId, SessionId, SnapshotId};
use crate::limits::COMMIT_MAX;
use crate::pack::{open_envelope, push_envelope};
use crate::seal::{HEADER_LEN, ObjectKind, Opener, Sealer};
use crate::secrets::KeyRing;
use crate::snapshot::SnapshotRecord;

/// BLAKE3 of a commit's stored bytes.
pub type CommitHash = [u8; 32];

/// The store key of commit `number`. Numbers start at 1.
#[must_use]
pub fn path(number: u64) -> String {
    format!("log/{number:020}")
}

/// The store key of the checkpoint that sums up all commits up to `number`.
#[must_use]
pub fn checkpoint_path(number: u64) -> String {
    format!("log/{number:020}.checkpoint")
}

/// What a store key below `log/` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogName {
    /// A commit.
    Commit(u64),
    /// A checkpoint.
    Checkpoint(u64),
}

/// Reads a store key below `log/`.
#[must_use]
pub fn parse_path(key: &str) -> Option<LogName> {
    let name = key.strip_prefix("log/")?;
    let (digits, checkpoint) = match name.strip_suffix(".checkpoint") {
        Some(digits) => (digits, true),
        None => (name, false),
    };
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok()?;
    Some(if checkpoint {
        LogName::Checkpoint(number)
    } else {
        LogName::Commit(number)
    })
}

/// A live index object as the log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct IndexRef {
    /// Name.
    #[n(0)]
    pub id: IndexId,
    /// Length of the object, in bytes.
    #[n(1)]
    pub size: u64,
    /// Blobs it locates.
    #[n(2)]
    pub entries: u64,
}

/// A snapshot with its changeable attributes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SnapshotRef {
    /// The record, a byte string so that whoever rewrites it keeps fields it does not know.
    #[n(0)]
    pub snapshot: SnapshotRecord,
    /// Sorted, without repeats.
    #[n(1)]
    pub tags: Vec<String>,
    /// True when no `forget` may remove it; absent otherwise, never false.
    #[n(2)]
    pub protected: Option<bool>,
}

impl SnapshotRef {
    /// Whether no `forget` may remove it.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.protected == Some(true)
    }
}

/// A change of a snapshot's attributes.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Retag {
    /// Which snapshot.
    #[n(0)]
    pub id: SnapshotId,
    /// Its tags from now on.
    #[n(1)]
    pub tags: Vec<String>,
    /// Whether it is protected from now on; absent leaves that as it is.
    #[n(2)]
    pub protected: Option<bool>,
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Commit {
    /// Place in the log, from 1.
    #[n(0)]
    pub number: u64,
    /// Hash of the commit before; zero for the first.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub previous: CommitHash,
    /// Writer's clock, in milliseconds since 1970, UTC. Information only; no rule rests on it.
    #[n(2)]
    pub time_ms: i64,
    /// What was done, for people: command, user and host.
    #[n(3)]
    pub action: String,
    /// Snapshots from now on.
    #[n(4)]
    pub add_snapshots: Vec<SnapshotRef>,
    /// Snapshots no more.
    #[n(5)]
    pub remove_snapshots: Vec<SnapshotId>,
    /// Attributes changed.
    #[n(6)]
    pub retag: Vec<Retag>,
    /// Index objects live from now on.
    #[n(7)]
    pub add_indexes: Vec<IndexRef>,
    /// Index objects no more live.
    #[n(8)]
    pub remove_indexes: Vec<IndexId>,
    /// Packs no snapshot after this commit may refer to.
    #[n(9)]
    pub condemn: Vec<PackId>,
    /// Condemned packs that have been deleted.
    #[n(10)]
    pub swept: Vec<PackId>,
    /// Numbers of features a reader must know to fold this commit.
    #[n(11)]
    pub needs: Vec<u32>,
    /// Epochs below this number are retired: nothing that the state names is sealed under them, and
    /// the log begins with this commit. What is below it may be deleted.
    #[n(12)]
    pub retire: Option<u32>,
}

/// Where a log begins whose earlier commits may be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Beginning {
    /// Its first commit.
    #[n(0)]
    pub commit: u64,
    /// The oldest epoch that may seal anything the state names.
    #[n(1)]
    pub epoch: u32,
}

/// Everything the log says up to and including one commit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Checkpoint {
    /// The last commit summed up.
    #[n(0)]
    pub number: u64,
    /// Hash of that commit.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub hash: CommitHash,
    /// Snapshots, in the order they were added.
    #[n(2)]
    pub snapshots: Vec<SnapshotRef>,
    /// Live index objects.
    #[n(3)]
    pub indexes: Vec<IndexRef>,
    /// Packs condemned and not yet swept.
    #[n(4)]
    pub condemned: Vec<PackId>,
    /// Numbers of features a reader must know.
    #[n(5)]
    pub needs: Vec<u32>,
    /// For each of `condemned`, the commit that condemned it; absent in older checkpoints.
    #[n(6)]
    pub condemned_at: Option<Vec<u64>>,
    /// Where the log begins, once epochs were retired.
    #[n(7)]
    pub begins: Option<Beginning>,
}

/// Hash that the next commit holds of these stored bytes.
#[must_use]
pub fn hash(stored: &[u8]) -> CommitHash {
    *blake3::hash(stored).as_bytes()
}

/// Seals a commit into its stored bytes, then opens them and compares: a commit that cannot be read
/// would end the log.
pub fn seal(ring: &KeyRing, session: SessionId, commit: &Commit) -> Result<Vec<u8>, Error> {
    let path = path(commit.number);
    let raw = encode_cbor(commit);
    let stored = seal_record(ring, ObjectKind::Commit, session, path, &raw)?;
    verify(open(ring, commit.number, &stored)? == *commit)?;
    Ok(stored)
}

/// Opens the commit stored under `number`.
pub fn open(ring: &KeyRing, number: u64, stored: &[u8]) -> Result<Commit, Error> {
    let raw = open_record(ring, ObjectKind::Commit, &path(number), stored)?;
    let commit = decode_commit(&raw)?;
    if commit.number != number {
        return Err(malformed("commit", "it holds another number"));
    }
    Ok(commit)
}

/// Seals a checkpoint into its stored bytes, then opens them and compares.
pub fn seal_checkpoint(
    ring: &KeyRing,
    session: SessionId,
    checkpoint: &Checkpoint,
) -> Result<Vec<u8>, Error> {
    let path = checkpoint_path(checkpoint.number);
    let raw = encode_cbor(checkpoint);
    let stored = seal_record(ring, ObjectKind::Checkpoint, session, path, &raw)?;
    verify(open_checkpoint(ring, checkpoint.number, &stored)? == *checkpoint)?;
    Ok(stored)
}

fn verify(same: bool) -> Result<(), Error> {
    if same {
        return Ok(());
    }
    Err(Error::VerifyFailed)
}

/// Opens the checkpoint stored under `number`.
pub fn open_checkpoint(ring: &KeyRing, number: u64, stored: &[u8]) -> Result<Checkpoint, Error> {
    let path = checkpoint_path(number);
    let raw = open_record(ring, ObjectKind::Checkpoint, &path, stored)?;
    let checkpoint = decode_checkpoint(&raw)?;
    if checkpoint.number != number {
        return Err(malformed("checkpoint", "it holds another number"));
    }
    Ok(checkpoint)
}

/// Decodes the record of an opened commit. What it needs is looked at before the rest is expected,
/// so that a later layout is refused as unsupported and not as damaged.
pub fn decode_commit(raw: &[u8]) -> Result<Commit, Error> {
    let CommitNeeds { needs } = decode_cbor("commit", raw)?;
    known("commit", &needs)?;
    decode_cbor("commit", raw)
}

/// Decodes the record of an opened checkpoint, its needs first.
pub fn decode_checkpoint(raw: &[u8]) -> Result<Checkpoint, Error> {
    let CheckpointNeeds { needs } = decode_cbor("checkpoint", raw)?;
    known("checkpoint", &needs)?;
    decode_cbor("checkpoint", raw)
}

#[derive(Decode)]
#[cbor(map)]
struct CommitNeeds {
    #[n(11)]
    needs: Vec<u32>,
}

#[derive(Decode)]
#[cbor(map)]
struct CheckpointNeeds {
    #[n(5)]
    needs: Vec<u32>,
}

fn known(what: &'static str, needs: &[u32]) -> Result<(), Error> {
    match needs.first() {
        None => Ok(()),
        Some(feature) => Err(Error::Unsupported {
            what,
            needs: format!("log feature {feature}"),
        }),
    }
}

fn seal_record(
    ring: &KeyRing,
    kind: ObjectKind,
    session: SessionId,
    path: String,
    raw: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut sealer = Sealer::create(ring, kind, session, |_| path)?;
    let mut stored = sealer.header().to_vec();
    push_envelope(raw, &mut stored)?;
    sealer.seal_tail(&mut stored, HEADER_LEN)?;
    if raw.len().max(stored.len()) as u64 > COMMIT_MAX {
        return Err(Error::OutOfRange {
            what: "length of a commit",
            value: raw.len() as u64,
            allowed: "at most 64 MiB",
        });
    }
    Ok(stored)
}

fn open_record(
    ring: &KeyRing,
    kind: ObjectKind,
    path: &str,
    stored: &[u8],
) -> Result<Vec<u8>, Error> {
    let what = kind.name();
    let (header, body) = stored
        .split_first_chunk::<HEADER_LEN>()
        .filter(|_| stored.len() as u64 <= COMMIT_MAX)
        .ok_or_else(|| malformed(what, "its length is out of range"))?;
    let opener = Opener::new(ring, kind, path, None, header)?;
    let mut body = body.to_vec();
    let body = opener.open(HEADER_LEN as u64, &mut body)?;
    let raw_max = usize::try_from(COMMIT_MAX).unwrap_or(usize::MAX);
    open_envelope(what, body, raw_max)
}

#[cfg(test)]
mod tests;
