//! GET /metrics/snapshot: a flat object of numbers, under the names that Mesos' agents have. All names are always there:
//! exporters drop a whole group when one is missing.

use crate::node::counters::Counters;
use crate::node::view::ExecutorView;
use crate::runtime::{Agent, Counts, machine};
use api::convert::quantity::to_f64;
use model::resources::Resources;
use model::task::TaskState;
use serde_json::{Map, Value, json};

pub(super) fn snapshot(agent: &Agent) -> Value {
    let mut out = Map::new();
    let mut say = |name: &str, value: f64| {
        out.insert(name.to_owned(), json!(value));
    };
    agent.look(|node| {
        resources(&mut say, &node.info().total, &node.used());
        let executors: Vec<ExecutorView<'_>> =
            node.frameworks().flat_map(|framework| framework.executors).collect();
        let count = |is: fn(&ExecutorView<'_>) -> bool| executors.iter().filter(|one| is(one)).count() as f64;
        say("slave/frameworks_active", node.frameworks().count() as f64);
        say("slave/executors_registering", count(|one| one.is_registering));
        say("slave/executors_running", count(|one| !one.is_registering && !one.is_ending && !one.is_ended));
        say("slave/executors_terminating", count(|one| one.is_ending));
        let tasks = |state: TaskState| {
            let all = executors.iter().flat_map(|one| one.tasks.iter().chain(&one.queued_tasks));
            all.filter(|task| task.state == state).count() as f64
        };
        say("slave/tasks_staging", tasks(TaskState::Staging));
        say("slave/tasks_starting", tasks(TaskState::Starting));
        say("slave/tasks_running", tasks(TaskState::Running));
        say("slave/tasks_killing", tasks(TaskState::Killing));
        counters(&mut say, node.counters());
        say("slave/registered", f64::from(u8::from(node.is_registered())));
    });
    let uptime_us = agent.now().unix.0.saturating_sub(agent.started.0);
    say("slave/uptime_secs", uptime_us as f64 / 1e6);
    say("slave/recovery_errors", 0.0);
    say("slave/recovery_time_secs", agent.counts.recovery_secs.get());
    containers(&mut say, &agent.counts);
    system(&mut say);
    Value::Object(out)
}

/// Sandboxes are not collected and fetched files not cached yet: of that there is nothing to count.
fn containers(say: &mut impl FnMut(&str, f64), counts: &Counts) {
    say("containerizer/mesos/container_destroy_errors", counts.destroy_errors.get() as f64);
    say("containerizer/mesos/provisioner/bind/remove_rootfs_errors", 0.0);
    say("containerizer/mesos/provisioner/remove_container_errors", 0.0);
    say("containerizer/fetcher/task_fetches_succeeded", counts.fetches_succeeded.get() as f64);
    say("containerizer/fetcher/task_fetches_failed", counts.fetches_failed.get() as f64);
    say("containerizer/fetcher/cache_size_total_bytes", 0.0);
    say("containerizer/fetcher/cache_size_used_bytes", 0.0);
    say("gc/path_removals_failed", 0.0);
    say("gc/path_removals_pending", 0.0);
    say("gc/path_removals_succeeded", 0.0);
    say("slave/executor_directory_max_allowed_age_secs", 0.0);
}

fn counters(say: &mut impl FnMut(&str, f64), counters: &Counters) {
    let ended = |state| counters.ended(state) as f64;
    say("slave/tasks_finished", ended(TaskState::Finished));
    say("slave/tasks_failed", ended(TaskState::Failed));
    say("slave/tasks_killed", ended(TaskState::Killed));
    say("slave/tasks_lost", ended(TaskState::Lost));
    say("slave/tasks_gone", ended(TaskState::Gone));
    say("slave/executors_terminated", counters.executors_terminated as f64);
    say("slave/executors_preempted", 0.0);
    say("slave/container_launch_errors", counters.container_launch_errors as f64);
    say("slave/valid_status_updates", counters.valid_status_updates as f64);
    say("slave/invalid_status_updates", counters.invalid_status_updates as f64);
    say("slave/valid_framework_messages", counters.valid_framework_messages as f64);
    say("slave/invalid_framework_messages", counters.invalid_framework_messages as f64);
}

fn resources(say: &mut impl FnMut(&str, f64), total: &Resources, used: &Resources) {
    for name in ["cpus", "mem", "disk", "gpus"] {
        for (kind, is_revocable) in [("", false), ("_revocable", true)] {
            let sum =
                |of: &Resources| to_f64(of.filter(|part| part.is_revocable == is_revocable).scalar(name));
            let (total, used) = (sum(total), sum(used));
            say(&format!("slave/{name}{kind}_total"), total);
            say(&format!("slave/{name}{kind}_used"), used);
            say(&format!("slave/{name}{kind}_percent"), if total > 0.0 { used / total } else { 0.0 });
        }
    }
}

fn system(say: &mut impl FnMut(&str, f64)) {
    let usage = machine::usage();
    say("system/cpus_total", usage.cpus_milli as f64 / 1e3);
    say("system/load_1min", usage.load1_milli as f64 / 1e3);
    say("system/load_5min", usage.load5_milli as f64 / 1e3);
    say("system/load_15min", usage.load15_milli as f64 / 1e3);
    say("system/mem_total_bytes", usage.memory_total_bytes as f64);
    say("system/mem_free_bytes", usage.memory_available_bytes as f64);
}
