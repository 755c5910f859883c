//! The numbers that the node goes by; the flags that set them are in [`crate::config`].

/// Times are milliseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// An executor that has not subscribed this long after its launch is ended (`--executor_registration_timeout`).
    pub executor_registration_timeout_ms: u64,
    /// The same for executors that lived through a restart of the agent (`--executor_reregistration_timeout`).
    pub executor_reregistration_timeout_ms: u64,
    /// From SHUTDOWN to the end by force (`--executor_shutdown_grace_period`).
    pub executor_shutdown_grace_ms: u64,
    /// First bound of the random wait before dialling the master again; doubles each time (`--registration_backoff_factor`).
    pub registration_backoff_ms: u64,
    /// How many tasks of an executor, executors of a framework and frameworks are remembered after their end. Mesos'
    /// numbers (`MAX_COMPLETED_TASKS_PER_EXECUTOR`, `..._EXECUTORS_PER_FRAMEWORK`, `..._FRAMEWORKS`).
    pub completed_tasks_max: usize,
    pub completed_executors_max: usize,
    pub completed_frameworks_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            executor_registration_timeout_ms: 60_000,
            executor_reregistration_timeout_ms: 2_000,
            executor_shutdown_grace_ms: 5_000,
            registration_backoff_ms: 1_000,
            completed_tasks_max: 200,
            completed_executors_max: 150,
            completed_frameworks_max: 50,
        }
    }
}
