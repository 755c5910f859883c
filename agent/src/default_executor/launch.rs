//! From a task of a group to the container that is launched for it. Decides; what cannot be given is refused by name.

use api::convert::check::{self, BadCheck};
use api::v1;
use api::v1::agent::call::LaunchContainer;
use api::v1::volume::{Source, source};

/// What a task asks for and cannot have. Becomes the message of TASK_FAILED.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error("TaskInfo.{field}: {why}")]
    Check { field: &'static str, why: BadCheck },
}

/// `container_ip`: the address of the network that the executor's containers share.
pub(crate) fn launch(
    task: &v1::TaskInfo,
    container_id: v1::ContainerId,
    container_ip: &str,
) -> Result<LaunchContainer, LaunchError> {
    // Running a task unwatched that asked to be watched would be a lie.
    let bad = |field| move |why| LaunchError::Check { field, why };
    task.check.as_ref().map_or(Ok(()), check::check).map_err(bad("check"))?;
    task.health_check.as_ref().map_or(Ok(()), check::health_check).map_err(bad("health_check"))?;
    let mut command = task.command.clone().unwrap_or_default();
    // A task's resources are all of one role.
    let role = task.resources.first().and_then(|it| it.allocation_info.as_ref()).map(|it| it.role());
    let variables = &mut command.environment.get_or_insert_default().variables;
    variables.push(variable("MESOS_CONTAINER_IP", container_ip));
    variables.push(variable("MESOS_ALLOCATION_ROLE", role.unwrap_or_default()));
    Ok(LaunchContainer {
        container_id,
        command: Some(command),
        resources: task.resources.clone(),
        container: container(task),
        limits: task.limits.clone(),
    })
}

/// For a command that is run beside a task, in the task's container: with the task's variables under its own.
pub(crate) fn beside(
    task: &v1::Environment,
    container_id: v1::ContainerId,
    asked: &v1::CommandInfo,
) -> LaunchContainer {
    let mut command = asked.clone();
    // Of two of one name the later one counts.
    command.environment.get_or_insert_default().variables.splice(..0, task.variables.iter().cloned());
    LaunchContainer { container_id, command: Some(command), ..LaunchContainer::default() }
}

fn variable(name: &str, value: &str) -> v1::environment::Variable {
    v1::environment::Variable {
        name: name.to_owned(),
        value: Some(value.to_owned()),
        ..v1::environment::Variable::default()
    }
}

/// A task's disks are mounted in its executor's container; the task's own gets each from there.
fn container(task: &v1::TaskInfo) -> Option<v1::ContainerInfo> {
    let disks = task.resources.iter().filter_map(|resource| resource.disk.as_ref()?.volume.as_ref());
    let volumes: Vec<v1::Volume> = disks.map(from_parent).collect();
    if volumes.is_empty() {
        return task.container.clone();
    }
    let mut container = task.container.clone().unwrap_or_default();
    container.set_type(v1::container_info::Type::Mesos);
    container.volumes.extend(volumes);
    Some(container)
}

fn from_parent(disk: &v1::Volume) -> v1::Volume {
    let path = source::SandboxPath {
        r#type: Some(source::sandbox_path::Type::Parent.into()),
        path: disk.container_path.clone(),
    };
    v1::Volume {
        mode: disk.mode,
        container_path: disk.container_path.clone(),
        source: Some(Source {
            r#type: Some(source::Type::SandboxPath.into()),
            sandbox_path: Some(path),
            ..Source::default()
        }),
        ..v1::Volume::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> v1::ContainerId {
        let parent = Some(Box::new(v1::ContainerId { value: "e".to_owned(), parent: None }));
        v1::ContainerId { value: "n".to_owned(), parent }
    }

    fn resource(role: &str) -> v1::Resource {
        let allocation = v1::resource::AllocationInfo { role: Some(role.to_owned()) };
        v1::Resource { allocation_info: Some(allocation), ..v1::Resource::default() }
    }

    #[test]
    fn a_task_is_told_its_address_and_role_beside_its_own_variables() {
        let environment = Some(v1::Environment { variables: vec![variable("A", "1")] });
        let command = Some(v1::CommandInfo { environment, ..v1::CommandInfo::default() });
        let task = v1::TaskInfo { command, resources: vec![resource("eng")], ..v1::TaskInfo::default() };
        let launch = launch(&task, id(), "10.0.0.1").expect("nothing special");
        assert_eq!((&launch.container_id, &launch.container), (&id(), &None));
        assert_eq!(launch.resources, task.resources);
        let variables = launch.command.and_then(|it| it.environment).expect("some").variables;
        let told: Vec<_> = variables.iter().map(|it| (&*it.name, it.value())).collect();
        let expected = [("A", "1"), ("MESOS_CONTAINER_IP", "10.0.0.1"), ("MESOS_ALLOCATION_ROLE", "eng")];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_disk_is_where_its_executor_has_it() {
        let volume = v1::Volume { container_path: "data".to_owned(), ..v1::Volume::default() };
        let disk = v1::resource::DiskInfo { volume: Some(volume), ..v1::resource::DiskInfo::default() };
        let resource = v1::Resource { disk: Some(disk), ..resource("*") };
        let task = v1::TaskInfo { resources: vec![resource], ..v1::TaskInfo::default() };
        let container = launch(&task, id(), "").expect("nothing special").container.expect("for the volume");
        assert_eq!(container.r#type(), v1::container_info::Type::Mesos);
        let path = container.volumes[0].source.as_ref().and_then(|it| it.sandbox_path.as_ref());
        let path = path.expect("in a sandbox");
        assert_eq!((path.r#type(), &*path.path), (source::sandbox_path::Type::Parent, "data"));
    }

    #[test]
    fn what_cannot_be_given_is_refused_by_name() {
        let checked = v1::TaskInfo { check: Some(v1::CheckInfo::default()), ..v1::TaskInfo::default() };
        let refused = launch(&checked, id(), "").expect_err("nobody would look");
        assert_eq!(refused.to_string(), "TaskInfo.check: CheckInfo must specify 'type'");
    }
}
