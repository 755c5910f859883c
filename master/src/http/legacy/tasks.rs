//! `/tasks`, and tasks in `/state` and `/frameworks`.

use super::amounts::Amounts;
use super::each::Each;
use super::query::Query;
use crate::cluster::executors::Executor;
use crate::cluster::offers::Offer;
use crate::cluster::snapshot::{FrameworkView, Snapshot};
use crate::cluster::tasks::Task;
use crate::usage::{Figures, Row, Table};
use api::convert::time;
use api::json::{self, Value, View};
use api::v1;
use model::task::TaskStatus;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Tasks that `/tasks` shows when `?limit=` does not say.
const LIMIT_DEFAULT: usize = 100;

/// One task as all documents show it.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
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

impl<'a> Shown<'a> {
    pub(super) fn of(task: &'a Task, table: &Table) -> Self {
        let asked = json::view::<v1::TaskInfo>(&task.info.body.0);
        let user = asked.get("command").and_then(|command| command.message()?.get("user")?.text());
        Self {
            id: task.info.task_id.as_str(),
            name: &task.info.name,
            framework_id: task.framework_id.as_str(),
            executor_id: task.info.executor.as_ref().map_or("", |executor| executor.executor_id.as_str()),
            slave_id: task.info.agent_id.as_str(),
            state: task.state.as_str(),
            resources: Amounts::of(&task.info.resources),
            limits: limits(asked),
            role: task.role.as_str(),
            statuses: task.statuses.iter().map(Status::of).collect(),
            user,
            labels: labels(asked),
            discovery: asked.get("discovery"),
            container: asked.get("container"),
            health_check: asked.get("health_check"),
            ingot: Measured::of(task.usage, table),
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
pub(super) fn labels(of: View<'_>) -> Option<Vec<Value<'_>>> {
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
                container_id: Wrapped { value: container.container_id.as_str() },
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
    container_id: Wrapped<'a>,
    network_infos: [Network; 1],
}

#[derive(Serialize)]
struct Wrapped<'a> {
    value: &'a str,
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

/// `"ingot": {"usage": {...}}`
#[derive(Serialize)]
pub(super) struct Measured {
    usage: Usage,
}

impl Measured {
    /// `None` until a container of it was reported on.
    pub(super) fn of(row: Option<Row>, table: &Table) -> Option<Self> {
        Some(Self { usage: Usage::of(table.read(row?)?) })
    }
}

#[derive(Serialize)]
struct Usage {
    cpu_user_ns: u64,
    cpu_system_ns: u64,
    cpu_ns: u64,
    context_switches: u64,
    mem_current_bytes: u64,
    mem_peak_bytes: u64,
    net_rx_bytes: u64,
    net_rx_packets: u64,
    net_tx_bytes: u64,
    net_tx_packets: u64,
    processes: u32,
    source: Sources,
    r#final: bool,
}

#[derive(Serialize)]
struct Sources {
    cpu: &'static str,
    memory: &'static str,
    network: &'static str,
}

impl Usage {
    fn of(figures: Figures) -> Self {
        let usage = figures.usage;
        Self {
            cpu_user_ns: usage.cpu_user_ns,
            cpu_system_ns: usage.cpu_system_ns,
            cpu_ns: usage.cpu_ns,
            context_switches: usage.switches_voluntary.saturating_add(usage.switches_involuntary),
            mem_current_bytes: usage.memory_current_bytes,
            mem_peak_bytes: usage.memory_peak_bytes,
            net_rx_bytes: usage.net_rx_bytes,
            net_rx_packets: usage.net_rx_packets,
            net_tx_bytes: usage.net_tx_bytes,
            net_tx_packets: usage.net_tx_packets,
            processes: usage.processes,
            source: Sources {
                cpu: usage.cpu_source.as_str(),
                memory: usage.memory_source.as_str(),
                network: usage.network_source.as_str(),
            },
            r#final: figures.is_final,
        }
    }
}

/// An executor, as a framework's document shows it.
#[derive(Serialize)]
pub(super) struct ShownExecutor<'a> {
    executor_id: &'a str,
    name: &'a str,
    framework_id: &'a str,
    command: Command<'a>,
    resources: Amounts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<Value<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<Value<'a>>,
    slave_id: &'a str,
}

impl<'a> ShownExecutor<'a> {
    pub(super) fn of(executor: &'a Executor) -> Self {
        let asked = json::view::<v1::ExecutorInfo>(&executor.info.body.0);
        Self {
            executor_id: executor.info.executor_id.as_str(),
            name: executor.info.name.as_deref().unwrap_or_default(),
            framework_id: executor.framework_id.as_str(),
            command: Command::of(asked.get("command").and_then(|command| command.message())),
            resources: Amounts::of(&executor.info.resources),
            role: (!executor.info.resources.is_empty()).then(|| executor.role.as_str()),
            labels: labels(asked),
            r#type: asked.get("type"),
            slave_id: executor.agent_id.as_str(),
        }
    }
}

#[derive(Default, Serialize)]
struct Command<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    argv: Vec<Value<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<Value<'a>>,
    uris: Vec<Uri<'a>>,
}

#[derive(Serialize)]
struct Uri<'a> {
    value: &'a str,
    executable: bool,
}

impl<'a> Command<'a> {
    fn of(asked: Option<View<'a>>) -> Self {
        let Some(asked) = asked else { return Self::default() };
        let uri = |uri: Value<'a>| {
            let uri = uri.message()?;
            let executable = uri.get("executable").and_then(|executable| executable.flag());
            Some(Uri { value: uri.get("value")?.text()?, executable: executable.unwrap_or(false) })
        };
        Self {
            shell: asked.get("shell").and_then(|shell| shell.flag()),
            value: asked.get("value").and_then(|value| value.text()),
            argv: asked.list("arguments").collect(),
            environment: asked.get("environment"),
            uris: asked.list("uris").filter_map(uri).collect(),
        }
    }
}

