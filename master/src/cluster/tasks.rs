//! Tasks as the master knows them, and the updates that move them.

use super::agents::Agent;
use super::effect::Event;
use super::input::SessionId;
use super::note::Note;
use super::{Cluster, Turn};
use crate::allocator::event::Refusal;
use crate::usage;
use bytes::Bytes;
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId};
use model::role::Role;
use model::task::{Reason, Source, TaskInfo, TaskState, TaskStatus};
use model::time::UnixTime;
use std::sync::Arc;
use wire::message::ToAgent;

/// A task, from the ACCEPT that launched it until it is pushed out of the list of completed ones.
#[derive(Clone, Debug)]
pub struct Task {
    pub framework_id: FrameworkId,
    /// Resources are marked as allocated.
    pub info: Arc<TaskInfo>,
    /// Under which its resources are allocated.
    pub role: Role,
    /// Newest state known; may be ahead of what the scheduler has been told.
    pub state: TaskState,
    /// What the scheduler was told, oldest first, one for each state, without `data` (which may be large).
    pub statuses: Vec<TaskStatus>,
    /// The update the agent sent last and the scheduler may still have to acknowledge.
    pub pending: Option<(TaskState, UpdateId)>,
    /// Known once the agent has reported on it.
    pub container_id: Option<ContainerId>,
    /// Figures of its container; a shared executor's tasks show the same.
    pub usage: Option<usage::Row>,
}

impl Task {
    /// A status of this task that the master makes.
    pub(super) fn status_by_master(
        &self,
        state: TaskState,
        reason: Option<Reason>,
        message: &str,
        timestamp: UnixTime,
    ) -> TaskStatus {
        let task_id = self.info.task_id.clone();
        let mut status = TaskStatus::made_by(Source::Master, task_id, state, reason, message);
        status.agent_id = Some(self.info.agent_id.clone());
        status.executor_id = self.info.executor.as_ref().map(|executor| executor.executor_id.clone());
        status.timestamp = timestamp;
        status
    }

    /// Keeps what the scheduler was told: one status a state, the newest, without its data.
    pub(super) fn record(&mut self, mut status: TaskStatus) {
        if status.data.take().is_some() {
            // The body holds them too.
            let whole = api::convert::status::to_v1(&status).unwrap_or_default();
            status.body = model::body::Body::new(api::protobuf::encode(&whole));
        }
        if self.statuses.last().is_some_and(|last| last.state == status.state) {
            self.statuses.pop();
        }
        self.statuses.push(status);
    }
}

impl Cluster {
    /// An update: forwarded to the scheduler, and the task follows it. It must be acknowledged by the scheduler; the agent
    /// repeats it until then, so one for a framework that is away is simply let go.
    pub(super) fn update(
        &mut self,
        session: SessionId,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        mut status: TaskStatus,
        latest_state: TaskState,
        turn: &mut Turn<'_>,
    ) {
        self.counters.messages_status_update += 1;
        status.agent_id = Some(agent_id.clone());
        let task_id = status.task_id.clone();
        let Some(framework) = self.frameworks.get_mut(framework_id) else {
            self.counters.invalid_status_updates += 1;
            // Nobody will ever acknowledge it: the agent is to stop.
            turn.agent(session, ToAgent::ShutdownFramework { framework_id: framework_id.clone() });
            return turn.ignored("status update", task_id, "its framework is not known");
        };
        framework.tell(&status, turn);
        let is_told = framework.stream.is_some();
        let known = framework.tasks.get_mut(&task_id).filter(|task| task.info.agent_id == *agent_id);
        let Some(task) = known else {
            self.counters.invalid_status_updates += 1;
            return turn.ignored("status update", task_id, "its task is not known");
        };
        let counter = if is_told {
            &mut self.counters.valid_status_updates
        } else {
            &mut self.counters.invalid_status_updates
        };
        *counter += 1;
        let changed = Arc::make_mut(task);
        // Also for a framework that is away: what it asks for when it is back must not run ahead of this update, which
        // the agent is going to repeat.
        if let Some(update_id) = status.update_id {
            changed.pending = Some((status.state, update_id));
        }
        if let Some(container) = &status.container {
            changed.container_id = Some(container.container_id.clone());
        }
        changed.record(status);
        turn.note(Note::TaskUpdated {
            framework_id: framework_id.clone(),
            task_id: task_id.clone(),
            state: latest_state,
        });
        self.advance(framework_id, &task_id, latest_state, turn);
    }

