//! What each stage of a backup and of a restore does in a second, on one thread and in memory.
//!
//! Data come from seeds, keys are fixed, so that runs compare. Whole commands are measured by the
//! harness beside this file, not here.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use repo_chunker::{Chunker, Params, Plan};
use repo_format::index::{self, Block, Entry, PackRow, SegmentRow, Tail};
use repo_format::pack::{self, NewSegment, PackBuilder, SegmentPlace};
use repo_format::segment::{SegmentBody, SegmentEncoder};
use repo_format::{
    Base, BlobId, BlobKey, BlobKind, Cipher, Codec, Decompressor, Epoch, HEADER_LEN, KeyRing,
    ObjectKind, Opener, PackId, RepositoryId, Secrets, SessionId, Texture,
};
use repo_testkit::data::{self, Random};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const LEVEL: i32 = 3;
const SESSION: SessionId = SessionId([3; 16]);
const PAGE: usize = 8 * KIB;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    chunk(&mut criterion);
    hash(&mut criterion);
    compress(&mut criterion);
    delta(&mut criterion);
    seal(&mut criterion);
    open(&mut criterion);
    look_up(&mut criterion);
    criterion.final_summary();
}

fn chunk(criterion: &mut Criterion) {
    let chunker = Chunker::new(Params::default(), 5).expect("the defaults are valid");
    let mut group = criterion.benchmark_group("chunk");
    for (name, bytes) in [
        ("text", data::text(1, 16 * MIB)),
        ("random", data::random(1, 16 * MIB)),
    ] {
        group.throughput(throughput(bytes.len()));
        for (policy, plan) in [("generic", Plan::Generic), ("pages", Plan::Pages)] {
            group.bench_function(BenchmarkId::new(policy, name), |bencher| {
                bencher.iter(|| {
                    let mut cutter = chunker.cutter(plan.clone());
                    let (mut rest, mut chunks) = (black_box(bytes.as_slice()), 0);
                    while let Some(len) = cutter.next(rest, true) {
                        rest = &rest[len..];
                        chunks += 1;
                    }
                    chunks
                });
            });
        }
    }
    group.finish();
}

fn hash(criterion: &mut Criterion) {
    let ring = ring();
    let bytes = data::random(2, 64 * KIB);
    let mut group = criterion.benchmark_group("hash");
    group.throughput(throughput(bytes.len()));
    group.bench_function("blob id of 64 KiB", |bencher| {
        bencher.iter(|| ring.blob_id(BlobKind::Data, black_box(&bytes)));
    });
    group.finish();
}

fn compress(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compress and verify");
    for (name, texture, bytes) in segments() {
        let mut encoder = encoder();
        let (lens, mut body) = (lens(bytes.len()), Vec::new());
        group.throughput(throughput(bytes.len()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                encoder
                    .encode(BlobKind::Data, texture, &lens, black_box(&bytes), &mut body)
                    .expect("a segment of 2 MiB encodes")
            });
        });
    }
    group.finish();
}

fn delta(criterion: &mut Criterion) {
    let base = pages(4, MIB);
    let mut raw = base.clone();
    for spot in 0..8 {
        let at = spot * MIB / 8 + 5000;
        Random::new(spot as u64).fill(&mut raw[at..at + 60]);
    }
    let against = Base {
        id: ring().blob_id(BlobKind::Data, &base),
        depth: 1,
    };
    let (mut encoder, mut body) = (encoder(), Vec::new());
    let mut group = criterion.benchmark_group("delta");
    group.throughput(throughput(raw.len()));
    group.bench_function("1 MiB of pages, 8 spots changed", |bencher| {
        bencher.iter(|| {
            let worth = encoder
                .encode_delta(black_box(&raw), against, &base, &mut body)
                .expect("a chunk of 1 MiB encodes");
            assert!(worth, "the delta is smaller by far");
        });
    });
    group.finish();
}

