//! The main path, end to end, and the documents beside it.

use crate::agent::Agent;
use crate::http::{JSON, Scheduler, framework, get, send, task};
use crate::{PATIENCE, start};
use model::id::{ContainerId, ExecutorId, FrameworkId, TaskId};
use model::task::TaskState;
use model::usage::{ContainerUsage, Usage};
use serde_json::{Value, json};
use std::time::Instant;
use wire::message::{ToAgent, ToMaster};

#[test]
fn a_task_runs_from_offer_to_acknowledged_end() {
    let master = start();
    let at = master.address();
    let mut scheduler = Scheduler::subscribe(at, framework());
    let mut agent = Agent::register(at, 5051, "cpus:4;mem:1024;ports:[31000-32000]");
    let offer = scheduler.offer();
    assert_eq!(offer["agent_id"]["value"], agent.id.as_str());
    assert_eq!(offer["url"]["path"], "/slave(1)");
    assert_eq!(offer["resources"][0]["role"], "*", "the old form");
    assert_eq!(offer.get("allocation_info"), None, "it knows one role only");
    scheduler.launch(&offer, json!([task("t", &offer, 1.0)]), 0.0);
    let ran = agent.next_run();
    assert_eq!(ran.resources.to_string(), "cpus:1");
    assert_eq!(scheduler.offer()["resources"][0]["scalar"]["value"], 3.0, "the rest, at once");
    let id = FrameworkId::new(&scheduler.framework_id);
    agent.update(&id, &ran.task_id, TaskState::Running);
    let status = scheduler.expect("UPDATE")["update"]["status"].clone();
    assert_eq!(status["state"], "TASK_RUNNING");
    acknowledge(&scheduler, &status);
    assert!(matches!(agent.hear(), ToAgent::Acknowledge { task_id, .. } if task_id == ran.task_id));
    report(&mut agent, &id, "t");
    agent.update(&id, &ran.task_id, TaskState::Finished);
    let status = scheduler.expect("UPDATE")["update"]["status"].clone();
    let again = scheduler.offer();
    assert_eq!(again["resources"][0]["scalar"]["value"], 1.0, "freed before it is acknowledged");
    acknowledge(&scheduler, &status);
    assert!(matches!(agent.hear(), ToAgent::Acknowledge { .. }));
    shows_figures(at);
    assert_eq!(scheduler.call("TEARDOWN", "teardown", Value::Null).status, 202);
    assert_eq!(scheduler.next(), None, "the stream ends");
    master.stop();
    assert_eq!(agent.try_hear(), None, "the session ends");
}

fn acknowledge(scheduler: &Scheduler, status: &Value) {
    let answer = scheduler.call(
        "ACKNOWLEDGE",
        "acknowledge",
        json!({"agent_id": status["agent_id"], "task_id": status["task_id"], "uuid": status["uuid"]}),
    );
    assert_eq!(answer.status, 202, "{answer:?}");
}

fn report(agent: &mut Agent, framework_id: &FrameworkId, task: &str) {
    use std::io::Write;
    let line = ContainerUsage {
        container_id: ContainerId::new("c"),
        framework_id: framework_id.clone(),
        executor_id: ExecutorId::new(task),
        tasks: vec![TaskId::new(task)],
        is_final: true,
        usage: Usage { cpu_ns: 1_234_567, memory_peak_bytes: 42, ..Usage::default() },
    };
    let mut builder = wire::report::Builder::default();
    let frame = builder.build_final(model::time::UnixTime(1), &[line]).expect("it fits");
    agent.stream.write_all(&frame).expect("written");
}

/// The report races with the request: it is there before long.
fn shows_figures(at: std::net::SocketAddr) {
    let until = Instant::now() + PATIENCE;
    loop {
        let tasks = get(at, "/tasks").json();
        let usage = &tasks["tasks"][0]["ingot"]["usage"];
        if usage["cpu_ns"] == 1_234_567 && usage["mem_peak_bytes"] == 42 && usage["final"] == true {
            return;
        }
        assert!(Instant::now() < until, "{tasks}");
    }
}

