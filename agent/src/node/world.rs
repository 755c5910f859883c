//! A world for the node under test: a master, executors, containers and a disk that obey a random script and keep notes.
//!
//! It knows what the node promises, not how it keeps it. `invariant_*` are checked as things happen; `settle` lets
//! everything come to rest, after which nothing may be owed to anybody.

mod laws;

use crate::node::Node;
use crate::node::effect::{Answer, Effect, ExecutorEvent, Record, Run, Ticket};
use crate::node::input::{Caller, ContainerEnd, ExecutorCall, Input, Session};
use crate::node::recovery::Recovered;
use crate::node::settings::Settings;
use model::agent_info::AgentInfo;
use model::body::Body;
use model::executor::ExecutorInfo;
use model::framework::{Capabilities, FrameworkInfo};
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, MasterId, TaskId, UpdateId};
use model::role::Role;
use model::task::{TaskInfo, TaskState, TaskStatus};
use model::time::{Now, Time, UnixTime};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::message::{ToAgent, ToMaster};

pub(super) const PING_TIMEOUT_MS: u64 = 75_000;

pub(crate) fn agent_info() -> AgentInfo {
    AgentInfo {
        hostname: "node".into(),
        address: ([127, 0, 0, 1], 5051).into(),
        total: "cpus:4;mem:4096".parse().expect("resources"),
        boot_id: "boot".into(),
        version: "1.11.0".into(),
        body: Body::default(),
    }
}

pub(crate) fn framework(id: &str, checkpoint: bool) -> FrameworkInfo {
    FrameworkInfo {
        framework_id: Some(FrameworkId::new(id)),
        name: "test".into(),
        user: "root".into(),
        roles: vec![Role::star()],
        capabilities: Capabilities::default().with(Capabilities::PARTITION_AWARE),
        failover_timeout_ns: 0,
        checkpoint,
        hostname: "h".into(),
        webui_url: None,
        principal: None,
        body: Body::default(),
    }
}

/// A task of executor `executor`, or a command task.
pub(crate) fn task(id: &str, executor: Option<&str>) -> TaskInfo {
    TaskInfo {
        task_id: TaskId::new(id),
        name: id.into(),
        agent_id: AgentId::new("S0"),
        resources: "cpus:1;mem:32".parse().expect("resources"),
        executor: executor.map(|executor| ExecutorInfo {
            executor_id: ExecutorId::new(executor),
            framework_id: Some(FrameworkId::new("F")),
            name: None,
            resources: "cpus:0.1".parse().expect("resources"),
            shutdown_grace_ns: None,
            body: Body::default(),
        }),
        kill_grace_ns: None,
        body: Body::default(),
    }
}

pub(crate) fn status(task_id: &str, state: TaskState, update: u8) -> TaskStatus {
    TaskStatus {
        task_id: TaskId::new(task_id),
        state,
        source: None,
        reason: None,
        message: None,
        agent_id: None,
        executor_id: None,
        timestamp: UnixTime(1),
        update_id: Some(UpdateId([update; 16])),
        healthy: None,
        data: None,
        container: None,
        body: Body::default(),
    }
}

/// What a simulated executor has in its head. It lives in its container, through restarts of the agent.
pub(super) struct Process {
    pub(super) run: Run,
    pub(super) stream: Option<Caller>,
    /// Tasks it was ever given.
    given: BTreeSet<TaskId>,
    /// Those it has not ended.
    pub(super) tasks: BTreeSet<TaskId>,
    pub(super) unacknowledged: Vec<TaskStatus>,
    /// Tasks with no acknowledged update yet.
    pub(super) unheard: BTreeSet<TaskId>,
    pub(super) is_shut_down: bool,
}

impl Process {
    fn take(&mut self, task: TaskInfo) {
        assert!(self.tasks.insert(task.task_id.clone()), "{} delivered twice", task.task_id);
        self.given.insert(task.task_id.clone());
        self.unheard.insert(task.task_id);
    }
}

