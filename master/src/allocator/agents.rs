//! Events about agents, and releases.

use super::claimant::ClaimantId;
use super::core::Core;
use super::event::Refusal;
use super::filter::{PASS_NS_MAX, PASS_PACE_NS, REFUSAL_NS_MAX};
use super::key::{AgentKey, FrameworkKey};
use super::parcel::Parcel;
use super::quantities::Quantities;
use super::slot::Slot;
use model::resources::{Resource, Resources};
use model::role::Role;
use model::time::Time;

impl Core {
    pub(super) fn add_agent(
        &mut self,
        key: AgentKey,
        total: Resources,
        used: Vec<(FrameworkKey, Resources)>,
    ) {
        let total = Parcel::from_resources(total);
        self.tree.change_total(&Quantities::default(), &total.quantities());
        self.slots.add(key.index, Slot::new(key.generation, total));
        for (framework, resources) in used {
            for_each_role(resources, |role, parcel| {
                let id = self.claimant_in(framework, role);
                self.tree.charge(id, &parcel.quantities());
                self.slots.hold(key.index, &mut self.tree.claimants, id, parcel);
            });
        }
        self.slots[key.index].refit();
        self.refresh_ready(key.index);
        self.touch(key.index);
    }

    pub(super) fn update_agent(&mut self, key: AgentKey, total: Resources) {
        let Some(agent) = self.agent(key) else { return };
        let total = Parcel::from_resources(total);
        let come = total.quantities();
        let gone = self.slots[agent].set_total(total).quantities();
        self.tree.change_total(&gone, &come);
        self.refresh_ready(agent);
        self.touch(agent);
    }

    pub(super) fn remove_agent(&mut self, key: AgentKey) {
        let Some(agent) = self.agent(key) else { return };
        for (id, parcel) in self.slots.drop_all_held(agent, &mut self.tree.claimants) {
            self.tree.discharge(id, &parcel.quantities());
            self.drop_if_idle(self.tree.claimants[id].framework, id);
        }
        let slot = &mut self.slots[agent];
        slot.refusals.clear(&mut self.tree.claimants, &mut self.refusal_counts);
        self.rearm(agent);
        self.touched.retain(|other| *other != agent);
        let slot = self.slots.remove(agent).expect("it was here a line ago");
        self.tree.change_total(&slot.total().quantities(), &Quantities::default());
        self.refresh_ready(agent);
    }

    pub(super) fn set_agent_active(&mut self, key: AgentKey, is_active: bool) {
        let Some(agent) = self.agent(key) else { return };
        self.slots[agent].is_active = is_active;
        self.refresh_ready(agent);
        self.touch(agent);
    }

    /// What belongs to an agent or a framework that was removed has gone with it.
    pub(super) fn release(
        &mut self,
        now: Time,
        (framework, agent): (FrameworkKey, AgentKey),
        resources: Resources,
        refusal: Refusal,
    ) {
        let (Some(agent), Some(_)) = (self.agent(agent), self.frameworks.get(framework)) else { return };
        for_each_role(resources, |role, parcel| {
            let id = self.find_claimant(framework, role).expect("who gives back holds something");
            self.tree.discharge(id, &parcel.quantities());
            let refused = refusal.until(now).map(|until| (parcel.clone(), until));
            self.slots.release(agent, &mut self.tree.claimants, id, parcel);
            if let Some((parcel, until)) = refused {
                self.refuse(agent, id, parcel, until);
            }
            self.drop_if_idle(framework, id);
        });
        self.refresh_ready(agent);
        match refusal {
            Refusal::Pass | Refusal::For { ns: 0 } => self.pass_on(now, agent),
            Refusal::None | Refusal::For { .. } => self.touch(agent),
        }
    }

    /// Notes a refusal, unless its claimant has left: it gets no offers anyway.
    fn refuse(&mut self, agent: u32, id: ClaimantId, what: Parcel, (until, is_pass): (Time, bool)) {
        if !self.tree.claimants[id].is_subscribed {
            return;
        }
        let refusals = &mut self.slots[agent].refusals;
        refusals.add(&mut self.tree.claimants, &mut self.refusal_counts, id, what, (until, is_pass));
        self.rearm(agent);
    }

    /// Has the others asked, at once if there have not been too many such questions of late.
    fn pass_on(&mut self, now: Time, agent: u32) {
        let due = self.pass_next.max(now);
        self.pass_next = due.plus_ns(PASS_PACE_NS);
        if due == now {
            self.touch(agent);
        } else {
            self.slots[agent].refusals.put_off(due);
            self.rearm(agent);
        }
    }
}

impl Refusal {
    /// Until when it holds, and whether it is a pass.
    fn until(self, now: Time) -> Option<(Time, bool)> {
        match self {
            Self::None => None,
            Self::Pass | Self::For { ns: 0 } => Some((now.plus_ns(PASS_NS_MAX), true)),
            Self::For { ns } => Some((now.plus_ns(ns.min(REFUSAL_NS_MAX)), false)),
        }
    }
}

/// Shows resources by the role they are allocated to; what has no mark is `*`'s. Mostly there is one.
fn for_each_role(resources: Resources, mut show: impl FnMut(&Role, Parcel)) {
    let mut left = resources;
    loop {
        let Some(first) = left.iter().next() else { return };
        let role = first.allocation.clone().unwrap_or_default();
        let is_other = |part: &Resource| match &part.allocation {
            Some(other) => *other != role,
            None => !role.is_star(),
        };
        if !left.iter().any(is_other) {
            return show(&role, Parcel::from_resources(left));
        }
        show(&role, Parcel::from_resources(left.filter(|part| !is_other(part))));
        left = left.filter(is_other);
    }
}
