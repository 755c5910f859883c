//! CORE: what the master knows, and what follows from what it hears. No socket, encoding, clock or thread.
//!
//! [`Cluster`] is fed [`Input`]s and leaves [`Effect`]s (the house's one shape). The two menus, `input.rs` and `effect.rs`,
//! are everything that can happen and everything that can be done about it. Behaviour and texts are those of Mesos
//! (src/master/master.cpp, validation.cpp; docs/scheduler-http-api.md, docs/reconciliation.md).

pub mod conversions;
pub mod counters;
pub mod effect;
pub mod executors;
pub mod input;
pub mod inverse;
pub mod note;
pub mod offers;
pub mod snapshot;
pub mod tasks;

pub use recovery::RemovalRate;

mod agents;
mod containers;
mod drain;
mod durable;
mod frameworks;
mod groups;
mod invariants;
mod kept;
mod keys;
mod maintenance;
mod operations;
mod reconcile;
mod recovery;
mod reregister;
mod revocable;
mod rows;
mod shares;
mod sum;
mod timers;
mod validate;

#[cfg(test)]
mod tests;

use crate::allocator::event;
use crate::allocator::key::{AgentKey, FrameworkKey};
use crate::usage;
use counters::Counters;
use effect::{Done, Effect, Event};
use input::{Call, CallOf, Input, SessionId, StreamId, Ticket};
use kept::Kept;
use keys::Keys;
use model::id::{AgentId, FrameworkId};
use model::time::{Now, Time};
use note::Note;
use snapshot::{FrameworkView, MasterInfo, Snapshot};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use timers::{Timer, Timers};
use wire::message::{ToAgent, ToMaster};

/// The limits that the operator sets. Each has Mesos' flag of that name.
#[derive(Clone, Debug)]
pub struct Settings {
    pub agent_ping_timeout_ms: u64,
    /// At least one.
    pub max_agent_ping_timeouts: u32,
    /// How long after this master's start agents of the one before are waited for.
    pub agent_reregister_timeout_ms: u64,
    /// `None`: offers stand until answered.
    pub offer_timeout_ms: Option<u64>,
    pub max_completed_frameworks: usize,
    pub max_completed_tasks_per_framework: usize,
    pub max_unreachable_tasks_per_framework: usize,
    /// `None`: agents that are silent too long are given up at once.
    pub agent_removal_rate_limit: Option<RemovalRate>,
    /// Of the agents that the registry has, so many in a hundred may stay away from a new master; with more it ends.
    pub recovery_agent_removal_limit_percent: u8,
    /// How long after its start a master waits with offers for agents to come back, at most.
    pub offers_held_ms_max: u64,
    /// Agents that do not say in which region they are may not register.
    pub requires_agent_domain: bool,
    /// The registry outlives the master: who is not in it was not there.
    pub is_registry_kept: bool,
}

/// How long offers are held back after a failover, milliseconds: agents dial again within two seconds, as a rule.
pub const OFFERS_HELD_MS_MAX: u64 = 30_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            agent_ping_timeout_ms: model::limits::AGENT_PING_INTERVAL_MS,
            max_agent_ping_timeouts: model::limits::AGENT_PINGS_MISSED_MAX,
            agent_reregister_timeout_ms: model::limits::AGENT_REREGISTER_TIMEOUT_MS,
            offer_timeout_ms: None,
            max_completed_frameworks: 50,
            max_completed_tasks_per_framework: 1000,
            max_unreachable_tasks_per_framework: 1000,
            agent_removal_rate_limit: None,
            recovery_agent_removal_limit_percent: 100,
            offers_held_ms_max: OFFERS_HELD_MS_MAX,
            requires_agent_domain: false,
            is_registry_kept: false,
        }
    }
}

/// What the master knows.
#[derive(Debug)]
pub struct Cluster {
    settings: Settings,
    master: Arc<MasterInfo>,
    usage: Arc<usage::Table>,