    /// Moves a task to a newer state. What is over stays over; what becomes so frees its resources now, whatever its
    /// scheduler has yet to be told.
    fn advance(
        &mut self,
        framework_id: &FrameworkId,
        task_id: &TaskId,
        state: TaskState,
        turn: &mut Turn<'_>,
    ) {
        let framework = self.frameworks.get_mut(framework_id).expect("checked by the caller");
        let task = framework.tasks.get_mut(task_id).expect("checked by the caller");
        if task.state.is_terminal() || !is_reportable(state) {
            return;
        }
        Arc::make_mut(task).state = state;
        if !state.is_terminal() {
            return;
        }
        let (agent_id, resources) = (task.info.agent_id.clone(), task.info.resources.clone());
        framework.used.subtract(&resources);
        self.counters.ended(state);
        let agent = self.agents.get_mut(&agent_id).expect("a running task's agent is registered");
        Agent::subtract(&mut agent.used, &resources);
        self.release(framework_id, &agent_id, resources, Refusal::None, turn);
    }

    /// The scheduler has an update; the agent may go on to the next. Only the update it was told last can be meant.
    pub(super) fn acknowledge(
        &mut self,
        id: &FrameworkId,
        agent_id: &AgentId,
        task_id: TaskId,
        update_id: UpdateId,
        turn: &mut Turn<'_>,
    ) {
        self.counters.messages_status_update_acknowledgement += 1;
        let Some(session) = self.agents.get(agent_id).and_then(|agent| agent.session) else {
            self.counters.invalid_status_update_acknowledgements += 1;
            return turn.ignored("ACKNOWLEDGE", task_id, "its agent is not connected");
        };
        let framework = self.frameworks.get_mut(id).expect("the caller is subscribed");
        let task = framework.tasks.get(&task_id).filter(|task| task.info.agent_id == *agent_id);
        let is_last = match task {
            // Told by another master, or about a task we have forgotten: the agent knows.
            None => false,
            Some(task) => match task.pending {
                Some((state, pending)) if pending == update_id => state.is_terminal(),
                _ => {
                    self.counters.invalid_status_update_acknowledgements += 1;
                    return turn.ignored("ACKNOWLEDGE", task_id, "the update was not the last one told");
                }
            },
        };
        if is_last && let Some(task) = framework.tasks.remove(&task_id) {
            let agent = self.agents.get_mut(agent_id).expect("looked up above");
            agent.tasks.remove(&(id.clone(), task_id.clone()));
            agent.killed.remove(&(id.clone(), task_id.clone()));
            self.complete_task(id, task, turn);
        }
        self.counters.valid_status_update_acknowledgements += 1;
        turn.agent(session, ToAgent::Acknowledge { framework_id: id.clone(), task_id, update_id });
    }

    /// Keeps a task that is over among the newest of its framework.
    pub(super) fn complete_task(&mut self, id: &FrameworkId, task: Arc<Task>, turn: &mut Turn<'_>) {
        let framework = self.frameworks.get_mut(id).expect("the caller has it");
        framework.completed.push_back(task);
        if framework.completed.len() > self.settings.max_completed_tasks_per_framework {
            let oldest = framework.completed.pop_front();
            self.rows.drop(oldest.and_then(|task| task.usage), turn);
        }
    }

    /// Keeps a task whose agent was given up, and which may come back with it.
    pub(super) fn keep_unreachable(&mut self, id: &FrameworkId, task: Arc<Task>, turn: &mut Turn<'_>) {
        let framework = self.frameworks.get_mut(id).expect("the caller has it");
        framework.unreachable.push_back(task);
        if framework.unreachable.len() > self.settings.max_unreachable_tasks_per_framework {
            let oldest = framework.unreachable.pop_front();
            self.rows.drop(oldest.and_then(|task| task.usage), turn);
        }
    }

    pub(super) fn kill(
        &mut self,
        id: &FrameworkId,
        task_id: TaskId,
        agent_id: Option<AgentId>,
        grace_ns: Option<u64>,
        turn: &mut Turn<'_>,
    ) {
        self.counters.messages_kill_task += 1;
        let framework = self.frameworks.get(id).expect("the caller is subscribed");
        let Some(task) = framework.tasks.get(&task_id) else {
            // It is told what has become of it, so that it does not wait for an end that was long ago.
            return self.reconcile(id, vec![(task_id, agent_id)], turn);
        };
        if agent_id.is_some_and(|given| given != task.info.agent_id) {
            return turn.ignored("KILL", task_id, "the task is on another agent");
        }
        let agent_id = task.info.agent_id.clone();
        let agent = self.agents.get_mut(&agent_id).expect("a task's agent is registered");
        agent.killed.insert((id.clone(), task_id.clone()));
        match agent.session {
            Some(session) => {
                turn.agent(session, ToAgent::Kill { framework_id: id.clone(), task_id, grace_ns });
            }
            None => turn.ignored("KILL", task_id, "its agent is disconnected; it is told when it comes back"),
        }
    }

