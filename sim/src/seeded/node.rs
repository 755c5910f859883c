//! An agent's machine: its node core, the disk, and what runs there.

use super::executor::Executor;
use super::world::{Happening, World};
use ingot_agent::node::Node;
use ingot_agent::node::effect::{Answer, Effect, ExecutorEvent, Launch, Record, Ticket};
use ingot_agent::node::input::{Caller, ContainerEnd, ExecutorCall, Input, Session};
use ingot_agent::node::recovery::Recovered;
use ingot_agent::node::settings::Settings;
use ingot_master::cluster::input::SessionId;
use model::agent_info::AgentInfo;
use model::body::Body;
use model::id::{ContainerId, TaskId};
use model::task::{TaskInfo, TaskState};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::frame::HEADER_BYTES;

/// One machine. It is in no hurry to forget: containers outlive the agent's process, the disk outlives both.
pub(super) struct Machine {
    pub(super) node: Node,
    info: AgentInfo,
    /// Counts the starts of the agent's process; news for an earlier one is dropped.
    pub(super) life: u64,
    /// The connection that stands, and the master's name for it.
    pub(super) link: Option<(Session, SessionId)>,
    pub(super) writing: VecDeque<(Ticket, Record)>,
    pub(super) disk: Vec<Record>,
    pub(super) executors: BTreeMap<ContainerId, Executor>,
    launching: BTreeMap<ContainerId, Launch>,
    pub(super) has_exited: bool,
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
            link: None,
            writing: VecDeque::new(),
            disk: Vec::new(),
            executors: BTreeMap::new(),
            launching: BTreeMap::new(),
            has_exited: false,
        }
    }
}

/// What a machine does on its own after a while.
#[derive(Debug)]
pub(super) enum Doing {
    /// A dial ends.
    Connect(Session),
    /// The oldest write has reached the disk.
    Write,
    Launch(ContainerId),
    /// The agent's process has ended the container, and sees that nothing is left of it.
    End(ContainerId),
    /// The container's processes die on their own.
    Die(ContainerId),
    Subscribe(ContainerId),
    /// A task's process tells its state, or is overtaken by the end of its container.
    Tell(ContainerId, TaskId, TaskState),
    /// The executor looks whether it is still needed.
    Leave(ContainerId),
}

impl World {
    pub(super) fn tell_node(&mut self, at: usize, input: Input) {
        let mut effects = Vec::new();
        self.machines[at].node.handle(self.now, input, &mut effects);
        self.node_wants(at, effects);
    }

    pub(super) fn node_wants(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in effects {
            self.node_wants_one(at, effect);
        }
    }

