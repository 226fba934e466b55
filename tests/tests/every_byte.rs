//! Every byte of a small repository that holds one of each object type, damaged in every way: a
//! check names the object or opening fails, and what can still be read is right.
//!
//! Cases by object type are printed, for `docs/guarantees.md`.
#![expect(clippy::panic, reason = "what fails here fails the test")]

use std::alloc::System;
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use cap::Cap;
use futures::{StreamExt, stream};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use repo_core::{
    Access, CheckOptions, CreateOptions, EntryType, Error, ErrorKind, OpenOptions, PackId, Quiet,
    ReadData, Repository, Severity, SnapshotId, SnapshotOptions, SnapshotView, Store,
};
use repo_format::commit::{self, Checkpoint, Commit};
use repo_format::config::Config;
use repo_format::keyslot;
use repo_format::pack::{self, DirectorySegment, TRAILER_LEN};
use repo_format::{BlobKind, HEADER_LEN, KeyId, KeyRing, ObjectKind, Opener, SessionId};
use repo_testkit::damage::{self, Image};
use repo_testkit::data::{random, text};
use tempfile::TempDir;

/// Counts what is allocated. The numbers are those asked for, whether or not they are touched.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// The most that all of it may ever have held: one key derivation, and the working memory of as
/// many repositories as are looked at side by side. A length that was believed goes past it.
const PEAK_MAX: usize = 160 << 20;

const PASSWORD: &str = "correct horse";

/// Repositories looked at side by side.
const SIDE_BY_SIDE: usize = 4;

type Files = BTreeMap<Vec<u8>, Vec<u8>>;

/// A repository with one of each type of object.
struct Sample {
    objects: BTreeMap<String, Bytes>,
    base: InMemory,
    known: Repository,
    held: BTreeMap<SnapshotId, Files>,
    kinds: BTreeMap<String, &'static str>,
}

/// What is done to one object.
#[derive(Debug, Clone)]
enum Harm {
    Flip(usize, u8),
    Cut(usize),
    Append(u8),
    Delete,
    /// It holds what another one holds: an older one of its kind, or one of another kind.
    Replay(String),
    Swap(String),
}

impl Harm {
    fn name(&self) -> &'static str {
        match self {
            Self::Flip(..) => "flipped",
            Self::Cut(_) => "cut",
            Self::Append(_) => "longer",
            Self::Delete => "deleted",
            Self::Replay(_) => "replayed",
            Self::Swap(_) => "swapped",
        }
    }
}

fn store(memory: InMemory) -> Store {
    Store::new(Arc::new(memory) as Arc<dyn ObjectStore>, "memory")
}

async fn take(repository: &Repository, source: &Path) {
    let options = SnapshotOptions {
        host: "test".to_owned(),
        ..SnapshotOptions::default()
    };
    repository
        .snapshot_paths(&[source.to_path_buf()], &options, Arc::new(Quiet))
        .await
        .expect("a snapshot");
}

/// Files that can be read, with the bytes read. A damaged tree ends the walk.
async fn read(view: &SnapshotView) -> Vec<(Vec<u8>, Vec<u8>)> {
    let found = Arc::new(Mutex::new(Vec::new()));
    let visit = Arc::clone(&found);
    let walk = view.walk(
        b"",
        true,
        Box::new(move |path, entry| {
            if entry.kind == EntryType::File {
                let mut visit = visit.lock().expect("a list");
                visit.push((path.to_vec(), entry.clone()));
            }
            ControlFlow::Continue(())
        }),
    );
    drop(walk.await);
    let found = std::mem::take(&mut *found.lock().expect("a list"));
    let mut files = Vec::new();
    for (path, entry) in found {
        if let Ok(bytes) = view.read(&entry, 0..entry.size).await {
            files.push((path, bytes));
        }
    }
    files
}

