//! Random histories: whatever happens in whatever order, the laws hold after every event (the world checks them), and when
//! everyone has gone home nothing is missing.

use super::world::*;
use crate::cluster::Settings;
use crate::cluster::input::{Accept, Call, GroupRequest, Input, Operation, SessionId};
use crate::usage;
use model::executor::ExecutorInfo;
use model::framework::FrameworkInfo;
use model::id::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId, UpdateId};
use model::resources::Resources;
use model::role::Role;
use model::task::{TaskInfo, TaskState};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use wire::message::{Reregister, RunningExecutor, RunningTask, ToAgent, ToMaster};

/// One thing that happens. Numbers choose among what there is, modulo how much of it there is.
#[derive(Clone, Debug)]
enum Step {
    Register,
    Disconnect(usize),
    /// Comes back with what it runs; when `missing` is 1, it has not heard what it was told last.
    Return {
        agent: usize,
        missing: usize,
    },
    Goodbye(usize),
    /// So much may be lent out there.
    Estimate {
        agent: usize,
        cpus: u8,
    },
    Pong(usize),
    Subscribe {
        is_aware: bool,
    },
    Leave(usize),
    Resubscribe(usize),
    Teardown(usize),
    ChangeRoles(usize),
    Offer(usize),
    Launch {
        framework: usize,
        offer: usize,
        count: usize,
        cpus_milli: u64,
        executor: Option<usize>,
    },
    Decline {
        framework: usize,
        offer: usize,
    },
    Update {
        task: usize,
        state: usize,
    },
    Acknowledge(usize),
    Kill(usize),
    ExecutorExit(usize),
    Report(usize),
    Over(usize),
    Wait {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..64usize;
    prop_oneof![
        2 => Just(Step::Register),
        2 => n.clone().prop_map(Step::Disconnect),
        4 => (n.clone(), 1..4usize).prop_map(|(agent, missing)| Step::Return { agent, missing }),
        1 => n.clone().prop_map(Step::Goodbye),
        4 => (n.clone(), 0..4u8).prop_map(|(agent, cpus)| Step::Estimate { agent, cpus }),
        4 => n.clone().prop_map(Step::Pong),
        3 => any::<bool>().prop_map(|is_aware| Step::Subscribe { is_aware }),
        2 => n.clone().prop_map(Step::Leave),
        3 => n.clone().prop_map(Step::Resubscribe),
        1 => n.clone().prop_map(Step::Teardown),
        1 => n.clone().prop_map(Step::ChangeRoles),
        8 => n.clone().prop_map(Step::Offer),
        10 => (n.clone(), n.clone(), 0..4usize, 1..3000u64, prop::option::of(0..3usize)).prop_map(
            |(framework, offer, count, cpus_milli, executor)| Step::Launch { framework, offer, count, cpus_milli, executor }
        ),
        3 => (n.clone(), n.clone()).prop_map(|(framework, offer)| Step::Decline { framework, offer }),
        10 => (n.clone(), 0..8usize).prop_map(|(task, state)| Step::Update { task, state }),
        8 => n.clone().prop_map(Step::Acknowledge),
        3 => n.clone().prop_map(Step::Kill),
        3 => n.clone().prop_map(Step::ExecutorExit),
        9 => n.clone().prop_map(Step::Report),
        2 => n.prop_map(Step::Over),
        3 => (1..90_000u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// An agent as it knows itself: it keeps what it runs whatever the master thinks, and hears what it is told only when its
/// turn comes, or never.
struct Node {
    id: AgentId,
    session: Option<SessionId>,
    port: u16,
    tasks: BTreeMap<(FrameworkId, TaskId), (TaskInfo, TaskState, Option<UpdateId>)>,
    executors: BTreeMap<(FrameworkId, ExecutorId), ExecutorInfo>,
    frameworks: BTreeMap<FrameworkId, FrameworkInfo>,
    last_ping: u64,
    lent: Resources,
}

impl Node {
    fn run(&mut self, framework: FrameworkInfo, tasks: Vec<TaskInfo>) {
        let id = framework.framework_id.clone().expect("it has one");
        for task in tasks {
            if let Some(executor) = &task.executor {
                self.executors.insert((id.clone(), executor.executor_id.clone()), executor.clone());
            }
            self.tasks.insert((id.clone(), task.task_id.clone()), (task, TaskState::Staging, None));
        }
        self.frameworks.insert(id, framework);
    }

    fn hear(&mut self, message: ToAgent) {
        match message {
            ToAgent::Run { framework, task, .. } => self.run(framework, vec![task]),
            ToAgent::RunGroup { framework, tasks, .. } => self.run(framework, tasks),
            ToAgent::Acknowledge { framework_id, task_id, update_id } => {
                let key = (framework_id, task_id);
                let is_over = |(_, state, pending): &(_, TaskState, _)| {
                    state.is_terminal() && *pending == Some(update_id)
                };
                if self.tasks.get(&key).is_some_and(is_over) {
                    self.tasks.remove(&key);
                }
            }
            ToAgent::ShutdownFramework { framework_id } => {
                self.tasks.retain(|(owner, _), _| *owner != framework_id);
                self.executors.retain(|(owner, _), _| *owner != framework_id);
                self.frameworks.remove(&framework_id);
            }
            ToAgent::Registered { reconcile, .. } => {
                // Answered by an update at the node's next turn.
                for (framework_id, task_id) in reconcile {
                    let lost = task(task_id.as_str(), &self.id, "cpus:1");
                    self.tasks.entry((framework_id, task_id)).or_insert((lost, TaskState::Gone, None));
                }
            }
            ToAgent::Ping { sequence } => self.last_ping = sequence,
            _ => {}
        }
    }
}

/// Everyone outside the master.
struct Play {
    world: World,
    nodes: Vec<Node>,
    schedulers: Vec<Scheduler>,
    reports: Vec<(SessionId, FrameworkId, ExecutorId, usage::Row)>,
    task_count: usize,
    update_count: u8,
}

/// The `n`-th of so many; `None` of none.
fn pick<T>(from: &[T], n: usize) -> Option<&T> {
    from.get(n.checked_rem(from.len())?)
}

impl Play {
    fn new() -> Self {
        let settings = Settings {
            offer_timeout_ms: Some(20_000),
            max_completed_frameworks: 2,
            max_completed_tasks_per_framework: 3,
            max_unreachable_tasks_per_framework: 2,
            ..Settings::default()
        };
        let (nodes, schedulers, reports) = (Vec::new(), Vec::new(), Vec::new());
        Self { world: World::with(settings), nodes, schedulers, reports, task_count: 0, update_count: 0 }
    }

    /// The session, while both the agent and the master think there is one.
    fn session(&self, id: &AgentId) -> Option<SessionId> {
        let session = self.nodes.iter().find(|node| node.id == *id)?.session?;
        (!self.world.closed_sessions.contains(&session)).then_some(session)
    }

    /// Every task the master knows and has not seen acknowledged.
    fn tasks(&self) -> Vec<(FrameworkId, TaskId, AgentId)> {
        let of = |framework: &crate::cluster::frameworks::Framework| {
            let one = |(id, task): (&TaskId, &std::sync::Arc<crate::cluster::tasks::Task>)| {
                (task.framework_id.clone(), id.clone(), task.info.agent_id.clone())
            };
            framework.tasks.iter().map(one).collect::<Vec<_>>()
        };
        self.world.cluster.frameworks.iter().flat_map(|(_, framework)| of(framework)).collect()
    }

    fn executors(&self) -> Vec<(FrameworkId, ExecutorId, AgentId)> {
        let agents = self.world.cluster.agents.iter();
        let of = agents.flat_map(|(id, agent)| {
            agent.executors.keys().map(move |(f, e)| (f.clone(), e.clone(), id.clone()))
        });
        of.collect()
    }

    fn scheduler(&self, n: usize) -> Option<Scheduler> {
        let live: Vec<_> = self
            .schedulers
            .iter()
            .filter(|scheduler| !self.world.closed_streams.contains(&scheduler.stream))
            .collect();
        pick(&live, n).map(|scheduler| (*scheduler).clone())
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Register => {
                let (session, id) = self.world.agent("cpus:4;mem:1024;ports:[1-9]");
                let port = self.world.agent_info(&id).address.port();
                self.nodes.push(Node {
                    id,
                    session: Some(session),
                    port,
                    tasks: BTreeMap::new(),
                    executors: BTreeMap::new(),
                    frameworks: BTreeMap::new(),
                    last_ping: 0,
                    lent: Resources::default(),
                });
            }
            Step::Disconnect(n) => {
                let Some(id) = pick(&self.nodes, n).map(|node| node.id.clone()) else { return };
                if let Some(session) = self.session(&id) {
                    self.world.give(Input::AgentGone { session });
                    self.world.closed_sessions.insert(session);
                }
            }
            Step::Return { agent, missing } => self.come_back(agent, missing),
            Step::Goodbye(n) => {
                let Some(id) = pick(&self.nodes, n).map(|node| node.id.clone()) else { return };
                if let Some(session) = self.session(&id) {
                    self.world.say(session, ToMaster::Unregister);
                }
            }
            Step::Estimate { agent, cpus } => {
                let Some(id) = pick(&self.nodes, agent).map(|node| node.id.clone()) else { return };
                let node = self.nodes.iter_mut().find(|node| node.id == id).expect("picked");
                node.lent = r(&format!("cpus:{cpus};mem:{}", u32::from(cpus) * 100)).revocable();
                let total = node.lent.clone();
                if let Some(session) = self.session(&id) {
                    self.world.say(session, ToMaster::Oversubscribed { total });
                }
            }
            Step::Pong(n) => {
                let Some(id) = pick(&self.nodes, n).map(|node| node.id.clone()) else { return };
                if let Some(session) = self.session(&id) {
                    let node = self.nodes.iter_mut().find(|node| node.id == id).expect("picked");
                    self.world.told(session).into_iter().for_each(|message| node.hear(message));
                    let sequence = node.last_ping;
                    self.world.say(session, ToMaster::Pong { sequence });
                }
            }
            Step::Wait { ms } => self.world.pass_ms(ms),
            Step::Report(n) => self.report(n),
            Step::Over(n) => {
                if self.reports.is_empty() {
                    return;
                }
                let (session, framework_id, executor_id, row) = self.reports.remove(n % self.reports.len());
                self.world.give(Input::ContainerOver { session, framework_id, executor_id, row });
            }
            _ => self.take_of_frameworks(step),
        }
    }

    fn take_of_frameworks(&mut self, step: &Step) {
        match *step {
            Step::Subscribe { is_aware } => {
                let info = if is_aware { revocable() } else { framework_info() };
                let scheduler = self.world.framework(info);
                self.schedulers.push(scheduler);
            }
            Step::Leave(n) => {
                if let Some(scheduler) = self.scheduler(n) {
                    self.world.give(Input::StreamGone { stream: scheduler.stream.clone() });
                    self.world.closed_streams.insert(scheduler.stream);
                }
            }
            Step::Resubscribe(n) => {
                let Some(id) = pick(&self.schedulers, n).map(|scheduler| scheduler.id.clone()) else {
                    return;
                };
                if self.world.cluster.frameworks.contains(&id) {
                    let info = FrameworkInfo { framework_id: Some(id), ..framework_info() };
                    let scheduler = self.world.framework(info);
                    self.schedulers.push(scheduler);
                }
            }
            Step::Teardown(n) => {
                if let Some(scheduler) = self.scheduler(n) {
                    self.world.call(&scheduler, Call::Teardown).expect("taken");
                }
            }
            Step::ChangeRoles(n) => {
                let Some(scheduler) = self.scheduler(n) else { return };
                let role = Role::parse("eng").expect("a role");
                let id = Some(scheduler.id.clone());
                let (suppressed, constraints) = (Vec::new(), Arc::default());
                let framework =
                    Box::new(FrameworkInfo { framework_id: id, roles: vec![role], ..framework_info() });
                self.world
                    .call(&scheduler, Call::UpdateFramework { framework, suppressed, constraints })
                    .expect("taken");
            }
            Step::Offer(n) => {
                if let Some(scheduler) = self.scheduler(n) {
                    self.world.heard(&scheduler.stream);
                    self.world.offer(&scheduler);
                }
            }
            Step::Launch { framework, offer, count, cpus_milli, executor } => {
                self.launch(framework, offer, count, cpus_milli, executor);
            }
            Step::Decline { framework, offer } => {
                let Some(scheduler) = self.scheduler(framework) else { return };
                let offers: Vec<_> =
                    self.world.cluster.offers.values().map(|offer| offer.id.clone()).collect();
                let offer_ids = pick(&offers, offer).cloned().into_iter().collect();
                self.world.call(&scheduler, Call::Decline { offer_ids, refuse_ns: 0 }).expect("taken");
            }
            _ => self.take_of_tasks(step),
        }
    }

    fn take_of_tasks(&mut self, step: &Step) {
        match *step {
            Step::Update { task, state } => {
                use TaskState::*;
                let states = [Starting, Running, Killing, Finished, Failed, Killed, Lost, Gone];
                let of = |node: &Node| {
                    node.tasks.keys().map(|key| (node.id.clone(), key.clone())).collect::<Vec<_>>()
                };
                let all: Vec<_> = self.nodes.iter().flat_map(of).collect();
                let Some((agent, key)) = pick(&all, task).cloned() else { return };
                self.update_count = self.update_count.wrapping_add(1);
                let node = self.nodes.iter_mut().find(|node| node.id == agent).expect("listed");
                let (_, known, pending) = node.tasks.get_mut(&key).expect("listed");
                if !known.is_terminal() {
                    *known = states[state];
                }
                *pending = Some(UpdateId([self.update_count; 16]));
                let state = *known;
                if let Some(session) = self.session(&agent) {
                    self.world.update(session, &key.0, key.1.as_str(), state, self.update_count);
                }
            }
            Step::Acknowledge(n) => {
                let Some((framework_id, task_id, agent_id)) = pick(&self.tasks(), n).cloned() else { return };
                let framework = self.world.cluster.frameworks.get(&framework_id).expect("it has a task");
                let pending = framework.tasks[&task_id].pending;
                let stream = framework.stream.clone();
                let update_id = pending.map_or(UpdateId([0; 16]), |(_, id)| id);
                if stream.is_some() {
                    let call = Call::Acknowledge { agent_id, task_id, update_id };
                    self.world.call_as(&framework_id, stream, call).expect("taken");
                }
            }
            Step::Kill(n) => {
                let Some((framework_id, task_id, _)) = pick(&self.tasks(), n).cloned() else { return };
                let stream = self.world.cluster.frameworks.get(&framework_id).and_then(|f| f.stream.clone());
                if stream.is_some() {
                    let call = Call::Kill { task_id, agent_id: None, grace_ns: None };
                    self.world.call_as(&framework_id, stream, call).expect("taken");
                }
            }
            Step::ExecutorExit(n) => {
                let Some((framework_id, executor_id, agent)) = pick(&self.executors(), n).cloned() else {
                    return;
                };
                let node = self.nodes.iter_mut().find(|node| node.id == agent).expect("it registered");
                node.executors.remove(&(framework_id.clone(), executor_id.clone()));
                if let Some(session) = self.session(&agent) {
                    let container_id = "c".into();
                    let exited = ToMaster::ExecutorExited {
                        framework_id,
                        executor_id,
                        container_id,
                        wait_status: Some(9),
                    };
                    self.world.say(session, exited);
                }
            }
            _ => unreachable!("taken above"),
        }
    }

    fn come_back(&mut self, n: usize, missing: usize) {
        if self.nodes.is_empty() {
            return;
        }
        let at = n % self.nodes.len();
        let node = &mut self.nodes[at];
        // What it was told last it may have heard, or not.
        let last = node.session.map(|session| self.world.told(session)).unwrap_or_default();
        last.into_iter().filter(|_| missing != 1).for_each(|message| node.hear(message));
        let mut tasks = Vec::new();
        for ((framework_id, _), (task, state, pending)) in &node.tasks {
            let pending = pending.map(|id| (*state, id));
            tasks.push(RunningTask { pending, ..running(framework_id, task.clone(), *state) });
        }
        let mut executors = Vec::new();
        for ((framework_id, _), executor) in &node.executors {
            let (framework_id, executor) = (framework_id.clone(), executor.clone());
            executors.push(RunningExecutor {
                framework_id,
                executor,
                container_id: "c".into(),
                is_command: false,
            });
        }
        let message = Reregister {
            agent_id: node.id.clone(),
            info: agent_info(node.port, "cpus:4;mem:1024;ports:[1-9]"),
            frameworks: node.frameworks.values().cloned().collect(),
            executors,
            tasks,
            oversubscribed: node.lent.clone(),
        };
        let session = self.world.session();
        self.world.say(session, ToMaster::Reregister(message));
        let node = &mut self.nodes[at];
        node.session = Some(session);
        self.world.told(session).into_iter().for_each(|message| node.hear(message));
    }

    fn launch(
        &mut self,
        framework: usize,
        offer: usize,
        count: usize,
        cpus_milli: u64,
        shared: Option<usize>,
    ) {
        let Some(scheduler) = self.scheduler(framework) else { return };
        let offers: Vec<_> = self.world.cluster.offers.values().cloned().collect();
        let chosen = pick(&offers, offer);
        let agent = chosen.map_or(AgentId::new("nowhere"), |offer| offer.agent_id.clone());
        let mut tasks = Vec::new();
        for _ in 0..count {
            self.task_count += 1;
            // Every fifth uses an id again.
            let number =
                if self.task_count.is_multiple_of(5) { self.task_count / 2 } else { self.task_count };
            let info = task(
                &format!("t{number}"),
                &agent,
                &format!("cpus:{}", model::quantity::Quantity::from_milli(cpus_milli)),
            );
            let executor = shared.map(|n| executor(&format!("e{n}"), "mem:8"));
            // Every third wants it lent.
            let resources = match number.is_multiple_of(3) {
                true => info.resources.revocable(),
                false => info.resources.clone(),
            };
            tasks.push(TaskInfo { executor, resources, ..info });
        }
        // Half of those that share an executor come as a group.
        let operation = if shared.is_some() && cpus_milli.is_multiple_of(2) {
            let members = tasks.iter().map(|task| (task.task_id.clone(), task.agent_id.clone())).collect();
            Operation::LaunchGroup(GroupRequest { members, tasks: Ok(tasks) })
        } else {
            Operation::Launch { tasks: tasks.into_iter().map(Ok).collect() }
        };
        let offer_ids = vec![chosen.map_or(OfferId::new("gone"), |offer| offer.id.clone())];
        let accept = Accept { offer_ids, operations: vec![operation], refuse_ns: 0 };
        self.world.call(&scheduler, Call::Accept(accept)).expect("taken");
    }

    fn report(&mut self, n: usize) {
        let Some((framework, task, agent)) = pick(&self.tasks(), n).cloned() else { return };
        let known = self.world.cluster.frameworks.get(&framework).expect("it has a task");
        let executor = known.tasks[&task].info.executor_id();
        if let Some(session) = self.session(&agent) {
            let is_first = self.world.cluster.agents.get(&agent).expect("it has a session").node.is_none();
            if is_first {
                self.world.report_node(session);
            }
            let row = self.world.report(session, &framework, executor.as_str(), "c");
            self.reports.push((session, framework, executor, row));
        }
    }

    /// Everyone goes home: every agent says goodbye or is given up, every framework is torn down.
    fn end(mut self) {
        let frameworks: Vec<_> = self.world.cluster.frameworks.iter().map(|(id, _)| id.clone()).collect();
        for id in frameworks {
            let scheduler =
                self.world.framework(FrameworkInfo { framework_id: Some(id), ..framework_info() });
            self.world.call(&scheduler, Call::Teardown).expect("taken");
        }
        for (id, agent) in self.world.cluster.agents.iter() {
            assert_eq!(agent.used, Resources::default(), "{id} runs nothing");
            assert_eq!(agent.offered, Resources::default(), "{id} is offered to nobody");
        }
        self.world.pass_ms(200_000);
        assert_eq!(self.world.cluster.agents.iter().count(), 0, "nobody answers pings any more");
        let held: u32 = self.world.cluster.rows.counts().values().sum();
        let completed = &self.world.cluster.completed;
        let shown = completed
            .iter()
            .flat_map(|view| &view.completed_tasks)
            .filter(|task| task.usage.is_some())
            .count();
        assert_eq!(held as usize, shown, "rows are held by completed tasks only");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_history_loses_a_resource(steps in prop::collection::vec(step(), 1..200)) {
        let mut play = Play::new();
        steps.iter().for_each(|step| play.take(step));
        play.end();
    }
}
