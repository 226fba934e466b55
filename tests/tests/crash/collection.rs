//! Forgetting, collecting and taking back.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use repo_core::{
    Access, ForgetOptions, GcOptions, GcReport, GroupBy, MaxUnused, OpenOptions, Quiet, Repository,
    Result, SnapshotId, Store, plan_forget_ids,
};
use repo_testkit::FaultStore;
use repo_testkit::data::random;

use super::driver::{Client, Scenario, State};
use super::scenarios::{Fixture, save, write_version};

/// All of them.
pub(crate) async fn all() -> Vec<Scenario> {
    let plain = Access::Plain;
    let sealed = Access::password("correct horse");
    vec![
        forgetting("forget", &plain).await,
        repacking("gc with repack", &plain).await,
        repacking("gc with repack, encrypted", &sealed).await,
        condemning("gc that only condemns", &plain).await,
        sweeping("gc that sweeps", &plain).await,
        merging("gc that merges", &plain).await,
        abandoned("gc after a crash", &plain).await,
        undo("undo", &plain, None).await,
        undo("undo of what is condemned", &plain, Some(patient())).await,
    ]
}

/// No grace and no waste: what can go goes at once.
fn at_once() -> GcOptions {
    GcOptions {
        max_unused: MaxUnused::Bytes(0),
        reader_grace_ms: 0,
        writer_grace_ms: 0,
        ..GcOptions::default()
    }
}

/// Condemned packs stay for readers.
fn patient() -> GcOptions {
    GcOptions {
        reader_grace_ms: 1_000_000_000,
        ..at_once()
    }
}

async fn gc(repository: &Repository, options: &GcOptions) -> GcReport {
    let done = repository.gc(options, Arc::new(Quiet)).await;
    done.expect("a collection")
}

async fn forget(repository: &Repository, ids: &[SnapshotId]) -> Result<()> {
    let plan = plan_forget_ids(&repository.snapshots(), ids, GroupBy::default())
        .expect("a plan of what is there");
    let options = ForgetOptions::default();
    repository.forget(&plan, &options, "forget").await?;
    Ok(())
}

/// Forgets all snapshots but the newest.
async fn keep_newest(repository: &Repository) -> Result<()> {
    let mut ids: Vec<SnapshotId> = repository
        .snapshots()
        .iter()
        .map(|known| known.snapshot.id())
        .collect();
    ids.pop();
    if ids.is_empty() {
        return Ok(());
    }
    forget(repository, &ids).await
}

fn newest_only(state: &mut State) {
    state.snapshots.drain(..state.snapshots.len() - 1);
}

/// Changes parts of a page file, so that its chunks are stored against those of the first version,
/// and a small file of each directory.
fn write_pages(source: &Path, version: u64) {
    let mut pages = Vec::new();
    for page in 0..16 {
        let mut content = random(1000 + page, 8192);
        content[..24].fill(0);
        content[12..20].copy_from_slice(&[24, 0, 0, 32, 0, 32, 4, 32]);
        pages.extend_from_slice(&content);
    }
    pages[5000] ^= u8::try_from(version).expect("few versions");
    fs::create_dir_all(source.join("base/1")).expect("a directory");
    fs::write(source.join("base/1/2662"), pages).expect("a file");
    write_version(source, version);
}

/// Four versions, of which all but the newest are forgotten: packs with dead and live chunks, and
/// deltas whose base no snapshot needs.
async fn wasteful(access: &Access) -> Fixture {
    let mut fixture = Fixture::with(access, 3, write_pages).await;
    keep_newest(&fixture.repository)
        .await
        .expect("a commit to forget");
    fixture.forgotten(0..2);
    fixture
}

async fn forgetting(name: &'static str, access: &Access) -> Scenario {
    let operation =
        |client: Client| async move { keep_newest(&client.open().await?).await }.boxed();
    let fixture = Fixture::new(access, 3).await;
    fixture.scenario(name, operation, &[newest_only])
}

fn collect(client: Client) -> BoxFuture<'static, Result<()>> {
    async move {
        let repository = client.open().await?;
        let done = repository.gc(&at_once(), Arc::new(Quiet)).await?;
        assert_eq!(done.refused, []);
        Ok(())
    }
    .boxed()
}

/// A scenario that changes nothing users see and leaves nothing that is of no use.
fn collecting(fixture: Fixture, name: &'static str) -> Scenario {
    Scenario {
        tidies: true,
        requests_min: 20,
        ..fixture.scenario(name, collect, &[])
    }
}