    pub(super) fn shutdown(
        &mut self,
        id: &FrameworkId,
        executor_id: ExecutorId,
        agent_id: &AgentId,
        turn: &mut Turn<'_>,
    ) {
        let Some(session) = self.agents.get(agent_id).and_then(|agent| agent.session) else {
            return turn.ignored("SHUTDOWN", executor_id, "its agent is not connected");
        };
        turn.agent(session, ToAgent::ShutdownExecutor { framework_id: id.clone(), executor_id });
    }

    pub(super) fn scheduler_message(
        &mut self,
        id: &FrameworkId,
        agent_id: &AgentId,
        executor_id: ExecutorId,
        data: Bytes,
        turn: &mut Turn<'_>,
    ) {
        self.counters.messages_framework_to_executor += 1;
        let Some(session) = self.agents.get(agent_id).and_then(|agent| agent.session) else {
            self.counters.invalid_framework_to_executor_messages += 1;
            return turn.ignored("MESSAGE", executor_id, "its agent is not connected");
        };
        self.counters.valid_framework_to_executor_messages += 1;
        turn.agent(session, ToAgent::SchedulerMessage { framework_id: id.clone(), executor_id, data });
    }

    pub(super) fn executor_message(
        &mut self,
        agent_id: AgentId,
        framework_id: &FrameworkId,
        executor_id: ExecutorId,
        data: Bytes,
        turn: &mut Turn<'_>,
    ) {
        self.counters.messages_executor_to_framework += 1;
        match self.frameworks.get(framework_id).and_then(|framework| framework.stream.clone()) {
            Some(stream) => {
                self.counters.valid_executor_to_framework_messages += 1;
                turn.scheduler(&stream, Event::Message { agent_id, executor_id, data });
            }
            None => {
                self.counters.invalid_executor_to_framework_messages += 1;
                turn.ignored("executor message", executor_id, "its framework is not connected");
            }
        }
    }

    /// An executor's container has ended: it holds nothing any more. The ends of its tasks are told by the agent.
    pub(super) fn executor_exited(
        &mut self,
        agent_id: AgentId,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        wait_status: Option<i32>,
        turn: &mut Turn<'_>,
    ) {
        self.counters.messages_exited_executor += 1;
        if !self.remove_executor(&agent_id, &framework_id, &executor_id, turn) {
            // The agent's own, for a command task.
            return;
        }
        turn.note(Note::ExecutorExited {
            framework_id: framework_id.clone(),
            executor_id: executor_id.clone(),
            agent_id: agent_id.clone(),
        });
        let framework = self.frameworks.get(&framework_id).expect("an executor's framework is known");
        if let Some(stream) = &framework.stream {
            let status = Some(wait_status.unwrap_or(-1));
            turn.scheduler(stream, Event::Failure { agent_id, executor_id: Some(executor_id), status });
        }
    }

    /// Whether it was there.
    pub(super) fn remove_executor(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        turn: &mut Turn<'_>,
    ) -> bool {
        let agent = self.agents.get_mut(agent_id).expect("the caller has it");
        let Some(executor) = agent.executors.remove(&(framework_id.clone(), executor_id.clone())) else {
            return false;
        };
        Agent::subtract(&mut agent.used, &executor.info.resources);
        let framework = self.frameworks.get_mut(framework_id).expect("an executor's framework is known");
        framework.executors.remove(&(agent_id.clone(), executor_id.clone()));
        framework.used.subtract(&executor.info.resources);
        self.rows.drop(executor.usage, turn);
        self.release(framework_id, agent_id, executor.info.resources.clone(), Refusal::None, turn);
        true
    }
}

/// States that an agent can report. UNREACHABLE is the master's own word, and nothing *is* in state UNKNOWN.
fn is_reportable(state: TaskState) -> bool {
    !matches!(state, TaskState::Unreachable | TaskState::Unknown)
}
