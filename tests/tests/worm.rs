//! Storage that refuses deletes: retention locks, by a real server and counted in memory, an
//! attacker with the writer's credentials, and a store that only lets objects be added.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::signer::{SignedUrlOptions, Signer};
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt};
use repo_core::{
    Access, CheckOptions, CreateOptions, ErrorKind, Finding, ForgetOptions, GroupBy, LockFor,
    LockMode, OpenOptions, ParityOptions, Quiet, ReadData, Repository, RestoreOptions, Severity,
    SnapshotOptions, Store, plan_forget_ids,
};
use repo_testkit::data::{fill_tree, random};
use repo_testkit::{AppendOnly, MemoryLocks, Seaweed};
use repo_tests::program::Home;

const DAY_MS: u64 = 86_400_000;
const BUCKET: &str = "worm-bucket";

/// A repository in memory whose objects can be locked.
struct Memory {
    store: Store,
    objects: Arc<InMemory>,
    locks: Arc<MemoryLocks>,
    place: tempfile::TempDir,
}

impl Memory {
    fn new() -> Self {
        let objects = Arc::new(InMemory::new());
        let locks = MemoryLocks::new(Arc::<InMemory>::clone(&objects), 0);
        Self {
            store: Store::new(Arc::<InMemory>::clone(&objects), "memory").with_locks(Arc::<
                MemoryLocks,
            >::clone(
                &locks
            )),
            objects,
            locks,
            place: tempfile::tempdir().expect("a directory"),
        }
    }

    async fn create(&self, for_ms: u64) {
        let options = CreateOptions {
            lock: Some(LockFor {
                mode: LockMode::Governance,
                for_ms,
            }),
            ..CreateOptions::default()
        };
        let store = self.store.clone();
        let created = Repository::create(store, &Access::Plain, &options).await;
        drop(created.expect("a repository"));
    }

    /// Opens it with the cache of this name.
    async fn open(&self, cache: &str) -> Repository {
        let options = OpenOptions {
            cache_dir: Some(self.place.path().join(cache)),
            ..OpenOptions::default()
        };
        let opened = Repository::open(self.store.clone(), &Access::Plain, &options);
        opened.await.expect("the repository")
    }

    /// Takes a snapshot and answers the keys of all requests to lock.
    async fn snapshot(&self, cache: &str, source: &Path) -> Vec<String> {
        drop(self.locks.take_asked());
        let repository = self.open(cache).await;
        let options = SnapshotOptions::default();
        let paths = [source.to_path_buf()];
        let taken = repository.snapshot_paths(&paths, &options, Arc::new(Quiet));
        assert!(taken.await.expect("a snapshot").id.is_some());
        self.locks.take_asked()
    }

    async fn keys(&self) -> BTreeSet<String> {
        let all = self.objects.list(None);
        let keys = all.map_ok(|meta| meta.location.to_string()).try_collect();
        keys.await.expect("the keys")
    }

    /// Packs without which the newest snapshot cannot be restored. A tree that was replaced because
    /// a change was too recent to be told by its time is in none of them.
    async fn needed_packs(&self) -> BTreeSet<String> {
        let mut needed = BTreeSet::new();
        for pack in packs(&self.keys().await) {
            let key = Key::from(pack.as_str());
            let stored = self.objects.get(&key).await.expect("a pack");
            let stored = stored.bytes().await.expect("its bytes");
            self.objects.delete(&key).await.expect("no pack");
            if !self.restores().await {
                needed.insert(pack);
            }
            let put = self.objects.put(&key, stored.into()).await;
            put.expect("the pack again");
        }
        needed
    }

    /// Whether the newest snapshot can be restored.
    async fn restores(&self) -> bool {
        let target = tempfile::tempdir().expect("a directory");
        let repository = self.open("none").await;
        let newest = repository.snapshots().pop().expect("a snapshot");
        let view = repository.view(&newest.snapshot.id()).expect("its view");
        let options = RestoreOptions::default();
        let restored = repository
            .restore(&view, b"", target.path(), &options, Arc::new(Quiet))
            .await;
        restored.is_ok_and(|report| {
            let damage = |finding: &Finding| finding.severity == Severity::Damage;
            !report.findings.iter().any(damage)
        })
    }

