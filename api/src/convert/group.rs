//! Task groups as frameworks ask for them (LAUNCH_GROUP): tasks that run together or not at all, under one executor.

use model::executor::ExecutorInfo;
use model::quantity::Quantity;
use model::resources::{CPUS, DISK, MEM, Resources};
use model::task::TaskInfo;

use super::{Error, executor, task};
use crate::v1;
use crate::v1::container_info::Type as ContainerType;
use crate::v1::executor_info::Type as ExecutorType;
use crate::v1::health_check::Type as HealthCheckType;

/// What an executor of a group must at least be given (Mesos: `MIN_CPUS`, `MIN_MEM`).
const CPUS_MIN: Quantity = Quantity::from_milli(10);
const MEM_MIN: Quantity = Quantity::from_units(32);

/// What is wrong with a group whoever asks for it. The texts are Mesos' (`src/master/validation.cpp`).
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadGroup {
    #[error("Task '{id}' is invalid: {why}")]
    Task { id: String, why: String },
    #[error(
        "HTTP and TCP health checks are not supported for nested containers not joining parent's network"
    )]
    HealthCheck,
    #[error("Docker ContainerInfo is not supported on the task")]
    TaskDocker,
    #[error(
        "Resource limits may only be set for tasks within a task group when the 'share_cgroups' field is set to 'false'."
    )]
    Limits,
    #[error("'ExecutorInfo.command' must not be set for 'DEFAULT' executor")]
    DefaultCommand,
    #[error("'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor")]
    DefaultContainer,
    #[error("'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' executor")]
    DefaultImage,
    #[error("'ExecutorInfo.command' must be set for 'CUSTOM' executor")]
    CustomCommand,
    #[error("ExecutorInfo's 'shutdown_grace_period' must be non-negative")]
    ShutdownGrace,
    #[error("'ExecutorInfo.framework_id' must be set")]
    FrameworkId,
    #[error("'ExecutorInfo.type' must be set")]
    NoType,
    #[error("Unknown executor type")]
    UnknownType,
    #[error("Docker ContainerInfo is not supported on the executor")]
    ExecutorDocker,
    #[error("The `ExecutorInfo` of task '{task}' is different from executor '{executor}'")]
    OtherExecutor { task: String, executor: String },
    #[error("Executor '{id}' uses less CPUs ({has}) than the minimum required ({CPUS_MIN})")]
    Cpus { id: String, has: String },
    #[error("Executor '{id}' uses less memory ({has}) than the minimum required ({MEM_MIN}MB)")]
    Mem { id: String, has: String },
    #[error("Executor '{0}' uses no disk")]
    NoDisk(String),
    #[error("The 'share_cgroups' field cannot be set to 'true' on executor containers")]
    ExecutorSharesCgroups,
    #[error(
        "If set, the value of 'share_cgroups' must be the same for all tasks in each task group and under a single executor"
    )]
    SharesCgroups,
}

impl From<BadGroup> for Error {
    fn from(bad: BadGroup) -> Self {
        Self::Group(bad)
    }
}

/// Reads a group and checks all that can be checked without knowing the cluster. Each task that names no executor gets the
/// group's.
pub fn from_v1(group: &v1::offer::operation::LaunchGroup) -> Result<Vec<TaskInfo>, Error> {
    let (info, tasks) = (&group.executor, &group.task_group.tasks);
    // As for LAUNCH, Mesos looks first whether the resources of all are resources at all.
    tasks.iter().try_for_each(task::check_resources)?;
    let only = v1::TaskInfo { executor: Some(info.clone()), ..v1::TaskInfo::default() };
    task::check_resources(&only)?;
    for task in tasks {
        check_task(task).map_err(|why| BadGroup::Task { id: task.task_id.value.clone(), why })?;
    }
    check_executor(info)?;
    let executor = executor::from_v1(info)?;
    if let Some(other) = tasks.iter().find(|task| task.executor.as_ref().is_some_and(|own| own != info)) {
        let (task, executor) = (other.task_id.value.clone(), info.executor_id.value.clone());
        return Err(BadGroup::OtherExecutor { task, executor }.into());
    }
    check_minimum(&executor)?;
    check_cgroups(info, tasks)?;
    tasks.iter().map(|task| task::member(task, executor.clone())).collect()
}

