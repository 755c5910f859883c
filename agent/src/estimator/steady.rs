//! An estimate that does not flap: it falls at once, and rises only to what has held for a while.

use model::time::Time;

/// One resource's estimate as it is published.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Steady {
    shown: u64,
    /// Since when it could be more, and the least that it could have been since.
    rising: Option<(Time, u64)>,
}

impl Steady {
    /// What to publish, given what could be said now: whole steps, rounded down. A fall counts when it is more than what is
    /// published, by however little; a rise when it is a step and has held for `hold_ns`, and only as far as it has held.
    pub(super) fn next(&mut self, now: Time, could: u64, step: u64, hold_ns: u64) -> u64 {
        let could = could - could % step;
        if could <= self.shown {
            (self.shown, self.rising) = (could, None);
            return could;
        }
        let (since, least) = self.rising.unwrap_or((now, could));
        let least = least.min(could);
        if now.since_ns(since) >= hold_ns {
            (self.shown, self.rising) = (least, None);
        } else {
            self.rising = Some((since, least));
        }
        self.shown
    }
}

#[cfg(test)]
mod laws {
    use super::*;

    const HOLD_NS: u64 = 10_000_000_000;

    fn at(seconds: u64) -> Time {
        Time::from_ms(seconds * 1000)
    }

    #[test]
    fn it_falls_at_once_and_rises_to_what_has_held() {
        let mut steady = Steady::default();
        assert_eq!(steady.next(at(0), 4050, 100, HOLD_NS), 0);
        assert_eq!(steady.next(at(5), 3020, 100, HOLD_NS), 0);
        assert_eq!(steady.next(at(10), 5000, 100, HOLD_NS), 3000);
        assert_eq!(steady.next(at(11), 2999, 100, HOLD_NS), 2900);
    }

    #[test]
    fn what_swings_is_published_at_its_lower_end() {
        let mut steady = Steady::default();
        let mut changes = 0;
        let mut last = 0;
        for second in 0..1000 {
            let shown = steady.next(at(second), if second % 2 == 0 { 2000 } else { 3000 }, 100, HOLD_NS);
            changes += u32::from(shown != last);
            last = shown;
        }
        assert_eq!((last, changes), (2000, 1));
    }
}
