//! The protocol holds in every state, and loses data without any one of its rules.

#![expect(
    clippy::print_stdout,
    reason = "the figures and the losses are for whoever reads the run"
)]

use repo_model::{BASE, Config, DELTA, OTHER, Protocol, Rule};
use stateright::{Checker, Expectation, HasDiscoveries, Model};

const LOSS: &str = "nothing is lost";

/// Both writers, both collectors, deltas, repacking, and crashes as everywhere.
fn everything() -> Config {
    Config {
        writers: 2,
        again: false,
        collectors: 2,
        packs: vec![(BASE | OTHER, false)],
        one_index: true,
        snapshots: [BASE | OTHER, DELTA, BASE],
        deltas: true,
        repack: true,
        list_late: false,
        room: 6,
    }
}

/// A delta is there at first, in a pack that another snapshot keeps when its base goes.
fn stored_delta() -> Config {
    Config {
        packs: vec![(BASE, false), (DELTA | OTHER, true)],
        one_index: false,
        snapshots: [DELTA | OTHER, OTHER, DELTA],
        room: 7,
        ..everything()
    }
}

/// Packs are listed some time after the state was read.
fn late_listing() -> Config {
    Config {
        collectors: 1,
        list_late: true,
        ..everything()
    }
}

/// A writer that begins again and again, and two collectors that list late.
fn again() -> Config {
    Config {
        writers: 1,
        again: true,
        list_late: true,
        ..everything()
    }
}

/// A dead pack and a live one under one index object: collecting is rewriting.
fn to_rewrite() -> Config {
    Config {
        packs: vec![(BASE, false), (OTHER, false)],
        snapshots: [OTHER, BASE, OTHER],
        ..everything()
    }
}

/// Walks all states. There are `states` of them, each is good, and each landmark is among them
/// when `landmarks` says that all are.
fn holds(config: Config, states: usize, landmarks: bool) {
    let checker = Protocol::new(config)
        .checker()
        .threads(2)
        .spawn_bfs()
        .join();
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        let path = found.map(stateright::Path::into_actions);
        if matches!(property.expectation, Expectation::Always) {
            assert!(path.is_none(), "not always: {}: {path:#?}", property.name);
        } else if landmarks {
            assert!(path.is_some(), "never: {}", property.name);
        }
    }
    println!(
        "{} states, {} steps, depth {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth()
    );
    assert_eq!(checker.unique_state_count(), states);
}

/// Without the rule data is lost.
fn loses(config: Config, rule: Rule) {
    let checker = Protocol::without(config, rule)
        .checker()
        .threads(2)
        .finish_when(HasDiscoveries::AllOf([LOSS].into()))
        .spawn_bfs()
        .join();
    let path = checker.discovery(LOSS).expect("a loss");
    println!("without {rule:?}: {:#?}", path.into_actions());
}

#[test]
fn two_writers_and_two_collectors_lose_nothing() {
    holds(everything(), 2_592_396, true);
}

#[test]
fn deltas_that_are_there_lose_nothing() {
    holds(stored_delta(), 832_439, false);
}

#[test]
fn late_listings_lose_nothing() {
    holds(late_listing(), 1_720_584, true);
}

#[test]
fn writers_that_begin_again_lose_nothing() {
    holds(again(), 933_249, true);
}

#[test]
fn rewriting_loses_nothing() {
    holds(to_rewrite(), 208_244, false);
}

#[test]
fn data_is_lost_without_revalidation() {
    loses(everything(), Rule::Revalidate);
}

#[test]
fn data_is_lost_when_swept_packs_are_forgotten() {
    loses(everything(), Rule::RememberCondemned);
}

#[test]
fn data_is_lost_when_own_packs_are_not_checked() {
    loses(everything(), Rule::CheckOwnPacks);
}

#[test]
fn data_is_lost_when_bases_are_not_live() {
    loses(everything(), Rule::CloseOverBases);
}

#[test]
fn data_is_lost_when_the_collector_does_not_settle_again() {
    loses(everything(), Rule::SettleAgain);
}

#[test]
fn data_is_lost_when_dead_deltas_stay_in_the_index() {
    loses(stored_delta(), Rule::DropDangling);
}

#[test]
fn data_is_lost_when_pending_indexes_are_deleted() {
    loses(to_rewrite(), Rule::RemoveBeforeDelete);
}

#[test]
fn data_is_lost_when_packs_are_deleted_before_the_commit() {
    loses(everything(), Rule::CommitBeforeSweep);
}
