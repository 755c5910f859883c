//! How long a leader may act. ZooKeeper ends a session that it has not heard of for the session's time-out, and lets
//! another lead; the old leader may be stopped, swapped out or cut off, and not know. So it acts only as long as its last
//! proof of life allows: from when it *asked*, not from when it was answered.

#![expect(
    clippy::disallowed_methods,
    reason = "a lease is a promise about real time, looked at by the thread that acts"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Of the session's time-out, this much may pass after the last proof: as numerator and denominator. A server of the
/// ensemble tells its leader of sessions it has heard of only every half tick (1 s at the usual 2 s), and one that
/// dies takes with it what it has not told; a third of the time-out is more than that for any time-out that ZooKeeper
/// allows (at least two ticks).
const SHARE: (u32, u32) = (2, 3);

/// When a lease ends whose last proof was asked for at that moment of any clock; all in nanoseconds.
pub fn end_ns(asked_ns: u64, session_timeout_ns: u64) -> u64 {
    let (numerator, denominator) = SHARE;
    asked_ns.saturating_add(session_timeout_ns / u64::from(denominator) * u64::from(numerator))
}

/// A permission to act, until it ends. Clones are the same one.
///
/// `until_ns` is written by the thread that proves we live, and read by those that act. Both are relaxed: the value
/// stands for itself, and one that is read late is only shorter than it could be.
#[derive(Clone, Debug)]
pub struct Lease {
    start: Instant,
    until_ns: Arc<AtomicU64>,
}

impl Lease {
    /// One that has not begun.
    pub fn none() -> Self {
        Self { start: Instant::now(), until_ns: Arc::new(AtomicU64::new(0)) }
    }

    /// One that never ends: of a master that has nobody beside it.
    pub fn forever() -> Self {
        Self { start: Instant::now(), until_ns: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// Whether one may act, now.
    pub fn holds(&self) -> bool {
        match self.until_ns.load(Ordering::Relaxed) {
            u64::MAX => true,
            until => ns(self.start.elapsed()) < until,
        }
    }

    /// What was asked at that moment was answered: the session lives.
    pub fn prove(&self, asked: Instant, session_timeout: Duration) {
        let end = end_ns(ns(asked.duration_since(self.start)), ns(session_timeout));
        self.until_ns.fetch_max(end, Ordering::Relaxed);
    }

    /// When it ends, as things are.
    pub fn end(&self) -> Instant {
        self.start + Duration::from_nanos(self.until_ns.load(Ordering::Relaxed).min(u64::MAX / 4))
    }
}

fn ns(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_before_its_session_can() {
        let lease = Lease::none();
        assert!(!lease.holds() && Lease::forever().holds());
        let now = Instant::now();
        lease.prove(now, Duration::from_secs(30));
        assert!(lease.holds());
        assert!(lease.end() <= now + Duration::from_secs(21), "a third is left");
        lease.prove(now.checked_sub(Duration::from_millis(1)).unwrap_or(now), Duration::from_secs(3));
        assert!(lease.end() > now + Duration::from_secs(19), "an earlier proof shortens nothing");
    }
}
