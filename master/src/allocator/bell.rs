//! Waking a thread that may be about to sleep, without a lock and without a system call when it is awake. Compiled
//! against loom too (`master/tests/loom.rs`).
//!
//! The sleeper arms the bell, looks once more whether there is work, and only then parks. The other side publishes work
//! and then rings. One of the two sees the other's mark, because a sequentially consistent fence stands between the
//! write and the read on both sides.

use super::sync::{AtomicBool, Ordering, Thread, fence};

#[derive(Debug)]
pub(super) struct Bell {
    /// Set by the sleeper before it looks a last time; cleared by whoever wakes it, or by itself. Written by swaps only:
    /// loom does not order a plain store after a swap that it has not seen. Orders nothing by itself, the fences do.
    is_armed: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self { is_armed: AtomicBool::new(false) }
    }

    /// The sleeper: from here on [`Self::ring`] unparks. Look for work once more before parking.
    pub(super) fn arm(&self) {
        self.is_armed.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The sleeper: awake again.
    pub(super) fn disarm(&self) {
        self.is_armed.swap(false, Ordering::Relaxed);
    }

    /// The other side, after publishing what there is to do.
    pub(super) fn ring(&self, sleeper: &Thread) {
        fence(Ordering::SeqCst);
        if self.is_armed.load(Ordering::Relaxed) && self.is_armed.swap(false, Ordering::Relaxed) {
            sleeper.unpark();
        }
    }
}

/// Natively these hammer it; under loom (`master/tests/loom.rs`) every interleaving is tried, and a sleeper that nobody
/// wakes is a deadlock, which loom reports.
#[cfg(test)]
mod tests {
    use super::super::ring::ring;
    use super::super::sync::{Arc, ROUND_COUNT, model, thread};
    use super::*;

    #[test]
    fn nobody_sleeps_while_there_is_work() {
        model(|| {
            let (mut producer, mut consumer) = ring(4);
            let bell = Arc::new(Bell::new());
            let sleepers_bell = bell.clone();
            let sleeper = thread::spawn(move || {
                let mut seen = 0;
                while seen < ROUND_COUNT {
                    if consumer.pop().is_some() {
                        seen += 1;
                        continue;
                    }
                    sleepers_bell.arm();
                    if consumer.is_empty() {
                        thread::park();
                    }
                    sleepers_bell.disarm();
                }
            });
            for _ in 0..ROUND_COUNT {
                while producer.push(()).is_err() {
                    thread::yield_now();
                }
                bell.ring(sleeper.thread());
            }
            sleeper.join().expect("the sleeper sees everything");
        });
    }
}
