//! What is malformed is refused in Mesos' words, and nobody else notices.

use crate::agent::{Agent, info};
use crate::http::{JSON, Scheduler, framework, get, send, task};
use crate::start;
use model::id::FrameworkId;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use wire::message::ToMaster;

#[test]
fn calls_that_are_not_calls() {
    let master = start();
    let at = master.address();
    let path = "/api/v1/scheduler";
    let post = |headers: &[(&str, &str)], body: &str| send(at, "POST", path, headers, body.as_bytes());
    for (answer, status, text) in [
        (get(at, path), 405, "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'."),
        (post(&[], "{}"), 400, "Expecting 'Content-Type' to be present"),
        (post(&[("Content-Type", "text/plain")], "{}"), 415, "Expecting 'Content-Type' of"),
        (post(&[JSON], "{"), 400, "Failed to parse body into JSON"),
        (
            post(&[("Content-Type", "application/x-protobuf")], "{"),
            400,
            "Failed to parse body into Call protobuf",
        ),
        (post(&[JSON], "{}"), 400, "Failed to validate scheduler::Call: Expecting 'type' to be present"),
        (
            post(&[JSON, ("Accept", "text/html")], &subscribe(framework()).to_string()),
            406,
            "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'",
        ),
        (
            post(&[JSON, ("Mesos-Stream-Id", "x")], &subscribe(framework()).to_string()),
            400,
            "Subscribe calls should not include the 'Mesos-Stream-Id' header",
        ),
        (post(&[JSON], r#"{"type":"TEARDOWN"}"#), 400, "Expecting 'framework_id' to be present"),
        (
            post(&[JSON], r#"{"type":"TEARDOWN","framework_id":{"value":"nobody"}}"#),
            400,
            "Framework cannot be found",
        ),
    ] {
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.text().contains(text), "{text}: {}", answer.text());
    }
    master.stop();
}

fn subscribe(info: Value) -> Value {
    json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": info}})
}

#[test]
fn a_framework_that_cannot_be_is_told_on_its_stream() {
    let master = start();
    let mut info = framework();
    info["role"] = json!("/bad");
    let mut scheduler = Scheduler::open(master.address(), info);
    let error = scheduler.next().expect("an event");
    assert_eq!(
        error["error"]["message"],
        "'FrameworkInfo.role' is not a valid role: Role '/bad' cannot start with a slash"
    );
    assert_eq!(scheduler.next(), None);
    master.stop();
}

#[test]
fn calls_of_a_subscribed_framework() {
    let master = start();
    let at = master.address();
    let scheduler = Scheduler::subscribe(at, framework());
    let call = |stream: Option<&str>, call: Value| {
        let mut headers = vec![JSON];
        headers.extend(stream.map(|stream| ("Mesos-Stream-Id", stream)));
        send(at, "POST", "/api/v1/scheduler", &headers, call.to_string().as_bytes())
    };
    let id = json!({"value": scheduler.framework_id});
    let mine = Some(scheduler.stream_id.as_str());
    for (answer, status, text) in [
        (
            call(None, json!({"type": "REVIVE", "framework_id": id})),
            400,
            "All non-subscribe calls should include",
        ),
        (
            call(Some("x"), json!({"type": "REVIVE", "framework_id": id})),
            400,
            "The stream ID 'x' included in this request",
        ),
        (call(mine, json!({"type": "ACCEPT", "framework_id": id})), 400, "Expecting 'accept' to be present"),
        (call(mine, json!({"type": "UNKNOWN", "framework_id": id})), 501, ""),
        (
            call(
                mine,
                json!({"type": "ACKNOWLEDGE", "framework_id": id, "acknowledge":
                {"agent_id": {"value": "a"}, "task_id": {"value": "t"}, "uuid": "AAAA"}}),
            ),
            400,
            "Failed to validate scheduler::Call: Not a valid UUID",
        ),
    ] {
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.text().contains(text), "{text}: {}", answer.text());
    }
    master.stop();
}

/// Each task is refused for a reason of its own; the good one runs and the rest of the offer comes back.
#[test]
fn tasks_that_cannot_run() {
    let master = start();
    let at = master.address();
    let mut agent = Agent::register(at, 5051, "cpus:2");
    let mut scheduler = Scheduler::subscribe(at, framework());
    let offer = scheduler.offer();
    let change = |id: &str, field: &str, value: Value| {
        let mut task = task(id, &offer, 1.0);
        task[field] = value;
        task
    };
    let cpus = |value: f64| json!([{"name": "cpus", "type": "SCALAR", "scalar": {"value": value}}]);
    let tasks = json!([
        change("nothing", "command", Value::Null),
        change("none", "resources", json!([])),
        change("big", "resources", cpus(3.0)),
        change("a/b", "name", json!("a/b")),
        change("good", "name", json!("good")),
        change("good", "name", json!("again")),
    ]);
    scheduler.launch(&offer, tasks, 0.0);
    let expected = [
        ("nothing", "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"),
        ("none", "Task uses no resources"),
        (
            "big",
            "Total resources cpus(allocated: *):3 required by task and its executor is more than available cpus(allocated: *):2",
        ),
        ("a/b", "'a/b' contains invalid characters"),
        ("good", "Task has duplicate ID: good"),
    ];
    for (id, text) in expected {
        let status = scheduler.expect("UPDATE")["update"]["status"].clone();
        assert_eq!((&status["task_id"]["value"], &status["message"]), (&json!(id), &json!(text)));
        assert_eq!(
            (&status["state"], &status["reason"]),
            (&json!("TASK_ERROR"), &json!("REASON_TASK_INVALID"))
        );
        assert_eq!(status.get("uuid"), None);
    }
    assert_eq!(agent.next_run().task_id.as_str(), "good");
    let offer = scheduler.offer();
    assert_eq!(offer["resources"][0]["scalar"]["value"], 1.0);
    let tasks = json!([change("innocent", "name", json!("x")), change("negative", "resources", cpus(-1.0))]);
    scheduler.launch(&offer, tasks, 0.0);
    for id in ["innocent", "negative"] {
        let status = scheduler.expect("UPDATE")["update"]["status"].clone();
        let text = "Resource 'cpus:-1' is invalid: Invalid scalar resource: value <= 0";
        assert_eq!((&status["task_id"]["value"], &status["message"]), (&json!(id), &json!(text)));
    }
    assert_eq!(scheduler.offer()["resources"][0]["scalar"]["value"], 1.0, "nothing was launched");
    master.stop();
}

#[test]
fn agents_that_talk_nonsense_are_closed_alone() {
    let master = start();
    let at = master.address();
    let mut good = Agent::register(at, 5051, "cpus:1");
    let mut scheduler = Scheduler::subscribe(at, framework());
    scheduler.offer();
    let mut too_long = Agent::connect(at);
    too_long.stream.write_all(&u32::MAX.to_le_bytes()).expect("written");
    assert_eq!(too_long.try_hear(), None, "a frame over the limit");
    let mut not_capnp = Agent::connect(at);
    not_capnp.stream.write_all(&[8, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]).expect("written");
    assert_eq!(not_capnp.try_hear(), None, "a frame that is no message");
    let mut early = Agent::connect(at);
    early.say(&ToMaster::Pong { sequence: 1 });
    assert_eq!(early.try_hear(), None, "a message before its time");
    let mut twice = Agent::register(at, 5052, "cpus:1");
    scheduler.offer();
    twice.say(&ToMaster::Register { info: info(5052, "cpus:1") });
    assert_eq!(twice.try_hear(), None, "registered twice");
    scheduler.expect("RESCIND");
    good.say(&ToMaster::ExecutorMessage {
        framework_id: FrameworkId::new(&scheduler.framework_id),
        executor_id: "e".into(),
        data: "still here".into(),
    });
    assert_eq!(scheduler.expect("MESSAGE")["message"]["agent_id"]["value"], good.id.as_str());
    master.stop();
}

#[test]
fn a_preamble_may_come_in_pieces_and_http_may_begin_like_it() {
    let master = start();
    let at = master.address();
    let mut stream = TcpStream::connect(at).expect("the master listens");
    stream.set_nodelay(true).expect("nodelay");
    for byte in wire::PREAMBLE {
        stream.write_all(&[*byte]).expect("written");
    }
    let frame = wire::encode_to_master(&ToMaster::Register { info: info(5051, "cpus:1") }).expect("a frame");
    stream.write_all(&frame).expect("written");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("Registered");
    let mut odd = TcpStream::connect(at).expect("the master listens");
    odd.write_all(b"INGOT /version HTTP/1.1\r\nHost: x\r\n\r\n").expect("written");
    let mut answer = [0; 12];
    odd.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 405");
    master.stop();
}
