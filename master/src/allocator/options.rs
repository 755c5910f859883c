//! What an operator may choose about allocation.

use super::parcel::Parcel;
use super::policy::Kind;
use super::quantities::{COLUMN_COUNT, CPUS_COLUMN, MEM_COLUMN, Quantities, Scalar};
use super::slice::Slice;
use model::quantity::Quantity;
use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Less is not offered.
    pub minimums: Minimums,
    /// More of one agent is not offered at once; all of it when `None`.
    pub slice: Option<Slice>,
    /// Agents with GPUs are offered only to frameworks that say they know what to do with them.
    pub filter_gpu_resources: bool,
    /// Where the masters are: agents elsewhere are offered only to frameworks that are aware of regions. No agent is elsewhere
    /// when `None`.
    pub region: Option<Arc<str>>,
    /// In which order the roles of one parent are served.
    pub role_policy: Kind,
    /// In which order the frameworks of one role are served.
    pub framework_policy: Kind,
    /// Threads that decide, each about agents of its own.
    pub workers: NonZeroUsize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            minimums: Minimums::default(),
            slice: None,
            filter_gpu_resources: true,
            region: None,
            role_policy: Kind::Drf,
            framework_policy: Kind::Drf,
            workers: NonZeroUsize::MIN,
        }
    }
}

/// What makes an offer worth making: alternatives, each some amounts of scalars together. Without any, whatever is there.
/// (Mesos: `--min_allocatable_resources`.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minimums(Arc<[Minimum]>);

/// Some amounts together.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Minimum {
    all: Quantities,
    /// Where they are of one scalar that has a column: its column, and how much. Looked at with each decision.
    only: Option<(usize, Quantity)>,
}

impl From<Quantities> for Minimum {
    fn from(all: Quantities) -> Self {
        let mut parts = Vec::new();
        all.each(|scalar, amount| match scalar {
            Scalar::Column(column) => parts.push(Some((column, amount))),
            Scalar::Named(_) => parts.push(None),
        });
        let only = if let [only] = parts[..] { only } else { None };
        Self { all, only }
    }
}

impl Minimum {
    fn is_met_by(&self, parcel: &Parcel) -> bool {
        if let Some((column, amount)) = self.only {
            return parcel.scalar(column) >= amount;
        }
        let mut is_met = true;
        self.all.each(|scalar, amount| is_met &= parcel.amount(scalar) >= amount);
        is_met
    }
}

/// As Mesos: 0.01 CPUs or 32 MiB (`src/master/constants.hpp`).
impl Default for Minimums {
    fn default() -> Self {
        let of = |column, amount| {
            let mut columns = [Quantity::ZERO; COLUMN_COUNT];
            columns[column] = amount;
            Quantities::of_columns(columns).into()
        };
        Self([of(CPUS_COLUMN, Quantity::from_milli(10)), of(MEM_COLUMN, Quantity::from_units(32))].into())
    }
}

impl Minimums {
    /// Whether so much is worth an offer.
    pub(super) fn are_met_by(&self, parcel: &Parcel) -> bool {
        let mut all = self.0.iter();
        if self.0.is_empty() { !parcel.is_empty() } else { all.any(|minimum| minimum.is_met_by(parcel)) }
    }
}

/// `cpus:0.01|mem:32`, `cpus:1;mem:64|gpus:1`; nothing is no alternative at all.
impl FromStr for Minimums {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let alternatives = text.split('|').map(str::trim).filter(|_| !text.trim().is_empty());
        let all: Result<Vec<Minimum>, _> =
            alternatives.map(|text| amounts(text).map(Minimum::from)).collect();
        all.map(|all| Self(all.into()))
    }
}

impl fmt::Display for Minimums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, alternative) in self.0.iter().enumerate() {
            f.write_str(if at > 0 { "|" } else { "" })?;
            write!(f, "{}", Shown(&alternative.all))?;
        }
        Ok(())
    }
}

/// Amounts of scalars as they are written: `cpus:1;mem:64`.
pub(super) struct Shown<'a>(pub(super) &'a Quantities);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = Vec::new();
        self.0.each(|scalar: Scalar<'_>, amount| shown.push(format!("{}:{amount}", scalar.name())));
        f.write_str(&shown.join(";"))
    }
}

/// Reads `cpus:1;mem:64`: at least one scalar, none twice, none of zero.
pub(super) fn amounts(text: &str) -> Result<Quantities, String> {
    let mut amounts = Quantities::default();
    for part in text.split(';') {
        let (name, amount) = part.split_once(':').ok_or(format!("'{part}' is not NAME:AMOUNT"))?;
        let (name, amount): (Arc<str>, Quantity) =
            (name.trim().into(), amount.trim().parse().map_err(|error| format!("'{part}': {error}"))?);
        if name.is_empty() || amount.is_zero() {
            return Err(format!("'{part}' asks for nothing"));
        }
        if !amounts.amount_named(&name).is_zero() {
            return Err(format!("'{name}' is asked for twice"));
        }
        amounts.add_named(&name, amount);
    }
    Ok(amounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(text: &str) -> Parcel {
        Parcel::from_resources(text.parse().expect("resources"))
    }

    #[test]
    fn one_alternative_must_be_there_as_a_whole() {
        let minimums: Minimums = "cpus:1; mem:64 | licences:2".parse().expect("minimums");
        assert_eq!(minimums.to_string(), "cpus:1;mem:64|licences:2");
        for (text, is_met) in [
            ("cpus:1;mem:64", true),
            ("cpus:4;mem:63", false),
            ("cpus:0.999;mem:640;licences:1", false),
            ("licences:2", true),
            ("cpus(eng):1;mem:64", true),
            ("", false),
        ] {
            assert_eq!(minimums.are_met_by(&parcel(text)), is_met, "{text}");
        }
    }

    #[test]
    fn the_default_is_mesos_and_nothing_asks_for_anything() {
        assert_eq!("cpus:0.01|mem:32".parse(), Ok(Minimums::default()));
        let anything: Minimums = "".parse().expect("minimums");
        assert!(anything.are_met_by(&parcel("ports:[1-1]")) && !anything.are_met_by(&parcel("")));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in ["cpus", "cpus:", "cpus:0", "cpus:1;cpus:2", "cpus:1||mem:2", ":1", "|"] {
            assert!(text.parse::<Minimums>().is_err(), "{text}");
        }
    }
}
