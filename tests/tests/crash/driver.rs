//! Stops an operation at every request in turn and judges what it leaves.
#![expect(clippy::panic, reason = "what fails here fails the test")]

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use repo_core::{
    Access, CheckOptions, Error, ErrorKind, Finding, OpenOptions, Quiet, ReadData, Repository,
    RestoreOptions, Result, Severity, Store,
};
use repo_testkit::damage::{self, Image};
use repo_testkit::{FaultStore, Verb};
use repo_tests::describe::{self, Described};
use tempfile::TempDir;

/// More requests than any scenario makes.
const REQUESTS_MAX: u64 = 500;

/// How request `k` goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It and all later ones are not done.
    Stops,
    /// It is done, and answered with an error.
    Lost,
    /// Put `k` stores half of the object under its name and is answered with an error.
    Torn,
}

impl Fault {
    pub(crate) const ALL: [Self; 3] = [Self::Stops, Self::Lost, Self::Torn];

    fn store(self, memory: &Arc<InMemory>, k: u64) -> FaultStore {
        let inner = Arc::clone(memory) as Arc<dyn ObjectStore>;
        match self {
            Self::Stops => FaultStore::new(inner, k),
            Self::Lost => FaultStore::new(inner, u64::MAX).losing_answer(k),
            Self::Torn => FaultStore::new(inner, u64::MAX).tearing_put(k),
        }
    }

    /// Whether the operation made the request that was to fail.
    fn reached(self, store: &FaultStore, k: u64) -> bool {
        let made = match self {
            Self::Torn => store.count(Verb::Put),
            Self::Stops | Self::Lost => store.recording().total(),
        };
        made as u64 > k
    }
}

/// All that an operation may change, as far as users see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) exists: bool,
    /// Oldest first: the version of the source each holds, and its tags.
    pub(crate) snapshots: Vec<(usize, Vec<String>)>,
    /// Labels of the key slots, sorted.
    pub(crate) keys: Vec<String>,
}

/// Who does an operation: a store that may fail, and what is needed beside it.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) store: Store,
    pub(crate) access: Access,
    /// Spares key derivations.
    pub(crate) known: Option<Repository>,
    pub(crate) source: PathBuf,
    /// A sound repository that a copy is made of.
    pub(crate) other: Option<Repository>,
}

impl Client {
    pub(crate) async fn open(&self) -> Result<Repository> {
        self.open_at(None).await
    }

    async fn open_at(&self, at: Option<u64>) -> Result<Repository> {
        let options = OpenOptions {
            at,
            ..OpenOptions::default()
        };
        match &self.known {
            Some(known) => known.reopen(self.store.clone(), &options).await,
            None => Repository::open(self.store.clone(), &self.access, &options).await,
        }
    }
}

/// An operation, what it starts from, and what it changes.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) start: Arc<InMemory>,
    pub(crate) before: State,
    /// Does the operation to its end, or finds that it is done.
    pub(crate) operation: fn(Client) -> BoxFuture<'static, Result<()>>,
    /// What becomes of the state, one visible step after the other. An operation that failed has
    /// done some of the first ones; done again, it has done them all.
    pub(crate) steps: &'static [fn(&mut State)],
    /// Fewest requests it makes.
    pub(crate) requests_min: u64,
    /// Once it is done, the store holds nothing that is of no use, whatever had stopped it before.
    pub(crate) tidies: bool,
    pub(crate) access: Access,
    pub(crate) known: Option<Repository>,
    /// What the operation copies.
    pub(crate) other: Option<Repository>,
    /// Label and password of key slots that must open the repository when they are there.
    pub(crate) passwords: &'static [(&'static str, &'static str)],
    /// The source in each version that a snapshot can hold.
    pub(crate) versions: Vec<Described>,
    /// The directory that is saved lies here.
    pub(crate) place: TempDir,
}

impl Scenario {
    fn client(&self, store: Arc<dyn ObjectStore>) -> Client {
        Client {
            store: Store::new(store, "memory"),
            access: self.access.clone(),
            known: self.known.clone(),
            other: self.other.clone(),
            source: self.place.path().join("source"),
        }
    }

    fn sound_client(&self, memory: &Arc<InMemory>) -> Client {
        self.client(Arc::clone(memory) as Arc<dyn ObjectStore>)
    }

