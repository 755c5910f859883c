//! Executors: made, subscribed, told, asked to end, ended by force, gone. One run of one executor is one container.

use crate::duration;
use crate::node::Node;
use crate::node::effect::{Effect, ExecutorEvent, Group, Record, Run};
use crate::node::gates::Gate;
use crate::node::input::{Caller, ContainerEnd, Termination};
use crate::node::limitation;
use crate::node::master::note;
use crate::node::tasks::{Stage, Task};
use model::executor::ExecutorInfo;
use model::id::{ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId};
use model::quantity::Quantity;
use model::resources::{CPUS, MEM, Resource, Resources};
use model::task::{Reason, Source, TaskInfo, TaskState, TaskStatus};
use model::time::{Now, Time};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use wire::message::RunningExecutor;

/// What our executor for commands gets beside its task's share, so that a task of all of an agent's CPUs cannot starve the
/// process that watches it. As in Mesos, the master's accounts do not show it (`DEFAULT_EXECUTOR_CPUS`, `..._MEM`).
const COMMAND_EXECUTOR_CPUS_MILLI: u64 = 100;
const COMMAND_EXECUTOR_MEM_MIB: u64 = 32;

/// What our executor for commands needs beyond its task's own grace period to tell that the task has ended, nanoseconds
/// (`containerizer::plan` tells it the same).
const COMMAND_EXECUTOR_TELL_NS: u64 = 2_000_000_000;

/// One run of an executor.
pub(super) struct Executor {
    pub(super) info: ExecutorInfo,
    pub(super) container_id: ContainerId,
    pub(super) is_command: bool,
    pub(super) phase: Phase,
    pub(super) pid: Option<u32>,
    /// Where it listens.
    pub(super) stream: Option<Caller>,
    /// What its tasks are told when its end was brought about by us.
    pub(super) termination: Option<Termination>,
    /// It has had a task, by its own word.
    pub(super) has_worked: bool,
    /// It lived on through a restart of the agent.
    pub(super) is_recovered: bool,
    /// Not completed. Boxed, because a map has room for eleven and most executors have one.
    pub(super) tasks: BTreeMap<TaskId, Box<Task>>,
    /// Completed, oldest first.
    pub(super) completed: VecDeque<Box<Task>>,
    task_count: u64,
}

/// The life of an executor. It never goes back up this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Its checkpoint is being written; there is no container yet.
    Saving,
    /// Launched, or living on through a restart of the agent; it has not (again) subscribed.
    Registering,
    /// It has subscribed, though it may not be listening just now.
    Running,
    /// It was asked to end, or is being ended.
    Ending,
    /// Nothing of it is left; updates of its tasks are still owed.
    Ended,
}

impl Executor {
    pub(super) fn new(info: ExecutorInfo, container_id: ContainerId, is_command: bool) -> Self {
        Self {
            info,
            container_id,
            is_command,
            phase: Phase::Saving,
            pid: None,
            stream: None,
            termination: None,
            has_worked: false,
            is_recovered: false,
            tasks: BTreeMap::new(),
            completed: VecDeque::new(),
            task_count: 0,
        }
    }

    pub(super) fn run(&self, framework_id: &FrameworkId) -> Run {
        Run {
            framework_id: framework_id.clone(),
            executor_id: self.info.executor_id.clone(),
            container_id: self.container_id.clone(),
        }
    }

    /// As a master is told of it.
    pub(super) fn running(&self, framework_id: &FrameworkId) -> RunningExecutor {
        RunningExecutor {
            framework_id: framework_id.clone(),
            executor: self.info.clone(),
            container_id: self.container_id.clone(),
            is_command: self.is_command,
        }
    }

    pub(super) fn add_task(&mut self, task: TaskInfo, group: Option<Group>) {
        self.task_count += 1;
        self.tasks.insert(task.task_id.clone(), Box::new(Task::new(task, group, self.task_count)));
    }

    /// It never had a task and has none to come: executors such as ours would wait for their first for ever.
    pub(super) fn is_idle(&self) -> bool {
        !self.has_worked && self.tasks.values().all(|task| task.stage == Stage::Over)
    }

    /// Its own and those of its tasks that are not over.
    pub(super) fn resources(&self) -> Resources {
        let mut sum = self.info.resources.clone();
        for task in self.tasks.values().filter(|task| task.stage != Stage::Over) {
            sum.add(&task.info.resources);
        }
        sum
    }

    /// In the order in which they came.
    pub(super) fn by_arrival(&self, stage: Stage) -> Vec<TaskId> {
        let mut tasks: Vec<_> = self.tasks.values().filter(|task| task.stage == stage).collect();
        tasks.sort_by_key(|task| task.number);
        tasks.into_iter().map(|task| task.info.task_id.clone()).collect()
    }