    agents: Kept<AgentId, agents::Agent>,
    agent_keys: Keys<AgentKey, AgentId>,
    sessions: BTreeMap<SessionId, AgentId>,
    /// Whose HTTP server is where: an agent that forgot its id is known by it.
    addresses: BTreeMap<SocketAddr, AgentId>,
    unreachable: agents::Unreachable,
    withdrawn: drain::Withdrawn,
    expected: recovery::Expected,
    removals: recovery::Removals,
    maintenance: maintenance::Maintenance,
    inverse: inverse::Inverse,
    pending: durable::Pending,

    frameworks: Kept<FrameworkId, frameworks::Framework>,
    framework_keys: Keys<FrameworkKey, FrameworkId>,
    streams: BTreeMap<StreamId, FrameworkId>,
    completed: VecDeque<Arc<FrameworkView>>,

    offers: offers::Outstanding,
    rows: rows::Rows,
    timers: Timers,
    counters: Counters,
    /// When something was heard first.
    began: Option<Time>,
    /// Numbers of the next agent, framework and offer.
    next: [u64; 3],
    /// Counts what was handled: a snapshot of this revision is still true.
    revision: u64,
    published: Option<(u64, Arc<Snapshot>)>,
}

/// One call of the core: the time, and where its effects go.
struct Turn<'a> {
    now: Now,
    effects: &'a mut Vec<Effect>,
}

impl Turn<'_> {
    fn note(&mut self, note: Note) {
        self.effects.push(Effect::Note(note));
    }

    fn ignored(&mut self, what: &'static str, subject: impl std::fmt::Display, why: &'static str) {
        self.note(Note::Ignored { what, subject: subject.to_string(), why });
    }

    fn allocator(&mut self, event: event::Event) {
        self.effects.push(Effect::Allocator(event));
    }

    fn agent(&mut self, session: SessionId, message: ToAgent) {
        self.effects.push(Effect::ToAgent { session, message });
    }

    fn scheduler(&mut self, stream: &StreamId, event: Event) {
        self.effects.push(Effect::ToScheduler { stream: stream.clone(), event });
    }

    fn close_stream(&mut self, stream: StreamId) {
        self.effects.push(Effect::CloseStream { stream });
    }

    fn close_session(&mut self, session: SessionId, why: &'static str) {
        self.effects.push(Effect::CloseSession { session, why });
    }

    fn answer(&mut self, ticket: Ticket, answer: Result<Done, api::refusal::Refusal>) {
        self.effects.push(Effect::Answer { ticket, answer });
    }
}

impl Cluster {
    pub fn new(settings: Settings, master: MasterInfo, usage: Arc<usage::Table>) -> Self {
        let (agents, frameworks) = (Kept::new(master.id.as_str()), Kept::new(master.id.as_str()));
        Self {
            settings,
            master: Arc::new(master),
            usage,
            agents,
            agent_keys: Keys::default(),
            sessions: BTreeMap::new(),
            addresses: BTreeMap::new(),
            unreachable: agents::Unreachable::default(),
            withdrawn: drain::Withdrawn::default(),
            expected: recovery::Expected::default(),
            removals: recovery::Removals::default(),
            maintenance: maintenance::Maintenance::default(),
            inverse: inverse::Inverse::default(),
            pending: durable::Pending::default(),
            frameworks,
            framework_keys: Keys::default(),
            streams: BTreeMap::new(),
            completed: VecDeque::new(),
            offers: offers::Outstanding::default(),
            rows: rows::Rows::default(),
            timers: Timers::default(),
            counters: Counters::default(),
            began: None,
            next: [0; 3],
            revision: 0,
            published: None,
        }
    }

    /// Something has happened. Effects are appended in the order in which they are to be carried out.
    pub fn handle(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        self.revision += 1;
        self.began.get_or_insert(now.time);
        let turn = &mut Turn { now, effects };
        if let Some(input) = self.hold_back(input, turn) {
            self.hear(input, turn);
        }
        self.finish_draining(turn);
        self.ask_back(turn);
    }

