//! What the lock-free modules use of the standard library, under one name: `master/tests/loom.rs` compiles the same
//! modules against loom's.

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
pub(super) use std::thread::Thread;

/// As [`std::cell::UnsafeCell`], with loom's way to get at the pointer, so that loom sees each access begin and end.
#[derive(Debug)]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    pub(super) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    pub(super) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

/// Bugs that the tests under loom seed, to show that they would be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seed {
    /// A limit is checked, and what is given is added afterwards.
    CheckThenAdd,
    /// What was charged before an ancestor refused stays charged.
    NoRollback,
    /// A quota is held against what some workers have given, before all have said.
    OpenAtOnce,
    /// Others are believed before everything is heard that they had heard.
    BelieveAtOnce,
    /// What comes back is given to another worker than the agent's.
    WrongWorker,
    /// What is put into a ring is shown before it is there.
    EarlyTail,
}

/// None is, but where a test under loom says so.
pub(super) const fn is_seeded(_: Seed) -> bool {
    false
}

#[cfg(test)]
pub(super) use std::thread;

/// How often the tests of these modules do what they do; under loom, where each interleaving is a run, few times.
#[cfg(test)]
pub(super) const ROUND_COUNT: usize = if cfg!(miri) { 200 } else { 100_000 };

/// Runs a test; under loom, in every interleaving of its threads.
#[cfg(test)]
pub(super) fn model(test: impl Fn()) {
    test();
}
