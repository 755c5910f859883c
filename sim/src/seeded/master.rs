//! A master's process: standby or leader. The leader has the real cluster core, allocator core and registrar; the shell
//! around them here does what `master::driver` does, in its order: the lease is looked at before anything is let out.

use super::checkers::books::Books;
use super::network::{CLIENT, LinkId, MASTER, Packet};
use super::plan::Bug;
use super::world::{Happening, LateWrite, Who, World};
use super::zookeeper::Zxid;
use ingot_master::allocator::core::Core;
use ingot_master::allocator::event::{Allocation, Event as ToAllocator};
use ingot_master::cluster::effect::{Effect, Event};
use ingot_master::cluster::input::{Input, SessionId, StreamId};
use ingot_master::cluster::snapshot::MasterInfo;
use ingot_master::cluster::{Cluster, Settings};
use ingot_master::registrar::Registrar;
use model::id::MasterId;
use model::time::{Time, UnixTime};
use std::collections::{BTreeMap, VecDeque};
use wire::frame::HEADER_BYTES;
use wire::message::ToAgent;

/// One machine with a master on it.
pub(super) struct Master {
    /// Counts the starts of its process; what was meant for an earlier one is dropped.
    pub(super) life: u64,
    pub(super) is_up: bool,
    /// Stopped by a signal, or swapped out: the world goes on.
    pub(super) is_paused: bool,
    pub(super) inbox: VecDeque<Happening>,
    pub(super) znode: Option<Zxid>,
    pub(super) lease_until: Time,
    /// Elected, and reading the registry.
    pub(super) is_taking_over: bool,
    pub(super) lead: Option<Box<Lead>>,
}

impl Master {
    pub(super) fn new() -> Self {
        Self {
            life: 0,
            is_up: false,
            is_paused: false,
            inbox: VecDeque::new(),
            znode: None,
            lease_until: Time(0),
            is_taking_over: false,
            lead: None,
        }
    }
}

/// What only a leader has.
pub(super) struct Lead {
    pub(super) term: i64,
    pub(super) cluster: Cluster,
    pub(super) allocator: Core,
    registrar: Registrar,
    is_writing: bool,
    /// Told of as durable before they are: a mistake made on purpose.
    early: usize,
    pub(super) books: Books,
    events: u64,
}

impl Lead {
    pub(super) fn new(term: i64, cluster: Cluster, registrar: Registrar) -> Self {
        Self {
            term,
            cluster,
            allocator: Core::default(),
            registrar,
            is_writing: false,
            early: 0,
            books: Books::default(),
            events: 0,
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.cluster.deadline().into_iter().chain(self.allocator.deadline()).min()
    }
}

/// What a master's process does on its own after a while.
#[derive(Debug)]
pub(super) enum Duty {
    Join,
    Ping(Zxid),
    Look(Zxid),
    Prove(Zxid),
    Proved {
        znode: Zxid,
        asked: Time,
    },
    Lead(i64),
    /// What waits for the registry goes there.
    Write,
    Hear(Box<Input>),
}

pub(super) fn info(at: usize, life: u64, now: UnixTime) -> MasterInfo {
    let port = 5050 + u16::try_from(at).expect("few masters");
    MasterInfo {
        id: MasterId::new(format!("m{at}-{life}")),
        hostname: format!("master-{at}").into(),
        address: ([127, 0, 0, 1], port).into(),
        cluster: None,
        domain: None,
        version: "1.11.0",
        started: now,
        elected: now,
        flags: Vec::new(),
        weights: BTreeMap::new(),
        quotas: BTreeMap::new(),
    }
}

impl World {
    pub(super) fn master_settings(&self) -> Settings {
        Settings { is_registry_kept: true, ..Settings::default() }
    }