#[test]
fn the_documents_are_where_clients_look() {
    let master = start();
    let at = master.address();
    let version = get(at, "/version");
    assert_eq!((version.status, version.json()["version"].as_str()), (200, Some("1.11.0")));
    assert_eq!(get(at, "/health").status, 200);
    for path in
        ["/state", "/master/state", "/slaves", "/master/slaves/", "/tasks/", "/master/frameworks/", "/roles"]
    {
        assert_eq!(get(at, path).status, 200, "{path}");
    }
    let jsonp = get(at, "/master/state?jsonp=f");
    assert!(jsonp.text().starts_with("f({") && jsonp.text().ends_with("})"));
    assert_eq!(jsonp.header("Content-Type"), Some("text/javascript"));
    let redirect = get(at, "/redirect");
    assert_eq!(
        (redirect.status, redirect.header("Location").map(|to| to.starts_with("//"))),
        (307, Some(true))
    );
    assert_eq!(get(at, "/nonsense").status, 404);
    assert_eq!(get(at, "/metrics/snapshot").json()["master/elected"], 1.0);
    let call = |path: &str, kind: &str| {
        send(at, "POST", path, &[JSON], json!({"type": kind}).to_string().as_bytes())
    };
    for path in ["/api/v1", "/api/v1/operator", "/master/api/v1"] {
        let answer = call(path, "GET_AGENTS");
        assert_eq!((answer.status, answer.json()["type"].as_str()), (200, Some("GET_AGENTS")), "{path}");
    }
    assert_eq!(call("/api/v1", "UNKNOWN").status, 501);
    master.stop();
}

#[test]
fn a_scheduler_takes_over_from_its_predecessor() {
    let master = start();
    let at = master.address();
    let mut first = Scheduler::subscribe(at, framework());
    let mut info = framework();
    info["id"] = json!({"value": first.framework_id});
    let second = Scheduler::subscribe(at, info);
    assert_eq!(second.framework_id, first.framework_id);
    assert_eq!(first.expect("ERROR")["error"]["message"], "Framework failed over");
    assert_eq!(first.next(), None);
    let late = first.call("REVIVE", "revive", json!({}));
    assert_eq!(late.status, 400);
    assert!(late.text().contains("didn't match the stream ID currently associated"), "{late:?}");
    assert_eq!(second.call("REVIVE", "revive", json!({})).status, 202);
    master.stop();
}

#[test]
fn a_scheduler_that_leaves_without_a_word_is_disconnected() {
    let master = start();
    let at = master.address();
    let scheduler = Scheduler::subscribe(at, framework());
    let id = scheduler.framework_id.clone();
    drop(scheduler);
    let until = Instant::now() + PATIENCE;
    loop {
        let frameworks = get(at, "/frameworks").json();
        let framework = frameworks["frameworks"][0].clone();
        assert_eq!(framework["id"], id.as_str(), "it has time to come back: {frameworks}");
        if framework["active"] == false {
            break;
        }
        assert!(Instant::now() < until, "{framework}");
    }
    master.stop();
}

#[test]
fn messages_pass_through_unchanged() {
    let master = start();
    let at = master.address();
    let mut agent = Agent::register(at, 5051, "cpus:1");
    let mut scheduler = Scheduler::subscribe(at, framework());
    scheduler.offer();
    let body =
        json!({"agent_id": {"value": agent.id.as_str()}, "executor_id": {"value": "e"}, "data": "aGVsbG8="});
    assert_eq!(scheduler.call("MESSAGE", "message", body).status, 202);
    let ToAgent::SchedulerMessage { framework_id, executor_id, data } = agent.hear() else { panic!() };
    assert_eq!(&data[..], b"hello");
    agent.say(&ToMaster::ExecutorMessage { framework_id, executor_id, data });
    let event = scheduler.expect("MESSAGE");
    assert_eq!(event["message"]["data"], "aGVsbG8=");
    master.stop();
}