    /// The states that the first 0, 1, .. steps lead to.
    fn states(&self, from: &State) -> Vec<State> {
        let mut states = vec![from.clone()];
        for step in self.steps {
            let mut next = states[states.len() - 1].clone();
            step(&mut next);
            states.push(next);
        }
        states
    }

    fn done(&self, from: &State) -> State {
        self.states(from).remove(self.steps.len())
    }
}

/// Does the operation with a fault at every request in turn. Gives the number of requests.
pub(crate) async fn every_request(scenario: &Scenario, fault: Fault) -> u64 {
    let untouched = Image::of(&*scenario.start).await.expect("an image");
    for k in 0..REQUESTS_MAX {
        let what = format!("{}: {fault:?} {k}", scenario.name);
        let memory = Arc::new(scenario.start.fork());
        let faulty = fault.store(&memory, k);
        let outcome = (scenario.operation)(scenario.client(Arc::new(faulty.clone()))).await;
        let reached = fault.reached(&faulty, k);
        if fault == Fault::Torn && reached {
            let torn = faulty.recording().paths(Verb::Put);
            let torn = &torn[usize::try_from(k).expect("a number")];
            mend(scenario, &memory, torn, &what).await;
        }
        // The same objects mean the same state, which has been looked at.
        let same = Image::of(&*memory).await.expect("an image") == untouched;
        let found = if same {
            scenario.before.clone()
        } else {
            observe(scenario, &memory).await
        };
        let states = scenario.states(&scenario.before);
        match &outcome {
            Ok(()) => assert_eq!(Some(&found), states.last(), "{what}"),
            Err(error) => assert!(states.contains(&found), "{what}: {error:?}: {found:?}"),
        }
        if !reached {
            outcome.expect("no request failed");
            assert!(fault == Fault::Torn || k >= scenario.requests_min, "{what}");
            return k;
        }
        let again = (scenario.operation)(scenario.sound_client(&memory)).await;
        again.unwrap_or_else(|error| panic!("{what}, again: {error:?}"));
        let found_again = observe(scenario, &memory).await;
        assert_eq!(found_again, scenario.done(&found), "{what}, again");
        if scenario.tidies {
            let mut told = leftovers(scenario, &memory).await;
            if !told.is_empty() {
                // A commit may be younger than the clock says it is now, where that was set back: then
                // what it condemned waits for the next collection.
                let once_more = (scenario.operation)(scenario.sound_client(&memory)).await;
                once_more.expect("nothing fails");
                told = leftovers(scenario, &memory).await;
            }
            assert_eq!(told, [], "{what}, again");
        }
    }
    panic!("{} never ends", scenario.name);
}

/// What a check of all finds.
async fn leftovers(scenario: &Scenario, memory: &Arc<InMemory>) -> Vec<Finding> {
    let repository = scenario.sound_client(memory).open().await;
    findings(&repository.expect("a repository")).await
}

/// Opens a repository, reads all of it, restores every snapshot, and tells what is there.
/// Anything unsound fails the test.
pub(crate) async fn observe(scenario: &Scenario, memory: &Arc<InMemory>) -> State {
    let client = scenario.sound_client(memory);
    let repository = match client.open().await {
        Ok(repository) => repository,
        Err(Error::NoRepository { .. }) => return State::default(),
        Err(error) => panic!("{}: {error:?}", scenario.name),
    };
    assert_eq!(damaged(&repository).await, [""; 0], "{}", scenario.name);
    for (label, password) in scenario.passwords {
        let keys = repository.keys().await.expect("the keys");
        if keys.iter().any(|key| key.label == *label) {
            let access = Access::password(*password);
            let options = OpenOptions::default();
            let opened = Repository::open(client.store.clone(), &access, &options);
            opened.await.expect("a password that opens");
        }
    }
    look(scenario, &repository).await
}

