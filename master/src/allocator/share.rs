//! Shares as exact fractions: compared by cross multiplication, never as floats.

use super::quantities::Quantities;
use model::quantity::Quantity;
use std::cmp::Ordering;

/// What a prefix is in: shares closer than that are compared exactly. Of a hundred thousand agents, one is 2^-17.
const PREFIX_BITS: u32 = 32;

/// `amount / (total * weight)`. Equal when the values are, whatever the terms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    amount: u64,
    /// Not zero.
    total: u64,
    /// In thousandths; not zero.
    weight_milli: u64,
}

impl Share {
    /// The largest of `allocated / total` over every scalar, divided by the weight. A scalar of which there is none
    /// counts as share zero, as in [`Quantity::cmp_share`].
    pub(super) fn dominant(allocated: &Quantities, totals: &Quantities, weight: Quantity) -> Self {
        let (mut amount, mut total) = (0, 1);
        allocated.each_beside(totals, |other, of| {
            let (other, of) = (other.milli(), of.milli());
            if other == 0 || of == 0 {
                return;
            }
            if amount == 0 || u128::from(other) * u128::from(total) > u128::from(amount) * u128::from(of) {
                (amount, total) = (other, of);
            }
        });
        Self { amount, total, weight_milli: weight.milli().max(1) }
    }

    /// No share at all, and the same as none.
    pub(super) const NONE: Self = Self { amount: 0, total: 0, weight_milli: 0 };

    /// Whether the terms are the same; shares may be equal though they are not.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.amount == other.amount
            && self.total == other.total
            && self.weight_milli == other.weight_milli
            && self.total != 0
    }

    /// The share, by weight 1, in 2^-32, rounded down: of two shares the greater never has the lesser prefix. One
    /// division of a word's width, mostly: with an amount below four million units, and no weight.
    pub(super) fn prefix(&self) -> u64 {
        const ONE_MILLI: u64 = 1000;
        if self.weight_milli == ONE_MILLI && self.amount >> PREFIX_BITS == 0 {
            return (self.amount << PREFIX_BITS) / self.total;
        }
        let of = u128::from(self.total) * u128::from(self.weight_milli);
        let prefix = (u128::from(self.amount) << PREFIX_BITS) * u128::from(ONE_MILLI) / of;
        u64::try_from(prefix).unwrap_or(u64::MAX)
    }
}

/// Nothing of anything.
impl Default for Share {
    fn default() -> Self {
        Self { amount: 0, total: 1, weight_milli: 1000 }
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        if (self.total, self.weight_milli) == (other.total, other.weight_milli) {
            return self.amount.cmp(&other.amount);
        }
        let denominator = |share: &Self| u128::from(share.total) * u128::from(share.weight_milli);
        product(self.amount, denominator(other)).cmp(&product(other.amount, denominator(self)))
    }
}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Share {}

/// `a * b` in 192 bits: the upper 128, then the lower 64.
fn product(a: u64, b: u128) -> (u128, u64) {
    let low = u128::from(a) * (b & u128::from(u64::MAX));
    let high = u128::from(a) * (b >> 64);
    (high + (low >> 64), low as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(amount: u64, total: u64, weight_milli: u64) -> Share {
        Share { amount, total, weight_milli }
    }

    #[test]
    fn fractions_compare_by_value() {
        assert_eq!(share(1, 3, 1000), share(2, 6, 1000));
        assert_eq!(share(1, 3, 1000), share(2, 3, 2000));
        assert!(share(1, 3, 1000) > share(333_333, 1_000_000, 1000));
        assert!(share(5, 10, 3000) < share(2, 10, 1000));
        assert!(share(0, 1, 1) < share(1, u64::MAX, u64::MAX));
    }

    #[test]
    fn prefixes_never_contradict() {
        let terms = [0, 1, 2, 3, 999, 1000, 1 << 43, u64::MAX - 1, u64::MAX];
        let shares: Vec<_> = terms
            .iter()
            .flat_map(|a| terms[1..].iter().flat_map(|b| [1, 1000, 3000].map(|weight| share(*a, *b, weight))))
            .collect();
        for a in &shares {
            for b in &shares {
                assert!(a >= b || a.prefix() <= b.prefix(), "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn nothing_overflows_at_the_ends() {
        let top = u64::MAX;
        assert!(share(top, top - 1, top) > share(top, top, top));
        assert!(share(top - 1, top, top) < share(top, top, top));
        assert_eq!(product(top, u128::MAX), (u128::MAX - (1 << 64), 1));
    }

    #[test]
    fn the_dominant_share_is_the_largest() {
        let of = |text: &str| {
            super::super::parcel::Parcel::from_resources(text.parse().expect("a resource text")).quantities()
        };
        let totals = of("cpus:100;mem:1000;licences:4");
        let one = Quantity::from_units(1);
        let dominant = |text| Share::dominant(&of(text), &totals, one);
        assert_eq!(dominant("cpus:10;mem:200"), share(2, 10, 1000));
        assert_eq!(dominant("cpus:10;licences:1"), share(1, 4, 1000));
        assert_eq!(dominant("gpus:7"), share(0, 1, 1000), "of what nobody has there is no share");
        assert_eq!(dominant(""), share(0, 1, 1000));
    }
}
