//! A collector's steps up to its commit. Sweeping needs no memory: its steps are those of anybody.

use crate::config::Rule;
use crate::place::{BASE, Blobs, DELTA, Index, Packs, each};
use crate::protocol::{Action, Protocol};
use crate::state::{Collector, News, Phase, State};

impl Protocol {
    /// The plans a collector can make: nothing repacked, or one pack that is not wholly live.
    pub(crate) fn plans(&self, state: &State, number: usize, actions: &mut Vec<Action>) {
        let located = state.located();
        let dead = self.dead(state);
        actions.push(Action::Plan {
            collector: number,
            repack: None,
        });
        if !self.config.repack {
            return;
        }
        let partly = each(state.mentioned() & !dead)
            .filter(|pack| self.to_move(state, dead, *pack) != located.at(*pack));
        actions.extend(partly.map(|pack| Action::Plan {
            collector: number,
            repack: Some(pack),
        }));
    }

    /// All that snapshots need, wherever `entries` locate it.
    fn needed(&self, state: &State, entries: Index) -> Blobs {
        let wanted = self.wanted(state);
        if self.keeps(Rule::CloseOverBases) {
            state.closure(wanted, entries)
        } else {
            wanted
        }
    }

    /// Packs that live index objects mention and no snapshot needs.
    fn dead(&self, state: &State) -> Packs {
        let located = state.located();
        let needed = self.needed(state, located);
        each(state.mentioned())
            .filter(|pack| located.at(*pack) & needed == 0)
            .fold(0, |packs, pack| packs | 1 << pack)
    }

    /// What snapshots need of a pack and no other has.
    fn to_move(&self, state: &State, dead: Packs, pack: usize) -> Blobs {
        let located = state.located().outside(dead);
        self.needed(state, located) & !located.outside(1 << pack).blobs()
    }

    pub(crate) fn plan(&self, state: &mut State, number: usize, repack: Option<usize>) {
        let dead = self.dead(state);
        let source = repack.map_or(0, |pack| 1 << pack);
        let list = dead | source;
        let collector = Collector {
            phase: Phase::Listing,
            todo: repack.map_or(0, |pack| self.to_move(state, dead, pack)),
            list,
            source,
            known: state.mentioned() | state.condemned,
            index: self.rewritten(state, list, Index::default()),
            ..Collector::default()
        };
        state.collectors[number] = collector;
        if !self.config.list_late {
            Self::list(state, number);
        }
    }

    /// Adds the packs that the state it has read does not name.
    pub(crate) fn list(state: &mut State, number: usize) {
        let stored = state.stored();
        let collector = &mut state.collectors[number];
        collector.list |= stored & !collector.known;
        collector.known = 0;
        if collector.list == 0 {
            *collector = Collector::default();
        } else if collector.todo == 0 {
            collector.phase = Phase::Ready;
        } else {
            collector.phase = Phase::Packing;
        }
    }

    /// The ways to repack: a delta stays one, or is stored by itself.
    pub(crate) fn repacks(&self, state: &State, number: usize, actions: &mut Vec<Action>) {
        let collector = &state.collectors[number];
        if collector.source & state.stored() == 0 {
            return;
        }
        let source = state.contents(collector.source);
        let delta = state.has_delta(source.only(collector.todo));
        if delta {
            actions.push(Action::PutRepacked {
                collector: number,
                delta,
            });
        }
        if !delta || state.readable(source.and(state.located())) & BASE != 0 {
            actions.push(Action::PutRepacked {
                collector: number,
                delta: false,
            });
        }
    }

    pub(crate) fn put_repacked(&self, state: &mut State, number: usize, delta: bool) -> Option<()> {
        let todo = state.collectors[number].todo;
        let new = state.put(self.config.room, todo, delta)?;
        let moved = state.contents(new);
        let collector = &mut state.collectors[number];
        collector.new = new;
        collector.todo = 0;
        collector.index = collector.index.and(moved);
        collector.phase = Phase::Ready;
        Some(())
    }

    /// Creates the commit when no other was first. After another collector's it starts over; after
    /// other commits it settles with what their snapshots need.
    pub(crate) fn condemn(&self, state: &mut State, number: usize) {
        let collector = state.collectors[number];
        if collector.news.gc {
            state.collectors[number] = Collector::default();
        } else if collector.news.any {
            if self.keeps(Rule::SettleAgain) {
                self.settle_again(state, number);
            }
            state.collectors[number].news = News::default();
        } else {
            state.live = self.kept(state, collector.list);
            if !collector.index.is_empty() {
                state.live.push(collector.index);
            }
            state.condemned |= collector.list;
            state.collectors[number] = Collector::default();
            state.tell(true, collector.list);
        }
    }

    fn settle_again(&self, state: &mut State, number: usize) {
        let mut collector = state.collectors[number];
        collector.list = self.settle(state, collector.list, state.contents(collector.new));
        if collector.new != 0 && collector.source & collector.list == 0 {
            collector.new = 0;
            collector.list = self.settle(state, collector.list, Index::default());
        }
        collector.source &= collector.list;
        let index = self.rewritten(state, collector.list, state.contents(collector.new));
        if collector.list == 0 {
            collector = Collector::default();
        } else if !index.says(collector.index) {
            collector.index = index;
        }
        state.collectors[number] = collector;
    }

    /// The list without the packs that hold the only copy of what snapshots need.
    pub(crate) fn settle(&self, state: &State, mut list: Packs, moved: Index) -> Packs {
        let located = state.located();
        loop {
            let rest = located.outside(list).and(moved);
            let missing = self.needed(state, rest) & !rest.blobs();
            let spared = list & located.only(missing).packs();
            if spared == 0 {
                return list;
            }
            list &= !spared;
        }
    }

    /// The live index objects that stay when these packs are condemned.
    fn kept(&self, state: &State, list: Packs) -> Vec<Index> {
        let mut live = state.live.clone();
        live.retain(|index| index.packs() & list == 0);
        if !self.keeps(Rule::DropDangling) {
            return live;
        }
        let all = state.located();
        let needed = self.needed(state, all.outside(list));
        let based = needed & BASE != 0 || live.iter().any(|index| index.blobs() & BASE != 0);
        live.retain(|index| based || !state.has_delta(index.only(DELTA)));
        live
    }

    /// What the index object says that replaces those which do not stay.
    fn rewritten(&self, state: &State, list: Packs, moved: Index) -> Index {
        let kept = self.kept(state, list);
        let rest = state.located().outside(list).and(moved);
        let needed = self.needed(state, rest);
        state
            .live
            .iter()
            .filter(|index| !kept.contains(index))
            .fold(moved, |all, index| {
                all.and(index.outside(list).only(needed))
            })
    }
}
