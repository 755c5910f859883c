//! Tasks: run, kill, and every update that moves one.

use crate::node::Node;
use crate::node::effect::{Effect, ExecutorEvent, Group, Record};
use crate::node::executors::{Executor, Phase};
use crate::node::gates::Gate;
use crate::node::master::note;
use crate::node::updates::{Acknowledged, Key, Next, Received};
use model::framework::FrameworkInfo;
use model::id::{ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId};
use model::task::{ContainerStatus, Reason, Source, TaskInfo, TaskState, TaskStatus};
use model::time::{Now, Time};
use wire::message::ToMaster;

/// A task of an executor, from *Run* until its last update is acknowledged.
pub(super) struct Task {
    pub(super) info: TaskInfo,
    /// It is delivered with these or not at all.
    pub(super) group: Option<Group>,
    pub(super) stage: Stage,
    /// The newest state that anybody has told; its update may still be on its way.
    pub(super) state: TaskState,
    /// What was told so far, the newest of each state.
    pub(super) statuses: Vec<TaskStatus>,
    /// It may be delivered: its executor is not sent what a restarted agent would not know of.
    pub(super) is_saved: bool,
    /// Order of arrival.
    pub(super) number: u64,
    /// A kill that came while the executor was not listening: with that grace period, if any.
    pub(super) kill_owed: Option<Option<u64>>,
    pub(super) completed_at: Option<Time>,
}

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its executor has not been sent it.
    Queued,
    /// Its executor has it.
    Launched,
    /// A terminal state is known; updates are still owed.
    Over,
}

impl Task {
    pub(super) fn new(info: TaskInfo, group: Option<Group>, number: u64) -> Self {
        Self {
            info,
            group,
            stage: Stage::Queued,
            state: TaskState::Staging,
            statuses: Vec::new(),
            is_saved: false,
            number,
            kill_owed: None,
            completed_at: None,
        }
    }

    /// Moves to the state that `status` tells. A state told again (health, progress) takes the place of its last telling,
    /// so that a task that reports for a year does not grow.
    pub(super) fn enter(&mut self, status: &TaskStatus) {
        self.state = status.state;
        if status.state.is_terminal() {
            self.stage = Stage::Over;
            self.kill_owed = None;
        }
        match self.statuses.last_mut() {
            Some(last) if last.state == status.state => *last = status.clone(),
            _ => self.statuses.push(status.clone()),
        }
    }
}

/// Tasks that one message wants run: one, or with `group` as many as that names, of one executor.
pub(super) struct Order {
    pub(super) tasks: Vec<TaskInfo>,
    pub(super) group: Option<Group>,
    /// The master counts an executor as begun with it.
    pub(super) starts_executor: bool,
}

impl Node {
    /// Runs what is ordered, or tells of each task why not.
    pub(super) fn run(
        &mut self,
        now: Now,
        framework: FrameworkInfo,
        order: Order,
        effects: &mut Vec<Effect>,
    ) {
        let Some(first) = order.tasks.first() else { return };
        if order.tasks.iter().any(|task| self.registration.agent_id() != Some(&task.agent_id)) {
            return note(effects, "task for an agent that this one was before", &first.task_id);
        }
        let framework_id = self.meet_framework(now, framework, effects);
        let framework = &self.frameworks[&framework_id];
        if framework.is_ending {
            return note(effects, "task of a framework that is being shut down", &first.task_id);
        }
        if let Some(here) = order.tasks.iter().find(|task| framework.tasks.contains_key(&task.task_id)) {
            note(effects, "task that is here already", &here.task_id);
            return self.drop_rest(now, &framework_id, order.tasks, effects);
        }
        if let Some((reason, why)) = self.why_not(&framework_id, first, order.starts_executor) {
            return self.drop_order(now, &framework_id, order, reason, why, effects);
        }
        let executor_id = first.executor_id();
        let Order { tasks, group, .. } = order;
        let group = group.as_ref();
        if !framework.executors.contains_key(&executor_id) {
            let container_id = self.add_executor(&framework_id, &executor_id, &tasks[0]);
            // The tasks below are saved after it: on disk, a task without its executor has no place.
            let tasks = self.add_tasks(&framework_id, &executor_id, tasks, group);
            self.save_executor(now, &container_id, effects);
            return self.save_tasks(now, &framework_id, tasks, group, effects);
        }
        let tasks = self.add_tasks(&framework_id, &executor_id, tasks, group);
        self.save_tasks(now, &framework_id, tasks, group, effects);
    }

