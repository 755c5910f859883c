//! From a task to the process that its command is: files, arguments, variables. Decides; what cannot be given is refused by
//! name.

use std::collections::BTreeMap;
use std::ffi::CString;

use api::convert::check::{self, BadCheck};
use api::v1;
use api::v1::environment::variable::Type;

use crate::containerizer::plan::{self, PlanError};

/// What the command is to be. Folder, user and limits are the executor's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// Files to try to execute, in this order.
    pub(crate) programs: Vec<CString>,
    pub(crate) args: Vec<CString>,
    /// On top of the executor's own; of two of one name the later one counts.
    pub(crate) environment: BTreeMap<String, String>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the task has no command")]
    NoCommand,
    #[error("TaskInfo.{field}: {why}")]
    Check { field: &'static str, why: BadCheck },
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// `path`: where the command is searched for if the task brings no `PATH`.
pub(crate) fn start(task: &v1::TaskInfo, path: &str) -> Result<Start, StartError> {
    // Running a task unwatched that asked to be watched would be a lie.
    let bad = |field| move |why| StartError::Check { field, why };
    task.check.as_ref().map_or(Ok(()), check::check).map_err(bad("check"))?;
    task.health_check.as_ref().map_or(Ok(()), check::health_check).map_err(bad("health_check"))?;
    let command = task.command.as_ref().ok_or(StartError::NoCommand)?;
    let mut environment = BTreeMap::new();
    // Secrets are in the executor's environment, put there by the agent.
    let given =
        command.environment.iter().flat_map(|it| &it.variables).filter(|it| it.r#type() != Type::Secret);
    for variable in given {
        plan::check_variable(&variable.name, variable.value())?;
        environment.insert(variable.name.clone(), variable.value().to_owned());
    }
    // A task's resources are all of one role.
    let role = task.resources.first().and_then(|it| it.allocation_info.as_ref()).map(|it| it.role());
    environment.insert("MESOS_ALLOCATION_ROLE".to_owned(), role.unwrap_or_default().to_owned());
    let path = environment.get("PATH").map_or(path, String::as_str);
    let (programs, args) = plan::program(command, path)?;
    Ok(Start { programs, args, environment })
}

/// A command that is run beside the task's, with the task's variables under its own.
pub(super) fn beside(task: &Start, command: &v1::CommandInfo, path: &str) -> Result<Start, PlanError> {
    let mut environment = task.environment.clone();
    for variable in command.environment.iter().flat_map(|it| &it.variables) {
        let value = plan::variable_value(variable)?;
        plan::check_variable(&variable.name, &value)?;
        environment.insert(variable.name.clone(), value);
    }
    let path = environment.get("PATH").map_or(path, String::as_str);
    let (programs, args) = plan::program(command, path)?;
    Ok(Start { programs, args, environment })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::v1::environment::Variable;

    fn task(variables: Vec<Variable>) -> v1::TaskInfo {
        let command = v1::CommandInfo {
            shell: Some(false),
            value: Some("run".to_owned()),
            environment: Some(v1::Environment { variables }),
            ..Default::default()
        };
        v1::TaskInfo { command: Some(command), ..Default::default() }
    }

    fn variable(name: &str, value: &str) -> Variable {
        Variable { name: name.to_owned(), value: Some(value.to_owned()), ..Default::default() }
    }

    #[test]
    fn a_program_is_searched_for_in_the_tasks_path_or_else_the_executors() {
        let start = |task| start(&task, "/a:/b").expect("it can be run");
        assert_eq!(start(task(vec![])).programs, [c"/a/run".to_owned(), c"/b/run".to_owned()]);
        let own = start(task(vec![variable("PATH", "/c"), variable("PATH", "/d")]));
        assert_eq!(own.programs, [c"/d/run".to_owned()]);
        assert_eq!(own.args, [c"run".to_owned()]);
    }

    #[test]
    fn secrets_are_the_agents_business() {
        let secret = Variable { r#type: Some(Type::Secret as i32), ..variable("TOKEN", "") };
        let start = start(&task(vec![secret, variable("A", "1")]), "/bin").expect("it can be run");
        let names: Vec<_> = start.environment.keys().map(String::as_str).collect();
        assert_eq!(names, ["A", "MESOS_ALLOCATION_ROLE"]);
    }

    #[test]
    fn a_command_beside_has_its_own_variables_over_the_tasks() {
        let task =
            start(&task(vec![variable("A", "task"), variable("B", "task")]), "/a").expect("it can be run");
        let command = v1::CommandInfo {
            value: Some("probe".to_owned()),
            environment: Some(v1::Environment { variables: vec![variable("B", "probe")] }),
            ..Default::default()
        };
        let beside = beside(&task, &command, "/a").expect("it can be run");
        assert_eq!(beside.programs, [c"/bin/sh".to_owned()]);
        assert_eq!((&*beside.environment["A"], &*beside.environment["B"]), ("task", "probe"));
    }

    #[test]
    fn what_cannot_be_given_is_refused_by_name() {
        let check = |task: v1::TaskInfo, expect: &str| {
            assert_eq!(start(&task, "/bin").expect_err("a refusal").to_string(), expect);
        };
        check(v1::TaskInfo::default(), "the task has no command");
        let checked = v1::TaskInfo { check: Some(v1::CheckInfo::default()), ..task(vec![]) };
        check(checked, "TaskInfo.check: CheckInfo must specify 'type'");
        let watched = v1::TaskInfo { health_check: Some(v1::HealthCheck::default()), ..task(vec![]) };
        check(watched, "TaskInfo.health_check: HealthCheck must specify 'type'");
        let name = "environment variable name 'A=B' is empty or contains '=' or a NUL byte";
        check(task(vec![variable("A=B", "")]), name);
        check(task(vec![variable("A", "\0")]), "the value of an environment variable contains a NUL byte");
    }
}