impl Sample {
    async fn new(access: &Access) -> Arc<Self> {
        let source = TempDir::new().expect("a directory");
        let put = |name: &str, bytes: &[u8]| {
            fs::write(source.path().join(name), bytes).expect("a file");
        };
        fs::create_dir(source.path().join("below")).expect("a directory");
        let mut changing = random(1, 1500);
        put("changing", &changing);
        put("below/text", &text(2, 700));
        put("below/small", b"small");
        let memory = Arc::new(InMemory::new());
        let dynamic = Arc::clone(&memory) as Arc<dyn ObjectStore>;
        let store = Store::new(Arc::clone(&dynamic), "memory");
        let known = Repository::create(store, access, &CreateOptions::default()).await;
        let known = known.expect("a repository");
        take(&known, source.path()).await;
        changing[700] ^= 1;
        put("changing", &changing);
        put("below/later", &text(3, 200));
        take(&known, source.path()).await;
        let image = Image::of(&*dynamic).await.expect("an image");
        let ring = ring(&known, image.objects());
        let (path, bytes) = checkpoint(&ring, image.objects());
        damage::write(&*dynamic, &path, bytes).await.expect("a put");
        let first = known.snapshots()[0].snapshot.id();
        let tags = vec!["kept".to_owned()];
        known.retag(&[(first, tags)], "tag").await.expect("a tag");

        let image = Image::of(&*dynamic).await.expect("an image");
        let objects = image.objects().clone();
        let mut held = BTreeMap::new();
        for known_snapshot in known.snapshots() {
            let id = known_snapshot.snapshot.id();
            let view = known.view(&id).expect("a snapshot");
            let files: Files = read(&view).await.into_iter().collect();
            assert!(files.len() >= 3);
            held.insert(id, files);
        }
        let mut kinds = BTreeMap::new();
        let mut deltas = 0;
        for (key, bytes) in &objects {
            let kind = match key.split('/').next().unwrap_or_default() {
                "config" => "config",
                "keys" => "key slot",
                "log" if key.ends_with(".checkpoint") => "checkpoint",
                "log" => "commit",
                "index" => "index",
                _ => {
                    let segments = segments(&ring, key, bytes);
                    deltas += segments.iter().filter(|one| one.base.is_some()).count();
                    match segments[0].kind {
                        BlobKind::Data => "data pack",
                        BlobKind::Tree => "tree pack",
                    }
                }
            };
            kinds.insert(key.clone(), kind);
        }
        assert!(deltas > 0, "no segment is stored against another chunk");
        Arc::new(Self {
            kinds,
            objects,
            base: memory.fork(),
            known,
            held,
        })
    }

    fn keys(&self, kind: &str) -> Vec<&String> {
        let of_kind = self.kinds.iter().filter(|(_, is)| **is == kind);
        of_kind.map(|(key, _)| key).collect()
    }

    fn newest_commit(&self) -> &str {
        self.keys("commit").pop().expect("a commit")
    }

    async fn harmed(&self, key: &str, harm: &Harm) -> InMemory {
        let memory = self.base.fork();
        let mut bytes = self.objects[key].to_vec();
        match harm {
            Harm::Flip(at, mask) => bytes[*at] ^= mask,
            Harm::Cut(len) => bytes.truncate(*len),
            Harm::Append(byte) => bytes.push(*byte),
            Harm::Delete => {
                damage::delete(&memory, key).await.expect("a delete");
                return memory;
            }
            Harm::Replay(other) => bytes = self.objects[other].to_vec(),
            Harm::Swap(other) => {
                damage::swap(&memory, key, other).await.expect("a swap");
                return memory;
            }
        }
        damage::write(&memory, key, bytes.into())
            .await
            .expect("a put");
        memory
    }

    /// Opens without a key derivation.
    async fn open(&self, memory: InMemory) -> repo_core::Result<Repository> {
        let options = OpenOptions::default();
        if self.known.encrypted() {
            self.known.reopen(store(memory), &options).await
        } else {
            Repository::open(store(memory), &Access::Plain, &options).await
        }
    }

