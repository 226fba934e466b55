//! Whose request is next, and what becomes of it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::oneshot;
use object_store::ObjectMeta;
use object_store::path::Path;

use super::{Chances, Clock, Fate, SimPlan};
use crate::data::Random;
use crate::recording::Verb;

/// Requests after which a late write is done, at most.
const LATE_MAX: usize = 200;

/// A write whose client was told that it failed.
#[derive(Debug)]
pub(super) enum Late {
    Put(Path, Bytes),
    Delete(Path),
}

#[derive(Debug)]
struct Client {
    name: String,
    /// Decides what becomes of its requests.
    random: Random,
    waiting: VecDeque<oneshot::Sender<()>>,
    /// Not served before so many requests of all were done.
    asleep_until: u64,
    left: bool,
    /// Lives lost; requests of an earlier life fail.
    deaths: u32,
}

/// The state of a schedule.
#[derive(Debug)]
pub(super) struct Turns {
    plan: SimPlan,
    random: Random,
    clients: Vec<Client>,
    current: usize,
    /// Requests until another client's turn.
    burst: usize,
    busy: bool,
    asked: u64,
    late: Vec<(u64, Late)>,
    trace: Vec<String>,
}

impl Turns {
    pub(super) fn new(plan: SimPlan) -> Self {
        Self {
            plan,
            random: Random::new(plan.seed),
            clients: Vec::new(),
            current: 0,
            burst: 1,
            busy: false,
            asked: 0,
            late: Vec::new(),
            trace: Vec::new(),
        }
    }

    pub(super) fn join(&mut self, name: String) -> usize {
        let number = self.clients.len();
        self.clients.push(Client {
            name,
            random: Random::new(self.plan.seed ^ ((number as u64 + 1) << 40)),
            waiting: VecDeque::new(),
            asleep_until: 0,
            left: false,
            deaths: 0,
        });
        number
    }

    /// Takes the turn, or waits for it with what is returned.
    pub(super) fn ask(&mut self, client: usize) -> Option<oneshot::Receiver<()>> {
        if self.current == client && !self.busy {
            self.busy = true;
            return None;
        }
        let (send, receive) = oneshot::channel();
        self.clients[client].waiting.push_back(send);
        Some(receive)
    }

    /// Ends a turn.
    pub(super) fn release(&mut self) {
        self.asked += 1;
        self.burst = self.burst.saturating_sub(1);
        if self.burst == 0 {
            if self.random.below(1000) < self.plan.sleeps {
                let long = 1 + self.random.below(self.plan.sleep_max) as u64;
                self.clients[self.current].asleep_until = self.asked + long;
            }
            self.switch();
        } else if self.clients[self.current].left {
            // It left while this request was on its way: nobody else would ever be served.
            self.switch();
        }
        self.busy = false;
        self.serve();
    }

    /// Another client's burst, or one more of the same.
    fn switch(&mut self) {
        let here = |client: &Client| !client.left;
        let awake: Vec<usize> = (0..self.clients.len())
            .filter(|at| here(&self.clients[*at]) && self.clients[*at].asleep_until <= self.asked)
            .collect();
        let next = match awake.as_slice() {
            // All sleep: the first to wake does so now.
            [] => (0..self.clients.len())
                .filter(|at| here(&self.clients[*at]))
                .min_by_key(|at| self.clients[*at].asleep_until),
            awake => Some(awake[self.random.below(awake.len())]),
        };
        if let Some(next) = next {
            self.current = next;
            let range = self.plan.burst_max >> self.random.below(4);
            self.burst = 1 + self.random.below(range);
        }
    }

    /// Gives the turn to the first request of the current client that still waits.
    fn serve(&mut self) {
        while let Some(waiting) = self.clients[self.current].waiting.pop_front() {
            if waiting.send(()).is_ok() {
                self.busy = true;
                return;
            }
        }
    }

    /// The client makes no more requests.
    pub(super) fn leave(&mut self, client: usize) {
        self.clients[client].left = true;
        // What still waits fails.
        self.clients[client].waiting.clear();
        if self.current == client && !self.busy {
            self.switch();
            self.serve();
        }
    }