    fn hear(&mut self, input: Input, turn: &mut Turn<'_>) {
        match input {
            Input::Agent { session, message } => self.agent_message(session, message, turn),
            Input::AgentGone { session } => self.agent_gone(session, turn),
            Input::Container { session, framework_id, executor_id, container_id, row } => {
                self.container(session, framework_id, executor_id, container_id, row, turn);
            }
            Input::ContainerOver { session, framework_id, executor_id, row } => {
                self.container_over(session, framework_id, executor_id, row, turn);
            }
            Input::Node { session, row } => self.node(session, row, turn),
            Input::Subscribe(subscribe) => self.subscribe(subscribe, turn),
            Input::StreamGone { stream } => self.stream_gone(&stream, turn),
            Input::Call(call) => self.call(call, turn),
            Input::Operator { ticket, call } => self.operator_call(ticket, call, turn),
            Input::Allocations(allocations) => self.allocations(allocations, turn),
            Input::Recovered(registry) => self.recovered(*registry, turn),
            Input::Durable { count } => self.durable(count, turn),
        }
    }

    /// When [`Self::expire`] is to be called though nothing happens. Changes with every call of `handle` and `expire`.
    pub fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Does what has come due. Harmless when called early.
    pub fn expire(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let turn = &mut Turn { now, effects };
        while let Some(timer) = self.timers.pop_due(now.time) {
            self.revision += 1;
            match timer {
                Timer::Ping(agent_id) => self.ping(&agent_id, turn),
                Timer::Heartbeat(framework_id) => self.heartbeat(&framework_id, turn),
                Timer::Failover(framework_id) => {
                    self.remove_framework(&framework_id, "it did not fail over in time", turn);
                }
                Timer::Offer(offer_id) => self.offer_timed_out(&offer_id, turn),
                Timer::OffersHeld => self.release_offers(turn),
                Timer::RecoveryOver => self.recovery_over(turn),
                Timer::Removal => self.next_removal(turn),
                Timer::InverseOffer(offer_id) => self.inverse_offer_timed_out(&offer_id, turn),
                Timer::AskBack(agent_id, _) => self.ask_again(&agent_id),
            }
        }
        self.ask_back(turn);
    }

    /// The cluster as it is now. Costs what has changed since the last one (see [`snapshot`]).
    pub fn snapshot(&mut self, now: Now) -> Arc<Snapshot> {
        if let Some((revision, snapshot)) = &self.published
            && *revision == self.revision
        {
            return Arc::clone(snapshot);
        }
        let snapshot = Arc::new(Snapshot {
            taken: now.unix,
            master: Arc::clone(&self.master),
            frameworks: self.frameworks.views(),
            completed_frameworks: self.completed.iter().cloned().collect(),
            agents: self.agents.views(),
            withdrawn: self.withdrawn_agents(),
            unreachable_agents: self.unreachable.since(),
            expected_agents: self.expected.list(),
            machines: Arc::clone(self.maintenance.machines()),
            inverse_answers: self.inverse_answers(),
            counters: self.counters,
            usage: Arc::clone(&self.usage),
        });
        self.published = Some((self.revision, Arc::clone(&snapshot)));
        snapshot
    }

    /// Registered agents that operators have taken out of use.
    fn withdrawn_agents(&self) -> BTreeMap<AgentId, snapshot::Withdrawal> {
        let known = self.withdrawn.deactivated().filter(|id| self.agents.contains(id));
        known.map(|id| (id.clone(), snapshot::Withdrawal { drain: self.withdrawn.drain(id) })).collect()
    }

