//! The golden repositories: where they lie, how they open, and how they are written.
//!
//! What was written once stays readable by every later version, so a directory is never written
//! again after a release: a change of the format gets a directory beside it. The writer is
//! `cargo run -p repo-tests --bin bless`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repo_core::{Access, Cipher, CreateOptions, Quiet, Repository, SnapshotOptions, Store};
use serde_json::Value;

use crate::describe::{self, Described};
use crate::sources;

/// Password of the encrypted ones.
pub const PASSWORD: &str = "golden";

/// The two snapshots, oldest first, by their names in `expected.json`.
pub const SNAPSHOTS: [&str; 2] = ["first", "second"];

/// Time of the first snapshot, in milliseconds since 1970; the second is a minute later.
const TIME_MS: i64 = 1_700_000_000_000;

/// One golden repository.
#[derive(Debug, Clone, Copy)]
pub struct Golden {
    /// Its directory.
    pub name: &'static str,
    /// How it is encrypted; not at all when absent.
    pub cipher: Option<Cipher>,
}

/// One for each cipher.
pub const GOLDEN: [Golden; 3] = [
    Golden {
        name: "aes",
        cipher: Some(Cipher::Aes256Gcm),
    },
    Golden {
        name: "chacha",
        cipher: Some(Cipher::ChaCha20Poly1305),
    },
    Golden {
        name: "plain",
        cipher: None,
    },
];

impl Golden {
    /// Where the repository lies.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        directory().join(self.name)
    }

    /// What opens it.
    #[must_use]
    pub fn access(&self) -> Access {
        match self.cipher {
            Some(_) => Access::password(PASSWORD),
            None => Access::Plain,
        }
    }
}

/// The golden data of format version 1.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

/// What a snapshot of any of them restores to, without its root.
pub fn expected(snapshot: &str) -> Result<Described, Box<dyn Error>> {
    let text = fs::read(directory().join("expected.json"))?;
    let mut all: Value = serde_json::from_slice(&text)?;
    Ok(serde_json::from_value(all[snapshot].take())?)
}

/// Writes all of them anew.
pub async fn write() -> Result<(), Box<dyn Error>> {
    if directory().exists() {
        fs::remove_dir_all(directory())?;
    }
    fs::create_dir_all(directory())?;
    for (number, golden) in GOLDEN.iter().enumerate() {
        let place = tempfile::tempdir()?;
        let source = place.path().join("source");
        fs::create_dir(&source)?;
        let told = write_one(golden, &source).await?;
        if number == 0 {
            fs::write(directory().join("expected.json"), lines(&told))?;
        }
    }
    Ok(())
}

async fn write_one(golden: &Golden, source: &Path) -> Result<[Described; 2], Box<dyn Error>> {
    let place = golden.repository();
    let location = place.to_str().ok_or("the path is not UTF-8")?;
    let store = Store::open(location, &[])?;
    let options = CreateOptions {
        cipher: golden.cipher,
        label: "golden".to_owned(),
        segment_size: Some(8 << 10),
        pack_size: Some(12 << 10),
        cutting: None,
        lock: None,
    };
    let repository = Repository::create(store, &golden.access(), &options).await?;
    sources::first(source)?;
    let first = describe::tree(source)?;
    save(&repository, source, TIME_MS).await?;
    let before = bytes(&place)?;
    sources::second(source)?;
    let second = describe::tree(source)?;
    save(&repository, source, TIME_MS + 60_000).await?;
    let added = bytes(&place)? - before;
    // It does not compress, and no chunk of it stayed as it was.
    if added >= sources::CHANGED as u64 {
        return Err(format!("{added} bytes added: the changed file is no delta").into());
    }
    let oldest = repository.snapshots()[0].snapshot.id();
    let tags = vec!["kept".to_owned()];
    repository.retag(&[(oldest, tags)], "tag the first").await?;
    Ok([first, second].map(|mut told| {
        told.remove("");
        told
    }))
}

async fn save(repository: &Repository, source: &Path, time_ms: i64) -> Result<(), Box<dyn Error>> {
    let options = SnapshotOptions {
        host: "golden".to_owned(),
        user: "golden".to_owned(),
        time_ms: Some(time_ms),
        ..SnapshotOptions::default()
    };
    let paths = [source.to_path_buf()];
    let report = repository
        .snapshot_paths(&paths, &options, Arc::new(Quiet))
        .await?;
    match report.findings.first() {
        Some(finding) => Err(finding.to_string().into()),
        None => Ok(()),
    }
}

/// Length of all packs together.
fn bytes(repository: &Path) -> Result<u64, Box<dyn Error>> {
    let told = describe::tree(&repository.join("packs"))?;
    Ok(told
        .values()
        .filter_map(|facts| facts["size"].as_u64())
        .sum())
}

/// JSON with a line for each path.
fn lines(told: &[Described; 2]) -> String {
    let versions: Vec<_> = SNAPSHOTS
        .iter()
        .zip(told)
        .map(|(name, told)| {
            let paths: Vec<_> = told
                .iter()
                .map(|(path, facts)| format!("  {}: {facts}", Value::from(path.as_str())))
                .collect();
            format!(" \"{name}\": {{\n{}\n }}", paths.join(",\n"))
        })
        .collect();
    format!("{{\n{}\n}}\n", versions.join(",\n"))
}
