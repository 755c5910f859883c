//! `/containers` and `/monitor/statistics`: what each container uses, in Mesos' names; what has none there, under `ingot`.

use super::facts::Figures;
use super::{Facts, frameworks};
use crate::node::view::{ExecutorView, FrameworkView};
use api::convert::time;
use api::json::{self, Encoded};
use api::legacy::Query;
use api::legacy::each::Each;
use api::legacy::task::Measured;
use api::v1::{ContainerStatus, ResourceStatistics};
use model::resources::MEM;
use model::usage::Source;
use serde::{Serialize, Serializer};

/// A container that runs, and whose it is.
#[derive(Clone, Copy)]
pub(super) struct Container<'a> {
    pub(super) framework: &'a FrameworkView<'a>,
    pub(super) executor: &'a ExecutorView<'a>,
}

impl Container<'_> {
    pub(super) fn status(&self) -> ContainerStatus {
        ContainerStatus {
            container_id: Some(self.executor.container_id.into()),
            executor_pid: self.executor.pid,
            ..ContainerStatus::default()
        }
    }
}

/// Every executor has one until it has ended.
pub(super) fn containers<'f>(facts: &'f Facts<'_>) -> impl Iterator<Item = Container<'f>> {
    let all = |framework: &'f FrameworkView<'f>| {
        framework.executors.iter().map(move |executor| Container { framework, executor })
    };
    facts.known.frameworks.iter().flat_map(all).filter(|container| !container.executor.is_ended)
}

/// `/monitor/statistics`: only containers that were looked at.
pub(super) struct Statistics<'f, 'a>(pub(super) &'f Facts<'a>);

impl Serialize for Statistics<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = |container: Container<'_>| {
            let statistics = shown(self.0, container)?;
            Some(Entry {
                container_id: None,
                status: None,
                statistics: Some(statistics),
                ..Entry::of(container)
            })
        };
        let entries: Vec<_> = containers(self.0).filter_map(entry).collect();
        entries.serialize(serializer)
    }
}

/// `/containers`: those that the query admits, by the container's id, the framework's, or the framework's and executor's.
pub(super) struct Containers<'f, 'a> {
    facts: &'f Facts<'a>,
    query: &'f Query,
}

impl<'f, 'a> Containers<'f, 'a> {
    pub(super) fn of(facts: &'f Facts<'a>, query: &'f Query) -> Result<Self, &'static str> {
        let given = |name| query.get(name).is_some();
        match (given("container_id"), given("framework_id"), given("executor_id")) {
            (true, false, false) | (false, true, _) | (false, false, false) => Ok(Self { facts, query }),
            _ => Err(
                "Supported query parameters are container_id only, framework_id only, or executor_id and framework_id only",
            ),
        }
    }

    fn admits(&self, container: &Container<'_>) -> bool {
        self.query.admits("container_id", container.executor.container_id.as_str())
            && self.query.admits("framework_id", frameworks::id(container.framework))
            && self.query.admits("executor_id", container.executor.info.executor_id.as_str())
    }
}

impl Serialize for Containers<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = |container: Container<'_>| {
            let status = json::value(&container.status());
            let container_id = container.executor.container_id.as_str().to_owned();
            Entry {
                container_id: Some(container_id),
                status: Some(status),
                statistics: shown(self.facts, container),
                ..Entry::of(container)
            }
        };
        let admitted = || containers(self.facts).filter(|container| self.admits(container));
        Each(|| admitted().map(entry)).serialize(serializer)
    }
}

#[derive(Serialize)]
struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<String>,
    executor_id: String,
    executor_name: String,
    framework_id: String,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    statistics: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Encoded>,
}

impl Entry {
    fn of(Container { framework, executor }: Container<'_>) -> Self {
        Self {
            container_id: None,
            executor_id: executor.info.executor_id.as_str().to_owned(),
            executor_name: frameworks::name(executor),
            framework_id: frameworks::id(framework).to_owned(),
            source: frameworks::source(executor).to_owned(),
            statistics: None,
            status: None,
        }
    }
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    statistics: Encoded,
    /// Not Mesos'.
    ingot: Measured,
}

fn shown(facts: &Facts<'_>, container: Container<'_>) -> Option<Shown> {
    let figures = (facts.figures)(container.executor.container_id)?;
    let statistics = json::value(&statistics(facts, &figures));
    Some(Shown { statistics, ingot: Measured::of(&figures.usage, false) })
}

/// What Mesos has a name for. What nobody here can tell is left out, as Mesos leaves out what no isolator of it reports.
pub(super) fn statistics(facts: &Facts<'_>, figures: &Figures) -> ResourceStatistics {
    let Figures { usage, taken, limits, .. } = figures;
    let seconds = |ns: u64| ns as f64 / 1e9;
    let narrow = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let cpus = |milli: u64| milli as f64 / 1e3;
    let mut out =
        ResourceStatistics {
            timestamp: time::seconds(*taken),
            cpus_soft_limit: Some(cpus(limits.cpus_milli)),
            // Without a limit the guarantee, as in Mesos before 1.11: dashboards hold the figures against it.
            cpus_limit: Some(cpus(limits.cpus_max_milli.unwrap_or(limits.cpus_milli))),
            mem_soft_limit_bytes: Some(limits.memory_bytes),
            // Without a bound: what there is.
            mem_limit_bytes: Some(limits.memory_max_bytes.unwrap_or_else(|| {
                facts.known.info.total.scalar(MEM).milli().saturating_mul(1 << 20) / 1000
            })),
            processes: Some(narrow(usage.processes)),
            threads: Some(narrow(usage.threads)),
            ..ResourceStatistics::default()
        };
    if usage.sources.cpu != Source::None {
        out.cpus_user_time_secs = Some(seconds(usage.cpu_user_ns));
        out.cpus_system_time_secs = Some(seconds(usage.cpu_system_ns));
    }
    if facts.enforcement.cpu.is_yes() {
        out.cpus_nr_throttled = Some(narrow(usage.throttled_periods));
        out.cpus_throttled_time_secs = Some(seconds(usage.throttled_ns));
    }
    match usage.sources.memory {
        Source::None => {}
        // All that is charged, and its parts.
        Source::Cgroup => {
            out.mem_total_bytes = Some(usage.memory_current_bytes);
            out.mem_rss_bytes = Some(usage.memory_anon_bytes);
            out.mem_anon_bytes = Some(usage.memory_anon_bytes);
            out.mem_file_bytes = Some(usage.memory_file_bytes);
            out.mem_cache_bytes = Some(usage.memory_file_bytes);
        }
        // Resident pages of its processes.
        Source::Bpf | Source::Proc => out.mem_rss_bytes = Some(usage.memory_current_bytes),
    }
    if usage.sources.network != Source::None {
        out.net_rx_bytes = Some(usage.net_rx_bytes);
        out.net_rx_packets = Some(usage.net_rx_packets);
        out.net_tx_bytes = Some(usage.net_tx_bytes);
        out.net_tx_packets = Some(usage.net_tx_packets);
    }
    out
}
