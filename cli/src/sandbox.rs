//! Where a task's files are, and reading them: the master knows the task's agent, the agent knows the sandbox, and its
//! `/files/read` gives it out by pieces.

use std::io::Write;

use anyhow::{Context, Result, bail};
use api::v1;
use client::Address;
use client::operator::{Operator, escaped};
use serde_json::Value;

use crate::{Cluster, text};

/// Bytes read at a time; agents give no more than this at once.
const PIECE_BYTES: u64 = 64 << 10;

/// A task's identity as the master tells it.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) state: String,
    framework_id: String,
    executor_id: String,
    agent_id: String,
    /// The container that it has in its executor's, below those in which that is nested; none where it has the executor's.
    containers: Vec<String>,
}

impl Task {
    /// The latest task with this id; the master is asked anew each time.
    pub(crate) async fn find(cluster: &Cluster, id: &str) -> Result<Self> {
        let answer = cluster.operator().get_json(&format!("/tasks?limit=1&task_id={}", escaped(id))).await?;
        let task = answer["tasks"].as_array().and_then(|it| it.first());
        let task =
            task.with_context(|| format!("{} knows no task `{id}` (see: ingot tasks)", cluster.master))?;
        let executor_id = task["executor_id"].as_str().filter(|it| !it.is_empty());
        Ok(Self {
            id: id.to_owned(),
            state: text(task, "state")?.to_owned(),
            framework_id: text(task, "framework_id")?.to_owned(),
            // A command's executor bears the task's name.
            executor_id: executor_id.unwrap_or(id).to_owned(),
            agent_id: text(task, "slave_id")?.to_owned(),
            containers: nested(task),
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        !matches!(self.state.as_str(), "TASK_STAGING" | "TASK_STARTING" | "TASK_RUNNING" | "TASK_KILLING")
    }
}

/// The ids of the containers around the task, from the executor's inwards, without the executor's.
fn nested(task: &Value) -> Vec<String> {
    let latest = task["statuses"].as_array().and_then(|it| it.last());
    let told = latest.map(|it| &it["container_status"]["container_id"]).filter(|it| it.is_object());
    let each = std::iter::successors(told, |id| Some(&id["parent"]).filter(|it| it.is_object()));
    let mut ids: Vec<String> = each.filter_map(|id| id["value"].as_str().map(str::to_owned)).collect();
    ids.pop();
    ids.reverse();
    ids
}

/// A task's sandbox on its agent.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) agent: Operator,
    directory: String,
}

impl Sandbox {
    /// The container whose sandbox it is: they have one name.
    pub(crate) fn container_id(&self) -> &str {
        self.directory.rsplit('/').next().unwrap_or_default()
    }

    /// `None` while the agent has not made it yet.
    pub(crate) async fn find(cluster: &Cluster, task: &Task) -> Result<Option<Self>> {
        let (agent, state) = state_of_agent(cluster, task).await?;
        let directory = directory(&state, task);
        Ok(directory.map(|directory| Self { agent, directory }))
    }
}

/// A running task's container, and where its agent is. `None` while there is no container.
pub(crate) async fn container_of(
    cluster: &Cluster,
    task: &Task,
) -> Result<(Address, Option<v1::ContainerId>)> {
    let (agent, state) = state_of_agent(cluster, task).await?;
    Ok((agent.address().clone(), container(&state, task)))
}

/// What the task's agent knows.
async fn state_of_agent(cluster: &Cluster, task: &Task) -> Result<(Operator, Value)> {
    let agents = cluster.operator().get_json("/slaves").await?;
    let mut list = agents["slaves"].as_array().into_iter().flatten();
    let Some(agent) = list.find(|it| it["id"] == task.agent_id) else {
        bail!("the agent {} of task {} is not registered", task.agent_id, task.id);
    };
    // `slave(1)@127.0.0.1:5051`: the name is the path under which the agent answers at that address.
    let pid = text(agent, "pid")?;
    let (name, address) = pid.split_once('@').with_context(|| format!("`{pid}` is no agent's address"))?;
    let mut agent = Operator::new(address.parse::<Address>()?);
    let state = agent.get_json(&format!("/{}/state", escaped(name))).await?;
    Ok((agent, state))
}

/// Of a task that has one of its own, in its executor's, its status tells; all others run in their executor's.
fn container(state: &Value, task: &Task) -> Option<v1::ContainerId> {
    let list =
        |of: &Value, name: &str| of[name].as_array().into_iter().flatten().cloned().collect::<Vec<_>>();
    let mut executors = list(state, "frameworks")
        .into_iter()
        .filter(|it| it["id"] == task.framework_id.as_str())
        .flat_map(|it| list(&it, "executors"));
    let executor = executors.rfind(|it| it["id"] == task.executor_id.as_str())?;
    let mut tasks = list(&executor, "tasks").into_iter().filter(|it| it["id"] == task.id.as_str());
    let latest = tasks.next_back().and_then(|it| list(&it, "statuses").pop());
    let own = latest.map(|status| status["container_status"]["container_id"].clone());
    let own = own.filter(|id| id["parent"].is_object()).and_then(|id| serde_json::to_vec(&id).ok());
    let own = own.and_then(|id| api::json::from_slice(&id).ok());
    let executors =
        || Some(v1::ContainerId { value: executor["container"].as_str()?.to_owned(), parent: None });
    own.or_else(executors)
}

/// The sandbox of the task's executor, running or ended. Of several runs under one id the agent lists the latest last, and
/// those that have ended apart.
fn directory(state: &Value, task: &Task) -> Option<String> {
    let either = |of: &Value, one: &str, other: &str| {
        [one, other]
            .iter()
            .flat_map(|name| of[*name].as_array().into_iter().flatten().cloned())
            .collect::<Vec<_>>()
    };
    let mut executors = either(state, "completed_frameworks", "frameworks")
        .into_iter()
        .filter(|it| it["id"] == task.framework_id.as_str())
        .flat_map(|it| either(&it, "completed_executors", "executors"));
    let executor = executors.rfind(|it| it["id"] == task.executor_id.as_str())?;
    let directory = executor["directory"].as_str()?.to_owned();
    Some(task.containers.iter().fold(directory, |path, id| format!("{path}/containers/{id}")))
}

/// One file of a sandbox, copied as it grows.
#[derive(Debug)]
pub(crate) struct Tail {
    path: String,
    /// How far it was copied, in bytes.
    offset: u64,
}

impl Tail {
    pub(crate) fn new(sandbox: &Sandbox, name: &str) -> Self {
        Self { path: format!("{}/{name}", sandbox.directory), offset: 0 }
    }

