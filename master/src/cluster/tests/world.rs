//! The test world: what goes in is one line each, what comes out is kept per receiver; laws are checked after every input.

use crate::allocator::event::{Allocation, Event as ToAllocator};
use crate::allocator::key::{AgentKey, FrameworkKey};
use crate::cluster::effect::{Done, Effect, Event};
use crate::cluster::input::*;
use crate::cluster::snapshot::MasterInfo;
use crate::cluster::{Cluster, Settings};
use crate::registrar::registry::Registry;
use crate::usage;
use api::refusal::Refusal;
use bytes::Bytes;
use model::agent_info::AgentInfo;
use model::body::Body;
use model::executor::ExecutorInfo;
use model::framework::{Capabilities, FrameworkInfo};
use model::id::*;
use model::resources::Resources;
use model::role::Role;
use model::task::{Source, TaskInfo, TaskState, TaskStatus};
use model::time::{Now, UnixTime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wire::message::{Reregister, RunningTask, ToAgent, ToMaster};

pub(super) const MASTER: &str = "m";

pub(super) fn r(text: &str) -> Resources {
    text.parse().expect("resources")
}

pub(super) fn star(text: &str) -> Resources {
    r(text).allocated_to(&Role::star())
}

/// The allocator's side of the books, strict: what is released must be held.
#[derive(Debug, Default)]
pub(super) struct Books {
    totals: BTreeMap<AgentKey, (Resources, bool)>,
    frameworks: BTreeMap<FrameworkKey, bool>,
    held: BTreeMap<(AgentKey, FrameworkKey), Resources>,
}

impl Books {
    fn note(&mut self, event: ToAllocator) {
        match event {
            ToAllocator::AddAgent { agent, total, used } => {
                assert!(self.totals.insert(agent, (total, true)).is_none(), "added twice");
                for (framework, resources) in used {
                    assert!(self.frameworks.contains_key(&framework), "used by nobody");
                    self.held.insert((agent, framework), resources);
                }
            }
            ToAllocator::UpdateAgent { agent, total } => {
                self.totals.get_mut(&agent).expect("added").0 = total
            }
            ToAllocator::RemoveAgent { agent } => {
                self.totals.remove(&agent).expect("added");
                self.held.retain(|(of, _), _| *of != agent);
            }
            ToAllocator::ActivateAgent { agent } => self.totals.get_mut(&agent).expect("added").1 = true,
            ToAllocator::DeactivateAgent { agent } => self.totals.get_mut(&agent).expect("added").1 = false,
            ToAllocator::AddFramework { framework, is_active, .. } => {
                assert!(self.frameworks.insert(framework, is_active).is_none(), "added twice");
            }
            ToAllocator::UpdateFramework { framework, .. }
            | ToAllocator::Suppress { framework, .. }
            | ToAllocator::Revive { framework, .. } => assert!(self.frameworks.contains_key(&framework)),
            ToAllocator::RemoveFramework { framework } => {
                self.frameworks.remove(&framework).expect("added");
                self.held.retain(|(_, by), _| *by != framework);
            }
            ToAllocator::ActivateFramework { framework } => {
                *self.frameworks.get_mut(&framework).expect("added") = true;
            }
            ToAllocator::DeactivateFramework { framework } => {
                *self.frameworks.get_mut(&framework).expect("added") = false;
            }
            ToAllocator::Release { framework, agent, resources, .. } => {
                let held = self.held.get_mut(&(agent, framework)).expect("held");
                *held = held.checked_sub(&resources).expect("no more is released than is held");
            }
            ToAllocator::Convert { framework, agent, consumed, converted } => {
                let swap = |of: &mut Resources, consumed: &Resources, converted: &Resources| {
                    *of = of.checked_sub(consumed).expect("what is converted is there");
                    of.add(converted);
                };
                swap(self.held.get_mut(&(agent, framework)).expect("held"), &consumed, &converted);
                let total = &mut self.totals.get_mut(&agent).expect("added").0;
                swap(total, &consumed.unallocated(), &converted.unallocated());
            }
            ToAllocator::DescribeAgent { .. }
            | ToAllocator::SetWeight { .. }
            | ToAllocator::SetQuota { .. } => {}
        }
    }

    /// All that is free on every active agent, for that framework.
    fn allocate(&mut self, framework: FrameworkKey, role: &Role) -> Vec<Allocation> {
        let mut made = Vec::new();
        for (&agent, (total, is_active)) in &self.totals {
            let mut free = total.clone();
            for (_, held) in self.held.iter().filter(|((of, _), _)| *of == agent) {
                free = free.saturating_sub(&held.unallocated());
            }
            if *is_active && !free.is_empty() {
                let resources = free.allocated_to(role);
                self.held.entry((agent, framework)).or_default().add(&resources);
                made.push(Allocation { framework, role: role.clone(), agent, resources });
            }
        }
        made
    }
}

pub(super) struct World {
    pub(super) cluster: Cluster,
    pub(super) now: Now,
    pub(super) books: Books,
    writer: usage::Writer,
    sessions: u64,
    streams: u64,
    tickets: u64,
    rows: BTreeSet<usage::Row>,
    nodes: BTreeSet<usage::NodeRow>,
    /// Sessions that were told where their node's figures stand.
    pub(super) kept: Vec<(SessionId, usage::NodeRow)>,
    /// What each agent's session and each scheduler's stream was sent, and has not been looked at.
    agents: BTreeMap<SessionId, Vec<ToAgent>>,
    schedulers: BTreeMap<StreamId, Vec<Event>>,
    /// What is durable, once [`Self::carry_out`] has said so.
    pub(super) registry: Registry,
    /// Nothing becomes durable by itself while this is set; [`Self::settle`] makes it.
    pub(super) is_storage_slow: bool,
    undurable_count: usize,
    pub(super) aborted: Option<Arc<str>>,
    pub(super) closed_sessions: BTreeSet<SessionId>,
    pub(super) closed_streams: BTreeSet<StreamId>,
    answers: BTreeMap<Ticket, Result<Done, Refusal>>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Settings::default())
    }

    pub(super) fn with(settings: Settings) -> Self {
        let (writer, table) = usage::table();
        let master = MasterInfo {
            id: MasterId::new(MASTER),
            hostname: "localhost".into(),
            address: "127.0.0.1:5050".parse().expect("an address"),
            cluster: None,
            domain: None,
            version: "1.11.0",
            started: UnixTime(0),
            elected: UnixTime(0),
            flags: Vec::new(),
            weights: BTreeMap::new(),
            quotas: BTreeMap::new(),
        };
        Self {
            cluster: Cluster::new(settings, master, table),
            now: Now::default(),
            books: Books::default(),
            writer,
            sessions: 0,
            streams: 0,
            tickets: 0,
            rows: BTreeSet::new(),
            nodes: BTreeSet::new(),
            kept: Vec::new(),
            agents: BTreeMap::new(),
            schedulers: BTreeMap::new(),
            registry: Registry::default(),
            is_storage_slow: false,
            undurable_count: 0,
            aborted: None,
            closed_sessions: BTreeSet::new(),
            closed_streams: BTreeSet::new(),
            answers: BTreeMap::new(),
        }
    }

    /// One input, its effects carried out, the laws checked.
    pub(super) fn give(&mut self, input: Input) {
        self.now.unix.0 += 1;
        let mut effects = Vec::new();
        self.cluster.handle(self.now, input, &mut effects);
        self.carry_out(effects);
    }

    /// Lets time pass, in steps no longer than the core's own deadlines.
    pub(super) fn pass_ms(&mut self, ms: u64) {
        let end = self.now.time.plus_ms(ms);
        loop {
            let due = self.cluster.deadline().unwrap_or(end).min(end);
            self.now.time = due.max(self.now.time);
            let mut effects = Vec::new();
            self.cluster.expire(self.now, &mut effects);
            self.carry_out(effects);
            if self.now.time >= end && self.cluster.deadline().is_none_or(|due| due > end) {
                return;
            }
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist(change) => {
                    self.registry.apply(&change);
                    self.undurable_count += 1;
                }
                Effect::Abort { why } => self.aborted = Some(why),
                Effect::ToAgent { session, message } => {
                    assert!(!self.closed_sessions.contains(&session), "told through a closed session");
                    self.agents.entry(session).or_default().push(message);
                }
                Effect::CloseSession { session, .. } => {
                    self.closed_sessions.insert(session);
                }
                Effect::ToScheduler { stream, event } => {
                    assert!(
                        !self.closed_streams.contains(&stream),
                        "told through a closed stream: {event:?}"
                    );
                    self.schedulers.entry(stream).or_default().push(event);
                }
                Effect::CloseStream { stream } => {
                    self.closed_streams.insert(stream);
                }
                Effect::Answer { ticket, answer } => {
                    assert!(self.answers.insert(ticket, answer).is_none(), "answered twice");
                }
                Effect::Allocator(event) => self.books.note(event),
                Effect::KeepNode { session, row } => {
                    assert!(!self.closed_sessions.contains(&session), "kept for a closed session");
                    assert!(self.nodes.contains(&row), "kept after it was forgotten");
                    self.kept.push((session, row));
                }
                Effect::ForgetNode(row) => {
                    assert!(self.nodes.remove(&row), "a node is forgotten once");
                    self.writer.release_node(row);
                }
                Effect::ForgetRow(row) => {
                    assert!(self.rows.remove(&row), "a row is forgotten once");
                    self.writer.release(row);
                }
                Effect::Note(_) => {}
            }
        }
        self.check();
        if !self.is_storage_slow && self.undurable_count > 0 {
            self.settle();
        }
    }

    /// Everything that was asked for becomes durable, one change after the other.
    pub(super) fn settle(&mut self) {
        while self.undurable_count > 0 {
            self.undurable_count -= 1;
            self.give(Input::Durable { count: 1 });
        }
    }

    /// A master that reads what others have written.
    pub(super) fn after(registry: Registry, settings: Settings) -> Self {
        let mut world = Self::with(Settings { is_registry_kept: true, ..settings });
        world.registry = registry.clone();
        world.give(Input::Recovered(Box::new(registry)));
        world
    }

    /// The laws that hold between any two inputs.
    fn check(&mut self) {
        self.cluster.check_invariants();
        for (id, agent) in self.cluster.agents.iter() {
            let mut mine = agent.used.clone();
            mine.add(&agent.offered);
            let mut theirs = Resources::default();
            self.books
                .held
                .iter()
                .filter(|((of, _), _)| *of == agent.key)
                .for_each(|(_, held)| theirs.add(held));
            assert_eq!(mine, theirs, "offered and used on {id}, here and in the allocator's books");
            let (total, is_active) = &self.books.totals[&agent.key];
            let is_withheld =
                self.cluster.withdrawn.is_deactivated(id) || self.cluster.expected.holds_offers();
            let may_be = agent.session.is_some() && !is_withheld;
            assert_eq!((total, *is_active), (&agent.total(), may_be));
        }
        assert_eq!(self.books.totals.len(), self.cluster.agents.iter().count());
        for (_, framework) in self.cluster.frameworks.iter() {
            assert_eq!(self.books.frameworks[&framework.key], framework.stream.is_some());
        }
        let held: BTreeSet<_> = self.cluster.rows.counts().keys().copied().collect();
        assert_eq!(held, self.rows, "rows in use are rows that someone shows");
        let held = self.cluster.pending.held_nodes();
        let nodes = self.cluster.agents.iter().filter_map(|(_, agent)| agent.node);
        let nodes: BTreeSet<_> = nodes.chain(held).collect();
        assert_eq!(nodes, self.nodes, "rows of nodes in use are agents'");
    }

    // Agents.

    pub(super) fn session(&mut self) -> SessionId {
        self.sessions += 1;
        SessionId(self.sessions)
    }

    pub(super) fn say(&mut self, session: SessionId, message: ToMaster) {
        self.give(Input::Agent { session, message });
    }

    /// Registers an agent with these resources; its session and id.
    pub(super) fn agent(&mut self, resources: &str) -> (SessionId, AgentId) {
        let session = self.session();
        let info = agent_info(5051 + u16::try_from(session.0).expect("few"), resources);
        self.say(session, ToMaster::Register { info });
        match self.told(session).pop() {
            Some(ToAgent::Registered { agent_id, .. }) => (session, agent_id),
            other => panic!("not registered: {other:?}"),
        }
    }

    pub(super) fn agent_info(&self, id: &AgentId) -> AgentInfo {
        self.cluster.agents.get(id).expect("registered").info.as_ref().clone()
    }

    /// The agent comes back in a new session with what it says it runs.
    pub(super) fn back(
        &mut self,
        id: &AgentId,
        info: AgentInfo,
        frameworks: Vec<FrameworkInfo>,
        tasks: Vec<RunningTask>,
    ) -> SessionId {
        let session = self.session();
        let executors = Vec::new();
        let message = Reregister {
            agent_id: id.clone(),
            info,
            frameworks,
            executors,
            tasks,
            oversubscribed: Resources::default(),
        };
        self.say(session, ToMaster::Reregister(message));
        session
    }

    pub(super) fn told(&mut self, session: SessionId) -> Vec<ToAgent> {
        self.agents.remove(&session).unwrap_or_default()
    }

    /// An update from the agent, with an id made of the number.
    pub(super) fn update(
        &mut self,
        session: SessionId,
        framework: &FrameworkId,
        task: &str,
        state: TaskState,
        n: u8,
    ) {
        let mut status = TaskStatus::made_by(Source::Executor, TaskId::new(task), state, None, "");
        status.update_id = Some(UpdateId([n; 16]));
        let framework_id = framework.clone();
        self.say(session, ToMaster::Update { framework_id, status, latest_state: state });
    }

    /// The first report of a session on its node.
    pub(super) fn report_node(&mut self, session: SessionId) -> usage::NodeRow {
        let row = self.writer.allocate_node().expect("room");
        self.nodes.insert(row);
        self.give(Input::Node { session, row });
        row
    }

    pub(super) fn report(
        &mut self,
        session: SessionId,
        framework: &FrameworkId,
        executor: &str,
        container: &str,
    ) -> usage::Row {
        let row = self.writer.allocate().expect("room");
        self.rows.insert(row);
        self.give(Input::Container {
            session,
            framework_id: framework.clone(),
            executor_id: ExecutorId::new(executor),
            container_id: ContainerId::new(container),
            row,
        });
        row
    }

    // Schedulers.

    pub(super) fn stream(&mut self) -> StreamId {
        self.streams += 1;
        StreamId(format!("stream-{}", self.streams).into())
    }

    /// Subscribes a new framework and takes its SUBSCRIBED and HEARTBEAT away.
    pub(super) fn framework(&mut self, info: FrameworkInfo) -> Scheduler {
        let stream = self.stream();
        let (suppressed, constraints) = (Vec::new(), Arc::default());
        let subscribe = Subscribe { stream: stream.clone(), framework: info, suppressed, constraints };
        self.give(Input::Subscribe(subscribe));
        let events = self.heard(&stream);
        match &events[..] {
            [Event::Subscribed { framework_id }, Event::Heartbeat] => {
                Scheduler { id: framework_id.clone(), stream }
            }
            other => panic!("not subscribed: {other:?}"),
        }
    }

    pub(super) fn heard(&mut self, stream: &StreamId) -> Vec<Event> {
        self.schedulers.remove(stream).unwrap_or_default()
    }

    /// The updates heard since, as task, state, and whether one must be acknowledged.
    pub(super) fn updates(&mut self, scheduler: &Scheduler) -> Vec<(String, TaskState, Option<u8>)> {
        let events = self.heard(&scheduler.stream).into_iter();
        let update = |event| match event {
            Event::Update { status } => {
                Some((status.task_id.to_string(), status.state, status.update_id.map(|id| id.0[0])))
            }
            _ => None,
        };
        events.filter_map(update).collect()
    }

    /// The allocator offers the framework all that is free; the offers' ids.
    pub(super) fn offer(&mut self, scheduler: &Scheduler) -> Vec<OfferId> {
        self.offer_role(scheduler, &Role::star())
    }

    /// What the allocator handed out before it heard of what has changed since.
    pub(super) fn handed_out(
        &mut self,
        scheduler: &Scheduler,
        agent: &AgentId,
        resources: &Resources,
    ) -> Allocation {
        let resources = resources.allocated_to(&Role::star());
        let framework = self.cluster.frameworks.get(&scheduler.id).expect("subscribed").key;
        let agent = self.cluster.agents.get(agent).expect("registered").key;
        self.books.held.entry((agent, framework)).or_default().add(&resources);
        Allocation { framework, role: Role::star(), agent, resources }
    }

    pub(super) fn offer_role(&mut self, scheduler: &Scheduler, role: &Role) -> Vec<OfferId> {
        let key = self.cluster.frameworks.get(&scheduler.id).expect("subscribed").key;
        let allocations = self.books.allocate(key, role);
        self.give(Input::Allocations(allocations));
        let mut ids = Vec::new();
        for event in self.heard(&scheduler.stream) {
            let Event::Offers { offers, .. } = event else { panic!("not an offer: {event:?}") };
            ids.extend(offers.iter().map(|offer| offer.id.clone()));
        }
        ids
    }

    pub(super) fn call(&mut self, scheduler: &Scheduler, call: Call) -> Result<Done, Refusal> {
        self.call_as(&scheduler.id, Some(scheduler.stream.clone()), call)
    }

    pub(super) fn call_as(
        &mut self,
        id: &FrameworkId,
        stream: Option<StreamId>,
        call: Call,
    ) -> Result<Done, Refusal> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.give(Input::Call(CallOf { ticket, framework_id: id.clone(), stream, call }));
        self.answers.remove(&ticket).expect("every call is answered at once")
    }

    pub(super) fn operator(&mut self, call: OperatorCall) -> Result<Done, Refusal> {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.give(Input::Operator { ticket, call });
        self.answers.remove(&ticket).expect("every call is answered at once")
    }

    /// What was answered, if anything was.
    pub(super) fn answer(&mut self, ticket: Ticket) -> Option<Result<Done, Refusal>> {
        self.answers.remove(&ticket)
    }

    pub(super) fn launch(&mut self, scheduler: &Scheduler, offer: &OfferId, tasks: Vec<TaskInfo>) {
        let tasks = tasks.into_iter().map(Ok).collect();
        let accept = Accept {
            offer_ids: vec![offer.clone()],
            operations: vec![Operation::Launch { tasks }],
            refuse_ns: 0,
        };
        assert_eq!(self.call(scheduler, Call::Accept(accept)), Ok(Done::Accepted));
    }

    pub(super) fn acknowledge(&mut self, scheduler: &Scheduler, agent: &AgentId, task: &str, n: u8) {
        let (agent_id, task_id, update_id) = (agent.clone(), TaskId::new(task), UpdateId([n; 16]));
        assert_eq!(
            self.call(scheduler, Call::Acknowledge { agent_id, task_id, update_id }),
            Ok(Done::Accepted)
        );
    }
}