    fn node_wants_one(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Dial { session } => self.machine_soon(at, 1, 50, Doing::Connect(session)),
            Effect::HangUp { .. } => self.drop_link(at),
            Effect::Send(message) => {
                if let Some((_, session)) = self.machines[at].link {
                    let frame = wire::encode_to_master(&message).expect("short enough");
                    self.in_order(session.0 * 2, Happening::MasterHears { session, frame });
                }
            }
            Effect::Persist { ticket, record } => {
                self.machines[at].writing.push_back((ticket, *record));
                self.machine_soon(at, 0, 5, Doing::Write);
            }
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
            Effect::Resize { .. } | Effect::Retire { .. } | Effect::RetireTask { .. } => {}
            Effect::Note { what, about } => self.trace(|| format!("node-{at} notes: {what}: {about}")),
            Effect::Exit(why) => {
                self.trace(|| format!("node-{at} exits: {why:?}"));
                self.machines[at].has_exited = true;
                self.drop_link(at);
            }
        }
    }

    pub(super) fn machine_soon(&mut self, at: usize, least_ms: u64, most_ms: u64, doing: Doing) {
        let life = self.machines[at].life;
        self.soon(least_ms, most_ms, Happening::Machine { at, life, doing });
    }

    /// Executors and containers live on while the agent is down; what concerns its process does not.
    pub(super) fn machine_does(&mut self, at: usize, life: u64, doing: Doing) {
        let is_current = life == self.machines[at].life && !self.machines[at].has_exited;
        match doing {
            Doing::Connect(session) if is_current => self.connect(at, session),
            Doing::Write if is_current => {
                if let Some((ticket, record)) = self.machines[at].writing.pop_front() {
                    self.machines[at].disk.push(record);
                    self.tell_node(at, Input::Durable { ticket });
                }
            }
            Doing::Launch(container) if is_current => self.launch(at, container),
            Doing::End(container) if is_current => self.end_container(at, container),
            Doing::Connect(_) | Doing::Write | Doing::Launch(_) | Doing::End(_) => {}
            Doing::Die(container) => self.end_container(at, container),
            Doing::Subscribe(container) => self.subscribe_executor(at, &container),
            Doing::Tell(container, task, state) => self.executor_tells(at, &container, &task, state),
            Doing::Leave(container) => self.leave_if_idle(at, container),
        }
    }

    fn launch(&mut self, at: usize, container_id: ContainerId) {
        let Some(launch) = self.machines[at].launching.remove(&container_id) else { return };
        if self.is_stormy() && self.rng.u8(..30) == 0 {
            let why = "no such command".into();
            return self.tell_node(at, Input::LaunchFailed { container_id, why });
        }
        let executor = Executor::new(launch.run, launch.framework.checkpoint);
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
        let was_here = machine.executors.remove(&container_id).is_some();
        // A second word of one end would be a bug of this world, unless the agent asked anew (after a restart).
        if was_here || !self.machines[at].disk.is_empty() {
            let end = ContainerEnd { wait_status: was_here.then_some(9), out_of_memory: None };
            if self.ended.insert((at, self.machines[at].life, container_id.clone())) {
                self.tell_node(at, Input::ContainerEnded { container_id, end });
            }
        }
    }

    fn subscribe_executor(&mut self, at: usize, container_id: &ContainerId) {
        self.next_number += 1;
        let caller = Caller(self.next_number);
        if self.machines[at].has_exited {
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
        let Some(status) = executor.status(task, state, number) else { return };
        if executor.stream.is_some() {
            self.executor_calls(at, container_id, Caller(number - 1), ExecutorCall::Update(Box::new(status)));
        }
        if state.is_terminal() {
            self.machine_soon(at, 5, 500, Doing::Leave(container_id.clone()));
        }
    }

    fn executor_hears(&mut self, at: usize, caller: Caller, event: ExecutorEvent) {
        let executors = &mut self.machines[at].executors;
        let Some(executor) = executors.values_mut().find(|executor| executor.stream == Some(caller)) else {
            return;
        };
        let container_id = executor.run.container_id.clone();
        match event {
            ExecutorEvent::Launch(task) => self.executor_takes(at, &container_id, vec![*task]),
            ExecutorEvent::LaunchGroup(tasks) => self.executor_takes(at, &container_id, tasks),
            ExecutorEvent::Kill { task_id, .. } => {
                self.machine_soon(at, 1, 50, Doing::Tell(container_id, task_id, TaskState::Killed));
            }
            ExecutorEvent::Acknowledged { task_id, update_id } => {
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
        for TaskInfo { task_id, .. } in tasks {
            let executor = self.machines[at].executors.get_mut(container_id).expect("it has just heard");
            let framework_id = executor.run.framework_id.clone();
            executor.tasks.insert(task_id.clone());
            executor.unheard.insert(task_id.clone());
            self.laws.task_starts(&framework_id, &task_id);
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

    fn connect(&mut self, at: usize, session: Session) {
        if self.is_stormy() && self.rng.u8(..10) == 0 {
            return self.tell_node(at, Input::LinkDown { session });
        }
        self.next_number += 1;
        self.machines[at].link = Some((session, SessionId(self.next_number)));
        self.tell_node(at, Input::LinkUp { session });
    }

    /// The agent's end of its connection is gone, and what was on its way with it. The master notices later.
    pub(super) fn drop_link(&mut self, at: usize) {
        if let Some((_, session)) = self.machines[at].link.take() {
            self.soon(0, 2_000, Happening::SessionGone(session));
        }
    }

    pub(super) fn agent_hears(&mut self, session: SessionId, frame: &[u8]) {
        let holds = |machine: &Machine| machine.link.is_some_and(|(_, it)| it == session);
        let Some(at) = self.machines.iter().position(holds) else { return };
        let (session, _) = self.machines[at].link.expect("just looked at");
        let message = wire::decode_to_agent(&frame[HEADER_BYTES..]).expect("the master speaks our language");
        self.tell_node(at, Input::FromMaster { session, message: Box::new(message) });
    }

    /// `kill -9` of the agent and a start soon after. Each write under way may or may not have reached the disk, in order.
    pub(super) fn restart_agent(&mut self, at: usize) {
        self.drop_link(at);
        let machine = &mut self.machines[at];
        let written = self.rng.usize(..=machine.writing.len());
        machine.disk.extend(machine.writing.drain(..).take(written).map(|(_, record)| record));
        machine.writing.clear();
        machine.life += 1;
        machine.has_exited = false;
        machine.launching.clear();
        let (life, seed) = (machine.life, self.plan.seed ^ machine.life << 8 ^ at as u64);
        // Executors that cannot survive end with the agent; the others find it gone and come back.
        machine.executors.retain(|_, executor| executor.checkpoint);
        let survivors: BTreeSet<ContainerId> = machine.executors.keys().cloned().collect();
        machine.executors.values_mut().for_each(|executor| executor.stream = None);
        let mut effects = Vec::new();
        machine.node = match Recovered::replay(&machine.disk) {
            Some(past) => {
                let settings = Settings::default();
                Node::recover(settings, machine.info.clone(), seed, past, self.now, &mut effects)
            }
            None => Node::new(Settings::default(), machine.info.clone(), seed),
        };
        self.trace(|| format!("node-{at} starts again, life {life}, {} survivors", survivors.len()));
        self.node_wants(at, effects);
        self.tell_node(at, Input::Start);
        for container in survivors {
            self.machine_soon(at, 1, 1_000, Doing::Subscribe(container));
        }
    }
}
