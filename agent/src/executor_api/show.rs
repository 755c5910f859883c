//! Pieces of JSON that several answers have in common, in Mesos' shape.

use crate::node::view::{ExecutorView, TaskView};
use api::convert::quantity::to_f64;
use api::v1;
use model::resources::{CPUS, DISK, GPUS, MEM, Resource, Resources, Value};
use serde_json::{Map, Value as Json, json};

/// `{"cpus": 0.2, ...}`: the four that are always there, then everything else that is.
pub(super) fn resources(resources: &Resources) -> Json {
    let mut out = Map::new();
    for name in [DISK, MEM, GPUS, CPUS] {
        out.insert(name.to_owned(), json!(to_f64(resources.scalar(name))));
    }
    for part in resources.iter().filter(|part| !part.is_revocable) {
        match &part.value {
            Value::Scalar(_) => {
                let sum = resources.scalar(&part.name);
                out.entry(part.name.to_string()).or_insert_with(|| json!(to_f64(sum)));
            }
            Value::Ranges(_) => {
                out.insert(part.name.to_string(), json!(resources.ranges(&part.name).to_string()));
            }
            Value::Set(items) => {
                let items: Vec<&str> = items.iter().map(|item| &**item).collect();
                out.insert(part.name.to_string(), json!(format!("{{{}}}", items.join(", "))));
            }
        }
    }
    Json::Object(out)
}

/// As messages, in the form for operators.
pub(super) fn full(resources: &Resources) -> Json {
    let parts = api::convert::resources::to_v1(resources, api::convert::resources::Format::OPERATOR);
    Json::Array(parts.iter().map(message).collect())
}

pub(super) fn message<M: api::V1>(message: &M) -> Json {
    serde_json::to_value(api::json::value(message)).expect("messages are well-formed JSON")
}

pub(super) fn reserved(resources: &Resources) -> impl Iterator<Item = (&str, &Resource)> {
    resources.iter().filter_map(|part| Some((part.reserved_for()?.as_str(), part)))
}

/// The role that a task's or an executor's resources were allocated to.
pub(super) fn role(resources: &Resources) -> String {
    let role = resources.iter().find_map(|part| part.allocation.as_ref());
    role.map_or_else(|| "*".to_owned(), ToString::to_string)
}

pub(super) fn task(framework_id: &str, executor: &ExecutorView<'_>, task: &TaskView<'_>) -> Json {
    let statuses = task.statuses.iter().map(|status| {
        let status = api::convert::status::to_v1(status).unwrap_or_default();
        let mut out =
            json!({ "state": v1::TaskState::try_from(status.state).map_or("", |state| state.as_str_name()) });
        out["timestamp"] = json!(status.timestamp.unwrap_or_default());
        if let Some(container) = &status.container_status {
            out["container_status"] = message(container);
        }
        if let Some(healthy) = status.healthy {
            out["healthy"] = json!(healthy);
        }
        out
    });
    json!({
        "id": task.info.task_id.as_str(),
        "name": &*task.info.name,
        "framework_id": framework_id,
        // A command task has no executor that anybody asked for.
        "executor_id": if executor.is_command { "" } else { executor.info.executor_id.as_str() },
        "slave_id": task.info.agent_id.as_str(),
        "state": task.state.as_str(),
        "resources": resources(&task.info.resources),
        "role": role(&task.info.resources),
        "statuses": statuses.collect::<Vec<_>>(),
    })
}

/// What an executor calls itself; ours for commands says which it runs.
pub(super) fn executor_name(executor: &ExecutorView<'_>) -> String {
    if let Some(name) = &executor.info.name {
        return name.to_string();
    }
    if !executor.is_command {
        return String::new();
    }
    let tasks = executor.tasks.iter().chain(&executor.queued_tasks).chain(&executor.completed_tasks);
    let task = tasks.map(|task| task.info).next();
    task.map_or_else(String::new, |task| {
        format!("Command Executor (Task: {}){}", task.task_id, command(&task.body))
    })
}

fn command(body: &model::body::Body) -> String {
    let Ok(task) = api::protobuf::decode::<v1::TaskInfo>(&body.0) else { return String::new() };
    let Some(command) = task.command else { return String::new() };
    let shorten = |text: String| match text.char_indices().nth(12) {
        Some((at, _)) if text.len() > 15 => format!("{}...", &text[..at]),
        _ => text,
    };
    let value = command.value.clone().unwrap_or_default();
    if command.shell() {
        format!(" (Command: sh -c '{}')", shorten(value))
    } else {
        format!(" (Command: [{}])", shorten(format!("{value}, {}", command.arguments.join(", "))))
    }
}
