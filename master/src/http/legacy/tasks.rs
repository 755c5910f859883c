//! `/tasks`, and tasks in `/state` and `/frameworks`.

use crate::cluster::executors::Executor;
use crate::cluster::offers::Offer;
use crate::cluster::snapshot::{FrameworkView, Snapshot};
use crate::cluster::tasks::Task;
use crate::usage::{Figures, Table};
use api::convert::time;
use api::json::{self, Value};
use api::legacy::Query;
use api::legacy::amounts::Amounts;
use api::legacy::command::Command;
use api::legacy::each::Each;
use api::legacy::task::{self as shared, labels};
use api::legacy::usage::Measured;
use api::v1;
use serde::{Serialize, Serializer};
use std::sync::Arc;

/// Tasks that `/tasks` shows when `?limit=` does not say.
const LIMIT_DEFAULT: usize = 100;

/// As documents of the whole cluster show it: with the figures of the first release.
pub(super) fn brief<'a>(task: &'a Task, table: &Table) -> impl Serialize + use<'a> {
    shown(task, figures(task, table).map(|it| Measured::brief(&it.usage, it.is_final)))
}

fn figures(task: &Task, table: &Table) -> Option<Figures> {
    task.usage.and_then(|row| table.read(row))
}

fn shown(task: &Task, measured: Option<Measured>) -> shared::Task<'_> {
    shared::Task::of(shared::Known {
        info: &task.info,
        framework_id: task.framework_id.as_str(),
        role: task.role.as_str(),
        state: task.state,
        statuses: &task.statuses,
        measured,
    })
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

/// `/tasks`: those that the query admits, with every figure, ordered by their first status, newest first unless `?order=asc`.
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
        let measured = |task: &Task| {
            let (figures, timestamp) = self.table.read_timed(task.usage?)?;
            Some(Measured::of(&figures.usage, figures.is_final).at(timestamp.map(time::seconds)))
        };
        let tasks = Each(|| self.tasks.iter().map(|task| shown(task, measured(task))));
        serializer.collect_map([("tasks", tasks)])
    }
}
