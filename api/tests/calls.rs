//! Calls that are refused before anyone looks at the cluster, with Mesos' codes and words.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use api::media::{self, Encoding};
use api::refusal::Refusal;
use api::{V1, v1, validate};
use serde_json::{Value, json};

fn call<M: V1>(value: &Value) -> Result<M, Refusal> {
    media::decode(Encoding::Json, &value.to_string().into())
}

fn text(refusal: &Refusal) -> (u16, String) {
    (refusal.status(), refusal.to_string())
}

#[test]
fn bodies_that_are_no_calls() {
    let json =
        |body: &'static str| media::decode::<v1::scheduler::Call>(Encoding::Json, &body.into()).unwrap_err();
    assert_eq!(
        text(&json("{")),
        (400, "Failed to parse body into JSON: syntax error at line 1 near: ".into())
    );
    assert_eq!(
        text(&json(r#"{"subscribe":{}}"#)),
        (
            400,
            "Failed to convert JSON into Call protobuf: Missing required fields: subscribe.framework_info"
                .into()
        )
    );
    let wire =
        media::decode::<v1::scheduler::Call>(Encoding::Protobuf, &vec![0xff, 0xff].into()).unwrap_err();
    assert!(wire.to_string().starts_with("Failed to parse body into Call protobuf"), "{wire}");
    let wire = media::decode::<v1::scheduler::Call>(Encoding::Protobuf, &vec![0x1a, 0].into()).unwrap_err();
    assert!(wire.to_string().ends_with("Missing required fields: subscribe.framework_info"), "{wire}");
}

#[test]
fn the_agents_operator_api_says_it_more_briefly() {
    let body = r#"{"type":"LAUNCH_NESTED_CONTAINER","launch_nested_container":{}}"#;
    let refusal = media::decode_of_agent::<v1::agent::Call>(Encoding::Json, &body.into()).unwrap_err();
    assert_eq!(text(&refusal), (400, "Missing required fields: launch_nested_container.container_id".into()));
}

#[test]
fn scheduler_calls_that_miss_something() {
    let id = json!({"value": "f"});
    let uuid = "UrecuFxDSRmAkqfA0u4Low==";
    let cases = [
        (json!({}), "Expecting 'type' to be present"),
        (json!({"type": "DANCE"}), "Expecting 'type' to be present"),
        (json!({"type": "SUBSCRIBE"}), "Expecting 'subscribe' to be present"),
        (
            json!({"type": "SUBSCRIBE", "framework_id": id, "subscribe": {"framework_info": {"user": "u", "name": "n"}}}),
            "'framework_id' differs from 'subscribe.framework_info.id'",
        ),
        (json!({"type": "ACCEPT"}), "Expecting 'framework_id' to be present"),
        (json!({"type": "ACCEPT", "framework_id": id}), "Expecting 'accept' to be present"),
        (json!({"type": "DECLINE", "framework_id": id}), "Expecting 'decline' to be present"),
        (json!({"type": "KILL", "framework_id": id}), "Expecting 'kill' to be present"),
        (json!({"type": "SHUTDOWN", "framework_id": id}), "Expecting 'shutdown' to be present"),
        (json!({"type": "RECONCILE", "framework_id": id}), "Expecting 'reconcile' to be present"),
        (json!({"type": "MESSAGE", "framework_id": id}), "Expecting 'message' to be present"),
        (json!({"type": "REQUEST", "framework_id": id}), "Expecting 'request' to be present"),
        (
            json!({"type": "ACKNOWLEDGE", "framework_id": id, "acknowledge": {"agent_id": id, "task_id": id, "uuid": "AA=="}}),
            "Not a valid UUID",
        ),
        (
            json!({"type": "ACKNOWLEDGE_OPERATION_STATUS", "framework_id": id,
                   "acknowledge_operation_status": {"uuid": uuid, "operation_id": id}}),
            "Expecting 'agent_id' to be present",
        ),
    ];
    for (value, expect) in cases {
        let refusal = validate::scheduler(&call(&value).unwrap(), None).unwrap_err();
        assert_eq!(text(&refusal), (400, format!("Failed to validate scheduler::Call: {expect}")), "{value}");
    }
    for good in ["TEARDOWN", "REVIVE", "SUPPRESS"] {
        let value = json!({"type": good, "framework_id": id});
        assert_eq!(validate::scheduler(&call(&value).unwrap(), None).unwrap().as_str_name(), good);
    }
}

#[test]
fn a_framework_may_not_claim_another_principal() {
    let value = json!({"type": "SUBSCRIBE", "subscribe": {"framework_info": {"user": "u", "name": "n", "principal": "p"}}});
    let call: v1::scheduler::Call = call(&value).unwrap();
    validate::scheduler(&call, None).unwrap();
    validate::scheduler(&call, Some("p")).unwrap();
    let refusal = validate::scheduler(&call, Some("q")).unwrap_err().to_string();
    assert!(refusal.contains("Authenticated principal 'q' does not match principal 'p'"), "{refusal}");
}

#[test]
fn executor_calls_that_miss_something() {
    let of = |more: Value| {
        let mut value = json!({"executor_id": {"value": "e"}, "framework_id": {"value": "f"}});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        validate::executor(&call(&value).unwrap())
    };
    let update = |more: Value| {
        let mut status = json!({
            "task_id": {"value": "t"}, "state": "TASK_RUNNING", "source": "SOURCE_EXECUTOR",
            "uuid": "UrecuFxDSRmAkqfA0u4Low==",
        });
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        of(json!({"type": "UPDATE", "update": {"status": status}}))
    };
    let cases = [
        (of(json!({})), "Expecting 'type' to be present"),
        (of(json!({"type": "SUBSCRIBE"})), "Expecting 'subscribe' to be present"),
        (of(json!({"type": "UPDATE"})), "Expecting 'update' to be present"),
        (of(json!({"type": "MESSAGE"})), "Expecting 'message' to be present"),
        (update(json!({"uuid": null})), "Expecting 'uuid' to be present"),
        (update(json!({"uuid": "AA=="})), "Not a valid UUID"),
        (
            update(json!({"executor_id": {"value": "x"}})),
            "ExecutorID in Call: e does not match ExecutorID in TaskStatus: x",
        ),
        (
            update(json!({"source": "SOURCE_AGENT"})),
            "Received Call from executor e of framework f with invalid source, expecting 'SOURCE_EXECUTOR'",
        ),
        (
            update(json!({"state": "TASK_STAGING"})),
            "Received TASK_STAGING from executor e of framework f which is not allowed",
        ),
        (update(json!({"check_status": {}})), "CheckStatusInfo must specify 'type'"),
        (
            update(json!({"check_status": {"type": "HTTP"}})),
            "Expecting 'http' to be set for HTTP check's status",
        ),
    ];
    for (got, expect) in cases {
        assert_eq!(text(&got.unwrap_err()), (400, format!("Failed to validate Executor::Call: {expect}")));
    }
    update(json!({})).unwrap();
}

#[test]
fn operator_calls_that_miss_something() {
    let master =
        |value: Value| validate::master(&call(&value).unwrap()).map_err(|refusal| refusal.to_string());
    let agent = |value: Value| validate::agent(&call(&value).unwrap()).map_err(|refusal| refusal.to_string());
    master(json!({"type": "GET_STATE"})).unwrap();
    master(json!({"type": "GET_METRICS", "get_metrics": {}})).unwrap();
    agent(json!({"type": "GET_CONTAINERS"})).unwrap();
    for (got, expect) in [
        (master(json!({"type": "X"})).unwrap_err(), "master::Call: Expecting 'type' to be present"),
        // A call of the agent's alone: the master's list of types does not have it.
        (
            master(json!({"type": "GET_CONTAINERS"})).unwrap_err(),
            "master::Call: Expecting 'type' to be present",
        ),
        (
            master(json!({"type": "GET_METRICS"})).unwrap_err(),
            "master::Call: Expecting 'get_metrics' to be present",
        ),
        (
            master(json!({"type": "TEARDOWN"})).unwrap_err(),
            "master::Call: Expecting 'teardown' to be present",
        ),
        (agent(json!({"type": "GET_AGENTS"})).unwrap_err(), "agent::Call: Expecting 'type' to be present"),
        (
            agent(json!({"type": "LAUNCH_NESTED_CONTAINER_SESSION",
                         "launch_nested_container_session": {"container_id": {"value": "c"}}}))
            .unwrap_err(),
            "agent::Call: Expecting 'launch_nested_container_session.container_id.parent' to be present",
        ),
        (
            agent(json!({"type": "WAIT_CONTAINER", "wait_container": {"container_id": {"value": "a.b"}}}))
                .unwrap_err(),
            "agent::Call: 'wait_container.container_id' is invalid: 'ContainerID.value' 'a.b' contains invalid characters",
        ),
    ] {
        assert_eq!(got, format!("Failed to validate {expect}"));
    }
}

#[test]
fn refusals_have_mesos_codes() {
    let stale = Refusal::StreamIdStale { got: "x".into(), framework_id: "f".into() };
    for (refusal, status, words) in [
        (Refusal::ContentTypeMissing, 400, "Expecting 'Content-Type' to be present"),
        (
            Refusal::ContentTypeUnsupported,
            415,
            "Expecting 'Content-Type' of application/json or application/x-protobuf",
        ),
        (
            Refusal::NotAcceptable,
            406,
            "Expecting 'Accept' to allow 'application/x-protobuf' or 'application/json'",
        ),
        (
            Refusal::Method { allowed: "POST", got: "GET".into() },
            405,
            "405 Method Not Allowed. Expecting one of { 'POST' }, but received 'GET'.",
        ),
        (Refusal::FrameworkNotSubscribed, 403, "Framework is not subscribed"),
        (Refusal::FrameworkNotFound, 400, "Framework cannot be found"),
        (Refusal::MasterRecovering, 503, "Master has not finished recovery"),
        (
            stale,
            400,
            "The stream ID 'x' included in this request didn't match the stream ID currently associated with \
             framework ID f",
        ),
    ] {
        assert_eq!(text(&refusal), (status, words.into()));
    }
}
