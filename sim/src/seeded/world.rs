//! The one queue, the one clock, and the master's side of the wire.

use super::laws::Laws;
use super::node::{Doing, Machine};
use super::scheduler::Scheduler;
use super::{Outcome, Plan};
use ingot_agent::node::input::Input as NodeInput;
use ingot_master::allocator::core::Core;
use ingot_master::allocator::event::Allocation;
use ingot_master::cluster::effect::{Effect, Event};
use ingot_master::cluster::input::{Input, SessionId, StreamId};
use ingot_master::cluster::snapshot::MasterInfo;
use ingot_master::cluster::{Cluster, Settings};
use model::id::{ContainerId, MasterId};
use model::time::{Now, Time, UnixTime};
use std::collections::{BTreeMap, BTreeSet};
use wire::frame::HEADER_BYTES;

/// Longest the calm may take until everything has come to rest, milliseconds of virtual time. Updates are repeated after
/// up to ten minutes, and an agent is given up after 75 s.
const CALM_MS_MAX: u64 = 3 * 3_600_000;

/// Something that is on its way.
#[derive(Debug)]
pub(super) enum Happening {
    ToMaster(Box<Input>),
    MasterHears {
        session: SessionId,
        frame: Vec<u8>,
    },
    AgentHears {
        session: SessionId,
        frame: Vec<u8>,
    },
    /// The master notices that a connection is gone.
    SessionGone(SessionId),
    SchedulerHears {
        stream: StreamId,
        event: Event,
    },
    Subscribe(usize),
    Machine {
        at: usize,
        life: u64,
        doing: Doing,
    },
    Fault,
    /// Schedulers ask again, in the calm.
    Reconcile,
}

/// See the folder's head.
pub struct World {
    pub(super) plan: Plan,
    pub(super) rng: fastrand::Rng,
    pub(super) now: Now,
    queue: BTreeMap<(Time, u64), Happening>,
    /// When the last thing on a channel that keeps its order arrives.
    channels: BTreeMap<u64, Time>,
    pub(super) next_number: u64,
    cluster: Cluster,
    allocator: Core,
    pub(super) machines: Vec<Machine>,
    pub(super) schedulers: Vec<Scheduler>,
    /// Sessions that the master has ended or seen the end of.
    gone: BTreeSet<SessionId>,
    /// Containers whose end was told, by agent and life.
    pub(super) ended: BTreeSet<(usize, u64, ContainerId)>,
    pub(super) laws: Laws,
    pub(super) updates: u64,
    outcome: Outcome,
}

