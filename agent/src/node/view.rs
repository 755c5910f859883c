//! The node as others may look at it: HTTP answers and usage reports read it here, and change nothing.

use crate::node::Node;
use crate::node::counters::Counters;
use crate::node::drain::Drain;
use crate::node::effect::Launch;
use crate::node::executors::{Executor, Phase};
use crate::node::frameworks::Framework;
use crate::node::input::Caller;
use crate::node::tasks::{Stage, Task};
use model::agent_info::AgentInfo;
use model::executor::ExecutorInfo;
use model::framework::FrameworkInfo;
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId};
use model::resources::Resources;
use model::task::{TaskInfo, TaskState, TaskStatus};
use model::time::Time;
use std::collections::BTreeSet;

pub struct FrameworkView<'a> {
    pub info: &'a FrameworkInfo,
    pub executors: Vec<ExecutorView<'a>>,
    pub completed_executors: Vec<ExecutorView<'a>>,
}

pub struct ExecutorView<'a> {
    pub info: &'a ExecutorInfo,
    pub container_id: &'a ContainerId,
    pub is_command: bool,
    pub pid: Option<u32>,
    pub is_registering: bool,
    pub is_ending: bool,
    pub is_ended: bool,
    /// Of the executor and its unfinished tasks.
    pub resources: Resources,
    /// Sent to the executor, over ones included whose updates are still owed.
    pub tasks: Vec<TaskView<'a>>,
    pub queued_tasks: Vec<TaskView<'a>>,
    pub completed_tasks: Vec<TaskView<'a>>,
}

pub struct TaskView<'a> {
    pub info: &'a TaskInfo,
    pub state: TaskState,
    pub statuses: &'a [TaskStatus],
}

/// Whose figures a container's are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerTasks {
    pub container_id: ContainerId,
    pub framework_id: FrameworkId,
    pub executor_id: ExecutorId,
    pub tasks: Vec<TaskId>,
}

impl Node {
    pub fn agent_id(&self) -> Option<&AgentId> {
        self.registration.agent_id()
    }

    pub fn info(&self) -> &AgentInfo {
        &self.info
    }

    pub fn is_registered(&self) -> bool {
        self.registration.is_registered()
    }

    /// What an operator wants, while it is under way.
    pub fn draining(&self) -> Option<Drain> {
        self.draining
    }

