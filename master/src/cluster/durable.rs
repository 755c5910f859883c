//! What waits until the registry has it: agents that introduce themselves, agents that are given up, operators' calls.
//!
//! The core asks for a [`Change`] and remembers what is to be done then; changes become durable in the order in which they
//! were asked for, and the shell only says how many more are ([`super::input::Input::Durable`]). Whatever was
//! true when a change was asked for is looked at again when it is durable: the agent may have left meanwhile.

use super::agents::Removal;
use super::effect::Effect;
use super::input::{Input, OperatorCall, SessionId, Ticket};
use super::{Cluster, Turn};
use crate::registrar::change::Change;
use model::agent_info::AgentInfo;
use model::id::AgentId;
use model::maintenance::Machines;
use model::quota::Quota;
use model::role::Role;
use model::time::UnixTime;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use wire::message::{Reregister, ToMaster};
use wire::registry::WithdrawalRecord;

/// What an agent may say between its introduction and the answer; one that says more is hung up on, and comes back.
const HELD_MAX: usize = 1 << 16;

/// What is done when a change is durable.
#[derive(Debug)]
pub(super) enum Then {
    Nothing,
    Register {
        session: SessionId,
        agent_id: AgentId,
        info: AgentInfo,
    },
    Reregister {
        session: SessionId,
        message: Box<Reregister>,
    },
    GiveUp {
        agent_id: AgentId,
        since: UnixTime,
    },
    /// Its last task is over, and it was to be gone then.
    MarkGone {
        agent_id: AgentId,
    },
    Operator {
        ticket: Ticket,
        call: OperatorCall,
    },
}

/// What is on its way into the registry.
#[derive(Debug, Default)]
pub(super) struct Pending {
    order: VecDeque<Then>,
    /// Sessions whose introduction is not answered, and what came through them since.
    introducing: BTreeMap<SessionId, Vec<Input>>,
    /// Agents that are about to be admitted again, and by how many introductions.
    admitting: BTreeMap<AgentId, usize>,
    /// Agents that are about to be given up, or gone.
    pub(super) leaving: BTreeSet<AgentId>,
    /// Roles' quotas as they are when all that was asked for is durable.
    pub(super) quotas: BTreeMap<Role, Quota>,
    /// The maintenance schedule likewise.
    pub(super) machines: Machines,
}

impl Pending {
    /// Whether it is being written down that the agent comes, or goes.
    pub(super) fn is_in_transition(&self, id: &AgentId) -> bool {
        self.admitting.contains_key(id) || self.leaving.contains(id)
    }

    /// Rows of nodes whose agents are not admitted yet: nobody shows them, but they are not free either.
    #[cfg(test)]
    pub(super) fn held_nodes(&self) -> impl Iterator<Item = crate::usage::NodeRow> {
        let node = |input: &Input| match input {
            Input::Node { row, .. } => Some(*row),
            _ => None,
        };
        self.introducing.values().flatten().filter_map(node)
    }

    pub(super) fn has_transitions(&self) -> bool {
        !self.admitting.is_empty() || !self.leaving.is_empty()
    }
}

impl Cluster {
    pub(super) fn persist(&mut self, change: Change, then: Then, turn: &mut Turn<'_>) {
        turn.effects.push(Effect::Persist(change));
        self.pending.order.push_back(then);
    }

    /// So many more changes are durable.
    pub(super) fn durable(&mut self, count: usize, turn: &mut Turn<'_>) {
        for _ in 0..count {
            match self.pending.order.pop_front().expect("no more is durable than was asked for") {
                Then::Nothing => {}
                Then::Register { session, agent_id, info } => {
                    self.introduced(session, turn, |cluster, turn| match turn {
                        Ok(turn) => cluster.registered_anew(session, agent_id, info, turn),
                        // Nobody has heard of this id, and nobody will.
                        Err(turn) => cluster.persist(Change::Forget { agent_id }, Then::Nothing, turn),
                    });
                }
                Then::Reregister { session, message } => {
                    self.admitted(&message.agent_id);
                    self.introduced(session, turn, |cluster, turn| match turn {
                        Ok(turn) => cluster.admitted_again(session, *message, turn),
                        Err(turn) => cluster.not_back_after_all(message.agent_id, turn),
                    });
                }
                Then::GiveUp { agent_id, since } => self.given_up(&agent_id, since, turn),
                Then::MarkGone { agent_id } => self.mark_gone(&agent_id, turn),
                Then::Operator { ticket, call } => self.operator_call_durable(ticket, call, turn),
            }
        }
    }

