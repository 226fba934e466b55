//! Compares `docs/format.md` with the code, so that the two cannot drift: limits, magics, context
//! strings, diagrams, and the integer keys, names and types of every CBOR record.

use std::collections::BTreeSet;

use crate::seal::{HEADER_LEN, ObjectKind, TAG_LEN};
use crate::secrets::{BlobKind, Cipher};
use crate::{Codec, commit, config, index, keyslot, limits, pack, parity};

const DOCUMENT: &str = include_str!("../../../docs/format.md");

/// Every source file whose head or records the document repeats.
const SOURCES: [(&str, &str); 11] = [
    ("commit.rs", include_str!("commit.rs")),
    ("config.rs", include_str!("config.rs")),
    ("content.rs", include_str!("content.rs")),
    ("index.rs", include_str!("index.rs")),
    ("keyslot.rs", include_str!("keyslot.rs")),
    ("pack.rs", include_str!("pack.rs")),
    ("parity.rs", include_str!("parity.rs")),
    ("seal.rs", include_str!("seal.rs")),
    ("secrets.rs", include_str!("secrets.rs")),
    ("segment.rs", include_str!("segment.rs")),
    ("snapshot.rs", include_str!("snapshot.rs")),
];
const TREE: &str = include_str!("tree.rs");

fn source(name: &str) -> &'static str {
    let found = SOURCES.iter().find(|(file, _)| *file == name);
    found.map_or(TREE, |(_, text)| text)
}

/// The tables of the document: header cells and rows of cells.
fn tables() -> Vec<(Vec<String>, Vec<Vec<String>>)> {
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_matches('|');
        inner
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    };
    let mut tables = Vec::new();
    let mut lines = DOCUMENT.lines().peekable();
    while let Some(line) = lines.next() {
        let is_header =
            line.starts_with('|') && lines.peek().is_some_and(|l| l.starts_with("|---"));
        if !is_header {
            continue;
        }
        lines.next();
        let mut rows = Vec::new();
        while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
            rows.push(cells(row));
        }
        tables.push((cells(line), rows));
    }
    tables
}

/// Rows of the one table whose first header cell is `first`.
fn table(first: &str) -> Vec<Vec<String>> {
    let mut found = tables().into_iter().filter(|(head, _)| head[0] == first);
    let (_, rows) = found.next().expect("the document has this table");
    assert!(found.next().is_none(), "two tables start with {first}");
    rows
}

/// A field of a record as the derive attributes say: key, name, Rust type.
type Field = (u32, String, String);

fn fields(source: &str, record: &str) -> Vec<Field> {
    let start = source
        .find(&format!("struct {record} {{"))
        .unwrap_or_else(|| panic!("no record {record}"));
    let body = &source[start..];
    let body = &body[..body.find("\n}").unwrap()];
    let mut key = None;
    let mut fields = Vec::new();
    for line in body.lines().skip(1).map(str::trim) {
        let attribute = line
            .strip_prefix("#[n(")
            .or_else(|| line.strip_prefix("#[cbor(n("));
        if let Some(rest) = attribute {
            key = rest
                .split(')')
                .next()
                .and_then(|number| number.parse().ok());
        } else if let Some((name, kind)) = line.trim_start_matches("pub ").split_once(": ")
            && let Some(key) = key.take()
        {
            fields.push((key, name.to_owned(), kind.trim_end_matches(',').to_owned()));
        }
    }
    fields
}

/// What the document calls a Rust type; its first word is compared.
fn type_name(rust: &str) -> &'static str {
    let rust = rust
        .strip_prefix("Option<")
        .map_or(rust, |inner| inner.trim_end_matches('>'));
    match rust {
        "u8" | "u32" | "u64" | "EntryType" => "uint",
        "i64" => "int",
        "String" => "text",
        "bool" => "bool",
        "[u8; 32]" | "CommitHash" => "bytes 32",
        _ if rust.ends_with("Id") => "bytes 32",
        "Vec<u8" | "Vec<u8>" | "Content" | "SnapshotRecord" => "bytes",
        "Entry" => "entry",
        "Features" | "Lock" | "PublicKeys" | "Kdf" | "SnapshotStats" => "map",
        _ => "array",
    }
}

