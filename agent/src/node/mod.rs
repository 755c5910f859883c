//! The agent's mind: what is registered, which executors and tasks there are, which updates are still owed to whom.
//! Decides; does nothing itself. [`input`] is everything that can happen to it, [`effect`] everything it can want.
//!
//! Three calls, as every core of the house: [`Node::handle`] after each event, [`Node::deadline`] after that to learn
//! when to come back though nothing happens, [`Node::expire`] when that time has come.

pub mod compatibility;
pub mod counters;
pub mod drain;
pub mod effect;
pub mod input;
pub mod recovery;
pub mod replay;
pub mod settings;
pub mod view;
pub mod volumes;

mod executors;
mod frameworks;
mod gates;
pub(crate) mod limitation;
mod master;
mod registration;
mod revocable;
mod subscriptions;
mod tasks;
mod timers;
mod updates;

#[cfg(test)]
mod group_scenarios;
#[cfg(test)]
mod random;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
pub(crate) mod world;

use crate::node::counters::Counters;
use crate::node::effect::{Effect, Record, Ticket};
use crate::node::frameworks::Framework;
use crate::node::gates::Gate;
use crate::node::input::{Caller, Input};
use crate::node::registration::Registration;
use crate::node::revocable::Oversubscribed;
use crate::node::settings::Settings;
use crate::node::timers::Timers;
use crate::node::updates::Updates;
use model::agent_info::AgentInfo;
use model::id::{ContainerId, ExecutorId, FrameworkId, UpdateId};
use model::time::{Now, Time};
use std::collections::{BTreeMap, VecDeque};

/// Everything the agent knows. See the module's head for how it is driven.
pub struct Node {
    settings: Settings,
    info: AgentInfo,
    registration: Registration,
    frameworks: BTreeMap<FrameworkId, Framework>,
    /// Frameworks that have nothing left here, oldest first; kept for people to look at.
    completed: VecDeque<Framework>,
    updates: Updates,
    /// What may not wait longer: an executor that has not subscribed, or that has not obeyed a shutdown.
    timers: Timers<ContainerId>,
    /// Whose executor runs in a container, from the wish to launch until its end was told.
    containers: BTreeMap<ContainerId, (FrameworkId, ExecutorId)>,
    /// Which container's executor listens on a subscription stream.
    streams: BTreeMap<Caller, ContainerId>,
    /// What goes on once a record is durable.
    gates: BTreeMap<Ticket, Gate>,
    next_ticket: u64,
    rng: fastrand::Rng,
    counters: Counters,
    /// Ends of executors that no master has been told of; it is when it has admitted the agent.
    untold: Vec<master::UntoldEnd>,
    oversubscribed: Oversubscribed,
    /// Set when the agent is ending everything it runs; it exits with this once nothing runs any more.
    ending: Option<effect::Ending>,
    /// Set while everything that runs here is being killed for an operator.
    draining: Option<drain::Drain>,
}

impl Node {
    /// An agent that has no past. `seed` feeds jitter and ids.
    pub fn new(settings: Settings, info: AgentInfo, seed: u64) -> Self {
        Self {
            registration: Registration::new(settings.registration_backoff_ms),
            settings,
            info,
            frameworks: BTreeMap::new(),
            completed: VecDeque::new(),
            updates: Updates::default(),
            timers: Timers::default(),
            containers: BTreeMap::new(),
            streams: BTreeMap::new(),
            gates: BTreeMap::new(),
            next_ticket: 0,
            rng: fastrand::Rng::with_seed(seed),
            counters: Counters::default(),
            untold: Vec::new(),
            oversubscribed: Oversubscribed::default(),
            ending: None,
            draining: None,
        }
    }

    /// Takes in one event. Never blocks, never fails; what cannot be is answered with an effect that says so.
    pub fn handle(&mut self, now: Now, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Start => self.registration.start(effects),
            Input::LinkUp { session } => self.link_up(now, session, effects),
            Input::LinkDown { session } => {
                self.registration.link_down(now.time, session, &mut self.rng);
                self.pause_if_unregistered();
            }
            Input::Elected => self.registration.elected(now.time, &mut self.rng),
            Input::FromMaster { session, message } => self.hear_master(now, session, *message, effects),
            Input::Durable { ticket } => {
                let gate = self.gates.remove(&ticket).expect("the shell answers each ticket once");
                self.pass(now, gate, effects);
            }
            Input::Launched { container_id, pid } => self.launched(now, &container_id, pid, effects),
            Input::LaunchFailed { container_id, why } => {
                self.launch_failed(now, &container_id, &why, effects);
            }
            Input::ContainerEnded { container_id, end } => {
                self.container_ended(now, &container_id, end, effects);
            }
            Input::DiskOverstepped { container_id, limit_bytes, used_bytes } => {
                self.disk_overstepped(&container_id, limit_bytes, used_bytes, effects);
            }
            Input::Oversubscribed { total } => self.oversubscribe(&total, effects),
            Input::Preempt { container_id, cause } => self.preempt(&container_id, cause, effects),
            Input::Executor { caller, framework_id, executor_id, call } => {
                self.executor_call(now, caller, &framework_id, &executor_id, call, effects);
            }
            Input::StreamClosed { caller } => self.stream_closed(caller),
            Input::End(ending) => self.end(now, ending, effects),
        }
        self.finish_draining(now, effects);
        self.exit_if_done(effects);
    }

    /// When [`Node::expire`] is due; to be asked again after every call of the other two.
    pub fn deadline(&self) -> Option<Time> {
        [self.registration.deadline(), self.updates.deadline(), self.timers.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what time has made due. Calling it early is harmless.
    pub fn expire(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.registration.expire(now.time, &mut self.rng, effects);
        self.pause_if_unregistered();
        for (key, status) in self.updates.expire(now.time) {
            self.forward(key, status, effects);
        }
        while let Some(container_id) = self.timers.pop_due(now.time) {
            self.executor_overdue(now, &container_id, effects);
        }
        self.finish_draining(now, effects);
        self.exit_if_done(effects);
    }

    fn pause_if_unregistered(&mut self) {
        if !self.registration.is_registered() {
            self.updates.pause();
        }
    }

    /// Wants `record` on disk and goes through `gate` when it is, or at once where nothing needs to survive the agent.
    fn persist(&mut self, now: Now, needed: bool, record: Record, gate: Gate, effects: &mut Vec<Effect>) {
        if needed {
            let ticket = Ticket(self.next_ticket);
            self.next_ticket += 1;
            self.gates.insert(ticket, gate);
            effects.push(Effect::Persist { ticket, record: Box::new(record) });
        } else {
            self.pass(now, gate, effects);
        }
    }

    fn random_uuid(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        self.rng.fill(&mut bytes);
        // Version 4, variant 1 (RFC 9562), as every client expects of a UUID.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        bytes
    }

    fn new_update_id(&mut self) -> UpdateId {
        UpdateId(self.random_uuid())
    }

    fn new_container_id(&mut self) -> ContainerId {
        let mut text = String::with_capacity(36);
        for (at, byte) in self.random_uuid().iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        ContainerId::new(text)
    }
}
