//! `/metrics`: the cluster in Prometheus' text format, from a snapshot and the usage table; nobody is asked.
//!
//! What it has lines for grows with agents, frameworks and roles, about 50 for an agent, 20 for a framework. Figures of
//! single tasks are left to the agents' own pages, where each is one of a few: `?tasks=true` has them here too, which a
//! hundred thousand tasks make a gigabyte of. `?agents=false` leaves out what is told of each agent.

use super::quantities::Quantities;
use super::roles::{Held, Roles};
use super::{Query, metrics};
use crate::allocator::core::Stats;
use crate::cluster::snapshot::{AgentView, FrameworkView, Snapshot};
use crate::cluster::tasks::Task;
use crate::registrar;
use api::convert::quantity::to_f64;
use api::exposition::figures::{self, Row};
use api::exposition::process::{self, Texts};
use api::exposition::{CONTENT_TYPE, Kind, Labels, Page, Value};
use api::legacy::Reply;
use model::resources::{CPUS, DISK, GPUS, MEM, Resources};
use model::task::TaskState;
use model::usage::{NodeUsage, Usage};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the snapshot does not know.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// What the allocator has done so far.
    pub allocations: Stats,
    /// `None`: this master does not lead.
    pub registrar: Option<Arc<registrar::Figures>>,
    pub process: Texts,
}

/// The page.
pub fn page(snapshot: &Snapshot, around: &Around, query: &Query) -> Reply {
    let per_task = query.get("tasks") == Some("true");
    let per_agent = query.get("agents") != Some("false");
    let lines = 400 + 50 * snapshot.agents.len() + 20 * snapshot.frameworks.len();
    let mut page = Page::with_capacity(128 * lines);
    cluster(&mut page, snapshot);
    counters(&mut page, snapshot, around);
    registry(&mut page, around);
    process::write(&mut page, &around.process, snapshot.master.started);
    frameworks(&mut page, snapshot);
    roles(&mut page, snapshot);
    if per_agent {
        agents(&mut page, snapshot);
    }
    if per_task {
        tasks(&mut page, snapshot);
    }
    let body = page.into_text().into();
    Reply { status: 200, content_type: Some(CONTENT_TYPE), body, ..Reply::default() }
}

/// With what is lent of each.
const RESOURCES: [(&str, &str); 4] =
    [(CPUS, "cpus_revocable"), (MEM, "mem_revocable"), (DISK, "disk_revocable"), (GPUS, "gpus_revocable")];

/// A line a resource: CPUs, MiB of memory and disk, GPUs.
fn resources<'a>(
    page: &mut Page,
    name: &str,
    help: &str,
    each: impl Iterator<Item = (Labels, &'a Resources)>,
) {
    let mut family = page.family(name, Kind::Gauge, help);
    for (labels, of) in each {
        for (resource, lent) in RESOURCES {
            let amount = metrics::sum(of, resource, false);
            family.line(&labels.and("resource", resource), Value::Float(to_f64(amount)));
            let amount = metrics::sum(of, resource, true);
            // Most agents lend nothing.
            if !amount.is_zero() {
                family.line(&labels.and("resource", lent), Value::Float(to_f64(amount)));
            }
        }
    }
}

fn cluster(page: &mut Page, snapshot: &Snapshot) {
    let master = &snapshot.master;
    let labels = Labels::of([
        ("version", master.version),
        ("master_id", master.id.as_str()),
        ("hostname", &master.hostname),
        ("cluster", master.cluster.as_deref().unwrap_or_default()),
    ]);
    page.family("ingot_master_info", Kind::Gauge, "The leading master; always 1.").line(&labels, true);
    let sum = |of: fn(&AgentView) -> &Resources| {
        let mut sum = Resources::default();
        snapshot.agents.iter().for_each(|view| sum.add(of(view)));
        sum
    };
    for (name, help, of) in [
        ("ingot_cluster_resource", "What all registered agents have.", sum(|view| &view.total)),
        ("ingot_cluster_resource_used", "What tasks and executors were given.", sum(|view| &view.used)),
        ("ingot_cluster_resource_offered", "What is in offers.", sum(|view| &view.offered)),
    ] {
        resources(page, name, help, std::iter::once((Labels::NONE, &of)));
    }
    let mut states = |name: &str, help: &str, all: &[(&str, usize)]| {
        let mut family = page.family(name, Kind::Gauge, help);
        all.iter().for_each(|(state, count)| family.line(&Labels::of([("state", *state)]), *count));
    };
    let agents = |is: &dyn Fn(&AgentView) -> bool| snapshot.agents.iter().filter(|view| is(view)).count();
    let all = [
        ("registered", snapshot.agents.len()),
        ("connected", agents(&|view| view.is_connected)),
        ("active", agents(&|view| snapshot.is_active(view))),
        ("unreachable", snapshot.unreachable_agents.len()),
    ];
    states("ingot_cluster_agents", "Agents; one may be in several of these states.", &all);
    let frameworks =
        |is: fn(&FrameworkView) -> bool| snapshot.frameworks.iter().filter(|view| is(view)).count();
    let all = [
        ("registered", snapshot.frameworks.len()),
        ("connected", frameworks(|view| view.is_connected)),
        ("active", frameworks(|view| view.is_active)),
        ("completed", snapshot.completed_frameworks.len()),
    ];
    states("ingot_cluster_frameworks", "Frameworks; one may be in several of these states.", &all);
    let offers = snapshot.frameworks.iter().map(|view| view.offers.len()).sum::<usize>();
    page.one("ingot_cluster_offers", Kind::Gauge, "Offers that nobody has answered yet.", offers);
}

