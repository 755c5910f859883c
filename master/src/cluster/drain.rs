//! Agents that an operator takes out of use: deactivated (nothing of them is offered), draining (their tasks are killed, too),
//! gone (they may not come back). Semantics and texts are Mesos' (src/master/http.cpp, docs/maintenance.md).
//!
//! ```text
//!   DRAIN_AGENT -> DRAINING, deactivated -- its last task is over and acknowledged --> DRAINED, or gone where that was asked
//!   DEACTIVATE_AGENT -> deactivated          REACTIVATE_AGENT (not while DRAINING) -> as before
//!   MARK_AGENT_GONE -> gone
//! ```
//! Held apart from the agents themselves: it stays when one is given up and comes back. Whatever is answered is in the
//! registry, and so outlives the master.

use super::agents::Removal;
use super::durable::Then;
use super::input::{OperatorCall, SessionId, Ticket};
use super::note::Note;
use super::shares::{quotas_change, weights_change};
use super::{Cluster, Turn};
use crate::allocator::event::{self, Refusal as Release};
use crate::cluster::effect::Done;
use crate::registrar::change::Change;
use api::refusal::Refusal;
use model::id::AgentId;
use model::time::UnixTime;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::message::ToAgent;
use wire::registry::WithdrawalRecord;

/// Agents marked gone that are remembered (Mesos keeps 100,000).
const GONE_MAX: usize = 100_000;
const GONE: &str = "Agent has been marked gone";

/// An agent that is or was drained, as the registry keeps it.
pub use wire::registry::DrainRecord as Drain;

/// What operators have taken out of use.
#[derive(Debug, Default)]
pub(super) struct Withdrawn {
    deactivated: BTreeSet<AgentId>,
    draining: BTreeMap<AgentId, Drain>,
    gone: BTreeMap<AgentId, UnixTime>,
    /// The same, oldest first.
    gone_order: VecDeque<AgentId>,
}

impl Withdrawn {
    pub(super) fn is_deactivated(&self, id: &AgentId) -> bool {
        self.deactivated.contains(id)
    }

    pub(super) fn deactivated(&self) -> impl Iterator<Item = &AgentId> {
        self.deactivated.iter()
    }

    pub(super) fn drain(&self, id: &AgentId) -> Option<Drain> {
        self.draining.get(id).copied()
    }

    pub(super) fn is_gone(&self, id: &AgentId) -> bool {
        self.gone.contains_key(id)
    }

    /// Which one is forgotten for it.
    pub(super) fn keep_gone(&mut self, id: &AgentId, since: UnixTime) -> Option<AgentId> {
        self.deactivated.remove(id);
        self.draining.remove(id);
        if self.gone.insert(id.clone(), since).is_some() {
            return None;
        }
        self.gone_order.push_back(id.clone());
        let oldest = self.gone_order.pop_front_if(|_| self.gone.len() > GONE_MAX)?;
        self.gone.remove(&oldest);
        Some(oldest)
    }

    /// As the registry has it.
    pub(super) fn take_over(&mut self, id: &AgentId, withdrawal: WithdrawalRecord) {
        if withdrawal.is_deactivated {
            self.deactivated.insert(id.clone());
        }
        if let Some(drain) = withdrawal.drain {
            // Its agent is told anew when it is back.
            self.draining.insert(id.clone(), Drain { started: None, ..drain });
        }
    }
}

impl Cluster {
    /// What is refused is answered at once, the rest when the registry has it.
    pub(super) fn operator_call(&mut self, ticket: Ticket, call: OperatorCall, turn: &mut Turn<'_>) {
        match self.change_for(&call, turn.now.unix) {
            Ok(Some(change)) => self.persist(change, Then::Operator { ticket, call }, turn),
            Ok(None) if matches!(call, OperatorCall::Convert { .. }) => {
                self.operator_call_durable(ticket, call, turn);
            }
            Ok(None) => turn.answer(ticket, Ok(Done::Ok)),
            Err(refusal) => turn.answer(ticket, Err(refusal)),
        }
    }

