//! `/roles` and `/weights`.

use super::quantities::Quantities;
use crate::cluster::snapshot::Snapshot;
use api::convert::quantity::to_f64;
use api::legacy::each::Each;
use model::quantity::Quantity;
use model::quota::Amounts;
use model::resources::Resource;
use model::role::Role;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// One role and what its subtree holds.
#[derive(Debug, Default)]
pub(super) struct Held<'a> {
    pub(super) frameworks: Vec<&'a str>,
    pub(super) allocated: Quantities,
    /// Of that, what is not on loan.
    firm: Quantities,
    pub(super) offered: Quantities,
    pub(super) reserved: Quantities,
    /// Reserved and used by nobody; counts against quota all the same.
    idle_reserved: Quantities,
}

impl Held<'_> {
    pub(super) fn consumed(&self) -> Quantities {
        self.firm.clone().plus(&self.idle_reserved)
    }
}

/// Every role that a framework, a reservation, an allocation, a weight or a quota names, and the roles above those.
pub(super) struct Roles<'a> {
    weights: &'a BTreeMap<Role, Quantity>,
    quotas: &'a BTreeMap<Role, model::quota::Quota>,
    pub(super) roles: BTreeMap<Role, Held<'a>>,
}

impl<'a> Roles<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let weights = &snapshot.master.weights;
        let quotas = &snapshot.master.quotas;
        let mut all = Self { weights, quotas, roles: BTreeMap::new() };
        weights.keys().chain(quotas.keys()).for_each(|role| all.up(role, |_| {}));
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
                if !part.is_revocable {
                    all.allocated(part, |held, part| held.firm.add(part));
                }
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
    guarantee: Shares<'a>,
    limit: Shares<'a>,
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
                guarantee: Shares(self.quotas.get(role).map(|quota| &quota.guarantees)),
                limit: Shares(self.quotas.get(role).map(|quota| &quota.limits)),
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

/// Amounts by name; nothing where none are set.
#[derive(Clone, Copy)]
struct Shares<'a>(Option<&'a Amounts>);

impl Serialize for Shares<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let amounts = self.0.into_iter().flatten();
        serializer.collect_map(amounts.map(|(name, amount)| (&**name, to_f64(*amount))))
    }
}

/// `/quota`: those that are set, as the message of the operator API.
pub(super) struct Quotas<'a>(pub(super) &'a Snapshot);

impl Serialize for Quotas<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Amount {
            value: f64,
        }
        #[derive(Serialize)]
        struct Config<'a> {
            role: &'a str,
            guarantees: BTreeMap<&'a str, Amount>,
            limits: BTreeMap<&'a str, Amount>,
        }
        fn amounts(all: &Amounts) -> BTreeMap<&str, Amount> {
            all.iter().map(|(name, amount)| (&**name, Amount { value: to_f64(*amount) })).collect()
        }
        let configs = self.0.master.quotas.iter().map(|(role, quota)| Config {
            role: role.as_str(),
            guarantees: amounts(&quota.guarantees),
            limits: amounts(&quota.limits),
        });
        let configs: Vec<_> = configs.collect();
        serializer.collect_map((!configs.is_empty()).then_some(("configs", configs)))
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
