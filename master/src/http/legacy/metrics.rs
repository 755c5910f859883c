//! `/metrics/snapshot`: one flat object of doubles, by name.
//!
//! An exporter drops a whole block when one name in it is missing, so every name of Mesos' master is here: from the
//! snapshot where it knows, from the callers' gauges where they do, and zero for what has not happened.

use super::roles::Roles;
use crate::cluster::snapshot::{AgentView, Snapshot};
use api::convert::quantity::to_f64;
use api::legacy::Gauge;
use model::quantity::Quantity;
use model::resources::{CPUS, DISK, GPUS, MEM, Resources, Value};
use model::task::TaskState;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

pub(super) type Metrics = BTreeMap<Cow<'static, str>, f64>;

/// What is zero unless a gauge says otherwise.
const ZEROES: &[&str] = &[
    "allocator/event_queue_dispatches",
    "allocator/mesos/allocation_runs",
    "allocator/mesos/event_queue_dispatches",
    // Requests, messages and dispatches never queue in front of an actor here.
    "master/event_queue_dispatches",
    "master/event_queue_http_requests",
    "master/event_queue_messages",
    "master/http_cache_hits",
    "master/invalid_operation_status_update_acknowledgements",
    "master/invalid_operation_status_updates",
    "master/messages_authenticate",
    "master/messages_operation_status_update",
    "master/messages_operation_status_update_acknowledgement",
    "master/messages_reconcile_operations",
    "master/operator_event_stream_subscribers",
    "master/slave_shutdowns_canceled",
    "master/slave_shutdowns_completed",
    "master/slave_shutdowns_scheduled",
    "master/valid_operation_status_update_acknowledgements",
    "master/valid_operation_status_updates",
    "registrar/log/ensemble_size",
    "registrar/log/recovered",
    "registrar/queued_operations",
    "registrar/registry_size_bytes",
    "registrar/state_fetch_ms",
    "system/cpus_total",
    "system/load_15min",
    "system/load_1min",
    "system/load_5min",
    "system/mem_free_bytes",
    "system/mem_total_bytes",
];

/// Timers: the last value under the name itself, and these below it.
const TIMERS: [&str; 3] = [
    "allocator/mesos/allocation_run_latency_ms",
    "allocator/mesos/allocation_run_ms",
    "registrar/state_store_ms",
];
const TIMER_PARTS: [&str; 10] =
    ["", "/count", "/max", "/min", "/p50", "/p90", "/p95", "/p99", "/p999", "/p9999"];

/// Operations, of which there are none but LAUNCH in this master; `total` and the states of each kind.
const OPERATIONS: [&str; 9] = [
    "",
    "/create",
    "/create_disk",
    "/destroy",
    "/destroy_disk",
    "/grow_volume",
    "/reserve",
    "/shrink_volume",
    "/unreserve",
];
const OPERATION_STATES: [&str; 9] = [
    "dropped",
    "error",
    "failed",
    "finished",
    "gone_by_operator",
    "pending",
    "recovering",
    "total",
    "unreachable",
];

pub(super) fn all(snapshot: &Snapshot, gauges: &[Gauge]) -> Metrics {
    let mut metrics = zeroes();
    let counters = snapshot.counters.each().map(|(name, count)| (Cow::Borrowed(name), count as f64));
    metrics.extend(counters);
    cluster(snapshot, &mut metrics);
    resources(snapshot, &mut metrics);
    roles(snapshot, &mut metrics);
    frameworks(snapshot, &mut metrics);
    metrics.extend(gauges.iter().cloned());
    metrics
}

fn zeroes() -> Metrics {
    let plain = ZEROES.iter().map(|name| Cow::Borrowed(*name));
    let timers = TIMERS
        .iter()
        .flat_map(|timer| TIMER_PARTS.iter().map(move |part| Cow::Owned(format!("{timer}{part}"))));
    let operations = OPERATIONS.iter().flat_map(|kind| {
        OPERATION_STATES.iter().map(move |state| Cow::Owned(format!("master/operations{kind}/{state}")))
    });
    plain.chain(timers).chain(operations).map(|name| (name, 0.0)).collect()
}

fn cluster(snapshot: &Snapshot, metrics: &mut Metrics) {
    let mut put = |name: &'static str, count: usize| {
        metrics.insert(Cow::Borrowed(name), count as f64);
    };
    let (agents, frameworks) = (&snapshot.agents, &snapshot.frameworks);
    let active = agents.iter().filter(|view| snapshot.is_active(view)).count();
    let connected = agents.iter().filter(|view| view.is_connected).count();
    put("master/slaves_active", active);
    put("master/slaves_inactive", agents.len() - active);
    put("master/slaves_connected", connected);
    put("master/slaves_disconnected", agents.len() - connected);
    put("master/slaves_unreachable", snapshot.unreachable_agents.len());
    let active = frameworks.iter().filter(|view| view.is_active).count();
    let connected = frameworks.iter().filter(|view| view.is_connected).count();
    put("master/frameworks_active", active);
    put("master/frameworks_inactive", frameworks.len() - active);
    put("master/frameworks_connected", connected);
    put("master/frameworks_disconnected", frameworks.len() - connected);
    put("master/outstanding_offers", frameworks.iter().map(|view| view.offers.len()).sum());
    // Only a leader answers.
    put("master/elected", 1);
    let tasks = |state| {
        let all = frameworks.iter().flat_map(|view| &view.tasks);
        all.filter(|task| task.state == state).count()
    };
    put("master/tasks_staging", tasks(TaskState::Staging));
    put("master/tasks_starting", tasks(TaskState::Starting));
    put("master/tasks_running", tasks(TaskState::Running));
    put("master/tasks_killing", tasks(TaskState::Killing));
    put("master/tasks_unreachable", frameworks.iter().map(|view| view.unreachable_tasks.len()).sum());
    let up_us = snapshot.taken.0.saturating_sub(snapshot.master.started.0);
    metrics.insert(Cow::Borrowed("master/uptime_secs"), up_us as f64 / 1e6);
}