async fn look(scenario: &Scenario, repository: &Repository) -> State {
    let mut snapshots = Vec::new();
    for known in repository.snapshots() {
        let view = repository.view(&known.snapshot.id()).expect("a snapshot");
        let target = TempDir::new().expect("a directory");
        let options = RestoreOptions::default();
        let report = repository
            .restore(&view, b"", target.path(), &options, Arc::new(Quiet))
            .await
            .expect("a restore");
        assert_eq!(report.findings, []);
        let found = describe::tree(target.path()).expect("the target");
        let version = scenario.versions.iter().position(|wanted| *wanted == found);
        let version = version.unwrap_or_else(|| {
            let differences = describe::differences(&scenario.versions[0], &found);
            panic!(
                "{}: a snapshot holds something else: {differences:#?}",
                scenario.name
            )
        });
        snapshots.push((version, known.tags));
    }
    let keys = repository.keys().await.expect("the keys");
    let mut keys: Vec<String> = keys.into_iter().map(|key| key.label).collect();
    keys.sort();
    State {
        exists: true,
        snapshots,
        keys,
    }
}

/// The findings of a check with all data that are no notes.
async fn damaged(repository: &Repository) -> Vec<String> {
    let findings = findings(repository).await.into_iter();
    findings
        .filter(|finding| finding.severity != Severity::Note)
        .map(|finding| finding.to_string())
        .collect()
}

async fn findings(repository: &Repository) -> Vec<Finding> {
    let options = CheckOptions {
        read_data: ReadData::All,
    };
    let report = repository.check(&options, Arc::new(Quiet)).await;
    report.expect("a check").findings
}

/// Half an object lies under its name, which no store of ours does. What is documented for that
/// holds, and the documented remedy is applied.
async fn mend(scenario: &Scenario, memory: &Arc<InMemory>, torn: &str, what: &str) {
    let client = scenario.sound_client(memory);
    let names_it = |told: &[String]| told.len() == 1 && told[0].starts_with(torn);
    if let Some(number) = torn.strip_prefix("log/").and_then(|name| name.parse().ok()) {
        torn_commit(scenario, memory, number, what).await;
        damage::delete(&**memory, torn).await.expect("a delete");
    } else if torn == "config" {
        // Neither a repository nor an empty place; deleting the object loses nothing.
        let error = client.open().await.err().expect("half a config");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error:?}");
        assert!(error.to_string().contains(torn), "{what}: {error}");
        damage::delete(&**memory, torn).await.expect("a delete");
    } else if let Ok(repository) = client.open().await {
        let told = damaged(&repository).await;
        if torn.starts_with("log/") {
            // A checkpoint only saves time.
            assert!(names_it(&told), "{what}: {told:?}");
            damage::delete(&**memory, torn).await.expect("a delete");
        } else if let Some(id) = torn.strip_prefix("keys/") {
            // It locks out nobody else and can be removed.
            assert!(names_it(&told), "{what}: {told:?}");
            let id = repo_core::KeyId::from_hex(id).expect("an id");
            repository.remove_key(&id).await.expect("a removal");
        } else if torn.starts_with("parity/") {
            // It covers nothing, and no data is lost with it.
            assert!(names_it(&told), "{what}: {told:?}");
            damage::delete(&**memory, torn).await.expect("a delete");
        } else {
            // A fresh random name that nothing refers to.
            assert_eq!(told, [""; 0], "{what}");
        }
    }
}

/// Nobody opens the newest state or writes past half a commit; the state before it can be read,
/// and its check names the object. Without that object the log ends before it.
async fn torn_commit(scenario: &Scenario, memory: &Arc<InMemory>, number: u64, what: &str) {
    let client = scenario.sound_client(memory);
    let error = client.open().await.err().expect("half a commit");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error:?}");
    let key = format!("log/{number:020}");
    assert!(error.to_string().contains(&key), "{what}: {error}");
    let before = Image::of(&**memory).await.expect("an image");
    let again = (scenario.operation)(client.clone()).await;
    let again = again.expect_err("a commit past half a commit");
    assert_eq!(again.kind(), ErrorKind::Corrupt, "{what}: {again:?}");
    assert!(
        Image::of(&**memory).await.expect("an image") == before,
        "{what}"
    );
    let earlier = client
        .open_at(Some(number - 1))
        .await
        .expect("the state before");
    // Earlier steps may have been done.
    let found = look(scenario, &earlier).await;
    let states = scenario.states(&scenario.before);
    assert!(states.contains(&found), "{what}: {found:?}");
    let told = damaged(&earlier).await;
    assert!(
        told.len() == 1 && told[0].starts_with(&key),
        "{what}: {told:?}"
    );
}