#[test]
fn records_have_the_documented_keys_names_and_types() {
    let records = [
        ("config.rs", "Config"),
        ("config.rs", "Features"),
        ("config.rs", "Lock"),
        ("keyslot.rs", "Stored"),
        ("keyslot.rs", "Slot"),
        ("keyslot.rs", "Kdf"),
        ("secrets.rs", "Secrets"),
        ("secrets.rs", "Epoch"),
        ("commit.rs", "Commit"),
        ("commit.rs", "SnapshotRef"),
        ("commit.rs", "IndexRef"),
        ("commit.rs", "Checkpoint"),
        ("snapshot.rs", "Snapshot"),
        ("snapshot.rs", "SnapshotStats"),
        ("tree.rs", "Child"),
        ("tree.rs", "Entry"),
    ];
    let tables: Vec<_> = tables()
        .into_iter()
        .filter(|(head, _)| head.starts_with(&["key".to_owned(), "field".to_owned()]))
        .collect();
    assert_eq!(tables.len(), records.len());
    for ((file, record), (head, rows)) in records.into_iter().zip(tables) {
        let of_code: Vec<(String, String)> = fields(source(file), record)
            .into_iter()
            .map(|(key, name, kind)| {
                let mark = if kind.starts_with("Option<") { "?" } else { "" };
                (key.to_string(), format!("{name}{mark}"))
            })
            .collect();
        let of_document: Vec<(String, String)> = rows
            .iter()
            .map(|row| (row[0].clone(), row[1].clone()))
            .collect();
        assert_eq!(of_document, of_code, "{record}");
        if head[2] != "type" {
            continue;
        }
        for (row, (_, name, kind)) in rows.iter().zip(fields(source(file), record)) {
            let documented = &row[2];
            assert!(
                documented.starts_with(type_name(&kind)),
                "{record}.{name}: {kind} is documented as {documented}"
            );
        }
    }
}

#[test]
fn limits_are_the_documented_ones() {
    let of_code = [
        ("CHUNK_MAX", limits::CHUNK_MAX as u64),
        ("SEGMENT_RAW_MAX", limits::SEGMENT_RAW_MAX as u64),
        ("SEGMENT_CHUNKS_MAX", limits::SEGMENT_CHUNKS_MAX as u64),
        ("DELTA_DEPTH_MAX", limits::DELTA_DEPTH_MAX.into()),
        ("PACK_MAX", limits::PACK_MAX),
        ("PARITY_PACKS_MAX", limits::PARITY_PACKS_MAX.into()),
        ("PARITY_SHARDS_MAX", limits::PARITY_SHARDS_MAX.into()),
        ("DIRECTORY_RAW_MAX", limits::DIRECTORY_RAW_MAX as u64),
        ("INDEX_ENTRIES_MAX", limits::INDEX_ENTRIES_MAX as u64),
        ("INDEX_MAX", limits::INDEX_MAX),
        ("COMMIT_MAX", limits::COMMIT_MAX),
        ("CONFIG_MAX", limits::CONFIG_MAX),
        ("KDF_MEMORY_KIB_MAX", limits::KDF_MEMORY_KIB_MAX.into()),
        ("KDF_PASSES_MAX", limits::KDF_PASSES_MAX.into()),
        ("KDF_LANES_MAX", limits::KDF_LANES_MAX.into()),
        ("NODE_MAX", limits::NODE_MAX as u64),
        ("DEPTH_MAX", limits::DEPTH_MAX.into()),
    ];
    let of_document = table("limit");
    let rows = of_document
        .iter()
        .map(|row| (row[0].trim_matches('`'), row[1].parse().unwrap()));
    assert_eq!(rows.collect::<Vec<_>>(), of_code);
    // No limit is left out.
    let declared = include_str!("limits.rs").matches("pub const ").count();
    assert_eq!(declared, of_code.len());
}

#[test]
fn floor_and_ceiling_of_key_derivation_are_the_documented_ones() {
    let (_, rows) = tables()
        .into_iter()
        .find(|(head, _)| head.contains(&"floor".to_owned()))
        .unwrap();
    let numbers: Vec<[u32; 2]> = rows
        .iter()
        .map(|row| [row[3].parse().unwrap(), row[4].parse().unwrap()])
        .collect();
    let floor = keyslot::Kdf::default();
    let of_code = [
        [floor.memory_kib, limits::KDF_MEMORY_KIB_MAX],
        [floor.passes, limits::KDF_PASSES_MAX],
        [1, limits::KDF_LANES_MAX],
    ];
    assert_eq!(numbers, of_code);
}

