//! Writes a miniature repository that holds every object type, codec and field, straight from this
//! crate: `tiny DIR CIPHER`, with CIPHER 0, 1 or 2 and the password `tiny`.
//!
//! `DIR/repository` is the repository, `DIR/expected` the bytes of its files. The independent
//! reader of `tests/reader` is tested against it.

use std::error::Error;
use std::path::{Path, PathBuf};

use repo_format::commit::{self, Checkpoint, Commit, IndexRef, Retag, SnapshotRef};
use repo_format::config::{self, ChunkSizes, Config, Features, PublicKeys};
use repo_format::index::{self, PackRow, SegmentRow};
use repo_format::pack::{NewSegment, PackBuilder};
use repo_format::segment::SegmentEncoder;
use repo_format::tree::{Child, Entry, EntryType, FileKey, NodeBuilder, Timestamp, Xattr};
use repo_format::{
    Base, BlobId, BlobKind, Cipher, Content, Epoch, Extent, KeyRing, PathBytes, RepositoryId,
    Secrets, SessionId, Snapshot, SnapshotStats, encode_extents, keyslot,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SESSION: SessionId = SessionId([0x5e; 16]);
const FILES: u32 = 40;

/// Chunks of one pack, and the index rows that locate them.
struct Writer<'a> {
    root: &'a Path,
    ring: &'a KeyRing,
    encoder: SegmentEncoder,
    pack: PackBuilder,
    segments: Vec<SegmentRow>,
    entries: Vec<index::Entry>,
}

impl<'a> Writer<'a> {
    fn new(root: &'a Path, ring: &'a KeyRing) -> Result<Self> {
        Ok(Self {
            root,
            ring,
            encoder: SegmentEncoder::new(3)?,
            pack: PackBuilder::new(ring, SESSION, Vec::new())?,
            segments: Vec::new(),
            entries: Vec::new(),
        })
    }

    fn segment(&mut self, kind: BlobKind, chunks: &[&[u8]]) -> Result<Vec<BlobId>> {
        let ids: Vec<BlobId> = chunks.iter().map(|c| self.ring.blob_id(kind, c)).collect();
        let lens = lengths(chunks)?;
        let mut body = Vec::new();
        let codec = self.encoder.encode(
            kind,
            repo_format::Texture::Mixed,
            &lens,
            &chunks.concat(),
            &mut body,
        )?;
        self.push(&NewSegment {
            body: &body,
            codec,
            kind,
            ids: &ids,
            lens: &lens,
            base: None,
        })?;
        Ok(ids)
    }

    fn tree(&mut self, bytes: &[u8]) -> Result<BlobId> {
        Ok(self.segment(BlobKind::Tree, &[bytes])?[0])
    }

    /// Stores `raw` against a chunk with the bytes `base`, at a depth.
    fn delta(&mut self, raw: &[u8], base: &[u8], depth: u8) -> Result<BlobId> {
        let id = self.ring.blob_id(BlobKind::Data, raw);
        let against = Base {
            id: self.ring.blob_id(BlobKind::Data, base),
            depth,
        };
        let mut body = Vec::new();
        if !self.encoder.encode_delta(raw, against, base, &mut body)? {
            return Err("this must be worth a delta".into());
        }
        self.push(&NewSegment {
            body: &body,
            codec: against.codec(),
            kind: BlobKind::Data,
            ids: &[id],
            lens: &lengths(&[raw])?,
            base: Some(against),
        })?;
        Ok(id)
    }

    fn push(&mut self, segment: &NewSegment<'_>) -> Result<()> {
        let place = self.pack.push(segment)?;
        let row = u32::try_from(self.segments.len())?;
        self.segments.push(SegmentRow {
            pack: 0,
            offset: place.offset,
            stored: place.stored,
            raw: segment.lens.iter().sum(),
        });
        for (ordinal, id) in segment.ids.iter().enumerate() {
            self.entries.push(index::Entry {
                key: id.key(),
                segment: row,
                ordinal: u16::try_from(ordinal)?,
            });
        }
        Ok(())
    }

