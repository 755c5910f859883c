//! The page of metrics of a cluster that a real Mesos had, and of a large one.

use super::fixture::{snapshot, task};
use super::{Around, Query, page};
use crate::allocator::core::Stats;
use crate::cluster::snapshot::Snapshot;
use crate::usage::{self, Figures};
use api::{json, v1};
use model::usage::{Group, Source, Sources, Usage};
use std::sync::Arc;

fn text(snapshot: &Snapshot, query: &str) -> String {
    let allocations = Stats { decision_count: 7, ..Stats::default() };
    let reply = page(snapshot, &Around { allocations, ..Around::default() }, &Query::parse(query));
    assert_eq!((reply.status, reply.content_type), (200, Some(api::exposition::CONTENT_TYPE)));
    String::from_utf8(reply.body.to_vec()).expect("text")
}

/// That many tasks of the first framework, two in each container.
fn with_tasks(mut snapshot: Snapshot, count: usize) -> Snapshot {
    let (mut writer, table) = usage::table();
    let sources = Sources::from_array([Source::Bpf; Group::COUNT]);
    let running = v1::TaskState::TaskRunning.into();
    let rows: Vec<_> = (0..count / 2).map(|_| writer.allocate().expect("room")).collect();
    for row in &rows {
        let usage = Usage { cpu_ns: 1_500_000_000, memory_current_bytes: 4096, sources, ..Usage::default() };
        writer.write_last(*row, &Figures { usage, is_final: false });
    }
    let view = Arc::make_mut(&mut snapshot.frameworks[0]);
    let tasks = (0..count).map(|at| {
        let asked = serde_json::json!({
            "name": "n", "task_id": {"value": format!("t{at:06}")}, "agent_id": {"value": "S0"},
            "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}}],
            "command": {"value": "true"},
        });
        let asked: v1::TaskInfo = json::from_slice(asked.to_string().as_bytes()).expect("a task");
        let mut task = task(&asked, &view.id, running, &[]);
        task.usage = Some(rows[at / 2]);
        Arc::new(task)
    });
    view.tasks = tasks.collect();
    snapshot.usage = table;
    snapshot
}

#[test]
fn a_scrape_finds_the_cluster_its_frameworks_roles_and_agents() {
    let snapshot = with_tasks(snapshot(), 4);
    let (framework, agent) = (&snapshot.frameworks[0], &snapshot.agents[0]);
    let of_framework = format!("framework_id=\"{}\",name=\"{}\"", framework.id, framework.info.name);
    let of_agent = format!("agent_id=\"{}\",hostname=\"{}\"", agent.id, agent.info.hostname);
    let page = text(&snapshot, "");
    for line in [
        "ingot_cluster_resource{resource=\"cpus\"} 4".to_owned(),
        "ingot_cluster_agents{state=\"connected\"} 1".to_owned(),
        "ingot_master_slave_removals_reason_unhealthy_total 0".to_owned(),
        "ingot_allocator_decisions_total 7".to_owned(),
        "ingot_usage_refused_total 0".to_owned(),
        format!("ingot_framework_tasks{{{of_framework},state=\"TASK_RUNNING\"}} 4"),
        // Two containers, though four tasks.
        format!("ingot_framework_memory_current_bytes{{{of_framework}}} 8192"),
        format!("ingot_framework_resource_used{{{of_framework},resource=\"cpus\"}} 0.2"),
        "ingot_role_weight{role=\"*\"} 1".to_owned(),
        "ingot_role_resource_allocated{role=\"*\",resource=\"cpus\"} 0.2".to_owned(),
        format!("ingot_cluster_agent_connected{{{of_agent}}} 1"),
        format!("ingot_cluster_agent_resource{{{of_agent},resource=\"cpus\"}} 4"),
    ] {
        assert!(page.lines().any(|it| it == line), "{line} is not in\n{page}");
    }
    assert!(!page.contains("ingot_task_"), "nobody asked for tasks");
    assert!(!text(&snapshot, "agents=false").contains("ingot_cluster_agent_"));
    let tasks = text(&snapshot, "tasks=true");
    let line = format!(
        "ingot_task_cpu_seconds_total{{task_id=\"t000003\",framework_id=\"{}\",agent_id=\"S0\"}} 1.5",
        framework.id
    );
    assert!(tasks.lines().any(|it| it == line), "{line} is not in\n{tasks}");
}

/// What a scraper polls must not grow with tasks.
#[test]
fn a_page_is_as_long_for_many_tasks_as_for_few() {
    let lines = |count| text(&with_tasks(snapshot(), count), "").lines().count();
    assert_eq!(lines(10_000), lines(2));
}
