//! What the clients of one seed do.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use object_store::memory::InMemory;
use repo_core::{
    Access, Error, ErrorKind, ForgetOptions, GcOptions, GroupBy, MaxUnused, OpenOptions, Parent,
    Quiet, Repository, SnapshotId, SnapshotOptions, Store, plan_forget_ids,
};
use repo_testkit::data::Random;
use repo_testkit::{Chances, Sim, SimPlan, SimStore};

use super::audit::{self, Outcome};
use super::world::{VERSIONS, World};

/// A seed takes milliseconds. One that takes this long hangs, and is told as one that failed.
const PATIENCE: Duration = Duration::from_secs(60);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// What clients were told.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Snapshots whose commit succeeded.
    pub(crate) committed: BTreeSet<SnapshotId>,
    /// Snapshots that somebody wanted to forget, whatever came of it.
    pub(crate) to_forget: BTreeSet<SnapshotId>,
    /// Those of a commit that succeeded.
    pub(crate) forgotten: BTreeSet<SnapshotId>,
    snapshots: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Writer,
    Collector,
    Forgetter,
    Reader,
}

struct Client {
    world: Arc<World>,
    sim: Sim,
    store: SimStore,
    role: Role,
    name: String,
    random: Random,
    ledger: Arc<Mutex<Ledger>>,
    harmed: bool,
    /// Whether another collector may be in the way.
    rivals: bool,
}

/// Runs one seed. The error is all there is to know of it.
pub(crate) async fn simulate(world: &Arc<World>, seed: u64) -> Outcome {
    let plan = SimPlan::of(seed);
    let mut random = Random::new(seed);
    let sim = Sim::new(world.repository(), plan);
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let mut roles = vec![Role::Writer; 2 + random.below(3)];
    roles.extend(vec![Role::Collector; 1 + random.below(2)]);
    roles.push(Role::Forgetter);
    roles.extend(vec![Role::Reader; random.below(2)]);
    let rivals = roles
        .iter()
        .filter(|role| **role == Role::Collector)
        .count()
        > 1;
    let clients: Vec<Client> = roles
        .into_iter()
        .enumerate()
        .map(|(number, role)| {
            let name = format!("{role:?} {number}");
            Client {
                world: Arc::clone(world),
                sim: sim.clone(),
                store: sim.client(name.clone()),
                role,
                name,
                random: Random::new(random.next_u64()),
                ledger: Arc::clone(&ledger),
                harmed: plan.chances != Chances::default(),
                rivals,
            }
        })
        .collect();
    let running: Vec<_> = clients
        .into_iter()
        .map(|client| tokio::spawn(client.live()))
        .collect();
    let mut outcome = Ok(());
    let mut patience = PATIENCE;
    for client in running {
        let lived = match tokio::time::timeout(patience, client).await {
            Ok(lived) => lived.map_err(|error| error.to_string()),
            Err(_) => Err("a client neither asks nor leaves".to_owned()),
        };
        if lived.is_err() {
            // Who panicked does not leave, and nobody else is served past it.
            patience = Duration::ZERO;
        }
        outcome = outcome.and(lived.and_then(|lived| lived));
    }
    sim.settle().await;
    if outcome.is_ok() {
        outcome = judge(world, &sim, &ledger).await;
    }
    world.count("seeds", 1);
    world.count("requests", sim.requests());
    outcome.map_err(|why| format!("seed {seed}: {why}\n{plan:?}\n{}", sim.schedule()))
}

