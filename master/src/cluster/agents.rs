//! Agents: registration, sessions, pings, and what becomes of everything when one is given up.

use super::durable::Then;
use super::effect::{Effect, Event};
use super::executors::Executor;
use super::input::SessionId;
use super::kept::Viewed;
use super::note::Note;
use super::offers::Offer;
use super::snapshot::AgentView;
use super::timers::Timer;
use super::{Cluster, Turn};
use crate::allocator::constraints::{Attribute, Description, Place};
use crate::allocator::event;
use crate::allocator::key::AgentKey;
use crate::registrar::change::Change;
use crate::usage::{NodeRow, Row};
use api::v1::value::Type;
use model::agent_info::AgentInfo;
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, OfferId, TaskId};
use model::maintenance::Unavailability;
use model::resources::Resources;
use model::task::{Reason, TaskState};
use model::time::{Time, UnixTime};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use wire::message::ToAgent;

/// Agents that were given up and are remembered, at most: their ids answer reconciliation (Mesos keeps 100,000).
const UNREACHABLE_MAX: usize = 100_000;

/// A registered agent. What it holds is counted here: `used` is the sum over its tasks that are not over and its
/// executors, `offered` that over its outstanding offers; both marked with the role they are allocated to.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: AgentId,
    pub(super) key: AgentKey,
    pub(super) info: Arc<AgentInfo>,
    /// `None` while it is disconnected: nothing of it is offered then.
    pub(super) session: Option<SessionId>,
    pub(super) registered: UnixTime,
    pub(super) reregistered: Option<UnixTime>,
    pub(super) used: Resources,
    pub(super) offered: Resources,
    /// What it may lend out beside what it has, as it has estimated last.
    pub(super) oversubscribed: Resources,
    /// It has made an estimate, at some time.
    pub(super) is_lending: bool,
    /// What is free there was changed while the allocator may have been handing it out: its word is looked at twice.
    pub(super) is_contested: bool,
    pub(super) tasks: BTreeSet<(FrameworkId, TaskId)>,
    pub(super) executors: BTreeMap<(FrameworkId, ExecutorId), Arc<Executor>>,
    pub(super) offers: BTreeMap<OfferId, Arc<Offer>>,
    /// Where the figures of its running containers stand.
    pub(super) containers: BTreeMap<(FrameworkId, ExecutorId), (ContainerId, Row)>,
    /// Where those of the node itself stand, once it has reported.
    pub(super) node: Option<NodeRow>,
    /// Asked to be killed: asked again when the agent comes back and still has them.
    pub(super) killed: BTreeSet<(FrameworkId, TaskId)>,
    /// When its machine is expected to be away; nothing is planned for most.
    pub(super) unavailability: Option<Unavailability>,
    pub(super) ping: Ping,
}

/// Whether an agent is still there.
#[derive(Debug)]
pub(super) struct Ping {
    /// The number of the last ping.
    sequence: u64,
    is_answered: bool,
    missed_count: u32,
    due: Time,
}

/// Why an agent is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// It has answered no pings until then. It may come back, with its tasks.
    Unreachable(UnixTime),
    /// It said goodbye.
    Unregistered,
    /// Another agent registered at its address.
    Replaced,
    /// An operator says so.
    Gone,
    /// Its machine is taken down for maintenance.
    MachineDown,
}

/// Agents that were given up, oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Unreachable {
    since: BTreeMap<AgentId, UnixTime>,
    order: VecDeque<AgentId>,
}

impl Unreachable {
    pub(super) fn get(&self, id: &AgentId) -> Option<UnixTime> {
        self.since.get(id).copied()
    }

    /// Which one is forgotten for it.
    pub(super) fn insert(&mut self, id: AgentId, since: UnixTime) -> Option<AgentId> {
        if self.since.insert(id.clone(), since).is_some() {
            return None;
        }
        self.order.push_back(id);
        let oldest = self.order.pop_front_if(|_| self.since.len() > UNREACHABLE_MAX)?;
        self.since.remove(&oldest);
        Some(oldest)
    }

    pub(super) fn count(&self) -> usize {
        self.since.len()
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, id: &AgentId) -> bool {
        let was_there = self.since.remove(id).is_some();
        if was_there {
            self.order.retain(|other| other != id);
        }
        was_there
    }

