//! Every operation against a store that fails, for every request it makes: what was there stays
//! whole, what was being done is done or not, and doing it again ends well.
//!
//! An operation is one entry of `scenarios`; how it is stopped and judged is in `driver`.

mod collection;
mod copies;
mod driver;
mod scenarios;

use std::sync::Arc;

use driver::Fault;

/// Crash points of all scenarios and faults together; fewer means that something is not tested.
const POINTS_MIN: u64 = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_done_or_not_wherever_it_stops() {
    let mut runs = Vec::new();
    let mut names = 0;
    for scenario in scenarios::all().await {
        names += 1;
        let scenario = Arc::new(scenario);
        assert_eq!(
            driver::observe(&scenario, &scenario.start).await,
            scenario.before
        );
        for fault in Fault::ALL {
            let scenario = Arc::clone(&scenario);
            runs.push(tokio::spawn(async move {
                let points = driver::every_request(&scenario, fault).await;
                (scenario.name, fault, points)
            }));
        }
    }
    let mut total = 0;
    for run in runs {
        let (name, fault, points) = run.await.expect("no crash point failed");
        eprintln!("{name:24} {fault:6?} {points:4}");
        // An operation that only deletes has no put to tear.
        let met = points > 0 || fault == Fault::Torn;
        assert!(met, "{name}: {fault:?} met nothing");
        total += points;
    }
    eprintln!("{total} crash points of {names} scenarios");
    assert!(total >= POINTS_MIN, "only {total} crash points");
}