    pub(super) fn master_does(&mut self, at: usize, life: u64, duty: Duty) {
        if life != self.masters[at].life || !self.masters[at].is_up {
            return;
        }
        if self.masters[at].is_paused {
            return self.masters[at].inbox.push_back(Happening::Master { at, life, duty });
        }
        match duty {
            Duty::Join => self.join(at),
            Duty::Ping(znode) => self.ping_zookeeper(at, znode),
            Duty::Look(znode) => self.look_who_leads(at, znode),
            Duty::Prove(znode) => self.prove(at, znode),
            Duty::Proved { znode, asked } => self.proved(at, znode, asked),
            Duty::Lead(term) => self.lead(at, term),
            Duty::Write => self.write_registry(at),
            Duty::Hear(input) => self.tell_master(at, *input),
        }
    }

    pub(super) fn master_hears(&mut self, at: usize, link: LinkId, packet: Packet) {
        if self.masters[at].is_paused {
            return self.masters[at].inbox.push_back(Happening::Arrive { link, to: MASTER, packet });
        }
        // A standby hears no agents, and sends schedulers elsewhere.
        if self.masters[at].lead.is_none() {
            return self.close(link, MASTER);
        }
        match packet {
            Packet::Frame(frame) => {
                let session = SessionId(link);
                match wire::decode_to_master(&frame[HEADER_BYTES..]).expect("agents speak our language") {
                    wire::Incoming::Message(message) => {
                        self.tell_master(at, Input::Agent { session, message: *message });
                    }
                    wire::Incoming::Usage(_) => unreachable!("no reports are sent here"),
                }
            }
            Packet::Post(input) => self.tell_master(at, *input),
            other => unreachable!("{other:?} to a master"),
        }
    }

    /// The link is closed on the master's side by now.
    pub(super) fn master_loses(&mut self, at: usize, input: Input) {
        let life = self.masters[at].life;
        self.master_does(at, life, Duty::Hear(Box::new(input)));
    }

    pub(super) fn tell_master(&mut self, at: usize, input: Input) {
        let now = self.now;
        let Some(lead) = &mut self.masters[at].lead else { return };
        let mut effects = Vec::new();
        lead.cluster.handle(now, input, &mut effects);
        self.master_wants(at, effects);
    }

    pub(super) fn expire_master(&mut self, at: usize) {
        let now = self.now;
        let Some(lead) = &mut self.masters[at].lead else { return };
        let mut allocations = Vec::new();
        if lead.allocator.deadline().is_some_and(|due| due <= now.time) {
            lead.allocator.expire(now.time, &mut allocations);
            self.allocated(at, allocations);
        }
        let Some(lead) = &mut self.masters[at].lead else { return };
        let mut effects = Vec::new();
        if lead.cluster.deadline().is_some_and(|due| due <= now.time) {
            lead.cluster.expire(now, &mut effects);
        }
        self.master_wants(at, effects);
    }

    fn master_wants(&mut self, at: usize, effects: Vec<Effect>) {
        if self.now.time >= self.masters[at].lease_until && self.plan.bug != Some(Bug::LeaseIgnored) {
            return self.exit_master(at, "it may have been deposed: its lease is over");
        }
        let life = self.masters[at].life;
        for effect in effects {
            if self.burns(Who::Master(at)) {
                return self.kill_master(at);
            }
            self.master_wants_one(at, effect);
            if self.masters[at].life != life || !self.masters[at].is_up {
                return;
            }
        }
        self.arm(Who::Master(at));
    }

