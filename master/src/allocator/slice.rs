//! How much of one agent goes into one offer, where the operator does not want it to be all: `--offer-slice`.
//!
//! What nobody else could be offered is not sliced: what is reserved, on a disk of its own, shared, or a set. A rest that is
//! too little for an offer goes with the last slice: nothing is left that nobody may be offered.

use super::options::{Options, Shown, amounts};
use super::parcel::Parcel;
use super::quantities::{COLUMN_COUNT, COLUMNS, Quantities, Scalar};
use model::quantity::Quantity;
use model::resources::{Resource, Value};
use std::fmt;
use std::str::FromStr;

/// The most of one agent that one offer may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slice {
    /// Of everything that the agent has; thousandths, more than 0 and at most 1.
    Share(Quantity),
    /// So much of these, and of everything else in proportion to that of which this is the smallest share.
    Amounts(Amounts),
}

/// Amounts of scalars that every agent can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amounts(Quantities);

/// A part of a whole.
type Fraction = (Quantity, Quantity);

impl Slice {
    /// So much of `free` as goes into one offer; `None` when all of it does.
    pub(super) fn cut(&self, total: &Parcel, free: &Parcel, options: &Options) -> Option<Parcel> {
        let share = self.share(total);
        let mut caps = [Quantity::ZERO; COLUMN_COUNT];
        for (column, cap) in caps.iter_mut().enumerate() {
            // What is reserved or may be revoked is dealt by itself.
            let named = self.named(Scalar::Column(column));
            *cap = named.unwrap_or_else(|| part_of(total.plain(column), share));
        }
        let port_count = part_of(Quantity::from_milli(total.ports().count()), share).milli();
        let cap_rest = |part: &Resource| {
            let Value::Scalar(amount) = part.value else { return part.clone() };
            let is_whole = !part.reservations.is_empty() || part.disk.is_some() || part.is_shared;
            let all = total.rest().iter().find(|other| is_like(other, part));
            let Some(Value::Scalar(all)) = all.filter(|_| !is_whole).map(|all| &all.value) else {
                return part.clone();
            };
            Resource { value: Value::Scalar(amount.min(part_of(*all, share))), ..part.clone() }
        };
        let slice = free.at_most(caps, port_count, cap_rest);
        if slice == *free {
            return None;
        }
        let mut rest = free.clone();
        rest.subtract(&slice);
        options.minimums.are_met_by(&rest).then_some(slice)
    }

    /// Of what has no amount of its own.
    fn share(&self, total: &Parcel) -> Fraction {
        let one = Quantity::from_units(1);
        match self {
            Self::Share(share) => (*share, one),
            Self::Amounts(Amounts(amounts)) => {
                let mut least = (one, one);
                amounts.each(|scalar, amount| {
                    let whole = total.amount(scalar);
                    if amount < whole && amount.cmp_share(whole, least.0, least.1).is_lt() {
                        least = (amount, whole);
                    }
                });
                least
            }
        }
    }

    fn named(&self, scalar: Scalar<'_>) -> Option<Quantity> {
        match self {
            Self::Share(_) => None,
            Self::Amounts(Amounts(amounts)) => {
                Some(amounts.amount(scalar)).filter(|amount| !amount.is_zero())
            }
        }
    }
}

/// Rounded up: slices together are no less than the whole.
fn part_of(whole: Quantity, (part, of): Fraction) -> Quantity {
    let product = u128::from(whole.milli()) * u128::from(part.milli());
    let share = product.div_ceil(u128::from(of.milli()));
    Quantity::from_milli(u64::try_from(share).expect("a part of a whole is no more than it"))
}

/// Whether they are parts of the same.
fn is_like(a: &Resource, b: &Resource) -> bool {
    a.name == b.name
        && a.is_revocable == b.is_revocable
        && a.provider_id == b.provider_id
        && a.reservations.is_empty()
        && a.disk.is_none()
        && !a.is_shared
}