    fn agent_message(&mut self, session: SessionId, message: ToMaster, turn: &mut Turn<'_>) {
        let Some(agent_id) = self.sessions.get(&session).cloned() else {
            return match message {
                ToMaster::Register { info } => self.register(session, info, turn),
                ToMaster::Reregister(message) => self.reregister(session, message, turn),
                ToMaster::Oversubscribed { .. } => {
                    // Its agent was given up while it was on its way.
                    self.counters.oversubscribed_dropped += 1;
                    turn.close_session(session, "lends what no agent has");
                }
                _ => turn.close_session(session, "spoke before it registered"),
            };
        };
        match message {
            ToMaster::Register { .. } | ToMaster::Reregister(_) => {
                turn.close_session(session, "registered twice in one session");
                self.agent_gone(session, turn);
            }
            ToMaster::Update { framework_id, status, latest_state } => {
                self.update(session, &agent_id, &framework_id, status, latest_state, turn);
            }
            ToMaster::ExecutorMessage { framework_id, executor_id, data } => {
                self.executor_message(agent_id, &framework_id, executor_id, data, turn);
            }
            ToMaster::ExecutorExited { framework_id, executor_id, wait_status, .. } => {
                self.executor_exited(agent_id, framework_id, executor_id, wait_status, turn);
            }
            ToMaster::Pong { sequence } => self.pong(&agent_id, sequence),
            ToMaster::Oversubscribed { total } => self.oversubscribe(&agent_id, total, turn),
            ToMaster::Unregister => {
                self.counters.messages_unregister_slave += 1;
                self.remove_agent(&agent_id, agents::Removal::Unregistered, turn);
            }
        }
    }

    fn call(&mut self, call: CallOf, turn: &mut Turn<'_>) {
        let CallOf { ticket, framework_id, stream, call } = call;
        if let Err(refusal) = self.caller(&framework_id, stream) {
            return turn.answer(ticket, Err(refusal));
        }
        let id = &framework_id;
        let answer = match call {
            Call::Teardown => {
                self.counters.messages_unregister_framework += 1;
                self.remove_framework(id, "it asked for it", turn);
                Ok(Done::Accepted)
            }
            Call::Accept(accept) => self.accept(id, accept, turn),
            Call::UpdateFramework { framework, suppressed, constraints } => {
                self.update_framework(id, *framework, (suppressed, constraints), turn)
            }
            other => {
                self.plain_call(id, other, turn);
                Ok(Done::Accepted)
            }
        };
        turn.answer(ticket, answer);
    }

    /// Calls that are always taken; what comes of them is told by events.
    fn plain_call(&mut self, id: &FrameworkId, call: Call, turn: &mut Turn<'_>) {
        match call {
            Call::Decline { offer_ids, refuse_ns } => self.decline(id, &offer_ids, refuse_ns, turn),
            Call::Revive { roles } => self.revive(id, roles, turn),
            Call::Suppress { roles } => self.suppress(id, roles, turn),
            Call::Kill { task_id, agent_id, grace_ns } => self.kill(id, task_id, agent_id, grace_ns, turn),
            Call::Shutdown { executor_id, agent_id } => self.shutdown(id, executor_id, &agent_id, turn),
            Call::Acknowledge { agent_id, task_id, update_id } => {
                self.acknowledge(id, &agent_id, task_id, update_id, turn);
            }
            Call::Reconcile { tasks } => self.reconcile(id, tasks, turn),
            Call::ReconcileOperations { operations } => self.reconcile_operations(id, operations, turn),
            Call::Message { agent_id, executor_id, data } => {
                self.scheduler_message(id, &agent_id, executor_id, data, turn);
            }
            Call::AnswerInverseOffers { offer_ids, is_accepted, refuse_ns } => {
                self.answer_inverse_offers(id, &offer_ids, (is_accepted, refuse_ns), turn);
            }
            Call::Request => self.counters.messages_resource_request += 1,
            Call::Nothing => {}
            Call::Teardown | Call::Accept(_) | Call::UpdateFramework { .. } => {
                unreachable!("answered by `call`")
            }
        }
    }
}
