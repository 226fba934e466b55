//! The operations. One more is a function here that gives a [`Scenario`], and a line in [`all`]:
//! an operation that finds its work done when it is called again, and the steps it is made of.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use repo_core::{
    Access, CreateOptions, ErrorKind, ParityOptions, Quiet, Repository, Result, RotateOptions,
    SnapshotOptions, Store,
};
use repo_testkit::data::{random, text};
use repo_tests::describe::{self, Described};
use tempfile::TempDir;

use super::collection;
use super::copies;
use super::driver::{Client, Scenario, State};

const FIRST: (&str, &str) = ("first", "correct horse");
const SECOND: (&str, &str) = ("second", "battery staple");
/// A commit whose number divides by this is followed by a checkpoint.
const CHECKPOINT_EVERY: u64 = 64;

/// All of them.
pub(crate) async fn all() -> Vec<Scenario> {
    let plain = Access::Plain;
    let sealed = Access::password(FIRST.1);
    let mut all = vec![
        init("init", &plain),
        init("init, encrypted", &sealed),
        snapshot("first snapshot", &plain, 0).await,
        snapshot("first snapshot, encrypted", &sealed, 0).await,
        snapshot("increment", &plain, 1).await,
        snapshot("increment, encrypted", &sealed, 1).await,
        tag("tag", &plain).await,
        tag("tag, encrypted", &sealed).await,
        checkpoint("tag with checkpoint", &plain).await,
        key_add("key add", &sealed).await,
        key_remove("key remove", &sealed).await,
        key_change("key change", &sealed).await,
        key_rotate("key rotation", &sealed).await,
        parity("parity", &plain).await,
    ];
    all.extend(copies::all().await);
    all.extend(collection::all().await);
    all
}

/// A repository and a directory that it saves, in as many versions as there are snapshots and one.
pub(crate) struct Fixture {
    pub(crate) place: TempDir,
    pub(crate) memory: Arc<InMemory>,
    pub(crate) repository: Repository,
    pub(crate) versions: Vec<Described>,
    /// Versions that snapshots hold.
    held: Vec<usize>,
    access: Access,
}

pub(crate) fn options() -> CreateOptions {
    CreateOptions {
        label: FIRST.0.to_owned(),
        segment_size: Some(32 << 10),
        pack_size: Some(60 << 10),
        ..CreateOptions::default()
    }
}

pub(crate) fn write_version(source: &Path, version: u64) {
    let mut changed = random(2, 40_000);
    changed[20_000] ^= u8::try_from(version).expect("few versions");
    fs::create_dir_all(source.join("directory")).expect("a directory");
    if version == 0 {
        fs::write(source.join("kept"), random(1, 90_000)).expect("a file");
        fs::write(source.join("directory/text"), text(3, 120_000)).expect("a file");
    } else {
        let added = random(100 + version, 100_000);
        fs::write(source.join(format!("added{version}")), added).expect("a file");
    }
    fs::write(source.join("changed"), changed).expect("a file");
}

pub(crate) async fn save(repository: &Repository, source: &Path) -> Result<()> {
    let paths = [source.to_path_buf()];
    let report = repository
        .snapshot_paths(&paths, &SnapshotOptions::default(), Arc::new(Quiet))
        .await?;
    assert_eq!(report.findings, []);
    Ok(())
}

impl Fixture {
    pub(crate) async fn new(access: &Access, snapshots: u64) -> Self {
        Self::with(access, snapshots, write_version).await
    }

    /// Like [`Self::new`], with a source of its own.
    pub(crate) async fn with(access: &Access, snapshots: u64, write: fn(&Path, u64)) -> Self {
        let place = TempDir::new().expect("a directory");
        let source = place.path().join("source");
        let memory = Arc::new(InMemory::new());
        let store = Store::new(Arc::clone(&memory) as Arc<dyn ObjectStore>, "memory");
        let repository = Repository::create(store, access, &options()).await;
        let repository = repository.expect("a repository");
        let mut versions = Vec::new();
        for version in 0..=snapshots {
            write(&source, version);
            versions.push(describe::tree(&source).expect("the source"));
            if version < snapshots {
                save(&repository, &source).await.expect("a snapshot");
            }
        }
        Self {
            place,
            memory,
            repository,
            held: (0..versions.len() - 1).collect(),
            versions,
            access: access.clone(),
        }
    }

