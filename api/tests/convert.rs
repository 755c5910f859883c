//! Model values from v1 messages and back: nothing is lost, and what has no meaning is refused by name.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use api::convert::resources::Form;
use api::convert::{Error, framework, resources, status, task};
use api::{json, v1};
use model::framework::Capabilities;
use serde_json::{Value, json};

fn read<M: api::V1>(value: Value) -> M {
    json::from_slice(value.to_string().as_bytes()).unwrap_or_else(|error| panic!("{value}: {error}"))
}

fn written<M: api::V1>(message: &M) -> Value {
    serde_json::from_slice(&json::to_vec(message)).unwrap()
}

fn scalar(name: &str, value: Value) -> Value {
    json!({"name": name, "type": "SCALAR", "scalar": {"value": value}})
}

fn task() -> Value {
    json!({
        "name": "t", "task_id": {"value": "1"}, "agent_id": {"value": "S0"},
        "resources": [scalar("cpus", json!(0.1)), scalar("mem", json!(32))],
        "command": {"value": "sleep 1", "environment": {"variables": [{"name": "A", "value": "b"}]}},
        "labels": {"labels": [{"key": "k", "value": "v"}]},
        "discovery": {"visibility": "CLUSTER", "name": "d", "ports": {"ports": [{"number": 80}]}},
        "kill_policy": {"grace_period": {"nanoseconds": 3_000_000_000u64}},
        "data": "aGVsbG8=",
    })
}

#[test]
fn a_task_arrives_with_everything_that_nobody_looked_at() {
    let sent: v1::TaskInfo = read(task());
    let mut model = task::from_v1(&sent).unwrap();
    assert_eq!(model.kill_grace_ns, Some(3_000_000_000));
    assert_eq!(model.executor_id().as_str(), "1");
    assert_eq!(task::to_v1(&model).unwrap(), sent);

    let eng = model::role::Role::parse("eng").unwrap();
    model.resources = model.resources.allocated_to(&eng);
    let got = written(&task::to_v1(&model).unwrap());
    assert_eq!(got["resources"][0]["allocation_info"]["role"], "eng", "typed fields are laid over the body");
    assert_eq!(got["labels"], task()["labels"]);
}

#[test]
fn bad_tasks_are_refused_in_mesos_words() {
    let cases: [(&str, Value, &str); 8] = [
        ("/task_id/value", json!("a/b"), "'a/b' contains invalid characters"),
        ("/task_id/value", json!(""), "ID must not be empty"),
        ("/task_id/value", json!(".."), "'..' is disallowed"),
        (
            "/command",
            Value::Null,
            "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present",
        ),
        ("/resources", json!([]), "Task uses no resources"),
        (
            "/resources/0/scalar/value",
            json!(-1),
            "Resource 'cpus:-1' is invalid: Invalid scalar resource: value <= 0",
        ),
        (
            "/resources/0/scalar/value",
            json!("Infinity"),
            "Resource 'cpus:inf' is invalid: Invalid scalar resource: inf is no amount",
        ),
        (
            "/kill_policy/grace_period/nanoseconds",
            json!(-1),
            "Task's 'kill_policy.grace_period' must be non-negative",
        ),
    ];
    for (at, value, expect) in cases {
        let mut asked = task();
        *asked.pointer_mut(at).unwrap() = value;
        assert_eq!(task::from_v1(&read(asked)).unwrap_err().to_string(), expect);
    }
}

#[test]
fn an_executor_task_must_be_custom_and_have_a_command() {
    let mut asked = task();
    asked["executor"] = json!({"executor_id": {"value": "e"}, "command": {"value": "x"}, "type": "CUSTOM"});
    asked["command"] = Value::Null;
    let model = task::from_v1(&read(asked.clone())).unwrap();
    assert_eq!(model.executor_id().as_str(), "e");
    asked["executor"]["type"] = json!("DEFAULT");
    assert_eq!(
        task::from_v1(&read(asked.clone())).unwrap_err().to_string(),
        "'ExecutorInfo.command' must not be set for 'DEFAULT' executor"
    );
    asked["executor"] = json!({"executor_id": {"value": "e"}});
    assert_eq!(task::from_v1(&read(asked)).unwrap_err().to_string(), "'ExecutorInfo.command' must be set");
}

fn resource(value: Value) -> Result<model::resources::Resources, Error> {
    resources::from_v1(&[read(value)])
}

