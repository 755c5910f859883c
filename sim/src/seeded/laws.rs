//! What has to hold, told from outside.
//!
//! 1. *No task runs twice.* An executor is given a task once, whatever is repeated on the way.
//! 2. *Updates come in order.* After a task's end its scheduler hears of no other end and of no life (unless the end was
//!    the master's guess: LOST, UNREACHABLE, DROPPED, GONE, UNKNOWN).
//! 3. *Nothing that was heard is unacknowledged for ever*, and *every accepted task comes to an end* once faults stop.
//! 4. *No resource is lost.* When everything is over, everything can be offered again.

use model::id::{FrameworkId, TaskId};
use model::task::TaskState;
use std::collections::{BTreeMap, BTreeSet};

/// Notes taken over a run.
#[derive(Debug, Default)]
pub struct Laws {
    seed: u64,
    started: BTreeSet<(FrameworkId, TaskId)>,
    ended: BTreeMap<(FrameworkId, TaskId), TaskState>,
}

impl Laws {
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// An executor begins with a task.
    pub fn task_starts(&mut self, framework: &FrameworkId, task: &TaskId) {
        let is_first = self.started.insert((framework.clone(), task.clone()));
        assert!(is_first, "seed {}: law 1: {framework}'s {task} was started twice", self.seed);
    }

    /// A scheduler hears of a task.
    pub fn scheduler_hears(&mut self, framework: &FrameworkId, task: &TaskId, state: TaskState) {
        let key = (framework.clone(), task.clone());
        let certain = |state: TaskState| {
            matches!(state, TaskState::Finished | TaskState::Failed | TaskState::Killed | TaskState::Error)
        };
        match self.ended.get(&key) {
            Some(&end) if certain(end) && (certain(state) || !state.is_terminal()) => {
                assert!(
                    state == end,
                    "seed {}: law 2: {framework}'s {task} was {end:?}, then {state:?}",
                    self.seed
                );
            }
            _ if state.is_terminal() => {
                self.ended.insert(key, state);
            }
            _ => {}
        }
    }
}