    pub(super) fn since(&self) -> Vec<(AgentId, UnixTime)> {
        self.since.iter().map(|(id, since)| (id.clone(), *since)).collect()
    }
}

impl Ping {
    /// It has just shown that it lives.
    pub(super) fn reset(&mut self) {
        (self.missed_count, self.is_answered) = (0, true);
    }
}

impl Viewed for Agent {
    type View = AgentView;

    fn view(&self) -> AgentView {
        AgentView {
            id: self.id.clone(),
            info: Arc::clone(&self.info),
            is_connected: self.session.is_some(),
            is_active: self.session.is_some(),
            registered: self.registered,
            reregistered: self.reregistered,
            total: self.total(),
            used: self.used.clone(),
            offered: self.offered.clone(),
            node: self.node,
        }
    }
}

impl Agent {
    pub(super) fn new(
        id: AgentId,
        key: AgentKey,
        info: AgentInfo,
        session: SessionId,
        now: UnixTime,
    ) -> Self {
        Self {
            id,
            key,
            info: Arc::new(info),
            session: Some(session),
            registered: now,
            reregistered: None,
            used: Resources::default(),
            offered: Resources::default(),
            oversubscribed: Resources::default(),
            is_lending: false,
            is_contested: false,
            tasks: BTreeSet::new(),
            executors: BTreeMap::new(),
            offers: BTreeMap::new(),
            containers: BTreeMap::new(),
            node: None,
            killed: BTreeSet::new(),
            unavailability: None,
            ping: Ping { sequence: 0, is_answered: true, missed_count: 0, due: Time::default() },
        }
    }

    /// The framework's executors here, by id.
    pub(super) fn executors_of(&self, framework_id: &FrameworkId) -> Vec<ExecutorId> {
        let first = (framework_id.clone(), ExecutorId::new(""));
        let theirs = self.executors.range(first..).take_while(|((owner, _), _)| owner == framework_id);
        theirs.map(|((_, executor), _)| executor.clone()).collect()
    }

    /// Takes what is no longer used, or offered, out of a sum that contains it.
    pub(super) fn subtract(sum: &mut Resources, part: &Resources) {
        *sum =
            sum.checked_sub(part).expect("what an agent holds is the sum of its tasks, executors and offers");
    }
}

impl Cluster {
    pub(super) fn register(&mut self, session: SessionId, info: AgentInfo, turn: &mut Turn<'_>) {
        self.counters.messages_register_slave += 1;
        if self.refuse_down(&info, session, turn) || self.refuse_domain(&info, session, turn) {
            return;
        }
        if let Some(old) = self.addresses.get(&info.address).cloned() {
            // It runs where that one ran and does not know its id: what was there is gone.
            self.remove_agent(&old, Removal::Replaced, turn);
        }
        // The same, where the master before this one admitted it.
        self.forget_expected_at(info.address, turn);
        let agent_id = AgentId::new(format!("{}-S{}", self.master.id, self.next[0]));
        self.next[0] += 1;
        let change = Change::Admit { agent_id: agent_id.clone(), info: Arc::new(info.clone()) };
        self.introduce(session, change, Then::Register { session, agent_id, info }, turn);
    }

    /// Whether it may not be here because of where it is, or since that is not known; as in Mesos it is not told so, since what it
    /// runs is to go on, and tries again until somebody has set that right.
    pub(super) fn refuse_domain(&self, info: &AgentInfo, session: SessionId, turn: &mut Turn<'_>) -> bool {
        let has_domain = api::convert::agent::to_v1(info, None).is_ok_and(|info| info.domain.is_some());
        let why = match (has_domain, &self.master.domain) {
            (true, None) => "the agent has a domain, and the master has none to compare it with",
            (false, _) if self.settings.requires_agent_domain => {
                "the agent has no domain, and the master requires one"
            }
            _ => return false,
        };
        turn.note(Note::AgentRefused { session, why: why.into() });
        turn.close_session(session, why);
        true
    }