/// An offer, as a framework's document shows it.
#[derive(Serialize)]
pub(super) struct ShownOffer<'a> {
    id: &'a str,
    framework_id: &'a str,
    allocation_info: Allocation<'a>,
    slave_id: &'a str,
    resources: Amounts<'a>,
}

#[derive(Serialize)]
struct Allocation<'a> {
    role: &'a str,
}

impl<'a> ShownOffer<'a> {
    pub(super) fn of(offer: &'a Offer) -> Self {
        Self {
            id: offer.id.as_str(),
            framework_id: offer.framework_id.as_str(),
            allocation_info: Allocation { role: offer.role.as_str() },
            slave_id: offer.agent_id.as_str(),
            resources: Amounts::of(&offer.resources),
        }
    }
}

/// Every task of a framework, whatever became of it.
pub(super) fn all(view: &FrameworkView) -> impl Iterator<Item = &Arc<Task>> {
    view.tasks.iter().chain(&view.unreachable_tasks).chain(&view.completed_tasks)
}

/// `/tasks`: those that the query admits, ordered by their first status, newest first unless `?order=asc`.
pub(super) struct Tasks<'a> {
    tasks: Vec<&'a Task>,
    table: &'a Table,
}

impl<'a> Tasks<'a> {
    pub(super) fn of(snapshot: &'a Snapshot, query: &Query) -> Self {
        let frameworks = snapshot.frameworks.iter().chain(&snapshot.completed_frameworks);
        let frameworks = frameworks.filter(|view| query.admits("framework_id", view.id.as_str()));
        let tasks = frameworks.flat_map(|view| all(view));
        let admitted = tasks.filter(|task| query.admits("task_id", task.info.task_id.as_str()));
        let mut tasks: Vec<&Task> = admitted.map(|task| &**task).collect();
        // A task without a status comes before all others when ascending.
        tasks.sort_by_key(|task| task.statuses.first().map(|status| status.timestamp));
        if query.get("order") != Some("asc") {
            tasks.reverse();
        }
        let begin = query.number("offset", 0).min(tasks.len());
        let end = begin.saturating_add(query.number("limit", LIMIT_DEFAULT)).min(tasks.len());
        Self { tasks: tasks[begin..end].to_vec(), table: &snapshot.usage }
    }
}

impl Serialize for Tasks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tasks = Each(|| self.tasks.iter().map(|task| Shown::of(task, self.table)));
        serializer.collect_map([("tasks", tasks)])
    }
}