    fn finish(mut self) -> Result<IndexRef> {
        let (id, bytes, _) = self.pack.finish()?;
        put(self.root, &repo_format::pack::path(&id), &bytes)?;
        let packs = [PackRow {
            id,
            size: bytes.len() as u64,
        }];
        let (segments, entries) = (&self.segments, &mut self.entries);
        let (id, bytes) = index::encode(self.ring, SESSION, &packs, segments, entries)?;
        put(self.root, &index::path(&id), &bytes)?;
        Ok(IndexRef {
            id,
            size: bytes.len() as u64,
            entries: self.entries.len() as u64,
        })
    }
}

fn lengths(chunks: &[&[u8]]) -> Result<Vec<u32>> {
    chunks.iter().map(|c| Ok(u32::try_from(c.len())?)).collect()
}

fn put(root: &Path, key: &str, bytes: &[u8]) -> Result<()> {
    let path = root.join(key);
    std::fs::create_dir_all(path.parent().unwrap_or(root))?;
    Ok(std::fs::write(path, bytes)?)
}

/// Lines that differ from each other, about 50 bytes each.
fn text(seed: u32, lines: u32) -> Vec<u8> {
    let line = |n: u32| {
        format!(
            "{n:08} {:08x} a line of text\n",
            n.wrapping_mul(0x9e37_79b9)
        )
    };
    (seed..seed + lines)
        .map(line)
        .collect::<String>()
        .into_bytes()
}

fn entry(name: &[u8], kind: EntryType) -> Entry {
    Entry {
        mode: if kind == EntryType::Directory {
            0o750
        } else {
            0o640
        },
        mtime: Timestamp {
            seconds: 1_700_000_000,
            nanos: 123_456_789,
        },
        ctime: Some(Timestamp::default()),
        inode: Some(7),
        policy: Some(0),
        user: Some("root".to_owned()),
        ..Entry::new(name, kind)
    }
}

fn file(name: &str, level: u8, extents: &[(usize, Option<BlobId>)]) -> Entry {
    let extent = |(len, id): &(usize, Option<BlobId>)| Extent {
        len: *len as u64,
        id: *id,
    };
    let content = Content {
        level,
        extents: extents.iter().map(extent).collect(),
    };
    Entry {
        size: content.len(),
        content: Some(content),
        ..entry(name.as_bytes(), EntryType::File)
    }
}

/// A directory of two levels of nodes.
fn split_directory(writer: &mut Writer<'_>, expected: &Path) -> Result<Entry> {
    std::fs::create_dir(expected.join("split"))?;
    let mut children = NodeBuilder::default();
    let mut leaf = NodeBuilder::default();
    for number in 0..FILES {
        let name = format!("file{number:03}");
        let bytes = text(number, 3);
        std::fs::write(expected.join("split").join(&name), &bytes)?;
        let id = writer.segment(BlobKind::Data, &[&bytes])?[0];
        leaf.push_entry(&file(&name, 0, &[(bytes.len(), Some(id))]));
        if leaf.count() == 7 || number + 1 == FILES {
            children.push_child(&Child {
                last: name.into_bytes(),
                entries: leaf.count(),
                node: writer.tree(&leaf.take_leaf())?,
            });
        }
    }
    Ok(Entry {
        subtree: Some(writer.tree(&children.take_interior())?),
        ..entry(b"split", EntryType::Directory)
    })
}

