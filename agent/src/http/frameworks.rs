//! Frameworks, executors and tasks, as `/state` shows them.

use super::Facts;
use crate::checkpoint::layout;
use crate::node::effect::Run;
use crate::node::view::{ExecutorView, FrameworkView, TaskView};
use api::json::{self, Value};
use api::legacy::amounts::Amounts;
use api::legacy::command::Command;
use api::legacy::each::Each;
use api::legacy::task::{self, labels};
use api::v1;
use model::framework::Capabilities;
use model::resources::Resources;
use serde::{Serialize, Serializer};

pub(super) struct Framework<'f, 'a> {
    pub(super) view: &'f FrameworkView<'f>,
    pub(super) facts: &'f Facts<'a>,
}

#[derive(Serialize)]
struct FrameworkFields<'a, E, C> {
    id: &'a str,
    name: &'a str,
    user: &'a str,
    failover_timeout: f64,
    checkpoint: bool,
    hostname: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    roles: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    executors: E,
    completed_executors: C,
}

impl Serialize for Framework<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (view, info) = (self.view, self.view.info);
        let is_multi = info.capabilities.has(Capabilities::MULTI_ROLE);
        let shown = |executor| Executor { framework: view, view: executor, facts: self.facts };
        FrameworkFields {
            id: id(view),
            name: &info.name,
            user: &info.user,
            failover_timeout: info.failover_timeout_ns as f64 / 1e9,
            checkpoint: info.checkpoint,
            hostname: &info.hostname,
            principal: info.principal.as_deref(),
            roles: is_multi.then(|| info.roles.iter().map(|role| role.as_str()).collect()),
            role: if is_multi { None } else { info.roles.first().map(|role| role.as_str()) },
            executors: Each(|| view.executors.iter().map(shown)),
            completed_executors: Each(|| view.completed_executors.iter().map(shown)),
        }
        .serialize(serializer)
    }
}

pub(super) fn id<'a>(view: &FrameworkView<'a>) -> &'a str {
    view.info.framework_id.as_ref().map_or("", |id| id.as_str())
}

struct Executor<'f, 'a> {
    framework: &'f FrameworkView<'f>,
    view: &'f ExecutorView<'f>,
    facts: &'f Facts<'a>,
}

#[derive(Serialize)]
struct ExecutorFields<'a, T, Q, C> {
    id: &'a str,
    name: String,
    source: &'a str,
    container: &'a str,
    directory: String,
    resources: Amounts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<Value<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<Value<'a>>,
    tasks: T,
    queued_tasks: Q,
    completed_tasks: C,
}

impl Serialize for Executor<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let view = self.view;
        let asked = json::view::<v1::ExecutorInfo>(&view.info.body.0);
        let launched = |task| launched(self.framework, task);
        // What is over but still owes an update counts as completed, and comes last.
        let (over, running): (Vec<_>, Vec<_>) = view.tasks.iter().partition(|task| is_over(view, task));
        ExecutorFields {
            id: view.info.executor_id.as_str(),
            name: name(view),
            source: source(view),
            container: view.container_id.as_str(),
            directory: self.directory(),
            resources: Amounts::of(if view.is_ended { &view.info.resources } else { &view.resources }),
            role: role_of(&view.info.resources)
                .or_else(|| first_task(view).and_then(|task| role_of(&task.info.resources))),
            labels: labels(asked),
            r#type: asked.get("type"),
            tasks: Each(|| running.iter().map(|task| launched(task))),
            queued_tasks: Each(|| view.queued_tasks.iter().map(Queued::of)),
            completed_tasks: Each(|| view.completed_tasks.iter().chain(over.iter().copied()).map(launched)),
        }
        .serialize(serializer)
    }
}

impl Executor<'_, '_> {
    /// Its sandbox.
    fn directory(&self) -> String {
        let (Some(agent_id), Some(framework_id)) =
            (self.facts.known.agent_id, &self.framework.info.framework_id)
        else {
            // Executors are only launched for frameworks with an id, by agents that have one.
            return String::new();
        };
        let run = Run {
            framework_id: framework_id.clone(),
            executor_id: self.view.info.executor_id.clone(),
            container_id: self.view.container_id.clone(),
        };
        layout::sandbox(self.facts.work_dir, agent_id, &run).display().to_string()
    }
}