    /// The snapshots of these versions are there no more.
    pub(crate) fn forgotten(&mut self, versions: Range<usize>) {
        self.held.retain(|version| !versions.contains(version));
    }

    pub(crate) fn scenario(
        self,
        name: &'static str,
        operation: fn(Client) -> BoxFuture<'static, Result<()>>,
        steps: &'static [fn(&mut State)],
    ) -> Scenario {
        let sealed = self.repository.encrypted();
        Scenario {
            name,
            before: State {
                exists: true,
                snapshots: self.held.into_iter().map(|v| (v, Vec::new())).collect(),
                keys: sealed.then(|| FIRST.0.to_owned()).into_iter().collect(),
            },
            start: self.memory,
            operation,
            steps,
            // Config, log and one more.
            requests_min: 3,
            tidies: false,
            access: self.access,
            known: Some(self.repository),
            other: None,
            passwords: &[],
            versions: self.versions,
            place: self.place,
        }
    }
}

fn init(name: &'static str, access: &Access) -> Scenario {
    let create = |client: Client| {
        async move {
            match Repository::create(client.store.clone(), &client.access, &options()).await {
                // It was made, whatever the store answered; half a config is no such thing.
                Err(error) if error.kind() == ErrorKind::Conflict => client.open().await.map(drop),
                made => made.map(drop),
            }
        }
        .boxed()
    };
    let steps: &'static [fn(&mut State)] = match access {
        Access::Plain => &[|state| state.exists = true],
        Access::Password(_) => &[|state| {
            state.exists = true;
            state.keys = vec![FIRST.0.to_owned()];
        }],
    };
    Scenario {
        name,
        start: Arc::new(InMemory::new()),
        before: State::default(),
        operation: create,
        steps,
        requests_min: 6,
        tidies: false,
        access: access.clone(),
        known: None,
        other: None,
        passwords: &[],
        versions: Vec::new(),
        place: TempDir::new().expect("a directory"),
    }
}

/// Takes a snapshot after `earlier` ones; taken again, it is one more of the same.
async fn snapshot(name: &'static str, access: &Access, earlier: u64) -> Scenario {
    let take =
        |client: Client| async move { save(&client.open().await?, &client.source).await }.boxed();
    let steps: &'static [fn(&mut State)] = match earlier {
        0 => &[|state| state.snapshots.push((0, Vec::new()))],
        _ => &[|state| state.snapshots.push((1, Vec::new()))],
    };
    let fixture = Fixture::new(access, earlier).await;
    Scenario {
        requests_min: 6,
        ..fixture.scenario(name, take, steps)
    }
}

async fn retag(repository: &Repository, tag: &str) -> Result<()> {
    let oldest = repository.snapshots()[0].snapshot.id();
    repository
        .retag(&[(oldest, vec![tag.to_owned()])], "tag")
        .await
}

fn tag_oldest(client: Client) -> BoxFuture<'static, Result<()>> {
    async move { retag(&client.open().await?, "kept").await }.boxed()
}

const TAGGED: &[fn(&mut State)] = &[|state| state.snapshots[0].1 = vec!["kept".to_owned()]];

async fn tag(name: &'static str, access: &Access) -> Scenario {
    let fixture = Fixture::new(access, 2).await;
    fixture.scenario(name, tag_oldest, TAGGED)
}

/// The commit that is followed by a checkpoint.
async fn checkpoint(name: &'static str, access: &Access) -> Scenario {
    let fixture = Fixture::new(access, 1).await;
    while fixture.repository.head() < CHECKPOINT_EVERY - 1 {
        retag(&fixture.repository, "earlier")
            .await
            .expect("a commit");
    }
    let mut scenario = fixture.scenario(name, tag_oldest, TAGGED);
    scenario.before.snapshots[0].1 = vec!["earlier".to_owned()];
    scenario
}