fn master_info() -> MasterInfo {
    MasterInfo {
        id: MasterId::new("m"),
        hostname: "localhost".into(),
        address: ([127, 0, 0, 1], 5050).into(),
        cluster: None,
        version: "1.11.0",
        started: UnixTime(0),
        elected: UnixTime(0),
        flags: Vec::new(),
        weights: BTreeMap::new(),
        quotas: BTreeMap::new(),
    }
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        let machines = (0..plan.agents).map(|at| Machine::new(at, rng.u64(..))).collect();
        let schedulers =
            (0..plan.schedulers).map(|at| Scheduler::new(at, rng.u8(..4) > 0, rng.bool())).collect();
        let (_, usage) = ingot_master::usage::table();
        Self {
            laws: Laws::new(plan.seed),
            plan,
            rng,
            now: Now::default(),
            queue: BTreeMap::new(),
            channels: BTreeMap::new(),
            next_number: 0,
            cluster: Cluster::new(Settings::default(), master_info(), usage),
            allocator: Core::default(),
            machines,
            schedulers,
            gone: BTreeSet::new(),
            ended: BTreeSet::new(),
            updates: 0,
            outcome: Outcome::default(),
        }
    }

    /// Storm, then calm until everything is over, then the books are closed.
    pub(super) fn run(mut self) -> Outcome {
        (0..self.machines.len()).for_each(|at| self.tell_node(at, NodeInput::Start));
        (0..self.schedulers.len()).for_each(|at| self.soon(0, 500, Happening::Subscribe(at)));
        if self.plan.fault_interval_ms > 0 {
            self.soon(0, self.plan.fault_interval_ms * 2, Happening::Fault);
        }
        self.until(Time::from_ms(self.plan.storm_ms), |_| false);
        self.calm();
        self.close_the_books();
        self.outcome.finished = self.schedulers.iter().map(|it| it.finished).sum();
        self.outcome.launched = self.schedulers.iter().map(|it| it.launched).sum();
        self.outcome.updates = self.updates;
        self.outcome
    }

    pub(super) fn is_stormy(&self) -> bool {
        self.now.time < Time::from_ms(self.plan.storm_ms)
    }

    fn calm(&mut self) {
        self.trace(|| "the storm is over".into());
        self.soon(0, 1, Happening::Reconcile);
        let end = Time::from_ms(self.plan.storm_ms + CALM_MS_MAX);
        let is_over = |world: &Self| {
            world.schedulers.iter().all(|it| it.tasks.is_empty() && it.stream.is_some())
                && world.machines.iter().all(|it| it.executors.is_empty() && it.link.is_some())
        };
        self.until(end, is_over);
        let open: Vec<_> = self.schedulers.iter().flat_map(|it| &it.tasks).collect();
        assert!(open.is_empty(), "seed {}: law 3: never ended: {open:?}", self.plan.seed);
        for (at, machine) in self.machines.iter().enumerate() {
            let left: Vec<_> = machine.executors.values().collect();
            assert!(left.is_empty(), "seed {}: law 3: still on node-{at}: {left:#?}", self.plan.seed);
        }
    }

    /// Law 4: the first scheduler is the only one who wants anything; it must be offered all there is.
    fn close_the_books(&mut self) {
        (1..self.schedulers.len()).for_each(|at| self.want_nothing(at));
        let settle = self.now.time.plus_ms(120_000);
        self.until(settle, |_| false);
        self.want_everything(0);
        let end = self.now.time.plus_ms(120_000);
        self.until(end, |_| false);
        let snapshot = self.cluster.snapshot(self.now);
        assert_eq!(snapshot.agents.len(), self.machines.len(), "seed {}: agents", self.plan.seed);
        for agent in &snapshot.agents {
            let used = &agent.used;
            assert!(used.is_empty(), "seed {}: law 4: {} still uses {used}", self.plan.seed, agent.id);
            let mut offered = model::resources::Resources::default();
            self.trace(|| format!("{}: the master has offered {}", agent.id, agent.offered));
            let held = self.schedulers[0].held.values().filter(|(of, _)| *of == agent.id);
            held.for_each(|(_, resources)| offered.add(resources));
            assert_eq!(
                offered, agent.total,
                "seed {}: law 4: of {} on {}, {offered} can be had",
                self.plan.seed, agent.total, agent.id
            );
        }
    }

    /// Lets things happen until that time, or until `done`.
    fn until(&mut self, end: Time, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            let queued = self.queue.keys().next().map(|(at, _)| *at);
            let nodes = self.machines.iter().filter(|it| !it.has_exited).filter_map(|it| it.node.deadline());
            let due = nodes.chain(self.cluster.deadline()).chain(self.allocator.deadline()).min();
            let Some(next) = queued.into_iter().chain(due).min().filter(|next| *next <= end) else {
                self.advance(end);
                return;
            };
            self.advance(next);
            if due.is_some_and(|due| due <= self.now.time) {
                self.expire();
            } else if let Some((_, happening)) = self.queue.pop_first() {
                self.outcome.happenings += 1;
                self.happens(happening);
            }
        }
    }

    fn advance(&mut self, to: Time) {
        let time = self.now.time.max(to);
        self.now = Now { time, unix: UnixTime(time.0 / 1000) };
    }

    fn expire(&mut self) {
        let mut allocations = Vec::new();
        self.allocator.expire(self.now.time, &mut allocations);
        self.allocated(allocations);
        let mut effects = Vec::new();
        self.cluster.expire(self.now, &mut effects);
        self.master_wants(effects);
        for at in 0..self.machines.len() {
            let due = self.machines[at].node.deadline().is_some_and(|due| due <= self.now.time);
            if due && !self.machines[at].has_exited {
                let mut effects = Vec::new();
                self.machines[at].node.expire(self.now, &mut effects);
                self.node_wants(at, effects);
            }
        }
    }

    fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::ToMaster(input) => self.tell_master(*input),
            Happening::MasterHears { session, frame } => {
                let is_open = self.machines.iter().any(|it| it.link.is_some_and(|(_, it)| it == session));
                if !is_open || self.gone.contains(&session) {
                    return;
                }
                match wire::decode_to_master(&frame[HEADER_BYTES..]).expect("agents speak our language") {
                    wire::Incoming::Message(message) => {
                        self.tell_master(Input::Agent { session, message: *message });
                    }
                    wire::Incoming::Usage(_) => unreachable!("no reports are sent here"),
                }
            }
            Happening::AgentHears { session, frame } => self.agent_hears(session, &frame),
            Happening::SessionGone(session) => {
                if self.gone.insert(session) {
                    self.tell_master(Input::AgentGone { session });
                }
            }
            Happening::SchedulerHears { stream, event } => self.scheduler_hears(&stream, event),
            Happening::Subscribe(at) => {
                if self.schedulers[at].stream.is_none() {
                    self.subscribe(at);
                }
            }
            Happening::Machine { at, life, doing } => self.machine_does(at, life, doing),
            Happening::Fault => self.fault(),
            Happening::Reconcile => {
                (0..self.schedulers.len()).for_each(|at| self.reconcile(at));
                self.soon(30_000, 30_000, Happening::Reconcile);
            }
        }
    }

    fn fault(&mut self) {
        if !self.is_stormy() {
            return;
        }
        self.outcome.faults += 1;
        let at = self.rng.usize(..self.machines.len());
        match self.rng.u8(..4) {
            0 => {
                let scheduler = self.rng.usize(..self.schedulers.len());
                self.lose_scheduler(scheduler);
            }
            1 => {
                self.outcome.agent_restarts += 1;
                self.restart_agent(at);
            }
            _ => {
                if let Some((session, _)) = self.machines[at].link {
                    self.trace(|| format!("node-{at} loses its link"));
                    self.drop_link(at);
                    self.tell_node(at, NodeInput::LinkDown { session });
                }
            }
        }
        let interval = self.plan.fault_interval_ms;
        self.soon(0, interval * 2, Happening::Fault);
    }

    fn tell_master(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.cluster.handle(self.now, input, &mut effects);
        self.master_wants(effects);
    }

    fn master_wants(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ToAgent { session, message } => {
                    let frame = wire::encode_to_agent(&message).expect("short enough");
                    self.in_order(session.0 * 2 + 1, Happening::AgentHears { session, frame });
                }
                Effect::CloseSession { session, why } => {
                    self.trace(|| format!("the master ends session {session:?}: {why}"));
                    self.gone.insert(session);
                    self.agent_loses(session);
                }
                Effect::ToScheduler { stream, event } => {
                    let channel = stream.0.bytes().fold(1 << 63, |hash: u64, byte| {
                        hash.wrapping_mul(31).wrapping_add(byte.into()) | 1 << 63
                    });
                    self.in_order(channel, Happening::SchedulerHears { stream, event });
                }
                Effect::CloseStream { stream } => self.scheduler_loses(&stream),
                Effect::Answer { answer, .. } => {
                    if let Err(refusal) = answer {
                        self.trace(|| format!("a call is refused: {refusal:?}"));
                    }
                }
                Effect::Allocator(event) => {
                    let mut allocations = Vec::new();
                    self.allocator.handle(self.now.time, event, &mut allocations);
                    self.allocator.invariants(self.now.time);
                    self.allocated(allocations);
                }
                // Durable a little later, in the order asked for.
                Effect::Persist(_) => {
                    let input = Box::new(Input::Durable { count: 1 });
                    self.in_order(1 << 62, Happening::ToMaster(input));
                }
                Effect::Abort { why } => unreachable!("no registry is recovered here: {why}"),
                Effect::ForgetRow(_) | Effect::KeepNode { .. } | Effect::ForgetNode(_) => {
                    unreachable!("no rows are given out here")
                }
                Effect::Note(note) => self.trace(|| format!("master notes {note:?}")),
            }
        }
    }

    /// Allocations reach the cluster core a little later, as through the ring, so that some of them come too late.
    fn allocated(&mut self, allocations: Vec<Allocation>) {
        if !allocations.is_empty() {
            let input = Box::new(Input::Allocations(allocations));
            self.in_order(0, Happening::ToMaster(input));
        }
    }

    /// The agent finds its connection closed by the master.
    fn agent_loses(&mut self, session: SessionId) {
        let holds = |machine: &Machine| machine.link.is_some_and(|(_, it)| it == session);
        if let Some(at) = self.machines.iter().position(holds) {
            let (session, _) = self.machines[at].link.take().expect("just looked at");
            self.tell_node(at, NodeInput::LinkDown { session });
        }
    }

    fn scheduler_loses(&mut self, stream: &StreamId) {
        let holds = |it: &Scheduler| it.stream.as_ref() == Some(stream);
        if let Some(at) = self.schedulers.iter().position(holds) {
            self.schedulers[at].stream = None;
            self.soon(10, 1_000, Happening::Subscribe(at));
        }
    }

    pub(super) fn soon(&mut self, least_ms: u64, most_ms: u64, happening: Happening) {
        let ns = self.rng.u64(least_ms * 1_000_000..=most_ms * 1_000_000);
        self.push(self.now.time.plus_ns(ns), happening);
    }

    /// Arrives after everything that was sent on that channel before.
    pub(super) fn in_order(&mut self, channel: u64, happening: Happening) {
        let arrival = self.now.time.plus_ns(self.rng.u64(20_000..2_000_000));
        let last = self.channels.entry(channel).or_default();
        *last = (*last).max(arrival);
        let at = *last;
        self.push(at, happening);
    }

    fn push(&mut self, at: Time, happening: Happening) {
        self.next_number += 1;
        self.queue.insert((at, self.next_number), happening);
    }

    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
        if self.plan.trace {
            println!("{:>12.6} {}", self.now.time.0 as f64 / 1e9, line());
        }
    }
}
