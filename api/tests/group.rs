//! Task groups as frameworks ask for them: what is wrong with one is said in Mesos' words.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use api::convert::{group, task};
use api::{json, v1};
use serde_json::{Value, json};

fn scalar(name: &str, value: f64) -> Value {
    json!({"name": name, "type": "SCALAR", "scalar": {"value": value}})
}

fn member(id: &str) -> Value {
    json!({
        "name": id, "task_id": {"value": id}, "agent_id": {"value": "S0"},
        "resources": [scalar("cpus", 0.1), scalar("mem", 32.0)],
        "command": {"value": "sleep 1"},
    })
}

fn asked() -> Value {
    json!({
        "executor": {
            "type": "DEFAULT",
            "executor_id": {"value": "e"},
            "framework_id": {"value": "f"},
            "resources": [scalar("cpus", 0.1), scalar("mem", 32.0), scalar("disk", 1.0)],
            "container": {"type": "MESOS"},
        },
        "task_group": {"tasks": [member("a"), member("b")]},
    })
}

fn read(value: &Value) -> v1::offer::operation::LaunchGroup {
    json::from_slice(value.to_string().as_bytes()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

#[test]
fn each_task_has_its_command_and_the_groups_executor() {
    let tasks = group::from_v1(&read(&asked())).unwrap();
    for (model, id) in tasks.iter().zip(["a", "b"]) {
        assert_eq!((model.task_id.as_str(), model.executor_id().as_str()), (id, "e"));
        let told = task::to_v1(model).unwrap();
        assert_eq!(told.command.unwrap().value(), "sleep 1");
        let executor = told.executor.unwrap();
        assert_eq!((executor.executor_id.value.as_str(), executor.resources.len()), ("e", 3));
    }
    // Saying the executor again is allowed.
    let mut again = asked();
    again["task_group"]["tasks"][0]["executor"] = again["executor"].clone();
    assert_eq!(group::from_v1(&read(&again)).unwrap().len(), 2);
}

#[test]
fn a_custom_executor_may_get_a_group_too() {
    let mut custom = asked();
    custom["executor"]["type"] = json!("CUSTOM");
    let missing = group::from_v1(&read(&custom)).unwrap_err().to_string();
    assert_eq!(missing, "'ExecutorInfo.command' must be set for 'CUSTOM' executor");
    custom["executor"]["command"] = json!({"value": "./mine"});
    custom["task_group"]["tasks"][1].as_object_mut().unwrap().remove("command");
    assert_eq!(group::from_v1(&read(&custom)).unwrap().len(), 2);
}

/// Each is changed in a good group (null: taken out), and has Mesos' answer.
fn bad_tasks() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "/task_group/tasks/1/task_id/value",
            json!("a/b"),
            "Task 'a/b' is invalid: 'a/b' contains invalid characters",
        ),
        ("/task_group/tasks/1/resources", json!([]), "Task 'b' is invalid: Task uses no resources"),
        (
            "/task_group/tasks/0/resources/0/scalar/value",
            json!(-1),
            "Resource 'cpus:-1' is invalid: Invalid scalar resource: value <= 0",
        ),
        (
            "/executor/resources/0/scalar/value",
            json!(-1),
            "Resource 'cpus:-1' is invalid: Invalid scalar resource: value <= 0",
        ),
        (
            "/task_group/tasks/0/container",
            json!({"type": "DOCKER"}),
            "Task 'a' is invalid: Docker ContainerInfo is not supported on the task",
        ),
        (
            "/task_group/tasks/0/limits",
            json!({"cpus": {"value": 1.0}}),
            "Task 'a' is invalid: Resource limits may only be set for tasks within a task group when the \
             'share_cgroups' field is set to 'false'.",
        ),
    ]
}

fn bad_executors() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        (
            "/executor/command",
            json!({"value": "x"}),
            "'ExecutorInfo.command' must not be set for 'DEFAULT' executor",
        ),
        (
            "/executor/container",
            json!({"type": "DOCKER"}),
            "'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor",
        ),
        (
            "/executor/container/mesos",
            json!({"image": {"type": "DOCKER", "docker": {"name": "busybox"}}}),
            "'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' executor",
        ),
        (
            "/executor/shutdown_grace_period",
            json!({"nanoseconds": -1}),
            "ExecutorInfo's 'shutdown_grace_period' must be non-negative",
        ),
        ("/executor/framework_id", Value::Null, "'ExecutorInfo.framework_id' must be set"),
        ("/executor/type", Value::Null, "'ExecutorInfo.type' must be set"),
        ("/executor/type", json!("UNKNOWN"), "Unknown executor type"),
        (
            "/task_group/tasks/1/executor",
            json!({"executor_id": {"value": "other"}}),
            "The `ExecutorInfo` of task 'b' is different from executor 'e'",
        ),
        (
            "/executor/resources/0/scalar/value",
            json!(0.001),
            "Executor 'e' uses less CPUs (0.001) than the minimum required (0.01)",
        ),
        (
            "/executor/resources/1/name",
            json!("other"),
            "Executor 'e' uses less memory (None) than the minimum required (32MB)",
        ),
        (
            "/executor/resources/1/scalar/value",
            json!(31),
            "Executor 'e' uses less memory (31MB) than the minimum required (32MB)",
        ),
        ("/executor/resources/2/name", json!("other"), "Executor 'e' uses no disk"),
        (
            "/executor/container",
            linux(true),
            "The 'share_cgroups' field cannot be set to 'true' on executor containers",
        ),
        (
            "/task_group/tasks/1/container",
            linux(false),
            "If set, the value of 'share_cgroups' must be the same for all tasks in each task group and under a \
             single executor",
        ),
    ]
}

fn linux(shares: bool) -> Value {
    json!({"type": "MESOS", "linux_info": {"share_cgroups": shares}})
}

#[test]
fn bad_groups_are_refused_in_mesos_words() {
    for (at, value, expected) in bad_tasks().into_iter().chain(bad_executors()) {
        let mut bad = asked();
        let (parent, name) = at.rsplit_once('/').unwrap();
        match bad.pointer_mut(parent).unwrap() {
            Value::Object(fields) if value.is_null() => _ = fields.remove(name),
            Value::Object(fields) => _ = fields.insert(name.to_owned(), value),
            other => panic!("{other}"),
        }
        assert_eq!(group::from_v1(&read(&bad)).unwrap_err().to_string(), expected, "{at}");
    }
}
