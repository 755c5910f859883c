//! Who is not to be offered anything of which agent, whatever is free there, since the framework says so by its
//! constraints: a bit each, kept with the agent and worked out when the agent or the claimant says something else of
//! itself. So a decision asks bits, and 64 claimants at once.

use super::bits::Bits;
use super::claimant::{Claimant, ClaimantId};
use super::constraints::{Constraints, Description};
use super::core::Core;
use super::key::AgentKey;
use std::sync::Arc;

/// What agents say of themselves, by index; and whose business that is.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    all: Vec<Option<(u32, Arc<Description>)>>,
    /// Of who has not said anything.
    blank: Description,
    /// Claimants that do not take every agent.
    pub(super) choosy: Bits,
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
        if let Some(known) = self.all.get_mut(key.index as usize) {
            known.take_if(|(generation, _)| *generation == key.generation);
        }
    }
}

impl Claimant {
    /// Whether it may be offered something of such an agent.
    pub(super) fn admits(&self, agent: &Description) -> bool {
        self.constraints.as_ref().is_none_or(|constraints| constraints.admit(agent))
    }
}

impl Core {
    /// The agent says so of itself; it is added after this, or was before.
    pub(super) fn describe_agent(&mut self, key: AgentKey, description: Arc<Description>) {
        self.descriptions.set(key, description);
        if let Some(agent) = self.agent(key) {
            self.bar_on(agent);
            self.touch(agent);
        }
    }

    /// Works out anew who is barred from the agent.
    pub(super) fn bar_on(&mut self, agent: u32) {
        let description = self.descriptions.of(agent);
        let mut barred = Bits::default();
        for id in self.descriptions.choosy.iter() {
            if !self.tree.claimants[ClaimantId(id)].admits(description) {
                barred.add(id);
            }
        }
        self.slots[agent].barred = (!barred.is_empty()).then(|| Box::new(barred));
    }

    /// The claimant's framework asks for these constraints from here on.
    pub(super) fn constrain(&mut self, id: ClaimantId, constraints: Option<&Constraints>) {
        if constraints.is_none() && self.tree.claimants[id].constraints.is_none() {
            return;
        }
        let role = self.tree.role(self.tree.claimants[id].role);
        let asked = constraints.and_then(|constraints| constraints.roles.get(role));
        if self.tree.claimants[id].constraints.as_ref() != asked {
            let asked = asked.cloned();
            self.tree.claimants[id].constraints = asked;
            self.bar(id);
        }
    }

    /// It has left its role: it is offered nothing anyway.
    pub(super) fn constrain_no_more(&mut self, id: ClaimantId) {
        if self.tree.claimants[id].constraints.take().is_some() {
            self.bar(id);
        }
    }

    /// Works out anew from which agents the claimant is barred.
    fn bar(&mut self, id: ClaimantId) {
        let claimant = &self.tree.claimants[id];
        self.descriptions.choosy.set(id.0, claimant.constraints.is_some());
        for agent in 0..self.slots.len() as u32 {
            let Some(slot) = self.slots.get_mut(agent) else { continue };
            if !claimant.admits(self.descriptions.of(agent)) {
                slot.barred.get_or_insert_default().add(id.0);
            } else if let Some(barred) = &mut slot.barred {
                barred.remove(id.0);
                slot.barred.take_if(|barred| barred.is_empty());
            }
        }
    }

    /// The bits say what would be found out by asking.
    pub fn invariant_barred(&self) {
        for (agent, slot) in self.slots.iter() {
            let description = self.descriptions.of(agent);
            let mut count = 0;
            for (id, claimant) in self.tree.claimants.live() {
                assert_eq!(slot.is_barred(id), !claimant.admits(description), "{id:?} on {agent}");
                count += usize::from(slot.is_barred(id));
            }
            let barred = slot.barred.as_deref().map(Bits::len);
            assert_eq!(barred, (count > 0).then_some(count), "nobody is barred who is gone");
        }
    }
}
