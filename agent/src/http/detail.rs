//! What stands under `ingot` beside a container's statistics: every figure, and what lies behind them.
//!
//! ```json
//! {"usage": {"cpu_ns": 1, ..., "source": {"cpu": "bpf", ...}, "final": false},
//!  "latency": {"bounds_ns": [1024, 2048, ...], "run_queue": {"buckets": [0, 3, ...], ...}, "tcp_rtt": {...}},
//!  "devices": [{"device": "8:0", "name": "sda", "read_bytes": 4096, ..., "latency": {...}}],
//!  "preempted_by": [{"kind": "container", "container_id": "...", "tasks": [...], "count": 3, "waited_ns": 71000},
//!                   {"kind": "system", "count": 1, "waited_ns": 900}]}
//! ```
//! A distribution that nobody tells is left out. `buckets[i]` counts what took less than `bounds_ns[i]` and no less than
//! the bound before; the last bucket, beyond the last bound, has none. All of it is since the container began.

use super::containers::Container;
use super::held::{ShownEgress, ShownLimits};
use super::qos::Held;
use super::{Facts, Figures, frameworks};
use api::legacy::each::Each;
use api::legacy::usage::Measured;
use model::latency::Latency;
use model::usage::{Device, Preempter, Preemption, Source};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// Tasks of a container that are named where it is somebody's preempter: enough to know it by.
const TASKS_MAX: usize = 4;

/// Whose container has which id.
pub(super) type Owners<'f> = BTreeMap<&'f str, Container<'f>>;

pub(super) struct Behind<'d, 'f, 'a> {
    pub(super) facts: &'f Facts<'a>,
    pub(super) owners: &'d Owners<'f>,
    pub(super) figures: Figures,
}

impl Serialize for Behind<'_, '_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<D, P> {
            #[serde(flatten)]
            measured: Measured,
            latency: Latencies,
            devices: D,
            preempted_by: P,
            limits: ShownLimits,
            #[serde(skip_serializing_if = "Option::is_none")]
            egress: Option<ShownEgress>,
            #[serde(skip_serializing_if = "Option::is_none")]
            revocable: Option<Held>,
        }
        let Figures { usage, detail, limits, egress, .. } = &self.figures;
        let told = |source: Source, of: &Latency| (source != Source::None).then_some(Distribution(*of));
        Fields {
            measured: Measured::of(usage, false),
            latency: Latencies {
                bounds_ns: bounds_ns(),
                run_queue: told(usage.sources.run_queue, &detail.run_queue),
                tcp_rtt: told(usage.sources.tcp, &detail.tcp_rtt),
            },
            devices: Each(|| detail.devices.iter().map(|device| shown_device(self.facts, device))),
            preempted_by: Each(|| detail.preempted_by.iter().map(|it| shown_preemption(self.owners, it))),
            limits: ShownLimits::of(limits),
            egress: egress.as_ref().map(ShownEgress::of),
            revocable: limits.is_idle().then(|| Held::of(&(self.facts.quality)())),
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
struct Latencies {
    bounds_ns: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_queue: Option<Distribution>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp_rtt: Option<Distribution>,
}

fn bounds_ns() -> Vec<u64> {
    (0..Latency::BUCKETS).map_while(Latency::bound_ns).collect()
}

/// Quantiles are left out where there is nothing to have any.
struct Distribution(Latency);

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            count: u64,
            sum_ns: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            p50_ns: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            p90_ns: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            p99_ns: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            p999_ns: Option<u64>,
            buckets: &'a [u64],
        }
        let Self(latency) = self;
        Fields {
            count: latency.count(),
            sum_ns: latency.sum_ns,
            p50_ns: latency.quantile_ns(500),
            p90_ns: latency.quantile_ns(900),
            p99_ns: latency.quantile_ns(990),
            p999_ns: latency.quantile_ns(999),
            buckets: &latency.buckets,
        }
        .serialize(serializer)
    }
}

#[derive(Serialize)]
struct ShownDevice {
    /// `MAJOR:MINOR`
    device: String,
    /// The kernel's, such as `sda`; absent where the device is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    read_bytes: u64,
    read_ops: u64,
    write_bytes: u64,
    write_ops: u64,
    latency: Distribution,
}

fn shown_device(facts: &Facts<'_>, device: &Device) -> ShownDevice {
    let Device { major, minor, read_bytes, read_ops, write_bytes, write_ops, latency } = *device;
    ShownDevice {
        device: format!("{major}:{minor}"),
        name: (facts.device_name)(major, minor),
        read_bytes,
        read_ops,
        write_bytes,
        write_ops,
        latency: Distribution(latency),
    }
}

/// What a preempter is called in documents and labels.
pub(super) fn kind(by: &Preempter) -> &'static str {
    match by {
        Preempter::Container(_) => "container",
        Preempter::Itself => "itself",
        Preempter::Agent => "agent",
        Preempter::System => "system",
        Preempter::Limit => "limit",
    }
}

/// The names are those of a container that still runs here.
#[derive(Serialize)]
struct ShownPreemption<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    framework_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    framework_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    executor_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tasks: Vec<Named<'a>>,
    count: u64,
    waited_ns: u64,
}

#[derive(Serialize)]
struct Named<'a> {
    id: &'a str,
    name: &'a str,
}

fn shown_preemption<'o>(owners: &'o Owners<'_>, it: &'o Preemption) -> ShownPreemption<'o> {
    let container_id = match &it.by {
        Preempter::Container(id) => Some(id.as_str()),
        Preempter::Itself | Preempter::Agent | Preempter::System | Preempter::Limit => None,
    };
    let owner = container_id.and_then(|id| owners.get(id));
    let tasks = owner.into_iter().flat_map(|owner| &owner.executor.tasks).take(TASKS_MAX);
    ShownPreemption {
        kind: kind(&it.by),
        container_id,
        framework_id: owner.map(|owner| frameworks::id(owner.framework)),
        framework_name: owner.map(|owner| &*owner.framework.info.name),
        executor_id: owner.map(|owner| owner.executor.info.executor_id.as_str()),
        tasks: tasks.map(|task| Named { id: task.info.task_id.as_str(), name: &task.info.name }).collect(),
        count: it.count,
        waited_ns: it.waited_ns,
    }
}