    /// It is durable that a new agent was admitted.
    pub(super) fn registered_anew(
        &mut self,
        session: SessionId,
        id: AgentId,
        info: AgentInfo,
        turn: &mut Turn<'_>,
    ) {
        if self.refuse_down(&info, session, turn) {
            return self.persist(Change::Forget { agent_id: id }, Then::Nothing, turn);
        }
        self.counters.slave_registrations += 1;
        turn.note(Note::AgentRegistered {
            agent_id: id.clone(),
            hostname: Arc::clone(&info.hostname),
            resources: info.total.to_string(),
        });
        let key = self.agent_keys.take(&id);
        let (total, described) = (info.total.clone(), description(key, &info));
        let agent = Agent::new(id.clone(), key, info, session, turn.now.unix);
        self.admit(agent, turn);
        turn.agent(session, self.registered(id, Vec::new()));
        turn.allocator(described);
        turn.allocator(event::Event::AddAgent { agent: key, total, used: Vec::new() });
        if self.expected.holds_offers() {
            turn.allocator(event::Event::DeactivateAgent { agent: key });
        }
    }

    /// Makes a new agent known everywhere but to the allocator.
    pub(super) fn admit(&mut self, mut agent: Agent, turn: &mut Turn<'_>) {
        let session = agent.session.expect("agents are admitted by what they say");
        agent.ping.due = turn.now.time.plus_ms(self.settings.agent_ping_timeout_ms);
        self.timers.set(agent.ping.due, Timer::Ping(agent.id.clone()));
        self.sessions.insert(session, agent.id.clone());
        self.addresses.insert(agent.info.address, agent.id.clone());
        let id = agent.id.clone();
        self.agents.insert(id.clone(), agent);
        self.place(&id, turn);
    }

    pub(super) fn registered(&self, agent_id: AgentId, reconcile: Vec<(FrameworkId, TaskId)>) -> ToAgent {
        let settings = &self.settings;
        ToAgent::Registered {
            agent_id,
            master_id: self.master.id.clone(),
            ping_timeout_ms: settings.agent_ping_timeout_ms * u64::from(settings.max_agent_ping_timeouts),
            reconcile,
        }
    }

    pub(super) fn agent_gone(&mut self, session: SessionId, turn: &mut Turn<'_>) {
        let Some(id) = self.sessions.remove(&session) else { return };
        let agent = self.agents.get_mut(&id).expect("a session's agent is registered");
        agent.session = None;
        let key = agent.key;
        let offers: Vec<_> = agent.offers.keys().cloned().collect();
        turn.note(Note::AgentDisconnected { agent_id: id.clone() });
        turn.allocator(event::Event::DeactivateAgent { agent: key });
        offers.iter().for_each(|offer| self.rescind(offer, event::Refusal::None, turn));
        self.rescind_inverse_offers(&id, turn);
    }

    /// The next ping is due; one without an answer, or without a session to send it through, counts as missed.
    pub(super) fn ping(&mut self, id: &AgentId, turn: &mut Turn<'_>) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        let ping = &mut agent.ping;
        let is_missed = ping.sequence > 0 && !ping.is_answered || agent.session.is_none();
        ping.missed_count = if is_missed { ping.missed_count + 1 } else { 0 };
        (ping.sequence, ping.is_answered) = (ping.sequence + 1, false);
        ping.due = turn.now.time.plus_ms(self.settings.agent_ping_timeout_ms);
        let is_silent = ping.missed_count >= self.settings.max_agent_ping_timeouts;
        if is_silent && !self.removals.is_queued(id) {
            self.schedule_removal(id, turn);
            if self.pending.leaving.contains(id) {
                return;
            }
        }
        // While it waits for its turn to be given up it may still answer.
        let agent = self.agents.get(id).expect("looked up above");
        self.timers.set(agent.ping.due, Timer::Ping(id.clone()));
        if let Some(session) = agent.session {
            turn.agent(session, ToAgent::Ping { sequence: agent.ping.sequence });
        }
    }

    /// Whether the agent has missed as many pings as it may, and has not answered since.
    pub(super) fn is_silent(&self, id: &AgentId) -> bool {
        self.agents.get(id).is_some_and(|agent| {
            let ping = &agent.ping;
            ping.missed_count >= self.settings.max_agent_ping_timeouts
                && !(ping.is_answered && agent.session.is_some())
        })
    }

