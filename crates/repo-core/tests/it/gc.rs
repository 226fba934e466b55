//! Collection: what is live stays, what is dead goes, and writers that run beside it lose nothing.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::TryStreamExt;
use repo_core::{
    Access, CheckOptions, CreateOptions, Error, Finding, ForgetOptions, GcOptions, GcReport,
    GroupBy, MaxUnused, OpenOptions, Progress, Quiet, ReadData, Repository, RestoreOptions,
    Severity, SnapshotId, SnapshotOptions, Store, plan_forget_ids,
};
use repo_testkit::data::{random, text};
use repo_testkit::{AppendOnly, FaultStore};
use tempfile::TempDir;

type Files = BTreeMap<String, Vec<u8>>;

/// A store in memory, and what each snapshot in it must hold.
struct Bench {
    memory: FaultStore,
    source: TempDir,
    held: BTreeMap<SnapshotId, Files>,
}

/// No grace: what is condemned is deleted at once.
pub(crate) fn at_once() -> GcOptions {
    GcOptions {
        reader_grace_ms: 0,
        writer_grace_ms: 0,
        max_unused: MaxUnused::Bytes(0),
        ..GcOptions::default()
    }
}

/// Condemned packs stay for readers.
fn patient() -> GcOptions {
    GcOptions {
        reader_grace_ms: 1_000_000,
        ..at_once()
    }
}

fn store(memory: &FaultStore) -> Store {
    Store::new(Arc::new(memory.clone()), "memory")
}

pub(crate) async fn forget(repository: &Repository, ids: &[SnapshotId]) {
    let plan = plan_forget_ids(&repository.snapshots(), ids, GroupBy::default()).unwrap();
    let options = ForgetOptions { allow_empty: true };
    let done = repository.forget(&plan, &options, "forget").await.unwrap();
    assert_eq!(done.removed.len(), ids.len());
}

pub(crate) async fn gc(repository: &Repository, options: &GcOptions) -> GcReport {
    repository.gc(options, Arc::new(Quiet)).await.unwrap()
}

async fn read(repository: &Repository, id: &SnapshotId) -> Files {
    let view = repository.view(id).unwrap();
    let target = TempDir::new().unwrap();
    let report = repository
        .restore(
            &view,
            b"",
            target.path(),
            &RestoreOptions::default(),
            Arc::new(Quiet),
        )
        .await
        .unwrap();
    assert_eq!(report.findings, []);
    files(target.path())
}

