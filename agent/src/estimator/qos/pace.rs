//! How fast lent containers are held tighter, and how slowly they are let go: fast down, slow up, and slower after each
//! relapse.

use super::MS;
use super::window::WINDOW_NS;
use model::time::Time;

/// Of the CPU time that it was lent, what a container has on each rung, in thousandths.
pub const SHARES_PERMILLE: [u64; 5] = [1000, 500, 250, 100, 0];

/// The last rung.
pub const FROZEN: usize = SHARES_PERMILLE.len() - 1;

/// What a step is given to show its effect before the next one: two looks.
const PATIENCE_NS: u64 = 40 * MS;

/// From here on two rungs are taken at a time: the target is missed by more than twice.
const SEVERE_PERMILLE: u64 = 2_000;

/// The calm before a step back, at first and at most. Double after a relapse: what is given back too soon is taken again
/// at once, and the container that was paid for pays each time.
const CALM_MIN_NS: u64 = 1_000 * MS;
const CALM_MAX_NS: u64 = 32_000 * MS;

#[derive(Debug)]
pub(super) struct Pace {
    rung: usize,
    /// When it came there, or killed somebody.
    since: Time,
    /// The targets hold since; `None`: they do not.
    calm_since: Option<Time>,
    /// When they last held; `None`: they were not seen to.
    held_at: Option<Time>,
    /// They were missed, and have not held since for as long as the figures reach back.
    is_breached: bool,
    calm_ns: u64,
    /// When the last step back was taken.
    gave_back: Option<Time>,
    /// When the calm that is wanted was last made shorter.
    eased: Time,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            rung: 0,
            since: Time(0),
            calm_since: None,
            held_at: None,
            is_breached: false,
            calm_ns: CALM_MIN_NS,
            gave_back: None,
            eased: Time(0),
        }
    }
}

fn passed(now: Time, since: Time) -> u64 {
    now.0.saturating_sub(since.0)
}

impl Pace {
    pub(super) const fn share_permille(&self) -> u64 {
        SHARES_PERMILLE[self.rung]
    }

    pub(super) const fn is_frozen(&self) -> bool {
        self.rung == FROZEN
    }

    pub(super) const fn since(&self) -> Time {
        self.since
    }

    pub(super) fn waited(&self, now: Time) -> u64 {
        passed(now, self.since)
    }

    pub(super) fn wait_again(&mut self, now: Time) {
        self.since = now;
    }

    /// The targets hold. True: that is long enough now, and a step back was taken.
    pub(super) fn calm(&mut self, now: Time) -> bool {
        self.held_at = Some(now);
        let calm_since = *self.calm_since.get_or_insert(now);
        if passed(now, calm_since.max(self.since).max(self.eased)) < self.calm_ns {
            return false;
        }
        if self.rung == 0 {
            // At rest, and quiet for long: it may be tried a little faster the next time.
            self.calm_ns = (self.calm_ns / 2).max(CALM_MIN_NS);
            self.eased = now;
            return false;
        }
        self.rung -= 1;
        (self.since, self.gave_back) = (now, Some(now));
        true
    }

    /// They do not. When they last did, and whether this is the first word of it: a calm that was shorter than the figures
    /// reach back is none.
    pub(super) fn missed(&mut self, now: Time) -> (Time, bool) {
        let was_calm = self.calm_since.take().is_some_and(|since| passed(now, since) >= WINDOW_NS);
        let is_first = was_calm || !self.is_breached;
        self.is_breached = true;
        let held_at = *self.held_at.get_or_insert(now);
        if self.gave_back.is_some_and(|at| passed(now, at) < self.calm_ns) {
            self.calm_ns = (self.calm_ns * 2).min(CALM_MAX_NS);
            self.gave_back = None;
        }
        (held_at, is_first)
    }

    /// A step down, or two, if there is one and the last one had its time.
    pub(super) fn tighten(&mut self, now: Time, severity_permille: u64) -> bool {
        if self.is_frozen() || (self.rung > 0 && self.waited(now) < PATIENCE_NS) {
            return false;
        }
        let steps = if severity_permille > SEVERE_PERMILLE { 2 } else { 1 };
        self.rung = (self.rung + steps).min(FROZEN);
        self.since = now;
        true
    }

    /// The one step of a ladder that has no more; from rest only.
    pub(super) fn squeeze(&mut self, now: Time) -> bool {
        let is_news = self.rung == 0;
        if is_news {
            (self.rung, self.since) = (1, now);
        }
        is_news
    }
}
