//! Our answers beside those of a real Mesos 1.11.0 that knew the same agent.

use super::fixture::{Executor, Scene, Task, asked_for, golden};
use crate::cgroup::{Enforced, Enforcement};
use crate::node::drain::Drain;
use api::legacy::Reply;
use api::media::{JSON, PROTOBUF, RECORDIO};
use api::v1::agent::{Call, Response, call};
use api::{json, protobuf, v1};
use bytes::Bytes;
use model::id::ContainerId;
use model::task::TaskState;
use model::time::UnixTime;
use serde_json::{Value, json};

pub(super) fn document(scene: &Scene, path: &str) -> Value {
    let reply = scene.get(path);
    assert_eq!((reply.status, reply.content_type), (200, Some(JSON)), "{path}");
    serde_json::from_slice(&reply.body).expect("a document")
}

fn text(reply: &Reply) -> &str {
    std::str::from_utf8(&reply.body).expect("text")
}

/// A POST of `body` to `/api/v1`, with these headers.
pub(super) fn post(scene: &Scene, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    let mut request = http::Request::post("/slave(1)/api/v1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match scene.ask(request.body(body.into()).expect("a request")) {
        super::files::Done::Reply(reply) => reply,
        super::files::Done::Download(file) => panic!("{file:?}"),
    }
}

pub(super) fn call(scene: &Scene, body: &Value) -> Reply {
    post(scene, &[("content-type", JSON)], body.to_string())
}

pub(super) fn said(scene: &Scene, kind: &str) -> Value {
    let reply = call(scene, &json!({"type": kind, "get_metrics": {}}));
    assert_eq!((reply.status, reply.content_type), (200, Some(JSON)), "{kind}");
    serde_json::from_slice(&reply.body).expect("a document")
}

/// The first place where a document of ours lacks something of Mesos', has another kind of value there, or something
/// more than `ours`. A list is compared by its first element; an empty one has any shape.
pub(super) fn misshapen(path: &str, expect: &Value, got: &Value, ours: &[&str]) -> Option<String> {
    match (expect, got) {
        (Value::Object(a), Value::Object(b)) => {
            let lacks = a.keys().find(|key| !b.contains_key(*key)).map(|key| format!("{path} lacks {key}"));
            let more = b.keys().find(|key| !a.contains_key(*key) && !ours.contains(&key.as_str()));
            lacks.or(more.map(|key| format!("{path} has {key}"))).or_else(|| {
                a.iter().find_map(|(key, a)| misshapen(&format!("{path}.{key}"), a, &b[key.as_str()], ours))
            })
        }
        (Value::Array(a), Value::Array(b)) => match (a.first(), b.first()) {
            (Some(a), Some(b)) => misshapen(&format!("{path}[0]"), a, b, ours),
            _ => None,
        },
        (Value::Number(a), Value::Number(b)) if a.is_f64() == b.is_f64() => None,
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => None,
        _ => Some(format!("{path}: {expect} became {got}")),
    }
}

/// The first place where a document of ours says something else. Our clock counts microseconds.
pub(super) fn difference(path: &str, expect: &Value, got: &Value) -> Option<String> {
    match (expect, got) {
        (Value::Object(a), Value::Object(b)) => a.keys().chain(b.keys()).find_map(|key| {
            let (a, b) = (expect.get(key).unwrap_or(&Value::Null), got.get(key).unwrap_or(&Value::Null));
            difference(&format!("{path}.{key}"), a, b)
        }),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(&format!("{path}[{i}]"), a, b))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let apart = (a.as_f64()? - b.as_f64()?).abs();
            (apart > 1e-6).then(|| format!("{path}: {a} became {b}"))
        }
        (a, b) => (a != b).then(|| format!("{path}: {a} became {b}")),
    }
}

fn without(mut document: Value, keys: &[&str]) -> Value {
    keys.iter().for_each(|key| drop(document.as_object_mut().expect("an object").remove(*key)));
    document
}

#[test]
fn state_is_what_mesos_made_of_the_same_agent() {
    let scene = Scene::recorded();
    let got = document(&scene, "/slave(1)/state");
    // Which commit was built; what else the real one can do.
    let expect = without(golden("agent-state"), &["git_sha", "git_tag"]);
    assert_eq!(misshapen("state", &expect, &got, &["ingot"]), None);
    let builds = ["build_date", "build_time", "build_user", "capabilities", "ingot"];
    assert_eq!(difference("state", &without(expect, &builds), &without(got, &builds)), None);
}