/// Begins, fills and finishes a pack: all that sealing costs, its own check included.
fn seal(criterion: &mut Criterion) {
    const BODIES: usize = 15;
    let ring = ring();
    let body = data::random(5, MIB);
    let mut group = criterion.benchmark_group("seal");
    group.throughput(throughput(BODIES * body.len()));
    let mut buffer = Vec::with_capacity(18 * MIB);
    group.bench_function("pack of 1 MiB bodies", |bencher| {
        bencher.iter(|| {
            let room = std::mem::take(&mut buffer);
            let mut builder = PackBuilder::new(&ring, SESSION, room).expect("keys are there");
            for _ in 0..BODIES {
                push(&mut builder, black_box(&body), &[1], Codec::Raw);
            }
            buffer = builder.finish().expect("the pack is whole").1;
        });
    });
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let ring = ring();
    let mut group = criterion.benchmark_group("open and decode");
    for (name, texture, bytes) in segments() {
        let (lens, mut body) = (lens(bytes.len()), Vec::new());
        let codec = encoder()
            .encode(BlobKind::Data, texture, &lens, &bytes, &mut body)
            .expect("a segment of 2 MiB encodes");
        let mut builder = PackBuilder::new(&ring, SESSION, Vec::new()).expect("keys are there");
        let place = push(&mut builder, &body, &lens, codec);
        let (id, stored, _) = builder.finish().expect("the pack is whole");
        let opener = opener(&ring, ObjectKind::Pack, &pack::path(&id), id.0, &stored);
        let start = place.offset as usize;
        let sealed = &stored[start..start + place.stored as usize];
        let (mut decompressor, mut raw) = (Decompressor::new(), Vec::new());
        let mut buffer = Vec::new();
        group.throughput(throughput(bytes.len()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                buffer.clear();
                buffer.extend_from_slice(black_box(sealed));
                let opened = opener
                    .open(u64::from(place.offset), &mut buffer)
                    .expect("it was sealed here");
                SegmentBody::parse(opened)
                    .and_then(|body| body.decode(&mut decompressor, None, &mut raw))
                    .expect("it was encoded here");
            });
        });
        assert_eq!(raw, bytes, "what was decoded is what was encoded");
    }
    group.finish();
}

/// As the repository looks up in a large index object: a probe of the filter, then one positioned
/// read of a file in the page cache and one block opened.
fn look_up(criterion: &mut Criterion) {
    const ENTRIES: usize = 1_000_000;
    let index = Index::of(ENTRIES);
    let mut buffer = Vec::new();
    let mut group = criterion.benchmark_group("index of 1,000,000");
    group.throughput(Throughput::Elements(1));
    for (name, seed) in [("hit", Index::SEED), ("miss", Index::SEED + 1)] {
        let mut random = Random::new(seed);
        let keys: Vec<BlobKey> = (0..ENTRIES).map(|_| key(&mut random)).collect();
        let mut next = keys.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let found = next.next().is_some_and(|key| index.holds(key, &mut buffer));
                assert_eq!(found, name == "hit");
            });
        });
    }
    group.finish();
}

/// An index object in a file, and what a reader of it keeps in memory.
struct Index {
    opener: Opener,
    tail: Tail,
    file: File,
}

impl Index {
    const SEED: u64 = 6;

    fn of(count: usize) -> Self {
        let ring = ring();
        let mut random = Random::new(Self::SEED);
        let packs = [PackRow {
            id: PackId([1; 32]),
            size: 16 << 20,
        }];
        let segments = [SegmentRow {
            pack: 0,
            offset: 104,
            stored: 1 << 20,
            raw: 2 << 20,
        }];
        let mut entries: Vec<Entry> = (0..count)
            .map(|_| Entry {
                key: key(&mut random),
                segment: 0,
                ordinal: 0,
            })
            .collect();
        let (id, mut stored) = index::encode(&ring, SESSION, &packs, &segments, &mut entries)
            .expect("so many entries are allowed");
        let file = tempfile::tempfile().expect("a temporary file can be made");
        file.write_all_at(&stored, 0)
            .expect("the temporary file takes the index object");
        let opener = opener(&ring, ObjectKind::Index, &index::path(&id), id.0, &stored);
        let size = stored.len() as u64;
        let end = stored.len() - pack::TRAILER_LEN;
        let len = Tail::sealed_len(&stored[end..], size).expect("the trailer is there") as usize;
        let tail = Tail::open(&opener, size, &mut stored[end - len..end]).expect("the tail opens");
        Self { opener, tail, file }
    }

