//! What has to hold, told from outside. One file a law or two; each takes notes of what it sees happen, and says so when
//! that must not have happened. They know what the words mean, and nothing of how the cores are made.

pub mod admissions;
pub mod books;
pub mod leadership;
pub mod tasks;
pub mod updates;

use super::plan::command;
use model::time::Time;

/// The laws, as `docs/simulation.md` words them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    Conservation,
    Quota,
    OneLeader,
    NoAgentForgotten,
    UpdatesInOrder,
    UpdatesAtLeastOnce,
    RunsOnce,
    NotLost,
    EveryTaskEnds,
}

/// What happened that must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    pub law: Law,
    pub what: String,
}

pub(super) type Verdict = Result<(), Breach>;

pub(super) fn breach(law: Law, what: impl Into<String>) -> Verdict {
    Err(Breach { law, what: what.into() })
}

/// A broken law, and how to see it broken again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub seed: u64,
    pub at: Time,
    pub breach: Breach,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, at, breach: Breach { law, what } } = self;
        let seconds = at.0 as f64 / 1e9;
        write!(out, "seed {seed}: {law:?} is broken at {seconds:.6} s: {what}\nagain: {}", command(*seed))
    }
}

/// All notes that are not one leader's.
#[derive(Debug, Default)]
pub(super) struct Checkers {
    pub(super) leadership: leadership::Leadership,
    pub(super) admissions: admissions::Admissions,
    pub(super) updates: updates::Updates,
    pub(super) tasks: tasks::Tasks,
}
