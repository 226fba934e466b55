//! The steps: what can happen next, and what the store, the log and the processes are like after it.

use stateright::{Model, Property};

use crate::config::{Config, Rule};
use crate::place::{BASE, Blobs, Packs, each};
use crate::state::{Collector, Life, Pack, Phase, State, Writer};

/// The protocol in one configuration, with all rules or without one of them.
#[derive(Debug, Clone)]
pub struct Protocol {
    pub(crate) config: Config,
    pub(crate) without: Option<Rule>,
}

/// A step of one process. Writers, collectors and snapshots are numbered, packs by their name in
/// the state before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A writer reads the state and decides what it has to store.
    Begin(usize),
    /// A writer puts a pack with what is new, and its index object.
    PutPack {
        /// Which writer.
        writer: usize,
        /// Whether the blob that can be a delta is stored as one.
        delta: bool,
    },
    /// A writer puts a pack with copies of what it could not rely on any more, and its index object.
    PutCopies(usize),
    /// A writer cannot read what it would have to copy, and starts anew.
    GiveUp(usize),
    /// A writer creates its commit; or another was first, and it reads the log and revalidates.
    Commit(usize),
    /// A writer is gone.
    Crash(usize),
    /// A collector reads the state and decides what to condemn and which pack to repack.
    Plan {
        /// Which collector.
        collector: usize,
        /// The pack to repack.
        repack: Option<usize>,
    },
    /// A collector lists the packs, to find those that nothing names.
    List(usize),
    /// A collector puts a pack with what is live in the one it repacks.
    PutRepacked {
        /// Which collector.
        collector: usize,
        /// Whether a delta stays one.
        delta: bool,
    },
    /// A collector creates its commit; or another was first, and it starts over or settles again.
    Condemn(usize),
    /// A collector is gone.
    CrashCollector(usize),
    /// Somebody deletes a condemned pack.
    Delete(usize),
    /// Somebody commits that a condemned pack is deleted.
    Swept(usize),
    /// Somebody commits that a writer's index object of this pack is removed, which no commit named,
    /// and deletes it. Nobody gains from the time between the two.
    DeleteIndex {
        /// Whose it is.
        writer: usize,
        /// The pack it locates blobs in.
        pack: usize,
    },
    /// The same with a collector's index object.
    DeleteRewritten(usize),
    /// Somebody commits that a snapshot is removed.
    Forget(usize),
}

