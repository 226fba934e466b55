//! Sample keys and arbitrary records for the tests of this crate.

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use crate::commit::{Beginning, Checkpoint, Commit, IndexRef, Retag, SnapshotRef};
use crate::content::{Content, Extent};
use crate::id::{BlobId, IndexId, PackId, RepositoryId, SessionId, SnapshotId};
use crate::secrets::{Cipher, Epoch, KeyRing, Secrets};
use crate::snapshot::{PathBytes, Snapshot, SnapshotStats};
use crate::tree::{Child, Entry, EntryType, FileKey, Timestamp, Totals, Xattr};

pub(crate) const CIPHERS: [Cipher; 3] = [Cipher::None, Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305];
pub(crate) const SESSION: SessionId = SessionId([7; 16]);
pub(crate) const REPOSITORY: RepositoryId = RepositoryId([3; 32]);

pub(crate) fn secrets() -> Secrets {
    Secrets {
        id_key: [1; 32],
        gear_seed: 2,
        epochs: vec![Epoch {
            number: 1,
            key: [9; 32],
            first: None,
        }],
    }
}

pub(crate) fn ring(cipher: Cipher) -> KeyRing {
    KeyRing::new(REPOSITORY, cipher, secrets()).unwrap()
}

/// Bytes that no compressor shortens, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Lines of text, which compress several times.
pub(crate) fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 64);
    for line in seed.. {
        if bytes.len() >= len {
            break;
        }
        let word = noise(line, 4);
        bytes.extend_from_slice(format!("row {line}: {word:?}, balance unchanged\n").as_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) fn blob_id() -> impl Strategy<Value = BlobId> {
    any::<[u8; 32]>().prop_map(BlobId)
}

pub(crate) fn content() -> impl Strategy<Value = Content> {
    let chunks = vec((1u64..1 << 20, option::of(blob_id())), 0..6);
    let lists = (1u8..=12, vec((1u64..1 << 40, blob_id()), 0..6));
    let extent = |(len, id)| Extent { len, id };
    prop_oneof![
        chunks.prop_map(move |list| Content {
            level: 0,
            extents: list.into_iter().map(extent).collect(),
        }),
        lists.prop_map(move |(level, list)| Content {
            level,
            extents: list
                .into_iter()
                .map(|(len, id)| extent((len, Some(id))))
                .collect(),
        }),
    ]
}

pub(crate) fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..12).prop_filter("names that can be in a directory", |name| {
        name != b"." && name != b".." && !name.contains(&0) && !name.contains(&b'/')
    })
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0u32..1_000_000_000).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn kind() -> impl Strategy<Value = EntryType> {
    prop_oneof![
        Just(EntryType::File),
        Just(EntryType::Directory),
        Just(EntryType::Symlink),
        Just(EntryType::Fifo),
        Just(EntryType::CharDevice),
        Just(EntryType::BlockDevice),
    ]
}

pub(crate) fn entry() -> impl Strategy<Value = Entry> {
    let clear = (
        name(),
        kind(),
        any::<(u32, u32, u32, u64)>(),
        timestamp(),
        option::of(timestamp()),
    );
    let xattr = (name(), vec(any::<u8>(), 0..20)).prop_map(|(name, value)| Xattr { name, value });
    let body = (
        option::of(content()),
        option::of(blob_id()),
        option::of(vec(any::<u8>(), 0..20)),
        option::of(vec(xattr, 0..3)),
    );
    let rest = (
        any::<[Option<u64>; 2]>(),
        any::<Option<(u64, u64)>>(),
        any::<Option<u8>>(),
        any::<[Option<String>; 2]>(),
        any::<Option<(u64, u64)>>(),
        any::<Option<bool>>(),
    );
    (clear, body, rest).prop_map(|(clear, body, rest)| {
        let (name, kind, (mode, uid, gid, size), mtime, ctime) = clear;
        let (content, subtree, target, xattrs) = body;
        let ([inode, device], link, policy, [user, group], totals, torn) = rest;
        Entry {
            name,
            kind,
            mode,
            uid,
            gid,
            mtime,
            ctime,
            inode,
            size,
            content,
            subtree,
            target,
            xattrs,
            device,
            link: link.map(|(device, inode)| FileKey { device, inode }),
            policy,
            user,
            group,
            totals: totals.map(|(files, bytes)| Totals { files, bytes }),
            torn,
        }
    })
}

