//! A firm container's figures over the last moments: the counts of some looks, and what came between them.

use super::{Cause, Firm, MS, Targets};
use model::id::ContainerId;
use model::latency::Latency;
use model::time::Time;
use std::collections::VecDeque;

/// How far back is looked, nanoseconds: long enough for a few waits, short enough to be news.
pub(super) const WINDOW_NS: u64 = 100 * MS;

/// A single long wait is an accident of scheduling, and no breach.
const WAITS_OVER_MIN: u64 = 2;

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Time,
    waits: Option<Latency>,
    stalled_ns: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Window {
    /// Oldest first.
    seen: VecDeque<Seen>,
}

impl Window {
    pub(super) fn add(&mut self, now: Time, firm: &Firm) {
        // A count that is lower than it was is another one's: nothing can be said of the time between.
        let stepped_back =
            |last: &Seen| last.stalled_ns.zip(firm.stalled_ns).is_some_and(|(last, now)| now < last);
        if self.seen.back().is_some_and(stepped_back) {
            self.seen.clear();
        }
        // One that is as old as the window stays: it is where the window begins.
        let is_old = |seen: Option<&Seen>| seen.is_some_and(|it| now.0.saturating_sub(it.at.0) >= WINDOW_NS);
        while is_old(self.seen.get(1)) {
            self.seen.pop_front();
        }
        self.seen.push_back(Seen { at: now, waits: firm.waits, stalled_ns: firm.stalled_ns });
    }

    /// The target that is missed most since `since`, if one is: what was before the last step says nothing of it.
    pub(super) fn cause(&self, id: &ContainerId, since: Time, targets: &Targets) -> Option<Cause> {
        let last = self.seen.back()?;
        let first = self.seen.iter().find(|seen| seen.at >= since)?;
        let passed_ns = last.at.0.saturating_sub(first.at.0);
        if passed_ns == 0 {
            return None;
        }
        let waits = || {
            let target_ns = targets.wait_p99_ns?;
            let waits = last.waits?.since(&first.waits?);
            let over: u64 = waits.buckets[Latency::bucket(target_ns)..].iter().sum();
            let p99_ns = waits.quantile_ns(990)?;
            let container_id = id.clone();
            (p99_ns > target_ns && over >= WAITS_OVER_MIN).then_some(Cause::Waits {
                container_id,
                p99_ns,
                target_ns,
            })
        };
        let pressure = || {
            let target_permille = targets.pressure_permille?;
            let stalled_ns = last.stalled_ns?.saturating_sub(first.stalled_ns?);
            let permille = (stalled_ns.saturating_mul(1000) / passed_ns).min(1000);
            let container_id = id.clone();
            (permille > target_permille).then_some(Cause::Pressure {
                container_id,
                permille,
                target_permille,
            })
        };
        [waits(), pressure()].into_iter().flatten().max_by_key(Cause::severity_permille)
    }
}