/// An executor that is no more has no tasks either, whether or not anybody was told how they ended.
pub(super) fn is_over(executor: &ExecutorView<'_>, task: &TaskView<'_>) -> bool {
    executor.is_ended || task.state.is_terminal()
}

fn first_task<'a>(executor: &'a ExecutorView<'a>) -> Option<&'a TaskView<'a>> {
    executor.tasks.iter().chain(&executor.queued_tasks).chain(&executor.completed_tasks).next()
}

/// Whom resources are allocated to; all of a task or an executor have the same role.
fn role_of(resources: &Resources) -> Option<&str> {
    resources.iter().next().map(|part| part.allocation.as_ref().map_or("*", |role| role.as_str()))
}

fn launched<'a>(framework: &FrameworkView<'a>, task: &TaskView<'a>) -> impl Serialize + use<'a> {
    task::Task::of(task::Known {
        info: task.info,
        framework_id: id(framework),
        role: role_of(&task.info.resources).unwrap_or("*"),
        state: task.state,
        statuses: task.statuses,
        measured: None,
    })
}

/// A task that its executor has not been sent.
#[derive(Serialize)]
struct Queued<'a> {
    id: &'a str,
    name: &'a str,
    slave_id: &'a str,
    resources: Amounts<'a>,
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<Command<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executor_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discovery: Option<Value<'a>>,
}

impl<'a> Queued<'a> {
    fn of(task: &TaskView<'a>) -> Self {
        let info = task.info;
        let asked = json::view::<v1::TaskInfo>(&info.body.0);
        let command = asked.get("command").and_then(|command| command.message());
        Self {
            id: info.task_id.as_str(),
            name: &info.name,
            slave_id: info.agent_id.as_str(),
            resources: Amounts::of(&info.resources),
            role: role_of(&info.resources).unwrap_or("*"),
            command: command.map(|command| Command::of(Some(command))),
            executor_id: info.executor.as_ref().map(|executor| executor.executor_id.as_str()),
            discovery: asked.get("discovery"),
        }
    }
}

/// What a framework called its executor. Ours for commands says what it runs.
pub(super) fn name(executor: &ExecutorView<'_>) -> String {
    match first_task(executor).filter(|_| executor.is_command) {
        Some(task) => format!("Command Executor (Task: {}) {}", task.info.task_id, shown_command(task)),
        None => executor.info.name.as_deref().unwrap_or_default().to_owned(),
    }
}

/// Ours for commands comes from its task.
pub(super) fn source<'a>(executor: &ExecutorView<'a>) -> &'a str {
    if executor.is_command {
        return executor.info.executor_id.as_str();
    }
    let asked = json::view::<v1::ExecutorInfo>(&executor.info.body.0);
    asked.get("source").and_then(|source| source.text()).unwrap_or_default()
}

/// The command, cut where it is long.
fn shown_command(task: &TaskView<'_>) -> String {
    /// Characters of a command that are shown whole; of a longer one three less, and dots.
    const CHARACTERS_MAX: usize = 15;
    let shorten = |text: &str| match text.char_indices().nth(CHARACTERS_MAX) {
        None => text.to_owned(),
        Some(_) => text.chars().take(CHARACTERS_MAX - 3).chain("...".chars()).collect(),
    };
    let asked = json::view::<v1::TaskInfo>(&task.info.body.0);
    let Some(command) = asked.get("command").and_then(|command| command.message()) else {
        return String::new();
    };
    let value = command.get("value").and_then(|value| value.text());
    match (command.get("shell").and_then(|shell| shell.flag()).unwrap_or(true), value) {
        (true, Some(value)) => format!("(Command: sh -c '{}')", shorten(value)),
        (true, None) => "(Command: NO COMMAND)".to_owned(),
        (false, Some(value)) => {
            let arguments: Vec<_> =
                command.list("arguments").filter_map(|argument| argument.text()).collect();
            format!("(Command: [{}])", shorten(&format!("{value}, {}", arguments.join(", "))))
        }
        (false, None) => "(Command: NO EXECUTABLE)".to_owned(),
    }
}