#[test]
fn state_also_says_what_is_enforced_and_counted_and_why_not() {
    let mut scene = Scene::recorded();
    let ours = |scene: &Scene| document(scene, "/state")["ingot"].clone();
    let got = ours(&scene);
    assert_eq!(got["enforcement"]["cpu"], json!({"enforced": true}));
    let reason = "cgroup v1 holds the controller at /sys/fs/cgroup/memory";
    let memory = &got["enforcement"]["memory"];
    assert_eq!((&memory["enforced"], &memory["reason"]), (&json!(false), &json!(reason)));
    assert!(memory["remedy"].as_str().is_some_and(|it| it.contains("cgroup_no_v1=all")), "{memory}");
    let root = "sudo ingot-agent ...";
    let reason = "this process lacks CAP_BPF; run the agent as root or give it these";
    assert_eq!(got["bpf"]["network"], json!({"supported": false, "reason": reason, "remedy": root}));
    let sources = ["cpu", "run_queue", "memory", "network"].map(|name| got["accounting"][name].as_str());
    assert_eq!(sources, [Some("proc"), Some("none"), Some("proc"), Some("none")]);
    let network =
        json!({"area": "measure", "name": "network", "state": "missing", "says": reason, "remedy": root});
    let missing = got["missing"].as_array().expect("a list");
    assert!(missing.contains(&network), "{missing:?}");
    let doctor = document(&scene, "/doctor");
    assert_eq!(doctor["by"], "agent");
    let mut all = doctor["findings"].as_array().expect("a list").clone();
    assert!(all.iter().any(|it| it["area"] == "enforce" && it["name"] == "cpu" && it["state"] == "ok"));
    all.retain(|it| it["state"] != "ok");
    assert_eq!(&all, missing);
    scene.enforcement = Enforcement { memory: Enforced::Yes, ..scene.enforcement };
    assert_eq!(ours(&scene)["accounting"]["memory"], "cgroup");
}

#[test]
fn a_task_that_waits_is_shown_as_it_was_asked_for() {
    let mut scene = Scene::recorded();
    let asked = json!({
        "name": "n", "task_id": {"value": "t"}, "agent_id": {"value": "S0"},
        "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "allocation_info": {"role": "eng"}}],
        "command": {"value": "sleep", "shell": false, "arguments": ["sleep", "1000"],
                    "uris": [{"value": "http://h/f", "executable": true}]},
    });
    let asked: v1::TaskInfo = json::from_slice(asked.to_string().as_bytes()).expect("a task");
    let info = asked_for(&asked);
    let queued = Task { info: info.clone(), state: TaskState::Staging, statuses: Vec::new() };
    let executor = Executor {
        info: model::executor::ExecutorInfo {
            executor_id: "t".into(),
            framework_id: scene.frameworks[0].info.framework_id.clone(),
            name: None,
            resources: "cpus:0.1;mem:32".parse().expect("resources"),
            shutdown_grace_ns: None,
            body: model::body::Body::default(),
        },
        container_id: ContainerId::new("C"),
        pid: None,
        is_command: true,
        is_ended: false,
        tasks: Vec::new(),
        queued: vec![queued],
        completed: Vec::new(),
    };
    scene.frameworks[0].executors = vec![executor];
    let shown = document(&scene, "/state")["frameworks"][0]["executors"][0].clone();
    assert_eq!(shown["name"], "Command Executor (Task: t) (Command: [sleep, sleep...])");
    assert_eq!(
        (&shown["source"], &shown["container"], &shown["role"]),
        (&json!("t"), &json!("C"), &json!("*"))
    );
    assert_eq!(
        shown["queued_tasks"],
        json!([{
            "id": "t", "name": "n", "slave_id": "S0", "role": "eng",
            "resources": {"cpus": 1.0, "gpus": 0.0, "mem": 0.0, "disk": 0.0},
            "command": {"shell": false, "value": "sleep", "argv": ["sleep", "1000"],
                        "uris": [{"value": "http://h/f", "executable": true}]},
        }])
    );
    let tasks = said(&scene, "GET_TASKS")["get_tasks"]["queued_tasks"].clone();
    assert_eq!((&tasks[0]["state"], &tasks[0]["name"]), (&json!("TASK_STAGING"), &json!("n")));
    let executor = &said(&scene, "GET_EXECUTORS")["get_executors"]["executors"][0]["executor_info"];
    assert_eq!((&executor["source"], &executor["name"]), (&json!("t"), &shown["name"]));
}

