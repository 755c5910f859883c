//! `/state-summary`: counts instead of tasks.

use super::agents::{Agent, measured};
use super::frameworks::Brief;
use super::tasks::all;
use crate::cluster::snapshot::Snapshot;
use api::legacy::each::Each;
use api::legacy::usage::MeasuredNode;
use model::id::{AgentId, FrameworkId};
use model::task::TaskState;
use serde::{Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Summary<'a>(pub(super) &'a Snapshot);

/// Tasks by state. Mesos' summary leaves out the states that came after it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Counts {
    task_staging: u32,
    task_starting: u32,
    task_running: u32,
    task_killing: u32,
    task_finished: u32,
    task_killed: u32,
    task_failed: u32,
    task_lost: u32,
    task_error: u32,
    task_unreachable: u32,
}

impl Counts {
    fn count(&mut self, state: TaskState) {
        let count = match state {
            TaskState::Staging => &mut self.task_staging,
            TaskState::Starting => &mut self.task_starting,
            TaskState::Running => &mut self.task_running,
            TaskState::Killing => &mut self.task_killing,
            TaskState::Finished => &mut self.task_finished,
            TaskState::Killed => &mut self.task_killed,
            TaskState::Failed => &mut self.task_failed,
            TaskState::Lost => &mut self.task_lost,
            TaskState::Error => &mut self.task_error,
            TaskState::Unreachable => &mut self.task_unreachable,
            TaskState::Dropped | TaskState::Gone | TaskState::GoneByOperator | TaskState::Unknown => return,
        };
        *count += 1;
    }
}

/// Who ran tasks where, and what became of them.
#[derive(Default)]
struct Tally<'a> {
    of_agents: BTreeMap<&'a AgentId, (Counts, BTreeSet<&'a str>)>,
    of_frameworks: BTreeMap<&'a FrameworkId, (Counts, BTreeSet<&'a str>)>,
}

impl<'a> Tally<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let mut tally = Self::default();
        for view in &snapshot.frameworks {
            for task in all(view) {
                let (counts, frameworks) = tally.of_agents.entry(&task.info.agent_id).or_default();
                counts.count(task.state);
                frameworks.insert(view.id.as_str());
                let (counts, agents) = tally.of_frameworks.entry(&view.id).or_default();
                counts.count(task.state);
                agents.insert(task.info.agent_id.as_str());
            }
        }
        tally
    }
}

#[derive(Serialize)]
struct AgentSummary<'a> {
    #[serde(flatten)]
    agent: Agent<'a>,
    #[serde(flatten)]
    counts: Counts,
    framework_ids: BTreeSet<&'a str>,
    /// Not Mesos'.
    #[serde(skip_serializing_if = "Option::is_none")]
    ingot: Option<MeasuredNode>,
}

#[derive(Serialize)]
struct FrameworkSummary<'a> {
    #[serde(flatten)]
    brief: Brief<'a>,
    #[serde(flatten)]
    counts: Counts,
    slave_ids: BTreeSet<&'a str>,
}

#[derive(Serialize)]
struct Fields<'a, A, F> {
    hostname: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a str>,
    slaves: A,
    frameworks: F,
}

impl Serialize for Summary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let snapshot = self.0;
        let tally = Tally::of(snapshot);
        let agents = || {
            snapshot.agents.iter().map(|view| {
                let (counts, framework_ids) = tally.of_agents.get(&view.id).cloned().unwrap_or_default();
                AgentSummary {
                    agent: Agent::of(view, snapshot),
                    counts,
                    framework_ids,
                    ingot: measured(view, &snapshot.usage),
                }
            })
        };
        let frameworks = || {
            snapshot.frameworks.iter().map(|view| {
                let (counts, slave_ids) = tally.of_frameworks.get(&view.id).cloned().unwrap_or_default();
                FrameworkSummary { brief: Brief::of(view), counts, slave_ids }
            })
        };
        Fields {
            hostname: &snapshot.master.hostname,
            cluster: snapshot.master.cluster.as_deref(),
            slaves: Each(agents),
            frameworks: Each(frameworks),
        }
        .serialize(serializer)
    }
}