    /// Everything done to every object but key slots, and what is done to two.
    fn cases(&self) -> Vec<(String, Harm)> {
        let mut cases = Vec::new();
        for (key, bytes) in &self.objects {
            let mut add = |harm| cases.push((key.clone(), harm));
            if self.kinds[key] != "key slot" {
                for at in 0..bytes.len() {
                    add(Harm::Flip(at, 1 << (at % 8)));
                    add(Harm::Flip(at, 0xff));
                    add(Harm::Cut(at));
                }
                add(Harm::Append(0));
                add(Harm::Append(0xa5));
            }
            add(Harm::Delete);
            for other in self.objects.keys().filter(|other| *other != key) {
                add(Harm::Replay(other.clone()));
                if other > key {
                    add(Harm::Swap(other.clone()));
                }
            }
        }
        cases
    }

    /// Whether the harm leaves a sound repository, because nobody needs what it took away.
    fn harmless(&self, key: &str, harm: &Harm) -> bool {
        // A log without its end is an older log, and a checkpoint only saves time.
        matches!(harm, Harm::Delete)
            && (key == self.newest_commit() || self.kinds[key] == "checkpoint")
    }

    /// Looks at a harmed repository as a user would.
    async fn judge(&self, key: &str, harm: &Harm) {
        let what = || format!("{} {key}: {harm:?}", self.kinds[key]);
        let other = match harm {
            Harm::Swap(other) => other.as_str(),
            _ => key,
        };
        // A slot that is gone has no name any more; that there is none is told.
        let slots = self.kinds[key] == "key slot" && matches!(harm, Harm::Delete);
        let names = |told: &str| {
            let none = slots && told.starts_with("keys/: ");
            told.contains(key) || told.contains(other) || none
        };
        let memory = self.harmed(key, harm).await;
        let repository = match self.open(memory).await {
            Ok(repository) => repository,
            Err(error) => {
                let told = chain(&error);
                let number = |key: &str| {
                    let number = key.strip_prefix("log/").map(|n| n.trim_start_matches('0'));
                    number.is_some_and(|number| told.contains(&format!("commit {number} ")))
                };
                let gone = key == "config" && matches!(error, Error::NoRepository { .. });
                assert!(
                    names(&told) || number(key) || number(other) || gone,
                    "{}: {told}",
                    what()
                );
                // A version byte that was flipped looks like a later version.
                let kinds = [ErrorKind::Corrupt, ErrorKind::Unsupported];
                assert!(gone || kinds.contains(&error.kind()), "{}: {told}", what());
                return;
            }
        };
        let options = CheckOptions {
            read_data: ReadData::All,
        };
        let report = repository.check(&options, Arc::new(Quiet)).await;
        let report = report.unwrap_or_else(|error| panic!("{}: {error:?}", what()));
        let damaged = report.findings.iter();
        let told: Vec<String> = damaged
            .filter(|finding| finding.severity == Severity::Damage)
            .map(ToString::to_string)
            .collect();
        if self.harmless(key, harm) {
            assert!(told.is_empty(), "{}: {told:?}", what());
        } else {
            assert!(told.iter().any(|line| names(line)), "{}: {told:?}", what());
        }
        for (id, held) in &self.held {
            let Ok(view) = repository.view(id) else {
                assert!(key.starts_with("log/"), "{}: a snapshot is gone", what());
                continue;
            };
            let files = read(&view).await;
            for (path, bytes) in &files {
                assert!(held.get(path) == Some(bytes), "{}: wrong bytes", what());
            }
            let whole = files.len() == held.len();
            assert!(
                whole || !told.is_empty(),
                "{}: a file is lost and not told",
                what()
            );
        }
    }
}

/// The keys of a repository, by the format alone.
fn ring(known: &Repository, objects: &BTreeMap<String, Bytes>) -> KeyRing {
    let config = Config::decode(&objects["config"]).expect("a config");
    let secrets = match &config.public {
        Some(public) => public.secrets().expect("public keys"),
        None => {
            let (key, slot) = objects
                .iter()
                .find(|(key, _)| key.starts_with(keyslot::PREFIX))
                .expect("a key slot");
            let id = KeyId::from_hex(&key[keyslot::PREFIX.len()..]).expect("an id");
            let hash = Config::hash(&objects["config"]);
            keyslot::unwrap(slot, &id, PASSWORD.as_bytes(), hash).expect("the password")
        }
    };
    KeyRing::new(known.id(), known.cipher(), secrets).expect("keys")
}

