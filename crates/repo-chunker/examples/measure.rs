//! Measures what chunk sizes cost: bytes stored for a first tree, bytes new in later ones.
//!
//! `measure DIR... [-- SIZES...]`: every file of the first directory is stored, then each further
//! directory is compared with the first alone. SIZES are `policy:min/avg/max` in KiB, for example
//! `columnar:16/64/256`, `pages:1024` or `generic:16/64/256`; `generic` alone ignores what files are.
//! Columns: new bytes raw; packed by zstd -3 in segments of 1 MiB; each chunk as the smaller of
//! itself and its delta against the chunk at the same place in the first directory, by zstd -3;
//! chunks; their average.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measuring tool prints, and stops at the first surprise"
)]

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use repo_chunker::columnar::{Footer, footer};
use repo_chunker::{CHUNK_MAX, Chunker, Params, Plan, Policy, Sizes};

struct Setup {
    name: String,
    chunker: Chunker,
    by_kind: bool,
}

fn setup(text: &str) -> Setup {
    let (kind, sizes) = text.split_once(':').unwrap();
    let kib: Vec<u32> = sizes
        .split('/')
        .map(|n| n.parse::<u32>().unwrap() << 10)
        .collect();
    let mut params = Params::default();
    let sizes = |kib: &[u32]| Sizes {
        min: kib[0],
        avg: kib[1],
        max: kib[2],
    };
    match kind {
        "generic" => params.generic = sizes(&kib),
        "columnar" => params.columnar = sizes(&kib),
        "pages" => params.page_chunk = kib[0],
        _ => panic!("unknown policy {kind}"),
    }
    Setup {
        name: text.to_owned(),
        chunker: Chunker::new(params, 42).unwrap(),
        by_kind: kind != "generic",
    }
}

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files(&entry.path(), out);
        } else if kind.is_file() {
            out.push(entry.path());
        }
    }
}

fn plan(setup: &Setup, path: &Path, bytes: &[u8]) -> Plan {
    if !setup.by_kind {
        return Plan::Generic;
    }
    let head = &bytes[..bytes.len().min(8192)];
    match Policy::detect(
        path.as_os_str().as_encoded_bytes(),
        bytes.len() as u64,
        head,
    ) {
        Policy::Generic => Plan::Generic,
        Policy::Pages => Plan::Pages,
        Policy::Columnar => match footer(bytes, bytes.len() as u64) {
            Footer::Layout(layout) => Plan::Columnar(layout),
            _ => Plan::Generic,
        },
    }
}

#[derive(Default)]
struct Sum {
    total: u64,
    new: u64,
    packed: u64,
    delta: u64,
    chunks: u64,
}

/// A chunk's hash and bytes.
type Chunk = ([u8; 32], Vec<u8>);

/// Chunks of the first tree: which there are, and which follow each other in a file.
#[derive(Default, Clone)]
struct Known {
    all: HashSet<[u8; 32]>,
    files: HashMap<PathBuf, Vec<Chunk>>,
}

/// Follows one file through its older self, to name the base of a changed chunk.
struct Bases<'a> {
    old: &'a [Chunk],
    at: usize,
}

impl Bases<'_> {
    /// Returns the old chunk at the place of the new one, if the new one differs.
    fn next(&mut self, id: &[u8; 32]) -> Option<&[u8]> {
        let near = self
            .old
            .iter()
            .enumerate()
            .skip(self.at)
            .find(|(_, (old, _))| old == id);
        if let Some((index, _)) = near {
            self.at = index + 1;
            return None;
        }
        let base = self.old.get(self.at).map(|(_, bytes)| &bytes[..]);
        self.at += 1;
        base
    }
}

fn delta(base: &[u8], chunk: &[u8]) -> u64 {
    let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(Vec::new(), 3, base).unwrap();
    encoder.window_log(22).unwrap();
    encoder.write_all(chunk).unwrap();
    encoder.finish().unwrap().len() as u64
}

/// Adds the chunks of a tree to `known` and sums up those that were not there.
fn store(setup: &Setup, dir: &Path, known: &mut Known, keep: bool) -> Sum {
    let mut paths = Vec::new();
    files(dir, &mut paths);
    let mut sum = Sum::default();
    let mut segment = Vec::with_capacity(2 << 20);
    let pack = |segment: &mut Vec<u8>| {
        let packed = zstd::bulk::compress(segment, 3).unwrap().len() as u64;
        segment.clear();
        packed
    };
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        sum.total += bytes.len() as u64;
        let name = path.strip_prefix(dir).unwrap().to_owned();
        let old = known.files.get(&name).map_or(&[][..], |old| old);
        let mut bases = Bases { old, at: 0 };
        let mut list = Vec::new();
        let mut cutter = setup.chunker.cutter(plan(setup, &path, &bytes));
        let mut rest = &bytes[..];
        while let Some(length) = cutter.next(rest, true) {
            assert!(length <= CHUNK_MAX);
            let chunk = &rest[..length];
            rest = &rest[length..];
            let id = *blake3::hash(chunk).as_bytes();
            let base = bases.next(&id);
            if known.all.insert(id) {
                sum.new += length as u64;
                sum.chunks += 1;
                if !keep {
                    let fresh = zstd::bulk::compress(chunk, 3).unwrap().len() as u64;
                    sum.delta += base.map_or(fresh, |base| delta(base, chunk).min(fresh));
                }
                segment.extend_from_slice(chunk);
                if segment.len() >= 1 << 20 {
                    sum.packed += pack(&mut segment);
                }
            }
            if keep {
                list.push((id, chunk.to_vec()));
            }
        }
        if keep {
            known.files.insert(name, list);
        }
    }
    sum.packed += pack(&mut segment);
    sum
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let split = args.iter().position(|a| a == "--").unwrap_or(args.len());
    let setups = args.get(split + 1..).unwrap_or_default();
    println!(
        "{:<22} {:<28} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9}",
        "sizes", "tree", "MB", "new MB", "packed", "delta", "chunks", "avg KiB"
    );
    for text in setups {
        let setup = setup(text);
        let mut first = Known::default();
        for (index, dir) in args[..split].iter().enumerate() {
            let sum = if index == 0 {
                store(&setup, Path::new(dir), &mut first, true)
            } else {
                store(&setup, Path::new(dir), &mut first.clone(), false)
            };
            println!(
                "{:<22} {:<28} {:>9.2} {:>9.2} {:>9.2} {:>9.3} {:>8} {:>9.1}",
                setup.name,
                dir.rsplit('/').take(2).collect::<Vec<_>>().join("<"),
                sum.total as f64 / 1e6,
                sum.new as f64 / 1e6,
                sum.packed as f64 / 1e6,
                sum.delta as f64 / 1e6,
                sum.chunks,
                sum.new as f64 / 1024.0 / sum.chunks.max(1) as f64
            );
        }
    }
}
