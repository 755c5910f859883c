//! Schedulers: they want tasks run, and do most of what a real one may do.

use super::master::stream_id;
use super::network::{CLIENT, Host, LinkId, Packet};
use super::world::{Happening, World};
use ingot_master::cluster::effect::Event;
use ingot_master::cluster::input::{Accept, Call, CallOf, GroupRequest, Input, Operation, Subscribe, Ticket};
use ingot_master::cluster::offers::Offer;
use model::body::Body;
use model::executor::ExecutorInfo;
use model::framework::{Capabilities, FrameworkInfo};
use model::id::{AgentId, FrameworkId, OfferId, TaskId};
use model::quantity::Quantity;
use model::resources::{CPUS, Resource, Resources};
use model::role::Role;
use model::task::{TaskInfo, TaskState, TaskStatus};
use model::time::Time;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A stream that is silent for so long is dead, milliseconds: heartbeats come every 15 s.
const SILENT_MS_MAX: u64 = 75_000;

/// One scheduler's head.
pub(super) struct Scheduler {
    info: FrameworkInfo,
    link: Option<LinkId>,
    is_subscribed: bool,
    heard: Time,
    /// Tasks it launched and has not heard the end of; where, and the newest state.
    pub(super) tasks: BTreeMap<TaskId, (AgentId, TaskState)>,
    pub(super) finished: u64,
    pub(super) launched: u64,
    /// In the calm: all that is held out to it, to see that nothing is missing.
    pub(super) held: BTreeMap<OfferId, (AgentId, Resources)>,
    next_task: u64,
    /// It has suppressed its roles; an offer that crossed with that is declined.
    wants_nothing: bool,
}

impl Scheduler {
    pub(super) fn new(index: usize, checkpoint: bool, is_aware: bool) -> Self {
        let role = Role::parse(&format!("role-{}", index % 2)).expect("a role");
        let capabilities = match index % 2 {
            0 => Capabilities::MULTI_ROLE.with(Capabilities::REVOCABLE_RESOURCES),
            _ => Capabilities::MULTI_ROLE,
        };
        Self {
            info: FrameworkInfo {
                framework_id: None,
                name: format!("framework-{index}").into(),
                user: "root".into(),
                roles: vec![role],
                capabilities: if is_aware {
                    capabilities.with(Capabilities::PARTITION_AWARE)
                } else {
                    capabilities
                },
                failover_timeout_ns: 3_600_000_000_000,
                checkpoint,
                hostname: "h".into(),
                webui_url: None,
                principal: None,
                body: Body::default(),
            },
            link: None,
            is_subscribed: false,
            heard: Time(0),
            tasks: BTreeMap::new(),
            finished: 0,
            launched: 0,
            held: BTreeMap::new(),
            next_task: 0,
            wants_nothing: false,
        }
    }

    pub(super) fn is_subscribed(&self) -> bool {
        self.is_subscribed
    }

    pub(super) fn role(&self) -> &Role {
        &self.info.roles[0]
    }

    pub(super) fn id(&self) -> Option<&FrameworkId> {
        self.info.framework_id.as_ref()
    }
}

impl World {
    /// Looks for the leader and connects to it.
    pub(super) fn subscribe(&mut self, at: usize) {
        if self.schedulers[at].link.is_some() {
            return;
        }
        match self.leader_as_seen_by(Host::Scheduler(at)).flatten() {
            Some(leader) => self.schedulers[at].link = Some(self.dial(Host::Scheduler(at), leader)),
            None => self.soon(500, 2_000, Happening::Subscribe(at)),
        }
    }

    pub(super) fn scheduler_link_up(&mut self, at: usize, link: LinkId) {
        if self.schedulers[at].link != Some(link) {
            return self.close(link, CLIENT);
        }
        let scheduler = &mut self.schedulers[at];
        scheduler.heard = self.now.time;
        let framework = scheduler.info.clone();
        let (stream, suppressed, constraints) = (stream_id(link), Vec::new(), Default::default());
        let subscribe = Subscribe { stream, framework, suppressed, constraints };
        self.send(link, CLIENT, Packet::Post(Box::new(Input::Subscribe(subscribe))));
        self.soon(SILENT_MS_MAX, SILENT_MS_MAX, Happening::Listen(at, link));
    }

    pub(super) fn scheduler_link_lost(&mut self, at: usize, link: LinkId) {
        if self.schedulers[at].link == Some(link) {
            self.trace(|| format!("scheduler-{at} has lost its stream"));
            self.forget_stream(at);
            self.soon(10, 1_000, Happening::Subscribe(at));
        }
    }

