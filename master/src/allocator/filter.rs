//! Refusals: what claimants do not want to be offered of one agent, and until when.
//!
//! A refusal covers the resources refused and anything contained in them; as soon as the agent has more than that free,
//! it is offered again (Mesos: a refusal does not outlive the resources growing past it). A *pass* is the refusal of
//! somebody who declined for no time at all. It holds until nobody else is left who might want the resources, and then
//! a pause longer ([`ROUND_PAUSE_NS`]), and never longer than [`PASS_NS_MAX`].
//!
//! **A bit a refusal.** Who refuses the same until the same time is one group with a set of bits, a column a claimant
//! (`column.rs`). So that there are few groups, a refusal ends up to a part in [`ROUNDING_PARTS`] later than it was asked
//! to: an agent has at most about 2 x [`ROUNDING_PARTS`] groups for each length of refusal in use, however many refuse.

use super::bits::Bits;
use super::claimant::{ClaimantId, Claimants};
use super::column::Columns;
use super::parcel::{Parcel, Stock};
use model::time::Time;

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

/// A refusal ends at a multiple of the largest power of two, nanoseconds, of which so many fit into it.
pub(super) const ROUNDING_PARTS: u64 = 32;

/// When a refusal of that length ends.
pub(super) fn end(now: Time, length_ns: u64) -> Time {
    let grain = (length_ns / ROUNDING_PARTS).checked_ilog2().map_or(1, |power| 1 << power);
    let Time(end) = now.plus_ns(length_ns);
    Time(end.checked_next_multiple_of(grain).unwrap_or(u64::MAX))
}

/// All who refuse the same until the same time.
#[derive(Debug)]
struct Group {
    until: Time,
    is_pass: bool,
    what: Stock,
    /// Columns, those retired meanwhile included.
    who: Bits,
}

impl Group {
    /// Whether who is in it refuses that. Mostly it is the very parcel that was refused.
    fn covers(&self, free: &Parcel, now: Time) -> bool {
        self.until > now && (std::ptr::eq(&*self.what, free) || self.what.contains(free))
    }
}

/// So many groups of an agent are looked at to see who refuses; who is in a later one is found out when they are asked.
const GROUPS_SEEN: usize = 64;

/// Who refuses what is free on an agent: some groups, a bit each.
#[derive(Clone, Copy)]
pub(super) struct Refusing<'a> {
    groups: &'a [Group],
    covering: u64,
}

impl Refusing<'_> {
    pub(super) const NOBODY: Self = Self { groups: &[], covering: 0 };

    pub(super) fn is_nobody(self) -> bool {
        self.covering == 0
    }

    pub(super) fn has(self, column: u32) -> bool {
        self.word(column as usize / 64) >> (column % 64) & 1 == 1
    }

    /// Columns from `64 at` on.
    pub(super) fn word(self, at: usize) -> u64 {
        let (mut all, mut left) = (0, self.covering);
        while left != 0 {
            all |= self.groups[left.trailing_zeros() as usize].who.word(at);
            left &= left - 1;
        }
        all
    }
}

/// Of one agent.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    groups: Vec<Group>,
    /// When all passes end, since there was nobody else to ask.
    round_end: Option<Time>,
    /// When to offer what was passed on to the next.
    due: Option<Time>,
}

impl Refusals {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether the claimant of that column refuses `free` now.
    pub(super) fn refuse(&self, column: Option<u32>, free: &Parcel, now: Time) -> bool {
        let Some(column) = column else { return false };
        self.groups.iter().any(|group| group.who.has(column) && group.covers(free, now))
    }

