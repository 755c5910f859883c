//! Tasks as frameworks ask for them, and as operators see them.

use model::id::{AgentId, FrameworkId, TaskId};
use model::task::{TaskInfo, TaskState, TaskStatus};

use super::resources::{self, Format};
use super::{Error, body, check, executor, open, status, text};
use crate::v1;

/// What is wrong with a task whoever asks for it. The texts are Mesos' (`src/master/validation.cpp`).
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadTask {
    #[error("Task should have at least one (but not both) of CommandInfo or ExecutorInfo present")]
    CommandOrExecutor,
    #[error("'ExecutorInfo.type' must be 'CUSTOM'")]
    ExecutorType,
    #[error("'ExecutorInfo.command' must not be set for 'DEFAULT' executor")]
    DefaultExecutorCommand,
    #[error("'ExecutorInfo.command' must be set")]
    ExecutorCommand,
    #[error("Task's 'kill_policy.grace_period' must be non-negative")]
    KillGrace,
    #[error("Task's `max_completion_time` must be non-negative")]
    CompletionTime,
    #[error("Task uses invalid check: {0}")]
    Check(check::BadCheck),
    #[error("Task uses invalid health check: {0}")]
    HealthCheck(check::BadCheck),
    #[error("Task uses no resources")]
    NoResources,
    #[error("Resource '{shown}' is invalid: {why}")]
    Resource { shown: String, why: resources::BadResource },
    #[error(
        "Task mixes revocable and non-revocable resources: Cannot use both revocable and non-revocable '{0}' at the same time"
    )]
    RevocableMixed(std::sync::Arc<str>),
    #[error(
        "Task uses invalid resources: Invalid 'gpus' resource: The 'gpus' resource must be an unsigned integer"
    )]
    Gpus,
}

impl From<BadTask> for Error {
    fn from(bad: BadTask) -> Self {
        Self::Task(bad)
    }
}

/// Reads a task and checks all that can be checked without knowing the cluster.
pub fn from_v1(info: &v1::TaskInfo) -> Result<TaskInfo, Error> {
    let mut task = own(info)?;
    task.executor = match (&info.executor, &info.command) {
        (Some(executor), None) => Some(custom_executor(executor)?),
        (None, Some(_)) => None,
        _ => return Err(BadTask::CommandOrExecutor.into()),
    };
    Ok(task)
}

/// Of a group, whose executor it gets. Unlike others it has a command beside it.
pub(super) fn member(
    info: &v1::TaskInfo,
    executor: model::executor::ExecutorInfo,
) -> Result<TaskInfo, Error> {
    Ok(TaskInfo { executor: Some(executor), ..own(info)? })
}

/// The task without its executor.
pub(super) fn own(info: &v1::TaskInfo) -> Result<TaskInfo, Error> {
    let task_id = TaskId::try_from(&info.task_id)?;
    let kill_grace = info.kill_policy.as_ref().and_then(|policy| policy.grace_period.as_ref());
    let kill_grace_ns = kill_grace
        .map(|grace| u64::try_from(grace.nanoseconds).map_err(|_| BadTask::KillGrace))
        .transpose()?;
    if info.max_completion_time.is_some_and(|span| span.nanoseconds < 0) {
        return Err(BadTask::CompletionTime.into());
    }
    info.check.as_ref().map_or(Ok(()), check::check).map_err(BadTask::Check)?;
    info.health_check.as_ref().map_or(Ok(()), check::health_check).map_err(BadTask::HealthCheck)?;
    let resources = task_resources(info)?;
    Ok(TaskInfo {
        task_id,
        name: text(&info.name),
        agent_id: AgentId::try_from(&info.agent_id)?,
        resources,
        executor: None,
        kill_grace_ns,
        body: body(info),
    })
}

