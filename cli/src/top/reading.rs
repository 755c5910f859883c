//! What the master's documents say at one moment: `/state-summary` for nodes and frameworks, `/tasks` for tasks. Only the
//! fields that are shown are kept; reading is lenient, since a Mesos master leaves out what is ours.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::counters::{Counters, Measured, MeasuredNode, NodeCounters};

/// One look at the cluster.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// When it was asked for, by the same clock as the core's `now`.
    pub(super) at: Duration,
    /// The cluster's name, empty if it has none.
    pub(super) cluster: String,
    /// By id.
    pub(super) nodes: Vec<Node>,
    /// By id, those too that are known by nothing but their tasks.
    pub(super) frameworks: Vec<Framework>,
    /// By framework and id; one of each.
    pub(super) tasks: Vec<Task>,
    /// The master has more tasks than were asked for.
    pub(super) is_cut: bool,
}

/// What somebody asked for or has: cores and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Amounts {
    pub(super) cpus: f64,
    pub(super) memory_bytes: f64,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: Box<str>,
    pub(super) host: Box<str>,
    /// Where the agent answers: `HOST:PORT`, empty if the master does not say.
    pub(super) address: Box<str>,
    pub(super) is_active: bool,
    pub(super) total: Amounts,
    pub(super) allocated: Amounts,
    pub(super) counters: Option<NodeCounters>,
}

#[derive(Debug)]
pub(super) struct Framework {
    pub(super) id: Box<str>,
    pub(super) name: Box<str>,
    pub(super) state: &'static str,
    pub(super) allocated: Amounts,
}

#[derive(Debug)]
pub(super) struct Task {
    /// Its place in [`Reading::frameworks`].
    pub(super) framework: u32,
    /// Its place in [`Reading::nodes`]; `None` once the node is gone.
    pub(super) node: Option<u32>,
    pub(super) id: Box<str>,
    /// Empty for a command task, which has a container of its own.
    pub(super) executor: Box<str>,
    /// Empty while it has none.
    pub(super) container: Box<str>,
    pub(super) state: TaskState,
    pub(super) asked: Amounts,
    pub(super) counters: Option<Counters>,
}

/// By the name in the documents, without its `TASK_`, in small letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TaskState(pub(super) &'static str);

impl TaskState {
    const ALL: [&'static str; 14] = [
        "running", "staging", "starting", "killing", "finished", "failed", "killed", "lost", "error",
        "unreach.", "dropped", "gone", "gone-op", "unknown",
    ];

    fn of(name: &str) -> Self {
        let at = match name {
            "TASK_RUNNING" => 0,
            "TASK_STAGING" => 1,
            "TASK_STARTING" => 2,
            "TASK_KILLING" => 3,
            "TASK_FINISHED" => 4,
            "TASK_FAILED" => 5,
            "TASK_KILLED" => 6,
            "TASK_LOST" => 7,
            "TASK_ERROR" => 8,
            "TASK_UNREACHABLE" => 9,
            "TASK_DROPPED" => 10,
            "TASK_GONE" => 11,
            "TASK_GONE_BY_OPERATOR" => 12,
            _ => 13,
        };
        Self(Self::ALL[at])
    }

    /// It uses something, or is about to.
    pub(super) fn is_alive(self) -> bool {
        Self::ALL[..4].contains(&self.0)
    }
}

#[derive(Deserialize)]
struct SummaryDocument<'a> {
    #[serde(borrow)]
    cluster: Option<Cow<'a, str>>,
    #[serde(default)]
    slaves: Vec<NodeDocument<'a>>,
    #[serde(default)]
    frameworks: Vec<FrameworkDocument<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AmountsDocument {
    cpus: f64,
    /// MiB.
    mem: f64,
}

impl AmountsDocument {
    fn amounts(&self) -> Amounts {
        Amounts { cpus: self.cpus, memory_bytes: self.mem * f64::from(1 << 20) }
    }
}