#[test]
fn containers_are_narrowed_by_ids() {
    let scene = Scene::recorded();
    let all = document(&scene, "/containers");
    let (id, framework) = (all[0]["container_id"].as_str().expect("an id"), all[0]["framework_id"].as_str());
    let framework = framework.expect("an id");
    for query in [
        format!("container_id={id}"),
        format!("framework_id={framework}"),
        format!("framework_id={framework}&executor_id=MinimalExecutor"),
    ] {
        assert_eq!(document(&scene, &format!("/containers?{query}")), all, "{query}");
    }
    for query in ["container_id=x".to_owned(), format!("framework_id={framework}&executor_id=x")] {
        assert_eq!(document(&scene, &format!("/containers?{query}")), json!([]), "{query}");
    }
    for query in ["executor_id=x", "container_id=x&framework_id=y"] {
        assert_eq!(scene.get(&format!("/containers?{query}")).status, 400, "{query}");
    }
}

#[test]
fn no_metric_of_mesos_agent_is_missing() {
    let mut scene = Scene::recorded();
    scene.gauges = vec![("system/cpus_total".into(), 2.0), ("gc/path_removals_failed".into(), 3.0)];
    let got = document(&scene, "/metrics/snapshot");
    for name in include_str!("../../tests/whole/metrics.txt").lines() {
        assert!(got[name].is_f64(), "{name}");
    }
    for (name, value) in [
        ("slave/cpus_total", 4.0),
        ("slave/cpus_used", 0.2),
        ("slave/cpus_percent", 0.05),
        ("slave/mem_percent", 0.015625),
        ("slave/registered", 1.0),
        ("slave/frameworks_active", 1.0),
        ("slave/executors_running", 1.0),
        ("slave/tasks_running", 1.0),
        ("system/cpus_total", 2.0),
        ("gc/path_removals_failed", 3.0),
    ] {
        assert_eq!(got[name], value, "{name}");
    }
    let bad = scene.get("/metrics/snapshot?timeout=5");
    assert_eq!((bad.status, text(&bad)), (400, "Invalid timeout '5': Invalid duration '5'.\n"));
    assert_eq!(scene.get("/metrics/snapshot?timeout=100ms").status, 200);
}

#[test]
fn paths_are_found_as_mesos_finds_them() {
    let scene = Scene::recorded();
    for path in [
        "/state",
        "/slave(1)/state",
        "/slave%281%29/state/",
        "/containers/x",
        "/monitor/statistics/x/y",
        "/metrics/snapshot",
        "/flags",
        "/version",
        "/health",
    ] {
        assert_eq!(scene.get(path).status, 200, "{path}");
    }
    for path in [
        "/",
        "/slave(1)",
        "/slave(1)/slave",
        "/slave/state",
        "/state.json",
        "/monitor",
        "/files",
        "/files/debug",
    ] {
        let reply = scene.get(path);
        assert_eq!((reply.status, text(&reply)), (404, "404 Not Found."), "{path}");
    }
    for (path, expect) in [
        ("/api/v1/executor", true),
        ("/slave(1)/api/v1/executor/", true),
        ("/slave%281%29/api/v1/executor/x", true),
        ("/api/v1", false),
        ("/api/v1/operator", false),
    ] {
        assert_eq!(super::is_of_executor(path), expect, "{path}");
    }
    let health = scene.get("/health");
    assert_eq!((health.content_type, health.body.len()), (None, 0));
    let script = scene.get("/slave(1)/flags?jsonp=f");
    assert_eq!(script.content_type, Some("text/javascript"));
    assert!(
        text(&script).starts_with("f({\"flags\":{") && text(&script).ends_with("}})"),
        "{}",
        text(&script)
    );
    assert_eq!(document(&scene, "/flags"), golden("agent-flags"));
}