#[test]
fn both_forms_of_a_reservation_are_one_thing() {
    let with = |more: Value| {
        let mut value = scalar("cpus", json!(2));
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        resource(value)
    };
    let old = with(json!({"role": "eng", "reservation": {"principal": "p"}})).unwrap();
    let new = with(json!({"reservations": [{"type": "DYNAMIC", "role": "eng", "principal": "p"}]})).unwrap();
    assert_eq!(old, new);
    assert_eq!(with(json!({"role": "*"})).unwrap(), with(json!({})).unwrap());
    let statics = with(json!({"role": "eng"})).unwrap();
    assert_ne!(statics, old);

    let out = |resources: &_, form| {
        written(&resources::to_v1(resources, resources::Format { form, has_allocation: false })[0])
    };
    assert_eq!(out(&old, Form::Old)["role"], "eng");
    assert_eq!(out(&old, Form::Old)["reservation"], json!({"principal": "p"}));
    assert_eq!(
        out(&statics, Form::Old),
        json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.0}, "role": "eng"})
    );
    assert_eq!(out(&statics, Form::New)["reservations"], json!([{"type": "STATIC", "role": "eng"}]));
    assert_eq!(out(&statics, Form::New).get("role"), None);
    assert_eq!(out(&old, Form::Both)["reservation"], json!({"principal": "p"}));
    assert_eq!(out(&old, Form::Both)["reservations"][0]["type"], "DYNAMIC");

    for (more, expect) in [
        (json!({"role": "*", "reservation": {}}), "role \"*\" cannot be dynamically reserved"),
        (json!({"reservations": [{"role": "eng"}]}), "'Resource.ReservationInfo.type' field must be set"),
        (json!({"reservations": [{"type": "STATIC", "role": "*"}]}), "role \"*\" cannot be reserved"),
        (
            json!({"reservations": [{"type": "STATIC", "role": "a"}, {"type": "DYNAMIC", "role": "b"}]}),
            "role 'b' is not a refinement of 'a'",
        ),
        (
            json!({"reservations": [{"type": "STATIC", "role": "a"}, {"type": "STATIC", "role": "a/b"}]}),
            "cannot be STATIC",
        ),
        (json!({"role": "b", "reservations": [{"type": "STATIC", "role": "a"}]}), "does not match the role"),
        (json!({"role": "a b"}), "Role component 'a b'"),
    ] {
        let error = with(more.clone()).unwrap_err().to_string();
        assert!(error.contains(expect), "{more}: {error}");
    }
}

#[test]
fn bad_values_are_refused() {
    for (value, expect) in [
        (json!({"name": "", "type": "SCALAR", "scalar": {"value": 1}}), "Empty resource name"),
        (json!({"name": "cpus", "type": "SCALAR"}), "Invalid scalar resource"),
        (json!({"name": "cpus", "type": "TEXT", "scalar": {"value": 1}}), "Unsupported resource type"),
        (
            json!({"name": "p", "type": "RANGES", "ranges": {"range": [{"begin": 2, "end": 1}]}}),
            "begin > end",
        ),
        (
            json!({"name": "p", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 5}, {"begin": 5, "end": 6}]}}),
            "overlapping ranges",
        ),
        (json!({"name": "s", "type": "SET", "set": {"item": ["a", "a"]}}), "duplicated elements"),
        (
            json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "disk": {}}),
            "DiskInfo should not be set for cpus",
        ),
        (
            json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "shared": {}}),
            "Resource cpus cannot be shared",
        ),
    ] {
        let error = resource(value.clone()).unwrap_err().to_string();
        assert!(error.contains(expect), "{value}: {error}");
    }
}

#[test]
fn offers_are_written_for_their_reader() {
    let eng = model::role::Role::parse("eng").unwrap();
    let resources = "cpus:4".parse::<model::resources::Resources>().unwrap().allocated_to(&eng);
    let offered = |capabilities| {
        written(&resources::to_v1(&resources, resources::Format::for_framework(capabilities))[0])
    };
    let plain = offered(Capabilities::default());
    assert_eq!((plain.get("role"), plain.get("allocation_info")), (Some(&json!("*")), None));
    let refined = offered(Capabilities::MULTI_ROLE.with(Capabilities::RESERVATION_REFINEMENT));
    assert_eq!((refined.get("role"), &refined["allocation_info"]["role"]), (None, &json!("eng")));
}