    pub(super) fn pong(&mut self, id: &AgentId, sequence: u64) {
        let agent = self.agents.get_mut(id).expect("a session's agent is registered");
        // A late answer to an earlier ping still shows that it lives; one to a ping never sent shows nothing.
        agent.ping.is_answered |= sequence <= agent.ping.sequence;
    }

    /// The agent is gone, with everything on it. Its tasks are told as lost or unreachable, its offers are taken back.
    pub(super) fn remove_agent(&mut self, id: &AgentId, removal: Removal, turn: &mut Turn<'_>) {
        let Some(agent) = self.agents.remove(id) else { return };
        let why = self.why(&agent, removal);
        turn.note(Note::AgentRemoved {
            agent_id: id.clone(),
            why: Arc::from(&*why),
            task_count: agent.tasks.len(),
        });
        if let Some(session) = agent.session {
            self.sessions.remove(&session);
            turn.close_session(session, "the agent was removed");
        }
        if self.addresses.get(&agent.info.address) == Some(id) {
            self.addresses.remove(&agent.info.address);
        }
        self.timers.cancel(agent.ping.due, Timer::Ping(id.clone()));
        // First, so that nothing of it is offered again; it also ends everything allocated there.
        turn.allocator(event::Event::RemoveAgent { agent: agent.key });
        self.agent_keys.give_back(agent.key);
        for offer in agent.offers.values() {
            self.forget_offer(offer, turn);
        }
        self.displace(id);
        self.forget_answers(id, turn);
        for (framework_id, task_id) in &agent.tasks {
            self.lose_task(framework_id, task_id, removal, &why, turn);
        }
        for ((framework_id, executor_id), executor) in agent.executors {
            if let Some(framework) = self.frameworks.get_mut(&framework_id) {
                framework.executors.remove(&(id.clone(), executor_id));
                framework.used.subtract(&executor.info.resources);
            }
            self.rows.drop(executor.usage, turn);
        }
        for (_, row) in agent.containers.into_values() {
            self.rows.drop(Some(row), turn);
        }
        turn.effects.extend(agent.node.map(Effect::ForgetNode));
        self.count_removal(removal);
        match removal {
            Removal::Unreachable(since) => self.keep_unreachable_agent(id.clone(), since, turn),
            Removal::Unregistered | Removal::Replaced => {
                self.persist(Change::Forget { agent_id: id.clone() }, Then::Nothing, turn);
            }
            // On its way there, it is in the registry as what it will be.
            Removal::MachineDown if self.pending.leaving.contains(id) => {}
            Removal::MachineDown => {
                self.persist(Change::Forget { agent_id: id.clone() }, Then::Nothing, turn);
            }
            Removal::Gone => {}
        }
        self.tell_of_lost_agent(id, turn);
    }

    fn why(&self, agent: &Agent, removal: Removal) -> String {
        match removal {
            Removal::Unreachable(_) => {
                format!("Agent {} is unreachable: health check timed out", agent.info.hostname)
            }
            Removal::Unregistered => format!("Agent {} removed: the agent unregistered", agent.info.hostname),
            Removal::Replaced => {
                format!("Agent {} removed: a new agent registered at the same address", agent.info.hostname)
            }
            Removal::MachineDown => {
                format!("Agent {} removed: {}", agent.info.hostname, super::maintenance::TAKEN_DOWN)
            }
            Removal::Gone => "Agent has been marked gone".to_owned(),
        }
    }

    fn count_removal(&mut self, removal: Removal) {
        self.counters.slave_removals += 1;
        let reason = match removal {
            Removal::Unreachable(_) => &mut self.counters.slave_removals_reason_unhealthy,
            Removal::Unregistered => &mut self.counters.slave_removals_reason_unregistered,
            Removal::Replaced => &mut self.counters.slave_removals_reason_registered,
            // Mesos has no name for it.
            Removal::Gone | Removal::MachineDown => return,
        };
        *reason += 1;
    }

    /// Every subscribed framework hears of a lost agent, whether it had tasks there or not.
    pub(super) fn tell_of_lost_agent(&mut self, id: &AgentId, turn: &mut Turn<'_>) {
        let streams: Vec<_> = self.streams.keys().cloned().collect();
        for stream in streams {
            let event = Event::Failure { agent_id: id.clone(), executor_id: None, status: None };
            turn.scheduler(&stream, event);
        }
    }

