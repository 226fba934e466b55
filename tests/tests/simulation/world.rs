//! What all seeds share: directories to save, a new repository, and counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::memory::InMemory;
use repo_core::{Access, CreateOptions, Repository, Store};
use repo_testkit::data::{random, text};
use tempfile::TempDir;

/// Versions of the directory that is saved.
pub(crate) const VERSIONS: usize = 12;
const SLOTS: usize = 5;
const PAGES: u64 = 3;
/// Of the relation, so many that deltas come to stand on deltas.
const PAGE_VARIANTS: usize = 8;
/// What was changed less long ago than this is read again by the next snapshot.
const SETTLED: Duration = Duration::from_millis(200);

/// Content by path.
pub(crate) type Files = BTreeMap<Vec<u8>, Vec<u8>>;

pub(crate) struct World {
    place: TempDir,
    /// What each version holds.
    pub(crate) versions: Vec<Files>,
    /// An empty repository.
    empty: InMemory,
    counts: Mutex<BTreeMap<&'static str, u64>>,
}

/// The content of one slot; versions share most of them.
fn content(slot: usize, variant: usize) -> Vec<u8> {
    let seed = (slot * 100 + variant) as u64;
    if slot == 0 {
        return pages(variant);
    }
    let len = 500 + 900 * slot;
    if slot.is_multiple_of(2) {
        random(seed, len)
    } else {
        text(seed, len)
    }
}

/// A relation of Postgres in which a variant differs by a few bytes: stored as deltas.
fn pages(variant: usize) -> Vec<u8> {
    let mut pages = Vec::new();
    for page in 0..PAGES {
        let mut content = random(7000 + page, 8192);
        content[..24].fill(0);
        content[12..20].copy_from_slice(&[24, 0, 0, 32, 0, 32, 4, 32]);
        pages.extend_from_slice(&content);
    }
    for at in 0..variant {
        pages[1000 + 50 * at] ^= 0x55;
    }
    pages
}

fn name(slot: usize) -> String {
    match slot {
        0 => "base/1/2662".to_owned(),
        slot if slot < 3 => format!("file{slot}"),
        slot => format!("directory/file{slot}"),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        let place = TempDir::new().expect("a directory");
        let mut versions = Vec::new();
        for version in 0..VERSIONS {
            let root = place.path().join(format!("versions/{version}/tree"));
            let mut files = Files::new();
            for slot in 0..SLOTS {
                // Every slot changes at a pace of its own.
                let variants = if slot == 0 { PAGE_VARIANTS } else { 4 };
                let variant = (version / (slot + 1)) % variants;
                let bytes = content(slot, variant);
                let original = place.path().join(format!("{slot}-{variant}"));
                if !original.exists() {
                    fs::write(&original, &bytes).expect("a file");
                }
                let path = root.join(name(slot));
                let above = path.parent().expect("a directory above");
                fs::create_dir_all(above).expect("a directory");
                // The same file, as far as a snapshot can tell: taken over without reading it.
                fs::hard_link(original, path).expect("a link");
                files.insert(name(slot).into_bytes(), bytes);
            }
            versions.push(files);
        }
        let empty = InMemory::new();
        let options = CreateOptions {
            segment_size: Some(6 << 10),
            pack_size: Some(12 << 10),
            ..CreateOptions::default()
        };
        let store = Store::new(Arc::new(empty.clone()), "memory");
        let created = Repository::create(store, &Access::Plain, &options).await;
        created.expect("a repository");
        tokio::time::sleep(SETTLED).await;
        Self {
            place,
            versions,
            empty,
            counts: Mutex::default(),
        }
    }

    /// A store with an empty repository.
    pub(crate) fn repository(&self) -> Arc<InMemory> {
        Arc::new(self.empty.fork())
    }

    /// A directory for one client, below which [`Self::turn_to`] puts what it saves.
    pub(crate) fn desk(&self) -> TempDir {
        TempDir::new_in(self.place.path()).expect("a directory")
    }

    /// Makes the directory at the path that is returned, always the same, this version.
    pub(crate) fn turn_to(&self, desk: &Path, version: usize) -> PathBuf {
        let link = desk.join("now");
        // The first time there is none.
        drop(fs::remove_file(&link));
        let versions = self.place.path().join(format!("versions/{version}"));
        symlink(versions, &link).expect("a link");
        link.join("tree")
    }

    pub(crate) fn count(&self, what: &'static str, more: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what).or_default() += more;
    }

    /// What was counted, for people.
    pub(crate) fn figures(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shown = String::new();
        for (what, count) in &*counts {
            // Writing to a string does not fail.
            let _ = write!(shown, "{what} {count}, ");
        }
        shown
    }
}