    /// Hands over the tasks that wait for it, if it listens.
    pub(super) fn deliver(&mut self, effects: &mut Vec<Effect>) {
        let Some(caller) = self.stream.filter(|_| self.phase == Phase::Running) else { return };
        let queued = self.by_arrival(Stage::Queued);
        if queued.is_empty() {
            return;
        }
        effects.push(Effect::Resize { container_id: self.container_id.clone() });
        for task_id in queued {
            let event = match self.tasks[&task_id].group.clone() {
                // It went with another of its group.
                _ if self.tasks[&task_id].stage != Stage::Queued => continue,
                Some(group) => self.hand_over(&group).map(ExecutorEvent::LaunchGroup),
                None => self
                    .hand_over(std::slice::from_ref(&task_id))
                    .and_then(|mut tasks| tasks.pop().map(|task| ExecutorEvent::Launch(Box::new(task)))),
            };
            // Those behind it may be safe already; they wait, so that tasks arrive in order.
            let Some(event) = event else { return };
            effects.push(Effect::Tell { caller, event });
        }
    }

    /// Takes queued tasks as launched, all or, while one of them is not saved, none.
    fn hand_over(&mut self, task_ids: &[TaskId]) -> Option<Vec<TaskInfo>> {
        let is_saved = |id| self.tasks.get(id).is_some_and(|task| task.is_saved);
        if !task_ids.iter().all(is_saved) {
            return None;
        }
        let take = |id| {
            let task = self.tasks.get_mut(id).expect("it was just seen");
            task.stage = Stage::Launched;
            task.info.clone()
        };
        Some(task_ids.iter().map(take).collect())
    }

    pub(super) fn complete(&mut self, task_id: &TaskId, now: Time, completed_max: usize) {
        let Some(mut task) = self.tasks.remove(task_id) else { return };
        task.completed_at = Some(now);
        if self.completed.len() == completed_max {
            self.completed.pop_front();
        }
        self.completed.push_back(task);
    }

    pub(super) fn has_completed(&self, task_id: &TaskId, update_id: UpdateId) -> bool {
        let told = |task: &Task| task.statuses.iter().any(|status| status.update_id == Some(update_id));
        self.completed.iter().any(|task| task.info.task_id == *task_id && told(task))
    }
}

impl Node {
    pub(super) fn executor(&self, container_id: &ContainerId) -> Option<&Executor> {
        let (framework_id, executor_id) = self.containers.get(container_id)?;
        self.frameworks.get(framework_id)?.executors.get(executor_id)
    }

    pub(super) fn executor_mut(&mut self, container_id: &ContainerId) -> Option<&mut Executor> {
        let (framework_id, executor_id) = self.containers.get(container_id)?;
        self.frameworks.get_mut(framework_id)?.executors.get_mut(executor_id)
    }

    /// Makes an executor known for `task`; it has no container yet.
    pub(super) fn add_executor(
        &mut self,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        task: &TaskInfo,
    ) -> ContainerId {
        let container_id = self.new_container_id();
        let framework = self.frameworks.get_mut(framework_id).expect("run() met it");
        let info = task.executor.clone().unwrap_or_else(|| command_executor(framework_id, task));
        let executor = Executor::new(info, container_id.clone(), task.executor.is_none());
        framework.executors.insert(executor_id.clone(), executor);
        self.containers.insert(container_id.clone(), (framework_id.clone(), executor_id.clone()));
        container_id
    }

    pub(super) fn save_executor(&mut self, now: Now, container_id: &ContainerId, effects: &mut Vec<Effect>) {
        let (framework_id, executor_id) = self.containers[container_id].clone();
        let framework = &self.frameworks[&framework_id];
        let executor = &framework.executors[&executor_id];
        let record = Record::Executor {
            run: executor.run(&framework_id),
            executor: executor.info.clone(),
            is_command: executor.is_command,
        };
        let needed = framework.info.checkpoint;
        self.persist(
            now,
            needed,
            record,
            Gate::ExecutorSaved { container_id: container_id.clone() },
            effects,
        );
    }

    /// The executor may have a container now.
    pub(super) fn executor_saved(&mut self, now: Now, container_id: &ContainerId, effects: &mut Vec<Effect>) {
        let Some(executor) = self.executor(container_id) else { return };
        if executor.phase != Phase::Saving {
            // It was asked to end before it began.
            return self.executor_gone(now, container_id, ContainerEnd::default(), effects);
        }
        let launch = self.launch(container_id).expect("it was just seen");
        let executor = self.executor_mut(container_id).expect("it was just seen");
        executor.phase = Phase::Registering;
        effects.push(Effect::Launch(Box::new(launch)));
        let timeout_ms = self.settings.executor_registration_timeout_ms;
        self.timers.set(container_id.clone(), now.time.plus_ms(timeout_ms));
    }

