//! Measures what chunk sizes cost: bytes stored for a first tree, bytes new in later ones.
//!
//! `measure DIR... [-- SIZES...]`: every file of the first directory is stored, then each further
//! directory is compared with the first alone. SIZES are `policy:min/avg/max` in KiB, for example
//! `columnar:16/64/256`, `pages:1024` or `generic:16/64/256`; `generic` alone ignores what files are.
//! Columns: new bytes raw, the same packed by zstd -3 in segments of 1 MiB, chunks, average chunk.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measuring tool prints, and stops at the first surprise"
)]

use std::collections::HashSet;
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
    chunks: u64,
}

/// Adds the chunks of a tree to `known` and sums up those that were not there.
fn store(setup: &Setup, dir: &Path, known: &mut HashSet<[u8; 32]>) -> Sum {
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
        let mut cutter = setup.chunker.cutter(plan(setup, &path, &bytes));
        let mut rest = &bytes[..];
        while let Some(length) = cutter.next(rest, true) {
            assert!(length <= CHUNK_MAX);
            let chunk = &rest[..length];
            rest = &rest[length..];
            if known.insert(*blake3::hash(chunk).as_bytes()) {
                sum.new += length as u64;
                sum.chunks += 1;
                segment.extend_from_slice(chunk);
                if segment.len() >= 1 << 20 {
                    sum.packed += pack(&mut segment);
                }
            }
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
        "{:<22} {:<28} {:>9} {:>9} {:>9} {:>8} {:>9}",
        "sizes", "tree", "MB", "new MB", "packed", "chunks", "avg KiB"
    );
    for text in setups {
        let setup = setup(text);
        let mut first = HashSet::new();
        for (index, dir) in args[..split].iter().enumerate() {
            let sum = if index == 0 {
                store(&setup, Path::new(dir), &mut first)
            } else {
                store(&setup, Path::new(dir), &mut first.clone())
            };
            println!(
                "{:<22} {:<28} {:>9.2} {:>9.2} {:>9.2} {:>8} {:>9.1}",
                setup.name,
                dir.rsplit('/').take(2).collect::<Vec<_>>().join("<"),
                sum.total as f64 / 1e6,
                sum.new as f64 / 1e6,
                sum.packed as f64 / 1e6,
                sum.chunks,
                sum.new as f64 / 1024.0 / sum.chunks.max(1) as f64
            );
        }
    }
}
