//! At random: each time something is given, everyone who waits is as likely as their weight says to be the one.
//!
//! Everybody has a clock that rings at random moments, twice as often for twice the weight (a Poisson process), and who
//! rings first is served. So only who was served draws anew, and nobody waits longer for having waited.

use super::{Candidate, Policy, Rank, Why};

#[derive(Debug)]
pub(super) struct Random {
    /// State of a splitmix64 generator: the same draws in every run.
    seed: u64,
    /// When the last one was served; moments are in 2^-24 of the mean time between rings at weight 0.001.
    now: u64,
}

impl Default for Random {
    fn default() -> Self {
        Self { seed: 0x1906_0d1a_2f3b_4c5d, now: 0 }
    }
}

impl Policy for Random {
    fn rank(&mut self, candidate: &Candidate<'_>, why: Why) -> Rank {
        match why {
            Why::Changed(rank) => return rank,
            Why::Served(rank) => self.now = self.now.max(rank.class),
            Why::Joined => {}
        }
        let wait = neg_log2(self.draw()) / candidate.weight.milli().max(1);
        Rank { class: self.now.saturating_add(wait), ..Rank::default() }
    }
}

impl Random {
    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// `-log2(draw / 2^64)` in 2^-24, by squaring: exact to the last place but one, and the same on every machine.
fn neg_log2(draw: u64) -> u64 {
    let draw = draw.max(1);
    let zeros = draw.leading_zeros();
    // In [1, 2), 31 bits behind the point.
    let mut mantissa = (draw << zeros) >> 32;
    let mut log = 0u64;
    for _ in 0..24 {
        let square = (mantissa * mantissa) >> 31;
        let carry = square >> 32;
        log = (log << 1) | carry;
        mantissa = square >> carry;
    }
    ((u64::from(zeros) + 1) << 24) - log
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocator::quantities::Quantities;
    use model::quantity::Quantity;

    #[test]
    fn logarithms_are_right() {
        assert_eq!(neg_log2(1 << 63), 1 << 24);
        assert_eq!(neg_log2(1 << 60), 4 << 24);
        let third = neg_log2(u64::MAX / 3);
        let expect = (3f64.log2() * f64::from(1 << 24)) as u64;
        assert!(third.abs_diff(expect) <= 2, "{third} {expect}");
    }

    /// Two clocks, one of twice the weight: it is first two times in three, whatever came before.
    #[test]
    fn weights_are_chances() {
        let (mut policy, nothing) = (Random::default(), Quantities::default());
        let candidate = |weight| Candidate {
            allocated: &nothing,
            totals: &nothing,
            weight: Quantity::from_units(weight),
            count: 0,
            sequence: 0,
        };
        let weights = [1, 2];
        let mut ranks = weights.map(|weight| policy.rank(&candidate(weight), Why::Joined));
        let (mut served, mut twice) = ([0, 0], 0);
        let mut last = 0;
        for _ in 0..30_000 {
            let first = usize::from(ranks[1] < ranks[0]);
            served[first] += 1;
            twice += u32::from(first == last);
            last = first;
            ranks[first] = policy.rank(&candidate(weights[first]), Why::Served(ranks[first]));
        }
        assert!((9_600..10_400).contains(&served[0]), "{served:?}");
        // 1/9 + 4/9 of all follow one of their own kind.
        assert!((16_200..17_200).contains(&twice), "{twice}");
    }
}