pub(super) struct World {
    pub(super) node: Node,
    pub(super) now: Now,
    pub(super) effects: VecDeque<Effect>,
    /// Containers that the agent named when it last came back.
    pub(super) introduced: Vec<ContainerId>,
    pub(super) seen: Vec<String>,
    next_caller: u64,
    next_update: u64,
    /// Of the node; another at each start, or it would give ids twice.
    seed: u64,
    pub(super) session: Option<Session>,
    pub(super) dialing: Option<Session>,
    pub(super) to_disk: VecDeque<(Ticket, Record)>,
    pub(super) disk: Vec<Record>,
    pub(super) launching: Vec<Run>,
    /// Streams that executors do not read any more; the agent may not know yet.
    let_go: BTreeSet<Caller>,
    pub(super) processes: BTreeMap<ContainerId, Process>,
    pub(super) dying: BTreeSet<ContainerId>,
    /// What the master knows of each task: every update it got, in order, and those it acknowledged.
    pub(super) told: BTreeMap<TaskId, Vec<(UpdateId, TaskState)>>,
    pub(super) to_acknowledge: Vec<(FrameworkId, TaskId, UpdateId)>,
    pub(super) acknowledged: BTreeSet<(TaskId, UpdateId)>,
    /// Tasks the master has sent and not heard the acknowledged end of.
    pub(super) open: BTreeMap<TaskId, FrameworkId>,
    /// Tasks that the master has sent together.
    groups: Vec<Vec<TaskId>>,
    pub(super) framework: FrameworkInfo,
    pub(super) registered: bool,
    pub(super) lent: laws::Lent,
    pub(super) exited: bool,
}

impl World {
    pub(super) fn new(checkpoint: bool) -> Self {
        let mut world = Self {
            node: Node::new(Settings::default(), agent_info(), 7),
            now: Now { time: Time::from_ms(1), unix: UnixTime(1_000_000) },
            effects: VecDeque::new(),
            introduced: Vec::new(),
            seen: Vec::new(),
            next_caller: 0,
            next_update: 0,
            seed: 7,
            session: None,
            dialing: None,
            to_disk: VecDeque::new(),
            disk: Vec::new(),
            launching: Vec::new(),
            let_go: BTreeSet::new(),
            processes: BTreeMap::new(),
            dying: BTreeSet::new(),
            told: BTreeMap::new(),
            to_acknowledge: Vec::new(),
            acknowledged: BTreeSet::new(),
            open: BTreeMap::new(),
            groups: Vec::new(),
            framework: framework("F", checkpoint),
            registered: false,
            lent: laws::Lent::default(),
            exited: false,
        };
        world.input(Input::Start);
        world
    }

    /// Connected, registered, everything durable.
    pub(super) fn registered(checkpoint: bool) -> Self {
        let mut world = Self::new(checkpoint);
        world.connect();
        world.flush();
        world
    }

    pub(super) fn input(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.node.handle(self.now, input, &mut effects);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        self.effects.extend(effects);
        while let Some(effect) = self.effects.pop_front() {
            self.one_effect(effect);
        }
    }

    fn one_effect(&mut self, effect: Effect) {
        match effect {
            Effect::Dial { session } => self.dialing = Some(session),
            Effect::HangUp { .. } => self.drop_link(),
            Effect::Send(message) => self.master_hears(*message),
            Effect::Persist { ticket, record } => self.to_disk.push_back((ticket, *record)),
            Effect::Launch(launch) => {
                self.invariant_executor_saved_before_launch(&launch.run);
                self.launching.push(launch.run);
            }
            Effect::Reattach { run, .. } => {
                if !self.processes.contains_key(&run.container_id) {
                    self.dying.insert(run.container_id);
                }
            }
            Effect::Destroy { container_id } => {
                self.dying.insert(container_id);
            }
            Effect::Answer { caller, answer } => self.answered(caller, answer),
            Effect::Tell { caller, event } => self.executor_hears(caller, event),
            Effect::Close { caller } => {
                for process in self.processes.values_mut().filter(|one| one.stream == Some(caller)) {
                    process.stream = None;
                }
            }
            Effect::Resize { .. } | Effect::Volumes(_) => {}
            Effect::Retire { run } => self.invariant_retired_is_not_written_to(&run, None),
            Effect::RetireTask { run, task_id } => {
                self.invariant_retired_is_not_written_to(&run, Some(&task_id));
                self.seen.push(format!("retire task {task_id}"));
            }
            Effect::Note { what, about } => self.seen.push(format!("note {what}: {about}")),
            Effect::Exit(_) => self.exited = true,
        }
    }

    fn answered(&mut self, caller: Caller, answer: Answer) {
        self.seen.push(format!("answer {answer:?}"));
        if answer != Answer::Streaming {
            for process in self.processes.values_mut().filter(|one| one.stream == Some(caller)) {
                process.stream = None;
            }
        }
    }

