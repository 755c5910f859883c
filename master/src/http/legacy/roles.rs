//! `/roles` and `/weights`.

use super::quantities::Quantities;
use crate::cluster::snapshot::Snapshot;
use api::convert::quantity::to_f64;
use api::legacy::each::{Each, Nothing};
use model::quantity::Quantity;
use model::resources::Resource;
use model::role::Role;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// One role and what its subtree holds.
#[derive(Debug, Default)]
pub(super) struct Held<'a> {
    pub(super) frameworks: Vec<&'a str>,
    pub(super) allocated: Quantities,
    pub(super) offered: Quantities,
    pub(super) reserved: Quantities,
    /// Reserved and used by nobody; counts against quota all the same.
    idle_reserved: Quantities,
}

impl Held<'_> {
    pub(super) fn consumed(&self) -> Quantities {
        self.allocated.clone().plus(&self.idle_reserved)
    }
}

/// Every role that a framework, a reservation, an allocation or a weight names, and the roles above those.
pub(super) struct Roles<'a> {
    weights: &'a BTreeMap<Role, Quantity>,
    pub(super) roles: BTreeMap<Role, Held<'a>>,
}

impl<'a> Roles<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let weights = &snapshot.master.weights;
        let mut all = Self { weights, roles: BTreeMap::new() };
        weights.keys().for_each(|role| all.up(role, |_| {}));
        for view in &snapshot.frameworks {
            for role in &view.info.roles {
                all.up(role, |_| {});
                all.roles.entry(role.clone()).or_default().frameworks.push(view.id.as_str());
            }
        }
        for agent in &snapshot.agents {
            for part in agent.total.iter() {
                all.reserved(part, |held, part| {
                    held.reserved.add(part);
                    held.idle_reserved.add(part);
                });
            }
            for part in agent.used.iter() {
                all.allocated(part, |held, part| held.allocated.add(part));
                all.reserved(part, |held, part| held.idle_reserved.subtract(part));
            }
            for part in agent.offered.iter() {
                all.allocated(part, |held, part| held.offered.add(part));
            }
        }
        all
    }

    pub(super) fn weight(&self, role: &Role) -> f64 {
        to_f64(self.weights.get(role).copied().unwrap_or(Quantity::from_units(1)))
    }

    fn allocated(&mut self, part: &Resource, change: impl Fn(&mut Held<'a>, &Resource)) {
        if let Some(role) = &part.allocation {
            self.up(role, |held| change(held, part));
        }
    }

    fn reserved(&mut self, part: &Resource, change: impl Fn(&mut Held<'a>, &Resource)) {
        if let Some(role) = part.reserved_for() {
            self.up(role, |held| change(held, part));
        }
    }

    /// Changes the role and every role above it.
    fn up(&mut self, role: &Role, change: impl Fn(&mut Held<'a>)) {
        let mut next = Some(role.clone());
        while let Some(role) = next {
            next = role.parent();
            change(self.roles.entry(role).or_default());
        }
    }
}

#[derive(Serialize)]
struct Quota<'a> {
    role: &'a str,
    guarantee: Nothing,
    limit: Nothing,
    consumed: Quantities,
}

#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    weight: f64,
    quota: Quota<'a>,
    resources: Quantities,
    allocated: &'a Quantities,
    offered: &'a Quantities,
    reserved: &'a Quantities,
    frameworks: &'a [&'a str],
}

impl Serialize for Roles<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shown = self.roles.iter().map(|(role, held)| Shown {
            name: role.as_str(),
            weight: self.weight(role),
            quota: Quota {
                role: role.as_str(),
                guarantee: Nothing {},
                limit: Nothing {},
                consumed: held.consumed(),
            },
            resources: held.allocated.clone().plus(&held.offered),
            allocated: &held.allocated,
            offered: &held.offered,
            reserved: &held.reserved,
            frameworks: &held.frameworks,
        });
        serializer.collect_map([("roles", Each(|| shown.clone()))])
    }
}

/// `/weights`: those that are set.
pub(super) struct Weights<'a>(pub(super) &'a Snapshot);

impl Serialize for Weights<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Weight<'a> {
            role: &'a str,
            weight: f64,
        }
        let weights = self.0.master.weights.iter();
        serializer.collect_seq(
            weights.map(|(role, weight)| Weight { role: role.as_str(), weight: to_f64(*weight) }),
        )
    }
}
