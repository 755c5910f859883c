//! Agents that an operator takes out of use: deactivated (nothing of them is offered), draining (their tasks are killed, too),
//! gone (they may not come back). Semantics and texts are Mesos' (src/master/http.cpp, docs/maintenance.md).
//!
//! ```text
//!   DRAIN_AGENT -> DRAINING, deactivated -- its last task is over and acknowledged --> DRAINED, or gone where that was asked
//!   DEACTIVATE_AGENT -> deactivated          REACTIVATE_AGENT (not while DRAINING) -> as before
//!   MARK_AGENT_GONE -> gone
//! ```
//! Held apart from the agents themselves: it stays when one is given up and comes back. What a registry has to keep is
//! [`Withdrawn`]; for now it ends with the master.

use super::agents::Removal;
use super::input::{OperatorCall, SessionId, Ticket};
use super::note::Note;
use super::{Cluster, Turn};
use crate::allocator::event::{self, Refusal as Release};
use crate::cluster::effect::Done;
use api::refusal::Refusal;
use model::id::AgentId;
use model::time::UnixTime;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::message::ToAgent;

/// Agents marked gone that are remembered (Mesos keeps 100,000).
const GONE_MAX: usize = 100_000;
const GONE: &str = "Agent has been marked gone";

/// An agent that is or was drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub is_drained: bool,
    /// Bounds the time that tasks have to end by themselves.
    pub max_grace_ns: Option<u64>,
    /// It is to be marked gone when nothing is left on it.
    pub marks_gone: bool,
    /// When its agent was last told to; `None` while it is away.
    pub started: Option<UnixTime>,
}

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

    fn mark_gone(&mut self, id: &AgentId, now: UnixTime) {
        self.deactivated.remove(id);
        self.draining.remove(id);
        if self.gone.insert(id.clone(), now).is_some() {
            return;
        }
        self.gone_order.push_back(id.clone());
        if self.gone_order.len() > GONE_MAX {
            self.gone_order.pop_front().inspect(|oldest| _ = self.gone.remove(oldest));
        }
    }
}

impl Cluster {
    pub(super) fn operator_call(&mut self, ticket: Ticket, call: OperatorCall, turn: &mut Turn<'_>) {
        let answer = match call {
            OperatorCall::Drain { agent_id, max_grace_ns, marks_gone } => {
                let drain = Drain { is_drained: false, max_grace_ns, marks_gone, started: None };
                self.known(&agent_id).map(|()| self.drain_agent(&agent_id, drain, turn))
            }
            OperatorCall::Deactivate { agent_id } => {
                self.known(&agent_id).map(|()| self.deactivate_agent(&agent_id, turn))
            }
            OperatorCall::Reactivate { agent_id } => self.reactivate_agent(&agent_id, turn),
            OperatorCall::MarkGone { agent_id } if self.withdrawn.is_gone(&agent_id) => Ok(()),
            OperatorCall::MarkGone { agent_id } => match self.known(&agent_id) {
                Ok(()) => {
                    self.mark_gone(&agent_id, turn);
                    Ok(())
                }
                Err(_) => Err(Refusal::AgentNotFound { agent_id: agent_id.to_string() }),
            },
        };
        turn.answer(ticket, answer.map(|()| Done::Ok));
    }

    /// Registered, or given up and free to come back.
    fn known(&self, id: &AgentId) -> Result<(), Refusal> {
        let is_known = self.agents.contains(id) || self.unreachable.get(id).is_some();
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

    fn reactivate_agent(&mut self, id: &AgentId, turn: &mut Turn<'_>) -> Result<(), Refusal> {
        if !self.withdrawn.is_deactivated(id) {
            return Err(Refusal::Bad("Agent is not deactivated".into()));
        }
        if self.withdrawn.drain(id).is_some_and(|drain| !drain.is_drained) {
            return Err(Refusal::Bad("Agent is still in the DRAINING state".into()));
        }
        self.withdrawn.draining.remove(id);
        self.withdrawn.deactivated.remove(id);
        turn.note(Note::AgentReactivated { agent_id: id.clone() });
        if let Some(agent) = self.agents.get(id)
            && agent.session.is_some()
        {
            turn.allocator(event::Event::ActivateAgent { agent: agent.key });
        }
        Ok(())
    }

    /// An agent that is back is told what it may have missed, and is not offered if it was not to be.
    pub(super) fn withdraw_again(&mut self, id: &AgentId, session: SessionId, turn: &mut Turn<'_>) {
        if self.withdrawn.is_deactivated(id) {
            let agent = self.agents.get(id).expect("it is back");
            turn.allocator(event::Event::DeactivateAgent { agent: agent.key });
        }
        self.tell_to_drain(id, session, turn);
    }

    /// An agent with nothing left on it is drained. To be called when anything has happened; costs nothing while no agent
    /// drains.
    pub(super) fn finish_draining(&mut self, turn: &mut Turn<'_>) {
        let is_empty = |id: &AgentId| self.agents.get(id).is_some_and(|agent| agent.tasks.is_empty());
        let draining = self.withdrawn.draining.iter().filter(|(_, drain)| !drain.is_drained);
        let empty: Vec<_> =
            draining.filter(|(id, _)| is_empty(id)).map(|(id, it)| (id.clone(), *it)).collect();
        for (id, drain) in empty {
            turn.note(Note::AgentDrained { agent_id: id.clone() });
            if drain.marks_gone {
                self.mark_gone(&id, turn);
            } else {
                self.withdrawn.draining.insert(id.clone(), Drain { is_drained: true, ..drain });
            }
        }
    }

    /// The agent is over: it is told to end, and its tasks have gone with it.
    fn mark_gone(&mut self, id: &AgentId, turn: &mut Turn<'_>) {
        self.withdrawn.mark_gone(id, turn.now.unix);
        if let Some(agent) = self.agents.get(id) {
            if let Some(session) = agent.session {
                turn.agent(session, ToAgent::Refused { reason: GONE.into() });
            }
            return self.remove_agent(id, Removal::Gone, turn);
        }
        self.unreachable.remove(id);
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