    /// Why tasks of that kind cannot run now.
    fn why_not(
        &self,
        framework_id: &FrameworkId,
        task: &TaskInfo,
        starts_executor: bool,
    ) -> Option<(Reason, &'static str)> {
        if self.draining.is_some() {
            return Some((Reason::AGENT_DRAINING, "Task was received while agent was already draining"));
        }
        let executors = &self.frameworks[framework_id].executors;
        match executors.get(&task.executor_id()).map(|executor| executor.phase) {
            Some(_) if task.executor.is_none() => {
                Some((Reason::TASK_INVALID, "Cannot reuse an already existing executor for a command task"))
            }
            Some(Phase::Ending) => Some((Reason::EXECUTOR_TERMINATED, "Executor terminating")),
            Some(Phase::Ended) => Some((Reason::EXECUTOR_TERMINATED, "Executor terminated")),
            // It was meant for one that has ended since, and is forgotten here: the master does not count another.
            None if !starts_executor => Some((Reason::EXECUTOR_TERMINATED, "Executor terminated")),
            Some(_) | None => None,
        }
    }

    /// None of it will run. The master that counts an executor as begun with it would hold that one's resources for ever
    /// if nobody told it otherwise; of one that was there before it hears, or has heard, when that ends.
    fn drop_order(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        order: Order,
        reason: Reason,
        why: &'static str,
        effects: &mut Vec<Effect>,
    ) {
        let Order { tasks, starts_executor, .. } = order;
        let executor_id = tasks[0].executor.as_ref().map(|executor| executor.executor_id.clone());
        for task in tasks {
            self.drop_task(now, framework_id, task.task_id, reason, why, effects);
        }
        let Some(executor_id) = executor_id.filter(|_| starts_executor) else { return };
        let executor = self.frameworks.get(framework_id).and_then(|it| it.executors.get(&executor_id));
        if executor.is_none_or(|executor| executor.phase == Phase::Ended) {
            self.tell_no_executor(framework_id, executor_id, effects);
        }
    }

    /// Part of a group is here: the rest, if it is not, cannot be delivered with it.
    fn drop_rest(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        tasks: Vec<TaskInfo>,
        effects: &mut Vec<Effect>,
    ) {
        for task in tasks {
            if !self.frameworks[framework_id].tasks.contains_key(&task.task_id) {
                let (reason, why) = (Reason::TASK_GROUP_INVALID, "A task of its group is here already");
                self.drop_task(now, framework_id, task.task_id, reason, why, effects);
            }
        }
    }

    fn tell_no_executor(
        &mut self,
        framework_id: &FrameworkId,
        executor_id: ExecutorId,
        effects: &mut Vec<Effect>,
    ) {
        let known = self.frameworks.get(framework_id).and_then(|it| it.executors.get(&executor_id));
        let known = known.map(|executor| executor.container_id.clone());
        // Where there never was a container: the one that it would have had.
        let container_id = known.unwrap_or_else(|| self.new_container_id());
        effects.push(Effect::Send(Box::new(ToMaster::ExecutorExited {
            framework_id: framework_id.clone(),
            executor_id,
            container_id,
            wait_status: None,
        })));
    }

    fn add_tasks(
        &mut self,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        tasks: Vec<TaskInfo>,
        group: Option<&Group>,
    ) -> Vec<TaskInfo> {
        let framework = self.frameworks.get_mut(framework_id).expect("run() met it");
        let executor = framework.executors.get_mut(executor_id).expect("run() found or added it");
        for task in &tasks {
            executor.add_task(task.clone(), group.cloned());
            framework.tasks.insert(task.task_id.clone(), executor_id.clone());
        }
        tasks
    }

    fn save_tasks(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        tasks: Vec<TaskInfo>,
        group: Option<&Group>,
        effects: &mut Vec<Effect>,
    ) {
        for task in tasks {
            let task_id = task.task_id.clone();
            let framework = self.frameworks.get_mut(framework_id).expect("run() met it");
            let Some(executor) = framework.executor_of(&task_id) else { return };
            let run = executor.run(framework_id);
            let needed = framework.info.checkpoint;
            let gate = Gate::TaskSaved { framework_id: framework_id.clone(), task_id };
            self.persist(now, needed, Record::Task { run, task, group: group.cloned() }, gate, effects);
        }
    }

    pub(super) fn task_saved(
        &mut self,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        effects: &mut Vec<Effect>,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let Some(executor) = framework.executor_of(task_id) else { return };
        if let Some(task) = executor.tasks.get_mut(task_id) {
            task.is_saved = true;
        }
        executor.deliver(effects);
    }

    /// Tells that a task was never run.
    fn drop_task(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        task_id: TaskId,
        reason: Reason,
        why: &str,
        effects: &mut Vec<Effect>,
    ) {
        let state = self.never_ran(framework_id);
        let status = TaskStatus::made_by(Source::Agent, task_id, state, Some(reason), why);
        self.own_update(now, framework_id, None, status, effects);
    }