    /// The session waits for its agent to be admitted; what comes through it meanwhile is held back.
    pub(super) fn introduce(&mut self, session: SessionId, change: Change, then: Then, turn: &mut Turn<'_>) {
        self.pending.introducing.insert(session, Vec::new());
        if let Then::Reregister { message, .. } = &then {
            *self.pending.admitting.entry(message.agent_id.clone()).or_default() += 1;
        }
        self.persist(change, then, turn);
    }

    /// One introduction of that agent less is on its way.
    fn admitted(&mut self, id: &AgentId) {
        let count = self.pending.admitting.get_mut(id).expect("counted by `introduce`");
        *count -= 1;
        if *count == 0 {
            self.pending.admitting.remove(id);
        }
    }

    /// Answers the introduction, `Ok` while the session lasts, and then hears what was held back.
    fn introduced<'a, 'b>(
        &mut self,
        session: SessionId,
        turn: &'a mut Turn<'b>,
        answer: impl FnOnce(&mut Self, Result<&mut Turn<'b>, &mut Turn<'b>>),
    ) {
        match self.pending.introducing.remove(&session) {
            Some(held) => {
                answer(self, Ok(&mut *turn));
                held.into_iter().for_each(|input| self.hear(input, turn));
            }
            None => answer(self, Err(turn)),
        }
    }

    /// Holds back what comes through a session that is not answered yet; gives back what is not to be held.
    pub(super) fn hold_back(&mut self, input: Input, turn: &mut Turn<'_>) -> Option<Input> {
        let session = match &input {
            Input::Agent { session, .. }
            | Input::AgentGone { session }
            | Input::Container { session, .. }
            | Input::ContainerOver { session, .. }
            | Input::Node { session, .. } => *session,
            _ => return Some(input),
        };
        let Some(held) = self.pending.introducing.get_mut(&session) else { return Some(input) };
        let is_second = matches!(
            input,
            Input::Agent { message: ToMaster::Register { .. } | ToMaster::Reregister(_), .. }
        );
        let is_over = matches!(input, Input::AgentGone { .. });
        if !is_over && !is_second && held.len() < HELD_MAX {
            held.push(input);
            return None;
        }
        // Figures that came through it have rows, which are given back as those of any stranger.
        let held = self.pending.introducing.remove(&session).expect("looked up above");
        for input in held.into_iter().filter(|input| !matches!(input, Input::Agent { .. })) {
            self.hear(input, turn);
        }
        if !is_over {
            turn.close_session(session, "said too much before it was registered");
        }
        None
    }

    /// An agent that was to be admitted again left before it was: it stands in the registry as it did before.
    pub(super) fn not_back_after_all(&mut self, agent_id: AgentId, turn: &mut Turn<'_>) {
        // Where another introduction of it is behind this one, that one decides.
        if self.agents.contains(&agent_id) || self.pending.admitting.contains_key(&agent_id) {
            return;
        }
        let change = match self.unreachable.get(&agent_id) {
            Some(since) => Change::Unreachable { agent_id, since },
            None => Change::Forget { agent_id },
        };
        self.persist(change, Then::Nothing, turn);
    }

    /// The agent is to be unreachable as soon as that is durable.
    pub(super) fn give_up(&mut self, agent_id: &AgentId, turn: &mut Turn<'_>) {
        self.pending.leaving.insert(agent_id.clone());
        let (agent_id, since) = (agent_id.clone(), turn.now.unix);
        let change = Change::Unreachable { agent_id: agent_id.clone(), since };
        self.persist(change, Then::GiveUp { agent_id, since }, turn);
    }

    fn given_up(&mut self, agent_id: &AgentId, since: UnixTime, turn: &mut Turn<'_>) {
        self.pending.leaving.remove(agent_id);
        self.counters.slave_unreachable_completed += 1;
        if self.agents.contains(agent_id) {
            self.remove_agent(agent_id, Removal::Unreachable(since), turn);
        } else if self.expected.remove(agent_id).is_some() {
            self.counters.recovery_slave_removals += 1;
            self.lose_expected(agent_id, since, turn);
        }
    }

    /// What the registry is to have of it.
    pub(super) fn withdrawal_of(&self, id: &AgentId) -> WithdrawalRecord {
        WithdrawalRecord {
            is_deactivated: self.withdrawn.is_deactivated(id),
            drain: self.withdrawn.drain(id),
        }
    }

    /// The agent describes itself otherwise than the registry has it. Nothing waits for that.
    pub(super) fn describe_agent(&mut self, agent_id: &AgentId, info: &AgentInfo, turn: &mut Turn<'_>) {
        let change = Change::Admit { agent_id: agent_id.clone(), info: Arc::new(info.clone()) };
        self.persist(change, Then::Nothing, turn);
    }
}