    fn master_wants_one(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::ToAgent { message: ToAgent::UpdateTotal { .. }, .. }
                if self.plan.bug == Some(Bug::TotalsUntold) => {}
            Effect::ToAgent { session, message } => {
                self.acts(at);
                let frame = wire::encode_to_agent(&message).expect("short enough");
                self.trace(|| format!("master-{at} to link {}: {}", session.0, brief(&message)));
                self.send(session.0, MASTER, Packet::Frame(frame));
            }
            Effect::CloseSession { session, why } => {
                self.trace(|| format!("master-{at} ends link {}: {why}", session.0));
                self.close(session.0, MASTER);
            }
            Effect::ToScheduler { stream, event } => {
                self.acts(at);
                let link = link_of(&stream);
                let overtakes = self.plan.bug == Some(Bug::UpdatesReordered)
                    && matches!(event, Event::Update { .. })
                    && self.rng.u8(..4) == 0;
                if overtakes {
                    let packet = Packet::Event(Box::new(event));
                    return self.soon(0, 3_000, Happening::Arrive { link, to: CLIENT, packet });
                }
                self.send(link, MASTER, Packet::Event(Box::new(event)));
            }
            Effect::CloseStream { stream } => self.close(link_of(&stream), MASTER),
            Effect::Answer { answer, .. } => {
                if let Err(refusal) = answer {
                    self.trace(|| format!("master-{at} refuses a call: {refusal:?}"));
                }
            }
            Effect::Allocator(event) => self.tell_allocator(at, event),
            Effect::Persist(change) => {
                self.trace(|| format!("master-{at} wants durable: {change:?}"));
                self.persist(at, change);
            }
            Effect::Abort { why } => {
                self.trace(|| format!("master-{at} aborts: {why}"));
                self.exit_master(at, "it aborted");
            }
            Effect::ForgetRow(_) | Effect::KeepNode { .. } | Effect::ForgetNode(_) => {}
            Effect::Note(note) => self.trace(|| format!("master-{at} notes {note:?}")),
        }
    }

    /// Something leaves this master: it acts as a leader.
    fn acts(&mut self, at: usize) {
        let term = self.masters[at].lead.as_ref().map_or(0, |lead| lead.term);
        let verdict = self.checkers.leadership.acts(at, term);
        self.judge(verdict);
    }

    fn tell_allocator(&mut self, at: usize, event: ToAllocator) {
        let (now, bug) = (self.now.time, self.plan.bug);
        let Some(lead) = &mut self.masters[at].lead else { return };
        let mut allocations = Vec::new();
        if lead.allocator.deadline().is_some_and(|due| due <= now) {
            lead.allocator.expire(now, &mut allocations);
        }
        // It did not know of the event yet.
        self.allocated(at, std::mem::take(&mut allocations));
        let Some(lead) = &mut self.masters[at].lead else { return };
        let verdict = lead.books.hears(&event);
        if let Some(event) = distorted(bug, event) {
            lead.allocator.handle(now, event, &mut allocations);
        }
        lead.events += 1;
        let agents = self.machines.len() as u64;
        if lead.events.is_multiple_of(16 + agents * 4) && bug.is_none() {
            lead.allocator.invariants(now);
        }
        self.judge(verdict);
        self.allocated(at, allocations);
    }

    /// Allocations reach the cluster core a little later, as through the ring, so that some of them come too late.
    fn allocated(&mut self, at: usize, allocations: Vec<Allocation>) {
        if allocations.is_empty() {
            return;
        }
        let Some(lead) = &mut self.masters[at].lead else { return };
        let verdict = allocations.iter().try_for_each(|it| lead.books.allocates(it));
        self.judge(verdict);
        self.master_in_order(at, 0, Duty::Hear(Box::new(Input::Allocations(allocations))));
    }

    fn persist(&mut self, at: usize, change: ingot_master::registrar::change::Change) {
        let lies = self.plan.bug == Some(Bug::RegistryLies);
        let Some(lead) = &mut self.masters[at].lead else { return };
        lead.registrar.push(change);
        if lies {
            lead.early += 1;
            self.master_in_order(at, 1, Duty::Hear(Box::new(Input::Durable { count: 1 })));
        }
        let Some(lead) = &mut self.masters[at].lead else { return };
        if !std::mem::replace(&mut lead.is_writing, true) {
            let most_ms = if lies { 5_000 } else { 20 };
            self.master_soon(at, 1, most_ms, Duty::Write);
        }
    }

    /// One batch is written, and answered a little later.
    fn write_registry(&mut self, at: usize) {
        let is_alone = self.plan.masters == 1;
        let host = super::network::Host::Master(at);
        if !is_alone && (self.ensemble.has_no_quorum || !self.can_ask(host, super::network::Host::Zookeeper))
        {
            // The client tries again until its session is over, and the master with it.
            return self.master_soon(at, 100, 100, Duty::Write);
        }
        let Some(lead) = &mut self.masters[at].lead else { return };
        let term = lead.term;
        match lead.registrar.write() {
            Ok(0) => lead.is_writing = false,
            Ok(mut count) => {
                let told = lead.early.min(count);
                lead.early -= told;
                count -= told;
                if count > 0 {
                    self.master_in_order(at, 1, Duty::Hear(Box::new(Input::Durable { count })));
                }
                let verdict = self.checkers.leadership.writes(at, term);
                self.judge(verdict);
                self.look_at_registry();
                self.master_soon(at, 1, 20, Duty::Write);
            }
            Err(failure) => {
                self.trace(|| format!("master-{at}: {failure}"));
                self.exit_master(at, "the registry cannot be written");
            }
        }
    }

