//! Draining: an operator wants the agent empty. Every task is killed, none begins until all are over, and each is told why. The
//! master says it again whenever the agent comes back to it.

use crate::node::Node;
use crate::node::effect::Effect;
use crate::node::tasks::Stage;
use model::framework::Capabilities;
use model::id::{FrameworkId, TaskId};
use model::task::{Reason, TaskInfo, TaskState, TaskStatus};
use model::time::Now;

/// As the master wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Drain {
    /// Bounds the time that tasks have to end by themselves.
    pub(super) max_grace_ns: Option<u64>,
    /// The agent will not come back.
    pub(super) marks_gone: bool,
}

impl Drain {
    /// `None`: as the task's own policy says.
    fn grace_ns(&self, task: &TaskInfo) -> Option<u64> {
        self.max_grace_ns.filter(|max_ns| task.kill_grace_ns.is_none_or(|own_ns| *max_ns < own_ns))
    }
}

impl Node {
    pub(super) fn drain(&mut self, now: Now, drain: Drain, effects: &mut Vec<Effect>) {
        self.draining = Some(drain);
        let mut here: Vec<(FrameworkId, TaskId, Option<u64>)> = Vec::new();
        for (framework_id, framework) in &self.frameworks {
            let tasks = framework.executors.values().flat_map(|executor| executor.tasks.values());
            here.extend(tasks.filter(|task| task.stage != Stage::Over).map(|task| {
                (framework_id.clone(), task.info.task_id.clone(), drain.grace_ns(&task.info))
            }));
        }
        for (framework_id, task_id, grace_ns) in here {
            self.kill(now, &framework_id, &task_id, grace_ns, effects);
        }
    }

    /// Nothing is left that would have to be drained.
    pub(super) fn finish_draining(&mut self) {
        if self.draining.is_some() && self.frameworks.is_empty() {
            self.draining = None;
        }
    }

    /// Why a task that is being killed ends here, in one word for all that drain.
    pub(super) fn tell_of_draining(&self, framework_id: &FrameworkId, status: &mut TaskStatus) {
        let Some(drain) = self.draining else { return };
        if !matches!(status.state, TaskState::Killing | TaskState::Killed) {
            return;
        }
        status.reason = Some(Reason::AGENT_DRAINING);
        let framework = self.frameworks.get(framework_id);
        let is_aware = framework.is_some_and(|it| it.info.capabilities.has(Capabilities::PARTITION_AWARE));
        if drain.marks_gone && is_aware {
            status.state = TaskState::GoneByOperator;
        }
    }
}