    fn forget_stream(&mut self, at: usize) {
        let scheduler = &mut self.schedulers[at];
        (scheduler.link, scheduler.is_subscribed) = (None, false);
        scheduler.held.clear();
    }

    /// It closes its stream, or its process dies, and comes back.
    pub(super) fn lose_scheduler(&mut self, at: usize) {
        if let Some(link) = self.schedulers[at].link {
            self.trace(|| format!("scheduler-{at} drops its stream"));
            self.forget_stream(at);
            self.close(link, CLIENT);
            let most_ms = *self.rng.choice([100, 3_000, 60_000].iter()).expect("not empty");
            self.soon(10, most_ms, Happening::Subscribe(at));
        }
    }

    /// Whether anything was heard of late.
    pub(super) fn listen(&mut self, at: usize, link: LinkId) {
        if self.schedulers[at].link != Some(link) {
            return;
        }
        let heard = self.schedulers[at].heard;
        if self.now.time.since_ns(heard) >= SILENT_MS_MAX * 1_000_000 {
            self.trace(|| format!("scheduler-{at} has not heard anything for too long"));
            return self.lose_scheduler(at);
        }
        self.push(heard.plus_ms(SILENT_MS_MAX), Happening::Listen(at, link));
    }

    fn call(&mut self, at: usize, call: Call) {
        let scheduler = &self.schedulers[at];
        let (Some(framework_id), Some(link)) = (scheduler.id().cloned(), scheduler.link) else { return };
        self.next_number += 1;
        let ticket = Ticket(self.next_number);
        let call = CallOf { ticket, framework_id, stream: Some(stream_id(link)), call };
        self.send(link, CLIENT, Packet::Post(Box::new(Input::Call(call))));
    }

    pub(super) fn scheduler_hears(&mut self, at: usize, link: LinkId, event: Event) {
        if self.schedulers[at].link != Some(link) {
            return;
        }
        self.schedulers[at].heard = self.now.time;
        match event {
            Event::Subscribed { framework_id } => {
                self.trace(|| format!("scheduler-{at} is subscribed as {framework_id}"));
                self.schedulers[at].info.framework_id = Some(framework_id);
                self.schedulers[at].is_subscribed = true;
                self.reconcile(at);
            }
            Event::Offers { offers, .. } => offers.into_iter().for_each(|offer| self.offered(at, &offer)),
            Event::Rescind { offer_id } => {
                self.schedulers[at].held.remove(&offer_id);
            }
            Event::Update { status } => self.task_update(at, status),
            Event::Error { message } => {
                self.trace(|| format!("scheduler-{at} is told: {message}"));
                self.lose_scheduler(at);
            }
            Event::Heartbeat
            | Event::Message { .. }
            | Event::Failure { .. }
            | Event::Operation { .. }
            | Event::InverseOffers { .. }
            | Event::RescindInverseOffer { .. } => {}
        }
    }

    /// Asks what became of everything it is waiting for.
    pub(super) fn reconcile(&mut self, at: usize) {
        let scheduler = &self.schedulers[at];
        let ask = |(task, (agent, _)): (&TaskId, &(AgentId, TaskState))| (task.clone(), Some(agent.clone()));
        let tasks: Vec<_> = scheduler.tasks.iter().map(ask).collect();
        if !tasks.is_empty() {
            self.call(at, Call::Reconcile { tasks });
        }
    }

    fn offered(&mut self, at: usize, offer: &Arc<Offer>) {
        if self.schedulers[at].wants_nothing {
            let offer_ids = vec![offer.id.clone()];
            return self.call(at, Call::Decline { offer_ids, refuse_ns: 0 });
        }
        if !self.is_stormy() {
            self.trace(|| {
                format!("scheduler-{at} holds {} of {}: {}", offer.id, offer.agent_id, offer.resources)
            });
            let held = (offer.agent_id.clone(), offer.resources.unallocated());
            self.schedulers[at].held.insert(offer.id.clone(), held);
            return;
        }
        let offer_ids = vec![offer.id.clone()];
        let refuse_ns = *self.rng.choice([0, 500_000_000, 5_000_000_000].iter()).expect("not empty");
        let room = self.plan.tasks_max.saturating_sub(self.schedulers[at].tasks.len());
        if room == 0 || self.rng.u8(..4) == 0 {
            return self.call(at, Call::Decline { offer_ids, refuse_ns });
        }
        let count = self.rng.usize(1..=room.min(3));
        let tasks = (0..count).map(|_| self.make_task(at, offer)).collect::<Vec<_>>();
        let scheduler = &mut self.schedulers[at];
        for task in &tasks {
            scheduler.launched += 1;
            scheduler.tasks.insert(task.task_id.clone(), (offer.agent_id.clone(), TaskState::Staging));
        }
        let operation = if tasks.iter().all(|task| task.executor.is_some()) {
            let members = tasks.iter().map(|task| (task.task_id.clone(), task.agent_id.clone())).collect();
            Operation::LaunchGroup(GroupRequest { members, tasks: Ok(tasks) })
        } else {
            Operation::Launch { tasks: tasks.into_iter().map(Ok).collect() }
        };
        let mut operations = self.conversions(offer);
        operations.push(operation);
        self.call(at, Call::Accept(Accept { offer_ids, operations, refuse_ns }));
    }