    /// What is to be kept of a call that is not refused; `None` when it is so already.
    fn change_for(&mut self, call: &OperatorCall, since: UnixTime) -> Result<Option<Change>, Refusal> {
        let withdraw = |agent_id: &AgentId, withdrawal| {
            Ok(Some(Change::Withdraw { agent_id: agent_id.clone(), withdrawal }))
        };
        match call {
            OperatorCall::Drain { agent_id, max_grace_ns, marks_gone } => {
                self.known(agent_id)?;
                let (max_grace_ns, marks_gone) = (*max_grace_ns, *marks_gone);
                let drain = Some(Drain { is_drained: false, max_grace_ns, marks_gone, started: None });
                withdraw(agent_id, WithdrawalRecord { is_deactivated: true, drain })
            }
            OperatorCall::Deactivate { agent_id } => {
                self.known(agent_id)?;
                withdraw(agent_id, WithdrawalRecord { is_deactivated: true, ..self.withdrawal_of(agent_id) })
            }
            OperatorCall::Reactivate { agent_id } => {
                self.may_reactivate(agent_id)?;
                withdraw(agent_id, WithdrawalRecord::default())
            }
            OperatorCall::UpdateWeights { weights } => Ok(Some(weights_change(weights))),
            OperatorCall::UpdateQuota { quotas, is_forced } => {
                self.promise_quotas(quotas, *is_forced)?;
                Ok(Some(quotas_change(quotas)))
            }
            OperatorCall::UpdateSchedule { .. }
            | OperatorCall::StartMaintenance { .. }
            | OperatorCall::StopMaintenance { .. } => self.promise_maintenance(call).map(Some),
            // The agent keeps it.
            OperatorCall::Convert { .. } => Ok(None),
            OperatorCall::MarkGone { agent_id } if self.withdrawn.is_gone(agent_id) => Ok(None),
            OperatorCall::MarkGone { agent_id } => {
                let unknown = |_| Refusal::AgentNotFound { agent_id: agent_id.to_string() };
                self.known(agent_id).map_err(unknown)?;
                Ok(Some(Change::Gone { agent_id: agent_id.clone(), since }))
            }
        }
    }

    /// The registry has it; whether it may still be done is looked at again.
    pub(super) fn operator_call_durable(&mut self, ticket: Ticket, call: OperatorCall, turn: &mut Turn<'_>) {
        let answer = match call {
            OperatorCall::Drain { agent_id, max_grace_ns, marks_gone } => {
                let drain = Drain { is_drained: false, max_grace_ns, marks_gone, started: None };
                self.known(&agent_id).map(|()| self.drain_agent(&agent_id, drain, turn))
            }
            OperatorCall::Deactivate { agent_id } => {
                self.known(&agent_id).map(|()| self.deactivate_agent(&agent_id, turn))
            }
            OperatorCall::Reactivate { agent_id } => {
                self.may_reactivate(&agent_id).map(|()| self.reactivate_agent(&agent_id, turn))
            }
            OperatorCall::MarkGone { agent_id } => {
                self.mark_gone(&agent_id, turn);
                Ok(())
            }
            OperatorCall::UpdateWeights { weights } => {
                self.update_weights(weights, turn);
                Ok(())
            }
            OperatorCall::UpdateQuota { quotas, .. } => {
                self.update_quota(quotas, turn);
                Ok(())
            }
            OperatorCall::UpdateSchedule { .. }
            | OperatorCall::StartMaintenance { .. }
            | OperatorCall::StopMaintenance { .. } => self.maintain(&call, turn),
            OperatorCall::Convert { agent_id, conversion } => {
                self.convert_for_operator(&agent_id, &conversion, turn)
            }
        };
        turn.answer(ticket, answer.map(|()| Done::Ok));
    }

    /// Registered, expected, or given up and free to come back.
    fn known(&self, id: &AgentId) -> Result<(), Refusal> {
        let is_known =
            self.agents.contains(id) || self.expected.contains(id) || self.unreachable.get(id).is_some();
        if is_known { Ok(()) } else { Err(Refusal::Bad("Unknown agent".into())) }
    }

    fn drain_agent(&mut self, id: &AgentId, drain: Drain, turn: &mut Turn<'_>) {
        turn.note(Note::AgentDraining { agent_id: id.clone(), marks_gone: drain.marks_gone });
        self.withdrawn.draining.insert(id.clone(), drain);
        self.deactivate_agent(id, turn);
        if let Some(session) = self.agents.get(id).and_then(|agent| agent.session) {
            self.tell_to_drain(id, session, turn);
        }
    }

    /// Told anew whenever it comes back, drained or not: what runs there may have been kept from an earlier master.
    fn tell_to_drain(&mut self, id: &AgentId, session: SessionId, turn: &mut Turn<'_>) {
        let Some(drain) = self.withdrawn.draining.get_mut(id) else { return };
        drain.started = Some(turn.now.unix);
        let Drain { max_grace_ns, marks_gone, .. } = *drain;
        turn.agent(session, ToAgent::Drain { max_grace_ns, marks_gone });
    }

