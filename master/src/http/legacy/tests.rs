//! Our documents beside those of a real Mesos 1.11.0 that knew the same cluster.

use super::fixture::{golden, offer, snapshot, task};
use super::{Gauge, Query, Reply, answer, get};
use crate::cluster::snapshot::Snapshot;
use crate::usage::{self, Figures};
use api::legacy::usage::Measured;
use api::v1::master::call::Type;
use api::{json, v1};
use model::usage::{Source, Sources, Usage};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

fn reply(path: &str, query: &str, snapshot: &Snapshot) -> Reply {
    get(path, &Query::parse(query), snapshot, &[]).unwrap_or_else(|| panic!("{path} is not there"))
}

fn document(path: &str, query: &str, snapshot: &Snapshot) -> Value {
    let reply = reply(path, query, snapshot);
    assert_eq!((reply.status, reply.content_type), (200, Some("application/json")), "{path}");
    serde_json::from_slice(&reply.body).expect("a document")
}

/// The first place where a document of ours is not shaped as Mesos' is: another key, another kind of value. A list is
/// compared by its first element; an empty one has any shape.
fn misshapen(path: &str, expect: &Value, got: &Value) -> Option<String> {
    match (expect, got) {
        (Value::Object(a), Value::Object(b)) => {
            let lacks = a.keys().find(|key| !b.contains_key(*key)).map(|key| format!("{path} lacks {key}"));
            let more = b.keys().find(|key| !a.contains_key(*key)).map(|key| format!("{path} has {key}"));
            lacks.or(more).or_else(|| {
                a.iter().find_map(|(key, a)| misshapen(&format!("{path}.{key}"), a, &b[key.as_str()]))
            })
        }
        (Value::Array(a), Value::Array(b)) => match (a.first(), b.first()) {
            (Some(a), Some(b)) => misshapen(&format!("{path}[0]"), a, b),
            _ => None,
        },
        (Value::Number(a), Value::Number(b)) if a.is_f64() == b.is_f64() => None,
        (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => None,
        _ => Some(format!("{path}: {expect} became {got}")),
    }
}

/// The first place where a document of ours says something else. Our clock counts microseconds, so times may be one apart.
fn difference(path: &str, expect: &Value, got: &Value) -> Option<String> {
    match (expect, got) {
        (Value::Object(a), Value::Object(b)) => a.keys().chain(b.keys()).find_map(|key| {
            let (a, b) = (expect.get(key).unwrap_or(&Value::Null), got.get(key).unwrap_or(&Value::Null));
            difference(&format!("{path}.{key}"), a, b)
        }),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(&format!("{path}[{i}]"), a, b))
        }
        (Value::Number(a), Value::Number(b)) => {
            let apart = match (a.as_i64(), b.as_i64()) {
                (Some(a), Some(b)) if path.ends_with(".nanoseconds") => a.abs_diff(b) >= 1000,
                (None, None) => (a.as_f64()? - b.as_f64()?).abs() > 1e-6,
                _ => a != b,
            };
            apart.then(|| format!("{path}: {a} became {b}"))
        }
        (a, b) => (a != b).then(|| format!("{path}: {a} became {b}")),
    }
}

/// What Ingot does not say: which commit it was built from.
fn without_git(mut document: Value) -> Value {
    let keys = ["git_sha", "git_tag"];
    keys.iter().for_each(|key| drop(document.as_object_mut().expect("an object").remove(*key)));
    document
}

