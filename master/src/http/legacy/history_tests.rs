//! `/ingot/history` of a container and a node that have reported.

use super::fixture::snapshot;
use super::{Query, get};
use crate::cluster::snapshot::Snapshot;
use crate::usage::{self, Block, Event};
use model::time::UnixTime;
use model::usage::{ContainerUsage, NodeUsage, Usage};
use serde_json::{Value, json};
use std::sync::Arc;
use wire::Incoming;
use wire::frame::HEADER_BYTES;
use wire::report::Builder;

const BEGIN_S: u64 = 1_800_000_000;

/// The recorded cluster, its first task's container called "c"; it and the first node have reported for so many seconds.
fn reported(seconds: u64) -> Snapshot {
    let mut snapshot = snapshot();
    let (mut writer, table) = usage::table();
    let (mut builder, mut block) = (Builder::default(), Block::default());
    let (mut container, mut node) = (None, None);
    for n in 0..seconds {
        let used = Usage { cpu_ns: n * 1_000, memory_current_bytes: 500 + n, ..Usage::default() };
        let line = ContainerUsage {
            container_id: "c".into(),
            framework_id: "f".into(),
            executor_id: "e".into(),
            tasks: Vec::new(),
            is_final: false,
            usage: used,
        };
        let total =
            NodeUsage { memory_total_bytes: 900, memory_available_bytes: 400, ..NodeUsage::default() };
        let now = UnixTime((BEGIN_S + n) * 1_000_000);
        let frame = builder.build(now, &total, &[line]).expect("short enough");
        let Ok(Incoming::Usage(report)) = wire::decode_to_master(&frame[HEADER_BYTES..]) else {
            panic!("a report")
        };
        let hear = &mut |event| match event {
            Event::Appeared { row, .. } => container = Some(row),
            Event::Node(row) => node = Some(row),
            Event::Over { .. } => {}
        };
        writer.record(&mut block, &report, hear).expect("well-formed");
    }
    snapshot.usage = table;
    Arc::make_mut(&mut snapshot.agents[0]).node = node;
    let framework = snapshot.frameworks.iter_mut().find(|it| !it.tasks.is_empty()).expect("one has tasks");
    let task = Arc::make_mut(&mut Arc::make_mut(framework).tasks[0]);
    (task.container_id, task.usage) = (Some("c".into()), container);
    snapshot
}

fn ask(snapshot: &Snapshot, query: &str) -> (u16, String) {
    let reply = get("/master/ingot/history", &Query::parse(query), snapshot, &[]).expect("it is there");
    (reply.status, String::from_utf8(reply.body.to_vec()).expect("text"))
}

fn document(snapshot: &Snapshot, query: &str) -> Value {
    let (status, body) = ask(snapshot, query);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("a document")
}

#[test]
fn columns_stand_beside_the_ends_of_their_samples() {
    let snapshot = reported(3);
    let end = BEGIN_S as f64;
    let seconds = json!({
        "step_s": 1,
        "timestamps": [end + 1.0, end + 2.0, end + 3.0],
        "cpu_ns": [null, 1_000, 1_000],
        "memory_bytes": [500, 501, 502],
        "network_bytes": [null, 0, 0],
        "run_queue_ns": [0, 0, 0],
    });
    let whole = document(&snapshot, "container_id=c");
    assert_eq!((&whole["container_id"], &whole["series"][0]), (&json!("c"), &seconds));
    assert_eq!(whole["series"].as_array().map(Vec::len), Some(3));
    let task =
        snapshot.frameworks.iter().flat_map(|it| &it.tasks).find(|it| it.usage.is_some()).expect("set");
    let task = document(&snapshot, &format!("task_id={}&step_s=1", task.info.task_id));
    assert_eq!(task["series"], json!([seconds]));
    let agent = &snapshot.agents[0].id;
    let agent = document(&snapshot, &format!("agent_id={agent}&step_s=1&figures=memory_bytes"));
    let memory = json!({"step_s": 1, "timestamps": [end + 1.0, end + 2.0, end + 3.0], "memory_bytes": [500, 500, 500]});
    assert_eq!(agent["series"], json!([memory]));
}

#[test]
fn a_task_that_was_not_measured_has_no_series() {
    let snapshot = snapshot();
    let mut tasks = snapshot.frameworks.iter().flat_map(|it| &it.tasks);
    let task = &tasks.next().expect("one").info.task_id;
    assert_eq!(document(&snapshot, &format!("task_id={task}"))["series"], json!([]));
}

#[test]
fn a_question_that_is_wrong_is_told_what_would_be_right() {
    let snapshot = reported(1);
    for (query, status, expected) in [
        ("", 400, "Name one of agent_id, container_id, task_id, not 0 of them.\n"),
        ("agent_id=a&task_id=b", 400, "Name one of agent_id, container_id, task_id, not 2 of them.\n"),
        ("container_id=x", 404, "Nothing is known of container_id 'x'.\n"),
        ("agent_id=x", 404, "Nothing is known of agent_id 'x'.\n"),
        ("container_id=c&step_s=2", 400, "step_s: '2' is none of 1, 15, 300.\n"),
        (
            "container_id=c&figures=cpu_ns,mem",
            400,
            "figures: 'mem' is none of cpu_ns, memory_bytes, network_bytes, run_queue_ns.\n",
        ),
    ] {
        assert_eq!(ask(&snapshot, query), (status, expected.to_owned()), "{query}");
    }
}
