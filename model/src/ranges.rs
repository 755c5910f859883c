//! Sets of numbers kept as ranges: ports.

/// Inclusive ranges, sorted, disjoint and not touching, so that equal sets are equal values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    pub const EMPTY: Self = Self(Vec::new());

    /// From `(begin, end)` pairs, ends inclusive, in any order and overlapping or not. A pair with `begin > end` holds nothing.
    pub fn new(pairs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().filter(|(begin, end)| begin <= end).collect();
        pairs.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(pairs.len());
        for (begin, end) in pairs {
            match merged.last_mut() {
                Some(last) if begin <= last.1.saturating_add(1) => last.1 = last.1.max(end),
                _ => merged.push((begin, end)),
            }
        }
        Self(merged)
    }

    pub fn pairs(&self) -> &[(u64, u64)] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers are in the set; saturates.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0u64, |n, (begin, end)| n.saturating_add((end - begin).saturating_add(1)))
    }

    pub fn contains(&self, other: &Self) -> bool {
        let mut mine = self.0.iter();
        let mut current = mine.next();
        other.0.iter().all(|&(begin, end)| {
            while let Some(&(_, last)) = current {
                if last >= begin {
                    break;
                }
                current = mine.next();
            }
            current.is_some_and(|&(first, last)| first <= begin && end <= last)
        })
    }

    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).copied())
    }

    /// What is in `self` and not in `other`.
    pub fn difference(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.0.len());
        let mut holes = other.0.iter().copied().peekable();
        for &(begin, end) in &self.0 {
            let mut next = Some(begin);
            while let Some(&(first, last)) = holes.peek() {
                let Some(at) = next else { break };
                if last < at {
                    holes.next();
                    continue;
                }
                if first > end {
                    break;
                }
                if first > at {
                    left.push((at, first - 1));
                }
                next = last.checked_add(1).filter(|&after| after <= end);
                if last <= end {
                    holes.next();
                }
            }
            if let Some(at) = next {
                left.push((at, end));
            }
        }
        Self(left)
    }

    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.difference(other) == *self
    }
}

/// Mesos' text form: `[31000-32000, 40000-40000]`.
impl std::fmt::Display for Ranges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts: Vec<_> = self.0.iter().map(|(begin, end)| format!("{begin}-{end}")).collect();
        write!(f, "[{}]", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn numbers(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.pairs().iter().flat_map(|&(begin, end)| begin..=end).collect()
    }

    /// Every pair of subsets of 0..6: small enough to try them all, large enough for every way two ranges can meet.
    #[test]
    fn the_algebra_is_that_of_sets() {
        let sets: Vec<_> = (0u32..64)
            .map(|bits| Ranges::new((0..6).filter(|i| bits >> i & 1 == 1).map(|i| (i, i))))
            .collect();
        for a in &sets {
            for b in &sets {
                let (sa, sb) = (numbers(a), numbers(b));
                assert_eq!(numbers(&a.union(b)), &sa | &sb);
                assert_eq!(numbers(&a.difference(b)), &sa - &sb, "{a} - {b}");
                assert_eq!(a.contains(b), sa.is_superset(&sb), "{a} contains {b}");
                assert_eq!(a.is_disjoint(b), sa.is_disjoint(&sb));
                assert_eq!(a.count(), sa.len() as u64);
                let difference = a.difference(b);
                assert_eq!(Ranges::new(difference.pairs().iter().copied()), difference, "kept normal");
            }
        }
    }

    #[test]
    fn the_ends_of_the_number_line_hold() {
        let all = Ranges::new([(0, u64::MAX)]);
        let top = Ranges::new([(u64::MAX, u64::MAX)]);
        assert_eq!(all.difference(&top), Ranges::new([(0, u64::MAX - 1)]));
        assert!(all.contains(&top) && all.difference(&all).is_empty());
    }
}