    fn master_hears(&mut self, message: ToMaster) {
        let Some(session) = self.session else { return };
        self.note_lent(&message);
        match message {
            ToMaster::Register { .. } => self.admit(session, Vec::new()),
            ToMaster::Reregister(known) => {
                self.introduced = known.executors.iter().map(|one| one.container_id.clone()).collect();
                let named: BTreeSet<TaskId> =
                    known.tasks.iter().map(|one| one.task.task_id.clone()).collect();
                let missing = self.open.iter().filter(|(task_id, _)| !named.contains(*task_id));
                let missing =
                    missing.map(|(task_id, framework)| (framework.clone(), task_id.clone())).collect();
                self.admit(session, missing);
            }
            ToMaster::Update { framework_id, status, latest_state } => {
                let update_id = status.update_id.expect("updates have ids");
                self.seen.push(format!(
                    "update {} {} latest {}",
                    status.task_id,
                    status.state.as_str(),
                    latest_state.as_str()
                ));
                self.invariant_saved_before_sent(&status);
                let told = self.told.entry(status.task_id.clone()).or_default();
                if !told.iter().any(|(id, _)| *id == update_id) {
                    self.invariant_one_at_a_time(&status.task_id);
                    self.told.entry(status.task_id.clone()).or_default().push((update_id, status.state));
                }
                self.to_acknowledge.push((framework_id, status.task_id, update_id));
            }
            ToMaster::Pong { .. } => {}
            other => self.seen.push(format!("master hears {}", laws::name_of(&other))),
        }
    }

    pub(super) fn admit(&mut self, session: Session, reconcile: Vec<(FrameworkId, TaskId)>) {
        self.registered = true;
        let message = ToAgent::Registered {
            agent_id: AgentId::new("S0"),
            master_id: MasterId::new("M"),
            ping_timeout_ms: PING_TIMEOUT_MS,
            reconcile,
        };
        self.input(Input::FromMaster { session, message: Box::new(message) });
    }

    fn executor_hears(&mut self, caller: Caller, event: ExecutorEvent) {
        let Some(process) = self.processes.values_mut().find(|one| one.stream == Some(caller)) else {
            assert!(self.let_go.contains(&caller), "told {event:?} to a stream that was never there");
            return;
        };
        match event {
            ExecutorEvent::Launch(task) => {
                self.seen.push(format!("launch {}", task.task_id));
                process.take(*task);
                self.invariant_groups_are_whole(&[]);
            }
            ExecutorEvent::LaunchGroup(tasks) => {
                let ids: Vec<TaskId> = tasks.iter().map(|task| task.task_id.clone()).collect();
                self.seen.push(format!("launch group {ids:?}"));
                tasks.into_iter().for_each(|task| process.take(task));
                self.invariant_groups_are_whole(&ids);
            }
            ExecutorEvent::Kill { task_id, .. } => {
                self.seen.push(format!("kill {task_id}"));
                let container_id = process.run.container_id.clone();
                self.executor_tells(&container_id, &task_id, TaskState::Killed);
            }
            ExecutorEvent::Acknowledged { task_id, update_id } => {
                process.unacknowledged.retain(|status| status.update_id != Some(update_id));
                process.unheard.remove(&task_id);
                self.seen.push(format!("acknowledged {task_id}"));
            }
            ExecutorEvent::Shutdown => {
                process.is_shut_down = true;
                self.seen.push("shutdown".to_owned());
            }
            ExecutorEvent::Subscribed { .. } => self.seen.push("subscribed".to_owned()),
            ExecutorEvent::Message(_) => self.seen.push("message".to_owned()),
        }
    }