#[test]
fn the_operator_api_answers_as_mesos_did() {
    let scene = Scene::recorded();
    for kind in
        ["GET_HEALTH", "GET_FLAGS", "GET_FRAMEWORKS", "GET_EXECUTORS", "GET_LOGGING_LEVEL", "GET_OPERATIONS"]
    {
        assert_eq!(said(&scene, kind), golden(&format!("agent-v1-{kind}")), "{kind}");
    }
    let (mut expect, mut got) = (golden("agent-v1-GET_STATE"), said(&scene, "GET_STATE"));
    assert_eq!(got["get_state"]["get_tasks"], said(&scene, "GET_TASKS")["get_tasks"]);
    for state in [&mut expect, &mut got] {
        // Executors come in any order, and so their tasks.
        let tasks = state["get_state"]["get_tasks"]["completed_tasks"].as_array_mut().expect("a list");
        tasks.sort_by_key(|task| task["task_id"]["value"].to_string());
    }
    assert_eq!(difference("GET_STATE", &expect, &got), None);
    let mut version = golden("agent-v1-GET_VERSION");
    let info = &mut version["get_version"]["version_info"];
    *info = without(info.clone(), &["git_sha", "git_tag"]);
    assert_eq!(misshapen("GET_VERSION", &version, &said(&scene, "GET_VERSION"), &[]), None);
    assert_eq!(
        said(&scene, "GET_RESOURCE_PROVIDERS"),
        json!({"type": "GET_RESOURCE_PROVIDERS", "get_resource_providers": {}})
    );
    let agent = said(&scene, "GET_AGENT")["get_agent"]["agent_info"].clone();
    assert_eq!((&agent["id"]["value"], &agent["port"]), (&json!(scene.agent_id.as_str()), &json!(5050)));
    let scene = Scene {
        draining: Some(Drain {
            max_grace_ns: Some(5_000_000_000),
            marks_gone: true,
            started: UnixTime(1_795_331_000_500_000),
        }),
        ..scene
    };
    let config = json!({"max_grace_period": {"nanoseconds": 5_000_000_000_u64}, "mark_gone": true});
    let agent = said(&scene, "GET_AGENT")["get_agent"].clone();
    assert_eq!(agent["drain_config"], config);
    assert_eq!(agent["estimated_drain_start_time"]["nanoseconds"], json!(1_795_331_000_000_000_000_u64));
    let state = document(&scene, "/state");
    assert_eq!(
        (&state["drain_config"], &state["estimated_drain_start_time_seconds"]),
        (&config, &json!(1_795_331_000))
    );
    let metrics = said(&scene, "GET_METRICS")["get_metrics"]["metrics"].clone();
    assert!(metrics.as_array().expect("a list").contains(&json!({"name": "slave/cpus_total", "value": 4.0})));
}

#[test]
fn protobuf_says_the_same() {
    let scene = Scene::recorded();
    let asked = Call { r#type: Some(call::Type::GetState.into()), ..Call::default() };
    let headers = [("content-type", PROTOBUF), ("accept", PROTOBUF)];
    let reply = post(&scene, &headers, protobuf::encode(&asked));
    assert_eq!((reply.status, reply.content_type), (200, Some(PROTOBUF)));
    let got: Response = protobuf::decode(&reply.body).expect("a response");
    let said: Response =
        json::from_slice(said(&scene, "GET_STATE").to_string().as_bytes()).expect("a response");
    assert_eq!(got, said);
}

#[test]
fn calls_are_refused_in_mesos_words() {
    let scene = Scene::recorded();
    let health = json!({"type": "GET_HEALTH"}).to_string();
    let no_type = "Failed to validate agent::Call: Expecting 'type' to be present";
    for kind in
        ["GET_AGENTS", "GET_MASTER", "GET_QUOTA", "GET_ROLES", "GET_WEIGHTS", "GET_MAINTENANCE_STATUS"]
    {
        let reply = call(&scene, &json!({"type": kind}));
        assert_eq!((reply.status, text(&reply)), (400, no_type), "{kind}");
    }
    let json_in = ("content-type", JSON);
    for (headers, body, status, expect) in [
        (vec![], &*health, 400, "Expecting 'Content-Type' to be present"),
        (
            vec![json_in, ("accept", "text/html")],
            &health,
            406,
            "Expecting 'Accept' to allow application/json or application/x-protobuf or application/recordio",
        ),
        (
            vec![json_in, ("accept", RECORDIO)],
            &health,
            406,
            "Streaming response is not supported for GET_HEALTH call",
        ),
        (
            vec![("content-type", RECORDIO), ("message-content-type", JSON)],
            "21\n{\"type\":\"GET_HEALTH\"}",
            415,
            "Streaming 'Content-Type' application/recordio is not supported for GET_HEALTH call",
        ),
        (
            vec![("content-type", RECORDIO), ("message-content-type", JSON)],
            "",
            400,
            "Received EOF while reading request body",
        ),
        (vec![json_in], "{\"type\":\"UNKNOWN\"}", 501, "501 Not Implemented."),
        (
            vec![json_in],
            "{\"type\":\"READ_FILE\"}",
            400,
            "Failed to validate agent::Call: Expecting 'read_file' to be present",
        ),
        (
            vec![json_in],
            "{\"type\":\"ATTACH_CONTAINER_INPUT\",\"attach_container_input\":{\"type\":\"CONTAINER_ID\",\"container_id\":{\"value\":\"x\"}}}",
            415,
            "Expecting 'Content-Type' to be application/recordio for ATTACH_CONTAINER_INPUT call",
        ),
        (vec![json_in], "{\"type\":\"PRUNE_IMAGES\"}", 200, ""),
    ] {
        let reply = post(&scene, &headers, body.to_owned());
        assert_eq!((reply.status, text(&reply)), (status, expect), "{headers:?} {body}");
    }
    let get = scene.get("/slave(1)/api/v1");
    assert_eq!((get.status, get.allow), (405, Some("POST")));
    assert_eq!(text(&get), "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.");
}
