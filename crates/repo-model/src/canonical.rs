//! One state for all that differ in names only.
//!
//! Pack names are random and never used again, so what a name is does not matter: a name nobody has
//! any more is free again, packs are numbered by what is true of them, and the two collectors are put
//! in order. Nothing here changes what can happen next.

use crate::place::{Blobs, Packs, SLOTS};
use crate::state::{Collector, Life, Pack, Phase, State};

impl State {
    /// The state that stands for this one.
    pub(crate) fn canonical(mut self) -> Self {
        self.forget();
        self.live.sort_unstable();
        let [first, second] = self.collectors;
        match shape(&first).cmp(&shape(&second)) {
            std::cmp::Ordering::Less => self.numbered(),
            std::cmp::Ordering::Greater => self.swapped().numbered(),
            std::cmp::Ordering::Equal if first.phase == Phase::Idle => self.numbered(),
            std::cmp::Ordering::Equal => self.clone().numbered().min(self.swapped().numbered()),
        }
    }

    fn swapped(mut self) -> Self {
        self.collectors.swap(0, 1);
        self
    }

    /// Drops what nobody can come back to.
    fn forget(&mut self) {
        for collector in self.collectors.iter_mut().filter(|one| one.news.gc) {
            collector.give_up();
        }
        let stored = self.stored();
        let mut named = self.mentioned();
        for writer in &self.writers {
            named |= writer.own;
        }
        for collector in &self.collectors {
            named |= collector.index.packs() | collector.new;
        }
        let mut read = named;
        for writer in &mut self.writers {
            writer.seen = writer.seen.inside(stored);
            writer.condemned &= named;
            read |= writer.seen.packs();
        }
        let mut known = read | self.condemned;
        for collector in &mut self.collectors {
            collector.known &= stored;
            known |= collector.list;
        }
        for slot in 0..SLOTS {
            let pack = &mut self.packs[slot];
            match pack.life {
                Life::Deleted if known & (1 << slot) == 0 => *pack = Pack::default(),
                Life::Unused => {}
                _ if read & (1 << slot) == 0 => {
                    pack.blobs = 0;
                    pack.delta = false;
                }
                _ => {}
            }
        }
    }

    /// Numbers the packs by what is true of them. Of packs that nobody reads, and of which all else
    /// is the same, one stands for all.
    fn numbered(mut self) -> Self {
        let mut order: [(u128, usize); SLOTS] =
            std::array::from_fn(|slot| (self.facts(slot), slot));
        order.sort_unstable_by(|left, right| right.cmp(left));
        for at in 1..SLOTS {
            let (facts, slot) = order[at];
            let pack = self.packs[slot];
            if facts == order[at - 1].0 && pack.life != Life::Unused && pack.blobs == 0 {
                self.drop_name(slot);
            }
        }
        order.sort_by_key(|(_, slot)| self.packs[*slot].life == Life::Unused);
        let mut to = [0; SLOTS];
        for (new, (_, old)) in order.iter().enumerate() {
            to[*old] = new;
        }
        let packs = self.packs;
        for (slot, pack) in packs.into_iter().enumerate() {
            self.packs[to[slot]] = pack;
        }
        for index in &mut self.live {
            *index = index.renamed(&to);
        }
        self.live.sort_unstable();
        self.condemned = renamed(self.condemned, &to);
        for writer in &mut self.writers {
            writer.seen = writer.seen.renamed(&to);
            for packs in [&mut writer.own, &mut writer.bereft, &mut writer.condemned] {
                *packs = renamed(*packs, &to);
            }
        }
        for collector in &mut self.collectors {
            collector.index = collector.index.renamed(&to);
            for packs in [
                &mut collector.list,
                &mut collector.source,
                &mut collector.new,
                &mut collector.known,
            ] {
                *packs = renamed(*packs, &to);
            }
        }
        self
    }

    /// Takes a pack that nobody reads out of the state.
    fn drop_name(&mut self, slot: usize) {
        let rest = !(1 << slot);
        self.packs[slot] = Pack::default();
        self.condemned &= rest;
        for collector in &mut self.collectors {
            collector.list &= rest;
            collector.source &= rest;
            collector.known &= rest;
        }
    }

    /// All that is true of a pack, as a number; 0 for an unused name.
    fn facts(&self, slot: usize) -> u128 {
        let pack = &self.packs[slot];
        let mut facts = Facts(0);
        facts.push(match pack.life {
            Life::Unused => return 0,
            Life::Stored => 2,
            Life::Deleted => 1,
        });
        facts.push(pack.blobs);
        facts.bits(u8::from(pack.delta), 1);
        facts.has(self.condemned, slot);
        for writer in &self.writers {
            facts.has(writer.own, slot);
            facts.has(writer.bereft, slot);
            facts.has(writer.condemned, slot);
            facts.push(writer.seen.at(slot));
        }
        for collector in &self.collectors {
            facts.has(collector.list, slot);
            facts.has(collector.source, slot);
            facts.has(collector.new, slot);
            facts.has(collector.known, slot);
            facts.push(collector.index.at(slot));
        }
        let mut mentions = 0;
        let mut located = 0;
        for index in &self.live {
            let at = index.at(slot);
            mentions += u8::from(at != 0);
            located |= at;
        }
        facts.push(mentions.min(7));
        facts.push(located);
        facts.0
    }
}

impl Collector {
    /// Drops what it will not come to use: after another collector's commit it starts over, whatever
    /// it was about to commit. It may put one more pack before it notices.
    fn give_up(&mut self) {
        let source = match self.phase {
            Phase::Ready => 0,
            Phase::Packing => self.source,
            _ => return,
        };
        *self = Self {
            phase: self.phase,
            todo: self.todo,
            list: source,
            source,
            news: self.news,
            ..Self::default()
        };
    }
}

struct Facts(u128);

impl Facts {
    fn bits(&mut self, value: u8, width: u32) {
        self.0 = self.0 << width | u128::from(value);
    }

    fn push(&mut self, blobs: Blobs) {
        self.bits(blobs, 3);
    }

    fn has(&mut self, packs: Packs, slot: usize) {
        self.bits(packs >> slot & 1, 1);
    }
}

/// What of a collector does not depend on names.
fn shape(collector: &Collector) -> impl Ord + use<> {
    let entries: u32 = (0..SLOTS)
        .map(|slot| collector.index.at(slot).count_ones())
        .sum();
    (
        collector.phase,
        collector.news,
        collector.todo,
        collector.list.count_ones(),
        collector.source != 0,
        collector.new != 0,
        collector.known.count_ones(),
        entries,
        collector.index.deleted(),
    )
}

fn renamed(packs: Packs, to: &[usize; SLOTS]) -> Packs {
    (0..SLOTS)
        .filter(|slot| packs & (1 << slot) != 0)
        .fold(0, |all, slot| all | 1 << to[slot])
}
