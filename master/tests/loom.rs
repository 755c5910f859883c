//! The allocator's lock-free modules, compiled against loom: their own tests run in every interleaving of their threads
//! that the memory model allows.

#[path = "../src/allocator/bell.rs"]
mod bell;
#[path = "../src/allocator/ring.rs"]
mod ring;

/// What `allocator/sync.rs` is to the same modules natively.
mod sync {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::sync::Arc;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
    pub(super) use loom::thread::{self, Thread};

    /// Every interleaving in which threads are interrupted no more often than this; Musuvathi and Qadeer (PLDI 2007)
    /// found that bugs show with two. Without a bound the bell alone would take hours.
    const INTERRUPTIONS_MAX: usize = 4;

    pub(super) fn model(test: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(INTERRUPTIONS_MAX);
        builder.check(test);
    }

    /// Enough that a ring of two or four places is filled and used again, few enough to try every order.
    pub(super) const ROUND_COUNT: usize = 3;
}
