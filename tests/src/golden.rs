//! The golden repositories: where they lie, how they open, and how they are written.
//!
//! What was written once stays readable by every later version, so a directory is never written
//! again after a release: a change of the format gets a directory beside it. The writer is
//! `cargo run -p repo-tests --bin bless`, told which directory to write.

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

/// Time of the first snapshot, in milliseconds since 1970; each next one is a minute later.
const TIME_MS: i64 = 1_700_000_000_000;

/// What the first writer of version 1 wrote.
const V1: Set = Set {
    directory: "v1",
    snapshots: &["first", "second"],
};
/// With a delta that stands on a delta, which version 1 had from its second writer on.
const V1_CHAINS: Set = Set {
    directory: "v1-chains",
    snapshots: &["first", "second", "third"],
};

/// Golden repositories with the same snapshots.
#[derive(Debug, Clone, Copy)]
pub struct Set {
    directory: &'static str,
    /// The snapshots, oldest first, by their names in `expected.json`.
    pub snapshots: &'static [&'static str],
}

/// One golden repository.
#[derive(Debug, Clone, Copy)]
pub struct Golden {
    /// What it was written with.
    pub set: Set,
    /// Its directory in that of the set.
    pub name: &'static str,
    /// How it is encrypted; not at all when absent.
    pub cipher: Option<Cipher>,
}

/// One for each cipher, and what came later.
pub const GOLDEN: [Golden; 4] = [
    Golden {
        set: V1,
        name: "aes",
        cipher: Some(Cipher::Aes256Gcm),
    },
    Golden {
        set: V1,
        name: "chacha",
        cipher: Some(Cipher::ChaCha20Poly1305),
    },
    Golden {
        set: V1,
        name: "plain",
        cipher: None,
    },
    Golden {
        set: V1_CHAINS,
        name: "aes",
        cipher: Some(Cipher::Aes256Gcm),
    },
];

impl Set {
    fn path(&self) -> PathBuf {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
        golden.join(self.directory)
    }

    /// What a snapshot of any of its repositories restores to, without its root.
    pub fn expected(&self, snapshot: &str) -> Result<Described, Box<dyn Error>> {
        let text = fs::read(self.path().join("expected.json"))?;
        let mut all: Value = serde_json::from_slice(&text)?;
        Ok(serde_json::from_value(all[snapshot].take())?)
    }
}

impl Golden {
    /// Where the repository lies.
    #[must_use]
    pub fn repository(&self) -> PathBuf {
        self.set.path().join(self.name)
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

/// Writes those of one directory anew.
pub async fn write(directory: &str) -> Result<(), Box<dyn Error>> {
    let of_set = GOLDEN
        .into_iter()
        .filter(|golden| golden.set.directory == directory);
    let golden: Vec<Golden> = of_set.collect();
    let set = golden.first().ok_or("there is no such directory")?.set;
    if set.path().exists() {
        fs::remove_dir_all(set.path())?;
    }
    fs::create_dir_all(set.path())?;
    for golden in &golden {
        let place = tempfile::tempdir()?;
        let source = place.path().join("source");
        fs::create_dir(&source)?;
        let told = write_one(golden, &source).await?;
        fs::write(set.path().join("expected.json"), lines(set, &told))?;
    }
    Ok(())
}

async fn write_one(golden: &Golden, source: &Path) -> Result<Vec<Described>, Box<dyn Error>> {
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
    let mut versions = Vec::new();
    let mut time_ms = TIME_MS;
    for version in golden.set.snapshots {
        let before = bytes(&place)?;
        match *version {
            "first" => sources::first(source)?,
            "second" => sources::second(source)?,
            _ => sources::third(source)?,
        }
        let mut told = describe::tree(source)?;
        told.remove("");
        save(&repository, source, time_ms).await?;
        let added = bytes(&place)? - before;
        // It does not compress, and no chunk of it stayed as it was.
        if *version != "first" && added >= sources::CHANGED as u64 {
            return Err(format!("{added} bytes added: the changed file is no delta").into());
        }
        versions.push(told);
        time_ms += 60_000;
    }
    let oldest = repository.snapshots()[0].snapshot.id();
    let tags = vec!["kept".to_owned()];
    repository.retag(&[(oldest, tags)], "tag the first").await?;
    Ok(versions)
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
    let packs = repository.join("packs");
    if !packs.exists() {
        return Ok(0);
    }
    let told = describe::tree(&packs)?;
    Ok(told
        .values()
        .filter_map(|facts| facts["size"].as_u64())
        .sum())
}

/// JSON with a line for each path.
fn lines(set: Set, told: &[Described]) -> String {
    let versions: Vec<_> = set
        .snapshots
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