#[test]
fn every_document_is_shaped_as_mesos_shapes_it() {
    let snapshot = snapshot();
    for (path, name) in [
        ("/state", "master-state"),
        ("/state-summary", "master-state-summary"),
        ("/slaves", "master-slaves"),
        ("/tasks", "master-tasks"),
        ("/roles", "master-roles"),
        ("/version", "master-version"),
    ] {
        let (mut expect, mut got) = (without_git(golden(name)), document(path, "", &snapshot));
        // Objects whose keys are data, not shape.
        for document in [&mut expect, &mut got] {
            drop(document.as_object_mut().and_then(|document| document.remove("flags")));
        }
        // A framework of Mesos' old, pid-based kind is in the recordings; here all speak HTTP.
        let frameworks = expect.get_mut("frameworks").and_then(Value::as_array_mut);
        frameworks.into_iter().flatten().for_each(|framework| {
            drop(framework.as_object_mut().expect("an object").remove("pid"));
        });
        assert_eq!(misshapen(path, &expect, &got), None);
    }
}

#[test]
fn what_both_knew_is_said_alike() {
    let snapshot = snapshot();
    let (expect, got) = (golden("master-state"), document("/master/state", "", &snapshot));
    for key in
        ["version", "id", "pid", "hostname", "leader", "leader_info", "cluster", "start_time", "elected_time"]
    {
        assert_eq!(got[key], expect[key], "{key}");
    }
    for key in ["activated_slaves", "deactivated_slaves", "unreachable_slaves", "completed_frameworks"] {
        assert_eq!(difference(key, &expect[key], &got[key]), None);
    }
    let (mut expect, mut got) = (expect["slaves"][0].clone(), got["slaves"][0].clone());
    for agent in [&mut expect, &mut got] {
        // One task more ran when the other answer was recorded; and our agents can do less.
        ["used_resources", "capabilities"].iter().for_each(|key| agent[*key] = Value::Null);
    }
    assert_eq!(difference("agent", &expect, &got), None);
    assert_eq!(document("/roles", "", &snapshot), golden("master-roles"));
}

#[test]
fn paths_are_found_as_mesos_finds_them() {
    let snapshot = snapshot();
    let there = |path: &str| get(path, &Query::default(), &snapshot, &[]).is_some();
    for path in
        ["/state", "/master/state", "/tasks/", "/master/frameworks/", "/slaves/x", "/metrics/snapshot"]
    {
        assert!(there(path), "{path}");
    }
    for path in ["/", "/master", "/state.json", "/metrics", "/api/v1", "/redirect/x", "/nothing", "/system"] {
        assert!(!there(path), "{path}");
    }
}

#[test]
fn lists_are_narrowed_ordered_and_cut() {
    let snapshot = snapshot();
    let tasks = |query: &str| document("/tasks", query, &snapshot)["tasks"].clone();
    let ids = |tasks: &Value| {
        tasks.as_array().expect("a list").iter().map(|task| task["id"].to_string()).collect::<Vec<_>>()
    };
    let all = ids(&tasks(""));
    assert_eq!(all.len(), 15);
    let mut ascending = ids(&tasks("order=asc"));
    ascending.reverse();
    assert_eq!(ascending, all, "newest first unless asked otherwise");
    assert_eq!(ids(&tasks("limit=3&offset=2")), all[2..5]);
    assert_eq!(ids(&tasks("offset=99")), [""; 0]);
    let one = tasks("task_id=3c6854da-5d1c-4358-99a4-c487a7216317");
    assert_eq!((one.as_array().map(Vec::len), &one[0]["state"]), (Some(1), &json!("TASK_RUNNING")));
    let id = "525336c2-7960-46c8-a5c3-2db421b25845-0001";
    assert_eq!(ids(&tasks(&format!("framework_id={id}"))).len(), 12);
    let frameworks = document("/frameworks", &format!("framework_id={id}"), &snapshot);
    assert_eq!(frameworks["frameworks"], json!([]));
    assert_eq!(frameworks["completed_frameworks"][0]["id"], id);
    assert_eq!(document("/slaves", "slave_id=none", &snapshot)["slaves"], json!([]));
}

#[test]
fn a_page_of_another_origin_gets_a_script() {
    let reply = reply("/version", "jsonp=angular.callbacks._0", &snapshot());
    assert_eq!(reply.content_type, Some("text/javascript"));
    let body = String::from_utf8(reply.body.to_vec()).expect("text");
    assert!(body.starts_with("angular.callbacks._0({\"build_date\"") && body.ends_with("})"), "{body}");
}