    fn source(&self, name: &str) -> std::path::PathBuf {
        let source = self.place.path().join(name);
        std::fs::create_dir_all(&source).expect("a directory");
        source
    }
}

fn packs<'a>(keys: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    let packs = keys.into_iter().filter(|key| key.starts_with("packs/"));
    packs.cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_costs_one_request_an_object_and_is_renewed_once_it_is_due() {
    let memory = Memory::new();
    memory.create(30 * DAY_MS).await;
    let source = memory.source("data");
    fill_tree(&source, 1, 40).expect("a tree");
    let first = memory.snapshot("warm", &source).await;
    let held = memory.locks.held();
    let keys = memory.keys().await;
    // The probe object is deleted before anything is locked.
    assert!(held.keys().eq(keys.iter()), "{held:#?} {keys:#?}");
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len());

    // Nothing is due: only what is new is locked.
    std::fs::write(source.join("added"), random(2, 9000)).expect("a file");
    let second = memory.snapshot("warm", &source).await;
    let new: Vec<String> = (&memory.keys().await - &keys).into_iter().collect();
    let mut asked = second.clone();
    asked.sort();
    assert_eq!(asked, new);

    // Another client knows of no lock: it renews each object that the snapshot needs, once.
    let cold = memory.snapshot("cold", &source).await;
    let asked: BTreeSet<String> = cold.iter().cloned().collect();
    assert_eq!(asked.len(), cold.len());
    let all = memory.keys().await;
    let (asked_packs, all_packs) = (packs(&asked), packs(&all));
    assert_eq!(asked_packs, memory.needed_packs().await);
    assert_eq!(&asked - &asked_packs, &all - &all_packs);
    let mut warm = memory.snapshot("cold", &source).await;
    warm.sort();
    let new: Vec<String> = (&memory.keys().await - &all).into_iter().collect();
    assert_eq!(warm, new);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_snapshot_needs_is_renewed() {
    let memory = Memory::new();
    // So short that every lock is due again at once.
    memory.create(1).await;
    let (one, other) = (memory.source("one"), memory.source("other"));
    std::fs::write(one.join("file"), random(1, 20_000)).expect("a file");
    std::fs::write(other.join("file"), random(2, 20_000)).expect("a file");
    memory.snapshot("cache", &one).await;
    let of_one = packs(&memory.keys().await);
    let asked = memory.snapshot("cache", &other).await;
    assert!(packs(&asked).is_disjoint(&of_one), "{asked:?}");
    assert!(asked.contains(&"config".to_owned()));

    // The change is stored against the chunk before it, which the snapshot so needs too.
    let mut bytes = random(1, 20_000);
    bytes[10_000] ^= 1;
    std::fs::write(one.join("file"), bytes).expect("a file");
    let before = memory.keys().await;
    let asked = memory.snapshot("cache", &one).await;
    let delta = &packs(&memory.keys().await) - &packs(&before);
    let kept = &packs(&asked) & &of_one;
    assert_eq!((delta.len(), kept.len()), (2, 1), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_weakest_lock_bounds_a_snapshot() {
    let memory = Memory::new();
    memory.create(30 * DAY_MS).await;
    let source = memory.source("data");
    fill_tree(&source, 1, 10).expect("a tree");
    memory.snapshot("cache", &source).await;
    let repository = memory.open("cache").await;
    let report = repository
        .check_locks(Arc::new(Quiet))
        .await
        .expect("a report");
    let held = memory.locks.held();
    let ends = held.values().map(|held| held.until_ms);
    assert_eq!(report.snapshots[0].until_ms, ends.min());
    let promised = i64::try_from(30 * DAY_MS).expect("a time");
    assert!(report.snapshots[0].until_ms >= Some(report.snapshots[0].time_ms + promised));

    for key in held.keys() {
        let memory_of_lock = held[key];
        memory.locks.lift(key);
        let report = repository
            .check_locks(Arc::new(Quiet))
            .await
            .expect("a report");
        let found = &report.snapshots[0];
        assert_eq!((found.until_ms, &found.weakest), (None, key));
        memory
            .store
            .retain(key, memory_of_lock)
            .await
            .expect("a lock");
    }
    // A pack that is lost is named before a snapshot relies on it.
    let pack = packs(held.keys()).pop_first().expect("a pack");
    memory
        .objects
        .delete(&Key::from(pack.as_str()))
        .await
        .expect("a delete");
    let paths = [source];
    let options = SnapshotOptions::default();
    let cold = memory.open("cold").await;
    let taken = cold.snapshot_paths(&paths, &options, Arc::new(Quiet)).await;
    assert_eq!(taken.expect_err("a loss").kind(), ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_without_locks_is_refused() {
    let options = CreateOptions {
        lock: Some(LockFor {
            mode: LockMode::Governance,
            for_ms: DAY_MS,
        }),
        ..CreateOptions::default()
    };
    let store = Store::open("memory://", &[]).expect("a store");
    let created = Repository::create(store.clone(), &Access::Plain, &options).await;
    let error = created.err().expect("a refusal");
    assert_eq!(
        error.to_string(),
        "memory:// cannot lock objects: it needs S3 with a bucket made with Object Lock"
    );
    assert!(store.get("config", 1000).await.is_err());

    // A copy elsewhere is read and not written.
    let memory = Memory::new();
    memory.create(DAY_MS).await;
    let source = memory.source("data");
    memory.snapshot("cache", &source).await;
    let copy = Store::new(Arc::<InMemory>::clone(&memory.objects), "copy");
    let opened = Repository::open(copy, &Access::Plain, &OpenOptions::default()).await;
    let copy = opened.expect("the copy");
    assert_eq!(copy.snapshots().len(), 1);
    let (paths, options) = ([source], SnapshotOptions::default());
    let taken = copy.snapshot_paths(&paths, &options, Arc::new(Quiet));
    assert_eq!(
        taken.await.expect_err("a refusal").kind(),
        ErrorKind::Unsupported
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_objects_is_all_a_writer_needs() {
    let store = Store::new(
        Arc::new(AppendOnly::new(Arc::new(InMemory::new()))),
        "append-only",
    );
    let access = Access::password("first");
    let created = Repository::create(store, &access, &CreateOptions::default()).await;
    let repository = created.expect("a repository");
    let place = tempfile::tempdir().expect("a directory");
    fill_tree(place.path(), 1, 10).expect("a tree");
    let paths = [place.path().to_path_buf()];
    for _ in 0..2 {
        let options = SnapshotOptions::default();
        let taken = repository.snapshot_paths(&paths, &options, Arc::new(Quiet));
        let id = taken.await.expect("a snapshot").id.expect("an id");
        let tags = [(id, vec!["kept".to_owned()])];
        repository.retag(&tags, "tag").await.expect("tags");
    }
    let key = repository.add_key(b"second", "").await.expect("a key");
    let options = CheckOptions {
        read_data: ReadData::All,
    };
    let report = repository.check(&options, Arc::new(Quiet)).await;
    assert_eq!(report.expect("a check").snapshots, 2);
    let first = repository.snapshots()[0].snapshot.id();
    let plan = plan_forget_ids(&repository.snapshots(), &[first], GroupBy::default());
    let plan = plan.expect("a plan");
    let options = ForgetOptions::default();
    let forgotten = repository.forget(&plan, &options, "forget");
    let commit = forgotten.await.expect("a forget").commit.expect("a commit");
    let undone = repository.undo(commit, "undo", Arc::new(Quiet));
    undone.await.expect("an undo");
    assert_eq!(repository.snapshots().len(), 2);
    // What deletes is refused, by name, and nothing else.
    let error = repository.remove_key(&key).await.expect_err("a refusal");
    assert_eq!(
        error.to_string(),
        format!("append-only refused to delete keys/{key}")
    );
    assert_eq!(repository.keys().await.expect("keys").len(), 2);
}

/// What anyone with the writer's credentials can ask of the bucket.
struct Attacker {
    s3: object_store::aws::AmazonS3,
}

impl Attacker {
    fn new(server: &Seaweed) -> Self {
        // Opening any store says which cryptography TLS has, which clients ask for when they are made.
        let store = Store::open(&server.location("any"), &server.options());
        drop(store.expect("a store"));
        let mut builder = AmazonS3Builder::new().with_bucket_name(BUCKET);
        for (key, value) in server.options() {
            builder = builder.with_config(key.parse().expect("an option"), value);
        }
        let s3 = builder.build().expect("a client");
        Self { s3 }
    }

    /// One signed request; answers the status and body.
    async fn ask(&self, method: &str, key: &str, query: &[(&str, &str)]) -> (u16, String) {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method.parse().expect("a method");
        let options = SignedUrlOptions::new().with_query(query.iter().copied());
        let life = std::time::Duration::from_secs(60);
        let (method, path) = (request.method().clone(), Key::from(key));
        let signed = self.s3.signed_url_opts(method, &path, life, &options);
        let url = signed.await.expect("a URL");
        *request.uri_mut() = url.as_str().parse().expect("a URI");
        let options = ClientOptions::new().with_allow_http(true);
        let options = options.with_no_system_certificates(true);
        let client = ReqwestConnector::default()
            .connect(&options)
            .expect("a client");
        let answer = client.execute(request).await.expect("an answer");
        let status = answer.status().as_u16();
        let parts: Vec<_> = answer
            .into_body()
            .bytes_stream()
            .try_collect()
            .await
            .expect("a body");
        (
            status,
            String::from_utf8_lossy(&parts.concat()).into_owned(),
        )
    }

    /// Key, version and whether it is a delete marker, of everything; newest first for each key.
    async fn versions(&self) -> Vec<(String, String, bool)> {
        let (status, text) = self.ask("GET", "", &[("versions", "")]).await;
        assert_eq!(status, 200, "{text}");
        assert!(text.contains("<IsTruncated>false<"), "more than a page");
        let within = |part: &str, tag: &str| {
            let (_, rest) = part.split_once(&format!("<{tag}>")).expect("a tag");
            rest.split_once("</").expect("its end").0.to_owned()
        };
        let mut found = Vec::new();
        for (open, marker) in [("<Version>", false), ("<DeleteMarker>", true)] {
            for part in text.split(open).skip(1) {
                found.push((within(part, "Key"), within(part, "VersionId"), marker));
            }
        }
        found
    }
}

#[test]
fn a_locked_repository_outlives_an_attacker() {
    let server = Seaweed::start().expect("a SeaweedFS server");
    server.create_locking_bucket(BUCKET).expect("a bucket");
    let mut home = Home::new();
    home.set("REPO_REPOSITORY", format!("s3://{BUCKET}/backup"));
    for (name, value) in server.options() {
        home.set(&name.to_ascii_uppercase(), value);
    }
    // In this mode not even these credentials, which may do everything, can lift a lock.
    home.ok(&["init", "--lock-for", "30d", "--lock-mode", "compliance"]);
    let source = home.path("data");
    fill_tree(&source, 1, 30).expect("a tree");
    home.write("data/large", random(2, 2 << 20));
    home.ok(&["snapshot", "data"]);
    home.write("data/added", "added");
    home.ok(&["snapshot", "data"]);
    home.set("REPO_NEW_PASSWORD", "second");
    home.ok(&["key", "add"]);
    home.ok(&["tag", "--add", "kept", "latest"]);
    home.ok(&["check", "--read-data"]);
    let locks = home.json(&["check", "--locks"]);
    assert_eq!(locks.len(), 3, "{locks:?}");
    assert!(
        locks[..2].iter().all(|lock| lock["locked"] == true),
        "{locks:?}"
    );
    assert_eq!(locks[2]["locked"], 2);
    // Removing a key is the one thing here that deletes.
    let keys = home.json(&["key", "list"]);
    let other = keys
        .iter()
        .find(|key| key["current"] == false)
        .expect("a key");
    let id = other["id"].as_str().expect("an id");
    let refused = home.fails(1, &["key", "remove", id]);
    assert!(refused.contains("is locked until"), "{refused}");

    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let attacker = Attacker::new(&server);
    runtime.block_on(attack(&attacker));
    home.fails(10, &["--no-cache", "snapshots"]);
    runtime.block_on(recover(&attacker));
    home.ok(&["--no-cache", "check", "--read-data"]);
    home.restores("latest", &source);
    home.ok(&["snapshot", "data"]);
    assert_eq!(home.json(&["check", "--locks"])[3]["locked"], 3);
}

/// Deletes every version, which the server refuses; then overwrites some objects and deletes all,
/// which hides them.
async fn attack(attacker: &Attacker) {
    let before = attacker.versions().await;
    assert!(before.len() > 8 && before.iter().all(|(_, _, marker)| !marker));
    for (key, version, _) in &before {
        let (status, said) = attacker.ask("DELETE", key, &[("versionId", version)]).await;
        assert_eq!(status, 403, "{key}: {said}");
    }
    for (at, (key, ..)) in before.iter().enumerate() {
        let key = Key::from(key.as_str());
        if at % 2 == 0 {
            let evil = attacker.s3.put(&key, "evil".into()).await;
            evil.expect("versions let objects be put over others");
        }
        attacker.s3.delete(&key).await.expect("a delete marker");
    }
    let after = attacker.versions().await;
    for version in &before {
        assert!(after.contains(version), "{version:?} is gone");
    }
    assert!(after.len() > before.len() * 2);
}

/// What SECURITY.md tells the administrator to do: each key keeps its first version, as a
/// repository never writes a second one.
async fn recover(attacker: &Attacker) {
    for (key, version, _) in attacker.versions().await {
        // Locked versions refuse to go, and only those are the repository's.
        let (status, _) = attacker
            .ask("DELETE", &key, &[("versionId", &version)])
            .await;
        assert!(matches!(status, 200..=299 | 403), "{status}");
    }
}

/// Parity is locked when it is made, renewed when it is looked after, and stays when others supersede
/// it.
#[tokio::test(flavor = "multi_thread")]
async fn parity_is_locked_like_what_it_protects() {
    let memory = Memory::new();
    memory.create(30 * DAY_MS).await;
    let source = memory.source("data");
    fill_tree(&source, 1, 40).expect("a tree");
    drop(memory.snapshot("warm", &source).await);
    let protect = async |shards| {
        drop(memory.locks.take_asked());
        let repository = memory.open("warm").await;
        let options = ParityOptions {
            shards,
            ..ParityOptions::default()
        };
        let report = repository.protect(&options, Arc::new(Quiet)).await;
        (report.expect("parity"), memory.locks.take_asked())
    };
    let parity = |keys: &BTreeSet<String>| -> BTreeSet<String> {
        let parity = keys.iter().filter(|key| key.starts_with("parity/"));
        parity.cloned().collect()
    };
    let (made, asked) = protect(None).await;
    let first = parity(&memory.keys().await);
    assert_eq!((made.groups_made, first.len()), (1, 2));
    assert_eq!(asked.into_iter().collect::<BTreeSet<_>>(), first);
    let held = memory.locks.held();
    let pack = packs(held.keys()).into_iter().next().expect("a pack");
    for key in &first {
        let (lock, of_pack) = (&held[key], &held[&pack]);
        assert!(lock.until_ms >= of_pack.until_ms, "{lock:?} {of_pack:?}");
    }
    let (same, asked) = protect(None).await;
    assert_eq!((same.groups_made, same.groups_kept), (0, 1));
    assert_eq!(asked.into_iter().collect::<BTreeSet<_>>(), first);
    let (other, _) = protect(Some(1)).await;
    assert_eq!(
        (other.groups_made, other.deleted, other.retained),
        (1, 0, 2)
    );
    assert!(first.is_subset(&memory.keys().await));
}
