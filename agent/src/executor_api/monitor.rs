//! GET /monitor/statistics and /containers: what each container uses now, in Mesos' names (`ResourceStatistics`).

use crate::executor_api::show;
use crate::node::view::ExecutorView;
use crate::runtime::Agent;
use api::convert::quantity::to_f64;
use api::convert::time;
use model::resources::{CPUS, MEM};
use model::usage::{Source, Usage};
use serde_json::{Value, json};

pub(super) fn statistics(agent: &Agent) -> Value {
    Value::Array(each(agent, |_, _| None))
}

pub(super) fn containers(agent: &Agent) -> Value {
    let status = |executor: &ExecutorView<'_>, mut entry: Value| {
        let mut status = json!({ "container_id": { "value": executor.container_id.as_str() } });
        if let Some(pid) = executor.pid {
            status["executor_pid"] = json!(pid);
        }
        entry["container_id"] = json!(executor.container_id.as_str());
        entry["status"] = status;
        Some(entry)
    };
    Value::Array(each(agent, status))
}

fn each(agent: &Agent, more: impl Fn(&ExecutorView<'_>, Value) -> Option<Value>) -> Vec<Value> {
    let mut out = Vec::new();
    agent.look(|node| {
        for framework in node.frameworks() {
            let framework_id = framework.info.framework_id.as_ref().map_or("", |id| id.as_str());
            for executor in framework.executors.iter().filter(|executor| !executor.is_ended) {
                let Some(usage) = agent.usage_of(executor.container_id) else { continue };
                let entry = json!({
                    "executor_id": executor.info.executor_id.as_str(),
                    "executor_name": show::executor_name(executor),
                    "framework_id": framework_id,
                    "source": if executor.is_command { executor.info.executor_id.as_str() } else { "" },
                    "statistics": figures(agent, executor, &usage),
                });
                out.push(more(executor, entry.clone()).unwrap_or(entry));
            }
        }
    });
    out
}

/// Only what is known is said.
fn figures(agent: &Agent, executor: &ExecutorView<'_>, usage: &Usage) -> Value {
    let seconds = |ns: u64| ns as f64 / 1e9;
    let memory_limit = executor.resources.scalar(MEM).milli() * (1 << 20) / 1000;
    let mut out = json!({
        "timestamp": time::seconds(agent.now().unix),
        "cpus_limit": to_f64(executor.resources.scalar(CPUS)),
        "cpus_soft_limit": to_f64(executor.resources.scalar(CPUS)),
        "mem_limit_bytes": memory_limit,
        "mem_soft_limit_bytes": memory_limit,
    });
    let mut say = |name: &str, value: Value| out[name] = value;
    if usage.cpu_source != Source::None {
        say("cpus_user_time_secs", json!(seconds(usage.cpu_user_ns)));
        say("cpus_system_time_secs", json!(seconds(usage.cpu_system_ns)));
        say("cpus_nr_throttled", json!(usage.throttled_periods));
        say("cpus_throttled_time_secs", json!(seconds(usage.throttled_ns)));
    }
    if usage.memory_source != Source::None {
        say("mem_rss_bytes", json!(usage.memory_current_bytes));
        say("mem_total_bytes", json!(usage.memory_current_bytes));
        say("mem_anon_bytes", json!(usage.memory_anon_bytes));
        say("mem_file_bytes", json!(usage.memory_file_bytes));
    }
    if usage.network_source != Source::None {
        say("net_rx_bytes", json!(usage.net_rx_bytes));
        say("net_rx_packets", json!(usage.net_rx_packets));
        say("net_tx_bytes", json!(usage.net_tx_bytes));
        say("net_tx_packets", json!(usage.net_tx_packets));
    }
    say("processes", json!(usage.processes));
    say("threads", json!(usage.threads));
    out
}
