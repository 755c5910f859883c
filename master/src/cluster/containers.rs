//! Containers as reports name them: whose figures stand in which row of the usage table.

use super::effect::Effect;
use super::input::SessionId;
use super::rows::Rows;
use super::tasks::Task;
use super::{Cluster, Turn};
use crate::usage::{NodeRow, Row};
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId};
use std::sync::Arc;

/// Which container is meant.
struct Place {
    agent_id: AgentId,
    framework_id: FrameworkId,
    executor_id: ExecutorId,
    container_id: ContainerId,
}

impl Place {
    /// Whether the task ran there. One of which no container is known yet may have.
    fn is_where(&self, task: &Task) -> bool {
        task.info.agent_id == self.agent_id
            && task.info.executor_id() == self.executor_id
            && task.container_id.as_ref().is_none_or(|known| *known == self.container_id)
    }

    fn show_in(&self, task: &mut Arc<Task>, row: Row, rows: &mut Rows, turn: &mut Turn<'_>) {
        let changed = Arc::make_mut(task);
        changed.container_id = Some(self.container_id.clone());
        rows.replace(&mut changed.usage, row, turn);
    }
}

impl Cluster {
    /// The figures of the session's node stand in that row. It is the agent's until the agent is removed.
    pub(super) fn node(&mut self, session: SessionId, row: NodeRow, turn: &mut Turn<'_>) {
        let agent = self.sessions.get(&session).and_then(|id| self.agents.get_mut(id));
        let unused = match agent {
            Some(agent) => agent.node.replace(row).filter(|old| *old != row),
            None => Some(row),
        };
        turn.effects.extend(unused.map(Effect::ForgetNode));
    }

    /// A container's figures stand in that row: its executor and the tasks that run in it show them.
    pub(super) fn container(
        &mut self,
        session: SessionId,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        container_id: ContainerId,
        row: Row,
        turn: &mut Turn<'_>,
    ) {
        // Held for the time of this call, so that a row nobody shows is freed at its end.
        self.rows.hold(row);
        if let Some(agent_id) = self.sessions.get(&session).cloned() {
            let place = Place { agent_id, framework_id, executor_id, container_id };
            let is_shown = if self.frameworks.contains(&place.framework_id) {
                self.show_in_executor(&place, row, turn);
                self.show_in_tasks(&place, row, turn);
                true
            } else {
                self.show_in_completed_framework(&place, row, turn)
            };
            if is_shown {
                self.rows.hold(row);
                let Place { agent_id, framework_id, executor_id, container_id } = place;
                let agent = self.agents.get_mut(&agent_id).expect("a session's agent is registered");
                let old = agent.containers.insert((framework_id, executor_id), (container_id, row));
                self.rows.drop(old.map(|(_, row)| row), turn);
            }
        }
        self.rows.drop(Some(row), turn);
    }

    fn show_in_executor(&mut self, place: &Place, row: Row, turn: &mut Turn<'_>) {
        let agent = self.agents.get_mut(&place.agent_id).expect("a session's agent is registered");
        let key = (place.framework_id.clone(), place.executor_id.clone());
        let Some(executor) = agent.executors.get_mut(&key) else { return };
        let changed = Arc::make_mut(executor);
        changed.container_id = Some(place.container_id.clone());
        self.rows.replace(&mut changed.usage, row, turn);
        let executor = Arc::clone(executor);
        let framework = self.frameworks.get_mut(&place.framework_id).expect("checked by `container`");
        framework.executors.insert((place.agent_id.clone(), key.1), executor);
    }

    fn show_in_tasks(&mut self, place: &Place, row: Row, turn: &mut Turn<'_>) {
        let agent = self.agents.get(&place.agent_id).expect("a session's agent is registered");
        let first = (place.framework_id.clone(), TaskId::new(""));
        let ids = agent.tasks.range(first..).take_while(|(framework, _)| *framework == place.framework_id);
        let ids: Vec<_> = ids.map(|(_, task_id)| task_id.clone()).collect();
        let framework = self.frameworks.get_mut(&place.framework_id).expect("checked by `container`");
        let mut is_shown = false;
        for id in &ids {
            let task = framework.tasks.get_mut(id).expect("an agent's task is its framework's");
            if task.info.executor_id() == place.executor_id {
                place.show_in(task, row, &mut self.rows, turn);
                is_shown = true;
            }
        }
        // A task may be over and acknowledged before its container is first reported on.
        let mut over = framework.completed.iter_mut().rev().take_while(|_| !is_shown);
        if let Some(task) = over.find(|task| place.is_where(task)) {
            place.show_in(task, row, &mut self.rows, turn);
        }
    }

    /// A framework may be over before the containers of its last tasks are first reported on. Whether there was one.
    fn show_in_completed_framework(&mut self, place: &Place, row: Row, turn: &mut Turn<'_>) -> bool {
        let view = self.completed.iter_mut().rev().find(|view| view.id == place.framework_id);
        let Some(view) = view else { return false };
        let Some(at) = view.completed_tasks.iter().rposition(|task| place.is_where(task)) else {
            return false;
        };
        place.show_in(&mut Arc::make_mut(view).completed_tasks[at], row, &mut self.rows, turn);
        true
    }

    /// The container has ended: its tasks keep showing its last figures, nothing new will show them.
    pub(super) fn container_over(
        &mut self,
        session: SessionId,
        framework_id: FrameworkId,
        executor_id: ExecutorId,
        row: Row,
        turn: &mut Turn<'_>,
    ) {
        let Some(agent) = self.sessions.get(&session).and_then(|id| self.agents.get_mut(id)) else { return };
        let place = (framework_id, executor_id);
        if agent.containers.get(&place).is_some_and(|(_, shown)| *shown == row) {
            agent.containers.remove(&place);
            self.rows.drop(Some(row), turn);
        }
    }
}
