//! A master that follows another: what the registry says, who is waited for, and what becomes of those who do not come.
//!
//! Agents that the registry has as admitted are *expected*. Nothing is offered until most of them are back, or a while has
//! passed: who comes first would be offered everything, and what runs elsewhere is not known yet. Those who are not back
//! after `--agent_reregister_timeout` are given up, one after another where a rate is set; if they are too many,
//! it is rather this master that cannot be reached, and it goes no further (as Mesos does: src/master/master.cpp).

use super::durable::Then;
use super::effect::Effect;
use super::note::Note;
use super::timers::Timer;
use super::{Cluster, Turn};
use crate::allocator::event;
use crate::registrar::change::Change;
use crate::registrar::registry::Registry;
use model::agent_info::AgentInfo;
use model::id::AgentId;
use model::time::{Time, UnixTime};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use wire::registry::Standing;

/// Of a hundred agents that are expected, so many must be back before offers are made (as in Mesos' allocator).
const BACK_PERCENT: usize = 80;

/// Agents of the master before this one that are not back.
#[derive(Debug, Default)]
pub(super) struct Expected {
    agents: BTreeMap<AgentId, Arc<AgentInfo>>,
    /// Who of them is where: one that forgot its id is known by it, and there is one at most. The registry has more where the
    /// master before this one died over it.
    addresses: BTreeSet<(SocketAddr, AgentId)>,
    /// As many as there were.
    total_count: usize,
    /// Nothing is offered before then, or before enough are back.
    held_until: Option<Time>,
}

impl Expected {
    pub(super) fn contains(&self, id: &AgentId) -> bool {
        self.agents.contains_key(id)
    }

    pub(super) fn get(&self, id: &AgentId) -> Option<&Arc<AgentInfo>> {
        self.agents.get(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    fn insert(&mut self, id: AgentId, info: Arc<AgentInfo>) {
        self.addresses.insert((info.address, id.clone()));
        self.agents.insert(id, info);
    }

    pub(super) fn remove(&mut self, id: &AgentId) -> Option<Arc<AgentInfo>> {
        let info = self.agents.remove(id)?;
        self.addresses.remove(&(info.address, id.clone()));
        Some(info)
    }

    fn at(&self, address: SocketAddr) -> Vec<AgentId> {
        let from = (address, AgentId::new(""));
        let here = self.addresses.range(from..).take_while(|(at, _)| *at == address);
        here.map(|(_, id)| id.clone()).collect()
    }

    pub(super) fn holds_offers(&self) -> bool {
        self.held_until.is_some()
    }

    pub(super) fn list(&self) -> Vec<(AgentId, Arc<AgentInfo>)> {
        self.agents.iter().map(|(id, info)| (id.clone(), Arc::clone(info))).collect()
    }
}

/// How fast agents may be given up: so many in each interval, evenly spread (`--agent_removal_rate_limit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovalRate {
    /// At least one.
    pub count: u32,
    pub interval_ms: u64,
}

/// Agents that are to be given up when it is their turn.
#[derive(Debug, Default)]
pub(super) struct Removals {
    order: VecDeque<AgentId>,
    queued: BTreeSet<AgentId>,
    /// Not before then is the next one given up.
    next: Time,
}

impl Removals {
    pub(super) fn is_queued(&self, id: &AgentId) -> bool {
        self.queued.contains(id)
    }
}

impl Cluster {
    /// Takes over what the masters before this one have written down.
    pub(super) fn recovered(&mut self, registry: Registry, turn: &mut Turn<'_>) {
        self.take_over_shares(registry.quotas, registry.weights, turn);
        self.take_over_machines(registry.machines);
        for (id, agent) in registry.agents {
            self.withdrawn.take_over(&id, agent.withdrawal);
            match agent.standing {
                Standing::Admitted(info) => self.expected.insert(id, info),
                Standing::Unreachable(since) => self.keep_unreachable_agent(id, since, turn),
                Standing::Gone(since) => self.keep_gone(id, since, turn),
            }
        }
        let count = self.expected.agents.len();
        self.expected.total_count = count;
        turn.note(Note::Recovered { expected_count: count, unreachable_count: self.unreachable.count() });
        if count > 0 {
            let until = turn.now.time.plus_ms(self.settings.offers_held_ms_max);
            self.expected.held_until = Some(until);
            self.timers.set(until, Timer::OffersHeld);
            let end = turn.now.time.plus_ms(self.settings.agent_reregister_timeout_ms);
            self.timers.set(end, Timer::RecoveryOver);
        }
    }

    /// Offers are made when enough are back. To be called when one is, or is given up.
    pub(super) fn release_offers_if_enough(&mut self, turn: &mut Turn<'_>) {
        let back = self.expected.total_count - self.expected.agents.len();
        if back * 100 >= self.expected.total_count * BACK_PERCENT {
            self.release_offers(turn);
        }
    }

