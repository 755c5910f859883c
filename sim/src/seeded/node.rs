//! An agent's machine: its node core, the disk, and what runs there.

use super::checkers::{Law, breach};
use super::executor::Executor;
use super::master::brief;
use super::network::{CLIENT, Host, LinkId, Packet};
use super::node_disk::Disk;
use super::plan::Bug;
use super::world::{Happening, Who, World};
use api::convert::volume::as_given;
use ingot_agent::node::Node;
use ingot_agent::node::compatibility;
use ingot_agent::node::effect::{Answer, Effect, Ending, ExecutorEvent, Launch, Ticket};
use ingot_agent::node::input::{Caller, ContainerEnd, ExecutorCall, Input, Session};
use ingot_agent::node::recovery::Recovered;
use ingot_agent::node::settings::Settings;
use model::agent_info::AgentInfo;
use model::body::Body;
use model::id::{AgentId, ContainerId, TaskId};
use model::resources::Resources;
use model::task::{TaskInfo, TaskState, TaskStatus};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::frame::HEADER_BYTES;
use wire::message::ToMaster;

/// One machine. It is in no hurry to forget: containers outlive the agent's process, the disk outlives both.
pub(super) struct Machine {
    pub(super) node: Node,
    pub(super) info: AgentInfo,
    /// Counts the starts of the agent's process; news for an earlier one is dropped.
    pub(super) life: u64,
    pub(super) is_up: bool,
    /// Which master it is told to look for; `None` while nobody leads.
    pub(super) leader: Option<usize>,
    /// What the node has asked for and not been told the end of; with its link, once there is somebody to dial.
    pub(super) link: Option<(Session, Option<LinkId>)>,
    pub(super) disk: Disk,
    /// See [`Bug::DiskLies`].
    pub(super) early: VecDeque<Ticket>,
    pub(super) executors: BTreeMap<ContainerId, Executor>,
    launching: BTreeMap<ContainerId, Launch>,
    /// The kernel was started anew since the last life.
    pub(super) is_rebooted: bool,
}

fn agent_info(index: usize) -> AgentInfo {
    let port = 6000 + u16::try_from(index).expect("few agents");
    AgentInfo {
        hostname: format!("node-{index}").into(),
        address: ([127, 0, 0, 1], port).into(),
        total: "cpus:4;mem:4096;disk:1000;ports:[31000-32000]".parse().expect("resources"),
        boot_id: format!("boot-{index}").into(),
        version: "1.11.0".into(),
        body: Body::default(),
    }
}

impl Machine {
    pub(super) fn new(index: usize, seed: u64) -> Self {
        let info = agent_info(index);
        Self {
            node: Node::new(Settings::default(), info.clone(), seed),
            info,
            life: 0,
            is_up: true,
            leader: None,
            link: None,
            disk: Disk::default(),
            early: VecDeque::new(),
            executors: BTreeMap::new(),
            launching: BTreeMap::new(),
            is_rebooted: false,
        }
    }
}

/// What a machine does on its own after a while.
#[derive(Debug)]
pub(super) enum Doing {
    /// A batch of records has reached the disk.
    Write,
    /// See [`Bug::DiskLies`].
    ToldEarly,
    Launch(ContainerId),
    /// The agent's process has ended the container, and sees that nothing is left of it.
    End(ContainerId),
    /// The container's processes die on their own.
    Die(ContainerId),
    Subscribe(ContainerId),
    /// A task's process tells its state, or is overtaken by the end of its container.
    Tell(ContainerId, TaskId, TaskState),
    /// The answer to that call was lost: it is made again.
    Again(ContainerId, Box<TaskStatus>),
    /// The executor looks whether it is still needed.
    Leave(ContainerId),
}

impl World {
    pub(super) fn tell_node(&mut self, at: usize, input: Input) {
        if !self.machines[at].is_up {
            return;
        }
        let mut effects = Vec::new();
        self.machines[at].node.handle(self.now, input, &mut effects);
        self.node_wants(at, effects);
    }