#[derive(Deserialize)]
struct NodeDocument<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    hostname: Cow<'a, str>,
    #[serde(borrow, default)]
    pid: Cow<'a, str>,
    #[serde(default)]
    active: bool,
    #[serde(default)]
    resources: AmountsDocument,
    #[serde(default)]
    used_resources: AmountsDocument,
    ingot: Option<MeasuredNode>,
}

#[derive(Deserialize)]
struct FrameworkDocument<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(default)]
    active: bool,
    #[serde(default)]
    connected: bool,
    #[serde(default)]
    used_resources: AmountsDocument,
}

#[derive(Deserialize)]
struct TasksDocument<'a> {
    #[serde(borrow)]
    tasks: Vec<TaskDocument<'a>>,
}

#[derive(Deserialize)]
struct TaskDocument<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    framework_id: Cow<'a, str>,
    #[serde(borrow, default)]
    executor_id: Cow<'a, str>,
    #[serde(borrow, default)]
    slave_id: Cow<'a, str>,
    #[serde(borrow, default)]
    state: Cow<'a, str>,
    #[serde(default)]
    resources: AmountsDocument,
    #[serde(borrow, default)]
    statuses: Vec<StatusDocument<'a>>,
    ingot: Option<Measured>,
}

#[derive(Deserialize)]
struct StatusDocument<'a> {
    #[serde(borrow)]
    container_status: Option<ContainerDocument<'a>>,
}

#[derive(Deserialize)]
struct ContainerDocument<'a> {
    #[serde(borrow)]
    container_id: Option<IdDocument<'a>>,
}

#[derive(Deserialize)]
struct IdDocument<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
}

impl Reading {
    /// Reads both documents. `limit` is how many tasks were asked for.
    pub(super) fn of(at: Duration, summary: &[u8], tasks: &[u8], limit: usize) -> serde_json::Result<Self> {
        let summary: SummaryDocument<'_> = serde_json::from_slice(summary)?;
        let tasks: TasksDocument<'_> = serde_json::from_slice(tasks)?;
        let mut nodes: Vec<Node> = summary.slaves.into_iter().map(NodeDocument::node).collect();
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        let mut frameworks = BTreeMap::new();
        for known in &summary.frameworks {
            frameworks.insert(&*known.id, known.framework());
        }
        // Frameworks that are over are not in the summary; their tasks are still told.
        for task in &tasks.tasks {
            frameworks.entry(&*task.framework_id).or_insert_with(|| Framework {
                id: (&*task.framework_id).into(),
                name: (&*task.framework_id).into(),
                state: "over",
                allocated: Amounts::default(),
            });
        }
        let frameworks: Vec<Framework> = frameworks.into_values().collect();
        let is_cut = tasks.tasks.len() >= limit;
        let mut kept: Vec<Task> = tasks.tasks.into_iter().map(|it| it.task(&frameworks, &nodes)).collect();
        // An id may be used again once its task has ended. The documents tell the newest first, and the sort keeps that.
        kept.sort_by(|a, b| (a.framework, &a.id).cmp(&(b.framework, &b.id)));
        kept.dedup_by(|later, first| (later.framework, &later.id) == (first.framework, &first.id));
        let cluster = summary.cluster.unwrap_or_default().into_owned();
        Ok(Self { at, cluster, nodes, frameworks, tasks: kept, is_cut })
    }
}

impl NodeDocument<'_> {
    fn node(self) -> Node {
        Node {
            id: (&*self.id).into(),
            host: (&*self.hostname).into(),
            address: self.pid.split_once('@').map_or("", |(_, address)| address).into(),
            is_active: self.active,
            total: self.resources.amounts(),
            allocated: self.used_resources.amounts(),
            counters: self.ingot.and_then(MeasuredNode::counters),
        }
    }
}