fn check_task(info: &v1::TaskInfo) -> Result<(), String> {
    // Read once more when all are known to be good; what is wrong with one must come with its id.
    task::own(info).map_err(|error| error.to_string())?;
    let container = info.container.as_ref();
    let health = info.health_check.as_ref().map(|check| check.r#type());
    let is_remote = matches!(health, Some(HealthCheckType::Http | HealthCheckType::Tcp));
    if is_remote && container.is_some_and(|container| !container.network_infos.is_empty()) {
        return Err(BadGroup::HealthCheck.to_string());
    }
    if container.is_some_and(|container| container.r#type() == ContainerType::Docker) {
        return Err(BadGroup::TaskDocker.to_string());
    }
    if !info.limits.is_empty() && shares_cgroups(container) {
        return Err(BadGroup::Limits.to_string());
    }
    Ok(())
}

fn check_executor(info: &v1::ExecutorInfo) -> Result<(), BadGroup> {
    // A number without a name is from a newer version; none at all is found below, as in Mesos.
    let kind = info.r#type.map(|kind| ExecutorType::try_from(kind).unwrap_or(ExecutorType::Unknown));
    let container = info.container.as_ref();
    // Unset reads as the first that has a meaning.
    match kind.unwrap_or(ExecutorType::Default) {
        ExecutorType::Default => {
            if info.command.is_some() {
                return Err(BadGroup::DefaultCommand);
            }
            if container.is_some_and(|container| container.r#type() != ContainerType::Mesos) {
                return Err(BadGroup::DefaultContainer);
            }
            if container.is_some_and(|it| it.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some())) {
                return Err(BadGroup::DefaultImage);
            }
        }
        ExecutorType::Custom if info.command.is_none() => return Err(BadGroup::CustomCommand),
        ExecutorType::Custom | ExecutorType::Unknown => {}
    }
    if info.shutdown_grace_period.as_ref().is_some_and(|grace| grace.nanoseconds < 0) {
        return Err(BadGroup::ShutdownGrace);
    }
    // Not filled in, as in a LAUNCH: the call is younger than the field.
    if info.framework_id.as_ref().is_none_or(|id| id.value.is_empty()) {
        return Err(BadGroup::FrameworkId);
    }
    match kind {
        None => Err(BadGroup::NoType),
        Some(ExecutorType::Unknown) => Err(BadGroup::UnknownType),
        Some(_) if container.is_some_and(|it| it.r#type() == ContainerType::Docker) => {
            Err(BadGroup::ExecutorDocker)
        }
        Some(_) => Ok(()),
    }
}

fn check_minimum(info: &ExecutorInfo) -> Result<(), BadGroup> {
    let id = || info.executor_id.to_string();
    let shown = |name: &str, unit: &str| match has(&info.resources, name) {
        true => format!("{}{unit}", info.resources.scalar(name)),
        false => "None".to_owned(),
    };
    if info.resources.scalar(CPUS) < CPUS_MIN {
        return Err(BadGroup::Cpus { id: id(), has: shown(CPUS, "") });
    }
    if info.resources.scalar(MEM) < MEM_MIN {
        return Err(BadGroup::Mem { id: id(), has: shown(MEM, "MB") });
    }
    match has(&info.resources, DISK) {
        true => Ok(()),
        false => Err(BadGroup::NoDisk(id())),
    }
}

fn has(resources: &Resources, name: &str) -> bool {
    resources.iter().any(|part| *part.name == *name)
}

fn check_cgroups(info: &v1::ExecutorInfo, tasks: &[v1::TaskInfo]) -> Result<(), BadGroup> {
    let linux = info.container.as_ref().and_then(|container| container.linux_info.as_ref());
    if linux.is_some_and(|linux| linux.share_cgroups == Some(true)) {
        return Err(BadGroup::ExecutorSharesCgroups);
    }
    let mut shares = tasks.iter().map(|task| shares_cgroups(task.container.as_ref()));
    let first = shares.next();
    if shares.any(|other| Some(other) != first) { Err(BadGroup::SharesCgroups) } else { Ok(()) }
}

/// Whether a task of that container is held by its executor's limits, and has none of its own.
fn shares_cgroups(container: Option<&v1::ContainerInfo>) -> bool {
    container.and_then(|container| container.linux_info.as_ref()).is_none_or(|linux| linux.share_cgroups())
}

/// Of a task that was let through before.
pub fn task_shares_cgroups(info: &TaskInfo) -> bool {
    super::open::<v1::TaskInfo>(&info.body).map_or(true, |task| shares_cgroups(task.container.as_ref()))
}
