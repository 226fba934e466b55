//! A writer's steps.

use crate::config::Rule;
use crate::place::{BASE, DELTA, Index, each};
use crate::protocol::Protocol;
use crate::state::{News, Phase, State, Writer};

impl Protocol {
    /// Reads the state. What it locates is relied on, the rest is to be stored.
    pub(crate) fn begin(&self, state: &mut State, number: usize) {
        let located = state.located().outside(state.condemned);
        let needs = self.config.snapshots[number + 1];
        let todo = needs & !located.blobs();
        let mut relied = state.closure(needs & !todo, located);
        if self.config.deltas && todo & DELTA != 0 {
            relied |= BASE;
        }
        state.writers[number] = Writer {
            phase: if todo == 0 {
                Phase::Ready
            } else {
                Phase::Packing
            },
            todo,
            seen: located.only(relied),
            ..Writer::default()
        };
    }

    /// Whether the writer can store its blob against a base that the state it has read locates.
    pub(crate) fn may_delta(&self, state: &State, writer: &Writer) -> bool {
        self.config.deltas
            && writer.todo & DELTA != 0
            && writer.todo & BASE == 0
            && state.readable(writer.seen) & BASE != 0
    }

    pub(crate) fn put_pack(&self, state: &mut State, number: usize, delta: bool) -> Option<()> {
        let writer = state.writers[number];
        let needs = self.config.snapshots[number + 1];
        let pack = state.put(self.config.room, writer.todo, delta)?;
        let mut relied = state.closure(needs & !writer.todo, writer.seen);
        if delta {
            relied |= BASE;
        }
        state.writers[number] = Writer {
            phase: Phase::Ready,
            todo: 0,
            seen: writer.seen.only(relied),
            own: pack,
            ..writer
        };
        Some(())
    }

    /// Creates the commit when no other was first. Otherwise folds the others.
    pub(crate) fn commit(&self, state: &mut State, number: usize) {
        let writer = state.writers[number];
        if writer.news.any {
            state.writers[number].news = News::default();
            if writer.news.gc && self.keeps(Rule::Revalidate) {
                self.revalidate(state, number);
            }
            return;
        }
        for pack in each(writer.own) {
            let index = state.contents(1 << pack);
            state.live.push(if writer.bereft & (1 << pack) == 0 {
                index
            } else {
                index.delete()
            });
        }
        state.snapshots |= 2 << number;
        state.writers[number] = self.ended();
        state.tell(false, 0);
    }

    /// A writer after its commit or crash.
    pub(crate) fn ended(&self) -> Writer {
        Writer {
            phase: if self.config.again {
                Phase::Idle
            } else {
                Phase::Done
            },
            ..Writer::default()
        }
    }

    /// Looks for all the snapshot needs in the newest state and in the packs the writer has put.
    fn revalidate(&self, state: &mut State, number: usize) {
        let writer = state.writers[number];
        let needs = self.config.snapshots[number + 1];
        let condemned = if self.keeps(Rule::RememberCondemned) {
            writer.condemned
        } else {
            state.condemned
        };
        if self.keeps(Rule::RemoveBeforeDelete) && writer.bereft != 0 {
            state.writers[number] = Writer::default();
            return;
        }
        let own = if self.keeps(Rule::CheckOwnPacks) {
            writer.own & !condemned
        } else {
            writer.own
        };
        let located = state.located().outside(condemned);
        let found = located.and(state.contents(own));
        let relied = state.closure(needs, found);
        let missing = relied & !found.blobs();
        let now = located.only(relied);
        let changed = if missing == 0 {
            Writer {
                seen: now,
                ..writer
            }
        } else {
            Writer {
                phase: Phase::Copying,
                todo: missing,
                seen: writer.seen.and(now).and(state.contents(writer.own & !own)),
                ..writer
            }
        };
        state.writers[number] = Writer {
            own,
            bereft: writer.bereft & own,
            news: News::default(),
            ..changed
        };
    }

    /// Whether what is missing can be read where it was, or is now.
    pub(crate) fn can_copy(state: &State, writer: &Writer) -> bool {
        writer.todo & !state.readable(Self::sources(state, writer)) == 0
    }

    fn sources(state: &State, writer: &Writer) -> Index {
        let own = state.contents(writer.own);
        writer.seen.and(own).and(state.located())
    }

    pub(crate) fn put_copies(&self, state: &mut State, number: usize) -> Option<()> {
        let writer = state.writers[number];
        let pack = state.put(self.config.room, writer.todo, false)?;
        let own = writer.own | pack;
        let needs = self.config.snapshots[number + 1];
        let relied = state.closure(needs, writer.seen.and(state.contents(own)));
        state.writers[number] = Writer {
            phase: Phase::Ready,
            todo: 0,
            seen: writer.seen.only(relied),
            own,
            ..writer
        };
        Some(())
    }
}