impl FrameworkDocument<'_> {
    fn framework(&self) -> Framework {
        let state = match (self.active, self.connected) {
            (true, _) => "active",
            (false, true) => "inactive",
            (false, false) => "away",
        };
        Framework {
            id: (&*self.id).into(),
            name: (&*self.name).into(),
            state,
            allocated: self.used_resources.amounts(),
        }
    }
}

impl TaskDocument<'_> {
    fn task(self, frameworks: &[Framework], nodes: &[Node]) -> Task {
        let framework = frameworks.binary_search_by(|it| (*it.id).cmp(&self.framework_id));
        let node = nodes.binary_search_by(|it| (*it.id).cmp(&self.slave_id)).ok();
        let container = self.statuses.into_iter().rev().find_map(|it| it.container_status?.container_id);
        Task {
            framework: framework.expect("every task's framework was added") as u32,
            node: node.map(|at| at as u32),
            id: (&*self.id).into(),
            executor: (&*self.executor_id).into(),
            container: container.map_or_else(Box::default, |it| (&*it.value).into()),
            state: TaskState::of(&self.state),
            asked: self.resources.amounts(),
            counters: self.ingot.and_then(Measured::counters),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_become_rows_in_order() {
        let summary = r#"{"hostname": "m", "cluster": "prod", "slaves": [
            {"id": "S2", "hostname": "b", "pid": "slave(1)@10.0.0.2:5051", "active": true,
             "resources": {"cpus": 4.0, "mem": 1024.0, "ports": "[1-2]"}, "used_resources": {"cpus": 1, "mem": 0}},
            {"id": "S1", "hostname": "a", "active": false}],
            "frameworks": [{"id": "F1", "name": "one", "active": true, "connected": true}]}"#;
        let tasks = r#"{"tasks": [
            {"id": "t", "framework_id": "F1", "slave_id": "S2", "state": "TASK_RUNNING", "resources": {"cpus": 0.5, "mem": 32},
             "statuses": [{"state": "TASK_STARTING"}, {"container_status": {"container_id": {"value": "c1"}}}],
             "ingot": {"usage": {"cpu_ns": 7, "source": {"cpu": "bpf"}}}},
            {"id": "t", "framework_id": "F1", "slave_id": "S2", "state": "TASK_FAILED"},
            {"id": "a\"b", "framework_id": "F0", "executor_id": "e", "slave_id": "S9", "state": "TASK_FINISHED"}]}"#;
        let reading =
            Reading::of(Duration::ZERO, summary.as_bytes(), tasks.as_bytes(), 3).expect("documents");
        assert_eq!((&*reading.cluster, reading.is_cut), ("prod", true));
        assert_eq!((&*reading.nodes[0].id, &*reading.nodes[1].address), ("S1", "10.0.0.2:5051"));
        assert_eq!(reading.nodes[1].total, Amounts { cpus: 4.0, memory_bytes: 1_073_741_824.0 });
        let frameworks: Vec<_> = reading.frameworks.iter().map(|it| (&*it.id, it.state)).collect();
        assert_eq!(frameworks, [("F0", "over"), ("F1", "active")]);
        let tasks: Vec<_> =
            reading.tasks.iter().map(|it| (&*it.id, it.framework, it.node, it.state.0)).collect();
        assert_eq!(tasks, [("a\"b", 0, None, "finished"), ("t", 1, Some(1), "running")]);
        assert_eq!((&*reading.tasks[1].container, &*reading.tasks[0].executor), ("c1", "e"));
        assert_eq!(reading.tasks[1].counters.expect("measured").usage.cpu_ns, 7);
    }

    #[test]
    fn what_a_mesos_master_says_is_enough() {
        let reading = Reading::of(Duration::ZERO, b"{}", br#"{"tasks": []}"#, 10).expect("documents");
        assert!(reading.tasks.is_empty() && !reading.is_cut);
        assert!(Reading::of(Duration::ZERO, b"{}", b"404", 10).is_err());
    }
}