    /// Everybody who refuses `free` now, and anything that contains it.
    pub(super) fn refusing(&self, free: &Parcel, now: Time) -> Refusing<'_> {
        let mut covering = 0;
        for (at, group) in self.groups.iter().enumerate().take(GROUPS_SEEN) {
            covering |= u64::from(group.covers(free, now)) << at;
        }
        Refusing { groups: &self.groups, covering }
    }

    /// Notes a refusal, and drops those of the same claimant that say no more than it.
    pub(super) fn add(
        &mut self,
        claimants: &mut Claimants,
        columns: &mut Columns,
        id: ClaimantId,
        what: &Stock,
        (until, is_pass): (Time, bool),
    ) {
        let column = columns.of(claimants, id);
        let mut home = None;
        let mut at = 0;
        while let Some(group) = self.groups.get_mut(at) {
            let is_alike = group.what == *what;
            if is_alike && (group.until, group.is_pass) == (until, is_pass) {
                home = Some(at);
            } else if group.who.has(column) {
                let says_more = group.until > until
                    || is_pass && !group.is_pass
                    || !is_alike && !what.contains(&group.what);
                if !says_more {
                    group.who.remove(column);
                    columns.dropped(claimants, id);
                    if group.who.is_empty() {
                        self.groups.remove(at);
                        continue;
                    }
                }
            }
            at += 1;
        }
        let home = home.unwrap_or_else(|| {
            self.groups.reserve_exact(usize::from(self.groups.is_empty()));
            self.groups.push(Group { until, is_pass, what: what.clone(), who: Bits::default() });
            self.groups.len() - 1
        });
        let who = &mut self.groups[home].who;
        if !who.has(column) {
            who.add(column);
            columns.added(claimants, id);
        }
    }

    /// Drops what has come to its end by `now`, and adds whose it was to `woken`.
    pub(super) fn expire(
        &mut self,
        claimants: &mut Claimants,
        columns: &mut Columns,
        now: Time,
        woken: &mut Vec<ClaimantId>,
    ) {
        let is_round_over = self.round_end.is_some_and(|end| end <= now);
        self.groups.retain(|group| {
            let is_over = group.until <= now || is_round_over && group.is_pass;
            if is_over {
                columns.all_dropped(claimants, &group.who, |id| woken.push(id));
            }
            !is_over
        });
        if is_round_over {
            self.round_end = None;
        }
    }

    /// Drops what is void.
    pub(super) fn sweep(&mut self, retired: &Bits) {
        self.groups.retain_mut(|group| {
            group.who.subtract(retired);
            !group.who.is_empty()
        });
    }

    /// Drops everything: the agent is gone.
    pub(super) fn clear(&mut self, claimants: &mut Claimants, columns: &mut Columns) {
        for group in std::mem::take(self).groups {
            columns.all_dropped(claimants, &group.who, |_| ());
        }
    }

    /// Nobody could be found who wants what is free. If some have only passed, they are asked again after a pause.
    pub(super) fn nobody_left(&mut self, columns: &Columns, now: Time) {
        if self.round_end.is_some() {
            return;
        }
        let holds = |group: &Group| group.is_pass && columns.has_live(&group.who);
        if self.groups.iter().any(holds) {
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
        let ends = self.groups.iter().map(|group| group.until);
        ends.chain(self.round_end).chain(self.due).min()
    }

    /// On the heap; what was refused is mostly a parcel that others have too, and not counted.
    pub(super) fn bytes(&self) -> usize {
        let sets: usize = self.groups.iter().map(|group| group.who.bytes()).sum();
        size_of::<Self>() + self.groups.capacity() * size_of::<Group>() + sets
    }

    /// Refusals, void ones included.
    #[cfg(test)]
    pub(super) fn bit_count(&self) -> usize {
        self.groups.iter().map(|group| group.who.len()).sum()
    }

    /// What must hold between events. Shows the column of every refusal.
    pub(super) fn invariant(&self, mut show: impl FnMut(u32)) {
        for (at, group) in self.groups.iter().enumerate() {
            assert!(!group.who.is_empty());
            group.who.iter().for_each(&mut show);
            let is_alike = |other: &Group| {
                (other.until, other.is_pass, &other.what) == (group.until, group.is_pass, &group.what)
            };
            assert!(!self.groups[..at].iter().any(is_alike), "one group for those who refuse alike");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_ends_late_by_a_small_part_of_it_at_most() {
        for length in [1, 31, 32, 33, 1_000_000, 5_000_000_000, REFUSAL_NS_MAX] {
            for now in [0, 1, 12_345, 1 << 40] {
                let (asked, Time(end)) = (now + length, end(Time(now), length));
                assert!(asked <= end && end <= asked + length / ROUNDING_PARTS, "{now} {length}");
            }
        }
        assert_eq!(end(Time(u64::MAX - 5), REFUSAL_NS_MAX), Time(u64::MAX));
        let ends: std::collections::BTreeSet<_> =
            (0..5000).map(|ms| end(Time(ms * 1_000_000), 5_000_000_000)).collect();
        assert!(ends.len() <= 2 * ROUNDING_PARTS as usize);
    }
}