/// A checkpoint of the log as it is; the library would write one after 64 commits.
fn checkpoint(ring: &KeyRing, objects: &BTreeMap<String, Bytes>) -> (String, Bytes) {
    let mut sum = Checkpoint {
        number: 0,
        hash: commit::CommitHash::default(),
        snapshots: Vec::new(),
        indexes: Vec::new(),
        condemned: Vec::new(),
        needs: Vec::new(),
        condemned_at: Some(Vec::new()),
        begins: None,
    };
    for (_, stored) in objects.range("log/".to_owned().."log0".to_owned()) {
        sum.number += 1;
        let commit: Commit = commit::open(ring, sum.number, stored).expect("a commit");
        sum.hash = commit::hash(stored);
        sum.snapshots.extend(commit.add_snapshots);
        sum.indexes.extend(commit.add_indexes);
    }
    let sealed = commit::seal_checkpoint(ring, SessionId([7; 16]), &sum).expect("a checkpoint");
    (commit::checkpoint_path(sum.number), sealed.into())
}

fn segments(ring: &KeyRing, key: &str, bytes: &Bytes) -> Vec<DirectorySegment> {
    let id = key
        .rsplit('/')
        .next()
        .and_then(PackId::from_hex)
        .expect("a pack");
    let header = bytes.first_chunk::<HEADER_LEN>().expect("a header");
    let opener = Opener::new(ring, ObjectKind::Pack, key, Some(id.0), header).expect("a pack");
    let size = bytes.len() as u64;
    let end = bytes.len() - TRAILER_LEN;
    let len = pack::trailer("pack", &bytes[end..], pack::TRAILER_MAGIC, size).expect("a trailer");
    let start = end - usize::try_from(len).expect("a length");
    let mut sealed = bytes[start..end].to_vec();
    pack::open_directory(&opener, size, &mut sealed).expect("a directory")
}

fn chain(error: &dyn std::error::Error) -> String {
    let source = error.source().map(chain).unwrap_or_default();
    format!("{error}: {source}")
}

#[expect(
    clippy::print_stderr,
    reason = "the figures are for docs/guarantees.md"
)]
fn tell(line: &str) {
    eprintln!("{line}");
}

/// Judges every case, as many at once as there are cores and more. Gives their numbers by type.
async fn judge_all(sample: &Arc<Sample>) -> BTreeMap<(&'static str, &'static str), u64> {
    let mut counts = BTreeMap::new();
    let cases = sample.cases();
    for (key, harm) in &cases {
        *counts.entry((sample.kinds[key], harm.name())).or_default() += 1;
    }
    let judged = stream::iter(cases).map(|(key, harm)| {
        let sample = Arc::clone(sample);
        tokio::spawn(async move { sample.judge(&key, &harm).await })
    });
    let mut judged = judged.buffer_unordered(SIDE_BY_SIDE);
    while let Some(outcome) = judged.next().await {
        outcome.expect("a case that fails says which it is");
    }
    counts
}

async fn matrix(name: &str, access: &Access) -> Arc<Sample> {
    let sample = Sample::new(access).await;
    let size: usize = sample.objects.values().map(Bytes::len).sum();
    tell(&format!(
        "{name}: {} objects, {size} bytes",
        sample.objects.len()
    ));
    let wanted = [
        "config",
        "commit",
        "checkpoint",
        "index",
        "data pack",
        "tree pack",
    ];
    for kind in wanted {
        assert!(!sample.keys(kind).is_empty(), "no {kind}");
    }
    let counts = judge_all(&sample).await;
    for ((kind, harm), count) in &counts {
        tell(&format!("{name}: {kind:10} {harm:8} {count:6}"));
    }
    for kind in wanted {
        let bytes: usize = sample
            .keys(kind)
            .iter()
            .map(|key| sample.objects[*key].len())
            .sum();
        assert_eq!(counts[&(kind, "flipped")], 2 * bytes as u64, "{kind}");
        assert_eq!(counts[&(kind, "cut")], bytes as u64, "{kind}");
    }
    let total: u64 = counts.values().sum();
    let peak = ALLOCATOR.max_allocated();
    tell(&format!(
        "{name}: {total} cases, {} MiB at most",
        peak >> 20
    ));
    assert!(total > 15_000, "only {total} cases");
    assert!(peak < PEAK_MAX, "{peak} bytes were allocated");
    rolled_back(&sample).await;
    sample
}

