//! What has happened since the agent started, counted; for `/metrics/snapshot`.

use model::task::TaskState;

#[derive(Clone, Debug, Default)]
pub struct Counters {
    ended: [u64; TaskState::ALL.len()],
    pub executors_terminated: u64,
    /// Ended because what they had on loan was needed.
    pub executors_preempted: u64,
    pub container_launch_errors: u64,
    pub valid_status_updates: u64,
    pub invalid_status_updates: u64,
    /// Of schedulers to their executors.
    pub valid_framework_messages: u64,
    pub invalid_framework_messages: u64,
}

impl Counters {
    /// Tasks that ended in that state.
    pub fn ended(&self, state: TaskState) -> u64 {
        self.ended[state as usize]
    }

    pub(super) fn count_end(&mut self, state: TaskState) {
        self.ended[state as usize] += 1;
    }
}