    /// Nothing of it is offered from here on, and what was is taken back.
    fn deactivate_agent(&mut self, id: &AgentId, turn: &mut Turn<'_>) {
        self.withdrawn.deactivated.insert(id.clone());
        let Some(agent) = self.agents.get(id) else { return };
        turn.note(Note::AgentDeactivated { agent_id: id.clone() });
        let (key, offers) = (agent.key, agent.offers.keys().cloned().collect::<Vec<_>>());
        turn.allocator(event::Event::DeactivateAgent { agent: key });
        offers.iter().for_each(|offer| self.rescind(offer, Release::None, turn));
    }

    fn may_reactivate(&self, id: &AgentId) -> Result<(), Refusal> {
        if !self.withdrawn.is_deactivated(id) {
            return Err(Refusal::Bad("Agent is not deactivated".into()));
        }
        if self.withdrawn.drain(id).is_some_and(|drain| !drain.is_drained) {
            return Err(Refusal::Bad("Agent is still in the DRAINING state".into()));
        }
        Ok(())
    }

    fn reactivate_agent(&mut self, id: &AgentId, turn: &mut Turn<'_>) {
        self.withdrawn.draining.remove(id);
        self.withdrawn.deactivated.remove(id);
        turn.note(Note::AgentReactivated { agent_id: id.clone() });
        if let Some(agent) = self.agents.get(id)
            && agent.session.is_some()
            && !self.expected.holds_offers()
        {
            turn.allocator(event::Event::ActivateAgent { agent: agent.key });
        }
    }

    /// An agent that is back is told what it may have missed, and is not offered if it was not to be.
    pub(super) fn withdraw_again(&mut self, id: &AgentId, session: SessionId, turn: &mut Turn<'_>) {
        if self.withdrawn.is_deactivated(id) || self.expected.holds_offers() {
            let agent = self.agents.get(id).expect("it is back");
            turn.allocator(event::Event::DeactivateAgent { agent: agent.key });
        }
        self.tell_to_drain(id, session, turn);
    }

    /// An agent with nothing left on it is drained. To be called when anything has happened; costs nothing while no agent
    /// drains.
    pub(super) fn finish_draining(&mut self, turn: &mut Turn<'_>) {
        let is_empty = |id: &AgentId| {
            let is_leaving = self.pending.leaving.contains(id);
            self.agents.get(id).is_some_and(|agent| agent.tasks.is_empty()) && !is_leaving
        };
        let draining = self.withdrawn.draining.iter().filter(|(_, drain)| !drain.is_drained);
        let empty: Vec<_> =
            draining.filter(|(id, _)| is_empty(id)).map(|(id, it)| (id.clone(), *it)).collect();
        for (id, drain) in empty {
            turn.note(Note::AgentDrained { agent_id: id.clone() });
            if drain.marks_gone {
                self.pending.leaving.insert(id.clone());
                let change = Change::Gone { agent_id: id.clone(), since: turn.now.unix };
                self.persist(change, Then::MarkGone { agent_id: id }, turn);
            } else {
                // Nothing waits for this to be durable: it would be found out again.
                self.withdrawn.draining.insert(id.clone(), Drain { is_drained: true, ..drain });
                let withdrawal = self.withdrawal_of(&id);
                self.persist(Change::Withdraw { agent_id: id, withdrawal }, Then::Nothing, turn);
            }
        }
    }

    /// The agent is over: it is told to end, and its tasks have gone with it.
    pub(super) fn mark_gone(&mut self, id: &AgentId, turn: &mut Turn<'_>) {
        self.keep_gone(id.clone(), turn.now.unix, turn);
        self.pending.leaving.remove(id);
        if let Some(agent) = self.agents.get(id) {
            if let Some(session) = agent.session {
                turn.agent(session, ToAgent::Refused { reason: GONE.into() });
            }
            return self.remove_agent(id, Removal::Gone, turn);
        }
        self.unreachable.remove(id);
        if self.expected.remove(id).is_some() {
            self.release_offers_if_enough(turn);
        }
        self.lose_unreachable(id, GONE, turn);
    }

    /// Whether the agent may not come back: it was marked gone, and is told so.
    pub(super) fn refuse_gone(&self, id: &AgentId, session: SessionId, turn: &mut Turn<'_>) -> bool {
        if !self.withdrawn.is_gone(id) {
            return false;
        }
        turn.note(Note::AgentRefused { session, why: GONE.into() });
        turn.agent(session, ToAgent::Refused { reason: GONE.into() });
        true
    }
}
