//! Many clients of one store in memory, interleaved and harmed as one seed says.
//!
//! Each client has a [`SimStore`] of its own; one request of all clients is done at a time. Who is
//! served for how many requests is drawn from the seed, so clients run in bursts, and one that is
//! put to sleep in the middle of its work wakes when the others have moved on. The names that
//! clients draw for their objects, and the order of requests that one of them makes on several
//! threads, are not the seed's: a seed repeats a schedule, not every byte.

mod store;
mod turns;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use object_store::memory::InMemory;

use crate::data::Random;
use turns::Turns;

pub use store::SimStore;

/// How often, in a thousand requests, one goes wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chances {
    /// It is not done, and fails.
    pub failed: usize,
    /// It is done, and fails.
    pub lost: usize,
    /// It is done twice, as by a retry on the wire after a lost answer.
    pub twice: usize,
    /// A write fails, and is done some time later, as after a timeout.
    pub late: usize,
    /// The client dies before it or after it.
    pub crash: usize,
}

/// What the store says about the times of its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The truth.
    Right,
    /// So many hours more than the truth.
    Off(i32),
    /// Each time asked, up to ten years more or less than the truth.
    Wild,
    /// Each request finds all times an hour earlier.
    Backwards,
}

/// What a seed does to the clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SimPlan {
    /// Decides all that is left to chance.
    pub seed: u64,
    /// Most requests of one client in a row.
    pub burst_max: usize,
    /// How often, in a thousand bursts, the client falls asleep after it.
    pub sleeps: usize,
    /// Most requests of others that it sleeps through, as long as there are others.
    pub sleep_max: usize,
    /// What goes wrong.
    pub chances: Chances,
    /// What times objects have.
    pub clock: Clock,
    /// Objects in one page of a listing.
    pub page: usize,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Failed,
    Lost,
    Twice,
    Late,
    CrashBefore,
    CrashAfter,
}

/// The store that all clients share.
#[derive(Debug, Clone)]
pub struct Sim {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    memory: Arc<InMemory>,
    plan: SimPlan,
    turns: Mutex<Turns>,
    /// The store as it was after each commit, oldest first.
    commits: Mutex<Vec<(String, InMemory)>>,
}

impl Inner {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn committed(&self, path: &str) {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        commits.push((path.to_owned(), self.memory.fork()));
    }
}

impl Sim {
    /// Puts clients above `memory`.
    pub fn new(memory: Arc<InMemory>, plan: SimPlan) -> Self {
        Self {
            inner: Arc::new(Inner {
                memory,
                plan,
                turns: Mutex::new(Turns::new(plan)),
                commits: Mutex::default(),
            }),
        }
    }

    /// One more client. Clients come before the first request, so that the seed can choose among
    /// all of them, and leave with [`SimStore::leave`]: nobody is served past one that neither asks
    /// nor leaves.
    #[must_use]
    pub fn client(&self, name: impl Into<String>) -> SimStore {
        let client = self.inner.turns().join(name.into());
        SimStore::new(Arc::clone(&self.inner), client)
    }

    /// Does what is still late.
    pub async fn settle(&self) {
        let late = self.inner.turns().take_late(true);
        store::settle(&self.inner, late).await;
    }

    /// The store below all clients.
    #[must_use]
    pub fn memory(&self) -> Arc<InMemory> {
        Arc::clone(&self.inner.memory)
    }

    /// The store as each commit left it, with the commit's key, oldest first.
    #[must_use]
    pub fn take_commits(&self) -> Vec<(String, InMemory)> {
        let commits = &mut *self
            .inner
            .commits
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(commits)
    }

    /// Adds a line to the schedule.
    pub fn note(&self, line: impl Into<String>) {
        self.inner.turns().note(line.into());
    }

    /// Requests of all clients so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.inner.turns().asked()
    }

    /// Every request in the order they were done, one a line, with what became of it.
    #[must_use]
    pub fn schedule(&self) -> String {
        let turns = self.inner.turns();
        let mut shown = String::new();
        for line in turns.trace() {
            // Writing to a string does not fail.
            let _ = writeln!(shown, "{line}");
        }
        shown
    }
}

impl SimPlan {
    /// A plan for everything: from a seed that harms nobody to one that spares nothing.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let chances = match random.below(3) {
            0 => Chances::default(),
            kind => Chances {
                failed: random.below(8 * kind),
                lost: random.below(8 * kind),
                twice: random.below(20),
                late: random.below(10 * kind),
                crash: random.below(5 * kind),
            },
        };
        let clock = match random.below(5) {
            0 | 1 => Clock::Right,
            2 => {
                let years = i32::try_from(random.below(20)).unwrap_or(0) - 10;
                Clock::Off(years * 24 * 365)
            }
            3 => Clock::Wild,
            _ => Clock::Backwards,
        };
        Self {
            seed,
            burst_max: 2 << random.below(7),
            sleeps: random.below(300),
            sleep_max: 50 << random.below(5),
            chances,
            clock,
            page: 1 + random.below(20),
        }
    }
}