#[test]
fn redirect_and_health_have_no_body() {
    let snapshot = snapshot();
    let redirect = reply("/master/redirect", "", &snapshot);
    assert_eq!((redirect.status, redirect.location.as_deref()), (307, Some("//localhost:5050")));
    let health = reply("/health", "", &snapshot);
    assert_eq!((health.status, health.content_type, health.body.len()), (200, None, 0));
}

/// What a framework said of a task, and what the kernel measured of it.
#[test]
fn a_task_shows_what_was_said_and_measured() {
    let mut snapshot = snapshot();
    let (mut writer, table) = usage::table();
    let row = writer.allocate().expect("room");
    let used = Usage {
        cpu_user_ns: 3,
        cpu_system_ns: 4,
        cpu_ns: 7,
        switches_voluntary: 10,
        switches_involuntary: 1,
        memory_current_bytes: 20,
        memory_peak_bytes: 30,
        sources: Sources { cpu: Source::Bpf, memory: Source::Cgroup, ..Sources::default() },
        ..Usage::default()
    };
    writer.write_last(row, &Figures { usage: used, is_final: true });
    let asked = json!({
        "name": "n", "task_id": {"value": "t"}, "agent_id": {"value": "S0"},
        "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}}],
        "command": {"value": "true", "user": "nobody"},
        "labels": {"labels": [{"key": "k", "value": "v"}]},
        "limits": {"cpus": {"value": 2}, "mem": {"value": "Infinity"}},
        "container": {"type": "MESOS"},
    });
    let asked: v1::TaskInfo = json::from_slice(asked.to_string().as_bytes()).expect("a task");
    let status = json!({
        "task_id": {"value": "t"}, "state": "TASK_RUNNING", "timestamp": 5.5, "healthy": true,
        "labels": {"labels": [{"key": "a"}]},
    });
    let status: v1::TaskStatus = json::from_slice(status.to_string().as_bytes()).expect("a status");
    let view = Arc::make_mut(&mut snapshot.frameworks[0]);
    let mut new = task(&asked, &view.id, v1::TaskState::TaskRunning.into(), &[status]);
    new.usage = Some(row);
    view.tasks = vec![Arc::new(new)];
    snapshot.usage = table;
    let shown = document("/tasks", "task_id=t", &snapshot)["tasks"][0].clone();
    assert_eq!(
        shown["ingot"],
        serde_json::to_value(Measured::of(&used, true)).expect("a document"),
        "every figure"
    );
    assert_eq!((&shown["user"], &shown["executor_id"]), (&json!("nobody"), &json!("")));
    assert_eq!(shown["labels"], json!([{"key": "k", "value": "v"}]));
    assert_eq!(shown["limits"], json!({"cpus": 2.0}), "an infinite one has no place in JSON");
    assert_eq!(shown["container"], json!({"type": "MESOS"}));
    assert_eq!(shown["statuses"][0]["labels"], json!([{"key": "a"}]));
    assert_eq!(shown["statuses"][0]["healthy"], json!(true));
}

#[test]
fn offers_are_shown_with_their_framework() {
    let mut snapshot = snapshot();
    let offer = offer(&snapshot);
    Arc::make_mut(&mut snapshot.frameworks[0]).offers.push(Arc::new(offer));
    let shown = document("/frameworks", "", &snapshot)["frameworks"][0]["offers"][0].clone();
    assert_eq!((&shown["id"], &shown["allocation_info"]), (&json!("O1"), &json!({"role": "*"})));
    assert_eq!(shown["resources"], json!({"cpus": 2.0, "gpus": 0.0, "mem": 0.0, "disk": 0.0}));
    assert_eq!(document("/metrics/snapshot", "", &snapshot)["master/outstanding_offers"], 1.0);
}