fn files(root: &Path) -> Files {
    fn add(root: &Path, at: &Path, files: &mut Files) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(root, &path, files);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                files.insert(name.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let mut files = Files::new();
    add(root, root, &mut files);
    files
}

impl Bench {
    async fn new() -> Self {
        let bench = Self {
            memory: FaultStore::in_memory(),
            source: TempDir::new().unwrap(),
            held: BTreeMap::new(),
        };
        let options = CreateOptions {
            segment_size: Some(32 << 10),
            pack_size: Some(96 << 10),
            ..CreateOptions::default()
        };
        Repository::create(store(&bench.memory), &Access::Plain, &options)
            .await
            .unwrap();
        bench
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.source.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    async fn open(&self) -> Repository {
        Repository::open(store(&self.memory), &Access::Plain, &OpenOptions::default())
            .await
            .unwrap()
    }

    /// A snapshot of the source through `repository`.
    async fn take(&mut self, repository: &Repository) -> SnapshotId {
        self.take_with(repository, Arc::new(Quiet)).await.unwrap()
    }

    async fn take_with(
        &mut self,
        repository: &Repository,
        progress: Arc<dyn Progress>,
    ) -> Result<SnapshotId, Error> {
        let paths = [self.source.path().to_path_buf()];
        let options = SnapshotOptions {
            // Each has a time of its own, so that equal contents make other snapshots.
            time_ms: Some(i64::try_from(self.held.len()).unwrap()),
            ..SnapshotOptions::default()
        };
        let report = repository
            .snapshot_paths(&paths, &options, progress)
            .await?;
        assert_eq!(report.findings, []);
        let id = report.id.unwrap();
        self.held.insert(id, files(self.source.path()));
        Ok(id)
    }

    async fn forget(&mut self, repository: &Repository, ids: &[SnapshotId]) {
        forget(repository, ids).await;
        for id in ids {
            self.held.remove(id);
        }
    }

    /// A fresh client finds no damage, and every snapshot as it was taken.
    async fn sound(&self) {
        let repository = self.open().await;
        let options = CheckOptions {
            read_data: ReadData::All,
        };
        let report = repository.check(&options, Arc::new(Quiet)).await.unwrap();
        let damage: Vec<Finding> = report
            .findings
            .into_iter()
            .filter(|finding| finding.severity != Severity::Note)
            .collect();
        assert_eq!(damage, []);
        let found: Vec<_> = repository.snapshots();
        assert_eq!(found.len(), self.held.len());
        for (id, wanted) in &self.held {
            let found = read(&repository, id).await;
            assert!(found == *wanted, "{id} differs");
        }
    }

    async fn keys(&self, prefix: &str) -> Vec<String> {
        let listed = self.list(prefix).await;
        listed.into_iter().map(|(key, _)| key).collect()
    }

    async fn list(&self, prefix: &str) -> Vec<(String, u64)> {
        let store = store(&self.memory);
        let mut listed = store.list(prefix, None).await;
        let mut found = Vec::new();
        while let Some(info) = listed.try_next().await.unwrap() {
            found.push((info.key, info.size));
        }
        found
    }

    async fn bytes(&self) -> u64 {
        self.list("").await.iter().map(|(_, size)| size).sum()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dead_goes_and_the_live_stays() {
    let mut bench = Bench::new().await;
    let repository = bench.open().await;
    for file in 0..20 {
        bench.put(&format!("d{}/f{file}", file % 3), &random(file, 20_000));
    }
    let first = bench.take(&repository).await;
    for file in 0..10 {
        bench.put(
            &format!("d{}/f{file}", file % 3),
            &random(100 + file, 20_000),
        );
    }
    bench.take(&repository).await;
    let before = bench.bytes().await;

    let nothing = gc(&repository, &at_once()).await;
    assert_eq!((nothing.dead.objects, nothing.abandoned.objects), (0, 0));
    bench.sound().await;

    bench.forget(&repository, &[first]).await;
    let shown = GcOptions {
        dry_run: true,
        ..at_once()
    };
    let head = repository.head();
    let plan = gc(&repository, &shown).await;
    assert_eq!(repository.head(), head);
    assert_eq!(bench.bytes().await, before + log_bytes(&bench).await);

    let report = gc(&repository, &at_once()).await;
    assert_eq!((report.dead, report.repacked), (plan.dead, plan.repacked));
    assert_eq!(report.swept_indexes, plan.swept_indexes);
    assert_eq!(report.swept, plan.swept);
    // Two threads copy: which pack comes first decides how long the offsets are in a directory.
    let differ = report.written_bytes.abs_diff(plan.written_bytes);
    assert!(differ < 200, "{report:?} {plan:?}");
    assert!(
        report.dead.bytes + report.repacked.bytes > 200_000,
        "{report:?}"
    );
    let swept = report.dead.objects + report.repacked.objects;
    assert_eq!(report.swept.objects, swept);
    bench.sound().await;
    // 200,000 bytes of the first snapshot are nobody's any more.
    let after = bench.bytes().await;
    assert!(after + 190_000 < before, "{before} {after} {report:?}");

    let head = repository.head();
    let again = gc(&repository, &at_once()).await;
    assert_eq!((again.dead.objects, again.repacked.objects), (0, 0));
    assert_eq!(repository.head(), head, "nothing to do makes no commit");
    bench.sound().await;
}

/// Bytes of the log that were not there at the time `before` was measured: one forget.
/// Two that know nothing of each other store the same chunks.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_in_two_packs_stays_whichever_pack_goes() {
    for gone in 0..2 {
        let mut bench = Bench::new().await;
        let both = [bench.open().await, bench.open().await];
        let shared = random(1, 60_000);
        let mut taken = Vec::new();
        for (seed, repository) in both.iter().enumerate() {
            bench.put("own", &random(10 + seed as u64, 70_000));
            bench.put("shared", &shared);
            taken.push(bench.take(repository).await);
        }
        let stored = bench.bytes().await;
        assert!(stored > 2 * 130_000, "{stored}: nothing is stored twice");
        let repository = bench.open().await;
        for round in 0..2 {
            gc(&repository, &at_once()).await;
            bench.sound().await;
            if round == 0 {
                bench.forget(&repository, &[taken[gone]]).await;
            }
        }
        let left = bench.bytes().await;
        assert!(left < 130_000 + 10_000, "{left}: it is still stored twice");
    }
}

async fn log_bytes(bench: &Bench) -> u64 {
    bench.list("log/").await.pop().unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn waste_below_the_limit_stays() {
    let mut bench = Bench::new().await;
    let repository = bench.open().await;
    for file in 0..30 {
        bench.put(&format!("f{file}"), &random(file, 20_000));
    }
    let first = bench.take(&repository).await;
    bench.put("f7", &random(77, 20_000));
    bench.take(&repository).await;
    bench.forget(&repository, &[first]).await;
    let lenient = GcOptions {
        max_unused: MaxUnused::Percent(20.0),
        ..at_once()
    };
    let report = gc(&repository, &lenient).await;
    assert_eq!(report.repacked.objects, 0);
    assert!(report.unused_bytes > 15_000, "{report:?}");
    let capped = GcOptions {
        max_repack_bytes: Some(1),
        ..at_once()
    };
    assert_eq!(gc(&repository, &capped).await.repacked.objects, 0);
    let report = gc(&repository, &at_once()).await;
    assert!(report.repacked.objects > 0);
    assert!(report.unused_bytes < 5_000, "{report:?}");
    bench.sound().await;
}

/// A page file: Postgres pages below `base/1/`.
fn pages(seed: u64, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for page in 0..count {
        let mut content = text(seed * 10_000 + page as u64, 8192);
        content[..24].fill(0);
        content[12..20].copy_from_slice(&[24, 0, 0, 32, 0, 32, 4, 32]);
        bytes.extend_from_slice(&content);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn bases_of_live_deltas_are_kept_or_replaced() {
    for max_unused in [MaxUnused::Bytes(0), MaxUnused::Percent(30.0)] {
        let mut bench = Bench::new().await;
        let repository = bench.open().await;
        let mut relation = pages(1, 256);
        let mut ids = Vec::new();
        for step in 0..5_usize {
            // All chunks change a little, so that all are deltas against the first.
            for page in (0..256).step_by(16) {
                relation[page * 8192 + 4000 + step] ^= 0x55;
            }
            bench.put("base/1/2662", &relation);
            bench.put("other", &random(step as u64, 30_000));
            ids.push(bench.take(&repository).await);
        }
        let before = bench.bytes().await;
        bench.forget(&repository, &ids[..3]).await;
        let options = GcOptions {
            max_unused,
            ..at_once()
        };
        let report = gc(&repository, &options).await;
        assert!(report.swept.objects > 0, "{report:?}");
        bench.sound().await;
        assert!(bench.bytes().await < before);
        bench.forget(&repository, &ids[3..4]).await;
        gc(&repository, &options).await;
        bench.sound().await;
        // Further deltas find their bases.
        relation[9000] ^= 1;
        bench.put("base/1/2662", &relation);
        bench.take(&repository).await;
        bench.sound().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_packs_and_index_objects_are_merged() {
    let mut bench = Bench::new().await;
    let repository = bench.open().await;
    for step in 0..12 {
        bench.put(&format!("f{step}"), &random(step, 2_000));
        bench.take(&repository).await;
    }
    assert!(bench.keys("index/").await.len() >= 12);
    let report = gc(&repository, &at_once()).await;
    assert!(report.repacked.objects >= 8, "{report:?}");
    assert!(bench.keys("index/").await.len() <= 3);
    assert!(bench.keys("packs/").await.len() <= 6);
    bench.sound().await;
}

/// Runs something once when a snapshot has stored everything and is about to commit.
struct BeforeCommit {
    done: AtomicBool,
    work: Box<dyn Fn() + Send + Sync>,
}

impl BeforeCommit {
    fn new(work: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            done: AtomicBool::new(false),
            work: Box::new(work),
        })
    }
}

impl Progress for BeforeCommit {
    fn start(&self, _: &str, _: Option<u64>, _: Option<u64>) {}
    fn advance(&self, _: u64, _: u64) {}
    fn finding(&self, _: &Finding) {}
    fn cancelled(&self) -> bool {
        false
    }
    fn finish(&self) {
        if !self.done.swap(true, Ordering::SeqCst) {
            (self.work)();
        }
    }
}

/// What happens while a snapshot is about to commit that found all its chunks stored already, by a
/// snapshot that is being forgotten.
async fn overtaken_by(options: GcOptions, forget_parent: bool) {
    let mut bench = Bench::new().await;
    let repository = bench.open().await;
    for file in 0..20 {
        bench.put(&format!("f{file}"), &random(file, 20_000));
    }
    bench.put("base/1/2662", &pages(1, 64));
    let first = bench.take(&repository).await;
    bench.put("f0", &random(1000, 30_000));
    let mut relation = pages(1, 64);
    relation[100_000] ^= 1;
    bench.put("base/1/2662", &relation);

    let writer = bench.open().await;
    let other = bench.open().await;
    let handle = tokio::runtime::Handle::current();
    let beside = BeforeCommit::new(move || {
        let (other, options) = (other.clone(), options.clone());
        let done = handle.block_on(async move {
            if forget_parent {
                forget(&other, &[first]).await;
            }
            gc(&other, &options).await
        });
        assert!(done.dead.objects + done.abandoned.objects > 0, "{done:?}");
    });
    bench.take_with(&writer, beside).await.unwrap();
    if forget_parent {
        bench.held.remove(&first);
    }
    bench.sound().await;
    gc(&repository, &at_once()).await;
    bench.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_stores_again_what_was_condemned_beside_it() {
    // The packs of the first snapshot, and the writer's own, are condemned and still there.
    overtaken_by(patient(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_starts_over_when_what_it_needs_is_deleted() {
    overtaken_by(at_once(), true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_taken_for_dead_loses_nothing() {
    overtaken_by(patient(), false).await;
    overtaken_by(at_once(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_client_starts_over() {
    let mut bench = Bench::new().await;
    let stale = bench.open().await;
    bench.put("a", &random(1, 50_000));
    bench.put("b", &random(2, 50_000));
    let first = bench.take(&stale).await;
    // It knows the first snapshot only; meanwhile others forget it and delete its data.
    let other = bench.open().await;
    bench.forget(&other, &[first]).await;
    gc(&other, &at_once()).await;
    assert_eq!(bench.keys("packs/").await, Vec::<String>::new());
    bench.put("b", &random(3, 50_000));
    bench.take(&stale).await;
    bench.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_snapshot_leaves_nothing_a_later_one_relies_on() {
    let mut bench = Bench::new().await;
    bench.put("a", &random(1, 50_000));
    let faulty = FaultStore::new(Arc::new(bench.memory.clone()), u64::MAX);
    let repository = Repository::open(
        Store::new(Arc::new(faulty.clone()), "memory"),
        &Access::Plain,
        &OpenOptions::default(),
    )
    .await
    .unwrap();
    // Packs and the index object are stored, the commit is not.
    let cut = faulty.clone();
    let beside = BeforeCommit::new(move || cut.stop());
    bench.take_with(&repository, beside).await.unwrap_err();
    faulty.heal();
    assert!(!bench.keys("index/").await.is_empty());
    bench.take(&repository).await;
    bench.sound().await;
    let report = gc(&repository, &at_once()).await;
    assert!(report.abandoned.objects > 0);
    bench.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_snapshot_comes_back_until_it_is_swept() {
    for collect in [None, Some(patient()), Some(at_once())] {
        let mut bench = Bench::new().await;
        let repository = bench.open().await;
        bench.put("a", &random(1, 50_000));
        bench.put("base/1/2662", &pages(3, 64));
        let first = bench.take(&repository).await;
        bench.put("a", &random(2, 50_000));
        bench.take(&repository).await;
        let held = bench.held.clone();
        bench.forget(&repository, &[first]).await;
        let number = repository.head();
        let swept = collect.as_ref().is_some_and(|gc| gc.reader_grace_ms == 0);
        if let Some(options) = &collect {
            gc(&repository, options).await;
        }
        let undone = repository.undo(number, "undo", Arc::new(Quiet)).await;
        if swept {
            let error = undone.unwrap_err();
            assert!(matches!(error, Error::Overtaken { .. }), "{error:?}");
        } else {
            assert_eq!(undone.unwrap().restored, [first]);
            bench.held = held;
            let twice = repository.undo(number, "undo", Arc::new(Quiet)).await;
            assert!(matches!(twice, Err(Error::Invalid { .. })));
        }
        bench.sound().await;
        gc(&repository, &at_once()).await;
        bench.sound().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_holds_live_index_objects_only() {
    let mut bench = Bench::new().await;
    let cache = TempDir::new().unwrap();
    let options = OpenOptions {
        cache_dir: Some(cache.path().to_path_buf()),
        ..OpenOptions::default()
    };
    let repository = Repository::open(store(&bench.memory), &Access::Plain, &options)
        .await
        .unwrap();
    for step in 0..10 {
        bench.put(&format!("f{step}"), &random(step, 2_000));
        bench.take(&repository).await;
    }
    let cached = || {
        let files = files(cache.path()).into_keys();
        let mut indexes: Vec<String> = files
            .filter_map(|name| Some(name.split_once("/index/")?.1.to_owned()))
            .collect();
        indexes.sort();
        indexes
    };
    assert!(cached().len() >= 8);
    gc(&repository, &at_once()).await;
    bench.take(&repository).await;
    let live = bench.keys("index/").await;
    let live: Vec<&str> = live.iter().map(|key| &key["index/".len()..]).collect();
    assert!(live.len() < 4);
    for name in cached() {
        assert!(live.contains(&name.as_str()), "{name}");
    }
    bench.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undo_of_what_removed_nothing_is_refused() {
    let mut bench = Bench::new().await;
    let repository = bench.open().await;
    bench.put("a", &random(1, 5_000));
    bench.take(&repository).await;
    for number in [0, 1, 2] {
        let undone = repository.undo(number, "undo", Arc::new(Quiet)).await;
        assert!(matches!(undone, Err(Error::Invalid { .. })), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_deleted_is_told_and_stays_condemned() {
    let mut bench = Bench::new().await;
    let repository = bench.open().await;
    bench.put("a", &random(1, 50_000));
    let first = bench.take(&repository).await;
    bench.put("a", &random(2, 50_000));
    bench.take(&repository).await;
    let locked = Repository::open(
        Store::new(
            Arc::new(AppendOnly::new(Arc::new(bench.memory.clone()))),
            "memory",
        ),
        &Access::Plain,
        &OpenOptions::default(),
    )
    .await
    .unwrap();
    bench.forget(&locked, &[first]).await;
    let report = gc(&locked, &at_once()).await;
    assert!(report.dead.objects > 0);
    assert_eq!(report.swept.objects, 0);
    assert!(!report.refused.is_empty());
    bench.sound().await;
    let report = gc(&bench.open().await, &at_once()).await;
    assert!(report.swept.objects > 0);
    bench.sound().await;
}

/// Writers, forgetters and collectors at once, on real threads; then everything committed is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_at_once_loses_nothing() {
    let bench = Bench::new().await;
    let mut tasks = Vec::new();
    for writer in 0..3_u64 {
        let memory = bench.memory.clone();
        tasks.push(tokio::spawn(async move {
            let mut own = Bench {
                memory,
                source: TempDir::new().unwrap(),
                held: BTreeMap::new(),
            };
            let repository = own.open().await;
            for step in 0..6 {
                // Every writer has the same files at some time, so that they share chunks.
                for file in 0..6 {
                    let seed = (step + file + writer) % 7;
                    own.put(&format!("f{file}"), &random(seed, 20_000));
                }
                own.take(&repository).await;
                if step % 2 == 1 {
                    let oldest = *own.held.keys().next().unwrap();
                    own.forget(&repository, &[oldest]).await;
                }
                if step % 3 == 2 {
                    let done = repository.gc(&at_once(), Arc::new(Quiet)).await;
                    // Two collectors may chase each other; one that gives up has done no harm.
                    if let Err(error) = done {
                        let lost =
                            matches!(error, Error::Overtaken { .. } | Error::LostObject { .. });
                        assert!(lost, "{error:?}");
                    }
                }
            }
            own.held
        }));
    }
    let mut all = Bench {
        held: BTreeMap::new(),
        ..bench
    };
    for task in tasks {
        all.held.extend(task.await.unwrap());
    }
    all.sound().await;
    gc(&all.open().await, &at_once()).await;
    all.sound().await;
}
