//! Conservation and quota, held against what one leader's allocator was told and what it gave: on no agent more is given
//! away than it has, nothing is given back that was not given, what is converted stays as much as it was, and no role gets
//! what would put it above a limit.

use super::{Law, Verdict, breach};
use api::convert::volume::as_given;
use ingot_master::allocator::event::{Allocation, Event};
use ingot_master::allocator::key::{AgentKey, FrameworkKey};
use model::quota::Amounts;
use model::resources::{Resource, Resources, Value};
use model::role::Role;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(in crate::seeded) struct Books {
    totals: BTreeMap<AgentKey, Resources>,
    /// What each framework has of each agent: offered, or used.
    held: BTreeMap<(AgentKey, FrameworkKey), Resources>,
    limits: BTreeMap<Role, Amounts>,
}

fn of_agent(agent: AgentKey) -> std::ops::RangeInclusive<(AgentKey, FrameworkKey)> {
    let framework = |at| FrameworkKey { index: at, generation: at };
    (agent, framework(0))..=(agent, framework(u32::MAX))
}

impl Books {
    pub(in crate::seeded) fn hears(&mut self, event: &Event) -> Verdict {
        match event {
            Event::AddAgent { agent, total, used } => {
                self.totals.insert(*agent, total.clone());
                for (framework, resources) in used {
                    self.held.entry((*agent, *framework)).or_default().add(resources);
                }
            }
            Event::UpdateAgent { agent, total } => {
                if let Some(known) = self.totals.get_mut(agent) {
                    known.clone_from(total);
                }
            }
            Event::RemoveAgent { agent } => {
                self.totals.remove(agent);
                self.held.retain(|(of, _), _| of != agent);
            }
            Event::Convert { framework, agent, consumed, converted } => {
                if as_given(&consumed.unallocated()) != as_given(&converted.unallocated()) {
                    return breach(Law::Conservation, format!("{consumed} becomes {converted}"));
                }
                self.releases(*agent, *framework, consumed)?;
                self.held.entry((*agent, *framework)).or_default().add(converted);
                if let Some(total) = self.totals.get_mut(agent) {
                    *total = total.saturating_sub(&consumed.unallocated());
                    total.add(&converted.unallocated());
                }
            }
            Event::RemoveFramework { framework } => self.held.retain(|(_, of), _| of != framework),
            Event::Release { framework, agent, resources, .. } => {
                return self.releases(*agent, *framework, resources);
            }
            Event::SetQuota { role, quota } => _ = self.limits.insert(role.clone(), quota.limits.clone()),
            _ => {}
        }
        Ok(())
    }

    fn releases(&mut self, agent: AgentKey, framework: FrameworkKey, resources: &Resources) -> Verdict {
        // News of an agent or a framework that is removed is late, and means nothing.
        let Some(held) = self.held.get_mut(&(agent, framework)) else { return Ok(()) };
        match held.checked_sub(resources) {
            Some(rest) => {
                *held = rest;
                Ok(())
            }
            None => {
                breach(Law::Conservation, format!("{resources} come back of {agent:?}, which gave {held}"))
            }
        }
    }

    pub(in crate::seeded) fn allocates(&mut self, allocation: &Allocation) -> Verdict {
        let Allocation { framework, role, agent, resources } = allocation;
        let Some(total) = self.totals.get(agent) else {
            return breach(
                Law::Conservation,
                format!("{resources} are offered of {agent:?}, which is not there"),
            );
        };
        let mut given = Resources::default();
        self.held.range(of_agent(*agent)).for_each(|(_, held)| given.add(&held.unallocated()));
        // An agent may come back with more than it has, of an executor whose end nobody has seen: nothing more is given of
        // that, but of everything else.
        if !total.saturating_sub(&given).contains(&resources.unallocated()) {
            let what = format!("{agent:?} has {total}, {given} are given away of it, and now {resources}");
            return breach(Law::Conservation, what);
        }
        self.held.entry((*agent, *framework)).or_default().add(resources);
        self.is_within_limits(role, resources)
    }

    /// The role that has just got something, and every role above it. What is reserved for a role counts, whoever has it, and
    /// is given to it in any case; what is on loan does not count.
    fn is_within_limits(&self, role: &Role, got: &Resources) -> Verdict {
        let free = got.filter(|part| part.reservations.is_empty() && !part.is_revocable);
        for (limited, limits) in self.limits.iter().filter(|(limited, _)| role.is_within(limited)) {
            for (name, limit) in limits {
                let is_within = |of: Option<&Role>| of.is_some_and(|of| of.is_within(limited));
                let all = self.totals.values().flat_map(Resources::iter);
                let reserved = all.filter(|part| is_within(part.reserved_for()));
                let given = self.held.values().flat_map(Resources::iter);
                let is_charged = |part: &&Resource| {
                    part.reservations.is_empty() && !part.is_revocable && is_within(part.allocation.as_ref())
                };
                let parts = reserved.chain(given.filter(is_charged)).filter(|part| *part.name == **name);
                let sum = parts.map(|part| match part.value {
                    Value::Scalar(amount) => amount,
                    _ => Default::default(),
                });
                let sum = sum.sum::<model::quantity::Quantity>();
                if sum > *limit && !free.scalar(name).is_zero() {
                    let what = format!("{limited} may have {limit} {name}, and has {sum} after {got} more");
                    return breach(Law::Quota, what);
                }
            }
        }
        Ok(())
    }
}
