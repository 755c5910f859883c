//! Refusals: what claimants do not want to be offered of one agent, and until when.
//!
//! A refusal covers the resources refused and anything contained in them; as soon as the agent has more than that free,
//! it is offered again (Mesos: a refusal does not outlive the resources growing past it). A *pass* is the refusal of
//! somebody who declined for no time at all. It holds until nobody else is left who might want the resources, and then
//! a pause longer ([`ROUND_PAUSE_NS`]), and never longer than [`PASS_NS_MAX`].

use super::claimant::{ClaimantId, Claimants};
use super::parcel::Parcel;
use model::time::Time;
use std::sync::Arc;

/// Between everybody having passed and everybody being asked again, nanoseconds. So much later a framework that is
/// alone sees what it declined with `refuse_seconds` 0, and so often at most.
pub(super) const ROUND_PAUSE_NS: u64 = 10_000_000;

/// Longest that a pass holds, nanoseconds: Mesos' allocation interval.
pub(super) const PASS_NS_MAX: u64 = 1_000_000_000;

/// Offers made because somebody passed are so far apart, nanoseconds: a bound on the work that frameworks can cause by
/// handing resources round without using them.
pub(super) const PASS_PACE_NS: u64 = 50_000;

/// Longest refusal, nanoseconds: 365 days, as in Mesos.
pub(super) const REFUSAL_NS_MAX: u64 = 365 * 24 * 3600 * 1_000_000_000;

#[derive(Debug)]
struct Refused {
    claimant: ClaimantId,
    /// Void unless it is the claimant's current one.
    epoch: u32,
    is_pass: bool,
    until: Time,
    /// Shared among those who refused the same, as most do.
    what: Arc<Parcel>,
}

/// Of one agent.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// By claimant; of one claimant in the order they came.
    all: Vec<Refused>,
    pass_count: u32,
    /// Not later than the first `until`; earlier when that refusal has gone before its time.
    earliest: Option<Time>,
    /// When all passes end, since there was nobody else to ask.
    round_end: Option<Time>,
    /// When to offer what was passed on to the next.
    due: Option<Time>,
}

/// Refusals of all agents together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RefusalCounts {
    /// Those that count.
    pub(super) live: usize,
    /// Of past epochs, not yet cleared away.
    pub(super) void: usize,
}

impl Refusals {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether that claimant refuses `free` now.
    pub(super) fn refuse(&self, claimant: ClaimantId, epoch: u32, free: &Parcel, now: Time) -> bool {
        let from = self.all.partition_point(|refused| refused.claimant < claimant);
        let of_claimant = self.all[from..].iter().take_while(|refused| refused.claimant == claimant);
        of_claimant
            .into_iter()
            .any(|refused| refused.epoch == epoch && refused.until > now && refused.what.contains(free))
    }

    /// Notes a refusal, and drops those of the same claimant that say no more than it, or are void.
    pub(super) fn add(
        &mut self,
        claimants: &mut Claimants,
        counts: &mut RefusalCounts,
        id: ClaimantId,
        what: Parcel,
        (until, is_pass): (Time, bool),
    ) {
        self.drop_implied(claimants, counts, id, &what, (until, is_pass));
        let what = match self.all.first().filter(|first| *first.what == what) {
            Some(first) => first.what.clone(),
            None => Arc::new(what),
        };
        let claimant = &mut claimants[id];
        let at = self.all.partition_point(|refused| refused.claimant <= id);
        let refused = Refused { claimant: id, epoch: claimant.refusal_epoch, is_pass, until, what };
        self.all.insert(at, refused);
        claimant.refusal_count += 1;
        counts.live += 1;
        self.pass_count += u32::from(is_pass);
        self.earliest = Some(self.earliest.map_or(until, |earliest| earliest.min(until)));
    }

    /// Drops those of the claimant's refusals that say no more than the one described, and its void ones.
    fn drop_implied(
        &mut self,
        claimants: &mut Claimants,
        counts: &mut RefusalCounts,
        id: ClaimantId,
        what: &Parcel,
        (until, is_pass): (Time, bool),
    ) {
        let mut at = self.all.partition_point(|refused| refused.claimant < id);
        while let Some(old) = self.all.get(at).filter(|old| old.claimant == id) {
            let is_void = old.epoch != claimants[id].refusal_epoch;
            let says_more = old.until > until || is_pass && !old.is_pass || !what.contains(&old.what);
            if says_more && !is_void {
                at += 1;
                continue;
            }
            let old = self.all.remove(at);
            self.pass_count -= u32::from(old.is_pass);
            note_dropped(claimants, counts, &old);
        }
    }

