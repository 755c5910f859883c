//! What agents may lend out beside what they have. An agent's newest estimate replaces what it said before, used or not; what is
//! in use above it stays in use (the agent takes it back itself), and what is only offered is rescinded.

use super::agents::Agent;
use super::{Cluster, Turn};
use crate::allocator::event::{Event as ToAllocator, Refusal as Filter};
use model::framework::{Capabilities, FrameworkInfo};
use model::id::{AgentId, OfferId};
use model::resources::Resources;
use std::sync::Arc;

/// The parts that may be taken back at any time, as their agent has them.
pub(super) fn lent(resources: &Resources) -> Resources {
    resources.filter(|part| part.is_revocable).unallocated()
}

impl Agent {
    /// Its own, and what may be lent out beside that.
    pub(super) fn total(&self) -> Resources {
        if self.oversubscribed.is_empty() {
            return self.info.total.clone();
        }
        let mut total = self.info.total.clone();
        total.add(&self.oversubscribed);
        total
    }

    /// Whether what the allocator hands out is there besides what is used and offered: it may have been decided before the
    /// allocator heard that it is not.
    pub(super) fn still_has(&self, resources: &Resources) -> bool {
        if self.is_contested {
            return self.free().contains(&resources.unallocated());
        }
        if !self.is_lending {
            return true;
        }
        let wanted = lent(resources);
        wanted.is_empty() || self.free_to_lend().saturating_sub(&lent(&self.offered)).contains(&wanted)
    }

    /// Neither used nor offered. What is used beyond what there is does not take from anything else.
    fn free(&self) -> Resources {
        self.total().saturating_sub(&self.used.unallocated()).saturating_sub(&self.offered.unallocated())
    }

    /// Of the estimate, what nobody uses.
    fn free_to_lend(&self) -> Resources {
        self.oversubscribed.saturating_sub(&lent(&self.used))
    }

    /// As estimated from here on. Whether that is another estimate.
    pub(super) fn estimate(&mut self, oversubscribed: Resources) -> bool {
        let is_other = self.oversubscribed != oversubscribed;
        self.is_lending |= is_other;
        self.oversubscribed = oversubscribed;
        is_other
    }
}

impl Cluster {
    /// An agent's estimate.
    pub(super) fn oversubscribe(&mut self, id: &AgentId, oversubscribed: Resources, turn: &mut Turn<'_>) {
        self.counters.messages_update_slave += 1;
        let agent = self.agents.get_mut(id).expect("a session's agent is registered");
        if agent.estimate(oversubscribed) {
            let (agent, total) = (agent.key, agent.total());
            // First, so that what is rescinded is not handed out again.
            turn.allocator(ToAllocator::UpdateAgent { agent, total });
            self.rescind_beyond_estimate(id, turn);
        }
    }

    /// Takes back the offers for which what may be lent does not suffice; of several, those that are first in the order of
    /// their ids stand.
    pub(super) fn rescind_beyond_estimate(&mut self, id: &AgentId, turn: &mut Turn<'_>) {
        let agent = self.agents.get(id).expect("the caller has it");
        if !agent.is_lending || agent.offers.is_empty() {
            return;
        }
        let mut free = agent.free_to_lend();
        let mut beyond: Vec<OfferId> = Vec::new();
        for (offer_id, offer) in &agent.offers {
            match free.checked_sub(&lent(&offer.resources)) {
                Some(left) => free = left,
                None => beyond.push(offer_id.clone()),
            }
        }
        beyond.iter().for_each(|offer| self.rescind(offer, Filter::None, turn));
    }
}

/// Of one name all or nothing may be taken back: else nobody could say which of it was (Mesos:
/// `validateRevocableAndNonRevocableResources`).
pub(super) fn unmixed(resources: &Resources) -> Result<(), String> {
    let firm = |name: &str| resources.iter().any(|part| *part.name == *name && !part.is_revocable);
    match resources.iter().find(|part| part.is_revocable && firm(&part.name)) {
        None => Ok(()),
        Some(mixed) => {
            let name = &mixed.name;
            Err(format!("Cannot use both revocable and non-revocable '{name}' at the same time"))
        }
    }
}

/// Who was offered something revocable and then described itself as one that does not know what that is.
pub(super) fn understood(resources: &Resources, framework: &Arc<FrameworkInfo>) -> Result<(), String> {
    if framework.capabilities.has(Capabilities::REVOCABLE_RESOURCES)
        || !resources.iter().any(|part| part.is_revocable)
    {
        return Ok(());
    }
    Err("Revocable resources are used by a framework without the capability REVOCABLE_RESOURCES".to_owned())
}