    pub(super) fn release_offers(&mut self, turn: &mut Turn<'_>) {
        let Some(until) = self.expected.held_until.take() else { return };
        self.timers.cancel(until, Timer::OffersHeld);
        let missing_count = self.expected.agents.len();
        turn.note(Note::OffersReleased { missing_count });
        for (id, agent) in self.agents.iter() {
            if agent.session.is_some() && !self.withdrawn.is_deactivated(id) {
                turn.allocator(event::Event::ActivateAgent { agent: agent.key });
            }
        }
    }

    /// Whoever is not back by now is given up, unless they are so many that the fault may be ours.
    pub(super) fn recovery_over(&mut self, turn: &mut Turn<'_>) {
        let missing: Vec<_> = self.expected.agents.keys().cloned().collect();
        let (count, total) = (missing.len(), self.expected.total_count);
        let limit_percent = self.settings.recovery_agent_removal_limit_percent;
        if count * 100 > total * usize::from(limit_percent) {
            let why = format!(
                "Post-recovery agent removal limit exceeded: of {total} agents in the registry, {count} did not \
                 reregister within --agent_reregister_timeout, which is more than the {limit_percent}% of \
                 --recovery_agent_removal_limit. Nothing was done about them. Find out why they do not come, or raise the limit"
            );
            return turn.effects.push(Effect::Abort { why: why.into() });
        }
        for id in missing {
            self.schedule_removal(&id, turn);
        }
    }

    /// The agent is to be given up: now, or when it is its turn.
    pub(super) fn schedule_removal(&mut self, id: &AgentId, turn: &mut Turn<'_>) {
        self.counters.slave_unreachable_scheduled += 1;
        let removals = &mut self.removals;
        if removals.order.is_empty() && removals.next <= turn.now.time {
            self.rest_after_removal(turn);
            return self.give_up(id, turn);
        }
        if removals.order.is_empty() {
            self.timers.set(removals.next, Timer::Removal);
        }
        removals.order.push_back(id.clone());
        removals.queued.insert(id.clone());
    }

    fn rest_after_removal(&mut self, turn: &mut Turn<'_>) {
        if let Some(RemovalRate { count, interval_ms }) = self.settings.agent_removal_rate_limit {
            let ns = interval_ms.saturating_mul(1_000_000) / u64::from(count.max(1));
            self.removals.next = turn.now.time.plus_ns(ns);
        }
    }

    /// It is somebody's turn: the first who is still silent.
    pub(super) fn next_removal(&mut self, turn: &mut Turn<'_>) {
        while let Some(id) = self.removals.order.pop_front() {
            self.removals.queued.remove(&id);
            if self.expected.contains(&id) || self.is_silent(&id) {
                self.rest_after_removal(turn);
                self.give_up(&id, turn);
                break;
            }
            self.counters.slave_unreachable_canceled += 1;
        }
        if !self.removals.order.is_empty() {
            let next = self.removals.next.max(turn.now.time);
            self.timers.set(next, Timer::Removal);
        }
    }

    /// An expected agent is given up: it is unreachable, with whatever runs there.
    pub(super) fn lose_expected(&mut self, id: &AgentId, since: UnixTime, turn: &mut Turn<'_>) {
        let why = "it did not reregister in time";
        turn.note(Note::AgentRemoved { agent_id: id.clone(), why: why.into(), task_count: 0 });
        self.counters.slave_removals += 1;
        self.counters.slave_removals_reason_unhealthy += 1;
        self.keep_unreachable_agent(id.clone(), since, turn);
        self.tell_of_lost_agent(id, turn);
        self.release_offers_if_enough(turn);
    }

    /// One that is not back need not be waited for: nothing is kept of it, and nobody runs its tasks.
    /// An agent has come from this address: who else was there before has lost its id, and does not come back.
    pub(super) fn forget_expected_at(&mut self, address: SocketAddr, turn: &mut Turn<'_>) {
        for old in self.expected.at(address) {
            self.forget_expected(&old, "another agent registered at the same address", turn);
        }
    }

    pub(super) fn forget_expected(&mut self, id: &AgentId, why: &'static str, turn: &mut Turn<'_>) {
        self.expected.remove(id);
        self.counters.slave_removals += 1;
        turn.note(Note::AgentRemoved { agent_id: id.clone(), why: why.into(), task_count: 0 });
        // On its way out, it is in the registry as what it will be.
        if !self.pending.leaving.contains(id) {
            self.persist(Change::Forget { agent_id: id.clone() }, Then::Nothing, turn);
        }
        self.tell_of_lost_agent(id, turn);
        self.release_offers_if_enough(turn);
    }

    /// Remembers an agent that was given up; the oldest is forgotten for it, here and in the registry.
    pub(super) fn keep_unreachable_agent(&mut self, id: AgentId, since: UnixTime, turn: &mut Turn<'_>) {
        if let Some(agent_id) = self.unreachable.insert(id, since) {
            self.persist(Change::Forget { agent_id }, Then::Nothing, turn);
        }
    }

    /// The same for one that is gone.
    pub(super) fn keep_gone(&mut self, id: AgentId, since: UnixTime, turn: &mut Turn<'_>) {
        if let Some(agent_id) = self.withdrawn.keep_gone(&id, since) {
            self.persist(Change::Forget { agent_id }, Then::Nothing, turn);
        }
    }
}
