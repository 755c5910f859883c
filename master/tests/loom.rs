//! The allocator and the usage table, compiled against loom: the allocator's own tests, its laws (`loom/laws.rs`), and
//! `table` below, run in every interleaving of their threads that the memory model allows.

/// The allocator but for its threads.
#[expect(dead_code, unreachable_pub, reason = "much of it is for the master, and no test here needs it")]
mod allocator {
    #[path = "../../src/allocator/account.rs"]
    mod account;
    #[path = "../../src/allocator/agents.rs"]
    mod agents;
    #[path = "../../src/allocator/barred.rs"]
    mod barred;
    #[path = "../../src/allocator/bell.rs"]
    mod bell;
    #[path = "../../src/allocator/bits.rs"]
    mod bits;
    #[path = "../../src/allocator/claimant.rs"]
    mod claimant;
    #[path = "../../src/allocator/column.rs"]
    mod column;
    #[path = "../../src/allocator/constraints.rs"]
    pub(crate) mod constraints;
    #[path = "../../src/allocator/core.rs"]
    pub(crate) mod core;
    #[path = "../../src/allocator/crew.rs"]
    pub(crate) mod crew;
    #[path = "../../src/allocator/cycle.rs"]
    mod cycle;
    #[path = "../../src/allocator/event.rs"]
    pub(crate) mod event;
    #[path = "../../src/allocator/filter.rs"]
    mod filter;
    #[path = "../../src/allocator/frameworks.rs"]
    mod frameworks;
    #[path = "../../src/allocator/invariant.rs"]
    mod invariant;
    #[path = "../../src/allocator/key.rs"]
    pub(crate) mod key;
    #[path = "../../src/allocator/mates.rs"]
    mod mates;
    #[path = "../../src/allocator/options.rs"]
    pub(crate) mod options;
    #[path = "../../src/allocator/order.rs"]
    mod order;
    #[path = "../../src/allocator/parcel.rs"]
    mod parcel;
    #[path = "../../src/allocator/pattern.rs"]
    pub(crate) mod pattern;
    #[path = "../../src/allocator/policy/mod.rs"]
    mod policy;
    #[path = "../../src/allocator/quantities.rs"]
    mod quantities;
    #[path = "../../src/allocator/quota.rs"]
    mod quota;
    #[path = "../../src/allocator/ring.rs"]
    pub(crate) mod ring;
    #[path = "../../src/allocator/role_tree.rs"]
    mod role_tree;
    #[path = "../../src/allocator/seats.rs"]
    mod seats;
    #[path = "../../src/allocator/shapes.rs"]
    mod shapes;
    #[path = "../../src/allocator/share.rs"]
    mod share;
    #[path = "../../src/allocator/slice.rs"]
    mod slice;
    #[path = "../../src/allocator/slot.rs"]
    mod slot;
    #[path = "../../src/allocator/tree_invariant.rs"]
    mod tree_invariant;

    #[cfg(test)]
    #[path = "../loom/laws.rs"]
    mod laws;

    use super::sync;
}

#[path = "../src/usage/place.rs"]
mod place;
#[path = "../src/usage/version.rs"]
mod version;

/// What `allocator/sync.rs` is to the same modules natively.
mod sync {
    pub(super) use loom::cell::UnsafeCell;
    pub(super) use loom::sync::Arc;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
    pub(super) use loom::thread::{self, Thread, yield_now};

    /// Every interleaving in which threads are interrupted no more often than this; Musuvathi and Qadeer (PLDI 2007)
    /// found that bugs show with two. Without a bound the bell alone would take hours.
    const INTERRUPTIONS_MAX: usize = 4;

    pub(super) fn model(test: impl Fn() + Send + Sync + 'static) {
        few_interruptions(INTERRUPTIONS_MAX, test);
    }

    /// Likewise with so many at most, where there is more to interrupt.
    pub(super) fn few_interruptions(max: usize, test: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(max);
        builder.max_branches = 10_000;
        let test = std::sync::Arc::new(test);
        builder.check(move || {
            let test = test.clone();
            spawn(move || test()).join().expect("a test that fails has said why");
        });
    }

    /// A thread with room for the whole allocator on its stack, where loom's have 32 KiB.
    pub(super) fn spawn<T: Send + 'static>(
        run: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        const STACK_WORDS: usize = 1 << 16;
        thread::Builder::new().stack_size(STACK_WORDS).spawn(run).expect("loom has room for five threads")
    }

    /// As in `allocator/sync.rs`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Seed {
        CheckThenAdd,
        NoRollback,
        OpenAtOnce,
        BelieveAtOnce,
        WrongWorker,
        EarlyTail,
    }

    thread_local! {
        /// Loom runs the threads of a test on the one that called it.
        static SEEDED: std::cell::Cell<Option<Seed>> = const { std::cell::Cell::new(None) };
    }

    pub(super) fn is_seeded(seed: Seed) -> bool {
        SEEDED.get() == Some(seed)
    }

    /// Whether the test fails with that bug in the code.
    pub(super) fn is_found(seed: Seed, test: impl Fn() + std::panic::UnwindSafe) -> bool {
        SEEDED.set(Some(seed));
        let result = std::panic::catch_unwind(test);
        SEEDED.set(None);
        result.is_err()
    }

    /// Enough that a ring of two or four places is filled and used again, few enough to try every order.
    pub(super) const ROUND_COUNT: usize = 3;
}

/// A row of the usage table that moves while it is read, at the size that loom can bear: places of two words.
#[cfg(test)]
mod table {
    use super::place::find;
    use super::sync::{Arc, AtomicU64, Ordering, model, thread};
    use super::version::Version;

    struct Place {
        version: Version,
        owner: AtomicU64,
        words: [AtomicU64; 2],
    }

    impl Place {
        fn new() -> Self {
            let cell = || AtomicU64::new(0);
            Self { version: Version::default(), owner: cell(), words: [cell(), cell()] }
        }

        fn write(&self, owner: u64, word: u64) {
            self.version.write(|| {
                self.owner.store(owner, Ordering::Relaxed);
                self.words.iter().for_each(|cell| cell.store(word, Ordering::Relaxed));
            });
        }

        fn read(&self, owner: u64) -> Option<[u64; 2]> {
            self.version.read(|| {
                let words = [0, 1].map(|at: usize| self.words[at].load(Ordering::Relaxed));
                (self.owner.load(Ordering::Relaxed) == owner).then_some(words)
            })
        }
    }

    #[test]
    fn a_row_that_moves_is_always_somewhere_and_whole() {
        model(|| {
            let places = Arc::new([Place::new(), Place::new()]);
            let place = Arc::new(AtomicU64::new(0));
            places[0].write(1, 10);
            let writer = {
                let (places, place) = (Arc::clone(&places), Arc::clone(&place));
                thread::spawn(move || {
                    places[1].write(1, 11);
                    place.store(1, Ordering::Release);
                    // Its old place is another's.
                    places[0].write(2, 20);
                })
            };
            let seen = find(&place, |at| places[at as usize].read(1));
            assert!(matches!(seen, Some([10, 10] | [11, 11])), "{seen:?}");
            writer.join().expect("written");
            assert_eq!(find(&place, |at| places[at as usize].read(1)), Some([11, 11]));
        });
    }
}
