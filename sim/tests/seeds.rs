//! Many seeds: whatever the weather, the laws hold (see `sim::seeded::laws`).

use sim::seeded::{Outcome, Plan, run};

#[test]
fn the_laws_hold_in_any_weather() {
    let mut total = Outcome::default();
    for seed in 0..120 {
        let outcome = run(&Plan::from_seed(seed));
        total.faults += outcome.faults;
        total.launched += outcome.launched;
        total.finished += outcome.finished;
        total.agent_restarts += outcome.agent_restarts;
    }
    // The weather was bad enough to mean something.
    assert_eq!(total.launched, total.finished);
    assert!(total.launched > 10_000 && total.agent_restarts > 100, "{total:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 77] {
        assert_eq!(run(&Plan::from_seed(seed)), run(&Plan::from_seed(seed)));
    }
}