/// Entries of one directory, sorted, no name twice.
pub(crate) fn entries() -> impl Strategy<Value = Vec<Entry>> {
    vec(entry(), 0..6).prop_map(|mut entries| {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries.dedup_by(|a, b| a.name == b.name);
        entries
    })
}

pub(crate) fn children() -> impl Strategy<Value = Vec<Child>> {
    (btree_set(name(), 0..6), blob_id(), any::<u64>()).prop_map(|(names, node, entries)| {
        names
            .into_iter()
            .map(|last| Child {
                last,
                node,
                entries,
            })
            .collect()
    })
}

pub(crate) fn snapshot() -> impl Strategy<Value = Snapshot> {
    (
        any::<(i64, String, String, u64)>(),
        vec(vec(any::<u8>(), 0..9).prop_map(PathBytes), 0..3),
        entry(),
        any::<[Option<[u8; 32]>; 2]>(),
        any::<[u64; 7]>(),
        any::<(String, Option<String>, Option<String>)>(),
    )
        .prop_map(|(head, paths, root, [parent, original], stats, tail)| {
            let (time_ms, host, user, duration_ms) = head;
            let (program, description, source) = tail;
            let [
                files,
                directories,
                bytes,
                files_changed,
                bytes_new,
                bytes_stored,
                unread,
            ] = stats;
            Snapshot {
                time_ms,
                host,
                user,
                paths,
                root: Entry {
                    name: Vec::new(),
                    kind: EntryType::Directory,
                    ..root
                },
                parent: parent.map(SnapshotId),
                stats: SnapshotStats {
                    files,
                    directories,
                    bytes,
                    files_changed,
                    bytes_new,
                    bytes_stored,
                    unread,
                },
                program,
                description,
                source,
                duration_ms,
                original: original.map(SnapshotId),
            }
        })
}

fn snapshot_refs() -> impl Strategy<Value = Vec<SnapshotRef>> {
    let attributes = any::<(Vec<String>, Option<bool>)>();
    let one = (snapshot(), attributes).prop_map(|(snapshot, (tags, protected))| SnapshotRef {
        snapshot: snapshot.into(),
        tags,
        protected,
    });
    vec(one, 0..3)
}

fn index_refs() -> impl Strategy<Value = Vec<IndexRef>> {
    let one = any::<([u8; 32], u64, u64)>().prop_map(|(id, size, entries)| IndexRef {
        id: IndexId(id),
        size,
        entries,
    });
    vec(one, 0..3)
}

fn packs() -> impl Strategy<Value = Vec<PackId>> {
    vec(any::<[u8; 32]>().prop_map(PackId), 0..3)
}

pub(crate) fn commit() -> impl Strategy<Value = Commit> {
    (
        any::<(u64, [u8; 32], i64, String)>(),
        snapshot_refs(),
        any::<(Vec<[u8; 32]>, Vec<([u8; 32], Vec<String>, Option<bool>)>)>(),
        index_refs(),
        vec(any::<[u8; 32]>().prop_map(IndexId), 0..3),
        (packs(), packs()),
    )
        .prop_map(
            |(head, add_snapshots, tail, add_indexes, remove_indexes, (condemn, swept))| {
                let (number, previous, time_ms, action) = head;
                let (removed, retag) = tail;
                Commit {
                    number,
                    previous,
                    time_ms,
                    action,
                    add_snapshots,
                    remove_snapshots: removed.into_iter().map(SnapshotId).collect(),
                    retag: retag
                        .into_iter()
                        .map(|(id, tags, protected)| Retag {
                            id: SnapshotId(id),
                            tags,
                            protected,
                        })
                        .collect(),
                    add_indexes,
                    remove_indexes,
                    condemn,
                    swept,
                    needs: Vec::new(),
                    retire: number.is_multiple_of(3).then_some(7),
                }
            },
        )
}

pub(crate) fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    (
        any::<(u64, [u8; 32])>(),
        snapshot_refs(),
        index_refs(),
        packs(),
    )
        .prop_map(
            |((number, hash), snapshots, indexes, condemned)| Checkpoint {
                number,
                hash,
                snapshots,
                indexes,
                condemned_at: Some(condemned.iter().map(|_| number).collect()),
                condemned,
                needs: Vec::new(),
                begins: number.is_multiple_of(3).then_some(Beginning {
                    commit: number,
                    epoch: 7,
                }),
            },
        )
}