/// A file whose chunk list has two levels.
fn long_file(writer: &mut Writer<'_>, expected: &Path) -> Result<Entry> {
    let chunks: Vec<Vec<u8>> = (0..12).map(|n| text(1000 * n, 40 + n)).collect();
    std::fs::write(expected.join("long"), chunks.concat())?;
    let slices: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
    let ids = writer.segment(BlobKind::Data, &slices)?;
    let mut level: Vec<(usize, Option<BlobId>)> = chunks
        .iter()
        .zip(ids)
        .map(|(chunk, id)| (chunk.len(), Some(id)))
        .collect();
    for number in 0..2 {
        let mut above = Vec::new();
        for group in level.chunks(3) {
            let content = file("", number, group).content.unwrap_or_default();
            let len = usize::try_from(content.len())?;
            above.push((len, Some(writer.tree(&encode_extents(&content))?)));
        }
        level = above;
    }
    Ok(file("long", 2, &level))
}

/// Every kind of entry; the second time with a file that changed.
fn root(writer: &mut Writer<'_>, expected: &Path, second: bool) -> Result<Entry> {
    let (old, hole) = (text(5, 2000), text(9, 100));
    let mut changed = old.clone();
    changed[40_000..40_010].copy_from_slice(b"0123456789");
    let mut entries = vec![
        entry(b"directory", EntryType::Directory),
        entry(b"empty", EntryType::File),
        long_file(writer, expected)?,
        split_directory(writer, expected)?,
        entry(b"pipe", EntryType::Fifo),
        entry(b"latin-\xe9", EntryType::File),
        Entry {
            target: Some(b"../outside".to_vec()),
            ..entry(b"symlink", EntryType::Symlink)
        },
    ];
    let id = writer.segment(BlobKind::Data, &[&hole])?[0];
    let sparse = [
        (hole.len(), Some(id)),
        (70_000, None),
        (hole.len(), Some(id)),
        (5, None),
    ];
    entries.push(file("sparse", 0, &sparse));
    let bytes = [&hole[..], &vec![0; 70_000], &hole, &[0; 5]].concat();
    std::fs::write(expected.join("sparse"), bytes)?;
    let (id, bytes) = if second {
        (writer.delta(&changed, &old, 1)?, &changed)
    } else {
        (writer.segment(BlobKind::Data, &[&old])?[0], &old)
    };
    std::fs::write(expected.join("changed"), bytes)?;
    entries.push(Entry {
        xattrs: Some(vec![Xattr {
            name: b"user.note".to_vec(),
            value: b"kept".to_vec(),
        }]),
        mode: 0o4755,
        ..file("changed", 0, &[(bytes.len(), Some(id))])
    });
    if second {
        let mut again = changed.clone();
        again[20_000..20_010].copy_from_slice(b"abcdefghij");
        let id = writer.delta(&again, &changed, 2)?;
        std::fs::write(expected.join("again"), &again)?;
        entries.push(file("again", 0, &[(again.len(), Some(id))]));
    }
    for name in ["linked-a", "linked-b"] {
        std::fs::write(expected.join(name), &old)?;
        let id = writer.ring.blob_id(BlobKind::Data, &old);
        entries.push(Entry {
            link: Some(FileKey {
                device: 1,
                inode: 99,
            }),
            ..file(name, 0, &[(old.len(), Some(id))])
        });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let mut leaf = NodeBuilder::default();
    entries.iter().for_each(|entry| leaf.push_entry(entry));
    Ok(Entry {
        subtree: Some(writer.tree(&leaf.take_leaf())?),
        ..entry(b"", EntryType::Directory)
    })
}

fn snapshot(root: Entry, time_ms: i64) -> SnapshotRef {
    let snapshot = Snapshot {
        time_ms,
        host: "tiny".to_owned(),
        user: "nobody".to_owned(),
        paths: vec![PathBytes(b"/tiny".to_vec())],
        root,
        parent: None,
        stats: SnapshotStats::default(),
        program: "tiny".to_owned(),
        description: None,
        source: None,
        duration_ms: 0,
        original: None,
    };
    SnapshotRef {
        snapshot: snapshot.into(),
        tags: vec!["first".to_owned()],
        protected: None,
    }
}

/// Writes the config, and a key slot when it is encrypted; returns the keys with one epoch and two.
fn create(root: &Path, cipher: Cipher) -> Result<[KeyRing; 2]> {
    let sizes = ChunkSizes {
        min: 16 << 10,
        avg: 64 << 10,
        max: 256 << 10,
    };
    let mut secrets = Secrets::generate()?;
    let before = secrets.clone();
    secrets.epochs.push(Epoch {
        number: 2,
        key: repo_format::random_array()?,
        first: Some(1),
    });
    let config = Config {
        version: config::VERSION,
        repository: RepositoryId(repo_format::random_array()?),
        cipher: cipher.code(),
        created_ms: 1_700_000_000_000,
        generic: sizes,
        columnar: sizes,
        page_chunk: 256 << 10,
        segment_size: 1 << 20,
        pack_size: 16 << 20,
        features: Features::default(),
        public: (cipher == Cipher::None).then(|| PublicKeys::new(&secrets)),
        lock: None,
    };
    let bytes = config.encode();
    put(root, config::PATH, &bytes)?;
    if cipher != Cipher::None {
        let hash = Config::hash(&bytes);
        for password in ["another", "tiny"] {
            let (id, slot) = keyslot::wrap(&secrets, password.as_bytes(), hash, 0, password)?;
            put(root, &keyslot::path(&id), &slot)?;
        }
    }
    let ring = |secrets| KeyRing::new(config.repository, cipher, secrets);
    Ok([ring(before)?, ring(secrets)?])
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, directory, cipher] = arguments.as_slice() else {
        return Err("usage: tiny DIR CIPHER".into());
    };
    let cipher = Cipher::from_code(cipher.parse()?).ok_or("the cipher is 0, 1 or 2")?;
    let root_dir = PathBuf::from(directory).join("repository");
    let expected = PathBuf::from(directory).join("expected");
    std::fs::create_dir_all(&expected)?;
    let [old_ring, ring] = create(&root_dir, cipher)?;

    let mut writer = Writer::new(&root_dir, &old_ring)?;
    let first = snapshot(root(&mut writer, &expected, false)?, 1);
    let first_index = writer.finish()?;
    std::fs::remove_dir_all(expected.join("split"))?;
    let mut writer = Writer::new(&root_dir, &ring)?;
    let second = snapshot(root(&mut writer, &expected, true)?, 2);
    let second_index = writer.finish()?;

    let id = second.snapshot.id();
    let commits = [
        Commit {
            add_snapshots: vec![first.clone()],
            add_indexes: vec![first_index],
            ..Commit::default()
        },
        Commit {
            add_snapshots: vec![second.clone()],
            add_indexes: vec![second_index],
            ..Commit::default()
        },
        Commit {
            remove_snapshots: vec![first.snapshot.id()],
            retag: vec![Retag {
                id,
                tags: vec!["kept".to_owned()],
                protected: Some(true),
            }],
            ..Commit::default()
        },
        Commit::default(),
    ];
    let mut previous = [0; 32];
    for (number, commit) in (1..).zip(commits) {
        let commit = Commit {
            number,
            previous,
            ..commit
        };
        let stored = commit::seal(&ring, SESSION, &commit)?;
        put(&root_dir, &commit::path(number), &stored)?;
        previous = commit::hash(&stored);
        if number == 3 {
            let checkpoint = Checkpoint {
                number,
                hash: previous,
                snapshots: vec![SnapshotRef {
                    tags: vec!["kept".to_owned()],
                    protected: Some(true),
                    ..second.clone()
                }],
                indexes: vec![first_index, second_index],
                ..Checkpoint::default()
            };
            let stored = commit::seal_checkpoint(&ring, SESSION, &checkpoint)?;
            put(&root_dir, &commit::checkpoint_path(number), &stored)?;
        }
    }
    Ok(())
}
