//! How long to wait before trying again. Decides only; the waiting is done by who asked.

use std::time::Duration;

/// Doubles from a fifth of a second to the longest, each up to a quarter shorter by chance, so that many clients of one
/// failed daemon do not return in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    max: Duration,
    tries: u32,
}

const FIRST: Duration = Duration::from_millis(200);
/// The longest wait where nobody asks for another.
pub(crate) const MAX: Duration = Duration::from_secs(5);

impl Backoff {
    pub(crate) fn up_to(max: Duration) -> Self {
        Self { max, tries: 0 }
    }

    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }

    pub(crate) fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.tries.min(10)).min(self.max);
        self.tries += 1;
        full - full.mul_f64(fastrand::f64() / 4.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_start_anew_after_success() {
        let mut backoff = Backoff::up_to(MAX);
        let waits: Vec<Duration> = (0..100).map(|_| backoff.next()).collect();
        assert!(waits[0] <= FIRST && waits[0] >= FIRST * 3 / 4);
        assert!(waits.iter().all(|wait| *wait <= MAX));
        assert!(waits[99] >= MAX * 3 / 4);
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
