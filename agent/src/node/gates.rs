//! What goes on once something is on disk.

use crate::node::Node;
use crate::node::effect::{Effect, Run};
use crate::node::updates::Key;
use crate::node::volumes::Changes;
use model::id::{ContainerId, FrameworkId, TaskId, UpdateId};
use model::time::Now;

pub(super) enum Gate {
    /// Nothing waits for it, except the agent's end.
    Nothing,
    AgentSaved,
    ExecutorSaved {
        container_id: ContainerId,
    },
    TaskSaved {
        framework_id: FrameworkId,
        task_id: TaskId,
    },
    /// `from`: whose executor made the update and is to be told that it is safe.
    UpdateSaved {
        key: Key,
        update_id: UpdateId,
        from: Option<ContainerId>,
    },
    AcknowledgementSaved {
        key: Key,
        update_id: UpdateId,
    },
    TotalSaved {
        changes: Changes,
    },
    /// Until then the run's checkpoint is still being written to.
    RunDone {
        run: Run,
    },
}

impl Node {
    pub(super) fn pass(&mut self, now: Now, gate: Gate, effects: &mut Vec<Effect>) {
        match gate {
            Gate::Nothing => {}
            Gate::AgentSaved => self.agent_saved(now, effects),
            Gate::ExecutorSaved { container_id } => self.executor_saved(now, &container_id, effects),
            Gate::TaskSaved { framework_id, task_id } => {
                self.task_saved(&framework_id, &task_id, effects);
            }
            Gate::UpdateSaved { key, update_id, from } => {
                if let Some(container_id) = from {
                    let task_id = key.1.clone();
                    self.tell_acknowledged(&container_id, task_id, update_id, effects);
                }
                if let Some(status) = self.updates.saved(now.time, &key, update_id) {
                    self.forward(key, status, effects);
                }
            }
            Gate::AcknowledgementSaved { key, update_id } => {
                self.acknowledgement_saved(now, key, update_id, effects);
            }
            Gate::TotalSaved { changes } if changes.is_empty() => {}
            Gate::TotalSaved { changes } => effects.push(Effect::Volumes(changes)),
            Gate::RunDone { run } => effects.push(Effect::Retire { run }),
        }
    }
}
