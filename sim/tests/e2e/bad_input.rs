//! Bad input gets the status and the words that Mesos 1.11 gives (each of these was asked of a real one), and everyone
//! else's work goes on.

use api::v1;
use api::v1::TaskState;
use api::v1::task_status::Reason;
use client::Address;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Framework, PATIENCE, Target, command_task};

const SCHEDULER: &str = "/api/v1/scheduler";
const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];

/// A request as it is written here, and the status and text of its answer.
async fn raw(to: &Address, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
    headers.iter().for_each(|(name, value)| request.push_str(&format!("{name}: {value}\r\n")));
    request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let exchange = async {
        let mut stream = TcpStream::connect((to.host.as_str(), to.port)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("an answer");
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, text.to_owned())
}

#[tokio::test]
async fn malformed_calls_are_refused_in_mesos_words() {
    let target = Target::start().await;
    let mut bystander = Framework::subscribe(&target, None).await;
    let check = async |headers: &[(&str, &str)], body: &[u8], status: u16, text: &str| {
        let answer = raw(&target.master, "POST", SCHEDULER, headers, body).await;
        assert_eq!((answer.0, &*answer.1), (status, text), "{}", String::from_utf8_lossy(body));
    };
    let not_json = async |body: &[u8]| {
        let (status, text) = raw(&target.master, "POST", SCHEDULER, JSON, body).await;
        assert_eq!(status, 400);
        assert!(text.starts_with("Failed to parse body into JSON: syntax error"), "{text}");
    };
    not_json(b"{").await;
    not_json(b"").await;
    check(JSON, b"[]", 400, "Failed to convert JSON into Call protobuf: Expecting a JSON object").await;
    for body in [&b"{}"[..], br#"{"type":"NONSENSE"}"#] {
        check(JSON, body, 400, "Failed to validate scheduler::Call: Expecting 'type' to be present").await;
    }
    let subscribe = br#"{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"u","name":"n"}}}"#;
    let told = "Expecting 'Content-Type' of application/json or application/x-protobuf";
    check(&[("Content-Type", "text/plain")], subscribe, 415, told).await;
    let told = "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'";
    check(&[JSON[0], ("Accept", "text/html")], subscribe, 406, told).await;
    let told = "Subscribe calls should not include the 'Mesos-Stream-Id' header";
    check(&[JSON[0], ("Mesos-Stream-Id", "x")], subscribe, 400, told).await;
    // Mesos says no more than this; we say why.
    let protobuf = &[("Content-Type", "application/x-protobuf")];
    let (status, text) = raw(&target.master, "POST", SCHEDULER, protobuf, b"\xff\xff\xff").await;
    assert!(status == 400 && text.starts_with("Failed to parse body into Call protobuf"), "{status} {text}");

    let convert = "Failed to convert JSON into Call protobuf: ";
    let validate = "Failed to validate scheduler::Call: ";
    let calls = [
        (
            r#"{"type":"SUBSCRIBE","subscribe":7}"#,
            convert,
            "Not expecting a JSON number for field 'subscribe'",
        ),
        (
            r#"{"type":"SUBSCRIBE","subscribe":{}}"#,
            convert,
            "Missing required fields: subscribe.framework_info",
        ),
        (r#"{"type":"SUBSCRIBE"}"#, validate, "Expecting 'subscribe' to be present"),
        (r#"{"type":"REVIVE"}"#, validate, "Expecting 'framework_id' to be present"),
        (r#"{"type":"REVIVE","framework_id":{"value":"nobody"}}"#, "", "Framework cannot be found"),
    ];
    for (body, prefix, told) in calls {
        check(JSON, body.as_bytes(), 400, &format!("{prefix}{told}")).await;
    }
    let (status, text) = raw(&target.master, "GET", SCHEDULER, &[], b"").await;
    let told = "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.";
    assert_eq!((status, &*text), (405, told));

    bystander.offer().await; // Its stream was never disturbed.
    bystander.calls.teardown().await.unwrap();
}

#[tokio::test]
async fn a_call_must_come_with_the_stream_that_stands() {
    let target = Target::start().await;
    let mut framework = Framework::subscribe(&target, None).await;
    let id = framework.id.value.clone();
    let body = json!({"type": "REVIVE", "framework_id": {"value": id}}).to_string();
    let missing = raw(&target.master, "POST", SCHEDULER, JSON, body.as_bytes()).await;
    assert_eq!(
        missing,
        (400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header".to_owned())
    );
    for stale in ["11111111-2222-3333-4444-555555555555", "x"] {
        let headers = [JSON[0], ("Mesos-Stream-Id", stale)];
        let told = format!(
            "The stream ID '{stale}' included in this request didn't match the stream ID currently associated with \
             framework ID {id}"
        );
        assert_eq!(raw(&target.master, "POST", SCHEDULER, &headers, body.as_bytes()).await, (400, told));
    }
    framework.offer().await;
    framework.calls.teardown().await.unwrap();
}

/// Launches a task that should be refused; gives state, reason and message. The offer comes back: nothing is lost.
async fn refused(
    framework: &mut Framework,
    offer: &v1::Offer,
    task: v1::TaskInfo,
) -> (TaskState, Reason, String) {
    let id = task.task_id.value.clone();
    framework.calls.launch(vec![offer.id.clone()], vec![task], 0.0).await.unwrap();
    let status = framework.update(&id).await;
    assert_eq!(status.uuid, None, "the master's own word is not acknowledged");
    (status.state(), status.reason(), status.message().to_owned())
}

#[tokio::test]
async fn refused_launches_say_why_and_lose_no_resource() {
    let target = Target::start().await;
    let mut framework = Framework::subscribe(&target, None).await;
    let mut offer = framework.offer().await;
    let cpus = client::unreserved_milli(&offer.resources, "cpus");

    let mut elsewhere = offer.clone();
    elsewhere.id.value = "no-such-offer".to_owned();
    let good = command_task("refused", &offer.agent_id, "true");
    let told = "Task launched with invalid offers: Offer no-such-offer is no longer valid".to_owned();
    let expect = (TaskState::TaskLost, Reason::InvalidOffers, told);
    assert_eq!(refused(&mut framework, &elsewhere, good.clone()).await, expect);

    let spoiled = |spoil: fn(&mut v1::TaskInfo)| {
        let mut task = good.clone();
        spoil(&mut task);
        task
    };
    let only_command = "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present";
    let agent = format!("Task uses invalid agent elsewhere while agent {} is expected", offer.agent_id.value);
    let cases: [(v1::TaskInfo, &str); 6] = [
        (
            spoiled(|it| it.resources[0] = client::scalar("cpus", 1_000_000_000)),
            "Total resources cpus(allocated: *):1000000",
        ),
        (spoiled(|it| it.task_id.value = "a/b".to_owned()), "'a/b' contains invalid characters"),
        (
            spoiled(|it| it.resources[0].scalar.as_mut().unwrap().value = -1.0),
            "Resource 'cpus:-1' is invalid: Invalid scalar resource: value <= 0",
        ),
        (spoiled(|it| it.command = None), only_command),
        (spoiled(|it| it.agent_id.value = "elsewhere".to_owned()), &agent),
        (spoiled(|it| it.resources.clear()), "Task uses no resources"),
    ];
    for (task, told) in cases {
        let (state, reason, message) = refused(&mut framework, &offer, task).await;
        assert_eq!((state, reason), (TaskState::TaskError, Reason::TaskInvalid), "{message}");
        assert!(message.starts_with(told), "{message}, not {told}");
        offer = framework.offer().await;
        assert_eq!(
            client::unreserved_milli(&offer.resources, "cpus"),
            cpus,
            "all of it is offered again: {told}"
        );
    }
    framework.calls.teardown().await.unwrap();
}

#[tokio::test]
async fn a_task_id_is_used_once() {
    let target = Target::start().await;
    let mut framework = Framework::subscribe(&target, None).await;
    let offer = framework.offer().await;
    let task = command_task("twice", &offer.agent_id, "sleep 1000");
    framework.calls.launch(vec![offer.id], vec![task.clone()], 0.0).await.unwrap();
    while framework.update("twice").await.state() != TaskState::TaskRunning {}
    let offer = framework.offer().await;
    let expect = (TaskState::TaskError, Reason::TaskInvalid, "Task has duplicate ID: twice".to_owned());
    assert_eq!(refused(&mut framework, &offer, task).await, expect);
    // The first one still runs, and can be killed.
    framework.calls.kill(v1::TaskId { value: "twice".to_owned() }, None).await.unwrap();
    assert_eq!(framework.end("twice").await.state(), TaskState::TaskKilled);
    framework.calls.teardown().await.unwrap();
}

#[tokio::test]
async fn what_is_unknown_is_lost() {
    let target = Target::start().await;
    let mut framework = Framework::subscribe(&target, None).await;
    let unknown = v1::TaskId { value: "unknown".to_owned() };
    framework.calls.kill(unknown.clone(), None).await.unwrap();
    let killed = framework.update("unknown").await;
    let task = v1::scheduler::call::reconcile::Task { task_id: unknown, agent_id: None };
    framework.calls.reconcile(vec![task]).await.unwrap();
    let reconciled = framework.update("unknown").await;
    for status in [killed, reconciled] {
        assert_eq!((status.state(), status.reason()), (TaskState::TaskLost, Reason::Reconciliation));
        assert_eq!(status.message(), "Reconciliation: Task is unknown");
    }
    framework.calls.teardown().await.unwrap();
}

#[tokio::test]
async fn an_executor_that_no_agent_started_is_refused() {
    let target = Target::start().await;
    let agents = client::operator::Operator::new(target.master.clone()).get_json("/slaves").await.unwrap();
    let pid = agents["slaves"][0]["pid"].as_str().unwrap();
    let (name, address) = pid.split_once('@').unwrap();
    let agent: Address = address.parse().unwrap();
    let path = format!("/{name}/api/v1/executor");
    let (status, text) = raw(&agent, "POST", &path, JSON, b"{").await;
    assert_eq!(status, 400);
    assert!(text.starts_with("Failed to parse body into JSON: syntax error"), "{text}");
    let call: Value = json!({
        "type": "SUBSCRIBE", "subscribe": {}, "framework_id": {"value": "nobody"}, "executor_id": {"value": "e"},
    });
    let (status, text) = raw(&agent, "POST", &path, JSON, call.to_string().as_bytes()).await;
    assert_eq!((status, &*text), (400, "Framework cannot be found"));
}