    /// Copies what was written since the last time. A file that is not there yet has nothing.
    pub(crate) async fn copy(&mut self, sandbox: &mut Sandbox, out: &mut impl Write) -> Result<()> {
        let agent = &mut sandbox.agent;
        let size = match agent.read_file(&self.path, None, 0).await {
            Ok(piece) => piece.offset,
            Err(client::Error::Refused { status, .. }) if status.as_u16() == 404 => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        while self.offset < size {
            let length = (size - self.offset).min(PIECE_BYTES);
            let piece = agent.read_file(&self.path, Some(self.offset), length).await?;
            let (mut data, mut taken) = (piece.data, length);
            // A character cut at the piece's end comes as a replacement: take the piece up to that character instead.
            for shorter in (length.saturating_sub(3)..length).rev() {
                if !data.ends_with('\u{fffd}') || shorter == 0 {
                    break;
                }
                let piece = agent.read_file(&self.path, Some(self.offset), shorter).await?;
                if !piece.data.ends_with('\u{fffd}') {
                    (data, taken) = (piece.data, shorter);
                }
            }
            out.write_all(data.as_bytes())?;
            self.offset += taken;
        }
        out.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(executor_id: &str) -> Task {
        Task {
            id: "t".to_owned(),
            state: "TASK_RUNNING".to_owned(),
            framework_id: "f".to_owned(),
            executor_id: executor_id.to_owned(),
            agent_id: "a".to_owned(),
            containers: Vec::new(),
        }
    }

    #[test]
    fn a_task_of_a_group_has_a_sandbox_in_its_executors() {
        let id = serde_json::json!({"value": "c", "parent": {"value": "b", "parent": {"value": "a"}}});
        let status = |id: &Value| serde_json::json!({"container_status": {"container_id": id}});
        let told = serde_json::json!({"statuses": [{}, status(&id)]});
        assert_eq!(nested(&told), ["b", "c"]);
        assert!(
            nested(&serde_json::json!({"statuses": [status(&serde_json::json!({"value": "a"}))]})).is_empty()
        );
        assert!(nested(&serde_json::json!({"statuses": []})).is_empty());
        let executors = [serde_json::json!({"id": "e", "directory": "/runs/a"})];
        let state = serde_json::json!({"frameworks": [{"id": "f", "executors": executors}]});
        let task = Task { containers: vec!["b".to_owned(), "c".to_owned()], ..task("e") };
        assert_eq!(directory(&state, &task).as_deref(), Some("/runs/a/containers/b/containers/c"));
    }

    #[test]
    fn sandboxes_are_found_among_the_running_and_the_ended() {
        let executor = |id: &str| serde_json::json!({"id": id, "directory": format!("/{id}")});
        let run = |id: &str, n: u32| serde_json::json!({"id": id, "directory": format!("/{id}/{n}")});
        let state = serde_json::json!({
            "frameworks": [
                {"id": "g", "executors": [executor("e")], "completed_executors": []},
                {"id": "f", "executors": [executor("running"), run("again", 3)],
                 "completed_executors": [executor("ended"), run("again", 1), run("twice", 1), run("twice", 2)]},
            ],
            "completed_frameworks": [{"id": "f", "executors": [], "completed_executors": [executor("older")]}],
        });
        for (id, expect) in [
            ("running", Some("/running")),
            ("ended", Some("/ended")),
            ("older", Some("/older")),
            ("again", Some("/again/3")),
            ("twice", Some("/twice/2")),
            ("e", None),
        ] {
            assert_eq!(directory(&state, &task(id)).as_deref(), expect, "{id}");
        }
    }
}