#[test]
fn frameworks_say_their_roles_in_one_of_two_ways() {
    let with = |more: Value| {
        let mut value = json!({"user": "root", "name": "f"});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        framework::from_v1(&read(value))
    };
    let roles = |info: model::framework::FrameworkInfo| {
        info.roles.iter().map(|role| role.to_string()).collect::<Vec<_>>()
    };
    let multi = json!([{"type": "MULTI_ROLE"}]);
    assert_eq!(roles(with(json!({})).unwrap()), ["*"]);
    assert_eq!(roles(with(json!({"role": "eng"})).unwrap()), ["eng"]);
    assert_eq!(roles(with(json!({"roles": "eng", "capabilities": multi})).unwrap()), ["eng"]);
    for (more, expect) in [
        (
            json!({"roles": ["a"]}),
            "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable",
        ),
        (
            json!({"role": "a", "capabilities": multi}),
            "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable",
        ),
        (
            json!({"roles": ["a", "a"], "capabilities": multi}),
            "'FrameworkInfo.roles' contains duplicate items: { a }",
        ),
        (
            json!({"role": "/a"}),
            "'FrameworkInfo.role' is not a valid role: Role '/a' cannot start with a slash",
        ),
        (json!({"failover_timeout": 1e300}), "The framework failover_timeout (1e+300) is invalid"),
        (json!({"id": {"value": "../x"}}), "'../x' contains invalid characters"),
    ] {
        let error = with(more.clone()).unwrap_err().to_string();
        assert!(error.contains(expect), "{more}: {error}");
    }
}

#[test]
fn a_framework_is_shown_as_it_came() {
    let sent = json!({
        "user": "root", "name": "f", "hostname": "localhost", "failover_timeout": 100.0, "checkpoint": false,
        "capabilities": [{"type": "GPU_RESOURCES"}], "labels": {"labels": [{"key": "k"}]},
    });
    let mut model = framework::from_v1(&read(sent.clone())).unwrap();
    assert_eq!(written(&framework::to_v1(&model).unwrap()), sent);
    model.framework_id = Some("m-0000".into());
    assert_eq!(written(&framework::to_v1(&model).unwrap())["id"]["value"], "m-0000");
}

#[test]
fn an_update_keeps_what_its_executor_said() {
    let sent = json!({
        "task_id": {"value": "1"}, "state": "TASK_RUNNING", "source": "SOURCE_EXECUTOR",
        "timestamp": 1_795_328_265.313_82, "uuid": "UrecuFxDSRmAkqfA0u4Low==",
        "labels": {"labels": [{"key": "k", "value": "v"}]}, "data": "AAE=", "healthy": true,
    });
    let mut model = status::from_v1(&read(sent.clone())).unwrap();
    assert_eq!(written(&status::to_v1(&model).unwrap()), sent);
    model.agent_id = Some("S0".into());
    model.container = Some(model::task::ContainerStatus {
        container_id: "c".into(),
        ip: "127.0.0.1".parse().unwrap(),
        executor_pid: Some(7),
    });
    let got = status::to_v1(&model).unwrap();
    assert_eq!(
        written(&got)["container_status"],
        json!({
            "container_id": {"value": "c"}, "executor_pid": 7,
            "network_infos": [{"ip_addresses": [{"protocol": "IPv4", "ip_address": "127.0.0.1"}]}],
        })
    );
    assert_eq!(status::to_v1(&status::from_v1(&got).unwrap()).unwrap(), got, "laid over twice, once there");
}

#[test]
fn an_update_with_a_bad_uuid_is_refused() {
    let sent = json!({"task_id": {"value": "1"}, "state": "TASK_RUNNING", "uuid": "AAEC"});
    assert_eq!(status::from_v1(&read(sent)).unwrap_err().to_string(), "Not a valid UUID");
}

#[test]
fn attributes_have_three_kinds() {
    let read = api::convert::agent::attributes("rack:r1; cores:8 ;disks:[1-4,7-9]").unwrap();
    let got: Vec<Value> = read.iter().map(written).collect();
    assert_eq!(got[0], json!({"name": "rack", "type": "TEXT", "text": {"value": "r1"}}));
    assert_eq!(got[1], json!({"name": "cores", "type": "SCALAR", "scalar": {"value": 8.0}}));
    assert_eq!(got[2]["ranges"]["range"][1], json!({"begin": 7, "end": 9}));
    assert!(
        api::convert::agent::attributes("rack")
            .unwrap_err()
            .to_string()
            .starts_with("'rack' is not an attribute")
    );
}
