//! A set of small numbers, a bit each.

/// Words a set grows by at least: half a line of the cache.
const WORDS_AT_ONCE: usize = 4;

#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
    count: u32,
}

impl Bits {
    pub(super) fn set(&mut self, at: u32, is_in: bool) {
        if is_in {
            self.add(at);
        } else {
            self.remove(at);
        }
    }

    pub(super) fn add(&mut self, at: u32) {
        let word = at as usize / 64;
        if word >= self.words.len() {
            // No more than that: there are sets by the hundred thousand, of as many words each as somebody has columns.
            self.words.reserve_exact((word + 1).next_multiple_of(WORDS_AT_ONCE) - self.words.len());
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (at % 64);
        self.count += u32::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
    }

    /// Likewise; makes room for so many at once when it has to make any.
    pub(super) fn add_among(&mut self, at: u32, count: usize) {
        if at as usize / 64 >= self.words.len() {
            self.words.reserve_exact(count.div_ceil(64).saturating_sub(self.words.len()));
            self.words.resize(self.words.capacity(), 0);
        }
        self.add(at);
    }

    pub(super) fn remove(&mut self, at: u32) {
        let Some(word) = self.words.get_mut(at as usize / 64) else { return };
        let bit = 1 << (at % 64);
        self.count -= u32::from(*word & bit != 0);
        *word &= !bit;
    }

    /// Removes all members of the other.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine &= !theirs);
        self.count = self.words.iter().map(|word| word.count_ones()).sum();
    }

    /// Members for which a word of others has no bit: `others` is asked for 64 of them at once, by the number of the word.
    pub(super) fn without<'a>(
        &'a self,
        others: impl Fn(usize) -> u64 + 'a,
    ) -> impl Iterator<Item = u32> + 'a {
        let words = self.words.iter().enumerate();
        let left = words.map(move |(at, word)| (at as u32 * 64, word & !others(at)));
        left.filter(|(_, word)| *word != 0).flat_map(|(base, word)| members(word).map(move |bit| base + bit))
    }

    /// Whether there is any member like that.
    pub(super) fn exceeds(&self, others: impl Fn(usize) -> u64) -> bool {
        self.words.iter().enumerate().any(|(at, word)| word & !others(at) != 0)
    }

    /// The members from `64 at` on, as bits.
    pub(super) fn word(&self, at: usize) -> u64 {
        self.words.get(at).copied().unwrap_or(0)
    }

    /// On the heap.
    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many members there are.
    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    /// In ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        std::iter::successors(self.next(0), |last| self.next(last + 1))
    }

    pub(super) fn has(&self, at: u32) -> bool {
        self.words.get(at as usize / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// The least member that is `from` or above.
    pub(super) fn next(&self, from: u32) -> Option<u32> {
        let first = from as usize / 64;
        let mut mask = u64::MAX << (from % 64);
        for (index, word) in self.words.iter().enumerate().skip(first) {
            let word = word & mask;
            if word != 0 {
                return Some(index as u32 * 64 + word.trailing_zeros());
            }
            mask = u64::MAX;
        }
        None
    }
}

/// The bits of one word, lowest first.
fn members(word: u64) -> impl Iterator<Item = u32> {
    let rest = |word: &u64| Some(word & (word - 1)).filter(|rest| *rest != 0);
    std::iter::successors(Some(word).filter(|word| *word != 0), rest).map(u64::trailing_zeros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_order() {
        let mut bits = Bits::default();
        for at in [0, 63, 64, 200] {
            bits.set(at, true);
        }
        bits.set(64, false);
        bits.set(1000, false);
        bits.add(63);
        let seen: Vec<_> = bits.iter().collect();
        assert_eq!(seen, [0, 63, 200]);
        assert_eq!(bits.len(), 3);
        assert!(seen.iter().all(|at| bits.has(*at)));
        assert!(!bits.has(64) && !bits.has(5000));
    }

    #[test]
    fn sets_are_subtracted() {
        let of = |members: &[u32]| {
            let mut bits = Bits::default();
            members.iter().for_each(|at| bits.add(*at));
            bits
        };
        let all = |bits: &Bits| bits.iter().collect::<Vec<_>>();
        let mut bits = of(&[1, 2, 64, 130, 300]);
        bits.subtract(&of(&[2, 300, 900]));
        assert_eq!((all(&bits), bits.len()), (vec![1, 64, 130], 3));
        let others = [of(&[64]), of(&[130, 131])];
        let left = bits.without(|at| others.iter().fold(0, |all, other| all | other.word(at)));
        assert_eq!(left.collect::<Vec<_>>(), [1]);
        assert!(bits.exceeds(|at| of(&[64, 130]).word(at)) && !bits.exceeds(|at| bits.word(at)));
        assert_eq!(bits.without(|_| 0).collect::<Vec<_>>(), [1, 64, 130]);
    }
}