fn sum_of_all<'a>(
    snapshot: &'a Snapshot,
    of: impl Fn(&'a AgentView) -> &'a Resources,
    name: &str,
    is_revocable: bool,
) -> Quantity {
    snapshot.agents.iter().map(|view| sum(of(view), name, is_revocable)).sum()
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

fn ratio(part: Quantity, whole: Quantity) -> f64 {
    if whole.is_zero() { 0.0 } else { part.milli() as f64 / whole.milli() as f64 }
}

fn resources(snapshot: &Snapshot, metrics: &mut Metrics) {
    for name in [CPUS, GPUS, MEM, DISK] {
        for (infix, is_revocable) in [("", false), ("_revocable", true)] {
            let total = sum_of_all(snapshot, |view| &view.total, name, is_revocable);
            let used = sum_of_all(snapshot, |view| &view.used, name, is_revocable);
            let mut put = |what: &str, value| {
                metrics.insert(Cow::Owned(format!("master/{name}{infix}_{what}")), value);
            };
            put("total", to_f64(total));
            put("used", to_f64(used));
            put("percent", ratio(used, total));
            if name != GPUS && !is_revocable {
                let offered = sum_of_all(snapshot, |view| &view.offered, name, is_revocable);
                let base = format!("allocator/mesos/resources/{name}");
                metrics.insert(Cow::Owned(format!("{base}/offered_or_allocated")), to_f64(used + offered));
                metrics.insert(Cow::Owned(format!("{base}/total")), to_f64(total));
            }
        }
    }
}

/// The share of each role, as its largest share of any resource; and what it uses of its quota.
fn roles(snapshot: &Snapshot, metrics: &mut Metrics) {
    let total = |name| [false, true].map(|is_lent| sum_of_all(snapshot, |view| &view.total, name, is_lent));
    let totals = [CPUS, GPUS, MEM, DISK].map(|name| (name, total(name).into_iter().sum::<Quantity>()));
    let roles = Roles::of(snapshot);
    for (role, held) in &roles.roles {
        let allocated = held.allocated.clone().plus(&held.offered);
        let share = allocated.iter().filter_map(|(name, amount)| {
            let (_, total) = totals.iter().find(|(known, _)| **known == **name)?;
            Some(ratio(amount, *total))
        });
        let share = share.fold(0.0, f64::max);
        metrics.insert(Cow::Owned(format!("allocator/mesos/roles/{role}/shares/dominant")), share);
        for (name, amount) in held.consumed().iter() {
            let name = format!("allocator/mesos/quota/roles/{role}/resources/{name}/consumed");
            metrics.insert(Cow::Owned(name), to_f64(amount));
        }
    }
}

fn frameworks(snapshot: &Snapshot, metrics: &mut Metrics) {
    const ACTIVE: [TaskState; 6] = [
        TaskState::Staging,
        TaskState::Starting,
        TaskState::Running,
        TaskState::Killing,
        TaskState::Unreachable,
        TaskState::Unknown,
    ];
    for view in &snapshot.frameworks {
        let base = format!("master/frameworks/{}/{}", escape(&view.info.name), view.id);
        metrics.insert(Cow::Owned(format!("{base}/subscribed")), f64::from(u8::from(view.is_connected)));
        for role in &view.info.roles {
            let is_suppressed = f64::from(u8::from(view.suppressed.contains(role)));
            metrics.insert(Cow::Owned(format!("{base}/roles/{role}/suppressed")), is_suppressed);
        }
        for state in ACTIVE {
            let tasks = view.tasks.iter().chain(&view.unreachable_tasks);
            let count = tasks.filter(|task| task.state == state).count();
            let state = state.as_str().to_lowercase();
            metrics.insert(Cow::Owned(format!("{base}/tasks/active/{state}")), count as f64);
        }
    }
}

/// Percent-encodes what would part a metric's name: Mesos encodes names as it does URLs.
fn escape(name: &str) -> String {
    name.bytes().fold(String::with_capacity(name.len()), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

/// `/system/stats.json`: the machine's figures under their old names, out of the gauges.
pub(super) struct SystemStats<'a>(pub(super) &'a [Gauge]);

impl Serialize for SystemStats<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(untagged)]
        enum Figure {
            Whole(u64),
            Fraction(f64),
        }
        serializer.collect_map(self.0.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix("system/")?;
            Some(match name.strip_prefix("load_") {
                Some(span) => (format!("avg_load_{span}"), Figure::Fraction(*value)),
                None => (name.to_owned(), Figure::Whole(*value as u64)),
            })
        }))
    }
}
