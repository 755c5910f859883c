//! Who is not to be offered anything of which agent, whatever is free there, since the framework says so by its
//! constraints, or does not say that it is aware of regions and the agent is in another: a bit each, kept with the agent and worked out when the agent or the claimant says something else of
//! itself. So a decision asks bits, and 64 claimants at once.

use super::bits::Bits;
use super::claimant::{Claimant, ClaimantId};
use super::constraints::{Description, RoleConstraints};
use super::core::Core;
use super::event::Claims;
use super::key::AgentKey;
use model::framework::Capabilities;
use std::sync::Arc;

/// What agents say of themselves, by index; and whose business that is.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    all: Vec<Option<(u32, Arc<Description>)>>,
    /// Of who has not said anything.
    blank: Description,
    /// Claimants that have constraints.
    choosy: Bits,
    /// Agents in other regions than the masters.
    remote: Bits,
}

impl Descriptions {
    fn of(&self, agent: u32) -> &Description {
        let known = self.all.get(agent as usize).and_then(Option::as_ref);
        known.map_or(&self.blank, |(_, description)| description)
    }

    fn set(&mut self, key: AgentKey, description: Arc<Description>) {
        let at = key.index as usize;
        if at >= self.all.len() {
            self.all.resize_with(at + 1, || None);
        }
        self.all[at] = Some((key.generation, description));
    }

    /// The agent has gone.
    pub(super) fn forget(&mut self, key: AgentKey) {
        let Some(known) = self.all.get_mut(key.index as usize) else { return };
        if known.take_if(|(generation, _)| *generation == key.generation).is_some() {
            self.remote.remove(key.index);
        }
    }
}

impl Claimant {
    /// Whether it may be offered something of such an agent.
    fn admits(&self, agent: &Description, is_remote: bool) -> bool {
        !(is_remote && self.stays_home)
            && self.constraints.as_ref().is_none_or(|constraints| constraints.admit(agent))
    }
}

impl Core {
    /// The agent says so of itself; it is added after this, or was before.
    pub(super) fn describe_agent(&mut self, key: AgentKey, description: Arc<Description>) {
        let place = description.place.as_ref().map(|place| &place.region);
        let is_remote = place.zip(self.options.region.as_ref()).is_some_and(|(its, ours)| its != ours);
        self.descriptions.remote.set(key.index, is_remote);
        self.descriptions.set(key, description);
        if let Some(agent) = self.agent(key) {
            self.bar_on(agent);
            self.touch(agent);
        }
    }

    /// Works out anew who is barred from the agent.
    pub(super) fn bar_on(&mut self, agent: u32) {
        let is_remote = self.descriptions.remote.has(agent);
        let description = self.descriptions.of(agent);
        let mut barred = Bits::default();
        let mut look_at = |id: ClaimantId, claimant: &Claimant| {
            if !claimant.admits(description, is_remote) {
                barred.add(id.0);
            }
        };
        if is_remote {
            self.tree.claimants.live().for_each(|(id, claimant)| look_at(id, claimant));
        } else {
            let choosy = self.descriptions.choosy.iter().map(ClaimantId);
            choosy.for_each(|id| look_at(id, &self.tree.claimants[id]));
        }
        self.slots[agent].barred = (!barred.is_empty()).then(|| Box::new(barred));
    }

    /// The claimant's framework claims so much for it from here on.
    pub(super) fn constrain(&mut self, id: ClaimantId, claims: &Claims) {
        let role = self.tree.role(self.tree.claimants[id].role);
        let asked = claims.constraints.as_ref().and_then(|constraints| constraints.roles.get(role).cloned());
        let stays_home = !claims.capabilities.has(Capabilities::REGION_AWARE);
        self.set_choice(id, asked, stays_home);
    }

    /// It has left its role: it is offered nothing anyway.
    pub(super) fn constrain_no_more(&mut self, id: ClaimantId) {
        self.set_choice(id, None, false);
    }

    fn set_choice(&mut self, id: ClaimantId, constraints: Option<RoleConstraints>, stays_home: bool) {
        let claimant = &mut self.tree.claimants[id];
        let has_moved = claimant.stays_home != stays_home;
        claimant.stays_home = stays_home;
        if claimant.constraints != constraints {
            self.descriptions.choosy.set(id.0, constraints.is_some());
            claimant.constraints = constraints;
            (0..self.slots.len() as u32).for_each(|agent| self.bar(id, agent));
        } else if has_moved && !self.descriptions.remote.is_empty() {
            self.descriptions
                .remote
                .iter()
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|agent| self.bar(id, agent));
        }
    }

    /// Works out anew whether the claimant is barred from the agent.
    fn bar(&mut self, id: ClaimantId, agent: u32) {
        let Some(slot) = self.slots.get_mut(agent) else { return };
        let is_remote = self.descriptions.remote.has(agent);
        if !self.tree.claimants[id].admits(self.descriptions.of(agent), is_remote) {
            slot.barred.get_or_insert_default().add(id.0);
        } else if let Some(barred) = &mut slot.barred {
            barred.remove(id.0);
            slot.barred.take_if(|barred| barred.is_empty());
        }
    }

    /// The bits say what would be found out by asking.
    pub fn invariant_barred(&self) {
        for (agent, slot) in self.slots.iter() {
            let (description, is_remote) = (self.descriptions.of(agent), self.descriptions.remote.has(agent));
            let mut count = 0;
            for (id, claimant) in self.tree.claimants.live() {
                assert_eq!(slot.is_barred(id), !claimant.admits(description, is_remote), "{id:?} on {agent}");
                count += usize::from(slot.is_barred(id));
            }
            let barred = slot.barred.as_deref().map(Bits::len);
            assert_eq!(barred, (count > 0).then_some(count), "nobody is barred who is gone");
        }
    }
}
