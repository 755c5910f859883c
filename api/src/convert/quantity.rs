//! Amounts: doubles on the wire, thousandths in the model.

use model::quantity::Quantity;

/// Rounds to three decimals, halves away from zero, as Mesos does (`src/common/values.cpp`). `None` for NaN,
/// negative, infinite, and what is over [`Quantity::MILLI_MAX`].
pub fn from_f64(value: f64) -> Option<Quantity> {
    let milli = (value * 1000.0).round();
    // -0.0004 rounds to a zero, which Mesos refuses by its sign all the same.
    let fits = value >= 0.0 && milli <= Quantity::MILLI_MAX as f64;
    fits.then(|| Quantity::from_milli(milli as u64))
}

/// The nearest double: whole units and thousandths are converted apart, so that 0.1 comes out as 0.1.
pub fn to_f64(amount: Quantity) -> f64 {
    (amount.milli() / 1000) as f64 + (amount.milli() % 1000) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn doubles_are_rounded_to_three_decimals() {
        for (value, milli) in [(0.1, 100), (0.0005, 1), (0.0004, 0), (2.9999, 3000), (1e9, 1_000_000_000_000)]
        {
            assert_eq!(from_f64(value).map(Quantity::milli), Some(milli), "{value}");
        }
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, -0.0001, 1e300] {
            assert_eq!(from_f64(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_survives_the_wire(milli in 0..=Quantity::MILLI_MAX) {
            let amount = Quantity::from_milli(milli);
            prop_assert_eq!(from_f64(to_f64(amount)), Some(amount));
        }
    }
}