async fn add_key(repository: &Repository, key: (&str, &str)) -> Result<()> {
    let keys = repository.keys().await?;
    if keys.iter().all(|known| known.label != key.0) {
        repository.add_key(key.1.as_bytes(), key.0).await?;
    }
    Ok(())
}

async fn remove_first(repository: &Repository) -> Result<()> {
    let keys = repository.keys().await?;
    match keys.iter().find(|known| known.label == FIRST.0) {
        Some(key) => repository.remove_key(&key.id).await,
        None => Ok(()),
    }
}

fn add_label(state: &mut State) {
    if !state.keys.iter().any(|key| key == SECOND.0) {
        state.keys.push(SECOND.0.to_owned());
        state.keys.sort();
    }
}

fn remove_label(state: &mut State) {
    state.keys.retain(|key| key != FIRST.0);
}

async fn key_add(name: &'static str, access: &Access) -> Scenario {
    let add = |client: Client| async move { add_key(&client.open().await?, SECOND).await }.boxed();
    let fixture = Fixture::new(access, 1).await;
    Scenario {
        passwords: &[FIRST, SECOND],
        ..fixture.scenario(name, add, &[add_label])
    }
}

async fn key_remove(name: &'static str, access: &Access) -> Scenario {
    let remove = |client: Client| async move { remove_first(&client.open().await?).await }.boxed();
    let fixture = Fixture::new(access, 1).await;
    add_key(&fixture.repository, SECOND).await.expect("a key");
    let mut scenario = fixture.scenario(name, remove, &[remove_label]);
    add_label(&mut scenario.before);
    Scenario {
        passwords: &[FIRST, SECOND],
        ..scenario
    }
}

/// As the program does it: the new one is there before the old one goes.
async fn key_change(name: &'static str, access: &Access) -> Scenario {
    let change = |client: Client| {
        async move {
            let repository = client.open().await?;
            add_key(&repository, SECOND).await?;
            remove_first(&repository).await
        }
        .boxed()
    };
    let fixture = Fixture::new(access, 1).await;
    Scenario {
        passwords: &[FIRST, SECOND],
        ..fixture.scenario(name, change, &[add_label, remove_label])
    }
}

/// Slots beside the old one, the commit that begins the epoch, slots that name it, and the end of all
/// others.
async fn key_rotate(name: &'static str, access: &Access) -> Scenario {
    let rotate = |client: Client| {
        async move {
            let repository = client.open().await?;
            let options = RotateOptions::default();
            let rotated = repository.rotate_key(FIRST.1.as_bytes(), &options).await?;
            assert_eq!(rotated.left, []);
            Ok(())
        }
        .boxed()
    };
    let fixture = Fixture::new(access, 1).await;
    let steps: &'static [fn(&mut State)] = &[
        |state| state.keys = vec![FIRST.0.to_owned(); 2],
        |state| state.keys = vec![FIRST.0.to_owned(); 3],
        |state| state.keys = vec![FIRST.0.to_owned()],
    ];
    Scenario {
        requests_min: 10,
        // With the password each time: who has the old keys at hand is to open it again.
        known: None,
        ..fixture.scenario(name, rotate, steps)
    }
}

/// Nothing that snapshots need is touched. Done again, all packs are protected.
async fn parity(name: &'static str, access: &Access) -> Scenario {
    let protect = |client: Client| {
        async move {
            let repository = client.open().await?;
            let options = ParityOptions {
                packs: Some(3),
                ..ParityOptions::default()
            };
            let made = repository.protect(&options, Arc::new(Quiet)).await?;
            assert_eq!(made.packs_unfit, 0);
            assert!(made.packs_protected >= 3);
            Ok(())
        }
        .boxed()
    };
    let fixture = Fixture::new(access, 2).await;
    // Groups of another width are there, and are superseded.
    let before = ParityOptions {
        packs: Some(2),
        ..ParityOptions::default()
    };
    let made = fixture.repository.protect(&before, Arc::new(Quiet)).await;
    assert!(made.expect("parity").groups_made > 1);
    Scenario {
        requests_min: 20,
        ..fixture.scenario(name, protect, &[])
    }
}
