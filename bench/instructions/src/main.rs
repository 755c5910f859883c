//! The allocator's hot paths, small and alike in every run: what `cargo xtask instructions` counts under callgrind. Runs
//! the one phase it is told to, does all that comes before it, and calls [`measured`] for the phase itself. Measures nothing.
//!
//! The allocator is compiled in from its sources, so that this builds in seconds, without all else that a master has.

#[path = "../../../master/src/allocator/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is compiled for the master, which uses all of it")]
mod allocator;
mod cluster;

use allocator::event::Refusal;
use cluster::{Cluster, Roles};
use std::process::ExitCode;

const AGENT_COUNT: u32 = 1000;
const FRAMEWORK_COUNT: u32 = 200;
/// Ends with the run at the earliest.
const REFUSAL: Refusal = Refusal::For { ns: 3600 * 1_000_000_000 };

/// What is counted, by name.
const PHASES: &[(&str, fn())] = &[
    ("full_cycle_star", || full_cycle(Roles::Star)),
    ("full_cycle_one_each", || full_cycle(Roles::OneEach)),
    ("full_cycle_tree_quota", || full_cycle(Roles::TreeWithQuota)),
    ("decline_all", decline_all),
    ("cycle_all_filtered", cycle_all_filtered),
    ("churn_star", || churn(Roles::Star)),
    ("churn_tree_quota", || churn(Roles::TreeWithQuota)),
    ("add_frameworks", add_frameworks),
    ("add_agents_used", add_agents_used),
];

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    match PHASES.iter().find(|(known, _)| *known == name) {
        Some((_, run)) => run(),
        None if name == "--list" => PHASES.iter().for_each(|(name, _)| println!("{name}")),
        None => {
            eprintln!("instructions PHASE, or --list");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Callgrind counts what happens in here, and finds it by its name.
#[inline(never)]
fn measured(work: impl FnOnce()) {
    work();
    // Something after the call, so that it does not become a jump and this function's end is seen.
    std::hint::black_box(());
}

/// Everything is free, and everybody wants it.
fn full_cycle(roles: Roles) {
    let mut cluster = Cluster::new(roles);
    cluster.add_agents(AGENT_COUNT);
    cluster.add_frameworks(FRAMEWORK_COUNT, true);
    measured(|| cluster.revive_all());
    assert_eq!(cluster.held_count(), AGENT_COUNT as usize);
}

/// Everything is declined with a filter, and offered to others.
fn decline_all() {
    let mut cluster = Cluster::full(Roles::Star, AGENT_COUNT, FRAMEWORK_COUNT);
    measured(|| cluster.release_all(REFUSAL));
    assert_eq!(cluster.held_count(), AGENT_COUNT as usize);
}

/// Everybody refuses everything, and is asked.
fn cycle_all_filtered() {
    let mut cluster = Cluster::new(Roles::Star);
    cluster.add_agents(AGENT_COUNT);
    for _ in 0..FRAMEWORK_COUNT {
        cluster.add_frameworks(1, false);
        cluster.release_all(REFUSAL);
    }
    measured(|| cluster.cycle());
    assert_eq!(cluster.held_count(), 0);
}

/// Something comes back and is offered again, one event at a time.
fn churn(roles: Roles) {
    let mut cluster = Cluster::full(roles, AGENT_COUNT, FRAMEWORK_COUNT);
    measured(|| (0..2 * AGENT_COUNT).for_each(|_| cluster.release_one(Refusal::None)));
    assert_eq!(cluster.held_count(), AGENT_COUNT as usize);
}

fn add_frameworks() {
    let mut cluster = Cluster::new(Roles::OneEach);
    cluster.add_agents(AGENT_COUNT);
    measured(|| cluster.add_frameworks(FRAMEWORK_COUNT, true));
}

/// Agents come with two thirds in use and their ports in pieces, while everybody waits.
fn add_agents_used() {
    let mut cluster = Cluster::new(Roles::Star);
    cluster.add_frameworks(FRAMEWORK_COUNT, false);
    measured(|| cluster.add_used_agents(AGENT_COUNT));
    assert_eq!(cluster.held_count(), AGENT_COUNT as usize);
}
