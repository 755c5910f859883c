//! `/metrics`: the agent, its node and its containers in Prometheus' text format.
//!
//! [`Scrape::of`] takes down what there is (about 2 us a container, on the agent's one thread); [`Scrape::write`] makes the
//! page of it on another. A container's lines carry its ids and, while it runs one task, that task's: nothing that the
//! container does makes more of them but the devices it uses and its preempters, of which eight are told
//! (`accounting::account`). A container's lines end with it; what it used in all, its master keeps.

use super::containers::{Container, containers};
use super::{Facts, Figures, detail, frameworks, metrics, qos};
use crate::accounting::losses::Loss;
use crate::bpf::Cost;
use crate::cgroup::knobs::Controller;
use crate::runtime::qos::View;
use api::convert::quantity::to_f64;
use api::exposition::figures::{self, Row};
use api::exposition::process::{self, Texts};
use api::exposition::{CONTENT_TYPE, Kind, Labels, Page, Value};
use api::legacy::Reply;
use model::latency::Latency;
use model::resources::{CPUS, DISK, GPUS, MEM};
use model::task::TaskState;
use model::time::UnixTime;
use model::usage::{Detail, Device, Group, NodeUsage, Preempter, Source, Usage};

/// As they are shown, with what they are, and whether what is lent of it is meant.
const RESOURCES: [(&str, &str, bool); 8] = [
    ("cpus", CPUS, false),
    ("mem", MEM, false),
    ("disk", DISK, false),
    ("gpus", GPUS, false),
    ("cpus_revocable", CPUS, true),
    ("mem_revocable", MEM, true),
    ("disk_revocable", DISK, true),
    ("gpus_revocable", GPUS, true),
];