    pub fn frameworks(&self) -> impl Iterator<Item = FrameworkView<'_>> {
        self.frameworks.values().map(framework_view)
    }

    pub fn completed_frameworks(&self) -> impl Iterator<Item = FrameworkView<'_>> {
        self.completed.iter().map(framework_view)
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What may be lent out beside what there is, as last estimated.
    pub fn oversubscribed(&self) -> &Resources {
        self.oversubscribed.total()
    }

    /// What executors and tasks hold now.
    pub fn used(&self) -> Resources {
        let mut used = Resources::default();
        for executor in self.frameworks.values().flat_map(|framework| framework.executors.values()) {
            if executor.phase != Phase::Ended {
                used.add(&executor.resources());
            }
        }
        used
    }

    /// What a container may use: its executor's own, and each unfinished task's with all that it says. Empty when the
    /// container is not known any more.
    pub fn shares(&self, container_id: &ContainerId) -> Option<(&ExecutorInfo, Vec<&TaskInfo>)> {
        let executor = self.executor(container_id)?;
        let live = executor.tasks.values().filter(|task| task.stage != Stage::Over);
        Some((&executor.info, live.map(|task| &task.info).collect()))
    }

    /// Whose executor listens there.
    pub fn listener(&self, caller: Caller) -> Option<&ContainerId> {
        self.streams.get(&caller)
    }

    /// Its executor has subscribed, in this life of the agent: it is not waited for.
    pub fn has_subscribed(&self, container_id: &ContainerId) -> bool {
        self.executor(container_id).is_some_and(|executor| executor.phase > Phase::Registering)
    }

    /// What a container was made from, or is to be.
    pub fn launch(&self, container_id: &ContainerId) -> Option<Launch> {
        let (framework_id, executor_id) = self.containers.get(container_id)?;
        let framework = self.frameworks.get(framework_id)?;
        let executor = framework.executors.get(executor_id)?;
        let first = executor.tasks.values().chain(&executor.completed).next().map(|task| task.info.clone());
        Some(Launch {
            run: executor.run(framework_id),
            agent_id: self.registration.agent_id().expect("only a registered agent runs tasks").clone(),
            framework: framework.info.clone(),
            executor: executor.info.clone(),
            command_task: first.filter(|_| executor.is_command),
        })
    }

    /// Containers whose runs owe something still: nothing of them may be deleted.
    pub fn unfinished_runs(&self) -> BTreeSet<ContainerId> {
        let executors = self.frameworks.values().flat_map(|framework| framework.executors.values());
        executors.map(|executor| executor.container_id.clone()).collect()
    }

    /// Whether the framework has, or `executor_id` is, something unfinished here.
    pub fn has(&self, framework_id: &FrameworkId, executor_id: Option<&ExecutorId>) -> bool {
        self.frameworks.get(framework_id).is_some_and(|framework| {
            executor_id.is_none_or(|executor_id| framework.executors.contains_key(executor_id))
        })
    }

    /// Whether something is owed of that task.
    pub fn has_task(&self, framework_id: &FrameworkId, task_id: &TaskId) -> bool {
        self.frameworks.get(framework_id).is_some_and(|framework| framework.tasks.contains_key(task_id))
    }

    /// The containers that run, each with the tasks that ran in it at any time since `since`.
    pub fn containers_since(&self, since: Time) -> Vec<ContainerTasks> {
        let all = self.containers.iter();
        all.filter_map(|(container_id, executor)| self.tasks_in(container_id, executor, since)).collect()
    }

    /// One container of these; for its last figures, `since` the beginning names every task that is remembered.
    pub fn container_tasks(&self, container_id: &ContainerId, since: Time) -> Option<ContainerTasks> {
        self.tasks_in(container_id, self.containers.get(container_id)?, since)
    }

    fn tasks_in(
        &self,
        container_id: &ContainerId,
        (framework_id, executor_id): &(FrameworkId, ExecutorId),
        since: Time,
    ) -> Option<ContainerTasks> {
        let executor = self.frameworks.get(framework_id)?.executors.get(executor_id)?;
        let active = executor.tasks.values().filter(|task| task.stage != Stage::Queued);
        let recent = executor.completed.iter().filter(|task| task.completed_at.is_some_and(|at| at >= since));
        Some(ContainerTasks {
            container_id: container_id.clone(),
            framework_id: framework_id.clone(),
            executor_id: executor_id.clone(),
            tasks: active.chain(recent).map(|task| task.info.task_id.clone()).collect(),
        })
    }
}

fn framework_view(framework: &Framework) -> FrameworkView<'_> {
    FrameworkView {
        info: &framework.info,
        executors: framework.executors.values().map(executor_view).collect(),
        completed_executors: framework.completed.iter().map(executor_view).collect(),
    }
}

fn executor_view(executor: &Executor) -> ExecutorView<'_> {
    let staged = |queued: bool| {
        let tasks = executor.tasks.values().map(AsRef::<Task>::as_ref);
        let mut tasks: Vec<_> = tasks.filter(|task| (task.stage == Stage::Queued) == queued).collect();
        tasks.sort_by_key(|task| task.number);
        tasks.into_iter().map(task_view).collect()
    };
    ExecutorView {
        info: &executor.info,
        container_id: &executor.container_id,
        is_command: executor.is_command,
        pid: executor.pid,
        is_registering: executor.phase <= Phase::Registering,
        is_ending: executor.phase == Phase::Ending,
        is_ended: executor.phase == Phase::Ended,
        resources: executor.resources(),
        tasks: staged(false),
        queued_tasks: staged(true),
        completed_tasks: executor.completed.iter().map(AsRef::as_ref).map(task_view).collect(),
    }
}

fn task_view(task: &Task) -> TaskView<'_> {
    TaskView { info: &task.info, state: task.state, statuses: &task.statuses }
}
