//! JSON as Mesos reads and writes it, in the ways that clients lean on.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use api::{json, protobuf, v1};
use proptest::prelude::*;
use serde_json::{Value, json};

fn framework(text: &str) -> Result<v1::FrameworkInfo, json::Error> {
    json::from_slice(text.as_bytes())
}

fn shown<M: api::V1>(message: &M) -> Value {
    serde_json::from_slice(&json::to_vec(message)).unwrap()
}

#[test]
fn sloppy_input_is_read_as_it_is_meant() {
    let cases = [
        (r#"{"user":"u","name":"n","slave_id":{"x":[1]},"credentials":7}"#, json!({})),
        (r#"{"user":"u","name":"n","roles":null,"id":null,"checkpoint":null}"#, json!({})),
        (r#"{"user":"u","name":"n","roles":"eng"}"#, json!({"roles": ["eng"]})),
        (r#"{"user":"u","name":"n","roles":["a",null,"b"]}"#, json!({"roles": ["a", "b"]})),
        (r#"{"user":"u","name":"n","failover_timeout":100}"#, json!({"failover_timeout": 100.0})),
        (r#"{"user":"u","name":"n","failover_timeout":"100"}"#, json!({"failover_timeout": 100.0})),
        (r#"{"user":"u","name":"n","checkpoint":"true"}"#, json!({"checkpoint": true})),
        (
            r#"{"user":"u","name":"n","capabilities":{"type":"MULTI_ROLE"}}"#,
            json!({"capabilities": [{"type": "MULTI_ROLE"}]}),
        ),
        (
            r#"{"user":"u","name":"n","capabilities":[{"type":"FROM_THE_FUTURE"}]}"#,
            json!({"capabilities": [{}]}),
        ),
        (r#"{"user":"u","name":"n","name":"n"}"#, json!({})),
    ];
    for (text, expect) in cases {
        let got = framework(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut whole = json!({"user": "u", "name": "n", "failover_timeout": 0.0, "checkpoint": false});
        whole.as_object_mut().unwrap().extend(expect.as_object().unwrap().clone());
        assert_eq!(shown(&got), whole, "{text}");
    }
}

#[test]
fn numbers_are_cast_as_mesos_casts_them() {
    let port = |text: &str| {
        let text = format!(r#"{{"number":{text}}}"#);
        json::from_slice::<v1::Port>(text.as_bytes()).map(|port| port.number)
    };
    assert_eq!(port("80"), Ok(80));
    assert_eq!(port("80.0"), Ok(80));
    assert_eq!(port("80.9"), Ok(80));
    assert_eq!(port("\"80\""), Ok(80));
    assert_eq!(port("-1"), Ok(u32::MAX));
    let span = |text: &str| {
        let text = format!(r#"{{"nanoseconds":{text}}}"#);
        json::from_slice::<v1::DurationInfo>(text.as_bytes()).map(|span| span.nanoseconds)
    };
    assert_eq!(span("9223372036854775807"), Ok(i64::MAX));
    assert_eq!(span("-3e9"), Ok(-3_000_000_000));
    let scalar = |text: &str| {
        let text = format!(r#"{{"value":{text}}}"#);
        json::from_slice::<v1::value::Scalar>(text.as_bytes()).map(|scalar| scalar.value)
    };
    assert_eq!(scalar("\"-Infinity\""), Ok(f64::NEG_INFINITY));
    assert_eq!(scalar("18446744073709551615"), Ok(u64::MAX as f64));
}

#[test]
fn refusals_name_the_field_in_mesos_words() {
    let shape = |text: &str| match framework(text) {
        Err(json::Error::Shape(why)) => why,
        other => panic!("{text}: {other:?}"),
    };
    for (text, expect) in [
        ("[]", "Expecting a JSON object"),
        ("7", "Expecting a JSON object"),
        (r#"{"user":"u"}"#, "Missing required fields: name"),
        (r#"{"name":null}"#, "Missing required fields: user, name"),
        (r#"{"user":{}}"#, "Not expecting a JSON object for field 'user'"),
        (r#"{"user":7}"#, "Not expecting a JSON number for field 'user'"),
        (r#"{"user":true}"#, "Not expecting a JSON boolean for field 'user'"),
        (r#"{"user":["u"]}"#, "Not expecting a JSON array for field 'user'"),
        (r#"{"id":"x"}"#, "Not expecting a JSON string for field 'id'"),
        (
            r#"{"failover_timeout":"soon"}"#,
            "Failed to parse 'soon' as a JSON number for field 'failover_timeout': syntax error at line 1 near: soon",
        ),
        (
            r#"{"checkpoint":"yes"}"#,
            "Failed to parse 'yes' as a JSON boolean for field 'checkpoint': syntax error at line 1 near: yes",
        ),
        (
            r#"{"user":"u","name":"n","labels":{"labels":[{"key":"a"},{"value":"b"}]}}"#,
            "Missing required fields: labels.labels[1].key",
        ),
    ] {
        assert_eq!(shape(text), expect, "{text}");
    }
    let status = |text: &str| json::from_slice::<v1::TaskStatus>(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(status(r#"{"state":"TASK_BORED"}"#), "Failed to find enum for 'TASK_BORED'");
    assert_eq!(
        status(r#"{"data":"a-b_"}"#),
        "Failed to base64 decode bytes field 'data': Invalid character '-'"
    );
}

#[test]
fn what_is_not_json_says_where() {
    let syntax = |text: &str| match framework(text) {
        Err(json::Error::Syntax(why)) => why,
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(syntax("{\"user\":\n  oops}"), "syntax error at line 2 near: oops}");
    assert_eq!(syntax(""), "syntax error at line 1 near: ");
    assert_eq!(syntax("{"), "syntax error at line 1 near: ");
    assert_eq!(
        syntax(
            "{\"user\":\"u\"}
 tail 
"
        ),
        "Parsed JSON included non-whitespace trailing characters: 
 tail"
    );
    assert!(matches!(framework(r#"{"user""#), Err(json::Error::Syntax(_))));
}

#[test]
fn base64_is_lenient_about_padding_and_white_space() {
    for text in ["aGk=", "aGk", "aG k=\\n", "aGk=ignored"] {
        let text = format!(r#"{{"task_id":{{"value":"t"}},"state":"TASK_RUNNING","data":"{text}"}}"#);
        let status: v1::TaskStatus = json::from_slice(text.as_bytes()).unwrap();
        assert_eq!(status.data.as_deref(), Some(&b"hi"[..]), "{text}");
    }
}

#[test]
fn maps_are_objects() {
    let text = json!({
        "name": "t", "task_id": {"value": "1"}, "agent_id": {"value": "S0"},
        "limits": {"cpus": {"value": 2}, "mem": {"value": "Infinity"}},
    });
    let task: v1::TaskInfo = json::from_slice(text.to_string().as_bytes()).unwrap();
    assert_eq!(task.limits["cpus"].value, 2.0);
    assert_eq!(task.limits["mem"].value, f64::INFINITY);
    assert_eq!(shown(&task)["limits"]["cpus"], json!({"value": 2.0}));
}

#[test]
fn the_bytes_are_those_of_the_wire() {
    // By field number: type=1 SUBSCRIBE, subscribe=3 { framework_info=1 { user=1, name=2 } }.
    let call = v1::scheduler::Call {
        r#type: Some(v1::scheduler::call::Type::Subscribe.into()),
        subscribe: Some(v1::scheduler::call::Subscribe {
            framework_info: v1::FrameworkInfo { user: "u".into(), name: "n".into(), ..Default::default() },
            ..Default::default()
        }),
        ..Default::default()
    };
    let bytes = [0x10, 1, 0x1a, 8, 0x0a, 6, 0x0a, 1, b'u', 0x12, 1, b'n'];
    assert_eq!(protobuf::encode(&call)[..], bytes);
    assert_eq!(protobuf::decode::<v1::scheduler::Call>(&bytes), Ok(call));

    // task_id=1, state=2 TASK_FINISHED, reason=10, uuid=11.
    let status = v1::TaskStatus {
        task_id: v1::TaskId { value: "t".into() },
        state: v1::TaskState::TaskFinished.into(),
        reason: Some(v1::task_status::Reason::ExecutorTerminated.into()),
        uuid: Some(vec![9].into()),
        ..Default::default()
    };
    let bytes = [0x0a, 3, 0x0a, 1, b't', 0x10, 2, 0x50, 1, 0x5a, 1, 9];
    assert_eq!(protobuf::encode(&status)[..], bytes);
}

#[test]
fn an_opaque_body_is_shown_without_decoding_it() {
    let info = framework(r#"{"user":"u","name":"n","labels":{"labels":[{"key":"k"}]}}"#).unwrap();
    let body = protobuf::encode(&info);
    let document = json!({"info": json::view::<v1::FrameworkInfo>(&body)});
    assert_eq!(document["info"], shown(&info));

    let view = json::view::<v1::FrameworkInfo>(&body);
    assert_eq!(view.get("user").and_then(|user| user.text()), Some("u"));
    assert!(view.get("principal").is_none() && view.get("no such field").is_none());
    let labels = view.get("labels").and_then(|labels| labels.message()).unwrap();
    let labels: Vec<_> = labels.list("labels").collect();
    assert_eq!(serde_json::to_value(labels).unwrap(), json!([{"key": "k"}]));
}

proptest! {
    #[test]
    fn any_status_survives_both_encodings(
        id in "\\PC{0,20}", message in prop::option::of("\\PC{0,40}"), state in 0i32..14,
        data in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
        timestamp in prop::option::of(-1e12f64..1e12), healthy in prop::option::of(any::<bool>()),
        pid in prop::option::of(any::<u32>()),
    ) {
        let status = v1::TaskStatus {
            task_id: v1::TaskId { value: id },
            state,
            message,
            data: data.map(Into::into),
            timestamp,
            healthy,
            container_status: pid.map(|pid| v1::ContainerStatus { executor_pid: Some(pid), ..Default::default() }),
            ..Default::default()
        };
        prop_assert_eq!(json::from_slice::<v1::TaskStatus>(&json::to_vec(&status)), Ok(status.clone()));
        prop_assert_eq!(protobuf::decode::<v1::TaskStatus>(&protobuf::encode(&status)), Ok(status));
    }

    #[test]
    fn no_bytes_and_no_text_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), text in "\\PC{0,80}") {
        let _ = protobuf::decode::<v1::scheduler::Call>(&bytes);
        let _ = json::from_slice::<v1::scheduler::Call>(&bytes);
        let _ = json::from_slice::<v1::scheduler::Call>(text.as_bytes());
        let _ = serde_json::to_string(&json::view::<v1::scheduler::Call>(&bytes));
    }
}