    /// It ends itself; something starts it again.
    pub(super) fn exit_master(&mut self, at: usize, why: &str) {
        self.trace(|| format!("master-{at} exits: {why}"));
        self.kill_master(at);
    }

    /// The process is gone, whatever it was doing. What it was writing may still get to the registry, or part of it, and
    /// is refused there when another leads by then.
    pub(super) fn kill_master(&mut self, at: usize) {
        let master = &mut self.masters[at];
        if !std::mem::replace(&mut master.is_up, false) {
            return;
        }
        master.life += 1;
        master.inbox.clear();
        (master.is_paused, master.is_taking_over, master.znode) = (false, false, None);
        master.lease_until = Time(0);
        let lead = master.lead.take();
        self.trace(|| format!("master-{at} is dead"));
        self.disarm(Who::Master(at));
        self.fuses.remove(&Who::Master(at));
        if let Some(lead) = lead.filter(|lead| lead.is_writing) {
            let late_ms = *self.rng.choice([0, 100, 20_000].iter()).expect("not empty");
            self.soon(0, late_ms, Happening::LateWrite(LateWrite(Box::new(lead.registrar)), lead.term));
        }
        let links: Vec<_> = self.links_of_master(at);
        links.into_iter().for_each(|link| self.close(link, MASTER));
        self.soon(100, 20_000, Happening::StartMaster(at));
    }

    /// A write of a dead master arrives.
    pub(super) fn late_write(&mut self, mut registrar: Registrar, term: i64) {
        let cut = self.rng.bool().then(|| self.rng.usize(..4));
        let commits = {
            let mut shelf = super::storage::look(&self.shelf);
            shelf.cut = cut;
            shelf.commits
        };
        let written = registrar.write();
        let (is_kept, owner) = {
            let mut shelf = super::storage::look(&self.shelf);
            shelf.cut = None;
            (shelf.commits > commits, shelf.owner)
        };
        self.trace(|| format!("a late write of term {term}: {written:?}, kept: {is_kept}"));
        if is_kept {
            let verdict = self.checkers.leadership.late_write(term, owner);
            self.judge(verdict);
            self.look_at_registry();
        }
    }

    /// What an admitted agent was told must be there.
    fn look_at_registry(&mut self) {
        let verdict = {
            let shelf = super::storage::look(&self.shelf);
            self.checkers.admissions.written(&shelf.objects)
        };
        self.judge(verdict);
    }

    fn master_in_order(&mut self, at: usize, channel: u64, duty: Duty) {
        let life = self.masters[at].life;
        self.in_order(at as u64 * 2 + channel, Happening::Master { at, life, duty });
    }
}

/// What the allocator hears of it.
fn distorted(bug: Option<Bug>, event: ToAllocator) -> Option<ToAllocator> {
    match (bug, event) {
        (Some(Bug::QuotaUntold), ToAllocator::SetQuota { .. }) => None,
        (Some(Bug::DoubledAgents), ToAllocator::AddAgent { agent, mut total, used }) => {
            let once = total.clone();
            total.add(&once);
            Some(ToAllocator::AddAgent { agent, total, used })
        }
        (_, event) => Some(event),
    }
}

pub(super) fn stream_id(link: LinkId) -> StreamId {
    StreamId(link.to_string().into())
}

fn link_of(stream: &StreamId) -> LinkId {
    stream.0.parse().expect("made by `stream_id`")
}

/// The first words of what it would be in full.
pub(super) fn brief(what: &impl std::fmt::Debug) -> String {
    let full = format!("{what:?}");
    match full.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &full[..end]),
        None => full,
    }
}