    pub(super) fn launched(
        &mut self,
        now: Now,
        container_id: &ContainerId,
        pid: u32,
        effects: &mut Vec<Effect>,
    ) {
        let Some((framework_id, _)) = self.containers.get(container_id) else { return };
        let (framework_id, checkpoint) =
            (framework_id.clone(), self.frameworks[framework_id].info.checkpoint);
        let Some(executor) = self.executor_mut(container_id) else { return };
        executor.pid = Some(pid);
        let run = executor.run(&framework_id);
        self.persist(now, checkpoint, Record::Forked { run, pid }, Gate::Nothing, effects);
    }

    pub(super) fn launch_failed(
        &mut self,
        now: Now,
        container_id: &ContainerId,
        why: &str,
        effects: &mut Vec<Effect>,
    ) {
        self.counters.container_launch_errors += 1;
        if let Some(executor) = self.executor_mut(container_id) {
            executor.termination.get_or_insert(Termination {
                state: TaskState::Failed,
                reason: Reason::CONTAINER_LAUNCH_FAILED,
                message: Arc::from(format!("Failed to launch container: {why}")),
                limited: Resources::default(),
            });
        }
        self.executor_gone(now, container_id, ContainerEnd::default(), effects);
    }

    pub(super) fn container_ended(
        &mut self,
        now: Now,
        container_id: &ContainerId,
        end: ContainerEnd,
        effects: &mut Vec<Effect>,
    ) {
        self.executor_gone(now, container_id, end, effects);
    }

    /// Nothing of the executor is left: what it leaves unfinished is told.
    fn executor_gone(
        &mut self,
        now: Now,
        container_id: &ContainerId,
        end: ContainerEnd,
        effects: &mut Vec<Effect>,
    ) {
        self.timers.clear(container_id);
        let Some((framework_id, executor_id)) = self.containers.get(container_id).cloned() else {
            return note(effects, "end of an unknown container", container_id);
        };
        let framework = self.frameworks.get_mut(&framework_id).expect("a container's framework is known");
        let framework_is_ending = framework.is_ending;
        let executor = framework.executors.get_mut(&executor_id).expect("a container's executor is known");
        executor.phase = Phase::Ended;
        self.counters.executors_terminated += 1;
        if let Some(caller) = executor.stream.take() {
            self.streams.remove(&caller);
            effects.push(Effect::Close { caller });
        }
        let termination = termination(&end, executor.termination.take());
        let unfinished = [executor.by_arrival(Stage::Launched), executor.by_arrival(Stage::Queued)].concat();
        if !framework_is_ending {
            for task_id in unfinished {
                let Termination { state, reason, message, limited } = &termination;
                let mut status = TaskStatus::made_by(Source::Agent, task_id, *state, Some(*reason), message);
                status.body = api::convert::status::limited(limited);
                self.own_update(now, &framework_id, Some(container_id), status, effects);
            }
        }
        self.tell_end(&framework_id, &executor_id, end.wait_status, effects);
        // While tasks are owed for, the executor is kept; in an ending framework nothing is.
        let owes = self.executor(container_id).is_some_and(|executor| !executor.tasks.is_empty());
        if !owes || framework_is_ending {
            self.remove_executor(now, &framework_id, &executor_id, effects);
            self.forget_if_idle(&framework_id);
        }
        self.containers.remove(container_id);
    }

    /// Moves an ended executor among those that are only remembered.
    pub(super) fn remove_executor(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        effects: &mut Vec<Effect>,
    ) {
        let (tasks_max, executors_max) =
            (self.settings.completed_tasks_max, self.settings.completed_executors_max);
        let framework = self.frameworks.get_mut(framework_id).expect("callers have just seen it");
        let mut executor = framework.executors.remove(executor_id).expect("callers have just seen it");
        for task_id in executor.tasks.keys().cloned().collect::<Vec<_>>() {
            framework.tasks.remove(&task_id);
            executor.complete(&task_id, now.time, tasks_max);
        }
        let run = executor.run(framework_id);
        if framework.completed.len() == executors_max {
            framework.completed.pop_front();
        }
        framework.completed.push_back(executor);
        let needed = framework.info.checkpoint;
        let record = Record::ExecutorDone { run: run.clone() };
        self.persist(now, needed, record, Gate::RunDone { run }, effects);
    }

