//! Containers as reports name them: whose figures stand in which row of the usage table.

use super::input::SessionId;
use super::{Cluster, Turn};
use crate::usage::Row;
use model::id::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId};
use std::sync::Arc;

impl Cluster {
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
        let agent_id = self.sessions.get(&session).cloned();
        let Some(agent_id) = agent_id else { return self.rows.drop(Some(row), turn) };
        if !self.frameworks.contains(&framework_id) {
            self.show_in_completed(&agent_id, &framework_id, &executor_id, &container_id, row, turn);
        } else {
            self.show_in_executor(&agent_id, &framework_id, &executor_id, &container_id, row, turn);
            self.show_in_tasks(&agent_id, &framework_id, &executor_id, &container_id, row, turn);
            self.rows.hold(row);
            let agent = self.agents.get_mut(&agent_id).expect("a session's agent is registered");
            let old = agent.containers.insert((framework_id, executor_id), (container_id, row));
            self.rows.drop(old.map(|(_, row)| row), turn);
        }
        self.rows.drop(Some(row), turn);
    }

    fn show_in_executor(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        container_id: &ContainerId,
        row: Row,
        turn: &mut Turn<'_>,
    ) {
        let agent = self.agents.get_mut(agent_id).expect("a session's agent is registered");
        let Some(executor) = agent.executors.get_mut(&(framework_id.clone(), executor_id.clone())) else {
            return;
        };
        let changed = Arc::make_mut(executor);
        changed.container_id = Some(container_id.clone());
        self.rows.replace(&mut changed.usage, row, turn);
        let executor = Arc::clone(executor);
        let framework = self.frameworks.get_mut(framework_id).expect("checked by `container`");
        framework.executors.insert((agent_id.clone(), executor_id.clone()), executor);
    }

    fn show_in_tasks(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        container_id: &ContainerId,
        row: Row,
        turn: &mut Turn<'_>,
    ) {
        let agent = self.agents.get(agent_id).expect("a session's agent is registered");
        let first = (framework_id.clone(), TaskId::new(""));
        let ids = agent.tasks.range(first..).take_while(|(framework, _)| framework == framework_id);
        let ids: Vec<_> = ids.map(|(_, task_id)| task_id.clone()).collect();
        let framework = self.frameworks.get_mut(framework_id).expect("checked by `container`");
        let mut is_shown = false;
        for id in &ids {
            let task = framework.tasks.get_mut(id).expect("an agent's task is its framework's");
            if task.info.executor_id() == *executor_id {
                let changed = Arc::make_mut(task);
                changed.container_id = Some(container_id.clone());
                self.rows.replace(&mut changed.usage, row, turn);
                is_shown = true;
            }
        }
        // A task may be over and acknowledged before its container is first reported on.
        let mut over = framework.completed.iter_mut().rev().take_while(|_| !is_shown);
        let runs_there = |task: &super::tasks::Task| {
            task.info.agent_id == *agent_id
                && task.info.executor_id() == *executor_id
                && task.container_id.as_ref().is_none_or(|known| known == container_id)
        };
        if let Some(task) = over.find(|task| runs_there(task)) {
            let changed = Arc::make_mut(task);
            changed.container_id = Some(container_id.clone());
            self.rows.replace(&mut changed.usage, row, turn);
        }
    }

    /// A framework that is torn down as soon as its tasks are over is gone before the last figures of the last
    /// containers come, and those of short ones are the only ones there are.
    fn show_in_completed(
        &mut self,
        agent_id: &AgentId,
        framework_id: &FrameworkId,
        executor_id: &ExecutorId,
        container_id: &ContainerId,
        row: Row,
        turn: &mut Turn<'_>,
    ) {
        let Some(view) = self.completed.iter_mut().rev().find(|view| view.id == *framework_id) else {
            return;
        };
        for task in &mut Arc::make_mut(view).completed_tasks {
            let runs_there = task.info.agent_id == *agent_id && task.info.executor_id() == *executor_id;
            if runs_there && task.container_id.as_ref().is_none_or(|known| known == container_id) {
                let changed = Arc::make_mut(task);
                changed.container_id = Some(container_id.clone());
                self.rows.replace(&mut changed.usage, row, turn);
            }
        }
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
