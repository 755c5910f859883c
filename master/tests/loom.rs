//! The lock-free modules of the allocator and of the usage table, compiled against loom: the allocator's own tests, and
//! `table` below, run in every interleaving of their threads that the memory model allows.

#[path = "../src/allocator/bell.rs"]
mod bell;
#[path = "../src/usage/place.rs"]
mod place;
#[path = "../src/allocator/ring.rs"]
mod ring;
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
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(INTERRUPTIONS_MAX);
        builder.check(test);
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