impl Protocol {
    /// The protocol with all its rules.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            without: None,
        }
    }

    /// The protocol without one of its rules.
    pub fn without(config: Config, rule: Rule) -> Self {
        Self {
            config,
            without: Some(rule),
        }
    }

    pub(crate) fn keeps(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// The blobs of all snapshots.
    pub(crate) fn wanted(&self, state: &State) -> Blobs {
        each(state.snapshots).fold(0, |all, snapshot| all | self.config.snapshots[snapshot])
    }

    /// Before index objects are deleted that no commit names, a commit says so: whoever is about to
    /// name one of them looks again.
    fn announce(&self, state: &mut State) {
        if self.keeps(Rule::RemoveBeforeDelete) {
            state.tell(true, 0);
        }
    }

    /// Whether all that is reachable from a snapshot can be read.
    pub(crate) fn nothing_is_lost(&self, state: &State) -> bool {
        let located = state.located();
        let needed = state.closure(self.wanted(state), located);
        needed & !state.readable(located) == 0
    }

    fn writer_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, writer) in state.writers.iter().enumerate().take(self.config.writers) {
            match writer.phase {
                Phase::Idle => {
                    if state.snapshots & (2 << number) == 0 {
                        actions.push(Action::Begin(number));
                    }
                    continue;
                }
                Phase::Packing => {
                    actions.push(Action::PutPack {
                        writer: number,
                        delta: false,
                    });
                    if self.may_delta(state, writer) {
                        actions.push(Action::PutPack {
                            writer: number,
                            delta: true,
                        });
                    }
                }
                Phase::Copying if Self::can_copy(state, writer) => {
                    actions.push(Action::PutCopies(number));
                }
                Phase::Copying => actions.push(Action::GiveUp(number)),
                Phase::Ready => actions.push(Action::Commit(number)),
                Phase::Listing | Phase::Done => continue,
            }
            actions.push(Action::Crash(number));
            for pack in each(writer.own & !writer.bereft) {
                actions.push(Action::DeleteIndex {
                    writer: number,
                    pack,
                });
            }
        }
    }

    fn collector_actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, collector) in state
            .collectors
            .iter()
            .enumerate()
            .take(self.config.collectors)
        {
            match collector.phase {
                Phase::Idle => {
                    self.plans(state, number, actions);
                    continue;
                }
                Phase::Listing => actions.push(Action::List(number)),
                Phase::Packing => self.repacks(state, number, actions),
                Phase::Copying | Phase::Done => continue,
                Phase::Ready => {
                    actions.push(Action::Condemn(number));
                    let index = collector.index;
                    if !index.is_empty() && !index.deleted() {
                        actions.push(Action::DeleteRewritten(number));
                    }
                }
            }
            actions.push(Action::CrashCollector(number));
        }
    }

    /// What may be deleted: what a commit condemned.
    fn to_delete(&self, state: &State) -> Packs {
        let early = if self.keeps(Rule::CommitBeforeSweep) {
            0
        } else {
            state
                .collectors
                .iter()
                .filter(|collector| collector.phase == Phase::Ready)
                .fold(0, |packs, collector| packs | collector.list)
        };
        (state.condemned | early) & state.stored()
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            snapshots: 1,
            ..State::default()
        };
        for (slot, (blobs, delta)) in self.config.packs.iter().enumerate() {
            state.packs[slot] = Pack {
                life: Life::Stored,
                blobs: *blobs,
                delta: *delta,
            };
        }
        state.live = if self.config.one_index {
            vec![state.contents(state.stored())]
        } else {
            each(state.stored())
                .map(|slot| state.contents(1 << slot))
                .collect()
        };
        vec![state.canonical()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.writer_actions(state, actions);
        self.collector_actions(state, actions);
        actions.extend(each(self.to_delete(state)).map(Action::Delete));
        actions.extend(each(state.condemned & state.deleted()).map(Action::Swept));
        actions.extend(each(state.snapshots).map(Action::Forget));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(writer) => self.begin(&mut state, writer),
            Action::PutPack { writer, delta } => self.put_pack(&mut state, writer, delta)?,
            Action::PutCopies(writer) => self.put_copies(&mut state, writer)?,
            Action::Commit(writer) => self.commit(&mut state, writer),
            Action::Crash(writer) => state.writers[writer] = self.ended(),
            Action::GiveUp(writer) => state.writers[writer] = Writer::default(),
            Action::Plan { collector, repack } => self.plan(&mut state, collector, repack),
            Action::List(collector) => Self::list(&mut state, collector),
            Action::PutRepacked { collector, delta } => {
                self.put_repacked(&mut state, collector, delta)?;
            }
            Action::Condemn(collector) => self.condemn(&mut state, collector),
            Action::CrashCollector(collector) => {
                state.collectors[collector] = Collector::default();
            }
            Action::Delete(pack) => state.packs[pack].life = Life::Deleted,
            Action::Swept(pack) => {
                state.condemned &= !(1 << pack);
                state.tell(false, 0);
            }
            Action::DeleteIndex { writer, pack } => {
                self.announce(&mut state);
                state.writers[writer].bereft |= 1 << pack;
            }
            Action::DeleteRewritten(collector) => {
                self.announce(&mut state);
                let index = &mut state.collectors[collector].index;
                *index = index.delete();
            }
            Action::Forget(snapshot) => {
                state.snapshots &= !(1 << snapshot);
                state.tell(false, 0);
            }
        }
        Some(state.canonical())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always("nothing is lost", |model, state| {
                model.nothing_is_lost(state)
            }),
            Property::<Self>::always("live index objects are whole", |_, state| {
                let bad = state.condemned | state.deleted();
                state.mentioned() & bad == 0 && !state.live.iter().any(|index| index.deleted())
            }),
        ];
        if self.without.is_none() {
            properties.extend(Self::landmarks());
        }
        properties
    }
}

impl Protocol {
    /// Without these the model would prove nothing.
    fn landmarks() -> Vec<Property<Self>> {
        vec![
            Property::<Self>::sometimes("a condemned pack is deleted", |_, state| {
                state.condemned & state.deleted() != 0
            }),
            Property::<Self>::sometimes("a pack is gone and a writer slept on", |_, state| {
                let gone = state.deleted() & !state.condemned;
                state.writers.iter().any(|writer| writer.own & gone != 0)
            }),
            Property::<Self>::sometimes("a writer stores again", |_, state| {
                let copies = |writer| Self::can_copy(state, writer);
                let mut writers = state.writers.iter();
                writers.any(|writer| writer.phase == Phase::Copying && copies(writer))
            }),
            Property::<Self>::sometimes("a writer gives up", |_, state| {
                let copies = |writer| Self::can_copy(state, writer);
                let mut writers = state.writers.iter();
                writers.any(|writer| writer.phase == Phase::Copying && !copies(writer))
            }),
            Property::<Self>::sometimes("a collector starts over", |_, state| {
                let mut collectors = state.collectors.iter();
                collectors.any(|one| one.phase == Phase::Ready && one.news.gc)
            }),
            Property::<Self>::sometimes("a collector spares a pack", |model, state| {
                let mut collectors = state.collectors.iter();
                collectors.any(|one| {
                    one.phase == Phase::Ready
                        && one.news.any
                        && !one.news.gc
                        && model.settle(state, one.list, state.contents(one.new)) != one.list
                })
            }),
            Property::<Self>::sometimes("a base lives by its deltas only", |model, state| {
                let wanted = model.wanted(state);
                wanted & BASE == 0 && state.closure(wanted, state.located()) & BASE != 0
            }),
            Property::<Self>::sometimes("a pack is repacked", |_, state| {
                state.collectors.iter().any(|one| one.new != 0)
            }),
        ]
    }
}
