//! What operators say of roles: weights and quotas. They are values in what the master says of itself, and the allocator is
//! told of each, when the registry has them; the next master takes them over from there.
//!
//! A quota is checked when it is asked for, against what those asked for before it will make of all: what is durable holds.

use super::agents::Agent;
use super::{Cluster, Turn};
use crate::allocator::event::{Event as ToAllocator, Refusal as Filter};
use crate::registrar::change::Change;
use api::refusal::Refusal;
use model::id::OfferId;
use model::quantity::Quantity;
use model::quota::{Amounts, Quota};
use model::resources::{Resource, Value};
use model::role::Role;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use wire::registry::QuotaRecord;

impl Cluster {
    /// UPDATE_WEIGHTS. From here on; what is allocated stays.
    pub(super) fn update_weights(&mut self, weights: Vec<(Role, Quantity)>, turn: &mut Turn<'_>) {
        for (role, weight) in weights {
            Arc::make_mut(&mut self.master).weights.insert(role.clone(), weight);
            turn.allocator(ToAllocator::SetWeight { role, weight });
        }
    }

    /// Whether UPDATE_QUOTA may be done, all of it or none. From here on it counts for those that are asked for later.
    pub(super) fn promise_quotas(
        &mut self,
        quotas: &[(Role, Quota)],
        is_forced: bool,
    ) -> Result<(), Refusal> {
        let mut all = self.pending.quotas.clone();
        for (role, quota) in quotas {
            check_limits(role, quota)?;
            if !is_forced {
                self.check_consumption(role, quota)?;
            }
            put(&mut all, role, quota);
        }
        check_tree(&all)?;
        if !is_forced {
            self.check_capacity(&all)?;
        }
        self.pending.quotas = all;
        Ok(())
    }

    /// The registry has it. Offers that stand against it are taken back; tasks are not.
    pub(super) fn update_quota(&mut self, quotas: Vec<(Role, Quota)>, turn: &mut Turn<'_>) {
        let before = self.master.quotas.clone();
        for (role, quota) in &quotas {
            put(&mut Arc::make_mut(&mut self.master).quotas, role, quota);
            turn.allocator(ToAllocator::SetQuota { role: role.clone(), quota: quota.clone() });
        }
        for (role, quota) in quotas {
            let old = before.get(&role).map_or_else(Amounts::new, |old| old.guarantees.clone());
            let is_raised =
                quota.guarantees.iter().any(|(name, amount)| old.get(name).is_none_or(|old| old < amount));
            let is_limited = !quota.limits.is_empty();
            // Its own offers may be more than it may have; others' may be what it is guaranteed.
            let stands_against = |of: &Role| if of.is_within(&role) { is_limited } else { is_raised };
            let meant: Vec<OfferId> = self
                .offers
                .values()
                .filter(|offer| stands_against(&offer.role))
                .map(|offer| offer.id.clone())
                .collect();
            meant.iter().for_each(|id| self.rescind(id, Filter::None, turn));
        }
    }

    /// As the masters before this one have left them. A weight that was set goes before one of the flags.
    pub(super) fn take_over_shares(
        &mut self,
        quotas: BTreeMap<Role, QuotaRecord>,
        weights: BTreeMap<Role, Quantity>,
        turn: &mut Turn<'_>,
    ) {
        self.update_weights(weights.into_iter().collect(), turn);
        let quota = |it: QuotaRecord| Quota { guarantees: it.guarantees, limits: it.limits };
        let quotas: Vec<_> = quotas.into_iter().map(|(role, record)| (role, quota(record))).collect();
        quotas.iter().for_each(|(role, quota)| put(&mut self.pending.quotas, role, quota));
        self.update_quota(quotas, turn);
    }

    /// What the role has must be within its limits: used by its tasks, and reserved for it.
    fn check_consumption(&self, role: &Role, quota: &Quota) -> Result<(), Refusal> {
        for (name, limit) in &quota.limits {
            let consumed = self.consumed(role, name);
            if consumed > *limit {
                return Err(Refusal::Bad(format!(
                    "Invalid QuotaConfig: Role '{role}' is already consuming '{name}:{consumed}'; this is more than the \
                     requested limits '{}' (use 'force' flag to bypass this check)",
                    shown(&quota.limits)
                )));
            }
        }
        Ok(())
    }