/// What a page is made of.
#[derive(Debug)]
pub struct Scrape {
    started: UnixTime,
    agent: Labels,
    is_registered: bool,
    /// Total and used, by resource; what is lent apart.
    resources: [(&'static str, f64, f64); 8],
    preempted: u64,
    executors: usize,
    /// Of those that are here, by state.
    tasks: Vec<(TaskState, usize)>,
    ended: Vec<(TaskState, u64)>,
    supported: Vec<(&'static str, bool)>,
    enforced: Vec<(&'static str, bool)>,
    costs: Vec<Cost>,
    losses: Vec<(Loss, u64)>,
    quality: View,
    node: NodeUsage,
    containers: Vec<Looked>,
    device_name: fn(u32, u32) -> Option<String>,
}

/// A container that was looked at.
#[derive(Debug)]
struct Looked {
    labels: Labels,
    figures: Figures,
}

impl Scrape {
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let known = &facts.known;
        let executors = || containers(facts).map(|it| it.executor);
        let of_state = |state: &TaskState| {
            let tasks = executors().flat_map(|it| it.tasks.iter().chain(&it.queued_tasks));
            (*state, tasks.filter(|task| task.state == *state).count())
        };
        let resource = |(shown, name, is_revocable): (&'static str, &str, bool)| {
            let total = if is_revocable { known.oversubscribed } else { &known.info.total };
            let amount = |of| to_f64(metrics::sum(of, name, is_revocable));
            (shown, amount(total), amount(&*known.used))
        };
        let (alive, over): (Vec<_>, Vec<_>) = TaskState::ALL.into_iter().partition(|it| !it.is_terminal());
        Self {
            started: facts.started,
            agent: Labels::of([
                ("version", facts.version),
                ("agent_id", known.agent_id.map_or("", |id| id.as_str())),
                ("hostname", &known.info.hostname),
            ]),
            is_registered: known.is_registered,
            resources: RESOURCES.map(resource),
            preempted: known.counters.executors_preempted,
            executors: executors().count(),
            tasks: alive.iter().map(of_state).collect(),
            ended: over.iter().map(|state| (*state, known.counters.ended(*state))).collect(),
            supported: facts.bpf.figures().map(|(it, why)| (it.as_str(), why.is_none())).collect(),
            enforced: Controller::ALL.map(|it| (it.as_str(), facts.enforcement.of(it).is_yes())).to_vec(),
            costs: (facts.costs)(),
            losses: (facts.losses)(),
            quality: (facts.quality)(),
            node: *facts.node,
            containers: containers(facts).filter_map(|it| Looked::of(facts, it)).collect(),
            device_name: facts.device_name,
        }
    }

    /// The page. Reads what this process uses and what devices are called, so it belongs on a thread that may wait.
    pub fn write(&self) -> Reply {
        // A container has about 150 lines of 200 bytes; a page that has room grows no more.
        let mut page = Page::with_capacity((64 << 10) + self.containers.len() * (32 << 10));
        self.agent(&mut page);
        self.abilities(&mut page);
        self.losses(&mut page);
        qos::write(&mut page, &self.quality);
        process::write(&mut page, &texts(), self.started);
        let node = Row::of_node(Labels::NONE, &self.node);
        figures::write(&mut page, "ingot_node", NodeUsage::FIGURES, &[node]);
        self.containers(&mut page);
        Reply {
            status: 200,
            content_type: Some(CONTENT_TYPE),
            body: page.into_text().into(),
            ..Reply::default()
        }
    }

    fn agent(&self, page: &mut Page) {
        page.family("ingot_agent_info", Kind::Gauge, "The agent; always 1.").line(&self.agent, true);
        let help = "Whether a master has this agent registered.";
        page.one("ingot_agent_registered", Kind::Gauge, help, self.is_registered);
        let help =
            "What the agent offers, by resource: CPUs, MiB of memory and disk, GPUs; what it lends apart.";
        let mut family = page.family("ingot_agent_resource", Kind::Gauge, help);
        for (name, total, _) in self.resources {
            family.line(&Labels::of([("resource", name)]), Value::Float(total));
        }
        let help = "What tasks and executors were given of it.";
        let mut family = page.family("ingot_agent_resource_used", Kind::Gauge, help);
        for (name, _, used) in self.resources {
            family.line(&Labels::of([("resource", name)]), Value::Float(used));
        }
        page.one("ingot_agent_executors", Kind::Gauge, "Executors that have not ended.", self.executors);
        let help = "Executors ended because what they had on loan was needed.";
        page.one("ingot_agent_executors_preempted_total", Kind::Counter, help, Value::Whole(self.preempted));
        let mut family =
            page.family("ingot_agent_tasks", Kind::Gauge, "Tasks here that are not over, by state.");
        for (state, count) in &self.tasks {
            family.line(&Labels::of([("state", state.as_str())]), *count);
        }
        let help = "Tasks that ended since the agent started, by state.";
        let mut family = page.family("ingot_agent_tasks_ended_total", Kind::Counter, help);
        for (state, count) in &self.ended {
            family.line(&Labels::of([("state", state.as_str())]), Value::Whole(*count));
        }
    }

    fn abilities(&self, page: &mut Page) {
        let help = "Whether BPF programs measure this group of figures; /state says why where not.";
        let mut family = page.family("ingot_figure_supported", Kind::Gauge, help);
        for &(figure, is) in &self.supported {
            family.line(&Labels::of([("figure", figure)]), is);
        }
        let help = "Whether the kernel holds containers to their share.";
        let mut family = page.family("ingot_limit_enforced", Kind::Gauge, help);
        for &(controller, is) in &self.enforced {
            family.line(&Labels::of([("controller", controller)]), is);
        }
        let help = "Containers by who tells this group of their figures.";
        let mut family = page.family("ingot_containers", Kind::Gauge, help);
        for group in Group::ALL {
            for source in [Source::Bpf, Source::Cgroup, Source::Proc, Source::None] {
                let told = self.containers.iter().filter(|it| it.figures.usage.sources.of(group) == source);
                let labels = Labels::of([("group", group.as_str()), ("source", source.as_str())]);
                family.line(&labels, told.count());
            }
        }
        // Zeros unless the machine keeps statistics of BPF programs.
        let costs = || self.costs.iter().filter(|it| it.run_count > 0);
        let labels = |cost: &Cost| Labels::of([("program", &*cost.program)]);
        let help = "How often a BPF program ran while statistics were on (kernel.bpf_stats_enabled).";
        let mut family = page.family("ingot_bpf_program_runs_total", Kind::Counter, help);
        costs().for_each(|it| family.line(&labels(it), Value::Whole(it.run_count)));
        let help = "How long it ran.";
        let mut family = page.family("ingot_bpf_program_run_seconds_total", Kind::Counter, help);
        costs().for_each(|it| family.line(&labels(it), Value::Nanoseconds(it.run_time_ns)));
    }

    fn losses(&self, page: &mut Page) {
        let help = "What accounting missed, by what happened; 0 is how it should be.";
        let mut family = page.family("ingot_accounting_losses_total", Kind::Counter, help);
        for &(loss, count) in &self.losses {
            family.line(&Labels::of([("loss", loss.as_str())]), Value::Whole(count));
        }
    }

    fn containers(&self, page: &mut Page) {
        let row = |it: &Looked| Row::of_container(it.labels.clone(), &it.figures.usage);
        let rows: Vec<Row> = self.containers.iter().map(row).collect();
        figures::write(page, "ingot_container", Usage::FIGURES, &rows);
        drop(rows);
        self.limits(page);
        self.distributions(page);
        self.devices(page);
        self.preempters(page);
    }

    fn limits(&self, page: &mut Page) {
        let mut each = |name: &str, help: &str, of: fn(&Figures) -> Option<Value>| {
            let mut family = page.family(name, Kind::Gauge, help);
            for it in &self.containers {
                if let Some(value) = of(&it.figures) {
                    family.line(&it.labels, value);
                }
            }
        };
        each("ingot_container_cpus_guaranteed", "CPUs that it was given.", |it| {
            Some(Value::Milli(it.limits.cpus_milli))
        });
        each("ingot_container_cpus_limit", "CPUs that it cannot pass; absent without such a limit.", |it| {
            it.limits.cpus_max_milli.map(Value::Milli)
        });
        each("ingot_container_memory_guaranteed_bytes", "Memory that it was given.", |it| {
            Some(Value::Whole(it.limits.memory_bytes))
        });
        let help = "Memory that it cannot pass; absent without such a limit.";
        each("ingot_container_memory_limit_bytes", help, |it| it.limits.memory_max_bytes.map(Value::Whole));
    }

    fn distributions(&self, page: &mut Page) {
        let mut each = |name: &str, help: &str, group, of: fn(&Detail) -> &Latency| {
            let mut family = page.family(name, Kind::Histogram, help);
            for it in &self.containers {
                if it.figures.usage.sources.of(group) != Source::None {
                    family.histogram(&it.labels, of(&it.figures.detail));
                }
            }
        };
        let help = "How long threads that could run waited for a CPU.";
        each("ingot_container_run_queue_latency_seconds", help, Group::RunQueue, |it| &it.run_queue);
        let help = "Smoothed round-trip times of TCP connections, one a measurement.";
        each("ingot_container_tcp_rtt_seconds", help, Group::Tcp, |it| &it.tcp_rtt);
    }

    fn devices(&self, page: &mut Page) {
        let labels = |it: &Looked, device: &Device| {
            let name = (self.device_name)(device.major, device.minor);
            let name = name.unwrap_or_else(|| format!("{}:{}", device.major, device.minor));
            it.labels.and("device", &name)
        };
        let all: Vec<(Labels, Device)> = self
            .containers
            .iter()
            .flat_map(|it| it.figures.detail.devices.iter().map(move |device| (labels(it, device), *device)))
            .collect();
        let help = "From the issue of a block I/O request to its completion, reads and writes together.";
        let mut family = page.family("ingot_container_device_latency_seconds", Kind::Histogram, help);
        for (labels, device) in all.iter().filter(|(_, device)| device.latency.count() > 0) {
            family.histogram(labels, &device.latency);
        }
        let mut each = |name: &str, help: &str, of: fn(&Device) -> u64| {
            let mut family = page.family(name, Kind::Counter, help);
            all.iter().for_each(|(labels, device)| family.line(labels, Value::Whole(of(device))));
        };
        each("ingot_container_device_read_bytes_total", "Bytes read from the device.", |it| it.read_bytes);
        each("ingot_container_device_read_ops_total", "Reads from the device.", |it| it.read_ops);
        each("ingot_container_device_write_bytes_total", "Bytes written to the device.", |it| it.write_bytes);
        each("ingot_container_device_write_ops_total", "Writes to the device.", |it| it.write_ops);
    }

    fn preempters(&self, page: &mut Page) {
        let all = || {
            self.containers
                .iter()
                .flat_map(|it| it.figures.detail.preempted_by.iter().map(move |by| (it, by)))
        };
        let labels = |it: &Looked, by: &Preempter| {
            let name = match by {
                Preempter::Container(id) => id.as_str(),
                Preempter::Itself | Preempter::Agent | Preempter::System | Preempter::Limit => {
                    detail::kind(by)
                }
            };
            it.labels.and("by", name)
        };
        let help = "How often that container, the system, the agent or the container itself took its CPU.";
        let mut family = page.family("ingot_container_preempted_by_total", Kind::Counter, help);
        all().for_each(|(it, by)| family.line(&labels(it, &by.by), Value::Whole(by.count)));
        let help = "How long its threads then waited.";
        let mut family = page.family("ingot_container_preempted_by_seconds_total", Kind::Counter, help);
        all().for_each(|(it, by)| family.line(&labels(it, &by.by), Value::Nanoseconds(by.waited_ns)));
    }
}

impl Looked {
    fn of(facts: &Facts<'_>, container: Container<'_>) -> Option<Self> {
        let Container { framework, executor } = container;
        let figures = (facts.figures)(executor.container_id)?;
        let mut labels = Labels::of([
            ("container_id", executor.container_id.as_str()),
            ("framework_id", frameworks::id(framework)),
            ("executor_id", executor.info.executor_id.as_str()),
        ]);
        // Of several, the figures are none's.
        if let [task] = &executor.tasks[..] {
            labels = labels.and("task_id", task.info.task_id.as_str());
        }
        Some(Self { labels, figures })
    }
}

fn texts() -> Texts {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    Texts {
        stat: read(process::STAT),
        status: read(process::STATUS),
        limits: read(process::LIMITS),
        files: std::fs::read_dir(process::FILES).ok().map(Iterator::count),
    }
}