    pub(super) fn deaths(&self, client: usize) -> u32 {
        self.clients[client].deaths
    }

    pub(super) fn has_left(&self, client: usize) -> bool {
        self.clients[client].left
    }

    pub(super) fn die(&mut self, client: usize) {
        self.clients[client].deaths += 1;
    }

    /// Draws what becomes of a request whose turn it is.
    pub(super) fn fate(&mut self, client: usize, verb: Verb, path: &str) -> Fate {
        let writes = matches!(verb, Verb::Put | Verb::Delete);
        let Chances {
            failed,
            lost,
            twice,
            late,
            crash,
        } = self.plan.chances;
        let random = &mut self.clients[client].random;
        let drawn = random.below(1000);
        let mut end = 0;
        let mut fate = Fate::Answered;
        for (chance, outcome) in [
            (failed, Fate::Failed),
            (lost, Fate::Lost),
            (twice, Fate::Twice),
            (late, Fate::Late),
            (crash, Fate::CrashBefore),
            (crash, Fate::CrashAfter),
        ] {
            end += chance;
            if drawn < end {
                fate = outcome;
                break;
            }
        }
        if !writes && matches!(fate, Fate::Late | Fate::Twice) {
            fate = Fate::Answered;
        }
        let name = &self.clients[client].name;
        let told = if fate == Fate::Answered {
            String::new()
        } else {
            format!(" {fate:?}")
        };
        self.trace
            .push(format!("{:5} {name}: {verb:?} {path}{told}", self.asked));
        fate
    }

    pub(super) fn delay(&mut self, write: Late) {
        let due = self.asked + 1 + self.random.below(LATE_MAX) as u64;
        self.late.push((due, write));
    }

    /// Writes that are due now, or all.
    pub(super) fn take_late(&mut self, all: bool) -> Vec<Late> {
        let now = self.asked;
        let (due, rest) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(due, _)| all || *due <= now);
        self.late = rest;
        let due: Vec<(u64, Late)> = due;
        for (_, write) in &due {
            let what = match write {
                Late::Put(path, _) => format!("put {path}"),
                Late::Delete(path) => format!("delete {path}"),
            };
            self.trace.push(format!("{now:5} late {what}"));
        }
        due.into_iter().map(|(_, write)| write).collect()
    }

    /// Makes the time of an object what the clock says.
    pub(super) fn tell_time(&mut self, meta: &mut ObjectMeta) {
        const HOUR: u64 = 3600;
        const YEARS: usize = 10 * 365 * 24;
        let hours = |count: usize| Duration::from_secs(count as u64 * HOUR);
        match self.plan.clock {
            Clock::Right => {}
            Clock::Off(more) if more < 0 => {
                meta.last_modified -= Duration::from_secs(u64::from(more.unsigned_abs()) * HOUR);
            }
            Clock::Off(more) => {
                meta.last_modified += Duration::from_secs(u64::from(more.unsigned_abs()) * HOUR);
            }
            Clock::Wild => {
                meta.last_modified += hours(self.random.below(YEARS));
                meta.last_modified -= hours(self.random.below(YEARS));
            }
            Clock::Backwards => meta.last_modified -= Duration::from_secs(self.asked * HOUR),
        }
    }

    pub(super) fn note(&mut self, line: String) {
        self.trace.push(line);
    }

    pub(super) fn asked(&self) -> u64 {
        self.asked
    }

    pub(super) fn trace(&self) -> &[String] {
        &self.trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_with_a_request_on_its_way_passes_the_turn_on() {
        let mut turns = Turns::new(SimPlan {
            seed: 1,
            burst_max: 64,
            sleeps: 0,
            sleep_max: 1,
            chances: Chances::default(),
            clock: Clock::Right,
            page: 1,
        });
        let (first, second) = (
            turns.join("first".to_owned()),
            turns.join("second".to_owned()),
        );
        turns.burst = 64;
        assert!(turns.ask(first).is_none(), "its turn");
        let mut waits = turns.ask(second).expect("not its turn");
        turns.leave(first);
        assert_eq!(waits.try_recv(), Ok(None));
        turns.release();
        assert_eq!(waits.try_recv(), Ok(Some(())));
    }
}