/// A subscribed framework.
#[derive(Clone, Debug)]
pub(super) struct Scheduler {
    pub(super) id: FrameworkId,
    pub(super) stream: StreamId,
}

pub(super) fn agent_info(port: u16, resources: &str) -> AgentInfo {
    AgentInfo {
        hostname: format!("host{port}").into(),
        address: ([127, 0, 0, 1], port).into(),
        total: r(resources),
        boot_id: "boot".into(),
        version: "1.11.0".into(),
        body: Body::default(),
    }
}

pub(super) fn framework_info() -> FrameworkInfo {
    FrameworkInfo {
        framework_id: None,
        name: "f".into(),
        user: "root".into(),
        roles: vec![Role::star()],
        capabilities: Capabilities::default(),
        failover_timeout_ns: 100_000_000_000,
        checkpoint: true,
        hostname: "localhost".into(),
        webui_url: None,
        principal: None,
        body: Body::default(),
    }
}

pub(super) fn partition_aware() -> FrameworkInfo {
    FrameworkInfo { capabilities: Capabilities::PARTITION_AWARE, ..framework_info() }
}

/// One that understands, besides, what may be taken back.
pub(super) fn revocable() -> FrameworkInfo {
    let capabilities = Capabilities::PARTITION_AWARE.with(Capabilities::REVOCABLE_RESOURCES);
    FrameworkInfo { capabilities, ..framework_info() }
}

pub(super) fn task(id: &str, agent: &AgentId, resources: &str) -> TaskInfo {
    TaskInfo {
        task_id: TaskId::new(id),
        name: id.into(),
        agent_id: agent.clone(),
        resources: r(resources),
        executor: None,
        kill_grace_ns: None,
        body: Body::default(),
    }
}

pub(super) fn executor(id: &str, resources: &str) -> ExecutorInfo {
    ExecutorInfo {
        executor_id: ExecutorId::new(id),
        framework_id: None,
        name: None,
        resources: r(resources),
        shutdown_grace_ns: None,
        body: Body(Bytes::from_static(b"an executor")),
    }
}

pub(super) fn running(framework: &FrameworkId, task: TaskInfo, state: TaskState) -> RunningTask {
    RunningTask {
        framework_id: framework.clone(),
        task,
        latest_state: state,
        pending: None,
        statuses: Vec::new(),
    }
}

/// The text of the only refusal heard.
pub(super) fn message_of(events: &[Event]) -> Arc<str> {
    match events {
        [Event::Update { status }] => status.message.clone().expect("a message"),
        [Event::Error { message }] => message.clone(),
        other => panic!("not one refusal: {other:?}"),
    }
}
