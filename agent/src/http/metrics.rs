//! `/metrics/snapshot`: one flat object of doubles, by name.
//!
//! An exporter drops a whole block when one name in it is missing, so every name of Mesos' agent is here: from the node
//! where it knows, from its shells' gauges where they do, and zero for what has not happened.

use super::Facts;
use crate::node::counters::Counters;
use crate::node::view::ExecutorView;
use api::convert::quantity::to_f64;
use model::quantity::Quantity;
use model::resources::{CPUS, DISK, GPUS, MEM, Resources, Value};
use model::task::TaskState;
use std::borrow::Cow;
use std::collections::BTreeMap;

pub(super) type Metrics = BTreeMap<Cow<'static, str>, f64>;

/// What is zero unless a gauge says otherwise.
const ZEROES: &[&str] = &[
    "containerizer/fetcher/cache_size_total_bytes",
    "containerizer/fetcher/cache_size_used_bytes",
    "containerizer/fetcher/task_fetches_failed",
    "containerizer/fetcher/task_fetches_succeeded",
    "containerizer/mesos/container_destroy_errors",
    "containerizer/mesos/provisioner/bind/remove_rootfs_errors",
    "containerizer/mesos/provisioner/remove_container_errors",
    "gc/path_removals_failed",
    "gc/path_removals_pending",
    "gc/path_removals_succeeded",
    "resource_provider_manager/events/disconnect",
    "resource_provider_manager/events/subscribe",
    "resource_provider_manager/subscribed",
    "slave/executor_directory_max_allowed_age_secs",
    "slave/recovery_errors",
    "slave/recovery_time_secs",
    "system/cpus_total",
    "system/load_15min",
    "system/load_1min",
    "system/load_5min",
    "system/mem_free_bytes",
    "system/mem_total_bytes",
];

pub(super) fn all(facts: &Facts<'_>) -> Metrics {
    let mut metrics: Metrics = ZEROES.iter().map(|name| (Cow::Borrowed(*name), 0.0)).collect();
    work(facts, &mut metrics);
    resources(facts, &mut metrics);
    counters(facts.known.counters, &mut metrics);
    metrics.extend((facts.gauges)());
    metrics
}

fn work(facts: &Facts<'_>, metrics: &mut Metrics) {
    let mut put = |name: &'static str, value: f64| {
        metrics.insert(Cow::Borrowed(name), value);
    };
    let known = &facts.known;
    put("slave/registered", f64::from(u8::from(known.is_registered)));
    put("slave/uptime_secs", facts.now.0.saturating_sub(facts.started.0) as f64 / 1e6);
    put("slave/frameworks_active", known.frameworks.len() as f64);
    let executors = || known.frameworks.iter().flat_map(|framework| &framework.executors);
    let count =
        |is: fn(&ExecutorView<'_>) -> bool| executors().filter(|executor| is(executor)).count() as f64;
    put("slave/executors_registering", count(|it| it.is_registering));
    put("slave/executors_running", count(|it| !it.is_registering && !it.is_ending && !it.is_ended));
    put("slave/executors_terminating", count(|it| it.is_ending));
    let tasks = |state| {
        let all = executors().flat_map(|executor| executor.tasks.iter().chain(&executor.queued_tasks));
        all.filter(|task| task.state == state).count() as f64
    };
    put("slave/tasks_staging", tasks(TaskState::Staging));
    put("slave/tasks_starting", tasks(TaskState::Starting));
    put("slave/tasks_running", tasks(TaskState::Running));
    put("slave/tasks_killing", tasks(TaskState::Killing));
}

/// Since the agent started.
fn counters(counters: &Counters, metrics: &mut Metrics) {
    let ended = |state| counters.ended(state);
    let counts = [
        ("slave/container_launch_errors", counters.container_launch_errors),
        ("slave/executors_preempted", counters.executors_preempted),
        ("slave/executors_terminated", counters.executors_terminated),
        ("slave/invalid_framework_messages", counters.invalid_framework_messages),
        ("slave/invalid_status_updates", counters.invalid_status_updates),
        ("slave/tasks_failed", ended(TaskState::Failed)),
        ("slave/tasks_finished", ended(TaskState::Finished)),
        ("slave/tasks_gone", ended(TaskState::Gone)),
        ("slave/tasks_killed", ended(TaskState::Killed)),
        ("slave/tasks_lost", ended(TaskState::Lost)),
        ("slave/valid_framework_messages", counters.valid_framework_messages),
        ("slave/valid_status_updates", counters.valid_status_updates),
    ];
    metrics.extend(counts.map(|(name, count)| (Cow::Borrowed(name), count as f64)));
}

/// Of that name, what is lent or what is not.
pub(super) fn sum(resources: &Resources, name: &str, is_revocable: bool) -> Quantity {
    let parts = resources.iter().filter(|part| *part.name == *name && part.is_revocable == is_revocable);
    let amount = |part: &model::resources::Resource| match part.value {
        Value::Scalar(amount) => amount,
        Value::Ranges(_) | Value::Set(_) => Quantity::ZERO,
    };
    parts.map(amount).sum()
}

fn resources(facts: &Facts<'_>, metrics: &mut Metrics) {
    let (own, lent) = (&facts.known.info.total, facts.known.oversubscribed);
    let used = &*facts.known.used;
    for name in [CPUS, GPUS, MEM, DISK] {
        for (infix, total, is_revocable) in [("", own, false), ("_revocable", lent, true)] {
            let (total, used) = (sum(total, name, is_revocable), sum(used, name, is_revocable));
            let share = if total.is_zero() { 0.0 } else { used.milli() as f64 / total.milli() as f64 };
            for (what, value) in [("total", to_f64(total)), ("used", to_f64(used)), ("percent", share)] {
                metrics.insert(Cow::Owned(format!("slave/{name}{infix}_{what}")), value);
            }
        }
    }
}
