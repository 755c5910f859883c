//! The one queue and the one clock, and a run from its begin to its end.

use super::checkers::{Breach, Checkers, Law, Verdict, Violation, breach};
use super::master::{Duty, Master};
use super::network::{Host, Link, LinkId, MASTER, Packet};
use super::node::{Doing, Machine};
use super::scheduler::Scheduler;
use super::storage::Shelf;
use super::weather::Fault;
use super::zookeeper::Ensemble;
use super::{Outcome, Plan};
use api::convert::volume::as_given;
use ingot_agent::node::input::Input as NodeInput;
use ingot_master::registrar::Registrar;
use model::id::ContainerId;
use model::resources::Resources;
use model::time::{Now, Time, UnixTime};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Longest the calm may take until everything has come to rest, milliseconds of virtual time. Updates are repeated after
/// up to ten minutes, an agent is given up after 75 s, and a new master waits ten minutes for those that do not come.
const CALM_MS_MAX: u64 = 3 * 3_600_000;
/// Timers that may fire without time going on.
const IDLE_TURNS_MAX: u32 = 100_000;

/// Something that is on its way.
#[derive(Debug)]
pub(super) enum Happening {
    /// A dial ends.
    Connect(LinkId),
    Arrive {
        link: LinkId,
        to: usize,
        packet: Packet,
    },
    GiveUpSending {
        link: LinkId,
        to: usize,
    },
    /// An end finds its link dead.
    Broken {
        link: LinkId,
        end: usize,
    },
    Master {
        at: usize,
        life: u64,
        duty: Duty,
    },
    StartMaster(usize),
    LateWrite(LateWrite, i64),
    /// ZooKeeper looks whose time is over.
    Sessions,
    Machine {
        at: usize,
        life: u64,
        doing: Doing,
    },
    StartAgent(usize),
    /// The agent's detector looks.
    Detect(usize),
    Subscribe(usize),
    /// The scheduler looks whether it still hears anything on that stream.
    Listen(usize, LinkId),
    Operator,
    /// Schedulers ask again, in the calm.
    Reconcile,
    Strike,
    Repair(Fault),
    /// An agent's estimator speaks.
    Estimate(usize),
}

/// What was on its way to the registry when its master died.
pub(super) struct LateWrite(pub(super) Box<Registrar>);

impl std::fmt::Debug for LateWrite {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("LateWrite")
    }
}

/// Whose core has a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    Master(usize),
    Agent(usize),
}

