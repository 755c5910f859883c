//! A distribution of durations in powers of two, as the programs keep it. The law of its buckets is that of
//! `model::latency`, which this crate may not see: `agent/src/bpf/counters.rs` has the test that holds them together.

/// Durations by their magnitude. Bucket 0 holds what took less than 1,024 ns; bucket `n` from `2^(9 + n)` ns to below twice
/// that; the last everything from `2^34` ns (17 s) up.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    pub buckets: [u64; Self::BUCKETS],
    /// All durations together, nanoseconds.
    pub sum_ns: u64,
}

impl Histogram {
    pub const BUCKETS: usize = 26;
    /// How many 64-bit words it is.
    pub const WORDS: usize = Self::BUCKETS + 1;

    /// The bucket that a duration falls into. No branches but one: the programs compute it too.
    #[inline(always)]
    pub const fn bucket(ns: u64) -> usize {
        let bucket = (u64::BITS - (ns >> 10).leading_zeros()) as usize;
        if bucket < Self::BUCKETS { bucket } else { Self::BUCKETS - 1 }
    }

    pub(crate) fn take(words: &mut impl Iterator<Item = u64>) -> Self {
        let buckets = core::array::from_fn(|_| words.next().unwrap_or(0));
        Self { buckets, sum_ns: words.next().unwrap_or(0) }
    }

    /// Reads one from its words.
    pub fn from_words(words: [u64; Self::WORDS]) -> Self {
        Self::take(&mut words.into_iter())
    }

    /// Adds another CPU's copy to this one.
    pub fn add(&mut self, other: &Self) {
        for (here, there) in self.buckets.iter_mut().zip(other.buckets) {
            *here = here.wrapping_add(there);
        }
        self.sum_ns = self.sum_ns.wrapping_add(other.sum_ns);
    }
}

const _: () = assert!(size_of::<Histogram>() == 8 * Histogram::WORDS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double() {
        let of = [0, 1_023, 1_024, 2_047, 2_048, 1 << 34, u64::MAX].map(Histogram::bucket);
        assert_eq!(of, [0, 0, 1, 1, 2, 25, 25]);
    }

    #[test]
    fn words_are_the_buckets_and_then_the_sum() {
        let one = Histogram::from_words(core::array::from_fn(|index| index as u64 + 1));
        assert_eq!((one.buckets[0], one.buckets[25], one.sum_ns), (1, 26, 27));
        let mut sum = one;
        sum.add(&one);
        assert_eq!((sum.buckets[25], sum.sum_ns), (52, 54));
    }
}