/// `master/slave_removals/reason_unhealthy` is `ingot_master_slave_removals_reason_unhealthy_total`.
fn counters(page: &mut Page, snapshot: &Snapshot, around: &Around) {
    for (metric, count) in snapshot.counters.each() {
        let name = format!("ingot_{}_total", metric.replace('/', "_"));
        let help = format!("What {metric} of /metrics/snapshot counts.");
        page.one(&name, Kind::Counter, &help, Value::Whole(count));
    }
    let Stats { event_count, decision_count, allocation_count } = around.allocations;
    for (name, help, count) in [
        ("ingot_allocator_events_total", "What the allocator has been told.", event_count),
        (
            "ingot_allocator_decisions_total",
            "How often somebody was looked for to take what is free on an agent.",
            decision_count,
        ),
        ("ingot_allocator_allocations_total", "How often somebody was found.", allocation_count),
    ] {
        page.one(name, Kind::Counter, help, Value::Whole(count));
    }
    let help = "Containers and nodes whose figures found no room in the usage table.";
    page.one("ingot_usage_refused_total", Kind::Counter, help, Value::Whole(snapshot.usage.refused()));
}

/// Whether it leads, and how fast it writes down what must outlive it.
fn registry(page: &mut Page, around: &Around) {
    let leads = around.registrar.is_some();
    page.one("ingot_master_leads", Kind::Gauge, "Whether this master leads.", leads);
    let Some(figures) = &around.registrar else { return };
    for (name, kind, help, count) in [
        ("ingot_registrar_queued", Kind::Gauge, "Changes that wait to be durable.", figures.queued_count()),
        ("ingot_registrar_bytes", Kind::Gauge, "Size of the registry, at most.", figures.size_bytes()),
        (
            "ingot_registrar_batches_total",
            Kind::Counter,
            "Batches of changes written.",
            figures.store_count(),
        ),
    ] {
        page.one(name, kind, help, Value::Whole(count));
    }
    let last = figures.stores_ms().last().copied().unwrap_or_default();
    let help = "How long the last batch took to be durable.";
    page.one("ingot_registrar_batch_seconds", Kind::Gauge, help, Value::Float(last / 1e3));
}

const ALIVE: [TaskState; 5] =
    [TaskState::Staging, TaskState::Starting, TaskState::Running, TaskState::Killing, TaskState::Unreachable];

fn frameworks(page: &mut Page, snapshot: &Snapshot) {
    let labels =
        |view: &FrameworkView| Labels::of([("framework_id", view.id.as_str()), ("name", &view.info.name)]);
    let all: Vec<(Labels, &FrameworkView)> =
        snapshot.frameworks.iter().map(|view| (labels(view), &**view)).collect();
    let mut each = |name: &str, help: &str, of: fn(&FrameworkView) -> Value| {
        let mut family = page.family(name, Kind::Gauge, help);
        all.iter().for_each(|(labels, view)| family.line(labels, of(view)));
    };
    each("ingot_framework_connected", "Whether its stream is open.", |it| it.is_connected.into());
    each("ingot_framework_active", "Whether it is sent offers.", |it| it.is_active.into());
    each("ingot_framework_offers", "Offers that it has not answered.", |it| it.offers.len().into());
    let of = |of: fn(&FrameworkView) -> &Resources| {
        all.iter().map(move |(labels, view)| (labels.clone(), of(view))).collect::<Vec<_>>()
    };
    let help = "What its tasks and executors were given.";
    resources(page, "ingot_framework_resource_used", help, of(|view| &view.used).into_iter());
    let help = "What is in offers to it.";
    resources(page, "ingot_framework_resource_offered", help, of(|view| &view.offered).into_iter());
    let mut family =
        page.family("ingot_framework_tasks", Kind::Gauge, "Its tasks that are not over, by state.");
    for (labels, view) in &all {
        let mut counts = [0_usize; ALIVE.len()];
        for task in view.tasks.iter().chain(&view.unreachable_tasks) {
            if let Some(at) = ALIVE.iter().position(|state| *state == task.state) {
                counts[at] += 1;
            }
        }
        for (state, count) in ALIVE.iter().zip(counts) {
            family.line(&labels.and("state", state.as_str()), count);
        }
    }
    let help = "Memory that its running containers use, as their agents measured it last.";
    let mut family = page.family("ingot_framework_memory_current_bytes", Kind::Gauge, help);
    for (labels, view) in &all {
        family.line(labels, Value::Whole(memory_bytes(view, snapshot)));
    }
}

