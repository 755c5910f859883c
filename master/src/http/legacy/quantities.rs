//! Amounts as quota counts them.

use api::convert::quantity::to_f64;
use model::quantity::Quantity;
use model::resources::{Resource, Value};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Amounts for quota: ranges and sets count by their size, and only what there is is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Quantities(BTreeMap<Arc<str>, Quantity>);

impl Quantities {
    pub(super) fn add(&mut self, part: &Resource) {
        *self.0.entry(part.name.clone()).or_default() += quantity(part);
    }

    pub(super) fn subtract(&mut self, part: &Resource) {
        if let Some(sum) = self.0.get_mut(&part.name) {
            *sum = sum.saturating_sub(quantity(part));
        }
    }

    pub(super) fn plus(mut self, other: &Self) -> Self {
        for (name, amount) in &other.0 {
            *self.0.entry(name.clone()).or_default() += *amount;
        }
        self.0.retain(|_, amount| !amount.is_zero());
        self
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Quantity)> {
        self.0.iter().map(|(name, amount)| (name, *amount))
    }
}

fn quantity(part: &Resource) -> Quantity {
    let whole = |count: u64| Quantity::from_milli(count.saturating_mul(1000));
    match &part.value {
        Value::Scalar(amount) => *amount,
        Value::Ranges(ranges) => whole(ranges.count()),
        Value::Set(items) => whole(items.len() as u64),
    }
}

impl Serialize for Quantities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(name, amount)| (&**name, to_f64(amount))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::resources::{CPUS, Resources};
    use serde_json::json;

    #[test]
    fn quantities_count_ports_and_name_only_what_there_is() {
        let resources: Resources = "cpus:2;ports:[1-4]".parse().expect("resources");
        let mut quantities = Quantities::default();
        resources.iter().for_each(|part| quantities.add(part));
        resources.iter().filter(|part| &*part.name == CPUS).for_each(|part| quantities.subtract(part));
        let quantities = quantities.plus(&Quantities::default());
        assert_eq!(serde_json::to_value(quantities).expect("json"), json!({"ports": 4.0}));
    }
}