    pub(super) fn expire_node(&mut self, at: usize) {
        let mut effects = Vec::new();
        self.machines[at].node.expire(self.now, &mut effects);
        self.node_wants(at, effects);
    }

    pub(super) fn node_wants(&mut self, at: usize, effects: Vec<Effect>) {
        let life = self.machines[at].life;
        for effect in effects {
            if self.burns(Who::Agent(at)) {
                return self.kill_agent(at);
            }
            self.node_wants_one(at, effect);
            if self.machines[at].life != life || !self.machines[at].is_up {
                return;
            }
        }
        self.arm(Who::Agent(at));
    }

    fn node_wants_one(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Dial { session } => {
                self.machines[at].link = Some((session, None));
                self.dial_leader(at);
            }
            Effect::HangUp { .. } => self.drop_link(at),
            Effect::Send(message) => self.say_to_master(at, *message),
            Effect::Persist { ticket, record } => self.persist_record(at, ticket, *record),
            Effect::Launch(launch) => {
                let id = launch.run.container_id.clone();
                self.machines[at].launching.insert(id.clone(), *launch);
                self.machine_soon(at, 1, 20, Doing::Launch(id));
            }
            Effect::Reattach { run, .. } => {
                if !self.machines[at].executors.contains_key(&run.container_id) {
                    self.machine_soon(at, 0, 5, Doing::End(run.container_id));
                }
            }
            Effect::Destroy { container_id } => self.machine_soon(at, 0, 10, Doing::End(container_id)),
            Effect::Answer { caller, answer } => {
                if answer != Answer::Streaming {
                    self.close_stream(at, caller);
                }
            }
            Effect::Tell { caller, event } => self.executor_hears(at, caller, event),
            Effect::Close { caller } => self.close_stream(at, caller),
            Effect::Resize { .. }
            | Effect::Volumes(_)
            | Effect::Retire { .. }
            | Effect::RetireTask { .. } => {}
            Effect::Note { what, about } => self.trace(|| format!("node-{at} notes: {what}: {about}")),
            Effect::Exit(why) => self.agent_exits(at, &why),
        }
    }

    fn say_to_master(&mut self, at: usize, mut message: ToMaster) {
        match (&mut message, self.plan.bug) {
            (ToMaster::Reregister(introduction), Some(Bug::TasksUnnamed)) => introduction.tasks.clear(),
            (ToMaster::Update { status, .. }, Some(Bug::EndsWithheld))
                if status.state.is_terminal() && status.task_id.as_str().ends_with('7') =>
            {
                return;
            }
            _ => {}
        }
        self.trace(|| format!("node-{at} says {}", brief(&message)));
        if let Some((_, Some(link))) = self.machines[at].link {
            let frame = wire::encode_to_master(&message).expect("short enough");
            self.send(link, CLIENT, Packet::Frame(frame));
        }
    }

    fn agent_exits(&mut self, at: usize, why: &Ending) {
        self.trace(|| format!("node-{at} exits: {why:?}"));
        let id = self.machines[at].node.agent_id().cloned();
        if let (Ending::Refused { reason }, Some(id)) = (why, &id) {
            let verdict = self.checkers.admissions.refused(id, reason);
            self.judge(verdict);
        }
        id.iter().for_each(|id| self.checkers.admissions.leaves(id));
        self.checkers.tasks.harms(self.now.time, at);
        self.kill_agent(at);
    }

    pub(super) fn machine_soon(&mut self, at: usize, least_ms: u64, most_ms: u64, doing: Doing) {
        let life = self.machines[at].life;
        self.soon(least_ms, most_ms, Happening::Machine { at, life, doing });
    }

    /// Executors and containers live on while the agent is down; what concerns its process does not.
    pub(super) fn machine_does(&mut self, at: usize, life: u64, doing: Doing) {
        let is_current = life == self.machines[at].life && self.machines[at].is_up;
        match doing {
            Doing::Write if is_current => self.write_batch(at),
            Doing::ToldEarly if is_current => self.told_early(at),
            Doing::Launch(container) if is_current => self.launch(at, container),
            Doing::End(container) if is_current => self.end_container(at, container),
            Doing::Write | Doing::ToldEarly | Doing::Launch(_) | Doing::End(_) => {}
            Doing::Die(container) => self.end_container(at, container),
            Doing::Subscribe(container) => self.subscribe_executor(at, &container),
            Doing::Tell(container, task, state) => self.executor_tells(at, &container, &task, state),
            Doing::Again(container, status) => self.tell_again(at, &container, *status),
            Doing::Leave(container) => self.leave_if_idle(at, container),
        }
    }

    fn launch(&mut self, at: usize, container_id: ContainerId) {
        let Some(launch) = self.machines[at].launching.remove(&container_id) else { return };
        if self.is_stormy() && self.rng.u8(..30) == 0 {
            let why = "no such command".into();
            return self.tell_node(at, Input::LaunchFailed { container_id, why });
        }
        let resources = match launch.command_task {
            // The agent's own overhead: the master knows nothing of it.
            Some(_) => Resources::default(),
            None => launch.executor.resources,
        };
        let executor = Executor::new(launch.run, launch.framework.checkpoint, resources);
        self.trace(|| format!("node-{at} starts {:?} with {}", executor.run, executor.resources));
        self.machines[at].executors.insert(container_id.clone(), executor);
        self.machine_soon(at, 1, 100, Doing::Subscribe(container_id.clone()));
        self.tell_node(at, Input::Launched { container_id, pid: 42 });
    }

    /// Every process of the container is gone, whatever they were doing.
    fn end_container(&mut self, at: usize, container_id: ContainerId) {
        let machine = &mut self.machines[at];
        if machine.launching.remove(&container_id).is_some() {
            let why = "destroyed".into();
            return self.tell_node(at, Input::LaunchFailed { container_id, why });
        }
        let executor = machine.executors.remove(&container_id);
        let was_here = executor.is_some();
        if let Some(executor) = executor {
            let framework = &executor.run.framework_id;
            executor.tasks.keys().for_each(|task| self.checkers.tasks.ends(framework, task));
        }
        if !self.machines[at].is_up {
            return;
        }
        // A second word of one end would be a bug of this world, unless the agent asked anew (after a restart).
        let end = ContainerEnd { wait_status: was_here.then_some(9), out_of_memory: None };
        if self.ended.insert((at, self.machines[at].life, container_id.clone())) {
            self.tell_node(at, Input::ContainerEnded { container_id, end });
        }
    }

    fn subscribe_executor(&mut self, at: usize, container_id: &ContainerId) {
        self.next_number += 1;
        let caller = Caller(self.next_number);
        if !self.machines[at].is_up {
            return;
        }
        let Some(executor) = self.machines[at].executors.get_mut(container_id) else { return };
        executor.stream = Some(caller);
        let call = ExecutorCall::Subscribe {
            unacknowledged_tasks: executor.unheard.iter().cloned().collect(),
            unacknowledged_updates: executor.unacknowledged.clone(),
        };
        self.executor_calls(at, container_id, caller, call);
    }

    fn executor_calls(&mut self, at: usize, container_id: &ContainerId, caller: Caller, call: ExecutorCall) {
        let run = self.machines[at].executors[container_id].run.clone();
        let (framework_id, executor_id) = (run.framework_id, run.executor_id);
        self.tell_node(at, Input::Executor { caller, framework_id, executor_id, call });
    }

    fn executor_tells(&mut self, at: usize, container_id: &ContainerId, task: &TaskId, state: TaskState) {
        self.next_number += 2;
        let number = self.next_number;
        let Some(executor) = self.machines[at].executors.get_mut(container_id) else { return };
        let (framework, checkpoint) = (executor.run.framework_id.clone(), executor.checkpoint);
        let Some(status) = executor.status(task, state, number) else { return };
        let has_stream = executor.stream.is_some();
        let id = status.update_id.expect("made with one");
        self.checkers.updates.told(&framework, task, id, state, checkpoint);
        if state.is_terminal() {
            self.checkers.tasks.ends(&framework, task);
        }
        if has_stream {
            if self.is_stormy() && self.rng.u8(..10) == 0 {
                self.machine_soon(at, 0, 2_000, Doing::Again(container_id.clone(), Box::new(status.clone())));
            }
            self.executor_calls(at, container_id, Caller(number - 1), ExecutorCall::Update(Box::new(status)));
        }
        if state.is_terminal() {
            self.machine_soon(at, 5, 500, Doing::Leave(container_id.clone()));
        }
    }

    /// An executor that has no answer to its call makes it again, as long as it has no acknowledgement either.
    fn tell_again(&mut self, at: usize, container_id: &ContainerId, status: TaskStatus) {
        self.next_number += 1;
        let caller = Caller(self.next_number);
        let Some(executor) = self.machines[at].executors.get(container_id) else { return };
        let is_open = executor.unacknowledged.iter().any(|it| it.update_id == status.update_id);
        if is_open && executor.stream.is_some() && self.machines[at].is_up {
            self.executor_calls(at, container_id, caller, ExecutorCall::Update(Box::new(status)));
        }
    }

    fn executor_hears(&mut self, at: usize, caller: Caller, event: ExecutorEvent) {
        let executors = &mut self.machines[at].executors;
        let Some(executor) = executors.values_mut().find(|executor| executor.stream == Some(caller)) else {
            return;
        };
        let container_id = executor.run.container_id.clone();
        match event {
            ExecutorEvent::Launch(task) => {
                if self.plan.bug == Some(Bug::LaunchedTwice) && self.rng.u8(..8) == 0 {
                    self.executor_takes(at, &container_id, vec![(*task).clone()]);
                }
                self.executor_takes(at, &container_id, vec![*task]);
            }
            ExecutorEvent::LaunchGroup(tasks) => self.executor_takes(at, &container_id, tasks),
            ExecutorEvent::Kill { task_id, .. } => {
                self.machine_soon(at, 1, 50, Doing::Tell(container_id, task_id, TaskState::Killed));
            }
            ExecutorEvent::Acknowledged { task_id, update_id } => {
                let framework = executor.run.framework_id.clone();
                self.checkers.updates.safe(&framework, &task_id, update_id);
                executor.unacknowledged.retain(|status| status.update_id != Some(update_id));
                executor.unheard.remove(&task_id);
                if executor.is_idle() {
                    self.machine_soon(at, 5, 500, Doing::Leave(container_id));
                }
            }
            ExecutorEvent::Shutdown => {
                executor.is_shut_down = true;
                self.machine_soon(at, 5, 500, Doing::Leave(container_id));
            }
            ExecutorEvent::Subscribed { .. } | ExecutorEvent::Message(_) => {}
        }
    }

    fn executor_takes(&mut self, at: usize, container_id: &ContainerId, tasks: Vec<TaskInfo>) {
        for TaskInfo { task_id, resources, .. } in tasks {
            let executor = self.machines[at].executors.get_mut(container_id).expect("it has just heard");
            let framework_id = executor.run.framework_id.clone();
            executor.tasks.insert(task_id.clone(), resources);
            executor.unheard.insert(task_id.clone());
            let verdict = self.checkers.tasks.starts(self.now.time, at, &framework_id, &task_id);
            self.judge(verdict);
            self.judge_room(at);
            self.plan_task(at, container_id.clone(), task_id);
        }
    }

    /// What becomes of a task is decided when it starts: it runs, then ends one way or another.
    fn plan_task(&mut self, at: usize, container_id: ContainerId, task: TaskId) {
        let running = Doing::Tell(container_id.clone(), task.clone(), TaskState::Running);
        self.machine_soon(at, 0, 5, running);
        let fate = self.rng.u8(..20);
        let doing = match fate {
            0 if self.is_stormy() => Doing::Die(container_id),
            1 | 2 => Doing::Tell(container_id, task, TaskState::Failed),
            _ => Doing::Tell(container_id, task, TaskState::Finished),
        };
        self.machine_soon(at, 10, 8_000, doing);
    }

    /// An executor that has nothing to do ends, as command executors do; some wait for more.
    fn leave_if_idle(&mut self, at: usize, container_id: ContainerId) {
        let Some(executor) = self.machines[at].executors.get(&container_id) else { return };
        if executor.is_shut_down || executor.is_idle() {
            self.machine_soon(at, 0, 5, Doing::Die(container_id));
        }
    }

    fn close_stream(&mut self, at: usize, caller: Caller) {
        let executors = self.machines[at].executors.values_mut();
        executors.filter(|it| it.stream == Some(caller)).for_each(|it| it.stream = None);
    }

    /// No more runs on a machine than it has. What is on loan may be more than would be lent now.
    fn judge_room(&mut self, at: usize) {
        let machine = &self.machines[at];
        let mut used = Resources::default();
        for executor in machine.executors.values() {
            used.add(&executor.resources.unallocated());
            executor.tasks.values().for_each(|resources| used.add(&resources.unallocated()));
        }
        let used = used.filter(|part| !part.is_revocable);
        if !machine.info.total.contains(&as_given(&used)) {
            let what = format!("node-{at} has {}, and {used} are used there", machine.info.total);
            self.judge(breach(Law::Conservation, what));
        }
    }

    /// Whoever leads is dialled; while nobody does that waits.
    pub(super) fn dial_leader(&mut self, at: usize) {
        let (Some((session, None)), Some(leader)) = (self.machines[at].link, self.machines[at].leader) else {
            return;
        };
        let link = self.dial(Host::Agent(at), leader);
        self.machines[at].link = Some((session, Some(link)));
    }

    /// The detector looks: what it saw last stands while it can see nothing.
    pub(super) fn detect(&mut self, at: usize) {
        let Some(leader) = self.leader_as_seen_by(Host::Agent(at)) else {
            return self.soon(1_000, 1_000, Happening::Detect(at));
        };
        if self.machines[at].leader == leader {
            return;
        }
        self.machines[at].leader = leader;
        match self.machines[at].link {
            // It may not know yet that it leads no longer: nothing more is heard from it.
            Some((session, Some(_))) => {
                self.drop_link(at);
                self.tell_node(at, Input::LinkDown { session });
            }
            _ => self.dial_leader(at),
        }
    }

    /// The agent's end of its connection is closed by itself.
    pub(super) fn drop_link(&mut self, at: usize) {
        if let Some((_, Some(link))) = self.machines[at].link.take() {
            self.close(link, CLIENT);
        }
    }

    pub(super) fn agent_link_up(&mut self, at: usize, link: LinkId) {
        match self.machines[at].link {
            Some((session, Some(current))) if current == link => {
                self.tell_node(at, Input::LinkUp { session })
            }
            _ => self.close(link, CLIENT),
        }
    }

    pub(super) fn agent_link_lost(&mut self, at: usize, link: LinkId) {
        if let Some((session, Some(current))) = self.machines[at].link
            && current == link
        {
            self.machines[at].link = None;
            self.tell_node(at, Input::LinkDown { session });
        }
    }

    pub(super) fn agent_hears(&mut self, at: usize, link: LinkId, frame: &[u8]) {
        let Some((session, Some(current))) = self.machines[at].link else { return };
        if current != link {
            return;
        }
        let message = wire::decode_to_agent(&frame[HEADER_BYTES..]).expect("the master speaks our language");
        self.tell_node(at, Input::FromMaster { session, message: Box::new(message) });
    }

    /// The agent's id is on its disk: from here on it comes back under it.
    pub(super) fn agent_is_admitted(&mut self, at: usize, id: &AgentId) {
        let verdict = {
            let shelf = super::storage::look(&self.shelf);
            self.checkers.admissions.told(at, id, &shelf.objects)
        };
        self.judge(verdict);
    }

    /// `kill -9` of the agent, or its own end; it is started again.
    pub(super) fn kill_agent(&mut self, at: usize) {
        self.checkers.tasks.harms(self.now.time, at);
        self.drop_link(at);
        let machine = &mut self.machines[at];
        if !std::mem::replace(&mut machine.is_up, false) {
            return;
        }
        machine.life += 1;
        machine.disk.cut_off(&mut self.rng);
        machine.launching.clear();
        machine.early.clear();
        machine.executors.values_mut().for_each(|executor| executor.stream = None);
        // Executors that cannot survive end with the agent; the others find it gone and come back.
        let mortal = machine.executors.iter().filter(|(_, executor)| !executor.checkpoint);
        let mortal: Vec<ContainerId> = mortal.map(|(container, _)| container.clone()).collect();
        for container in mortal {
            self.end_container(at, container);
        }
        self.trace(|| format!("node-{at} is dead"));
        self.disarm(Who::Agent(at));
        self.fuses.remove(&Who::Agent(at));
        let most_ms = *self.rng.choice([100, 5_000, 150_000].iter()).expect("not empty");
        let most_ms = if self.is_stormy() { most_ms } else { 100 };
        self.soon(0, most_ms, Happening::StartAgent(at));
    }

    /// The machine is started anew: nothing of what ran runs.
    pub(super) fn reboot(&mut self, at: usize) {
        self.kill_agent(at);
        self.machines[at].is_rebooted = true;
        let all: Vec<ContainerId> = self.machines[at].executors.keys().cloned().collect();
        for container in all {
            self.end_container(at, container);
        }
    }

    pub(super) fn start_agent(&mut self, at: usize) {
        if self.machines[at].is_up {
            return;
        }
        self.outcome.agent_restarts += 1;
        let machine = &mut self.machines[at];
        machine.is_up = true;
        let (life, seed) = (machine.life, self.plan.seed ^ machine.life << 8 ^ at as u64);
        // Of this life alone: where the disk tells of none before, the next one comes back under the same boot.
        let rebooted = std::mem::take(&mut machine.is_rebooted);
        if rebooted {
            machine.info.boot_id = format!("boot-{at}-{life}").into();
        }
        let survivors: BTreeSet<ContainerId> = machine.executors.keys().cloned().collect();
        let mut effects = Vec::new();
        let machine = &mut self.machines[at];
        machine.node = match Recovered::replay(&machine.disk.records) {
            Some(mut past) => {
                past.rebooted = rebooted;
                let settings = Settings::default();
                // What was reserved and made since stays, as where the agent's process begins.
                let total = compatibility::total(&past.total, &machine.info.total);
                let info = AgentInfo { total, ..machine.info.clone() };
                Node::recover(settings, info, seed, past, self.now, &mut effects)
            }
            None => Node::new(Settings::default(), machine.info.clone(), seed),
        };
        if let Some(id) = self.machines[at].node.agent_id().cloned() {
            self.agent_is_admitted(at, &id);
        }
        self.trace(|| format!("node-{at} starts again, life {life}, {} survivors", survivors.len()));
        self.node_wants(at, effects);
        self.tell_node(at, Input::Start);
        for container in survivors {
            self.machine_soon(at, 1, 1_000, Doing::Subscribe(container));
        }
    }
}