    /// One task of a removed agent: told to its framework, and kept among those that are over or may come back.
    fn lose_task(
        &mut self,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        removal: Removal,
        why: &str,
        turn: &mut Turn<'_>,
    ) {
        let framework = self.frameworks.get_mut(framework_id).expect("a task's framework is known");
        let mut task = framework.tasks.remove(task_id).expect("an agent's task is its framework's");
        if task.state.is_terminal() {
            // Its end was not acknowledged, and the agent that would repeat it is gone: told once more, as it was.
            let status = super::reconcile::latest(&task, turn.now.unix);
            framework.tell(&status, turn);
            return self.complete_task(framework_id, task, turn);
        }
        framework.used.subtract(&task.info.resources);
        let is_aware = framework.is_partition_aware();
        let (state, reason) = match removal {
            Removal::Unreachable(_) if is_aware => (TaskState::Unreachable, Reason::AGENT_REMOVED),
            Removal::Gone if is_aware => (TaskState::GoneByOperator, Reason::AGENT_REMOVED_BY_OPERATOR),
            _ => (TaskState::Lost, Reason::AGENT_REMOVED),
        };
        let mut status = task.status_by_master(state, Some(reason), why, turn.now.unix);
        if let Removal::Unreachable(since) = removal {
            status.body = super::reconcile::unreachable_since(since);
        }
        framework.tell(&status, turn);
        let changed = Arc::make_mut(&mut task);
        changed.state = state;
        changed.record(status);
        self.counters.ended(state);
        if matches!(removal, Removal::Unreachable(_)) {
            self.keep_unreachable(framework_id, task, turn);
        } else {
            self.complete_task(framework_id, task, turn);
        }
    }

    /// Tasks of an agent that was given up and will not come back: told so, and over.
    pub(super) fn lose_unreachable(&mut self, agent_id: &AgentId, why: &str, turn: &mut Turn<'_>) {
        let ids: Vec<_> = self.frameworks.iter().map(|(id, _)| id.clone()).collect();
        for id in ids {
            let there = |task: &super::tasks::Task| task.info.agent_id == *agent_id;
            let framework = self.frameworks.get(&id).expect("listed above");
            if !framework.unreachable.iter().any(|task| there(task)) {
                continue;
            }
            let framework = self.frameworks.get_mut(&id).expect("listed above");
            let is_aware = framework.is_partition_aware();
            let all = std::mem::take(&mut framework.unreachable);
            let (lost, stay): (VecDeque<_>, _) = all.into_iter().partition(|task| there(task));
            framework.unreachable = stay;
            for mut task in lost {
                let (state, reason) = if is_aware {
                    (TaskState::GoneByOperator, Reason::AGENT_REMOVED_BY_OPERATOR)
                } else {
                    (TaskState::Lost, Reason::AGENT_REMOVED)
                };
                let status = task.status_by_master(state, Some(reason), why, turn.now.unix);
                self.frameworks.get(&id).expect("listed above").tell(&status, turn);
                let changed = Arc::make_mut(&mut task);
                changed.state = state;
                changed.record(status);
                self.complete_task(&id, task, turn);
            }
        }
    }
}

/// What frameworks may choose agents by, for the allocator.
pub(super) fn description(agent: AgentKey, info: &AgentInfo) -> event::Event {
    // Our own encoding; a damaged one has no attributes.
    let whole = api::convert::agent::to_v1(info, None).unwrap_or_default();
    let place = whole.domain.and_then(|domain| domain.fault_domain);
    let place = place.map(|place| Place { region: place.region.name.into(), zone: place.zone.name.into() });
    let attributes = whole.attributes.into_iter().map(|attribute| {
        let value = match (attribute.r#type(), attribute.text) {
            (Type::Text, text) => Attribute::Text(text.unwrap_or_default().value.into()),
            _ => Attribute::Other,
        };
        (attribute.name.into(), value)
    });
    let hostname = Arc::clone(&info.hostname);
    let description = Description { hostname, place, attributes: attributes.collect() };
    event::Event::DescribeAgent { agent, description: Arc::new(description) }
}