    /// The executor of that container tells the state of a task that it has.
    pub(super) fn executor_tells(&mut self, container_id: &ContainerId, task_id: &TaskId, state: TaskState) {
        self.next_update += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.next_update.to_be_bytes());
        let Some(process) = self.processes.get_mut(container_id) else { return };
        if !process.tasks.contains(task_id) {
            return;
        }
        if state.is_terminal() {
            process.tasks.remove(task_id);
        }
        let status = TaskStatus { update_id: Some(UpdateId(id)), ..status(task_id.as_str(), state, 0) };
        process.unacknowledged.push(status.clone());
        if process.stream.is_some() {
            let run = process.run.clone();
            self.call(&run, ExecutorCall::Update(Box::new(status)));
        }
    }

    pub(super) fn call(&mut self, run: &Run, call: ExecutorCall) -> Caller {
        let caller = Caller(self.next_caller);
        self.next_caller += 1;
        self.call_as(caller, run, call);
        caller
    }

    fn call_as(&mut self, caller: Caller, run: &Run, call: ExecutorCall) {
        let (framework_id, executor_id) = (run.framework_id.clone(), run.executor_id.clone());
        self.input(Input::Executor { caller, framework_id, executor_id, call });
    }

    pub(super) fn subscribe(&mut self, container_id: &ContainerId) {
        let caller = Caller(self.next_caller);
        self.next_caller += 1;
        let Some(process) = self.processes.get_mut(container_id) else { return };
        let old = process.stream.replace(caller);
        self.let_go.extend(old);
        let call = ExecutorCall::Subscribe {
            unacknowledged_tasks: process.unheard.iter().cloned().collect(),
            unacknowledged_updates: process.unacknowledged.clone(),
        };
        let run = process.run.clone();
        self.call_as(caller, &run, call);
        if let Some(caller) = old {
            self.input(Input::StreamClosed { caller });
        }
    }

    pub(super) fn connect(&mut self) {
        while self.dialing.is_none() && !self.exited {
            self.wait();
        }
        let Some(session) = self.dialing.take() else { return };
        self.session = Some(session);
        self.input(Input::LinkUp { session });
    }

    fn drop_link(&mut self) {
        (self.session, self.dialing, self.registered) = (None, None, false);
        self.to_acknowledge.clear();
    }

    pub(super) fn lose_link(&mut self) {
        if let Some(session) = self.session.or(self.dialing) {
            self.drop_link();
            self.input(Input::LinkDown { session });
        }
    }

    pub(super) fn say(&mut self, message: ToAgent) {
        if let Some(session) = self.session {
            self.input(Input::FromMaster { session, message: Box::new(message) });
        }
    }

    pub(super) fn run(&mut self, task: TaskInfo) {
        if self.registered {
            let framework = self.framework.clone();
            let framework_id = framework.framework_id.clone().expect("set");
            self.open.insert(task.task_id.clone(), framework_id);
            self.say(ToAgent::Run { framework, task, starts_executor: true });
        }
    }

    pub(super) fn run_group(&mut self, tasks: Vec<TaskInfo>) {
        if self.registered {
            let framework = self.framework.clone();
            let framework_id = framework.framework_id.clone().expect("set");
            let ids: Vec<TaskId> = tasks.iter().map(|task| task.task_id.clone()).collect();
            self.open.extend(ids.iter().map(|id| (id.clone(), framework_id.clone())));
            self.groups.push(ids);
            self.say(ToAgent::RunGroup { framework, tasks, starts_executor: true });
        }
    }

    pub(super) fn kill(&mut self, task_id: &str) {
        let framework_id = self.framework.framework_id.clone().expect("set");
        self.say(ToAgent::Kill { framework_id, task_id: TaskId::new(task_id), grace_ns: None });
    }

    pub(super) fn write_one(&mut self) {
        if let Some((ticket, record)) = self.to_disk.pop_front() {
            self.disk.push(record);
            self.input(Input::Durable { ticket });
        }
    }

    pub(super) fn flush(&mut self) {
        while !self.to_disk.is_empty() {
            self.write_one();
        }
    }

    pub(super) fn launch_one(&mut self) {
        if self.launching.is_empty() {
            return;
        }
        let run = self.launching.remove(0);
        let container_id = run.container_id.clone();
        let process = Process {
            run,
            stream: None,
            given: BTreeSet::new(),
            tasks: BTreeSet::new(),
            unacknowledged: Vec::new(),
            unheard: BTreeSet::new(),
            is_shut_down: false,
        };
        self.processes.insert(container_id.clone(), process);
        self.input(Input::Launched { container_id, pid: 42 });
    }

    /// The container of that executor ends, for whatever reason.
    pub(super) fn end_container(&mut self, container_id: &ContainerId) {
        self.dying.remove(container_id);
        if let Some(at) = self.launching.iter().position(|run| run.container_id == *container_id) {
            self.launching.remove(at);
            let (container_id, why) = (container_id.clone(), "destroyed".into());
            return self.input(Input::LaunchFailed { container_id, why });
        }
        self.processes.remove(container_id);
        let end = ContainerEnd { wait_status: Some(9), out_of_memory: None };
        self.input(Input::ContainerEnded { container_id: container_id.clone(), end });
    }

    pub(super) fn acknowledge_one(&mut self) {
        if self.to_acknowledge.is_empty() {
            return;
        }
        let (framework_id, task_id, update_id) = self.to_acknowledge.remove(0);
        self.acknowledged.insert((task_id.clone(), update_id));
        let ended = self.told[&task_id].iter().any(|(id, state)| *id == update_id && state.is_terminal());
        if ended {
            self.open.remove(&task_id);
        }
        self.say(ToAgent::Acknowledge { framework_id, task_id, update_id });
    }

    /// Lets time pass until the node wants to be called, and calls it.
    pub(super) fn wait(&mut self) {
        let Some(deadline) = self.node.deadline() else { return };
        self.now.time = self.now.time.max(deadline);
        let mut effects = Vec::new();
        self.node.expire(self.now, &mut effects);
        self.carry_out(effects);
    }

    /// The agent is killed and started again: what was not on disk is gone; containers live on.
    pub(super) fn crash(&mut self) {
        self.come_back(false);
    }

    pub(super) fn come_back(&mut self, rebooted: bool) {
        let Some(recovered) = Recovered::replay(&self.disk) else { return };
        let recovered = Recovered { rebooted, ..recovered };
        self.drop_link();
        self.to_disk.clear();
        self.forget_told_but_not_kept();
        self.seed += 1;
        // A launch that was under way may have got anywhere; here it got nowhere.
        self.launching.clear();
        self.dying.clear();
        for process in self.processes.values_mut() {
            process.stream = None;
        }
        let mut effects = Vec::new();
        self.node =
            Node::recover(Settings::default(), agent_info(), self.seed, recovered, self.now, &mut effects);
        self.carry_out(effects);
        self.input(Input::Start);
    }

    /// Word that a task never ran here is not checkpointed: there is no place for it. A restarted agent does not know
    /// that it was said, and the reconciliation makes it say so again under another id.
    fn forget_told_but_not_kept(&mut self) {
        let kept: BTreeSet<UpdateId> = self
            .disk
            .iter()
            .filter_map(|record| match record {
                Record::Update { status, .. } => status.update_id,
                _ => None,
            })
            .collect();
        for (task_id, told) in &mut self.told {
            told.retain(|(id, _)| kept.contains(id) || self.acknowledged.contains(&(task_id.clone(), *id)));
        }
    }

    /// Lets time pass, with a master that pings as it should, until `done`.
    pub(super) fn wait_until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.say(ToAgent::Ping { sequence: 1 });
            let step = self.now.time.plus_ms(model::limits::AGENT_PING_INTERVAL_MS);
            let deadline = self.node.deadline().expect("the master may fall silent");
            self.now.time = deadline.min(step).max(self.now.time);
            let mut effects = Vec::new();
            self.node.expire(self.now, &mut effects);
            self.carry_out(effects);
        }
    }

    /// Everybody does what is due, until nothing is.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.session.is_none() {
                self.connect();
            }
            self.flush();
            while !self.launching.is_empty() {
                self.launch_one();
            }
            for container_id in self.dying.clone() {
                self.end_container(&container_id);
            }
            let containers: Vec<ContainerId> = self.processes.keys().cloned().collect();
            for container_id in containers {
                self.let_executor_finish(&container_id);
            }
            while !self.to_acknowledge.is_empty() {
                self.acknowledge_one();
                self.flush();
            }
            if self.open.is_empty() && self.processes.is_empty() && self.to_disk.is_empty() {
                return;
            }
        }
        panic!("does not come to rest; open: {:?}; seen: {:#?}", self.open, self.seen);
    }

    fn let_executor_finish(&mut self, container_id: &ContainerId) {
        let Some(process) = self.processes.get(container_id) else { return };
        if process.stream.is_none() {
            self.subscribe(container_id);
        }
        let tasks: Vec<TaskId> =
            self.processes.get(container_id).map_or(Vec::new(), |one| one.tasks.iter().cloned().collect());
        for task_id in tasks {
            self.executor_tells(container_id, &task_id, TaskState::Finished);
        }
        self.flush();
        let idle = self
            .processes
            .get(container_id)
            .is_some_and(|one| one.tasks.is_empty() && one.unacknowledged.is_empty());
        let shut_down = self.processes.get(container_id).is_some_and(|one| one.is_shut_down);
        if idle || shut_down {
            self.end_container(container_id);
        }
    }
}
