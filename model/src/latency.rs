//! A distribution of durations in powers of two, as the programs in the kernel keep it.

/// Durations by their magnitude. Bucket 0 holds what took less than 1,024 ns; bucket `n` from `2^(9 + n)` ns to below twice
/// that; the last everything from `2^34` ns (17 s) up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    pub buckets: [u64; Self::BUCKETS],
    /// All durations together, nanoseconds.
    pub sum_ns: u64,
}

impl Latency {
    pub const BUCKETS: usize = 26;

    /// The bucket that a duration falls into.
    pub const fn bucket(ns: u64) -> usize {
        let bucket = (u64::BITS - (ns >> 10).leading_zeros()) as usize;
        if bucket < Self::BUCKETS { bucket } else { Self::BUCKETS - 1 }
    }

    /// The least duration that is too long for a bucket, nanoseconds; `None` for the last.
    pub const fn bound_ns(bucket: usize) -> Option<u64> {
        if bucket + 1 < Self::BUCKETS { Some(1 << (10 + bucket)) } else { None }
    }

    pub fn record(&mut self, ns: u64) {
        let bucket = &mut self.buckets[Self::bucket(ns)];
        *bucket = bucket.saturating_add(1);
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Takes in another's durations.
    pub fn add(&mut self, other: &Self) {
        for (here, there) in self.buckets.iter_mut().zip(other.buckets) {
            *here = here.saturating_add(there);
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// What came since `earlier`, of the same thing.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            buckets: std::array::from_fn(|at| self.buckets[at].saturating_sub(earlier.buckets[at])),
            sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns),
        }
    }

    /// The duration that `per_mille` of all do not exceed, nanoseconds; within its bucket durations are taken to lie evenly.
    /// `None` without any. At least the true one's bucket's lower bound, at most its upper (for the last: its lower).
    pub fn quantile_ns(&self, per_mille: u64) -> Option<u64> {
        let count = u128::from(self.count());
        let wanted = (count * u128::from(per_mille.min(1_000))).div_ceil(1_000).max(1);
        let mut below = 0;
        for (at, &here) in self.buckets.iter().enumerate() {
            let here = u128::from(here);
            if here > 0 && below + here >= wanted {
                let from = if at == 0 { 0 } else { 1_u64 << (9 + at) };
                let width = Self::bound_ns(at).map_or(0, |bound| bound - from);
                let part = u128::from(width) * (wanted - below) / here;
                return Some(from + u64::try_from(part).expect("a part of the width"));
            }
            below += here;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_begin_where_the_one_before_ends() {
        assert_eq!((Latency::bucket(0), Latency::bucket(1_023), Latency::bucket(1_024)), (0, 0, 1));
        for at in 0..Latency::BUCKETS - 1 {
            let bound = Latency::bound_ns(at).expect("not the last");
            assert_eq!((Latency::bucket(bound - 1), Latency::bucket(bound)), (at, at + 1));
        }
        assert_eq!(Latency::bucket(u64::MAX), Latency::BUCKETS - 1);
        assert_eq!(Latency::bound_ns(Latency::BUCKETS - 1), None);
    }

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Latency::default().quantile_ns(500), None);
    }

    proptest! {
        #[test]
        fn a_quantile_lies_in_the_bucket_of_the_true_one(
            mut all in proptest::collection::vec(0..40_000_000_000_u64, 1..200), per_mille in 0..=1_000_u64
        ) {
            let mut latency = Latency::default();
            all.iter().for_each(|ns| latency.record(*ns));
            all.sort_unstable();
            let rank = (all.len() * per_mille as usize).div_ceil(1_000).max(1);
            let (said, at) = (latency.quantile_ns(per_mille).expect("some"), Latency::bucket(all[rank - 1]));
            prop_assert!(at == 0 || said >= 1 << (9 + at));
            prop_assert!(Latency::bound_ns(at).is_none_or(|bound| said <= bound));
        }
    }
}