/// A role counts what its subroles hold.
#[test]
fn roles_hold_what_their_subtrees_hold() {
    let mut snapshot = snapshot();
    let agent = Arc::make_mut(&mut snapshot.agents[0]);
    agent.total = "cpus:1;cpus(eng/web):3;mem(eng):64".parse().expect("resources");
    let web = model::role::Role::parse("eng/web").expect("a role");
    let used: model::resources::Resources = "cpus(eng/web):1".parse().expect("resources");
    agent.used = used.allocated_to(&web);
    let roles = document("/roles", "", &snapshot)["roles"].clone();
    let roles: BTreeMap<String, Value> = roles
        .as_array()
        .expect("a list")
        .iter()
        .map(|role| (role["name"].as_str().unwrap_or_default().to_owned(), role.clone()))
        .collect();
    let eng = &roles["eng"];
    assert_eq!(eng["reserved"], json!({"cpus": 3.0, "mem": 64.0}));
    assert_eq!(eng["allocated"], json!({"cpus": 1.0}));
    assert_eq!(eng["quota"]["consumed"], json!({"cpus": 3.0, "mem": 64.0}), "idle reservations count");
    assert_eq!(roles["eng/web"]["reserved"], json!({"cpus": 3.0}));
    let slave = document("/slaves", "", &snapshot)["slaves"][0].clone();
    assert_eq!(slave["reserved_resources"]["eng/web"]["cpus"], 3.0);
    assert_eq!(slave["unreserved_resources"]["cpus"], 1.0);
    assert_eq!(
        slave["reserved_resources_full"]["eng"],
        json!([{"name": "mem", "type": "SCALAR", "scalar": {"value": 64.0}, "role": "eng",
                "reservations": [{"type": "STATIC", "role": "eng"}]}])
    );
}

#[test]
fn no_metric_of_mesos_master_is_missing() {
    let gauges: Vec<Gauge> = vec![("system/cpus_total".into(), 2.0), ("master/new".into(), 1.0)];
    let got = get("/metrics/snapshot", &Query::default(), &snapshot(), &gauges).expect("there");
    let got: BTreeMap<String, f64> = serde_json::from_slice(&got.body).expect("doubles by name");
    let ours = |name: &&String| {
        let elsewhere = ["slave/", "containerizer/", "gc/", "scheduler/", "resource_provider_manager/"];
        // Counts of each framework's calls and events, filters of each role, deaths by each reason: made by who counts.
        let counted = ["master/frameworks/", "allocator/mesos/offer_filters/", "master/task_"];
        // Mesos also gives the quota of a role without a name.
        !elsewhere.iter().chain(&counted).any(|prefix| name.starts_with(prefix)) && !name.contains("roles//")
    };
    let expect = golden("master-metrics-snapshot");
    let names: Vec<String> = expect.as_object().expect("an object").keys().cloned().collect();
    for name in names.iter().filter(ours) {
        assert!(got.contains_key(name), "{name}");
    }
    for name in [
        "master/cpus_total",
        "master/mem_used",
        "master/mem_percent",
        "master/slaves_active",
        "master/tasks_running",
        "master/frameworks_connected",
        "allocator/mesos/resources/mem/total",
        "allocator/mesos/roles/*/shares/dominant",
    ] {
        assert_eq!(got[name], expect[name].as_f64().expect("a double"), "{name}");
    }
    assert_eq!((got["system/cpus_total"], got["master/new"]), (2.0, 1.0), "gauges are taken over");
    let base = "master/frameworks/reference-host/525336c2-7960-46c8-a5c3-2db421b25845-0000";
    assert_eq!(got[&format!("{base}/subscribed")], 1.0);
}

#[test]
fn a_bad_timeout_is_refused_and_a_good_one_changes_nothing() {
    let snapshot = snapshot();
    assert_eq!(reply("/metrics/snapshot", "timeout=100ms", &snapshot).status, 200);
    let bad = reply("/metrics/snapshot", "timeout=100", &snapshot);
    assert_eq!((bad.status, bad.content_type), (400, Some("text/plain; charset=utf-8")));
}