fn task_resources(info: &v1::TaskInfo) -> Result<model::resources::Resources, Error> {
    if info.resources.is_empty() {
        return Err(BadTask::NoResources.into());
    }
    let resources: model::resources::Resources = info.resources.iter().map(part).collect::<Result<_, _>>()?;
    if !resources.scalar(model::resources::GPUS).milli().is_multiple_of(1000) {
        return Err(BadTask::Gpus.into());
    }
    let firm = |name: &str| resources.iter().any(|part| *part.name == *name && !part.is_revocable);
    if let Some(mixed) = resources.iter().find(|part| part.is_revocable && firm(&part.name)) {
        return Err(BadTask::RevocableMixed(mixed.name.clone()).into());
    }
    Ok(resources)
}

fn part(resource: &v1::Resource) -> Result<model::resources::Resource, BadTask> {
    let bad = |why| BadTask::Resource { shown: resources::show(resource), why };
    resources::part_from_v1(resource).map_err(bad)
}

/// Whether the resources of a task and of its executor are resources at all. Mesos looks at this first, and for all tasks
/// of a LAUNCH together: one that has none such fails the others with it.
pub fn check_resources(info: &v1::TaskInfo) -> Result<(), BadTask> {
    let executor = info.executor.iter().flat_map(|executor| &executor.resources);
    info.resources.iter().chain(executor).try_for_each(|resource| part(resource).map(drop))
}

fn custom_executor(info: &v1::ExecutorInfo) -> Result<model::executor::ExecutorInfo, Error> {
    use v1::executor_info::Type;
    // A number without a name counts as unset.
    let kind = info.r#type.and_then(|kind| Type::try_from(kind).ok());
    if kind == Some(Type::Default) && info.command.is_some() {
        return Err(BadTask::DefaultExecutorCommand.into());
    }
    if kind.is_some_and(|kind| kind != Type::Custom) {
        return Err(BadTask::ExecutorType.into());
    }
    if info.command.is_none() {
        return Err(BadTask::ExecutorCommand.into());
    }
    executor::from_v1(info)
}

/// As agents and executors see it.
pub fn to_v1(info: &TaskInfo) -> Result<v1::TaskInfo, Error> {
    let mut out: v1::TaskInfo = open(&info.body)?;
    out.task_id = (&info.task_id).into();
    out.name = info.name.to_string();
    out.agent_id = (&info.agent_id).into();
    out.resources = resources::to_v1(&info.resources, Format::PLAIN);
    out.executor = info.executor.as_ref().map(executor::to_v1).transpose()?;
    Ok(out)
}

/// As operators see a task that has lived: `statuses` are those the master keeps, oldest first.
pub fn to_operator(
    info: &TaskInfo,
    framework_id: &FrameworkId,
    state: TaskState,
    statuses: &[TaskStatus],
) -> Result<v1::Task, Error> {
    let asked: v1::TaskInfo = open(&info.body)?;
    let latest = statuses.iter().rev().find(|status| status.update_id.is_some());
    Ok(v1::Task {
        name: info.name.to_string(),
        task_id: (&info.task_id).into(),
        framework_id: framework_id.into(),
        // A command task's executor is the agent's own affair.
        executor_id: info.executor.as_ref().map(|executor| (&executor.executor_id).into()),
        agent_id: (&info.agent_id).into(),
        state: status::state_to_v1(state).into(),
        resources: resources::to_v1(&info.resources, Format::PLAIN),
        statuses: statuses.iter().map(status::to_v1).collect::<Result<_, _>>()?,
        status_update_state: latest.map(|latest| status::state_to_v1(latest.state).into()),
        status_update_uuid: latest
            .and_then(|latest| latest.update_id)
            .map(|id| bytes::Bytes::copy_from_slice(&id.0)),
        labels: asked.labels,
        discovery: asked.discovery,
        container: asked.container,
        user: asked.command.and_then(|command| command.user),
        health_check: asked.health_check,
        kill_policy: asked.kill_policy,
        ..v1::Task::default()
    })
}
