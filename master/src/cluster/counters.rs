//! What the master counts. Each counter says the name under which `/metrics/snapshot` shows it (Mesos: docs/monitoring.md).

macro_rules! counters {
    ($($name:ident = $metric:literal;)*) => {
        /// Counts since the master began; they only grow.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $(pub $name: u64,)*
        }

        impl Counters {
            /// Every counter with its metric's name.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($metric, self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    dropped_messages = "master/dropped_messages";
    messages_register_framework = "master/messages_register_framework";
    messages_reregister_framework = "master/messages_reregister_framework";
    messages_unregister_framework = "master/messages_unregister_framework";
    messages_deactivate_framework = "master/messages_deactivate_framework";
    messages_kill_task = "master/messages_kill_task";
    messages_resource_request = "master/messages_resource_request";
    messages_launch_tasks = "master/messages_launch_tasks";
    messages_decline_offers = "master/messages_decline_offers";
    messages_revive_offers = "master/messages_revive_offers";
    messages_suppress_offers = "master/messages_suppress_offers";
    messages_reconcile_tasks = "master/messages_reconcile_tasks";
    messages_framework_to_executor = "master/messages_framework_to_executor";
    messages_executor_to_framework = "master/messages_executor_to_framework";
    messages_register_slave = "master/messages_register_slave";
    messages_reregister_slave = "master/messages_reregister_slave";
    messages_unregister_slave = "master/messages_unregister_slave";
    messages_update_slave = "master/messages_update_slave";
    oversubscribed_dropped = "master/oversubscribed_estimates_dropped";
    messages_status_update = "master/messages_status_update";
    messages_status_update_acknowledgement = "master/messages_status_update_acknowledgement";
    messages_exited_executor = "master/messages_exited_executor";
    valid_framework_to_executor_messages = "master/valid_framework_to_executor_messages";
    invalid_framework_to_executor_messages = "master/invalid_framework_to_executor_messages";
    valid_executor_to_framework_messages = "master/valid_executor_to_framework_messages";
    invalid_executor_to_framework_messages = "master/invalid_executor_to_framework_messages";
    valid_status_updates = "master/valid_status_updates";
    invalid_status_updates = "master/invalid_status_updates";
    valid_status_update_acknowledgements = "master/valid_status_update_acknowledgements";
    invalid_status_update_acknowledgements = "master/invalid_status_update_acknowledgements";
    slave_registrations = "master/slave_registrations";
    slave_reregistrations = "master/slave_reregistrations";
    slave_removals = "master/slave_removals";
    slave_removals_reason_registered = "master/slave_removals/reason_registered";
    slave_removals_reason_unhealthy = "master/slave_removals/reason_unhealthy";
    slave_removals_reason_unregistered = "master/slave_removals/reason_unregistered";
    slave_unreachable_scheduled = "master/slave_unreachable_scheduled";
    slave_unreachable_canceled = "master/slave_unreachable_canceled";
    slave_unreachable_completed = "master/slave_unreachable_completed";
    recovery_slave_removals = "master/recovery_slave_removals";
    tasks_finished = "master/tasks_finished";
    tasks_failed = "master/tasks_failed";
    tasks_killed = "master/tasks_killed";
    tasks_lost = "master/tasks_lost";
    tasks_error = "master/tasks_error";
    tasks_dropped = "master/tasks_dropped";
    tasks_gone = "master/tasks_gone";
    tasks_gone_by_operator = "master/tasks_gone_by_operator";
    messages_reconcile_operations = "master/messages_reconcile_operations";
    operations_error = "master/operations/error";
    operations_finished = "master/operations/finished";
}

impl Counters {
    /// Counts a task's end. States that are not ends are gauges, read from the tasks themselves.
    pub(crate) fn ended(&mut self, state: model::task::TaskState) {
        use model::task::TaskState;
        match state {
            TaskState::Finished => self.tasks_finished += 1,
            TaskState::Failed => self.tasks_failed += 1,
            TaskState::Killed => self.tasks_killed += 1,
            TaskState::Lost => self.tasks_lost += 1,
            TaskState::Error => self.tasks_error += 1,
            TaskState::Dropped => self.tasks_dropped += 1,
            TaskState::Gone => self.tasks_gone += 1,
            TaskState::GoneByOperator => self.tasks_gone_by_operator += 1,
            TaskState::Staging
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Killing
            | TaskState::Unreachable
            | TaskState::Unknown => {}
        }
    }
}
