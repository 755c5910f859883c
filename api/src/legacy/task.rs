//! Tasks and their statuses.

use super::amounts::Amounts;
use super::usage::Measured;
use crate::convert::time;
use crate::json::{self, Value, View};
use crate::v1;
use model::task::{TaskInfo, TaskState, TaskStatus};
use serde::Serialize;
use std::collections::BTreeMap;

/// A task that was launched, as all documents show it.
#[derive(Serialize)]
pub struct Task<'a> {
    id: &'a str,
    name: &'a str,
    framework_id: &'a str,
    /// Empty for a command task: its executor is the agent's own affair.
    executor_id: &'a str,
    slave_id: &'a str,
    state: &'static str,
    resources: Amounts<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<&'a str, f64>,
    role: &'a str,
    statuses: Vec<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<Value<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discovery: Option<Value<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Value<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check: Option<Value<'a>>,
    /// Not Mesos': what the kernel measured of the task's container.
    #[serde(skip_serializing_if = "Option::is_none")]
    ingot: Option<Measured>,
}

/// What there is to show of a task.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub info: &'a TaskInfo,
    pub framework_id: &'a str,
    /// Whom its resources are allocated to.
    pub role: &'a str,
    pub state: TaskState,
    /// Oldest first.
    pub statuses: &'a [TaskStatus],
    pub measured: Option<Measured>,
}

impl<'a> Task<'a> {
    pub fn of(task: Known<'a>) -> Self {
        let asked = json::view::<v1::TaskInfo>(&task.info.body.0);
        let user = asked.get("command").and_then(|command| command.message()?.get("user")?.text());
        Self {
            id: task.info.task_id.as_str(),
            name: &task.info.name,
            framework_id: task.framework_id,
            executor_id: task.info.executor.as_ref().map_or("", |executor| executor.executor_id.as_str()),
            slave_id: task.info.agent_id.as_str(),
            state: task.state.as_str(),
            resources: Amounts::of(&task.info.resources),
            limits: limits(asked),
            role: task.role,
            statuses: task.statuses.iter().map(Status::of).collect(),
            user,
            labels: labels(asked),
            discovery: asked.get("discovery"),
            container: asked.get("container"),
            health_check: asked.get("health_check"),
            ingot: task.measured,
        }
    }
}

fn limits(asked: View<'_>) -> BTreeMap<&str, f64> {
    let limit = |entry: Value<'_>| {
        let value = entry.message()?.get("value")?.message()?.get("value")?.number()?;
        Some(value).filter(|value| value.is_finite())
    };
    let entries = asked.list("limits");
    entries.filter_map(|entry| Some((entry.message()?.get("key")?.text()?, limit(entry)?))).collect()
}

/// `[{"key": ..., "value": ...}, ...]` of a message that has labels.
pub fn labels(of: View<'_>) -> Option<Vec<Value<'_>>> {
    Some(of.get("labels")?.message()?.list("labels").collect())
}

#[derive(Serialize)]
struct Status<'a> {
    state: &'static str,
    timestamp: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<Value<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_status: Option<ContainerStatus<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy: Option<bool>,
}

impl<'a> Status<'a> {
    fn of(status: &'a TaskStatus) -> Self {
        let said = json::view::<v1::TaskStatus>(&status.body.0);
        let container = status.container.as_ref();
        Self {
            state: status.state.as_str(),
            timestamp: time::seconds(status.timestamp),
            labels: labels(said),
            container_status: container.map(|container| ContainerStatus {
                container_id: nested(said, container.container_id.as_str())
                    .map_or(ContainerId::Top { value: container.container_id.as_str() }, ContainerId::Nested),
                network_infos: [Network {
                    ip_addresses: [Address {
                        protocol: if container.ip.is_ipv4() { "IPv4" } else { "IPv6" },
                        ip_address: container.ip.to_string(),
                    }],
                }],
            }),
            healthy: status.healthy,
        }
    }
}

#[derive(Serialize)]
struct ContainerStatus<'a> {
    container_id: ContainerId<'a>,
    network_infos: [Network; 1],
}

#[derive(Serialize)]
#[serde(untagged)]
enum ContainerId<'a> {
    Top {
        value: &'a str,
    },
    /// With its parents.
    Nested(Value<'a>),
}

/// The id that an executor told of a container of its own, if it lies in the container `outer`.
fn nested<'a>(said: View<'a>, outer: &str) -> Option<Value<'a>> {
    let told = said.get("container_status")?.message()?.get("container_id")?;
    let parent = |id: &View<'a>| id.get("parent")?.message();
    let top = std::iter::successors(told.message(), parent).last()?;
    (parent(&told.message()?).is_some() && top.get("value")?.text()? == outer).then_some(told)
}

#[derive(Serialize)]
struct Network {
    ip_addresses: [Address; 1],
}

#[derive(Serialize)]
struct Address {
    protocol: &'static str,
    ip_address: String,
}
