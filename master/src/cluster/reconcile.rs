//! RECONCILE: a scheduler asks what has become of its tasks (Mesos: docs/reconciliation.md).

use super::effect::Event;
use super::note::Note;
use super::tasks::Task;
use super::{Cluster, Turn};
use api::v1::OperationState;
use model::body::Body;
use model::id::{AgentId, FrameworkId, OperationId, TaskId};
use model::task::{Reason, Source, TaskState, TaskStatus};
use model::time::{Time, UnixTime};
use std::sync::Arc;

/// A task as its scheduler was told of it last, told again. It carries no update id: nothing waits for it.
pub(super) fn latest(task: &Task, timestamp: UnixTime) -> TaskStatus {
    let state = task.pending.map_or(task.state, |(state, _)| state);
    let text = "Reconciliation: Latest task state";
    let mut status = task.status_by_master(state, Some(Reason::RECONCILIATION), text, timestamp);
    if let Some(last) = task.statuses.last() {
        status.healthy = last.healthy;
        status.container.clone_from(&last.container);
    }
    status
}

/// The part of a status that says since when its agent has been unreachable, for its body.
pub(super) fn unreachable_since(since: UnixTime) -> Body {
    let nanoseconds = i64::try_from(since.0.saturating_mul(1000)).unwrap_or(i64::MAX);
    let status = api::v1::TaskStatus {
        unreachable_time: Some(api::v1::TimeInfo { nanoseconds }),
        ..api::v1::TaskStatus::default()
    };
    Body::new(api::protobuf::encode(&status))
}

impl Cluster {
    /// Answers for each task asked about, or for all that are not over when none is named. Of a task whose agent may come
    /// back to this master nothing can be said: whoever hears nothing asks again.
    pub(super) fn reconcile(
        &mut self,
        id: &FrameworkId,
        tasks: Vec<(TaskId, Option<AgentId>)>,
        turn: &mut Turn<'_>,
    ) {
        self.counters.messages_reconcile_tasks += 1;
        let framework = self.frameworks.get(id).expect("the caller is subscribed");
        if tasks.is_empty() {
            for task in framework.tasks.values() {
                framework.tell(&latest(task, turn.now.unix), turn);
            }
            return;
        }
        let mut untold = 0;
        for (task_id, agent_id) in tasks {
            let status = match framework.tasks.get(&task_id) {
                Some(task) => latest(task, turn.now.unix),
                None if self.may_return(id, agent_id.as_ref(), turn.now.time) => {
                    untold += 1;
                    continue;
                }
                None => self.fate(task_id, agent_id, framework.is_partition_aware(), turn.now.unix),
            };
            framework.tell(&status, turn);
        }
        if untold > 0 {
            turn.note(Note::ReconciliationDropped { framework_id: id.clone(), task_count: untold });
        }
    }

    /// Whether a task that the master does not have may be on an agent that is yet to come back, or is on its way in or out:
    /// nothing is certain of it then. A master whose registry ends with it does not know which agents those are, but whose
    /// ids they bear: another master's. And only a framework that another master has named can have had tasks then.
    fn may_return(&self, framework_id: &FrameworkId, agent_id: Option<&AgentId>, now: Time) -> bool {
        let is_coming = match agent_id {
            Some(id) => self.expected.contains(id) || self.pending.is_in_transition(id),
            None => !self.expected.is_empty() || self.pending.has_transitions(),
        };
        if is_coming || self.settings.is_registry_kept {
            return is_coming;
        }
        let is_named_here =
            |id: &str| id.strip_prefix(self.master.id.as_str()).is_some_and(|number| number.starts_with('-'));
        let end = self.began.unwrap_or(now).plus_ms(self.settings.agent_reregister_timeout_ms);
        now < end
            && !is_named_here(framework_id.as_str())
            && agent_id.is_none_or(|id| {
                !is_named_here(id.as_str())
                    && !self.agents.contains(id)
                    && self.unreachable.get(id).is_none()
                    && !self.withdrawn.is_gone(id)
            })
    }

    /// Answers for each operation asked about. None outlives its ACCEPT yet, so none is known.
    pub(super) fn reconcile_operations(
        &mut self,
        id: &FrameworkId,
        operations: Vec<(OperationId, Option<AgentId>)>,
        turn: &mut Turn<'_>,
    ) {
        self.counters.messages_reconcile_operations += 1;
        let framework = self.frameworks.get(id).expect("the caller is subscribed");
        let Some(stream) = &framework.stream else { return };
        for (operation_id, agent_id) in operations {
            let (state, text) = match &agent_id {
                None => (
                    OperationState::OperationUnknown,
                    "Reconciliation: Operation is unknown and no 'agent_id' was provided",
                ),
                Some(id) if self.agents.contains(id) => {
                    (OperationState::OperationUnknown, "Reconciliation: Operation is unknown")
                }
                Some(id) if self.unreachable.get(id).is_some() => {
                    (OperationState::OperationUnreachable, "Reconciliation: Agent is unreachable")
                }
                Some(_) => {
                    (OperationState::OperationUnknown, "Reconciliation: Both operation and agent are unknown")
                }
            };
            let message = Arc::from(text);
            turn.scheduler(stream, Event::Operation { operation_id, agent_id, state, message });
        }
    }

    /// What can be said of a task the master does not have, from where its scheduler believes it to be.
    fn fate(
        &self,
        task_id: TaskId,
        agent_id: Option<AgentId>,
        is_aware: bool,
        timestamp: UnixTime,
    ) -> TaskStatus {
        let registered = agent_id.as_ref().is_some_and(|id| self.agents.contains(id));
        let since = agent_id.as_ref().and_then(|id| self.unreachable.get(id));
        let (state, text) = match since {
            _ if registered => (TaskState::Gone, "Reconciliation: Task is unknown to the agent"),
            Some(_) => (TaskState::Unreachable, "Reconciliation: Task is unreachable"),
            None if agent_id.as_ref().is_some_and(|id| self.withdrawn.is_gone(id)) => {
                (TaskState::GoneByOperator, "Reconciliation: Task is gone")
            }
            None => (TaskState::Unknown, "Reconciliation: Task is unknown"),
        };
        let state = if is_aware { state } else { state.without_partition_awareness() };
        let reason = Some(Reason::RECONCILIATION);
        let mut status = TaskStatus::made_by(Source::Master, task_id, state, reason, text);
        status.agent_id = agent_id;
        status.timestamp = timestamp;
        if let (Some(since), false) = (since, registered) {
            status.body = unreachable_since(since);
        }
        status
    }
}