    fn make_task(&mut self, at: usize, offer: &Arc<Offer>) -> TaskInfo {
        // What is lent, where there is enough of it: mostly by itself, and now and then with what may not be beside it.
        let lent = offer.resources.filter(|part| part.is_revocable).scalar(CPUS);
        let is_on_loan = lent >= Quantity::from_milli(500) && self.rng.u8(..3) > 0;
        let shares_executor = self.rng.u8(..3) == 0 && (!is_on_loan || self.rng.u8(..10) == 0);
        // Now and then more than there is: a mistake that must hurt nobody else.
        let cpus = if self.rng.u8(..40) == 0 { "cpus:64;mem:32" } else { "cpus:0.5;mem:32" };
        let promised = if !is_on_loan && self.rng.bool() { Self::promised(offer) } else { None };
        let scheduler = &mut self.schedulers[at];
        scheduler.next_task += 1;
        let task_id = TaskId::new(format!("{at}-t{}", scheduler.next_task));
        let marked = |text: &str| text.parse::<Resources>().expect("resources").allocated_to(&offer.role);
        let executor = shares_executor.then(|| ExecutorInfo {
            executor_id: "shared".into(),
            framework_id: scheduler.id().cloned(),
            name: None,
            resources: marked("cpus:0.1;mem:32"),
            shutdown_grace_ns: None,
            body: Body::default(),
        });
        let on_loan = |part: Resource| Resource { is_revocable: is_on_loan && *part.name == *CPUS, ..part };
        let resources = marked(cpus).into_iter().map(on_loan).collect();
        TaskInfo {
            name: task_id.as_str().into(),
            task_id,
            agent_id: offer.agent_id.clone(),
            resources: promised.unwrap_or(resources),
            executor,
            kill_grace_ns: None,
            body: Body::default(),
        }
    }

    fn task_update(&mut self, at: usize, status: TaskStatus) {
        self.outcome.updates += 1;
        let framework_id = self.schedulers[at].id().expect("subscribed").clone();
        self.trace(|| format!("scheduler-{at} hears {} {:?}", status.task_id, status.state));
        let verdict = self.checkers.updates.heard(&framework_id, &status.task_id, status.update_id);
        self.judge(verdict);
        let verdict = self.checkers.tasks.heard(&framework_id, &status.task_id, status.state);
        self.judge(verdict);
        let scheduler = &mut self.schedulers[at];
        if status.state.is_terminal() || status.state == TaskState::Unknown {
            let was_open = scheduler.tasks.remove(&status.task_id).is_some();
            scheduler.finished += u64::from(was_open);
        } else if let Some(known) = scheduler.tasks.get_mut(&status.task_id) {
            known.1 = status.state;
        }
        if let (Some(update_id), Some(agent_id)) = (status.update_id, status.agent_id.clone()) {
            let task_id = status.task_id.clone();
            self.call(at, Call::Acknowledge { agent_id, task_id, update_id });
        }
        if self.is_stormy() && self.rng.u8(..25) == 0 {
            let (task_id, agent_id) = (status.task_id, status.agent_id);
            self.call(at, Call::Kill { task_id, agent_id, grace_ns: None });
        }
    }

    /// Gives back what it holds and wants everything: what is offered then is what there is.
    pub(super) fn want_everything(&mut self, at: usize) {
        let offer_ids: Vec<OfferId> = self.schedulers[at].held.keys().cloned().collect();
        self.schedulers[at].held.clear();
        if !offer_ids.is_empty() {
            self.call(at, Call::Decline { offer_ids, refuse_ns: 0 });
        }
        self.call(at, Call::Revive { roles: Vec::new() });
    }

    pub(super) fn want_nothing(&mut self, at: usize) {
        let offer_ids: Vec<OfferId> = self.schedulers[at].held.keys().cloned().collect();
        self.schedulers[at].held.clear();
        self.schedulers[at].wants_nothing = true;
        self.call(at, Call::Suppress { roles: Vec::new() });
        if !offer_ids.is_empty() {
            self.call(at, Call::Decline { offer_ids, refuse_ns: 0 });
        }
    }
}
