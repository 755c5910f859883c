//! Resources as the documents show them: amounts by name, whoever they are reserved for.

use crate::convert::quantity::to_f64;
use model::quantity::Quantity;
use model::ranges::Ranges;
use model::resources::{CPUS, DISK, GPUS, MEM, Resource, Resources, Value};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Named by every document, though there be none of it.
const ALWAYS: [&str; 4] = [CPUS, GPUS, MEM, DISK];

/// `{"cpus": 4.0, "mem": 0.0, ..., "ports": "[31000-32000]"}`; revocable ones apart, as `cpus_revocable`.
#[derive(Debug, Default)]
pub struct Amounts<'a> {
    scalars: BTreeMap<Cow<'a, str>, Quantity>,
    ranges: BTreeMap<Cow<'a, str>, Ranges>,
    sets: BTreeMap<Cow<'a, str>, BTreeSet<Arc<str>>>,
}

impl<'a> Amounts<'a> {
    pub fn of(resources: &'a Resources) -> Self {
        Self::sum(resources.iter())
    }

    pub fn sum(parts: impl Iterator<Item = &'a Resource>) -> Self {
        let mut amounts = Self::default();
        amounts.scalars.extend(ALWAYS.map(|name| (Cow::Borrowed(name), Quantity::ZERO)));
        for part in parts {
            let name = match part.is_revocable {
                true => Cow::Owned(format!("{}_revocable", part.name)),
                false => Cow::Borrowed(&*part.name),
            };
            match &part.value {
                Value::Scalar(amount) => *amounts.scalars.entry(name).or_default() += *amount,
                Value::Ranges(ranges) => {
                    let sum = amounts.ranges.entry(name).or_default();
                    *sum = sum.union(ranges);
                }
                Value::Set(items) => amounts.sets.entry(name).or_default().extend(items.iter().cloned()),
            }
        }
        amounts
    }
}

impl Serialize for Amounts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        for (name, amount) in &self.scalars {
            out.serialize_entry(name, &to_f64(*amount))?;
        }
        for (name, ranges) in &self.ranges {
            out.serialize_entry(name, &ranges.to_string())?;
        }
        for (name, items) in &self.sets {
            let items: Vec<_> = items.iter().map(|item| &**item).collect();
            out.serialize_entry(name, &format!("{{{}}}", items.join(", ")))?;
        }
        out.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn amounts_are_summed_by_name_over_reservations() {
        let mut resources: Resources =
            "cpus:1.5;cpus(eng):2;ports:[1-2];ports(eng):[3-4];zones:{b,a}".parse().expect("resources");
        let mut spare = Resource::scalar(CPUS, Quantity::from_units(7));
        spare.is_revocable = true;
        resources.add_part(&spare);
        assert_eq!(
            serde_json::to_value(Amounts::of(&resources)).expect("json"),
            json!({
                "cpus": 3.5, "gpus": 0.0, "mem": 0.0, "disk": 0.0, "cpus_revocable": 7.0,
                "ports": "[1-4]", "zones": "{a, b}",
            })
        );
    }
}