#[test]
fn the_machine_is_shown_under_its_old_names() {
    let gauges: Vec<Gauge> = vec![
        ("system/cpus_total".into(), 2.0),
        ("system/load_15min".into(), 8.5),
        ("system/load_1min".into(), 10.0),
        ("system/load_5min".into(), 9.0),
        ("system/mem_free_bytes".into(), 5.0),
        ("system/mem_total_bytes".into(), 7.0),
        ("master/elected".into(), 1.0),
    ];
    let got = get("/system/stats.json", &Query::default(), &snapshot(), &gauges).expect("there");
    let got: Value = serde_json::from_slice(&got.body).expect("a document");
    assert_eq!(misshapen("", &golden("master-system-stats"), &got), None);
    assert_eq!(got["avg_load_15min"], 8.5);
}

#[test]
fn the_operator_api_answers_as_mesos_did() {
    let snapshot = snapshot();
    for (kind, name) in [
        (Type::GetHealth, "GET_HEALTH"),
        (Type::GetFlags, "GET_FLAGS"),
        (Type::GetMaster, "GET_MASTER"),
        (Type::GetExecutors, "GET_EXECUTORS"),
        (Type::GetRoles, "GET_ROLES"),
        (Type::GetWeights, "GET_WEIGHTS"),
        (Type::GetQuota, "GET_QUOTA"),
        (Type::GetOperations, "GET_OPERATIONS"),
        (Type::GetLoggingLevel, "GET_LOGGING_LEVEL"),
        (Type::GetMaintenanceStatus, "GET_MAINTENANCE_STATUS"),
        (Type::GetMaintenanceSchedule, "GET_MAINTENANCE_SCHEDULE"),
    ] {
        let answer = answer(kind, &snapshot, &[]).expect("bodies decode").expect("it reads");
        let got: Value = serde_json::from_slice(&json::to_vec(&answer)).expect("a document");
        assert_eq!(got, golden(&format!("master-v1-{name}")), "{name}");
    }
    assert_eq!(answer(Type::Subscribe, &snapshot, &[]), Ok(None));
    assert_eq!(answer(Type::Teardown, &snapshot, &[]), Ok(None));
}

#[test]
fn the_operators_state_is_the_recorded_one() {
    let snapshot = snapshot();
    let answer = answer(Type::GetState, &snapshot, &[]).expect("bodies decode").expect("it reads");
    let mut got: Value = serde_json::from_slice(&json::to_vec(&answer)).expect("a document");
    let mut expect = golden("master-v1-GET_STATE");
    for document in [&mut expect, &mut got] {
        // Our agents can do less.
        document["get_state"]["get_agents"]["agents"][0]["capabilities"] = Value::Null;
    }
    assert_eq!(difference("", &expect, &got), None);
}

#[test]
fn agents_that_are_waited_for_are_recovered_slaves() {
    let mut snapshot = snapshot();
    let (id, info) = (snapshot.agents[0].id.clone(), Arc::clone(&snapshot.agents[0].info));
    let there = document("/slaves", "", &snapshot);
    assert_eq!(there["recovered_slaves"], json!([]));
    snapshot.expected_agents = vec![(id.clone(), info)];
    let expect = ["id", "hostname", "port", "attributes"].map(|key| (key, there["slaves"][0][key].clone()));
    let expect: BTreeMap<_, _> = expect.into_iter().collect();
    for (path, query) in
        [("/slaves", String::new()), ("/state", String::new()), ("/slaves", format!("slave_id={id}"))]
    {
        assert_eq!(document(path, &query, &snapshot)["recovered_slaves"], json!([expect]), "{path}?{query}");
    }
    assert_eq!(document("/slaves", "slave_id=another", &snapshot)["recovered_slaves"], json!([]));
}