/// Looks at what the commits left, and at the end.
async fn judge(world: &World, sim: &Sim, ledger: &Mutex<Ledger>) -> Outcome {
    let commits = sim.take_commits();
    world.count("commits", commits.len() as u64);
    for (key, memory) in commits {
        let whole = audit::all_whole(world, memory).await;
        whole.map_err(|why| format!("after {key}: {why}"))?;
    }
    let memory: InMemory = (*sim.memory()).clone();
    let ledger = std::mem::take(&mut *lock(ledger));
    world.count("snapshots", ledger.committed.len() as u64);
    audit::at_the_end(world, &memory, &ledger).await
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    /// Works for a while, with the same open repository for some of it: what it knows grows old.
    async fn live(mut self) -> Outcome {
        let desk = self.world.desk();
        let mut open: Option<Repository> = None;
        let mut outcome = Ok(());
        for _ in 0..2 + self.random.below(3) {
            if self.store.is_dead() {
                self.store = self.store.revived();
                open = None;
            }
            if self.random.below(4) == 0 {
                open = None;
            }
            let known = match open.take() {
                Some(known) => Ok(known),
                None => self.open().await,
            };
            let done = match known {
                Ok(repository) => {
                    let done = self.work(&repository, desk.path()).await;
                    open = Some(repository);
                    done
                }
                Err(error) => Err(error),
            };
            let told = match &done {
                Ok(said) => format!("      {}: {said}", self.name),
                Err(error) => format!("      {}: {error:?}", self.name),
            };
            self.sim.note(told);
            match done {
                Ok(said) if said.starts_with("WRONG") => {
                    outcome = outcome.and(Err(said));
                }
                Ok(_) => {}
                Err(error) if self.expected(&error) => self.world.count("errors", 1),
                Err(error) => {
                    outcome = outcome.and(Err(format!("{}: {error:?}", self.name)));
                }
            }
        }
        self.store.leave();
        outcome
    }

    async fn open(&self) -> Result<Repository, Error> {
        let store = Store::new(Arc::new(self.store.clone()), "memory");
        Repository::open(store, &Access::Plain, &OpenOptions::default()).await
    }

    async fn work(
        &mut self,
        repository: &Repository,
        desk: &std::path::Path,
    ) -> Result<String, Error> {
        match self.role {
            Role::Writer => self.save(repository, desk).await,
            Role::Collector => self.collect(repository).await,
            Role::Forgetter if self.random.below(3) == 0 => self.take_back(repository).await,
            Role::Forgetter => self.forget(repository).await,
            Role::Reader => self.read(repository).await,
        }
    }

    async fn save(
        &mut self,
        repository: &Repository,
        desk: &std::path::Path,
    ) -> Result<String, Error> {
        let version = self.random.below(VERSIONS);
        let path = self.world.turn_to(desk, version);
        let known = repository.snapshots();
        let parent = match self.random.below(4) {
            0 => Parent::None,
            1 if !known.is_empty() => {
                Parent::Id(known[self.random.below(known.len())].snapshot.id())
            }
            _ => Parent::Auto,
        };
        let time = {
            let mut ledger = lock(&self.ledger);
            ledger.snapshots += 1;
            ledger.snapshots
        };
        let options = SnapshotOptions {
            host: "host".to_owned(),
            description: Some(version.to_string()),
            // Each has a time of its own, so that no two have one id.
            time_ms: Some(time),
            parent,
            level: 1,
            ..SnapshotOptions::default()
        };
        let saved = repository
            .snapshot_paths(&[path], &options, Arc::new(Quiet))
            .await?;
        if saved.snapshot.stats.unread > 0 {
            return Ok(format!("WRONG: unread {:?}", saved.findings));
        }
        let id = saved.id.expect("no dry run");
        lock(&self.ledger).committed.insert(id);
        Ok(format!("saved version {version} as {}", id.to_hex()))
    }

    async fn collect(&mut self, repository: &Repository) -> Result<String, Error> {
        let grace = |random: &mut Random| match random.below(3) {
            0 => DAY_MS,
            _ => 0,
        };
        let options = GcOptions {
            max_unused: match self.random.below(3) {
                0 => MaxUnused::Percent(20.0),
                _ => MaxUnused::Bytes(0),
            },
            reader_grace_ms: grace(&mut self.random),
            writer_grace_ms: grace(&mut self.random),
            level: 1,
            ..GcOptions::default()
        };
        let done = repository.gc(&options, Arc::new(Quiet)).await?;
        self.world.count("packs condemned", {
            done.dead.objects + done.repacked.objects + done.abandoned.objects
        });
        self.world.count("packs swept", done.swept.objects);
        Ok(format!("collected {done:?}"))
    }

    async fn forget(&mut self, repository: &Repository) -> Result<String, Error> {
        repository.refresh().await?;
        let known = repository.snapshots();
        let mut ids = Vec::new();
        for snapshot in &known {
            if self.random.below(2) == 0 {
                ids.push(snapshot.snapshot.id());
            }
        }
        if ids.is_empty() {
            return Ok("nothing to forget".to_owned());
        }
        lock(&self.ledger).to_forget.extend(&ids);
        let plan = plan_forget_ids(&known, &ids, GroupBy::default())?;
        let options = ForgetOptions { allow_empty: true };
        let done = repository.forget(&plan, &options, "forget").await?;
        lock(&self.ledger).forgotten.extend(&done.removed);
        Ok(format!("forgot {:?}", done.removed))
    }

    async fn take_back(&mut self, repository: &Repository) -> Result<String, Error> {
        repository.refresh().await?;
        let log = repository.log(usize::MAX).await?;
        let forgets: Vec<u64> = log
            .iter()
            .filter(|entry| !entry.removed.is_empty())
            .map(|entry| entry.number)
            .collect();
        if forgets.is_empty() {
            return Ok("nothing to take back".to_owned());
        }
        let number = forgets[self.random.below(forgets.len())];
        let done = repository.undo(number, "undo", Arc::new(Quiet)).await?;
        self.world
            .count("snapshots brought back", done.restored.len() as u64);
        Ok(format!("took back {:?}", done.restored))
    }

    /// Reads what it knows of, perhaps long after that was forgotten.
    async fn read(&mut self, repository: &Repository) -> Result<String, Error> {
        let known = repository.snapshots();
        if known.is_empty() {
            repository.refresh().await?;
            return Ok("nothing to read".to_owned());
        }
        let id = known[self.random.below(known.len())].snapshot.id();
        let view = repository.view(&id)?;
        let files = audit::read(&view).await?;
        self.world.count("reads", 1);
        match audit::compare(&self.world, &view, &files) {
            Ok(()) => Ok(format!("read {}", id.to_hex())),
            Err(wrong) => Ok(wrong),
        }
    }

    /// Whether this may happen to such a client in such a store.
    fn expected(&self, error: &Error) -> bool {
        if self.store.is_dead() || (self.harmed && error.kind() == ErrorKind::Unavailable) {
            return true;
        }
        let gone = matches!(
            error,
            Error::Overtaken { .. } | Error::LostObject { .. } | Error::MissingBlob { .. }
        );
        match self.role {
            // Overtaken five times over, or its parent was forgotten.
            Role::Writer => {
                matches!(
                    error,
                    Error::Overtaken { .. } | Error::UnknownSnapshot { .. }
                )
            }
            Role::Collector => gone && self.rivals,
            // What is to come back may be swept; then it says so.
            Role::Forgetter => {
                matches!(error, Error::Overtaken { .. } | Error::Invalid { .. })
            }
            // Forgotten and collected under its eyes.
            Role::Reader => gone,
        }
    }
}
