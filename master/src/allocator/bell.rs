//! Waking a thread that may be about to sleep, without a lock and without a system call when it is awake. Compiled
//! against loom too (`master/tests/loom.rs`).
//!
//! The sleeper arms the bell, looks once more whether there is work, and only then parks. The other side publishes work
//! and then rings. One of the two sees the other's mark, because a sequentially consistent fence stands between the
//! write and the read on both sides.

use super::sync::{AtomicBool, Ordering, Thread, fence};

#[derive(Debug)]
pub(super) struct Bell {
    /// Set by the sleeper before it looks a last time; cleared by whoever wakes it, or by itself.
    is_armed: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> Self {
        Self { is_armed: AtomicBool::new(false) }
    }

    /// The sleeper: from here on [`Self::ring`] unparks. Look for work once more before parking.
    pub(super) fn arm(&self) {
        self.is_armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The sleeper: awake again.
    pub(super) fn disarm(&self) {
        self.is_armed.store(false, Ordering::Relaxed);
    }

    /// The other side, after publishing what there is to do.
    pub(super) fn ring(&self, sleeper: &Thread) {
        fence(Ordering::SeqCst);
        if self.is_armed.load(Ordering::Relaxed) && self.is_armed.swap(false, Ordering::Relaxed) {
            sleeper.unpark();
        }
    }
}