    /// Drops what has come to its end by `now`, and adds whose it was to `woken`.
    pub(super) fn expire(
        &mut self,
        claimants: &mut Claimants,
        counts: &mut RefusalCounts,
        now: Time,
        woken: &mut Vec<ClaimantId>,
    ) {
        let is_round_over = self.round_end.is_some_and(|end| end <= now);
        self.retain(claimants, counts, |refused, is_void| {
            let is_over = refused.until <= now || is_round_over && refused.is_pass;
            if is_over && !is_void {
                woken.push(refused.claimant);
            }
            !is_over && !is_void
        });
        if is_round_over {
            self.round_end = None;
        }
        self.earliest = self.all.iter().map(|refused| refused.until).min();
    }

    /// Drops what is void.
    pub(super) fn sweep(&mut self, claimants: &mut Claimants, counts: &mut RefusalCounts) {
        self.retain(claimants, counts, |_, is_void| !is_void);
    }

    /// Drops everything: the agent is gone.
    pub(super) fn clear(&mut self, claimants: &mut Claimants, counts: &mut RefusalCounts) {
        self.retain(claimants, counts, |_, _| false);
        *self = Self::default();
    }

    /// Nobody could be found who wants what is free. If some have only passed, they are asked again after a pause.
    pub(super) fn nobody_left(&mut self, claimants: &Claimants, now: Time) {
        if self.pass_count == 0 || self.round_end.is_some() {
            return;
        }
        let holds =
            |refused: &Refused| refused.is_pass && claimants[refused.claimant].refusal_epoch == refused.epoch;
        if self.all.iter().any(holds) {
            self.round_end = Some(now.plus_ns(ROUND_PAUSE_NS));
        }
    }

    /// Have the next asked at `due`.
    pub(super) fn put_off(&mut self, due: Time) {
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// Everybody is being asked: nothing is put off any longer.
    pub(super) fn put_off_no_more(&mut self) {
        self.due = None;
    }

    /// When somebody is to be asked again because of time passing.
    pub(super) fn due(&self) -> Option<Time> {
        self.due
    }

    /// When to look at the refusals next.
    pub(super) fn wake(&self) -> Option<Time> {
        [self.earliest, self.round_end, self.due].into_iter().flatten().min()
    }

    fn retain(
        &mut self,
        claimants: &mut Claimants,
        counts: &mut RefusalCounts,
        mut keep: impl FnMut(&Refused, bool) -> bool,
    ) {
        let pass_count = &mut self.pass_count;
        self.all.retain(|refused| {
            let is_void = claimants[refused.claimant].refusal_epoch != refused.epoch;
            let is_kept = keep(refused, is_void);
            if !is_kept {
                *pass_count -= u32::from(refused.is_pass);
                note_dropped(claimants, counts, refused);
            }
            is_kept
        });
    }

    /// What must hold between events. Shows the claimant of each refusal that counts, and `None` for each void one.
    pub(super) fn invariant(&self, claimants: &Claimants, show: &mut impl FnMut(Option<ClaimantId>)) {
        for refused in &self.all {
            let is_void = claimants[refused.claimant].refusal_epoch != refused.epoch;
            show((!is_void).then_some(refused.claimant));
        }
        assert!(self.all.is_sorted_by_key(|refused| refused.claimant));
        assert_eq!(self.pass_count as usize, self.all.iter().filter(|refused| refused.is_pass).count());
        let first = self.all.iter().map(|refused| refused.until).min();
        assert!(first.is_none() || self.earliest <= first, "the slot is looked at before anything expires");
    }
}

fn note_dropped(claimants: &mut Claimants, counts: &mut RefusalCounts, refused: &Refused) {
    let claimant = &mut claimants[refused.claimant];
    if claimant.refusal_epoch == refused.epoch {
        claimant.refusal_count -= 1;
        counts.live -= 1;
    } else {
        counts.void -= 1;
    }
}

/// Makes every refusal of the claimant void.
pub(super) fn forget(claimants: &mut Claimants, counts: &mut RefusalCounts, id: ClaimantId) {
    let claimant = &mut claimants[id];
    let count = std::mem::take(&mut claimant.refusal_count) as usize;
    counts.live -= count;
    counts.void += count;
    claimant.refusal_epoch = claimant.refusal_epoch.wrapping_add(1);
}