/// Who has seen the newest commit notices each older log.
async fn rolled_back(sample: &Sample) {
    let cache = TempDir::new().expect("a directory");
    let options = OpenOptions {
        cache_dir: Some(cache.path().to_path_buf()),
        ..OpenOptions::default()
    };
    let opened = sample
        .known
        .reopen(store(sample.base.fork()), &options)
        .await;
    assert_eq!(opened.expect("a repository").head(), 3);
    let memory = sample.base.fork();
    let log: Vec<_> = sample
        .objects
        .keys()
        .filter(|key| key.starts_with("log/"))
        .collect();
    for key in log.into_iter().rev() {
        damage::delete(&memory, key).await.expect("a delete");
        if !key.ends_with(".checkpoint") {
            let error = sample.known.reopen(store(memory.fork()), &options).await;
            let error = error.err().expect("an older log");
            assert!(
                matches!(error, Error::RolledBack { seen: 3, .. }),
                "{key}: {error}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_a_repository_in_clear() {
    matrix("in clear", &Access::Plain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_an_encrypted_repository() {
    let sample = matrix("encrypted", &Access::password(PASSWORD)).await;
    with_password(&sample).await;
}

/// The way in by password: what a check without the password cannot see of a key slot keeps it
/// from opening. Most cases are told without a key derivation; some of the rest are tried.
async fn with_password(sample: &Sample) {
    let access = Access::password(PASSWORD);
    let open = |memory| {
        let access = access.clone();
        async move { Repository::open(store(memory), &access, &OpenOptions::default()).await }
    };
    let config = "config".to_owned();
    for at in (8..sample.objects[&config].len()).step_by(16) {
        let memory = sample.harmed(&config, &Harm::Flip(at, 0x10)).await;
        let told = chain(&open(memory).await.err().expect("another config"));
        assert!(told.contains("config"), "{at}: {told}");
    }
    let slot = sample.keys("key slot")[0];
    let (mut named, mut refused) = (0, 0);
    let bytes = &sample.objects[slot];
    let derivation = keyslot::Slot::decode(bytes).expect("a slot").kdf;
    let flips =
        (0..bytes.len()).flat_map(|at| [Harm::Flip(at, 1 << (at % 8)), Harm::Flip(at, 0xff)]);
    for harm in flips
        .chain((0..bytes.len()).map(Harm::Cut))
        .chain([Harm::Append(0)])
    {
        let memory = sample.harmed(slot, &harm).await;
        let repository = sample
            .known
            .reopen(store(memory.fork()), &OpenOptions::default())
            .await;
        let report = repository
            .expect("a repository")
            .check(&CheckOptions::default(), Arc::new(Quiet))
            .await
            .expect("a check");
        let mut told = report.findings.iter().map(ToString::to_string);
        if told.any(|line| line.starts_with(slot.as_str())) {
            named += 1;
            continue;
        }
        assert!(matches!(harm, Harm::Flip(..)), "{harm:?} is not named");
        refused += 1;
        let harmed = damage::read(&memory, slot).await.expect("a slot");
        // Another derivation, within its limits, gives another key; it may take a while.
        let same = keyslot::Slot::decode(&harmed).expect("a slot").kdf == derivation;
        if same && refused % 16 == 0 {
            let error = open(memory)
                .await
                .err()
                .unwrap_or_else(|| panic!("{harm:?} opens"));
            let wrong = matches!(error, Error::WrongPassword { .. });
            assert!(
                wrong || chain(&error).contains(slot.as_str()),
                "{harm:?}: {error:?}"
            );
        }
    }
    tell(&format!(
        "key slot: {named} named by a check, {refused} left to who opens it"
    ));
    assert!(named > 2 * refused / 3 && named + refused == 3 * bytes.len() as u64 + 1);
}
