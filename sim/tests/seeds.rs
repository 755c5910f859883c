//! Many seeds: whatever the weather, the laws hold (see `sim::seeded::checkers`). `cargo xtask sim` runs more, faster built.

use sim::seeded::{Bug, Law, Outcome, Plan, Violation, run};

fn must_hold(plan: &Plan) -> Outcome {
    run(plan).unwrap_or_else(|violation| panic!("{violation}"))
}

#[test]
fn the_laws_hold_in_any_weather() {
    let mut total = Outcome::default();
    for seed in 0..48 {
        total.add(&must_hold(&Plan::from_seed(seed)));
    }
    // The weather was bad enough to mean something.
    assert_eq!(total.launched, total.finished);
    assert!(
        total.launched > 5_000
            && total.agent_restarts > 100
            && total.elections > 100
            && total.conversions > 1_000,
        "too fine a day: {total:?}"
    );
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 12, 50] {
        let plan = Plan { digests_trace: true, ..Plan::from_seed(seed) };
        let outcome = must_hold(&plan);
        assert_eq!(outcome, must_hold(&plan));
        assert_ne!(outcome.digest, must_hold(&Plan { seed: seed + 1, ..plan }).digest);
    }
}

#[test]
fn a_violation_says_how_to_see_it_again() {
    let violation = found(Bug::LaunchedTwice, Law::RunsOnce);
    let text = violation.to_string();
    assert!(text.ends_with(&format!("cargo xtask sim --seed {} --trace", violation.seed)), "{text}");
}

/// The first seed in which the mistake breaks that law. (It may break another one first, in its consequence.)
fn found(bug: Bug, law: Law) -> Violation {
    let violation = (0..90).find_map(|seed| {
        let plan = Plan { bug: Some(bug), ..Plan::from_seed(seed) };
        run(&plan).err().filter(|violation| violation.breach.law == law)
    });
    *violation.unwrap_or_else(|| panic!("{bug:?} is not found"))
}

#[test]
fn an_agent_that_counts_twice_is_seen_to_be_given_away_twice() {
    found(Bug::DoubledAgents, Law::Conservation);
}

#[test]
fn an_agent_that_never_hears_of_reservations_is_seen_to_have_something_else_than_its_master_thinks() {
    found(Bug::TotalsUntold, Law::Conservation);
}

#[test]
fn a_quota_that_nobody_keeps_is_seen() {
    found(Bug::QuotaUntold, Law::Quota);
}

#[test]
fn a_leader_that_does_not_look_at_its_lease_is_seen_beside_the_next() {
    found(Bug::LeaseIgnored, Law::OneLeader);
}

#[test]
fn an_agent_that_is_registered_before_that_is_durable_is_seen_to_be_forgotten() {
    found(Bug::RegistryLies, Law::NoAgentForgotten);
}

#[test]
fn updates_that_are_safe_only_in_memory_are_seen_to_be_lost() {
    found(Bug::DiskLies, Law::UpdatesAtLeastOnce);
}

#[test]
fn updates_that_overtake_each_other_are_seen() {
    found(Bug::UpdatesReordered, Law::UpdatesInOrder);
}

#[test]
fn tasks_that_a_returning_agent_does_not_name_are_seen_to_be_given_up_though_they_run() {
    found(Bug::TasksUnnamed, Law::NotLost);
}

#[test]
fn an_end_that_is_never_told_is_seen() {
    found(Bug::EndsWithheld, Law::EveryTaskEnds);
}
