//! Answers recorded from a real Mesos 1.11.0 (`tests/golden/`): read into our types and written back, they
//! must be the same JSON; and the same again after a turn through protobuf.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use api::{V1, json, protobuf, v1};
use serde_json::Value;

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The first place where two documents differ; `None` if they don't.
fn difference(path: &str, expect: &Value, got: &Value) -> Option<String> {
    match (expect, got) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter().find_map(|key| {
                let null = Value::Null;
                let (a, b) = (a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null));
                difference(&format!("{path}.{key}"), a, b)
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let pairs = a.iter().zip(b).enumerate();
            pairs.into_iter().find_map(|(i, (a, b))| difference(&format!("{path}[{i}]"), a, b))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: expected {a}, got {b}")),
    }
}

fn check<M: V1 + PartialEq + std::fmt::Debug>(name: &str, text: &str) {
    let message: M = json::from_slice(text.as_bytes()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let expect: Value = serde_json::from_str(text).unwrap();
    let written: Value = serde_json::from_slice(&json::to_vec(&message)).unwrap();
    if let Some(difference) = difference("", &expect, &written) {
        panic!("{name}: {difference}");
    }
    assert!(protobuf::decode::<M>(&protobuf::encode(&message)).unwrap() == message, "{name}");
}

#[test]
fn recorded_answers_survive_a_round_trip() {
    let (mut masters, mut agents) = (0, 0);
    for entry in std::fs::read_dir(golden()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        if name.starts_with("master-v1-") {
            check::<v1::master::Response>(&name, &text);
            masters += 1;
        } else if name.starts_with("agent-v1-") {
            check::<v1::agent::Response>(&name, &text);
            agents += 1;
        }
    }
    assert!((masters, agents) == (15, 8), "{masters} and {agents} recordings found");
}

fn lines(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(golden().join(name)).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// One of each shape that a pymesos job and a Spark job sent and were sent; the sloppy parts are theirs.
#[test]
fn what_real_frameworks_sent_is_understood_and_valid() {
    for line in lines("trace-scheduler-calls.jsonl") {
        let call: v1::scheduler::Call = json::from_slice(line.as_bytes()).unwrap();
        api::validate::scheduler(&call, None).unwrap();
        for operation in call.accept.iter().flat_map(|accept| &accept.operations) {
            for task in operation.launch.iter().flat_map(|launch| &launch.task_infos) {
                api::convert::task::from_v1(task).unwrap();
            }
        }
        if let Some(subscribe) = call.subscribe {
            api::convert::framework::from_v1(&subscribe.framework_info).unwrap();
        }
    }
    for line in lines("trace-executor-calls.jsonl") {
        let call: v1::executor::Call = json::from_slice(line.as_bytes()).unwrap();
        api::validate::executor(&call).unwrap();
        if let Some(update) = call.update {
            api::convert::status::from_v1(&update.status).unwrap();
        }
    }
}

#[test]
fn what_mesos_sent_them_is_what_we_would_have_sent() {
    for line in lines("trace-scheduler-events.jsonl") {
        check::<v1::scheduler::Event>("scheduler event", &line);
    }
    for line in lines("trace-executor-events.jsonl") {
        check::<v1::executor::Event>("executor event", &line);
    }
}
