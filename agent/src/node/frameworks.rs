//! Frameworks as this agent sees them: those that have, or lately had, an executor here.

use crate::node::Node;
use crate::node::effect::{Effect, Record};
use crate::node::executors::{Executor, Phase};
use crate::node::gates::Gate;
use crate::node::tasks::Task;
use model::framework::FrameworkInfo;
use model::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use model::time::Now;
use std::collections::{BTreeMap, VecDeque};

pub(super) struct Framework {
    pub(super) info: FrameworkInfo,
    /// Being shut down: nothing is launched for it, nothing it is owed will be acknowledged.
    pub(super) is_ending: bool,
    pub(super) executors: BTreeMap<ExecutorId, Executor>,
    /// Runs that owe nothing any more, oldest first.
    pub(super) completed: VecDeque<Executor>,
    /// Which executor has a task that is not completed.
    pub(super) tasks: BTreeMap<TaskId, ExecutorId>,
}

impl Framework {
    pub(super) fn new(info: FrameworkInfo) -> Self {
        Self {
            info,
            is_ending: false,
            executors: BTreeMap::new(),
            completed: VecDeque::new(),
            tasks: BTreeMap::new(),
        }
    }

    pub(super) fn executor_of(&mut self, task_id: &TaskId) -> Option<&mut Executor> {
        self.executors.get_mut(self.tasks.get(task_id)?)
    }

    pub(super) fn task(&self, task_id: &TaskId) -> Option<&Task> {
        Some(self.executors.get(self.tasks.get(task_id)?)?.tasks.get(task_id)?)
    }
}

impl Node {
    /// Makes the framework known, from now until it has nothing left here.
    pub(super) fn meet_framework(
        &mut self,
        now: Now,
        info: FrameworkInfo,
        effects: &mut Vec<Effect>,
    ) -> FrameworkId {
        let framework_id = info.framework_id.clone().expect("the master gives every framework an id");
        if !self.frameworks.contains_key(&framework_id) {
            let record = Record::Framework { framework: info.clone() };
            self.persist(now, info.checkpoint, record, Gate::Nothing, effects);
            self.frameworks.insert(framework_id.clone(), Framework::new(info));
        }
        framework_id
    }

    pub(super) fn update_framework(&mut self, now: Now, info: FrameworkInfo, effects: &mut Vec<Effect>) {
        let known = info.framework_id.as_ref().and_then(|id| self.frameworks.get_mut(id));
        // The master tells every agent; most have nothing of that framework.
        let Some(framework) = known.filter(|framework| !framework.is_ending) else { return };
        framework.info = info.clone();
        let framework_id = info.framework_id.as_ref().expect("it was found by its id");
        for (key, status) in self.updates.again(now.time, framework_id) {
            self.forward(key, status, effects);
        }
        let checkpoint = info.checkpoint;
        self.persist(now, checkpoint, Record::Framework { framework: info }, Gate::Nothing, effects);
    }

    pub(super) fn shutdown_framework(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        effects: &mut Vec<Effect>,
    ) {
        // Its unknown tasks may have updates here too (see `reconcile`).
        self.updates.forget_framework(framework_id);
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        if std::mem::replace(&mut framework.is_ending, true) {
            return;
        }
        let runs: Vec<(ExecutorId, ContainerId, Phase)> = framework
            .executors
            .iter()
            .map(|(id, executor)| (id.clone(), executor.container_id.clone(), executor.phase))
            .collect();
        for (executor_id, container_id, phase) in runs {
            match phase {
                Phase::Ended => self.remove_executor(now, framework_id, &executor_id, effects),
                Phase::Ending => {}
                _ => self.ask_to_end(now, &container_id, effects),
            }
        }
        self.forget_if_idle(framework_id);
    }

    /// A framework with nothing left here is only remembered.
    pub(super) fn forget_if_idle(&mut self, framework_id: &FrameworkId) {
        let idle = |framework: &Framework| framework.executors.is_empty();
        if !self.frameworks.get(framework_id).is_some_and(idle) || self.updates.has_framework(framework_id) {
            return;
        }
        let framework = self.frameworks.remove(framework_id).expect("it was just seen");
        if self.completed.len() == self.settings.completed_frameworks_max {
            self.completed.pop_front();
        }
        self.completed.push_back(framework);
    }
}