#[test]
fn magics_and_paths_are_the_documented_ones() {
    let kinds = [
        ("pack", ObjectKind::Pack),
        ("index", ObjectKind::Index),
        ("commit", ObjectKind::Commit),
        ("checkpoint", ObjectKind::Checkpoint),
        ("parity", ObjectKind::Parity),
    ];
    let paths = [
        pack::path(&crate::PackId([0; 32])),
        index::path(&crate::IndexId([0; 32])),
        commit::path(0),
        commit::checkpoint_path(0),
        parity::path(&crate::ParityId([0; 32])),
    ];
    let shape = |path: &str| {
        path.replace(&"0".repeat(64), "<64 hex>")
            .replace(&"0".repeat(20), "<20 digits>")
            .replace("/00/", "/<2 hex>/")
    };
    let of_document = table("kind");
    assert_eq!(of_document.len(), kinds.len());
    for ((row, (name, kind)), path) in of_document.iter().zip(kinds).zip(paths) {
        let magic = std::str::from_utf8(kind.magic()).unwrap();
        assert_eq!(row[..2], [name.to_owned(), format!("`{magic}`")]);
        assert_eq!(row[2], format!("`{}`", shape(&path)));
    }
    for magic in [
        pack::SEGMENT_MAGIC,
        pack::TRAILER_MAGIC,
        index::TRAILER_MAGIC,
        parity::TRAILER_MAGIC,
    ] {
        let magic = std::str::from_utf8(magic).unwrap();
        assert!(DOCUMENT.contains(&format!("magic \"{magic}\"")));
    }
    assert!(DOCUMENT.contains(&format!("| `{}` |", config::PATH)));
    assert!(DOCUMENT.contains(&format!("| `{}<64 hex>` |", keyslot::PREFIX)));
}

#[test]
fn numbers_in_the_text_are_those_of_the_code() {
    let entry = 22;
    assert!(DOCUMENT.contains(&format!(
        "`{HEADER_LEN} + n * ({} + {TAG_LEN})`",
        parity::BLOCK
    )));
    assert!(DOCUMENT.contains(&format!("at most {} bytes", parity::TABLE_MAX)));
    assert!(DOCUMENT.contains(&format!("up to {} entries", index::BLOCK_ENTRIES)));
    assert!(DOCUMENT.contains(&format!(
        "`{HEADER_LEN} + n * ({} * {entry} + {TAG_LEN})`",
        index::BLOCK_ENTRIES
    )));
    assert!(DOCUMENT.contains(&format!("start with a header of {HEADER_LEN} bytes")));
    assert!(DOCUMENT.starts_with(&format!(
        "# The repository format, version {}",
        config::VERSION
    )));
    let ciphers = [
        (Cipher::None, "none"),
        (Cipher::Aes256Gcm, "AES-256-GCM"),
        (Cipher::ChaCha20Poly1305, "ChaCha20-Poly1305"),
    ];
    for (cipher, name) in ciphers {
        assert!(DOCUMENT.contains(&format!("{} {name}", cipher.code())));
    }
    let codecs = table("codec");
    let codes = [Codec::Raw, Codec::Zstd, Codec::ZstdBase, Codec::ZstdChain];
    let codes = codes.map(|codec| codec.code().to_string());
    assert!(codecs.iter().map(|row| &row[0]).eq(codes.iter()));
    let kinds = table("blob kind");
    let codes = [BlobKind::Data, BlobKind::Tree].map(|kind| kind.code().to_string());
    assert!(kinds.iter().map(|row| &row[0]).eq(codes.iter()));
}

#[test]
fn context_strings_are_the_documented_ones() {
    let strings = |text: &'static str| -> BTreeSet<&'static str> {
        text.split('"')
            .filter(|part| part.starts_with("repo format 1 "))
            .collect()
    };
    let of_code: BTreeSet<&str> = SOURCES.iter().flat_map(|(_, text)| strings(text)).collect();
    assert_eq!(strings(DOCUMENT), of_code);
    assert_eq!(of_code.len(), 6);
}

#[test]
fn diagrams_are_the_same_in_both_places() {
    let mut count = 0;
    for (file, text) in SOURCES.into_iter().chain([("tree.rs", TREE)]) {
        let head: String = text
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line)))
            .collect();
        for diagram in head.split("```text\n").skip(1) {
            let diagram = diagram.split("```").next().unwrap_or_default();
            assert!(DOCUMENT.contains(diagram), "{file}:\n{diagram}");
            count += 1;
        }
    }
    assert_eq!(count, 10, "a source file lost its diagram");
}