    pub(super) fn shutdown_executor(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        effects: &mut Vec<Effect>,
    ) {
        let framework = self.frameworks.get(framework_id).filter(|framework| !framework.is_ending);
        match framework.and_then(|framework| framework.executors.get(executor_id)) {
            Some(executor) if executor.phase < Phase::Ending => {
                let container_id = executor.container_id.clone();
                self.ask_to_end(now, &container_id, effects);
            }
            _ => note(effects, "shutdown of an executor that is not running", executor_id),
        }
    }

    /// SHUTDOWN, and the end by force if it does not go. One that is not listening cannot be asked.
    pub(super) fn ask_to_end(&mut self, now: Now, container_id: &ContainerId, effects: &mut Vec<Effect>) {
        let default_ns = self.settings.executor_shutdown_grace_ms.saturating_mul(1_000_000);
        let Some(executor) = self.executor_mut(container_id) else { return };
        match (executor.phase, executor.stream) {
            (Phase::Ending | Phase::Ended, _) => {}
            // `executor_saved` finds it like this and does not launch.
            (Phase::Saving, _) => executor.phase = Phase::Ending,
            (_, Some(caller)) => {
                executor.phase = Phase::Ending;
                effects.push(Effect::Tell { caller, event: ExecutorEvent::Shutdown });
                let grace_ns = executor.info.shutdown_grace_ns.unwrap_or(default_ns);
                self.timers.set(container_id.clone(), now.time.plus_ns(grace_ns));
            }
            (_, None) => {
                executor.phase = Phase::Ending;
                self.timers.clear(container_id);
                effects.push(Effect::Destroy { container_id: container_id.clone() });
            }
        }
    }

    /// Its time to subscribe, or to go, is over.
    pub(super) fn executor_overdue(
        &mut self,
        _now: Now,
        container_id: &ContainerId,
        effects: &mut Vec<Effect>,
    ) {
        let Some((framework_id, _)) = self.containers.get(container_id).cloned() else { return };
        let gone = self.understood(&framework_id, TaskState::Gone);
        let (first_ms, again_ms) = (
            self.settings.executor_registration_timeout_ms,
            self.settings.executor_reregistration_timeout_ms,
        );
        let Some(executor) = self.executor_mut(container_id) else { return };
        if executor.phase == Phase::Registering {
            executor.phase = Phase::Ending;
            executor.termination = Some(if executor.is_recovered {
                Termination {
                    state: gone,
                    reason: Reason::EXECUTOR_REREGISTRATION_TIMEOUT,
                    message: format!("Executor did not reregister within {}", duration::show_ms(again_ms))
                        .into(),
                    limited: Resources::default(),
                }
            } else {
                Termination {
                    state: TaskState::Failed,
                    reason: Reason::EXECUTOR_REGISTRATION_TIMEOUT,
                    message: format!("Executor did not register within {}", duration::show_ms(first_ms))
                        .into(),
                    limited: Resources::default(),
                }
            });
        }
        note(effects, "executor out of time", container_id);
        effects.push(Effect::Destroy { container_id: container_id.clone() });
    }
}

/// Why a container ended: an overstepped limit before what we had in mind for it ourselves.
fn termination(end: &ContainerEnd, ours: Option<Termination>) -> Termination {
    let killed = end.out_of_memory.as_ref().map(limitation::out_of_memory);
    let overstepped = killed.as_ref().is_some_and(|told| told.reason == Reason::CONTAINER_LIMITATION_MEMORY);
    let (first, then) = if overstepped { (killed, ours) } else { (ours, killed) };
    first.or(then).unwrap_or(Termination {
        state: TaskState::Failed,
        reason: Reason::EXECUTOR_TERMINATED,
        message: Arc::from("Executor terminated"),
        limited: Resources::default(),
    })
}

fn command_executor(framework_id: &FrameworkId, task: &TaskInfo) -> ExecutorInfo {
    let own = [
        Resource::scalar(CPUS, Quantity::from_milli(COMMAND_EXECUTOR_CPUS_MILLI)),
        Resource::scalar(MEM, Quantity::from_units(COMMAND_EXECUTOR_MEM_MIB)),
    ];
    ExecutorInfo {
        executor_id: task.executor_id(),
        framework_id: Some(framework_id.clone()),
        name: None,
        resources: own.into_iter().collect(),
        shutdown_grace_ns: task.kill_grace_ns.map(|ns| ns.saturating_add(COMMAND_EXECUTOR_TELL_NS)),
        body: model::body::Body::default(),
    }
}