/// `0.25`, or `cpus:4;mem:8192`.
impl FromStr for Slice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains(':') {
            let share: Option<Quantity> = text.trim().parse().ok();
            let share = share.filter(|share| !share.is_zero() && *share <= Quantity::from_units(1));
            let allowed =
                "allowed is a share of an agent, from 0.001 to 1, or amounts, such as cpus:4;mem:8192";
            return share.map(Self::Share).ok_or_else(|| allowed.to_owned());
        }
        let amounts = amounts(text)?;
        let mut unknown = None;
        amounts.each(|scalar, _| {
            if let Scalar::Named(name) = scalar {
                unknown = Some(format!("'{name}': allowed are {}", COLUMNS.join(", ")));
            }
        });
        unknown.map_or(Ok(Self::Amounts(Amounts(amounts))), Err)
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => share.fmt(f),
            Self::Amounts(Amounts(amounts)) => Shown(amounts).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::resources::Resources;

    fn parcel(text: &str) -> Parcel {
        Parcel::from_resources(text.parse().expect("resources"))
    }

    fn cut(slice: &str, total: &str, free: &str) -> Option<Parcel> {
        let slice: Slice = slice.parse().expect("a slice");
        slice.cut(&parcel(total), &parcel(free), &Options::default())
    }

    const TOTAL: &str = "cpus:8;mem:1024;disk:100;ports:[10-19];cpus(eng):2";

    #[test]
    fn a_share_is_of_the_total_and_ports_too_are_dealt() {
        let quarter = "cpus:2;mem:256;disk:25;ports:[10-12];cpus(eng):2";
        assert_eq!(cut("0.25", TOTAL, TOTAL), Some(parcel(quarter)), "what is reserved is whole");
        assert_eq!(
            cut("0.25", TOTAL, "cpus:3;mem:100;ports:[5-6,13-19]"),
            Some(parcel("cpus:2;mem:100;ports:[5-6,13-13]"))
        );
        assert_eq!(cut("0.25", TOTAL, "cpus:2;mem:256"), None);
        assert_eq!(cut("1", TOTAL, TOTAL), None);
    }

    #[test]
    fn no_rest_is_left_that_is_too_little_for_an_offer() {
        assert_eq!(cut("0.25", TOTAL, "cpus:2.009;mem:287;ports:[1-5]"), None);
        assert_eq!(cut("0.25", TOTAL, "cpus:2.01"), Some(parcel("cpus:2")));
    }

    #[test]
    fn amounts_bound_what_they_name_and_the_rest_in_proportion() {
        let half = "cpus:4;mem:512;disk:50;ports:[10-14];cpus(eng):2";
        // Of all CPUs, those that are reserved included, 4 are two fifths.
        let fifths = "cpus:4;mem:410;disk:40;ports:[10-13];cpus(eng):2";
        assert_eq!(cut("cpus:4", "cpus:8;mem:1024;disk:100;ports:[10-19]", TOTAL), Some(parcel(half)));
        let cut_of_all = cut("cpus:4", TOTAL, TOTAL).expect("a part");
        assert_eq!(cut_of_all.amount(Scalar::Column(0)), parcel(fifths).amount(Scalar::Column(0)));
        assert_eq!(cut_of_all.ports(), parcel(fifths).ports());
        assert_eq!(cut("mem:4096", TOTAL, TOTAL), None, "there is not as much");
    }

    #[test]
    fn what_may_be_revoked_is_sliced_too() {
        let revocable = |cpus| {
            let mut part = Resource::scalar("cpus", Quantity::from_units(cpus));
            part.is_revocable = true;
            let mut all: Resources = "cpus:4".parse().expect("resources");
            all.add_part(&part);
            all
        };
        let half: Slice = "0.5".parse().expect("a slice");
        let total = Parcel::from_resources(revocable(6));
        let slice = half.cut(&total, &total, &Options::default()).expect("a part");
        assert_eq!(slice.quantities(), parcel("cpus:5").quantities());
    }

    #[test]
    fn slices_are_written_as_they_are_read() {
        for text in ["0.25", "1", "cpus:4;mem:8192"] {
            assert_eq!(text.parse::<Slice>().expect("a slice").to_string(), text);
        }
        for text in ["0", "1.001", "-1", "", "half", "cpus:0", "ports:4", "cpus:4;cpus:5"] {
            assert!(text.parse::<Slice>().is_err(), "{text}");
        }
    }
}
