//! A set of small numbers, a bit each.

#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    pub(super) fn set(&mut self, at: u32, is_in: bool) {
        let word = at as usize / 64;
        if word >= self.words.len() {
            if !is_in {
                return;
            }
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (at % 64);
        if is_in {
            self.words[word] |= bit;
        } else {
            self.words[word] &= !bit;
        }
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
        let mut seen = Vec::new();
        let mut at = bits.next(0);
        while let Some(member) = at {
            assert!(bits.has(member));
            seen.push(member);
            at = bits.next(member + 1);
        }
        assert_eq!(seen, [0, 63, 200]);
        assert!(!bits.has(64) && !bits.has(5000));
    }
}