    fn consumed(&self, role: &Role, name: &str) -> Quantity {
        let amount = |part: &Resource| match part.value {
            Value::Scalar(amount) if *part.name == *name && !part.is_revocable => amount,
            _ => Quantity::ZERO,
        };
        let of_agent = |agent: &Agent| {
            let is_reserved =
                |part: &&Resource| part.reserved_for().is_some_and(|owner| owner.is_within(role));
            let is_used = |part: &&Resource| {
                part.reservations.is_empty() && part.allocation.as_ref().is_some_and(|of| of.is_within(role))
            };
            let reserved = agent.info.total.iter().filter(is_reserved).map(amount);
            reserved.chain(agent.used.iter().filter(is_used).map(amount)).sum::<Quantity>()
        };
        self.agents.iter().map(|(_, agent)| of_agent(agent)).sum()
    }

    /// All guarantees together must be less than what the agents have.
    fn check_capacity(&self, quotas: &BTreeMap<Role, Quota>) -> Result<(), Refusal> {
        let mut sums = Amounts::new();
        for (_, quota) in quotas.iter().filter(|(role, _)| role.parent().is_none()) {
            quota
                .guarantees
                .iter()
                .for_each(|(name, amount)| *sums.entry(name.clone()).or_default() += *amount);
        }
        let has =
            |name: &str| self.agents.iter().map(|(_, agent)| agent.info.total.scalar(name)).sum::<Quantity>();
        match sums.iter().find(|(name, amount)| has(name) < **amount) {
            None => Ok(()),
            Some((name, _)) => Err(Refusal::Bad(format!(
                "Invalid QuotaConfig: total quota guarantees '{}' exceed cluster capacity '{name}:{}' (use 'force' flag to \
                 bypass this check)",
                shown(&sums),
                has(name)
            ))),
        }
    }
}

/// What is to be kept of UPDATE_WEIGHTS.
pub(super) fn weights_change(weights: &[(Role, Quantity)]) -> Change {
    Change::Weights { weights: weights.iter().map(|(role, weight)| (role.clone(), Some(*weight))).collect() }
}

/// What is to be kept of UPDATE_QUOTA.
pub(super) fn quotas_change(quotas: &[(Role, Quota)]) -> Change {
    let record = |quota: &Quota| {
        let Quota { guarantees, limits } = quota.clone();
        (!quota.is_default()).then_some(QuotaRecord { guarantees, limits })
    };
    Change::Quotas { quotas: quotas.iter().map(|(role, quota)| (role.clone(), record(quota))).collect() }
}

/// A default quota takes the role's away.
fn put(all: &mut BTreeMap<Role, Quota>, role: &Role, quota: &Quota) {
    if quota.is_default() {
        all.remove(role);
    } else {
        all.insert(role.clone(), quota.clone());
    }
}

fn check_limits(role: &Role, quota: &Quota) -> Result<(), Refusal> {
    match quota.contradiction() {
        None => Ok(()),
        Some(name) => Err(Refusal::Bad(format!(
            "Invalid QuotaConfig: Role '{role}': the guarantee of '{name}' is more than its limit"
        ))),
    }
}

/// What is guaranteed to the children of a role is part of what it is guaranteed itself, as in Mesos.
fn check_tree(quotas: &BTreeMap<Role, Quota>) -> Result<(), Refusal> {
    let mut below: BTreeMap<Role, Amounts> = BTreeMap::new();
    for (role, quota) in quotas {
        if let Some(parent) = role.parent() {
            let sums = below.entry(parent).or_default();
            quota
                .guarantees
                .iter()
                .for_each(|(name, amount)| *sums.entry(name.clone()).or_default() += *amount);
        }
    }
    for (role, sums) in below {
        let own = quotas.get(&role).map(|quota| &quota.guarantees);
        let has = |name| own.and_then(|own| own.get(name)).copied().unwrap_or_default();
        if sums.iter().any(|(name, sum)| has(name) < *sum) {
            return Err(Refusal::Bad(format!(
                "Invalid QuotaConfig: Invalid quota configuration. Parent role '{role}' with quota '{}' does not contain \
                 the sum of its children's guarantees '{}'",
                own.map(shown).unwrap_or_default(),
                shown(&sums)
            )));
        }
    }
    Ok(())
}

/// `cpus:4; mem:1024`.
fn shown(amounts: &Amounts) -> String {
    let mut text = String::new();
    for (name, amount) in amounts {
        let comma = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{comma}{name}:{amount}");
    }
    text
}