    pub(super) fn kill(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        grace_ns: Option<u64>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_id) else {
            return note(effects, "kill of a task of an unknown framework", task_id);
        };
        if framework.is_ending {
            return;
        }
        let Some(executor) = framework.executor_of(task_id) else {
            // Nobody else would ever tell the framework that there is nothing to kill.
            if !self.updates.has_stream(&(framework_id.clone(), task_id.clone())) {
                let why = "Cannot find executor";
                let reason = Reason::EXECUTOR_TERMINATED;
                self.drop_task(now, framework_id, task_id.clone(), reason, why, effects);
            }
            return;
        };
        let stream = executor.stream;
        let is_ending = matches!(executor.phase, Phase::Ending | Phase::Ended);
        // Whether it was delivered is known when its executor is back.
        let is_uncertain = executor.is_recovered && executor.phase == Phase::Registering;
        let container_id = executor.container_id.clone();
        let task = executor.tasks.get_mut(task_id).expect("the index names tasks that are there");
        match (task.stage, stream) {
            (Stage::Over, _) => {}
            _ if is_ending => note(effects, "kill of a task whose executor is ending", task_id),
            (Stage::Queued, _) if is_uncertain => task.kill_owed = Some(grace_ns),
            (Stage::Queued, _) => self.kill_queued(now, framework_id, &container_id, task_id, effects),
            (Stage::Launched, Some(caller)) => {
                let event = ExecutorEvent::Kill { task_id: task_id.clone(), grace_ns };
                effects.push(Effect::Tell { caller, event });
            }
            (Stage::Launched, None) => task.kill_owed = Some(grace_ns),
        }
    }

    /// With its group, if it has one.
    pub(super) fn kill_queued(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        container_id: &ContainerId,
        task_id: &TaskId,
        effects: &mut Vec<Effect>,
    ) {
        let group =
            self.executor(container_id).and_then(|executor| executor.tasks.get(task_id)?.group.clone());
        let (killed, why) = match group {
            Some(group) => (group, "A task within the task group was killed before delivery to the executor"),
            None => ([task_id.clone()].into(), "Killed before delivery to the executor"),
        };
        for task_id in killed.iter() {
            let task = self.executor(container_id).and_then(|executor| executor.tasks.get(task_id));
            if task.is_none_or(|task| task.stage != Stage::Queued) {
                continue;
            }
            let (state, reason) = (TaskState::Killed, Some(Reason::TASK_KILLED_DURING_LAUNCH));
            let status = TaskStatus::made_by(Source::Agent, task_id.clone(), state, reason, why);
            self.own_update(now, framework_id, Some(container_id), status, effects);
        }
        let is_idle = |executor: &Executor| executor.phase == Phase::Running && executor.is_idle();
        if self.executor(container_id).is_some_and(is_idle) {
            self.ask_to_end(now, container_id, effects);
        }
    }

    /// An update that the agent makes itself, of a task of `container_id`'s executor or of none that is here.
    pub(super) fn own_update(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        container_id: Option<&ContainerId>,
        mut status: TaskStatus,
        effects: &mut Vec<Effect>,
    ) {
        status.update_id = Some(self.new_update_id());
        status.executor_id = container_id.and_then(|id| self.containers.get(id)).map(|(_, id)| id.clone());
        self.update(now, framework_id, status, None, effects);
    }

    /// An update from an executor that was let through by `executor_call`.
    pub(super) fn executor_update(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        from: &ContainerId,
        mut status: TaskStatus,
        effects: &mut Vec<Effect>,
    ) {
        let Some(update_id) = status.update_id else {
            self.counters.invalid_status_updates += 1;
            return note(effects, "update without an id", &status.task_id);
        };
        status.source = Some(Source::Executor);
        if let Some(executor) = self.executor_mut(from) {
            executor.has_worked = true;
        }
        let framework = self.frameworks.get_mut(framework_id).expect("executor_call found it");
        if framework.is_ending {
            // Nobody will ever acknowledge it; but its executor need not wait until it is ended by force.
            return self.tell_acknowledged(from, status.task_id, update_id, effects);
        }
        if status.state == TaskState::Staging {
            note(effects, "executor told TASK_STAGING, which is not its to tell", from);
            return self.ask_to_end(now, from, effects);
        }
        if let Some(executor) = framework.executor_of(&status.task_id) {
            status.container = Some(ContainerStatus {
                container_id: executor.container_id.clone(),
                ip: self.info.address.ip(),
                executor_pid: executor.pid,
            });
        } else if self
            .executor(from)
            .is_some_and(|executor| executor.has_completed(&status.task_id, update_id))
        {
            return self.tell_acknowledged(from, status.task_id, update_id, effects);
        }
        self.update(now, framework_id, status, Some(from.clone()), effects);
    }

    fn update(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        mut status: TaskStatus,
        from: Option<ContainerId>,
        effects: &mut Vec<Effect>,
    ) {
        let update_id = status.update_id.expect("callers see to it");
        self.tell_of_draining(framework_id, &mut status);
        status.agent_id = self.registration.agent_id().cloned();
        if status.timestamp.0 == 0 {
            status.timestamp = now.unix;
        }
        let key = (framework_id.clone(), status.task_id.clone());
        let is_over = self.frameworks.get(&key.0).and_then(|known| known.task(&key.1)).is_some_and(|task| {
            task.stage == Stage::Over && !task.statuses.iter().any(|told| told.update_id == Some(update_id))
        });
        if is_over {
            self.counters.invalid_status_updates += 1;
            note(effects, "update of a task that is over", &key.1);
            if let Some(from) = from {
                self.tell_acknowledged(&from, key.1, update_id, effects);
            }
            return;
        }
        match self.updates.receive(&key, update_id, status.clone()) {
            Received::New => self.counters.valid_status_updates += 1,
            Received::BeingSaved => return,
            Received::Duplicate => {
                if let Some(from) = from {
                    self.tell_acknowledged(&from, key.1, update_id, effects);
                }
                return;
            }
        }
        let gate = Gate::UpdateSaved { key: key.clone(), update_id, from };
        // A task that is not here has no place to be checkpointed in; losing its update to a restart costs a
        // reconciliation.
        let run = self.moved(&key, &status, effects);
        let needed = run.is_some() && self.frameworks.get(&key.0).is_some_and(|known| known.info.checkpoint);
        match run {
            Some(run) => self.persist(now, needed, Record::Update { run, status }, gate, effects),
            None => self.pass(now, gate, effects),
        }
    }

    /// The task, if it is here, moves to the state; its container shrinks when the task is over.
    fn moved(
        &mut self,
        key: &Key,
        status: &TaskStatus,
        effects: &mut Vec<Effect>,
    ) -> Option<crate::node::effect::Run> {
        let executor = self.frameworks.get_mut(&key.0)?.executor_of(&key.1)?;
        let task = executor.tasks.get_mut(&key.1)?;
        task.enter(status);
        if status.state.is_terminal() {
            self.counters.count_end(status.state);
        }
        if status.state.is_terminal() && executor.phase == Phase::Running {
            effects.push(Effect::Resize { container_id: executor.container_id.clone() });
        }
        Some(executor.run(&key.0))
    }

    pub(super) fn acknowledge(
        &mut self,
        now: Now,
        framework_id: FrameworkId,
        task_id: TaskId,
        update_id: UpdateId,
        effects: &mut Vec<Effect>,
    ) {
        let key = (framework_id, task_id);
        if self.updates.acknowledge(&key, update_id) == Acknowledged::Unexpected {
            return note(effects, "acknowledgement of an update that is not waiting for one", &key.1);
        }
        let framework = self.frameworks.get_mut(&key.0);
        let needed = framework.as_ref().is_some_and(|framework| framework.info.checkpoint);
        let executor = framework.and_then(|framework| framework.executor_of(&key.1));
        let run = executor.map(|executor| executor.run(&key.0));
        let gate = Gate::AcknowledgementSaved { key: key.clone(), update_id };
        match run {
            Some(run) => {
                self.persist(
                    now,
                    needed,
                    Record::Acknowledged { run, task_id: key.1, update_id },
                    gate,
                    effects,
                );
            }
            None => self.pass(now, gate, effects),
        }
    }

    pub(super) fn acknowledgement_saved(
        &mut self,
        now: Now,
        key: Key,
        update_id: UpdateId,
        effects: &mut Vec<Effect>,
    ) {
        match self.updates.acknowledged(now.time, &key, update_id) {
            Next::Wait => {}
            Next::Send(status) => self.forward(key, *status, effects),
            Next::Over => {
                self.complete_task(now, &key, effects);
                self.forget_if_idle(&key.0);
            }
        }
    }

    /// The task owes nothing any more.
    fn complete_task(&mut self, now: Now, (framework_id, task_id): &Key, effects: &mut Vec<Effect>) {
        let completed_max = self.settings.completed_tasks_max;
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let Some(executor_id) = framework.tasks.remove(task_id) else { return };
        let executor =
            framework.executors.get_mut(&executor_id).expect("the index names executors that are there");
        executor.complete(task_id, now.time, completed_max);
        // A command's run goes with its only task.
        if framework.info.checkpoint && !executor.is_command {
            let (run, task_id) = (executor.run(framework_id), task_id.clone());
            effects.push(Effect::RetireTask { run, task_id });
        }
        if executor.phase == Phase::Ended && executor.tasks.is_empty() {
            self.remove_executor(now, framework_id, &executor_id, effects);
        }
    }
}