async fn repacking(name: &'static str, access: &Access) -> Scenario {
    let fixture = wasteful(access).await;
    let dry = GcOptions {
        dry_run: true,
        ..at_once()
    };
    let plan = gc(&fixture.repository, &dry).await;
    assert!(
        plan.dead.objects > 0 && plan.repacked.objects > 0,
        "{plan:?}"
    );
    collecting(fixture, name)
}

async fn condemning(name: &'static str, access: &Access) -> Scenario {
    let condemn = |client: Client| {
        async move {
            let repository = client.open().await?;
            let done = repository.gc(&patient(), Arc::new(Quiet)).await?;
            assert_eq!(done.swept.objects, 0);
            Ok(())
        }
        .boxed()
    };
    let fixture = wasteful(access).await;
    Scenario {
        requests_min: 20,
        ..fixture.scenario(name, condemn, &[])
    }
}

async fn sweeping(name: &'static str, access: &Access) -> Scenario {
    let fixture = wasteful(access).await;
    let done = gc(&fixture.repository, &patient()).await;
    assert!(done.waiting.objects > 1, "{done:?}");
    collecting(fixture, name)
}

/// Each snapshot has packs and an index object of its own, all small.
async fn merging(name: &'static str, access: &Access) -> Scenario {
    let write = |source: &Path, version: u64| {
        fs::create_dir_all(source).expect("a directory");
        let file = source.join(format!("file{version}"));
        fs::write(file, random(version, 2000)).expect("a file");
    };
    let mut fixture = Fixture::with(access, 10, write).await;
    let ids: Vec<SnapshotId> = fixture
        .repository
        .snapshots()
        .iter()
        .map(|known| known.snapshot.id())
        .collect();
    forget(&fixture.repository, &ids[..8])
        .await
        .expect("a commit to forget");
    fixture.forgotten(0..8);
    let dry = GcOptions {
        dry_run: true,
        ..at_once()
    };
    let plan = gc(&fixture.repository, &dry).await;
    assert!(plan.repacked.objects >= 8, "{plan:?}");
    assert!(plan.indexes_removed >= 8, "{plan:?}");
    collecting(fixture, name)
}

/// A snapshot stored its packs and its index object, and no commit names them.
async fn abandoned(name: &'static str, access: &Access) -> Scenario {
    let fixture = Fixture::new(access, 1).await;
    let memory = Arc::clone(&fixture.memory) as Arc<dyn ObjectStore>;
    let source = fixture.place.path().join("source");
    let mut last = 0;
    for left in 0.. {
        let faulty = FaultStore::new(Arc::clone(&memory), left);
        let store = Store::new(Arc::new(faulty.clone()), "memory");
        let options = OpenOptions::default();
        let open = fixture.repository.reopen(store, &options);
        let Ok(repository) = open.await else { continue };
        assert!(save(&repository, &source).await.is_err());
        let puts = faulty.recording().paths(repo_testkit::Verb::Put);
        last += puts
            .iter()
            .filter(|path| path.starts_with("index/"))
            .count();
        if puts.iter().any(|path| path.starts_with("log/")) {
            break;
        }
    }
    assert!(last > 0, "no index object was left");
    let dry = GcOptions {
        dry_run: true,
        ..at_once()
    };
    let plan = gc(&fixture.repository, &dry).await;
    assert!(plan.abandoned.objects > 1, "{plan:?}");
    assert!(plan.swept_indexes.objects > 0, "{plan:?}");
    collecting(fixture, name)
}

/// Brings back what the newest commit that forgot something took away.
fn take_back(client: Client) -> BoxFuture<'static, Result<()>> {
    async move {
        let repository = client.open().await?;
        if repository.snapshots().len() > 1 {
            return Ok(());
        }
        let log = repository.log(usize::MAX).await?;
        let forget = log.iter().find(|entry| !entry.removed.is_empty());
        let number = forget.expect("a commit that forgot").number;
        let done = repository.undo(number, "undo", Arc::new(Quiet)).await?;
        assert_eq!(done.restored.len(), 2);
        Ok(())
    }
    .boxed()
}

fn bring_back(state: &mut State) {
    if state.snapshots.len() == 1 {
        state.snapshots.extend([(0, Vec::new()), (1, Vec::new())]);
    }
}

async fn undo(name: &'static str, access: &Access, meanwhile: Option<GcOptions>) -> Scenario {
    let fixture = wasteful(access).await;
    if let Some(options) = &meanwhile {
        let done = gc(&fixture.repository, options).await;
        assert!(
            done.dead.objects > 0 && done.repacked.objects > 0,
            "{done:?}"
        );
    }
    Scenario {
        requests_min: 8,
        ..fixture.scenario(name, take_back, &[bring_back])
    }
}