/// Tasks of one executor share a container, and its row.
fn memory_bytes(view: &FrameworkView, snapshot: &Snapshot) -> u64 {
    let rows: BTreeSet<_> = view.tasks.iter().filter_map(|task| task.usage).collect();
    let figures = rows.into_iter().filter_map(|row| snapshot.usage.read(row));
    figures.filter(|it| !it.is_final).fold(0, |sum, it| sum.saturating_add(it.usage.memory_current_bytes))
}

fn roles(page: &mut Page, snapshot: &Snapshot) {
    let roles = Roles::of(snapshot);
    let labels = |role: &model::role::Role| Labels::of([("role", role.as_str())]);
    let weights = &snapshot.master.weights;
    let mut family = page.family("ingot_role_weight", Kind::Gauge, "By which its share is divided.");
    for role in roles.roles.keys() {
        let weight = weights.get(role).map_or(1_000, |weight| weight.milli());
        family.line(&labels(role), Value::Milli(weight));
    }
    let mut family =
        page.family("ingot_role_frameworks", Kind::Gauge, "Frameworks that are subscribed to it.");
    for (role, held) in &roles.roles {
        family.line(&labels(role), held.frameworks.len());
    }
    let mut each = |name: &str, help: &str, of: fn(&Held<'_>) -> Quantities| {
        let mut family = page.family(name, Kind::Gauge, help);
        for (role, held) in &roles.roles {
            for (resource, amount) in of(held).iter() {
                family.line(&labels(role).and("resource", resource), Value::Float(to_f64(amount)));
            }
        }
    };
    let help = "What tasks and executors of it and of roles below it were given.";
    each("ingot_role_resource_allocated", help, |held| held.allocated.clone());
    let help = "What is in offers to it and to roles below it.";
    each("ingot_role_resource_offered", help, |held| held.offered.clone());
}

fn agents(page: &mut Page, snapshot: &Snapshot) {
    let labels =
        |view: &AgentView| Labels::of([("agent_id", view.id.as_str()), ("hostname", &view.info.hostname)]);
    let all: Vec<(Labels, &AgentView)> = snapshot.agents.iter().map(|view| (labels(view), &**view)).collect();
    let mut family =
        page.family("ingot_cluster_agent_connected", Kind::Gauge, "Whether its session is open.");
    all.iter().for_each(|(labels, view)| family.line(labels, view.is_connected));
    let mut family =
        page.family("ingot_cluster_agent_active", Kind::Gauge, "Whether its resources are offered.");
    all.iter().for_each(|(labels, view)| family.line(labels, snapshot.is_active(view)));
    for (name, help, of) in [
        (
            "ingot_cluster_agent_resource",
            "What it has.",
            (|view| &view.total) as fn(&AgentView) -> &Resources,
        ),
        ("ingot_cluster_agent_resource_used", "What tasks and executors there were given.", |view| {
            &view.used
        }),
        ("ingot_cluster_agent_resource_offered", "What of it is in offers.", |view| &view.offered),
    ] {
        resources(page, name, help, all.iter().map(|(labels, view)| (labels.clone(), of(view))));
    }
    let node = |(labels, view): &(Labels, &AgentView)| {
        let figures = snapshot.usage.node(view.node?)?;
        Some(Row::of_node(labels.clone(), &figures.usage))
    };
    let rows: Vec<Row> = all.iter().filter_map(node).collect();
    figures::write(page, "ingot_cluster_node", NodeUsage::FIGURES, &rows);
}

/// Each with the figures of the container that it runs in, which other tasks of its executor share.
fn tasks(page: &mut Page, snapshot: &Snapshot) {
    let row = |task: &Arc<Task>| {
        let figures = snapshot.usage.read(task.usage?)?;
        let labels = Labels::of([
            ("task_id", task.info.task_id.as_str()),
            ("framework_id", task.framework_id.as_str()),
            ("agent_id", task.info.agent_id.as_str()),
        ]);
        Some(Row::of_container(labels, &figures.usage))
    };
    let rows: Vec<Row> = snapshot.frameworks.iter().flat_map(|view| &view.tasks).filter_map(row).collect();
    figures::write(page, "ingot_task", Usage::FIGURES, &rows);
}
