//! Amounts in fixed point: exact to three decimals, as Mesos' scalars are, and never a float.

/// An amount in thousandths (milli-CPUs, milli-MiB). Never negative: subtraction is checked.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantity(u64);

impl Quantity {
    pub const ZERO: Self = Self(0);
    /// Largest amount, in thousandths: sums of 2^20 of them still fit, and so do they in an `f64` exactly.
    pub const MILLI_MAX: u64 = 1 << 43;

    pub const fn from_milli(milli: u64) -> Self {
        Self(milli)
    }

    pub const fn from_units(units: u64) -> Self {
        Self(units * 1000)
    }

    pub const fn milli(self) -> u64 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `None` when the result would be negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Compares `self / total` with `other / other_total` exactly, by cross multiplication. A zero total counts as share zero.
    pub fn cmp_share(self, total: Self, other: Self, other_total: Self) -> std::cmp::Ordering {
        let left = if total.is_zero() { (0, 1) } else { (self.0, total.0) };
        let right = if other_total.is_zero() { (0, 1) } else { (other.0, other_total.0) };
        (u128::from(left.0) * u128::from(right.1)).cmp(&(u128::from(right.0) * u128::from(left.1)))
    }
}

impl std::ops::Add for Quantity {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl std::ops::AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, |total, amount| total + amount)
    }
}

/// As a decimal number without trailing zeros: `0.1`, `4`, `1024.5`.
impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 % 1000 {
            0 => write!(f, "{}", self.0 / 1000),
            milli => write!(f, "{}.{}", self.0 / 1000, format!("{milli:03}").trim_end_matches('0')),
        }
    }
}

impl std::fmt::Debug for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// A decimal number with at most three decimals that count (more are rounded half up), such as `0.1`.
impl std::str::FromStr for Quantity {
    type Err = BadQuantity;

    fn from_str(text: &str) -> Result<Self, BadQuantity> {
        let bad = || BadQuantity(text.to_owned());
        let (whole, decimals) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        if whole.is_empty() && decimals.is_empty() || !decimals.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let units = match whole {
            "" => 0,
            _ if !whole.bytes().all(|b| b.is_ascii_digit()) => return Err(bad()),
            _ => whole.parse::<u64>().map_err(|_| bad())?,
        };
        let digit = |at: usize| decimals.as_bytes().get(at).map_or(0, |b| u64::from(b - b'0'));
        let milli = digit(0) * 100 + digit(1) * 10 + digit(2) + u64::from(digit(3) >= 5);
        let total = units.checked_mul(1000).and_then(|base| base.checked_add(milli)).ok_or_else(bad)?;
        if total > Self::MILLI_MAX { Err(bad()) } else { Ok(Self(total)) }
    }
}

/// A text that is not an amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadQuantity(pub String);

impl std::fmt::Display for BadQuantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "'{}' is not a number between 0 and {}", self.0, Quantity(Quantity::MILLI_MAX))
    }
}

impl std::error::Error for BadQuantity {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_amount_agree() {
        for (text, milli) in [("4", 4000), ("0.1", 100), (".5", 500), ("1024.125", 1_024_125), ("0.0005", 1)]
        {
            assert_eq!(text.parse::<Quantity>().map(Quantity::milli), Ok(milli), "{text}");
        }
        for bad in ["", ".", "-1", "1e3", "NaN", "1.2.3", "99999999999999999999"] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad}");
        }
        assert_eq!(Quantity::from_milli(100).to_string(), "0.1");
        assert_eq!(Quantity::from_units(4).to_string(), "4");
    }

    #[test]
    fn shares_compare_exactly_where_floats_would_not() {
        let q = Quantity::from_milli;
        assert_eq!(q(1).cmp_share(q(3), q(2), q(6)), std::cmp::Ordering::Equal);
        assert_eq!(q(1).cmp_share(q(3), q(333_333), q(1_000_000)), std::cmp::Ordering::Greater);
        assert_eq!(q(5).cmp_share(q(0), q(0), q(7)), std::cmp::Ordering::Equal);
    }
}