/// See the folder's head.
pub struct World {
    pub(super) plan: Plan,
    pub(super) rng: fastrand::Rng,
    pub(super) now: Now,
    queue: BTreeMap<(Time, u64), Happening>,
    timers: BTreeSet<(Time, Who)>,
    armed: BTreeMap<Who, Time>,
    /// When the last thing on a channel that keeps its order arrives.
    channels: BTreeMap<u64, Time>,
    pub(super) next_number: u64,
    pub(super) links: BTreeMap<LinkId, Link>,
    /// One way each.
    pub(super) blocked: BTreeSet<(Host, Host)>,
    pub(super) masters: Vec<Master>,
    pub(super) machines: Vec<Machine>,
    pub(super) schedulers: Vec<Scheduler>,
    pub(super) ensemble: Ensemble,
    /// When ZooKeeper looks next.
    pub(super) ensemble_due: Option<Time>,
    pub(super) shelf: Arc<Mutex<Shelf>>,
    /// Who dies after how many more effects.
    pub(super) fuses: BTreeMap<Who, u32>,
    /// Containers whose end was told, by agent and life.
    pub(super) ended: BTreeSet<(usize, u64, ContainerId)>,
    pub(super) checkers: Checkers,
    broken: Option<Breach>,
    pub(super) is_calm: bool,
    pub(super) outcome: Outcome,
    digest: std::cell::Cell<u64>,
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let mut rng = fastrand::Rng::with_seed(plan.seed);
        let machines = (0..plan.agents).map(|at| Machine::new(at, rng.u64(..))).collect();
        let schedulers =
            (0..plan.schedulers).map(|at| Scheduler::new(at, rng.u8(..4) > 0, rng.bool())).collect();
        let masters = (0..plan.masters).map(|_| Master::new()).collect();
        Self {
            plan,
            rng,
            now: Now::default(),
            queue: BTreeMap::new(),
            timers: BTreeSet::new(),
            armed: BTreeMap::new(),
            channels: BTreeMap::new(),
            next_number: 0,
            links: BTreeMap::new(),
            blocked: BTreeSet::new(),
            masters,
            machines,
            schedulers,
            ensemble: Ensemble::default(),
            ensemble_due: None,
            shelf: Arc::default(),
            fuses: BTreeMap::new(),
            ended: BTreeSet::new(),
            checkers: Checkers::default(),
            broken: None,
            is_calm: false,
            outcome: Outcome::default(),
            digest: std::cell::Cell::new(0xcbf2_9ce4_8422_2325),
        }
    }

    /// Storm, then calm until everything is over, then the books are closed.
    pub(super) fn run(mut self) -> Result<Outcome, Box<Violation>> {
        (0..self.masters.len()).for_each(|at| self.start_master(at));
        for at in 0..self.machines.len() {
            self.soon(0, 500, Happening::Detect(at));
            self.tell_node(at, NodeInput::Start);
            if at % 2 == 0 {
                self.soon(0, 5_000, Happening::Estimate(at));
            }
        }
        (0..self.schedulers.len()).for_each(|at| self.soon(0, 500, Happening::Subscribe(at)));
        if self.plan.fault_interval_ms > 0 {
            self.soon(0, self.plan.fault_interval_ms * 2, Happening::Strike);
        }
        self.until(Time::from_ms(self.plan.storm_ms), |_| false);
        self.calm();
        if self.broken.is_none() {
            self.close_the_books();
        }
        self.outcome.finished = self.schedulers.iter().map(|it| it.finished).sum();
        self.outcome.launched = self.schedulers.iter().map(|it| it.launched).sum();
        self.outcome.digest = self.digest.get();
        match self.broken {
            Some(breach) => Err(Box::new(Violation { seed: self.plan.seed, at: self.now.time, breach })),
            None => Ok(self.outcome),
        }
    }

    pub(super) fn is_stormy(&self) -> bool {
        self.now.time < Time::from_ms(self.plan.storm_ms)
    }

    /// The first breach counts; what follows it is its consequence.
    pub(super) fn judge(&mut self, verdict: Verdict) {
        if let Err(breach) = verdict
            && self.broken.is_none()
        {
            self.trace(|| format!("{:?} is broken: {}", breach.law, breach.what));
            self.broken = Some(breach);
        }
    }

    fn calm(&mut self) {
        self.trace(|| "the storm is over".into());
        self.is_calm = true;
        self.repair_everything();
        (0..self.machines.len()).for_each(|at| self.estimate(at));
        self.soon(0, 1, Happening::Reconcile);
        let end = Time::from_ms(self.plan.storm_ms + CALM_MS_MAX);
        let is_over = |world: &Self| {
            world.checkers.updates.close().is_ok()
                && world.schedulers.iter().all(|it| it.tasks.is_empty() && it.is_subscribed())
                && world.machines.iter().all(|it| it.executors.is_empty() && it.node.is_registered())
        };
        self.until(end, is_over);
        let open = self.schedulers.iter().flat_map(|it| &it.tasks).next();
        let open = open.map(|(task, (agent, state))| format!("{task} on {agent} is {state:?} for ever"));
        let left = self.machines.iter().flat_map(|it| it.executors.values()).next();
        let left = left.map(|executor| format!("an executor is left: {:?}", executor.run));
        let away = self.machines.iter().position(|it| !it.node.is_registered());
        let away = away.map(|at| format!("node-{at} is not registered"));
        // Whoever waits for an update that is lost waits for ever: first what was lost.
        let verdict = self.checkers.updates.close();
        self.judge(verdict);
        let verdict = open.or(left).or(away).map_or(Ok(()), |what| breach(Law::EveryTaskEnds, what));
        self.judge(verdict);
    }

    /// The first scheduler is the only one who wants anything; it must be offered all there is.
    fn close_the_books(&mut self) {
        self.lift_quota();
        (1..self.schedulers.len()).for_each(|at| self.want_nothing(at));
        let settle = self.now.time.plus_ms(120_000);
        self.until(settle, |_| false);
        self.want_everything(0);
        let end = self.now.time.plus_ms(120_000);
        self.until(end, |_| false);
        let Some(leader) = self.masters.iter().position(|it| it.lead.is_some()) else {
            return self.judge(breach(Law::EveryTaskEnds, "nobody leads"));
        };
        let lead = self.masters[leader].lead.as_mut().expect("found above");
        if lead.allocator.deadline().is_none_or(|due| due > self.now.time) {
            lead.allocator.invariants(self.now.time);
        }
        let snapshot = lead.cluster.snapshot(self.now);
        if snapshot.agents.len() != self.machines.len() {
            let what = format!("of {} agents {} are known", self.machines.len(), snapshot.agents.len());
            return self.judge(breach(Law::NoAgentForgotten, what));
        }
        for agent in &snapshot.agents {
            let used = &agent.used;
            if !used.is_empty() {
                self.judge(breach(Law::Conservation, format!("{} still uses {used}", agent.id)));
            }
            let mut offered = Resources::default();
            let held = self.schedulers[0].held.values().filter(|(of, _)| *of == agent.id);
            held.for_each(|(_, resources)| offered.add(resources));
            // What is kept for another role is none of its business.
            let role = self.schedulers[0].role();
            let its = agent.total.filter(|part| part.reserved_for().is_none_or(|of| role.is_within(of)));
            if offered != its {
                let what = format!("of {} on {}, {offered} can be had", agent.total, agent.id);
                self.judge(breach(Law::Conservation, what));
            }
            // The agent is whoever keeps reservations and volumes: the master must not think otherwise.
            let machine = self.machines.iter().find(|it| it.node.agent_id() == Some(&agent.id));
            let has = machine.map(|it| it.node.info().total.clone()).unwrap_or_default();
            let is_given = machine.is_some_and(|it| as_given(&has) == it.info.total);
            if has != agent.total {
                let what = format!("{} has {has}, and its master thinks {}", agent.id, agent.total);
                self.judge(breach(Law::Conservation, what));
            }
            if !is_given {
                self.judge(breach(Law::Conservation, format!("{} is not what {} was given", has, agent.id)));
            }
        }
    }

    /// Lets things happen until that time, or until `done`, or until a law is broken.
    fn until(&mut self, end: Time, done: impl Fn(&Self) -> bool) {
        let mut idle = 0;
        let mut looked = 0u32;
        while self.broken.is_none() {
            looked += 1;
            // Looking goes through everything: in the calm of hundreds of agents not at every step.
            if looked.is_multiple_of(1 + self.plan.agents as u32) && done(self) {
                return;
            }
            let queued = self.queue.keys().next().map(|(at, _)| *at);
            let due = self.timers.first().copied();
            let Some(next) = queued.into_iter().chain(due.map(|(at, _)| at)).min().filter(|it| *it <= end)
            else {
                return self.advance(end);
            };
            idle = if next > self.now.time { 0 } else { idle + 1 };
            assert!(idle < IDLE_TURNS_MAX, "time stands still: {due:?}");
            self.advance(next);
            match due.filter(|(at, _)| *at <= self.now.time) {
                Some((at, who)) => self.expire(at, who),
                None => {
                    let (_, happening) = self.queue.pop_first().expect("looked at above");
                    self.outcome.happenings += 1;
                    self.note_happening(&happening);
                    self.happens(happening);
                }
            }
        }
    }

    fn advance(&mut self, to: Time) {
        let time = self.now.time.max(to);
        self.now = Now { time, unix: UnixTime(1_700_000_000_000_000 + time.0 / 1000) };
    }

    fn expire(&mut self, at: Time, who: Who) {
        self.timers.remove(&(at, who));
        self.armed.remove(&who);
        self.digest(at.0 ^ 0xffff);
        match who {
            // It is called when it goes on.
            Who::Master(at) if self.masters[at].is_paused => {}
            Who::Master(at) => self.expire_master(at),
            Who::Agent(at) if self.machines[at].is_up => self.expire_node(at),
            Who::Agent(_) => {}
        }
    }

    /// Its deadline may have changed.
    pub(super) fn arm(&mut self, who: Who) {
        let due = match who {
            Who::Master(at) => self.masters[at].lead.as_ref().and_then(|lead| lead.deadline()),
            Who::Agent(at) => self.machines[at].node.deadline(),
        };
        if self.armed.get(&who).copied() != due {
            self.disarm(who);
            if let Some(at) = due {
                self.armed.insert(who, at);
                self.timers.insert((at, who));
            }
        }
    }

    pub(super) fn disarm(&mut self, who: Who) {
        if let Some(at) = self.armed.remove(&who) {
            self.timers.remove(&(at, who));
        }
    }

    pub(super) fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Connect(link) => self.connect(link),
            Happening::Arrive { link, to, packet } => self.arrive(link, to, packet),
            Happening::GiveUpSending { link, to } => self.give_up_sending(link, to),
            Happening::Broken { link, end } => self.broken(link, end),
            Happening::Master { at, life, duty } => self.master_does(at, life, duty),
            Happening::StartMaster(at) => {
                if !self.masters[at].is_up {
                    self.start_master(at);
                }
            }
            Happening::LateWrite(write, term) => self.late_write(*write.0, term),
            Happening::Sessions => self.sessions(),
            Happening::Machine { at, life, doing } => self.machine_does(at, life, doing),
            Happening::StartAgent(at) => self.start_agent(at),
            Happening::Detect(at) => self.detect(at),
            Happening::Subscribe(at) => self.subscribe(at),
            Happening::Listen(at, link) => self.listen(at, link),
            Happening::Operator => self.set_quota(),
            Happening::Reconcile => {
                (0..self.schedulers.len()).for_each(|at| self.reconcile(at));
                self.soon(30_000, 30_000, Happening::Reconcile);
            }
            Happening::Strike => self.strike(),
            Happening::Repair(fault) => self.repair(&fault),
            Happening::Estimate(at) => self.estimate(at),
        }
    }

    /// The client's end is up.
    pub(super) fn link_up(&mut self, link: LinkId, client: Host) {
        match client {
            Host::Agent(at) => self.agent_link_up(at, link),
            Host::Scheduler(at) => self.scheduler_link_up(at, link),
            other => unreachable!("{other:?} dials nobody"),
        }
    }

    /// The client's end is closed, or never came up.
    pub(super) fn link_lost(&mut self, link: LinkId, client: Host) {
        match client {
            Host::Agent(at) => self.agent_link_lost(at, link),
            Host::Scheduler(at) => self.scheduler_link_lost(at, link),
            other => unreachable!("{other:?} dials nobody"),
        }
    }

    pub(super) fn links_of_master(&self, at: usize) -> Vec<LinkId> {
        let its = |link: &Link| link.hosts[MASTER] == Host::Master(at) && link.open[MASTER];
        self.links.iter().filter(|(_, link)| its(link)).map(|(id, _)| *id).collect()
    }

    /// One more effect of that process: whether it dies instead.
    pub(super) fn burns(&mut self, who: Who) -> bool {
        let Some(left) = self.fuses.get_mut(&who) else { return false };
        match left.checked_sub(1) {
            Some(less) => {
                *left = less;
                false
            }
            None => {
                self.fuses.remove(&who);
                true
            }
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

    pub(super) fn push(&mut self, at: Time, happening: Happening) {
        self.next_number += 1;
        self.queue.insert((at, self.next_number), happening);
    }

    fn note_happening(&self, happening: &Happening) {
        let (kind, about) = match happening {
            Happening::Connect(link) => (1, *link),
            Happening::Arrive { link, to, packet } => match packet {
                Packet::Frame(frame) => (2 + *to as u64, *link ^ (frame.len() as u64) << 32),
                _ => (4 + *to as u64, *link),
            },
            Happening::Broken { link, end } => (6 + *end as u64, *link),
            Happening::Master { at, life, .. } => (8, *at as u64 ^ life << 32),
            Happening::Machine { at, life, .. } => (9, *at as u64 ^ life << 32),
            _ => (10, 0),
        };
        self.digest(self.now.time.0);
        self.digest(kind << 56 ^ about);
    }

    /// FNV-1a, a word at a time.
    fn digest(&self, word: u64) {
        self.digest.set((self.digest.get() ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(7));
    }

    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
        if !self.plan.trace && !self.plan.digests_trace {
            return;
        }
        let line = line();
        if self.plan.digests_trace {
            line.bytes().for_each(|byte| self.digest(byte.into()));
        }
        if self.plan.trace {
            println!("{:>12.6} {line}", self.now.time.0 as f64 / 1e9);
        }
    }
}
