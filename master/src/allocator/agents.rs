//! Events about agents, and releases.

use super::claimant::ClaimantId;
use super::core::Core;
use super::event::Refusal;
use super::filter::{self, PASS_NS_MAX, PASS_PACE_NS, REFUSAL_NS_MAX};
use super::key::{AgentKey, FrameworkKey};
use super::parcel::{Parcel, Stock};
use super::quantities::Quantities;
use super::slot::Slot;
use model::resources::{Resource, Resources};
use model::role::Role;
use model::time::Time;
use std::sync::Arc;

impl Core {
    pub(super) fn add_agent(
        &mut self,
        key: AgentKey,
        total: Resources,
        used: Vec<(FrameworkKey, Resources)>,
    ) {
        let total = self.shapes.share(Parcel::from_resources(total));
        self.tree.change_total(&Quantities::default(), &total.quantities());
        self.change_reserved(&total, true);
        self.slots.add(key.index, Slot::new(key.generation, total));
        for (framework, resources) in used {
            for_each_role(resources, |role, parcel| {
                let id = self.claimant_in(framework, role);
                self.tree.charge_used(id, &parcel);
                let holding = (Arc::new(parcel), Resources::EMPTY);
                self.slots.hold(key.index, &mut self.tree.claimants, id, holding);
            });
        }
        self.slots[key.index].refit();
        self.bar_on(key.index);
        self.refresh_ready(key.index);
        self.touch(key.index);
    }

    pub(super) fn update_agent(&mut self, key: AgentKey, total: Resources) {
        let Some(agent) = self.agent(key) else { return };
        self.set_total(agent, Parcel::from_resources(total));
        self.refresh_ready(agent);
        self.touch(agent);
    }

    fn set_total(&mut self, agent: u32, total: Parcel) {
        let total = self.shapes.share(total);
        let come = total.quantities();
        self.change_reserved(&total, true);
        let gone = self.slots[agent].set_total(total);
        self.change_reserved(&gone, false);
        self.tree.change_total(&gone.quantities(), &come);
    }

    pub(super) fn remove_agent(&mut self, key: AgentKey) {
        let Some(agent) = self.agent(key) else { return };
        self.descriptions.forget(key);
        for (id, parcel) in self.slots.drop_all_held(agent, &mut self.tree.claimants) {
            self.tree.discharge(id, &parcel);
            self.drop_if_idle(self.tree.claimants[id].framework, id);
        }
        let slot = &mut self.slots[agent];
        slot.refusals.clear(&mut self.tree.claimants, &mut self.columns);
        self.rearm(agent);
        self.touched.retain(|other| *other != agent);
        self.count_out(agent);
        let slot = self.slots.remove(agent).expect("it was here a line ago");
        self.change_reserved(slot.total(), false);
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
        if let Some((id, parcel)) = self.release_given(framework, agent, &resources) {
            self.released(now, (framework, agent), id, (&parcel, refusal));
        } else {
            for_each_role(resources, |role, parcel| {
                let id = self.find_claimant(framework, role).expect("who gives back holds something");
                let parcel = Arc::new(parcel);
                self.slots.release(agent, &mut self.tree.claimants, id, parcel.clone());
                self.released(now, (framework, agent), id, (&parcel, refusal));
            });
        }
        self.refresh_ready(agent);
        match refusal {
            Refusal::Pass | Refusal::For { ns: 0 } => self.pass_on(now, agent),
            Refusal::None | Refusal::For { .. } => self.touch(agent),
        }
    }

    /// What the framework holds there is now something else, and still the framework's.
    pub(super) fn convert(
        &mut self,
        (framework, agent): (FrameworkKey, AgentKey),
        consumed: Resources,
        converted: Resources,
    ) {
        let (Some(agent), Some(_)) = (self.agent(agent), self.frameworks.get(framework)) else { return };
        let role = consumed.iter().next().and_then(|part| part.allocation.clone()).unwrap_or_default();
        let id = self.find_claimant(framework, &role).expect("who converts holds something");
        let (consumed, converted) = (Parcel::from_resources(consumed), Parcel::from_resources(converted));
        let mut total = Parcel::clone(self.slots[agent].total());
        total.subtract(&consumed);
        total.add(&converted);
        let consumed = Arc::new(consumed);
        self.slots.release(agent, &mut self.tree.claimants, id, consumed.clone());
        self.tree.discharge(id, &consumed);
        self.set_total(agent, total);
        self.tree.charge_used(id, &converted);
        self.slots.hold(agent, &mut self.tree.claimants, id, (Arc::new(converted), Resources::EMPTY));
        self.slots[agent].refit();
        self.refresh_ready(agent);
    }

    /// All that was handed out comes back as it was: as nearly everything that is declined.
    fn release_given(
        &mut self,
        framework: FrameworkKey,
        agent: u32,
        resources: &Resources,
    ) -> Option<(ClaimantId, Stock)> {
        let role = resources.iter().next()?.allocation.as_ref()?;
        let id = self.find_claimant(framework, role)?;
        let parcel = self.slots.release_given(agent, &mut self.tree.claimants, id, resources)?;
        Some((id, parcel))
    }

    /// What the claimant held is free again.
    fn released(
        &mut self,
        now: Time,
        (framework, agent): (FrameworkKey, u32),
        id: ClaimantId,
        (parcel, refusal): (&Stock, Refusal),
    ) {
        self.tree.discharge(id, parcel);
        if let Some(until) = refusal.until(now) {
            self.refuse(agent, id, parcel, until);
        }
        self.drop_if_idle(framework, id);
    }

    /// What of an agent's total is reserved counts for the quota of whom it is reserved for.
    fn change_reserved(&mut self, total: &Parcel, is_come: bool) {
        for (role, amounts) in total.reserved() {
            self.tree.change_reserved(&role, &amounts, is_come);
        }
    }

    /// Notes a refusal, unless its claimant has left: it gets no offers anyway.
    fn refuse(&mut self, agent: u32, id: ClaimantId, what: &Stock, (until, is_pass): (Time, bool)) {
        if !self.tree.claimants[id].is_subscribed {
            return;
        }
        let refusals = &mut self.slots[agent].refusals;
        refusals.add(&mut self.tree.claimants, &mut self.columns, id, what, (until, is_pass));
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
            Self::Pass | Self::For { ns: 0 } => Some((filter::end(now, PASS_NS_MAX), true)),
            Self::For { ns } => Some((filter::end(now, ns.min(REFUSAL_NS_MAX)), false)),
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