    fn holds(&self, key: &BlobKey, buffer: &mut Vec<u8>) -> bool {
        let Some(number) = self.tail.block_of(key) else {
            return false;
        };
        let (offset, len) = self.tail.block_range(number);
        buffer.resize(len, 0);
        self.file
            .read_exact_at(buffer, offset)
            .expect("the block is in the file");
        let block = self.opener.open(offset, buffer).expect("the block opens");
        Block::new(block)
            .expect("the block is made of entries")
            .find(key)
            .is_some()
    }
}

/// Three segments of 2 MiB: what they are called, how they are compressed, their bytes.
fn segments() -> [(&'static str, Texture, Vec<u8>); 3] {
    [
        ("text", Texture::Mixed, data::text(3, 2 * MIB)),
        ("pages", Texture::Pages, pages(3, 2 * MIB)),
        ("random", Texture::Mixed, data::random(3, 2 * MIB)),
    ]
}

/// Pages of a Postgres heap: a header, line pointers, and from the end rows of one shape.
fn pages(seed: u64, len: usize) -> Vec<u8> {
    const ROW: usize = 96;
    const ROWS: usize = 80;
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(len);
    let mut number = 0u32;
    while bytes.len() < len {
        let mut page = [0; PAGE];
        page[..6].copy_from_slice(&random.next_u64().to_le_bytes()[..6]);
        page[12..20].copy_from_slice(&[0x58, 1, 0, 2, 0, 0x20, 4, 0x20]);
        for row in 0..ROWS {
            let start = PAGE - (row + 1) * ROW;
            let pointer = 24 + 4 * row;
            page[pointer..pointer + 2].copy_from_slice(
                &u16::try_from(start | 0x8000)
                    .expect("a page is 8 KiB")
                    .to_le_bytes(),
            );
            page[pointer + 2..pointer + 4].copy_from_slice(&[0, 0xc0]);
            let draw = random.next_u64().to_le_bytes();
            let cells = &mut page[start..start + ROW];
            cells[..4].copy_from_slice(&(700 + number / 1000).to_le_bytes());
            cells[24..28].copy_from_slice(&number.to_le_bytes());
            cells[28..31].copy_from_slice(&draw[..3]);
            cells[32] = draw[3] % 50;
            cells[36..42].copy_from_slice(&draw[2..8]);
            cells[48..].fill(b' ');
            cells[48..60].copy_from_slice(&data::text(u64::from(number), 12));
            number += 1;
        }
        bytes.extend_from_slice(&page);
    }
    bytes.truncate(len);
    bytes
}

fn push(builder: &mut PackBuilder, body: &[u8], lens: &[u32], codec: Codec) -> SegmentPlace {
    let ids = vec![BlobId([4; 32]); lens.len()];
    let segment = NewSegment {
        body,
        codec,
        kind: BlobKind::Data,
        ids: &ids,
        lens,
        base: None,
    };
    builder.push(&segment).expect("the pack has room")
}

fn opener(ring: &KeyRing, kind: ObjectKind, path: &str, id: [u8; 32], stored: &[u8]) -> Opener {
    let header = stored
        .first_chunk::<HEADER_LEN>()
        .expect("an object has a header");
    Opener::new(ring, kind, path, Some(id), header).expect("the object is of these keys")
}

fn encoder() -> SegmentEncoder {
    SegmentEncoder::new(LEVEL).expect("the level is allowed")
}

/// Lengths of chunks of 64 KiB that make up `len` bytes.
fn lens(len: usize) -> Vec<u32> {
    vec![64 << 10; len / (64 * KIB)]
}

fn key(random: &mut Random) -> BlobKey {
    let mut bytes = [0; BlobKey::LEN];
    random.fill(&mut bytes);
    BlobKey(bytes)
}

fn ring() -> KeyRing {
    let secrets = Secrets {
        id_key: [7; 32],
        gear_seed: 5,
        epochs: vec![Epoch {
            number: 1,
            first: None,
            key: [9; 32],
        }],
    };
    KeyRing::new(RepositoryId([8; 32]), Cipher::Aes256Gcm, secrets).expect("there is an epoch")
}

fn throughput(len: usize) -> Throughput {
    Throughput::Bytes(len as u64)
}
