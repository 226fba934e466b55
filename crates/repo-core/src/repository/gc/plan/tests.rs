use std::collections::BTreeMap;

use proptest::prelude::*;
use repo_format::PackId;

use super::{Old, Plan, Usage};
use crate::repository::gc::{GcOptions, MaxUnused};

const PACK: u64 = 16 << 20;

fn id(number: usize) -> PackId {
    PackId([u8::try_from(number).expect("few packs"); 32])
}

fn packs(list: &[(u64, u64)]) -> BTreeMap<PackId, Usage> {
    let usage = |(size, needed): &(u64, u64)| Usage {
        size: *size,
        needed: *needed.min(size),
        segments: u64::from(*needed > 0),
        chunks: u64::from(*needed > 0),
    };
    list.iter()
        .enumerate()
        .map(|(number, pack)| (id(number), usage(pack)))
        .collect()
}

fn plan(list: &[(u64, u64)], options: &GcOptions, round: u64) -> Plan {
    Plan::new(packs(list), &Old::default(), options, PACK, round)
}

fn ids(list: &[(PackId, Usage)]) -> Vec<PackId> {
    list.iter().map(|(id, _)| *id).collect()
}

#[test]
fn dead_packs_go_and_full_ones_stay() {
    let list = [(PACK, 0), (PACK, PACK - 300), (100, 0)];
    let plan = plan(&list, &GcOptions::default(), u64::MAX);
    assert_eq!(plan.dead, [(id(0), PACK), (id(2), 100)]);
    assert_eq!(plan.repack, []);
    assert_eq!(ids(&plan.kept), [id(1)]);
    assert!(plan.unused() < 300);
}

#[test]
fn the_emptiest_are_copied_until_little_is_wasted() {
    let list = [
        (PACK, PACK / 2),
        (PACK, PACK / 10),
        (PACK, PACK * 9 / 10),
        (PACK, PACK),
    ];
    let options = |max_unused| GcOptions {
        max_unused,
        ..GcOptions::default()
    };
    let repacked = |max_unused| ids(&plan(&list, &options(max_unused), u64::MAX).repack);
    assert_eq!(repacked(MaxUnused::Unlimited), []);
    assert_eq!(repacked(MaxUnused::Bytes(PACK)), [id(1)]);
    assert_eq!(repacked(MaxUnused::Percent(5.0)), [id(1), id(0)]);
    assert_eq!(repacked(MaxUnused::Bytes(0)), [id(1), id(0), id(2)]);
}

#[test]
fn small_packs_are_merged_when_there_are_many() {
    let few = vec![(1 << 10, 900); 7];
    let many = vec![(1 << 10, 900); 8];
    let options = GcOptions {
        max_unused: MaxUnused::Unlimited,
        ..GcOptions::default()
    };
    assert_eq!(plan(&few, &options, u64::MAX).repack, []);
    assert_eq!(plan(&many, &options, u64::MAX).repack.len(), 8);
}

proptest! {
    #[test]
    fn every_pack_has_one_fate_and_limits_hold(
        list in proptest::collection::vec((1..2 * PACK, 0..2 * PACK), 0..60),
        percent in 0.0..100.0,
        budget in proptest::option::of(0..20 * PACK),
        round in 1..20 * PACK,
    ) {
        let options = GcOptions {
            max_unused: MaxUnused::Percent(percent),
            max_repack_bytes: budget,
            ..GcOptions::default()
        };
        let plan = plan(&list, &options, round);
        let mut all: Vec<PackId> = plan.dead.iter().map(|(id, _)| *id).collect();
        all.extend(ids(&plan.repack));
        all.extend(ids(&plan.kept));
        all.sort_unstable();
        let wanted: Vec<PackId> = (0..list.len()).map(id).collect();
        prop_assert_eq!(all, wanted);
        prop_assert!(plan.kept.iter().chain(&plan.repack).all(|(_, usage)| usage.needed > 0));
        let copied: u64 = plan.repack.iter().map(|(_, usage)| usage.needed).sum();
        prop_assert!(budget.is_none_or(|budget| copied <= budget));
        prop_assert!(copied <= round || plan.repack.len() == 1);
        // A round that could not do all says so.
        if budget.is_none() && !plan.more {
            let total: u64 = plan.kept.iter().map(|(_, usage)| usage.size).sum();
            let repacked: u64 = plan.repack.iter().map(|(_, usage)| usage.size).sum();
            let allowed = (total + repacked) as f64 * percent / 100.0;
            prop_assert!(plan.unused() as f64 <= allowed + 1.0);
        }
    }
}
